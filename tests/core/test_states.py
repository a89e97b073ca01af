"""The transition tables: what is in them goes, everything else raises and says what was tried."""

from __future__ import annotations

from enum import StrEnum
from itertools import product

import pytest

from caroni.core.states import (
    TRANSITIONS,
    AgentJobState,
    AgentOfferState,
    JobState,
    OfferState,
    RequestState,
    StepState,
    WorkflowState,
    advance,
    is_terminal,
)
from caroni.errors import InvalidTransition

KINDS: tuple[type[StrEnum], ...] = (
    WorkflowState,
    StepState,
    RequestState,
    OfferState,
    JobState,
    AgentOfferState,
    AgentJobState,
)
EDGES = [(kind, start, end) for kind in KINDS for start, end in product(kind, kind)]
LEGAL = [e for e in EDGES if e[2] in TRANSITIONS[e[0]].get(e[1], frozenset())]
ILLEGAL = [e for e in EDGES if e not in LEGAL]

#: what is final, written down apart from the table
SINKS: dict[type[StrEnum], set[str]] = {
    WorkflowState: {"completed", "failed", "cancelled"},
    StepState: {"completed", "failed", "cancelled"},
    RequestState: {"fulfilled", "dead", "withdrawn"},
    OfferState: {"rejected", "expired", "gone"},
    JobState: {"completed", "failed", "killed"},
    AgentOfferState: {"rejected", "revoked"},
    AgentJobState: {"completed", "failed", "killed"},
}


def _name(value: object) -> str:
    return value.__name__ if isinstance(value, type) else str(value)


def test_every_kind_of_state_has_a_table() -> None:
    assert set(TRANSITIONS) == set(KINDS)


@pytest.mark.parametrize(("kind", "start", "end"), LEGAL, ids=_name)
def test_a_listed_move_goes(kind: type[StrEnum], start: StrEnum, end: StrEnum) -> None:
    assert advance("row", start, end) is end


@pytest.mark.parametrize(("kind", "start", "end"), ILLEGAL, ids=_name)
def test_any_other_move_raises(kind: type[StrEnum], start: StrEnum, end: StrEnum) -> None:
    with pytest.raises(InvalidTransition) as caught:
        advance("the row", start, end)
    assert str(caught.value) == f"the row cannot go from {start} to {end}"


@pytest.mark.parametrize("kind", KINDS, ids=_name)
def test_terminal_states_are_sinks(kind: type[StrEnum]) -> None:
    assert {str(s) for s in kind if is_terminal(s)} == SINKS[kind]


@pytest.mark.parametrize("kind", KINDS, ids=_name)
def test_every_state_is_reached_from_the_first_and_reaches_a_sink(kind: type[StrEnum]) -> None:
    first = next(iter(kind))
    reached, new = {first}, {first}
    while new:
        new = {end for start in new for end in TRANSITIONS[kind].get(start, ())} - reached
        reached |= new
    assert reached == set(kind)
    ending = {s for s in kind if is_terminal(s)}
    while more := {s for s in kind if s not in ending and TRANSITIONS[kind][s] & ending}:
        ending |= more
    assert ending == set(kind)


def test_states_of_two_kinds_that_share_a_name_have_their_own_tables() -> None:
    assert advance("step", StepState.RUNNING, StepState.WAITING) is StepState.WAITING
    with pytest.raises(InvalidTransition):
        advance("job", JobState.RUNNING, JobState.PENDING)
    with pytest.raises(InvalidTransition):
        advance("workflow", WorkflowState.FAILED, WorkflowState.RUNNING)
