"""Peers of the base protocol, which sign nothing: what may be said to them, and how they are to be read.

They are named ``unsigned:<their topic>`` and exist in lab mode only. A base peer ends at the first message
that it does not expect, so everything here is about saying less: only what it knows, each thing once, in
one order. What it cannot say (sequence, manifest, presence, that it is alive) is concluded from what it
does say, and from time (``docs/protocol.md`` section 8).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from caroni.core.cwltypes import ValueMismatch, check_json
from caroni.core.messages import (
    JobAccepted,
    JobDataAvailable,
    JobFulfillmentOffer,
    JobFulfillmentOfferAccept,
    JobFulfillmentOfferReject,
    JobFulfillmentRequest,
    JobStatus,
    JobStatusRequest,
    JobStatusUpdate,
    Json,
    Message,
)
from caroni.core.plan import CwlType
from caroni.core.rows import AgentJob
from caroni.core.states import AgentJobState

#: how an unsigned peer is named: this, then its topic
UNSIGNED_PREFIX: Final = "unsigned:"
#: the pattern of policy rules that speaks of all of them
UNSIGNED: Final = "unsigned:*"
#: all agents of the base protocol: they listen on the plain key of calls for proposals
BASE_AGENTS: Final = "unsigned:wf.agent.fulfillment"

#: What base peers are sent. ``JobKill`` and ``JobFulfillmentDecline`` are of their protocol too, and are not
#: needed: an agent is deaf while a job runs, so that a kill comes when it knows the job no more, and a
#: manager does not wait for a decline.
_SAID: Final = frozenset(
    {
        JobFulfillmentRequest,
        JobFulfillmentOffer,
        JobFulfillmentOfferAccept,
        JobFulfillmentOfferReject,
        JobAccepted,
        JobStatusRequest,
        JobStatusUpdate,
        JobDataAvailable,
    }
)
_ENDED: Final = frozenset({AgentJobState.COMPLETED, AgentJobState.FAILED, AgentJobState.KILLED})
_HAS_RUN: Final = frozenset(
    {AgentJobState.RUNNING, AgentJobState.PAUSED, AgentJobState.KILLING, AgentJobState.COMPLETED}
)


def is_base(uri: str) -> bool:
    """Whether this is a peer of the base protocol."""
    return uri.startswith(UNSIGNED_PREFIX)


def may_hear(message: Message) -> bool:
    """Whether a base peer may be sent this at all; anything else is left out without a word."""
    if isinstance(message, JobStatusUpdate):
        return JobStatus.PENDING <= message.job_status <= JobStatus.FAILED
    return type(message) in _SAID


def statuses(was: AgentJob | None, job: AgentJob) -> tuple[JobStatus, ...]:
    """What a base manager hears when its job goes from one row to another.

    In all it hears ``QUEUED``, ``RUNNING`` and the end, each once and none left out, whatever way the job
    took. ``PENDING`` is only said when it asks.
    """
    end = JobStatus.COMPLETED if job.state is AgentJobState.COMPLETED else JobStatus.FAILED
    return (JobStatus.QUEUED, JobStatus.RUNNING, end)[_said(was) : _said(job)]


def _said(job: AgentJob | None) -> int:
    """How many of its three statuses a job in this state has had."""
    if job is None or job.state is AgentJobState.PENDING:
        return 0
    if job.state in _ENDED:
        return 3
    # a job that is stopped while it starts has not been said to run
    return 2 if job.state in _HAS_RUN and job.started_at else 1


def typed(value: Json, type_: CwlType) -> Json:
    """A base peer's value as its type wants it: it sends each as text, a number and a list too.

    What fits as it is stays as it is; so does what fits in no way, for the check that comes after.
    """
    try:
        check_json(value, type_)
    except ValueMismatch:
        pass
    else:
        return value
    try:
        text = msgspec.json.decode(value, type=str)
        inner = text if text else "null"
        check_json(inner, type_)
    except (msgspec.DecodeError, ValueMismatch, RecursionError):
        return value
    return inner


def typed_all(values: Mapping[str, Json], types: Mapping[str, CwlType]) -> dict[str, Json]:
    """The same for several; a name without a type keeps its value."""
    return {name: typed(value, types[name]) if name in types else value for name, value in values.items()}
