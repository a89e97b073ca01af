"""The steps as they stand, counted by group as they change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from caroni.tui.rail.groups import Group, Node
from caroni.tui.rail.paths import span

#: Which state a folded group shows: the first of these that a member has.
WORST_FIRST = (
    "failed",
    "held",
    "running",
    "fulfilled",
    "fulfilling",
    "waiting",
    "cancelled",
    "completed",
)
ENDED = frozenset({"completed", "failed", "cancelled"})


class StepView(msgspec.Struct, frozen=True, kw_only=True):
    """A step as a row shows it. Instants are wall microseconds, 0 = not yet.

    ``attempts`` is how many there may be (0: not known); ``info`` says why it failed or is tried again.
    """

    index: int
    name: str
    state: str
    agent: str = ""
    attempt: int = 0
    attempts: int = 0
    started_at: int = 0
    ended_at: int = 0
    exit_code: int | None = None
    info: str = ""


class Steps:
    """The steps of a graph by index; ``None`` where nothing is known. Counts cost what changes cost."""

    def __init__(self, count: int, groups: Sequence[Group]) -> None:
        self.by_index: list[StepView | None] = [None] * count
        self.counts: list[Counter[str]] = [Counter() for _ in groups]
        self.totals: Counter[str] = Counter()
        self.failed: set[int] = set()
        self._group = [-1] * count
        for place, group in enumerate(groups):
            for step in group.members:
                self._group[step] = place

    def update(self, steps: Mapping[int, StepView]) -> list[int]:
        """Take new rows; gives the steps that really changed."""
        known, changed = self.by_index, []
        for index, step in steps.items():
            if not 0 <= index < len(known):
                continue
            before = known[index]
            if before == step:
                continue
            known[index] = step
            changed.append(index)
            old = before.state if before is not None else ""
            if old == step.state:
                continue
            if step.state == "failed":
                self.failed.add(index)
            else:
                self.failed.discard(index)
            self.totals[step.state] += 1
            if old:
                self.totals[old] -= 1
            place = self._group[index]
            if place >= 0:
                counts = self.counts[place]
                counts[step.state] += 1
                if old:
                    counts[old] -= 1
        return changed

    def state_of(self, node: Node) -> str:
        """A node's state; of a folded group the one that matters most. Empty if nothing is known."""
        if node.folded:
            counts = self.counts[node.group]
            return next((state for state in WORST_FIRST if counts[state]), "")
        step = self.by_index[node.members[0]]
        return step.state if step is not None else ""

    def spans(self, now: int) -> list[int]:
        """Per step what it took or has taken until ``now``, in microseconds; 0 where it has not begun."""
        return [
            span(step.started_at, step.ended_at, now) if step is not None and step.started_at else 0
            for step in self.by_index
        ]
