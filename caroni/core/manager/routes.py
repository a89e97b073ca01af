"""The manager's entrance: message type -> handler and the rows it needs, timers, and the end of a unit.

``handle`` never raises for anything a peer can say; if it does, that is our own bug and the caller
quarantines the message. It does not decide who may send what: the caller has verified the sender and
his role.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from msgspec.structs import replace

from caroni.core.base_peers import is_base
from caroni.core.clockjump import ClockJumped, on_clock_jumped
from caroni.core.commands import ManagerCommand, RequestLog
from caroni.core.draft import Origin
from caroni.core.manager import (
    agents,
    attempts,
    control,
    fulfilment,
    joblogs,
    jobs,
    restore,
    workflows,
)
from caroni.core.manager.state import ManagerDraft, ManagerState, Started, Unheard, Unreachable
from caroni.core.messages import (
    AgentPresence,
    JobAccepted,
    JobDataAvailable,
    JobFulfillmentDecline,
    JobFulfillmentOffer,
    JobFulfillmentOfferWithdrawn,
    JobLogChunk,
    JobReport,
    JobStatusUpdate,
    Message,
    WorkFlowCancel,
    WorkFlowCreate,
    WorkFlowPause,
    WorkFlowResume,
    WorkFlowRetry,
    WorkFlowStatusRequest,
)
from caroni.core.rows import Job, JobKey, JobLog, Offer, Orphan, Request, Row, Step, Workflow
from caroni.core.states import RequestState

#: A row named by what finds it: its key, or ``(submitter, submit_uuid)`` for a workflow.
Need = tuple[type[Row], Hashable]


_HANDLERS: dict[type[Message], Callable[[ManagerDraft, Origin, Any], None]] = {
    JobFulfillmentDecline: fulfilment.on_decline,
    JobFulfillmentOffer: fulfilment.on_offer,
    JobFulfillmentOfferWithdrawn: fulfilment.on_withdrawn,
    JobAccepted: fulfilment.on_job_accepted,
    JobStatusUpdate: jobs.on_status,
    JobDataAvailable: jobs.on_data,
    JobLogChunk: joblogs.on_log_chunk,
    JobReport: agents.on_report,
    AgentPresence: agents.on_presence,
    WorkFlowCreate: workflows.on_create,
    WorkFlowStatusRequest: control.on_status_request,
    WorkFlowCancel: control.on_cancel,
    WorkFlowPause: control.on_pause,
    WorkFlowResume: control.on_resume,
    WorkFlowRetry: control.on_retry,
}


def needs(state: ManagerState, sender: str, m: Message) -> list[Need]:
    """The rows that a decision on this message looks up, may exist, and are not in memory.

    What hangs on a row (step, workflow, outputs) is loaded with it. Rows that are in memory name those
    that belong to them, so a first offer or a first ``JobAccepted`` costs no query.
    """
    match m:
        case JobFulfillmentOffer():
            request = state.get(Request, m.request_uuid)
            key = (sender, m.offer_uuid)
            if request is None:
                return [(Request, m.request_uuid), (Offer, key)]
            return _absent(state, (Offer, key)) if key in request.offers else []
        case JobFulfillmentOfferWithdrawn():
            return _absent(state, (Offer, (sender, m.offer_uuid)))
        case JobAccepted():
            key = (sender, m.job_uuid)
            offer = state.get(Offer, (sender, m.offer_uuid))
            if offer is None:
                return [(Offer, (sender, m.offer_uuid)), *_job(state, key)]
            request = state.get(Request, offer.request_uuid)
            if request is None:
                return [(Request, offer.request_uuid), *_job(state, key)]
            step = state.get(Step, (request.workflow_uuid, request.step_index))
            return _absent(state, (Job, key)) if step is not None and key in step.jobs else []
        case JobStatusUpdate() | JobDataAvailable():
            return _job(state, (sender, m.job_uuid))
        case JobLogChunk():
            return _absent(state, (JobLog, (sender, m.job_uuid, m.stream)))
        case JobReport():
            return [need for entry in m.jobs for need in _job(state, (sender, entry.job_uuid))]
        case WorkFlowCreate():
            key = (sender, m.submit_uuid)
            return [(Workflow, key)] if m.submit_uuid and key not in state.submits else []
        case (
            WorkFlowStatusRequest() | WorkFlowCancel() | WorkFlowPause() | WorkFlowResume() | WorkFlowRetry()
        ):
            return _absent(state, (Workflow, m.workflow_uuid)) if m.workflow_uuid else []
        case _:
            return []


def command_needs(state: ManagerState, command: ManagerCommand) -> list[Need]:
    """The same for a command that may be about what has ended."""
    if not isinstance(command, RequestLog):
        return []
    key = (command.peer, command.job_uuid)
    return [*_absent(state, (Job, key)), *_absent(state, (JobLog, (*key, command.stream)))]


def _job(state: ManagerState, key: JobKey) -> list[Need]:
    """A job; after a restore it may be one that was given a row as a stranger."""
    if key in state.tables[Job]:
        return []
    return [(Job, key), *(_absent(state, (Orphan, key)) if state.hold_until else [])]


def _absent(state: ManagerState, need: Need) -> list[Need]:
    return [] if need[1] in state.tables[need[0]] else [need]


def handle(d: ManagerDraft, origin: Origin, m: Message) -> bool:
    """Decide on one message. False: this role has no use for the type (counted, else ignored)."""
    handler = _HANDLERS.get(type(m))
    if handler is None:
        return False
    handler(d, origin, m)
    return True


def contact(d: ManagerDraft, origin: Origin, sequence: int) -> None:
    """A verified envelope of this sender has come, whatever is in it."""
    agents.contact(d, origin, sequence)


def operate(d: ManagerDraft, command: ManagerCommand) -> dict[str, Any]:
    """Carry out an operator's command, or raise ``CommandRefused``."""
    return control.operate(d, command)


def happened(d: ManagerDraft, event: Unheard | Unreachable | Started | ClockJumped) -> None:
    """Take something local."""
    match event:
        case Unheard():
            # nobody listens now: shown to the operator, the re-broadcast goes on
            for request_uuid in event.requests:
                request = d.get(Request, request_uuid)
                if request is not None and request.state is RequestState.OPEN and not request.unheard:
                    d.put(replace(request, unheard=True))
        case Unreachable():
            attempts.agent_gone(d, event.peer)
            fulfilment.agent_gone(d, event.peer)
        case Started():
            agents.on_started(d, event)
        case ClockJumped():
            d.state.started_at = d.now  # the grace begins again: nothing that was silent has been so for long
            d.facts.append(("started_at", str(d.now)))
            on_clock_jumped(d, event)
            restore.move_hold(d, event.by)


def fire(d: ManagerDraft, row_type: type[Row], key: Hashable) -> None:
    """A timer is due."""
    row = d.get(row_type, key)
    if isinstance(row, Request):
        fulfilment.on_request_due(d, row)
    elif isinstance(row, Job):
        if row.ended and is_base(row.agent):
            jobs.on_outputs_due(d, row)
        else:
            attempts.on_job_due(d, row)
    elif isinstance(row, Step):
        attempts.on_step_due(d, row)
    elif isinstance(row, Orphan):
        restore.on_orphan_due(d, row)


def settle(d: ManagerDraft) -> bool:
    """The end of a unit of work: ask for what has become ready. True: there is more at once."""
    return fulfilment.settle(d)
