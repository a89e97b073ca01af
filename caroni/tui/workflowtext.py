"""What a workflow's screens say in words: why a step waits, values, what happened."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from caroni.core.plan import SECOND, Plan
from caroni.services import explaintext
from caroni.services.explained import Explained
from caroni.services.following import StepHere
from caroni.services.happenings import Happening
from caroni.services.jobdetail import ShownValue
from caroni.services.words import ago, ahead, plural
from caroni.tui import glyphs
from caroni.tui.paint import BOLD, DIM
from caroni.tui.rail.steps import ENDED, WORST_FIRST, StepView
from caroni.tui.widgets.lines import Styled
from caroni.tui.widgets.railrow import agent_name, took, why

#: where there is little room agents go by their last name
_URI = re.compile(r"caroni://[^/\s]+/agent/([^\s;,]+)")
#: failed steps of a group that are named
_NAMED = 20


def split(found: Explained) -> tuple[list[str], list[str]]:
    """The lines on the workflow, and those on its steps."""
    lines = list(explaintext.lines(found))
    first = next((n for n, line in enumerate(lines) if line.startswith("step ")), len(lines))
    return lines[:first], lines[first:]


def of_step(found: Explained) -> list[Styled]:
    """A step's explanation, then the workflow's, to be wrapped."""
    workflow, step = split(found)
    lines: list[Styled] = [(line, BOLD) if not line.startswith(" ") else line for line in step]
    return [*lines, "", *((line, DIM) for line in workflow)]


def in_a_line(found: Explained, step: str) -> str:
    """A step's explanation in one line: why, and what comes next."""
    if not found.steps:
        return f"{step}: {found.why}"
    one = found.steps[0]
    parts = [f"{one.step}: {one.why}"]
    if one.waits_for and one.why.startswith("waits for"):
        waits = Counter(waits.step or "the workflow's inputs" for waits in one.waits_for)
        states = {waits.step: waits.state for waits in one.waits_for}
        shown = [_after(name, states.get(name, "")) for name in list(waits)[:3]]
        more = f" and {len(waits) - 3} more" if len(waits) > 3 else ""
        parts[0] += f" of {', '.join(shown)}{more}"
    if one.asked is not None and one.asked.declines:
        last = one.asked.declines[0]
        parts.append(f"{agent_name(last.agent)} declined: {last.message or last.reason}")
    if one.next_at:
        parts.append(f"{one.next} {ahead(one.next_at, found.at)}")
    if found.notes and one.state not in ENDED:
        parts.append(found.notes[0])
    return _URI.sub(r"\1", "; ".join(parts))


def _after(name: str, state: str) -> str:
    return f"{name} {glyphs.mark('step', state).glyph}" if state else name


def of_group(label: str, members: Sequence[int], steps: Sequence[StepView | None]) -> list[Styled]:
    """A folded group: its steps by state, and those that failed."""
    known = [step for index in members if (step := steps[index]) is not None]
    counts = Counter(step.state for step in known)
    lines: list[Styled] = [(f"{label}: {plural(len(members), 'step')} folded, enter unfolds", BOLD)]
    for state in WORST_FIRST:
        if counts[state]:
            mark = glyphs.mark("step", state)
            lines.append((f"  {mark.text} {counts[state]}", mark.style))
    failed = [step for step in known if step.state == "failed"]
    lines += [f"  {step.name}: {why(step)}" for step in failed[:_NAMED]]
    if len(failed) > _NAMED:
        lines.append(f"  and {len(failed) - _NAMED} more that failed")
    return lines


def of_values(plan: Plan, inputs: Iterable[ShownValue], outputs: Iterable[ShownValue]) -> list[Styled]:
    """The inputs and outputs of a workflow with their types."""
    from caroni.core.cwltypes import describe

    types = {given.name: describe(given.type) for given in plan.inputs}
    lines: list[Styled] = [("INPUTS", BOLD)]
    lines += [_value(value, types.get(value.name, "")) for value in inputs] or ["  none"]
    lines += ["", ("OUTPUTS", BOLD)]
    given = {output.name: describe(output.type) for output in plan.outputs}
    lines += [_value(value, given.get(value.name, "")) for value in outputs] or ["  none"]
    return lines


def _value(value: ShownValue, type_: str = "") -> Styled:
    name = f"  {value.name}" + (f" ({type_})" if type_ else "")
    source = f"  (from {value.source})" if value.source else ""
    if value.value is None:
        return (f"{name}: not there yet{source}", DIM)
    cut = f" ... ({value.size} characters)" if value.cut else ""
    return f"{name}: {value.value}{cut}{source}"


def of_happenings(found: Sequence[Happening], now: int) -> list[Styled]:
    """What happened, a line each."""
    width = min(max((len(one.step) for one in found), default=0), 24)
    lines: list[Styled] = []
    day = ""
    for one in found:
        today = time.strftime("%Y-%m-%d", time.localtime(one.at / SECOND))
        if today != day:
            lines.append((f"{today} ({ago(one.at, now)})", DIM))
            day = today
        clock = time.strftime("%H:%M:%S", time.localtime(one.at / SECOND))
        clock += f".{one.at % SECOND // 1000:03d}"
        count = f" (attempt {one.attempt})" if one.attempt > 1 else ""
        agent = f" by {agent_name(one.agent)}" if one.agent and one.what == "accepted" else ""
        agent = agent or (f" on {agent_name(one.agent)}" if one.agent else "")
        more = f": {one.more}" if one.more else ""
        who = (one.step if one.step else "workflow").ljust(width)
        what = f"{one.of} {one.what}" if one.of in ("job", "step") and one.what not in _PLAIN else one.what
        text = f"  {clock}  {who}  {what}{agent}{count}{more}"
        bad = one.what in ("failed", "killed", "lost", "cancelled")
        lines.append((text, glyphs.look("failed").style) if bad else text)
    return lines


_PLAIN = ("ready", "accepted", "begun", "kill asked")


def of_one_step(here: StepHere, found: Explained, now: int) -> list[Styled]:
    """All that is known of a step: how it stands and why, its values, the end of its error output."""
    step = here.step
    mark = glyphs.mark("step", step.state)
    times = took(step.started_at, step.ended_at, now)
    exit_code = f"  exit code {step.exit_code}" if step.exit_code is not None else ""
    agent = f"  on {step.agent}" if step.agent else ""
    lines: list[Styled] = [
        (f"{mark.text}  {step.job_type}{agent}{f'  {times}' if times else ''}{exit_code}", mark.style),
        "",
        *of_step(found),
        "",
        ("INPUTS", BOLD),
    ]
    lines += [_value(value) for value in here.inputs] or ["  none"]
    lines += ["", ("OUTPUTS", BOLD)]
    lines += [_value(value) for value in here.outputs] or ["  none"]
    if step.stderr_tail:
        lines += ["", ("END OF ITS ERROR OUTPUT", BOLD), *(f"  {t}" for t in step.stderr_tail.splitlines())]
    return lines
