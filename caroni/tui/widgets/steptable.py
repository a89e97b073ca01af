"""The steps of a workflow as a table that can be sorted; rows are made anew only where a step has changed."""

from __future__ import annotations

from collections.abc import Mapping

from textual.geometry import Region

from caroni.tui import glyphs
from caroni.tui.rail.graph import Graph
from caroni.tui.rail.steps import WORST_FIRST, StepView
from caroni.tui.widgets.railrow import agent_name, took, why
from caroni.tui.widgets.table import Column, Line, LineTable

_COLUMNS = (
    Column("STATE", 11),
    Column("STEP", 14, grow=2),
    Column("JOB TYPE", 12, grow=1, least=100),
    Column("TRY", 5),
    Column("AGENT", 12, grow=1, least=72),
    Column("TIME", 8, right=True),
    Column("WHY", 14, grow=3, least=90),
)


class StepTable(LineTable):
    """Keys are the steps' indexes."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(_COLUMNS, empty="This workflow has no steps.", id=id, classes=classes)
        self._steps: list[StepView] = []
        self._job_types: tuple[str, ...] = ()
        self._made: list[Line] = []
        self._stale: set[int] = set()
        self._busy: set[int] = set()
        self._sought = ""

    @property
    def step(self) -> int:
        """The step under the cursor; -1 if there is none."""
        return self.key if isinstance(self.key, int) else -1

    def set_graph(self, graph: Graph) -> None:
        """Whose steps these are; nothing is known of them yet."""
        self._steps = [
            StepView(index=index, name=name, state="waiting") for index, name in enumerate(graph.names)
        ]
        self._job_types = graph.job_types
        self._made = []
        self._busy = set()

    def take(self, steps: Mapping[int, StepView]) -> None:
        """Remember what changed; it is shown by :meth:`show`."""
        for index, step in steps.items():
            if 0 <= index < len(self._steps):
                self._steps[index] = step
                self._stale.add(index)
                if step.started_at and not step.ended_at:
                    self._busy.add(index)
                else:
                    self._busy.discard(index)

    def show(self, now: int) -> None:
        """Paint what changed."""
        if not self._made:
            self._made = [self._line(step, now) for step in self._steps]
        else:
            for index in self._stale:
                self._made[index] = self._line(self._steps[index], now)
        if self._stale or not self.lines:
            self._stale = set()
            self.set_rows(self._made)
        self.set_now(now)

    def set_now(self, now: int) -> None:
        """Let the times of what is seen go on; the order stays as it was."""
        top = int(self.scroll_offset.y)
        for row in range(top, min(top + self.size.height - 1, len(self.lines))):
            index = self.lines[row].key
            if isinstance(index, int) and index in self._busy:
                self.lines[row] = self._made[index] = self._line(self._steps[index], now)
                self.refresh(Region(0, row - top + 1, self.size.width, 1))

    def _line(self, step: StepView, now: int) -> Line:
        mark = glyphs.mark("step", step.state)
        tried = f"{step.attempt}/{step.attempts}" if step.attempts else f"{step.attempt}"
        place = WORST_FIRST.index(step.state) if step.state in WORST_FIRST else len(WORST_FIRST)
        spent = (step.ended_at or now) - step.started_at if step.started_at else 0
        job_type, reason = self._job_types[step.index], why(step)
        return Line(
            key=step.index,
            cells=(
                (mark.text, mark.style),
                step.name,
                job_type,
                tried if step.attempt else "",
                agent_name(step.agent),
                took(step.started_at, step.ended_at, now),
                reason,
            ),
            sort=(place, step.name.casefold(), job_type, step.attempt, step.agent, spent, reason),
        )

    def find(self, text: str) -> int:
        """Go to the first step from here on with ``text`` in its name; gives how many there are."""
        self._sought = text.casefold()
        hits = self._hits()
        if hits:
            self._go(next((row for row in hits if row >= self.row), hits[0]))
        return len(hits)

    def find_next(self, direction: int) -> None:
        """The next or the previous one, round the end."""
        hits = self._hits()
        if not hits:
            return
        after = [row for row in hits if (row > self.row if direction > 0 else row < self.row)]
        self._go((after or hits)[0] if direction > 0 else (after or hits)[-1])

    def _hits(self) -> list[int]:
        if not self._sought:
            return []
        steps = self._steps
        return [
            row
            for row, line in enumerate(self.lines)
            if isinstance(line.key, int) and self._sought in steps[line.key].name.casefold()
        ]
