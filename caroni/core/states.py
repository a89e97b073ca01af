"""All states and the moves between them; nothing else assigns a state.

A terminal state is a sink. ``advance`` is the only gate: a move that is not in the table is our own
bug and raises, with what was about to happen. The reasons for each move are with the handlers.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from caroni.errors import InvalidTransition


class WorkflowState(StrEnum):
    """Manager: one execution of a template."""

    RUNNING = "running"
    HELD = "held"
    FAILING = "failing"  #: a step failed for good; its siblings end first
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepState(StrEnum):
    """Manager: one step of a workflow."""

    WAITING = "waiting"
    FULFILLING = "fulfilling"
    FULFILLED = "fulfilled"  #: a job exists on an agent
    RUNNING = "running"
    HELD = "held"  #: an at-most-once step whose job's fate is unknown
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RequestState(StrEnum):
    """Manager: one call for proposals."""

    OPEN = "open"
    ACCEPTING = "accepting"
    FULFILLED = "fulfilled"
    DEAD = "dead"
    WITHDRAWN = "withdrawn"


class OfferState(StrEnum):
    """Manager: an agent's offer."""

    RECEIVED = "received"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    GONE = "gone"


class JobState(StrEnum):
    """Manager: what is known of a job on an agent."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    LOST = "lost"  #: given up; may still be adopted through the step's compare-and-set
    SUPERSEDED = "superseded"
    COMPLETED = "completed"
    FAILED = "failed"
    KILLED = "killed"


class AgentOfferState(StrEnum):
    """Agent: a reservation made for a manager."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    REVOKED = "revoked"


class AgentJobState(StrEnum):
    """Agent: a job that this agent owns."""

    PENDING = "pending"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    KILLING = "killing"
    COMPLETED = "completed"
    FAILED = "failed"
    KILLED = "killed"


_W, _S, _R, _O, _J = WorkflowState, StepState, RequestState, OfferState, JobState
_AO, _AJ = AgentOfferState, AgentJobState

#: Per kind of row, because two kinds may share a state's name. What is absent is a sink.
TRANSITIONS: dict[type[StrEnum], dict[StrEnum, frozenset[StrEnum]]] = {
    WorkflowState: {
        _W.RUNNING: frozenset({_W.HELD, _W.FAILING, _W.CANCELLING, _W.COMPLETED, _W.FAILED}),
        _W.HELD: frozenset({_W.RUNNING, _W.FAILING, _W.CANCELLING, _W.FAILED}),
        _W.FAILING: frozenset({_W.FAILED, _W.CANCELLING}),
        _W.CANCELLING: frozenset({_W.CANCELLED}),
    },
    StepState: {
        # HELD: an at-most-once step after a restore; FAILED: an operator gives the step up
        _S.WAITING: frozenset({_S.FULFILLING, _S.HELD, _S.FAILED, _S.CANCELLED}),
        # a late success of an earlier attempt may complete a step in any live state
        _S.FULFILLING: frozenset({_S.FULFILLED, _S.WAITING, _S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.HELD}),
        _S.FULFILLED: frozenset({_S.RUNNING, _S.WAITING, _S.COMPLETED, _S.FAILED, _S.HELD, _S.CANCELLED}),
        _S.RUNNING: frozenset({_S.WAITING, _S.COMPLETED, _S.FAILED, _S.HELD, _S.CANCELLED}),
        # HELD to FULFILLED or RUNNING: the job whose fate was unknown speaks again
        _S.HELD: frozenset({_S.FULFILLED, _S.RUNNING, _S.WAITING, _S.COMPLETED, _S.FAILED, _S.CANCELLED}),
    },
    RequestState: {
        _R.OPEN: frozenset({_R.ACCEPTING, _R.WITHDRAWN, _R.DEAD}),
        _R.ACCEPTING: frozenset({_R.OPEN, _R.ACCEPTING, _R.FULFILLED, _R.WITHDRAWN, _R.DEAD}),
    },
    OfferState: {
        _O.RECEIVED: frozenset({_O.ACCEPTED, _O.REJECTED, _O.EXPIRED, _O.GONE}),
        _O.ACCEPTED: frozenset({_O.GONE, _O.REJECTED}),
    },
    JobState: {
        _J.PENDING: frozenset(
            {
                _J.QUEUED,
                _J.RUNNING,
                _J.PAUSED,
                _J.LOST,
                _J.SUPERSEDED,
                _J.COMPLETED,
                _J.FAILED,
                _J.KILLED,
            }
        ),
        _J.QUEUED: frozenset(
            {_J.RUNNING, _J.PAUSED, _J.LOST, _J.SUPERSEDED, _J.COMPLETED, _J.FAILED, _J.KILLED}
        ),
        _J.RUNNING: frozenset({_J.PAUSED, _J.LOST, _J.SUPERSEDED, _J.COMPLETED, _J.FAILED, _J.KILLED}),
        _J.PAUSED: frozenset(
            {_J.QUEUED, _J.RUNNING, _J.LOST, _J.SUPERSEDED, _J.COMPLETED, _J.FAILED, _J.KILLED}
        ),
        _J.LOST: frozenset(
            {_J.PENDING, _J.QUEUED, _J.RUNNING, _J.PAUSED, _J.COMPLETED, _J.FAILED, _J.KILLED, _J.SUPERSEDED}
        ),
        _J.SUPERSEDED: frozenset({_J.COMPLETED, _J.FAILED, _J.KILLED}),
    },
    AgentOfferState: {
        _AO.OPEN: frozenset({_AO.ACCEPTED, _AO.REJECTED, _AO.EXPIRED, _AO.REVOKED}),
        _AO.ACCEPTED: frozenset({_AO.REJECTED}),
        _AO.EXPIRED: frozenset({_AO.ACCEPTED, _AO.REJECTED}),
    },
    AgentJobState: {
        _AJ.PENDING: frozenset({_AJ.QUEUED, _AJ.FAILED, _AJ.KILLED}),
        _AJ.QUEUED: frozenset({_AJ.STARTING, _AJ.FAILED, _AJ.KILLED}),
        _AJ.STARTING: frozenset({_AJ.RUNNING, _AJ.KILLING, _AJ.COMPLETED, _AJ.FAILED, _AJ.KILLED}),
        _AJ.RUNNING: frozenset({_AJ.PAUSED, _AJ.KILLING, _AJ.COMPLETED, _AJ.FAILED, _AJ.KILLED}),
        _AJ.PAUSED: frozenset({_AJ.RUNNING, _AJ.KILLING, _AJ.COMPLETED, _AJ.FAILED, _AJ.KILLED}),
        _AJ.KILLING: frozenset({_AJ.COMPLETED, _AJ.FAILED, _AJ.KILLED}),
    },
}


_State = TypeVar("_State", bound=StrEnum)


def advance(what: str, start: _State, end: _State) -> _State:
    """Give ``end`` if the table lets a row go there from ``start``.

    Raises:
        InvalidTransition: the move is not in the table; ``what`` names the row.
    """
    if end not in TRANSITIONS[type(start)].get(start, frozenset()):
        raise InvalidTransition(what, start, end)
    return end


def is_terminal(state: StrEnum) -> bool:
    """Whether a row in this state never moves again."""
    return state not in TRANSITIONS[type(state)]
