"""The agent's entrance: message type -> handler and the rows it needs, timers, and the end of a unit."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from caroni.core.agent import jobs, offers
from caroni.core.agent.state import AgentDraft, AgentState, JobExited, JobStarted
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
from caroni.core.rows import AgentJob, AgentOffer, Row

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


def happened(d: AgentDraft, event: JobStarted | JobExited) -> None:
    """Take what the executor reports."""
    if isinstance(event, JobStarted):
        jobs.on_started(d, event)
    else:
        jobs.on_exited(d, event)


def fire(d: AgentDraft, row_type: type[Row], key: Hashable) -> None:
    """A timer is due."""
    row = d.get(row_type, key)
    if isinstance(row, AgentOffer):
        offers.on_offer_due(d, row)
    elif isinstance(row, AgentJob):
        jobs.on_job_due(d, row)


def settle(d: AgentDraft) -> bool:
    """The end of a unit of work: start what the free slots allow, offer what there is room for."""
    jobs.settle(d)
    if d.state.declined_busy:
        offers.offer_what_was_declined(d)
    jobs.keep_newest_status(d)
    return False
