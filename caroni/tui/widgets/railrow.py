"""What stands beside the lanes: name, state, attempt, agent, time; by the width that there is."""

from __future__ import annotations

from collections import Counter

import msgspec
from rich.segment import Segment
from rich.style import Style

from caroni.core.plan import DAY, HOUR, MINUTE, SECOND
from caroni.tui import glyphs
from caroni.tui.paint import BOLD, DIM, PLAIN, fit, said, seg
from caroni.tui.rail.steps import StepView

_STATE, _TRY, _TIME, _MARK = 11, 5, 8, 2
#: what is worth a column of an agent's name, and one of words
_AGENT, _INFO = 6, 16


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """Widths in cells; 0 where a column is left out. One space stands between two."""

    gutter: int
    name: int
    agent: int
    info: int

    @classmethod
    def at(cls, width: int, *, lanes: int, longest: int) -> Columns:
        """The columns of a rail that is ``width`` cells wide.

        Args:
            width: cells of the whole row.
            lanes: what the lanes would take.
            longest: the longest name.
        """
        gutter = min(lanes, 18 if width < 72 else 24 if width < 100 else 36)
        room = width - gutter - _MARK - (_STATE + 1) - (_TRY + 1) - (_TIME + 1)
        least = min(max(longest, 8), 16)
        agent = min(room - least - 1, 12 if width < 100 else 16)
        if agent >= _AGENT:
            room -= agent + 1
        else:
            agent = 0
        name = max(min(longest, room), 4)
        info = room - name - 1
        return cls(gutter=gutter, name=name, agent=agent, info=info if info >= _INFO else 0)

    @property
    def rest(self) -> int:
        """Cells behind the name."""
        more = (self.agent + 1 if self.agent else 0) + (self.info + 1 if self.info else 0)
        return _STATE + _TRY + _TIME + 2 + more


def heading(columns: Columns) -> list[Segment]:
    """The titles."""
    parts = [fit("", columns.gutter + _MARK), fit("STEP", columns.name), " ", fit("STATE", _STATE), " "]
    parts += [fit("TRY", _TRY), " "]
    if columns.agent:
        parts += [fit("AGENT", columns.agent), " "]
    parts.append(fit("TIME", _TIME, "right"))
    if columns.info:
        parts += [" ", fit("WHY", columns.info)]
    return [seg("".join(parts), DIM + BOLD)]


def step_cells(columns: Columns, label: str, step: StepView | None, now: int, name: Style) -> list[Segment]:
    """The cells of a step; of one that nothing is known of, only its name."""
    found = [Segment(fit(said(label, 200), columns.name), name), Segment(" ", PLAIN)]
    if step is None:
        return found
    mark = glyphs.mark("step", step.state)
    tried = f"{step.attempt}/{step.attempts}" if step.attempts else f"{step.attempt}"
    parts = [" ", fit(tried if step.attempt else "", _TRY), " "]
    if columns.agent:
        parts += [fit(said(agent_name(step.agent), 60), columns.agent), " "]
    parts.append(fit(took(step.started_at, step.ended_at, now), _TIME, "right"))
    if columns.info:
        parts += [" ", fit(said(why(step), 200), columns.info)]
    return [*found, Segment(fit(mark.text, _STATE), mark.style), Segment("".join(parts), PLAIN)]


def group_cells(
    columns: Columns, label: str, total: int, counts: Counter[str], state: str, name: Style
) -> list[Segment]:
    """The cells of a folded group: how many of its steps are done, a bar, and what is not as it should be."""
    found = [Segment(fit(said(label, 200), columns.name), name + BOLD), Segment(" ", PLAIN)]
    done = counts["completed"]
    words = [f"{done}/{total}", glyphs.bar(done / total, 6)]
    for other in ("failed", "held", "running", "fulfilled", "fulfilling", "cancelled"):
        if counts[other]:
            words.append(f"{counts[other]}{glyphs.mark('step', other).glyph}")
    style = glyphs.mark("step", state).style if state else PLAIN
    return [*found, Segment(fit(f"[{' '.join(words)}]", columns.rest), style)]


def agent_name(uri: str) -> str:
    """The last part of an agent's URI, which people call it by."""
    return uri.rpartition("/")[2]


def why(step: StepView) -> str:
    """A few words on what is not as it should be; empty where all is well."""
    if step.state == "completed":
        return ""
    if step.info and step.info != "first attempt":
        return step.info
    return f"exit code {step.exit_code}" if step.exit_code else ""


def took(started_at: int, ended_at: int, now: int) -> str:
    """The time that something took or has taken, as a clock shows it: ``0.4 s``, ``04:10``, ``2d 03h``."""
    if not started_at:
        return ""
    micros = max((ended_at or now) - started_at, 0)
    if ended_at and micros < 10 * SECOND:
        return f"{micros / SECOND:.1f} s"
    if micros < HOUR:
        return f"{micros // MINUTE:02d}:{micros % MINUTE // SECOND:02d}"
    if micros < DAY:
        return f"{micros // HOUR}:{micros % HOUR // MINUTE:02d}:{micros % MINUTE // SECOND:02d}"
    return f"{micros // DAY}d {micros % DAY // HOUR:02d}h"
