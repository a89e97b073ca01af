"""Every message, event, command and timer, in every state of the manager's row that it is about: none raises.

A manager is brought into each state by real messages; then all is tried there, in the hold after a restore
and out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

import pytest

from caroni.core.clockjump import ClockJumped
from caroni.core.commands import (
    CancelWorkflow,
    KillJob,
    PauseJob,
    PauseWorkflow,
    RequestLog,
    ResumeJob,
    ResumeWorkflow,
    RetrySteps,
    SubmitWorkflow,
)
from caroni.core.draft import Origin
from caroni.core.ids import job_uuid_of, value_digest
from caroni.core.manager import routes as manager_routes
from caroni.core.manager.fulfilment import MAX_OFFERS
from caroni.core.manager.state import Started as ManagerStarted
from caroni.core.manager.state import Unheard
from caroni.core.messages import (
    AgentPresence,
    DeclineReason,
    FailureClass,
    JobAccepted,
    JobDataAvailable,
    JobFulfillmentDecline,
    JobFulfillmentOffer,
    JobFulfillmentOfferWithdrawn,
    JobLogChunk,
    JobReport,
    JobReportEntry,
    JobStatus,
    JobStatusUpdate,
    Message,
    OnFailure,
    PresenceState,
    WorkFlowCancel,
    WorkFlowCreate,
    WorkFlowPause,
    WorkFlowResume,
    WorkFlowRetry,
    WorkFlowStatusRequest,
)
from caroni.core.plan import DAY, HOUR, SECOND
from caroni.core.rows import (
    Job,
    Offer,
    Orphan,
    Request,
    Row,
    Step,
    Workflow,
)
from caroni.core.states import (
    JobState,
    OfferState,
    RequestState,
    StepState,
    WorkflowState,
)
from tests.core.build import (
    AGENT,
    OUT,
    OUTSIDER,
    SECOND_AGENT,
    SUBMITTER,
    UNCLEARED,
    ManagerSide,
    plan,
    step,
)
from tests.core.pairs import Decide, commanded, found, try_all

ONE, TWO = b"o" * 16, b"p" * 16
#: chosen so that few messages lead into every state
PLANS = {
    "one": plan(step("first")),
    "chain": plan(step("first"), step("second", "first/out")),
    "brittle": plan(step("first", max_attempts=1), step("second")),
    "once": plan(step("first", at_most_once=True), step("second", "first/out")),
}


def manager(template: str = "chain", **settings: Any) -> ManagerSide:
    side = ManagerSide(PLANS, **settings)
    side.submit(template)
    return side


def fulfilled() -> ManagerSide:
    side = manager()
    side.offer(ONE)
    side.offer(TWO, by=SECOND_AGENT)
    side.accepted(ONE)
    return side


def with_status(status: JobStatus, template: str = "chain") -> ManagerSide:
    side = manager(template)
    side.fulfilled(template)
    side.status(JobStatus.RUNNING)
    side.status(status)
    return side


def lost(template: str = "chain") -> ManagerSide:
    side = manager(template)
    side.lost(template)
    return side


def failing() -> ManagerSide:
    side = manager("brittle")
    side.offer(ONE)
    side.accepted(ONE)
    side.offer(TWO, by=SECOND_AGENT, name="second")
    side.accepted(TWO, by=SECOND_AGENT)
    side.status(JobStatus.RUNNING, (SECOND_AGENT, job_uuid_of(TWO)))
    side.fails((AGENT, job_uuid_of(ONE)))
    return side


def cancelling() -> ManagerSide:
    side = manager()
    side.running("chain")
    side.say(WorkFlowCancel(workflow_uuid=side.workflow_uuid), SUBMITTER)
    return side


def cancelled() -> ManagerSide:
    side = cancelling()
    side.status(JobStatus.KILLED)
    return side


def completed(template: str = "chain") -> ManagerSide:
    side = manager(template)
    side.running(template)
    side.completes()
    return side


def failed() -> ManagerSide:
    side = failing()
    side.completes((SECOND_AGENT, job_uuid_of(TWO)))
    return side


def superseded() -> ManagerSide:
    side = lost()
    side.again(TWO)
    side.completes((AGENT, job_uuid_of(ONE)))
    return side


def dead() -> ManagerSide:
    side = manager("one")
    for number in range(MAX_OFFERS):
        side.offer(number.to_bytes(16, "big"), by=SECOND_AGENT)
    for number in range(MAX_OFFERS):
        uuid = side.step().request_uuid
        gone = JobFulfillmentOfferWithdrawn(request_uuid=uuid, offer_uuid=number.to_bytes(16, "big"))
        side.say(gone, SECOND_AGENT)
    side.wait(HOUR)
    return side


def expired() -> ManagerSide:
    side = manager()
    side.offer(ONE)
    side.offer(TWO, by=SECOND_AGENT, ttl=SECOND)
    side.now += 2 * SECOND
    side.say(JobFulfillmentOfferWithdrawn(request_uuid=side.step().request_uuid, offer_uuid=ONE), AGENT)
    return side


def standing_by() -> ManagerSide:
    side = manager()
    side.offer(ONE)
    side.offer(TWO, by=SECOND_AGENT)
    return side


def orphaned() -> ManagerSide:
    side = manager()
    side.happens(ManagerStarted(put_back=True))
    side.status(JobStatus.RUNNING, (AGENT, b"f" * 16))
    assert side.state.tables[Orphan]
    return side


def retried() -> ManagerSide:
    side = manager()
    side.running("chain")
    side.fails()
    return side


MANAGERS: list[tuple[StrEnum, type[Row], Callable[[], ManagerSide]]] = [
    (WorkflowState.RUNNING, Workflow, manager),
    (WorkflowState.HELD, Workflow, lambda: lost("once")),
    (WorkflowState.FAILING, Workflow, failing),
    (WorkflowState.CANCELLING, Workflow, cancelling),
    (WorkflowState.COMPLETED, Workflow, lambda: completed("one")),
    (WorkflowState.FAILED, Workflow, failed),
    (WorkflowState.CANCELLED, Workflow, cancelled),
    (StepState.WAITING, Step, retried),
    (StepState.FULFILLING, Step, manager),
    (StepState.FULFILLED, Step, fulfilled),
    (StepState.RUNNING, Step, lambda: with_status(JobStatus.RUNNING)),
    (StepState.HELD, Step, lambda: lost("once")),
    (StepState.COMPLETED, Step, completed),
    (StepState.FAILED, Step, failing),
    (StepState.CANCELLED, Step, cancelling),
    (RequestState.OPEN, Request, manager),
    (RequestState.ACCEPTING, Request, standing_by),
    (RequestState.FULFILLED, Request, fulfilled),
    (RequestState.DEAD, Request, dead),
    (RequestState.WITHDRAWN, Request, lambda: cancelled_early()),
    (OfferState.RECEIVED, Offer, standing_by),
    (OfferState.ACCEPTED, Offer, fulfilled),
    (OfferState.REJECTED, Offer, fulfilled),
    (OfferState.EXPIRED, Offer, expired),
    (OfferState.GONE, Offer, expired),
    (JobState.PENDING, Job, fulfilled),
    (JobState.QUEUED, Job, lambda: queued()),
    (JobState.RUNNING, Job, lambda: with_status(JobStatus.RUNNING)),
    (JobState.PAUSED, Job, lambda: with_status(JobStatus.PAUSED)),
    (JobState.LOST, Job, lost),
    (JobState.SUPERSEDED, Job, superseded),
    (JobState.COMPLETED, Job, completed),
    (JobState.FAILED, Job, retried),
    (JobState.KILLED, Job, cancelled),
]


def cancelled_early() -> ManagerSide:
    side = standing_by()
    side.say(WorkFlowCancel(workflow_uuid=side.workflow_uuid), SUBMITTER)
    return side


def queued() -> ManagerSide:
    side = fulfilled()
    side.status(JobStatus.QUEUED)
    return side


def of_manager(side: ManagerSide) -> Iterator[tuple[str, Decide]]:
    """All that can come, about every row there is."""
    say: Any = side.hear
    state: Any = side.state
    agents = (AGENT, SECOND_AGENT, UNCLEARED)
    requests = [*list(state.tables[Request])[-3:], b"?" * 16]
    offers = [*list(state.tables[Offer])[-4:], (AGENT, b"?" * 16)]
    jobs = [*state.tables[Job], (AGENT, b"?" * 16), *state.tables[Orphan]]
    workflows = [*state.tables[Workflow], b"?" * 16]

    def heard(m: Message, by: str, stream: int = 1, conversation: bytes = b"") -> tuple[str, Decide]:
        origin = Origin(uri=by, stream_id=stream, conversation_id=conversation)
        return f"{m} by {by}", lambda draft: say(draft, origin, m)

    for request in requests:
        for by in agents:
            for ttl in (0, HOUR):
                yield heard(JobFulfillmentOffer(request_uuid=request, offer_uuid=b"n" * 16, ttl=ttl), by)
            for reason in DeclineReason:
                yield heard(JobFulfillmentDecline(request_uuid=request, reason=reason), by)
    for owner, offer in offers:
        row = state.get(Offer, (owner, offer))
        request = row.request_uuid if row is not None else requests[0]
        for by in {owner, UNCLEARED}:
            for job in (job_uuid_of(offer), b"!" * 16):
                yield heard(JobAccepted(job_uuid=job, offer_uuid=offer), by, conversation=request)
            yield heard(JobFulfillmentOffer(request_uuid=request, offer_uuid=offer, ttl=HOUR), by)
            yield heard(JobFulfillmentOfferWithdrawn(request_uuid=request, offer_uuid=offer), by)
    for owner, uuid in jobs:
        job = state.get(Job, (owner, uuid))
        for by in {owner, UNCLEARED}:
            for status in JobStatus:
                for further, stream in ((1, 1), (0, 1), (-1, 1), (1, 2)):
                    m = JobStatusUpdate(
                        job_uuid=uuid,
                        job_status=status,
                        seq=max(0, (job.seq if job is not None else 0) + further),
                        exit_code=3 if status is JobStatus.FAILED else None,
                        manifest={"out": value_digest(OUT)} if status is JobStatus.COMPLETED else {},
                    )
                    yield heard(m, by, stream, requests[0])
                entry = JobReportEntry(job_uuid=uuid, job_status=status)
                yield heard(JobReport(report_uuid=b"R" * 16, jobs=(entry,), complete=True), by)
            for cls in FailureClass:
                m = JobStatusUpdate(job_uuid=uuid, job_status=JobStatus.FAILED, seq=99, failure_class=cls)
                yield heard(m, by)
            for value in (OUT, '"other"', "1", "["):
                yield heard(JobDataAvailable(job_uuid=uuid, parameters={"out": value, "more": value}), by)
            for refusal in ("", "no"):
                yield heard(JobLogChunk(job_uuid=uuid, data=b"text", refusal=refusal), by)
        for kind in (KillJob, PauseJob, ResumeJob, RequestLog):
            command = kind(peer=owner, job_uuid=uuid)
            yield str(command), commanded(side, command)
    for by in agents:
        for complete in (False, True):
            yield heard(JobReport(report_uuid=b"R" * 16, complete=complete), by)
        told = JobReport(report_uuid=b"R" * 16, complete=True, seen_stream=state.own_stream, seen_sequence=7)
        yield heard(told, by)
        for said in PresenceState:
            for boot in (b"", b"1", b"2"):
                presence = AgentPresence(
                    state=said, offline_for=HOUR, job_types=("t",), number=9, boot_id=boot
                )
                yield heard(presence, by, 2)
    for workflow in workflows:
        for by in (SUBMITTER, OUTSIDER, AGENT):
            for wish in (WorkFlowCancel, WorkFlowPause, WorkFlowResume, WorkFlowRetry, WorkFlowStatusRequest):
                yield heard(wish(workflow_uuid=workflow), by)
        for steps in ((), ("first",), ("second",), ("first", "second"), ("nothing",)):
            for order in (CancelWorkflow, PauseWorkflow, ResumeWorkflow, RetrySteps):
                yield str(order), commanded(side, order(workflow_uuid=workflow, steps=steps))
    for template in ("chain", "none such"):
        begin = SubmitWorkflow(template=template, inputs={"start": "1"})
        yield str(begin), commanded(side, begin)
        for key in (b"k" * 16, b"K" * 16, b""):
            create = WorkFlowCreate(
                template_name=template, inputs={"start": "1"}, submit_uuid=key, on_failure=OnFailure.KILL
            )
            yield heard(create, SUBMITTER)
    happenings = [Unheard(requests=tuple(requests)), ManagerStarted(), ManagerStarted(put_back=True)]
    for event in (*happenings, ClockJumped(by=-DAY), ClockJumped(by=DAY)):
        yield str(event), lambda draft, event=event: manager_routes.happened(draft, event)  # type: ignore[misc]
    for row_type in (Request, Job, Step, Orphan, Offer, Workflow):
        for key in [*state.tables[row_type], b"?" * 16]:
            yield (
                f"timer of {row_type.__name__}",
                lambda draft, row_type=row_type, key=key: manager_routes.fire(draft, row_type, key),  # type: ignore[misc]
            )


@pytest.mark.parametrize(
    ("state", "row_type", "recipe"), MANAGERS, ids=[f"{t.__name__}-{s}" for s, t, _ in MANAGERS]
)
@pytest.mark.parametrize("hold", [False, True], ids=["", "in the hold"])
def test_a_manager_takes_anything(
    state: StrEnum, row_type: type[Row], recipe: Callable[[], ManagerSide], hold: bool
) -> None:
    side = recipe()
    assert found(side, state, row_type), f"the recipe leads to no {row_type.__name__} that is {state}"
    if hold:
        side.state.hold_until = side.now + DAY
    try_all(side, of_manager(side))


def test_a_manager_with_an_orphan_takes_anything() -> None:
    side = orphaned()
    try_all(side, of_manager(side))


def test_no_state_of_a_manager_is_left_out() -> None:
    kinds = (WorkflowState, StepState, RequestState, OfferState, JobState)
    assert {s for s, _, _ in MANAGERS} == {s for kind in kinds for s in kind}


def test_every_message_is_tried() -> None:
    """What a manager has a handler for is among what was tried."""
    tried = {what.split("(")[0] for what, _ in of_manager(manager())}
    assert {kind.__name__ for kind in manager_routes._HANDLERS} <= tried
