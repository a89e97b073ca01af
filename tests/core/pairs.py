"""Everything that can be said or happen is tried in one state, and undone.

What is decided must keep the invariants of every unit of work, and the rollback must leave nothing behind.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

from caroni.core.rows import (
    Row,
)
from caroni.errors import CommandRefused
from tests.core.build import (
    AgentSide,
    Side,
    snapshot,
)

Decide = Callable[[Any], None]


def attempt(side: Side, decide: Decide) -> None:
    """Decide, look, and undo."""
    before = snapshot(side.state)
    hints = copy.deepcopy(getattr(side.state, "declined_busy", {}))
    turns = list(getattr(side.state, "queue", ()))
    started = getattr(side.state, "started_at", 0)
    dice = side.dice.getstate()
    draft = side.draft()
    decide(draft)
    side.routes().settle(draft)
    side.check(before, draft)
    draft.rollback()
    assert snapshot(side.state) == before
    assert not any((draft.messages, draft.actions, draft.events, draft.facts))
    side.dice.setstate(dice)
    if isinstance(side, AgentSide):
        side.state.declined_busy = hints
        side.state.queue = {manager: side.state.queue[manager] for manager in turns}
    else:
        side.state.started_at = started


def commanded(side: Side, command: Any) -> Decide:
    def decide(draft: Any) -> None:
        mark = draft.mark()
        try:
            side.routes().operate(draft, command)
        except CommandRefused:
            draft.rollback(mark)

    return decide


def found(side: Side, state: StrEnum, row_type: type[Row]) -> list[Any]:
    return [row for row in side.state.tables[row_type].values() if row.state is state]


def try_all(side: Side, all_of_it: Iterator[tuple[str, Decide]]) -> None:
    side.now += 1000
    for what, decide in list(all_of_it):
        try:
            attempt(side, decide)
        except Exception as error:
            error.add_note(what)
            raise
