"""One job on paper: what is known of it in lines, its values, and the end of what it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caroni.cli import output
from caroni.text import safe_line, safe_text

if TYPE_CHECKING:
    from caroni.services.jobdetail import JobShown, ShownValue

#: characters of a value, and lines of a tail, on paper; --json has more
_VALUE, _LINES = 200, 20


def show_job(job: JobShown) -> None:
    """Print everything of a job but what is empty."""
    from caroni.services.jobtext import facts

    for label, text in facts(job):
        output.line(f"{label + ':':<14}{safe_line(text, 600)}")
    _values("inputs", job.inputs)
    _values("outputs", job.outputs)
    for stream, tail in (("stdout", job.stdout_tail), ("stderr", job.stderr_tail)):
        lines = safe_text(tail, 20_000).rstrip().splitlines()[-_LINES:]
        if lines:
            output.line(f"end of {stream}:")
            for line in lines:
                output.line(f"  {line}")


def _values(heading: str, values: list[ShownValue]) -> None:
    if not values:
        return
    output.line(f"{heading}:")
    for one in values:
        text = "not here yet" if one.value is None else safe_line(one.value, _VALUE)
        source = f"  (from {one.source})" if one.source else ""
        size = f"  ({one.size} characters)" if one.size > _VALUE else ""
        output.line(f"  {safe_line(one.name, 80)}: {text}{size}{safe_line(source, 120)}")
