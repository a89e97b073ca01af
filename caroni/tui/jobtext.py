"""What the screen of a job says in words: facts, inputs, outputs, the ends of what it wrote."""

from __future__ import annotations

from caroni.services.jobdetail import JobShown, ShownValue
from caroni.services.jobtext import facts
from caroni.services.words import ago
from caroni.tui.paint import BOLD, DIM
from caroni.tui.widgets.lines import Styled

#: lines of a tail
_LINES = 12


def details(job: JobShown, now: int) -> list[Styled]:
    """Everything of a job, to be wrapped."""
    ages = {"created": job.created_at or job.accepted_at, "started": job.started_at, "ended": job.ended_at}
    lines: list[Styled] = []
    for label, text in facts(job):
        age = f"  ({ago(ages[label], now)})" if label in ages else ""
        lines.append(f"{label:<11} {text}{age}")
    lines += _values("inputs", job.inputs)
    lines += _values("outputs", job.outputs)
    for stream, tail in (("stdout", job.stdout_tail), ("stderr", job.stderr_tail)):
        ends = tail.rstrip().replace("\r\n", "\n").split("\n")[-_LINES:]
        if ends != [""]:
            lines += ["", (f"end of {stream}", BOLD), *(f"  {line}" for line in ends)]
    return lines


def _values(heading: str, values: list[ShownValue]) -> list[Styled]:
    if not values:
        return []
    lines: list[Styled] = ["", (heading, BOLD)]
    width = min(max(len(one.name) for one in values), 24)
    for one in values:
        if one.value is None:
            lines.append((f"  {one.name:<{width}}  not here yet", DIM))
            continue
        source = f"  (from {one.source})" if one.source else ""
        more = f"  ({one.size} characters in all)" if one.cut else ""
        lines.append(f"  {one.name:<{width}}  {one.value}{more}{source}")
    return lines
