"""The agent's entrance: message type -> handler and the rows it needs, timers, and the end of a unit."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from caroni.core import peers
from caroni.core.agent import availability, found, jobs, offers, operator, saying
from caroni.core.agent.state import (
    AgentDraft,
    AgentState,
    Connected,
    JobExited,
    JobsFound,
    JobStarted,
    Started,
)
from caroni.core.clockjump import ClockJumped, on_clock_jumped
from caroni.core.commands import AgentCommand
from caroni.core.draft import Origin
from caroni.core.ids import job_uuid_of
from caroni.core.messages import (
    JobDataAvailable,
    JobFulfillmentOfferAccept,
    JobFulfillmentOfferReject,
    JobFulfillmentRequest,
    JobFulfillmentRequestWithdrawn,
    JobKill,
    JobLogRequest,
    JobPause,
    JobRelease,
    JobReportRequest,
    JobResume,
    JobStatusRequest,
    Message,
)
from caroni.core.rows import AgentJob, AgentOffer, Availability, Row

#: A row named by what finds it: its key, or ``(manager, request_uuid)`` for an offer.
Need = tuple[type[Row], Hashable]

_HANDLERS: dict[type[Message], Callable[[AgentDraft, Origin, Any], None]] = {
    JobFulfillmentRequest: offers.on_request,
    JobFulfillmentOfferAccept: offers.on_accept,
    JobFulfillmentOfferReject: offers.on_reject,
    JobFulfillmentRequestWithdrawn: offers.on_request_withdrawn,
    JobStatusRequest: jobs.on_status_request,
    JobDataAvailable: jobs.on_data,
    JobKill: jobs.on_kill,
    JobRelease: jobs.on_release,
    JobPause: jobs.on_pause,
    JobResume: jobs.on_resume,
    JobLogRequest: jobs.on_log_request,
    JobReportRequest: jobs.on_report_request,
}


def needs(state: AgentState, sender: str, m: Message) -> list[Need]:
    """The rows that a decision on this message looks up, may exist, and are not in memory.

    A request in its first round is taken as new: were it known and closed, a second offer for it would
    do no harm (the manager answers each). What hangs on a job (inputs, outputs) is loaded with it.
    """
    match m:
        case JobFulfillmentRequest() | JobFulfillmentRequestWithdrawn():
            key = (sender, m.request_uuid)
            if key in state.offer_of_request or (isinstance(m, JobFulfillmentRequest) and m.round == 1):
                return []
            return [(AgentOffer, key)]
        case JobFulfillmentOfferAccept() | JobFulfillmentOfferReject():
            if (sender, m.offer_uuid) in state.tables[AgentOffer]:
                return []
            return [(AgentOffer, (sender, m.offer_uuid)), (AgentJob, (sender, job_uuid_of(m.offer_uuid)))]
        case (
            JobStatusRequest()
            | JobDataAvailable()
            | JobKill()
            | JobRelease()
            | JobPause()
            | JobResume()
            | JobLogRequest()
        ):
            key = (sender, m.job_uuid)
            return [] if key in state.tables[AgentJob] else [(AgentJob, key)]
        case _:
            return []


def handle(d: AgentDraft, origin: Origin, m: Message) -> bool:
    """Decide on one message. False: this role has no use for the type (counted, else ignored)."""
    handler = _HANDLERS.get(type(m))
    if handler is None:
        return False
    handler(d, origin, m)
    return True


def contact(d: AgentDraft, origin: Origin, sequence: int) -> None:
    """A verified envelope of this sender has come, whatever is in it.

    A manager whose database was put back is told what we have of it, before it decides on what we say.
    """
    if peers.contact(d, origin, sequence) and peers.role_of(origin.uri) == "manager":
        saying.report_all(d, origin.uri, d.new_id())


def operate(d: AgentDraft, command: AgentCommand) -> dict[str, Any]:
    """Carry out an operator's command, or raise ``CommandRefused``."""
    return operator.operate(d, command)


def happened(
    d: AgentDraft, event: JobStarted | JobExited | JobsFound | Started | Connected | ClockJumped
) -> None:
    """Take what the executor reports, and what happens to this process."""
    match event:
        case JobStarted():
            jobs.on_started(d, event)
        case JobExited():
            jobs.on_exited(d, event)
        case JobsFound():
            found.on_found(d, event)
        case Started():
            availability.on_started(d, event)
        case Connected():
            jobs.reconnected(d)
        case ClockJumped():
            on_clock_jumped(d, event)


def fire(d: AgentDraft, row_type: type[Row], key: Hashable) -> None:
    """A timer is due."""
    row = d.get(row_type, key)
    if isinstance(row, AgentOffer):
        offers.on_offer_due(d, row)
    elif isinstance(row, AgentJob):
        jobs.on_job_due(d, row)
    elif isinstance(row, Availability):
        availability.on_due(d, row)


def settle(d: AgentDraft) -> bool:
    """The end of a unit of work: start what the free slots allow, offer what there is room for."""
    jobs.settle(d)
    if d.state.declined_busy:
        offers.offer_what_was_declined(d)
    saying.keep_newest_status(d)
    return False
