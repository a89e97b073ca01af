"""Peers of the base protocol: what they are told, each thing once, and how they are read."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from caroni.core.agent import routes
from caroni.core.agent.state import AgentDraft, ForgetJob, JobExited, JobStarted
from caroni.core.base_peers import is_base, may_hear, statuses, typed, typed_all
from caroni.core.draft import Origin
from caroni.core.manager.state import Unreachable
from caroni.core.messages import (
    AgentPresence,
    JobDataAvailable,
    JobFulfillmentOffer,
    JobFulfillmentOfferAccept,
    JobFulfillmentOfferReject,
    JobFulfillmentRequest,
    JobKill,
    JobStatus,
    JobStatusRequest,
    JobStatusUpdate,
    Message,
    PresenceState,
    WorkFlowCancel,
    WorkFlowCreated,
)
from caroni.core.plan import HOUR, MINUTE, SECOND
from caroni.core.rows import AgentInput, AgentJob, Flow, Job, Workflow
from caroni.core.states import (
    AgentJobState,
    JobState,
    OfferState,
    RequestState,
    StepState,
    WorkflowState,
)
from tests.core.build import OUT, SUBMITTER, AgentSide, ManagerSide, Said, plan, step

BASE_AGENT = "unsigned:wf.agent.AAAAAAAAAAAAAAAAAAAAAA"
OTHER_AGENT = "unsigned:wf.agent.BBBBBBBBBBBBBBBBBBBBBB"
BASE_MANAGER = "unsigned:wf.manager.AAAAAAAAAAAAAAAAAAAAAA"
OFFER, JOB, REQUEST = b"o" * 16, b"j" * 16, b"r" * 16


def heard(said: Said) -> list[Message]:
    """What really goes out to base peers."""
    return [o.message for o in said.sent if is_base(o.to) and may_hear(o.message)]


# --- what is said and read -----------------------------------------------------------------------


def test_only_what_base_peers_know_is_said_to_them() -> None:
    assert may_hear(JobDataAvailable(job_uuid=JOB, parameters={}))
    assert may_hear(JobStatusUpdate(job_uuid=JOB, job_status=JobStatus.FAILED))
    for status in (JobStatus.UNSPECIFIED, JobStatus.PAUSED, JobStatus.KILLED, JobStatus.UNKNOWN):
        assert not may_hear(JobStatusUpdate(job_uuid=JOB, job_status=status))
    assert not may_hear(AgentPresence(state=PresenceState.ONLINE))
    assert not may_hear(JobKill(job_uuid=JOB))
    assert not may_hear(WorkFlowCreated(submit_uuid=JOB, workflow_uuid=JOB, template_revision=1))


@pytest.mark.parametrize(
    ("value", "type_", "read"),
    [
        ('"text"', "string", '"text"'),
        ('"5"', "int", "5"),
        ('"5"', "string", '"5"'),
        ('"5"', "Any", '"5"'),
        ('"1.5"', "double", "1.5"),
        ('"true"', "boolean", "true"),
        ('""', ["null", "int"], "null"),
        ('""', ["null", "string"], '""'),
        ('"[1, 2]"', {"type": "array", "items": "int"}, "[1, 2]"),
        ('"many"', "int", '"many"'),
        ('"1.5"', "int", '"1.5"'),
        ('"NaN"', "double", '"NaN"'),
        ("7", "string", "7"),
        ('"' + "[" * 5000 + '"', "Any", '"' + "[" * 5000 + '"'),
        ('"' + "[" * 5000 + '"', "int", '"' + "[" * 5000 + '"'),
    ],
)
def test_values_are_read_as_their_type_wants(value: str, type_: object, read: str) -> None:
    assert typed(value, type_) == read  # type: ignore[arg-type]
    assert typed_all({"a": value, "b": value}, {"a": type_}) == {"a": read, "b": value}  # type: ignore[dict-item]


def test_a_base_manager_hears_three_statuses_whatever_way_a_job_takes() -> None:
    job = AgentJob(
        manager=BASE_MANAGER,
        job_uuid=JOB,
        offer_uuid=OFFER,
        request_uuid=REQUEST,
        state=AgentJobState.PENDING,
    )
    s, ok = AgentJobState, (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED)
    for way in (
        (s.PENDING, s.QUEUED, s.STARTING, s.RUNNING, s.COMPLETED),
        (s.PENDING, s.QUEUED, s.STARTING, s.COMPLETED),
        (s.PENDING, s.QUEUED, s.STARTING, s.RUNNING, s.PAUSED, s.RUNNING, s.FAILED),
        (s.PENDING, s.QUEUED, s.STARTING, s.KILLING, s.KILLED),
        (s.PENDING, s.QUEUED, s.STARTING, s.RUNNING, s.KILLING, s.COMPLETED),
        (s.PENDING, s.FAILED),
        (s.PENDING, s.KILLED),
    ):
        said: list[JobStatus] = []
        was: AgentJob | None = None
        for state in way:
            now = replace(job, state=state)
            if was is not None:
                now = replace(now, started_at=was.started_at)
            if state is s.RUNNING:
                now = replace(now, started_at=1)
            if state is not s.KILLING:  # which is no news
                said += statuses(was, now)
            was = now
        end = ok[2] if way[-1] is s.COMPLETED else JobStatus.FAILED
        assert said == [*ok[:2], end], way


# --- a manager and a base agent ------------------------------------------------------------------


@pytest.fixture
def m() -> ManagerSide:
    return ManagerSide()


def says(m: ManagerSide, status: JobStatus, job: bytes = JOB, by: str = BASE_AGENT) -> Said:
    return m.say(JobStatusUpdate(job_uuid=job, job_status=status), by)


def given(m: ManagerSide, job: bytes = JOB, by: str = BASE_AGENT, **values: str) -> Said:
    return m.say(JobDataAvailable(job_uuid=job, parameters=values or {"out": OUT}), by)


def fulfilled(m: ManagerSide, template: str = "one") -> Said:
    m.submit(template)
    m.offer(OFFER, by=BASE_AGENT, ttl=0)
    return m.accepted(OFFER, by=BASE_AGENT, job_uuid=JOB)


def test_the_handshake_as_a_base_manager_has_it(m: ManagerSide) -> None:
    m.submit()
    assert m.offer(OFFER, by=BASE_AGENT, ttl=0).kinds == ["JobFulfillmentOfferAccept"]
    said = m.accepted(OFFER, by=BASE_AGENT, job_uuid=JOB)
    assert said.kinds == ["JobStatusRequest", "JobDataAvailable"]
    assert said.of(JobDataAvailable)[0].parameters == {"a": '"s"'}
    for status in (JobStatus.PENDING, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED):
        assert says(m, status).kinds == []
    assert m.step().state is StepState.RUNNING
    assert heard(given(m)) == []
    assert m.step().state is StepState.COMPLETED
    assert m.job().state is JobState.COMPLETED


def test_D_what_the_broker_brings_twice_says_nothing_twice(m: ManagerSide) -> None:
    m.submit()
    m.offer(OFFER, by=BASE_AGENT)
    assert m.offer(OFFER, by=BASE_AGENT).kinds == []
    m.accepted(OFFER, by=BASE_AGENT, job_uuid=JOB)
    assert m.accepted(OFFER, by=BASE_AGENT, job_uuid=JOB).kinds == []
    assert m.offer(OFFER, by=BASE_AGENT).kinds == []
    for status in (
        JobStatus.PENDING,
        JobStatus.PENDING,
        JobStatus.QUEUED,
        JobStatus.QUEUED,
        JobStatus.PENDING,
    ):
        assert says(m, status).kinds == []
    for status in (JobStatus.RUNNING, JobStatus.COMPLETED, JobStatus.COMPLETED, JobStatus.RUNNING):
        assert says(m, status).kinds == []
    given(m)
    assert heard(given(m)) == heard(says(m, JobStatus.COMPLETED)) == []
    assert m.step().state is StepState.COMPLETED


def test_nothing_is_said_while_the_agent_is_deaf(m: ManagerSide) -> None:
    fulfilled(m)
    says(m, JobStatus.RUNNING)
    assert heard(m.wait(30 * MINUTE)) == []
    assert m.job().state is JobState.RUNNING


def test_outputs_come_after_the_end_and_one_by_one() -> None:
    two = replace(step("first"), outputs={"out": "string", "n": "int"})
    m = ManagerSide({"one": plan(two)})
    fulfilled(m)
    says(m, JobStatus.RUNNING)
    says(m, JobStatus.COMPLETED)
    given(m)
    assert m.step().state is StepState.RUNNING
    given(m, n='"5"')
    assert m.step().state is StepState.COMPLETED
    assert m.row(Flow, (m.workflow_uuid, "first/n")).value == "5"


@pytest.mark.parametrize(
    ("type_", "state"), [("string", StepState.WAITING), (["null", "string"], StepState.COMPLETED)]
)
def test_outputs_that_never_come(type_: object, state: StepState) -> None:
    """Completed without an output that must be there is a failure of the job; else it is null."""
    m = ManagerSide({"one": plan(replace(step("first", backoff=HOUR), outputs={"out": type_}))})
    fulfilled(m)
    says(m, JobStatus.RUNNING)
    says(m, JobStatus.COMPLETED)
    assert m.step().state is StepState.RUNNING
    assert heard(m.wait(m.settings.poll + SECOND)) == []
    assert m.step().state is state


def test_the_lease_ends_and_the_agent_hears_nothing_of_it(m: ManagerSide) -> None:
    fulfilled(m)
    says(m, JobStatus.RUNNING)
    said = m.wait(m.settings.lost_after + 15 * MINUTE)
    assert m.job().state is JobState.LOST
    assert heard(said) == []
    assert not m.job().kill_wanted
    # its result still counts if it comes first
    assert m.step().state is StepState.FULFILLING
    says(m, JobStatus.COMPLETED)
    assert heard(given(m)) == []
    assert m.step().state is StepState.COMPLETED


def test_an_agent_without_a_queue_has_lost_its_jobs(m: ManagerSide) -> None:
    fulfilled(m)
    said = m.unit(lambda d: m.routes().happened(d, Unreachable(peer=BASE_AGENT)))
    assert heard(said) == []
    assert m.job().state is JobState.LOST
    m.wait(MINUTE)
    m.offer(b"p" * 16, by=OTHER_AGENT)
    m.accepted(b"p" * 16, by=OTHER_AGENT, job_uuid=b"k" * 16)
    assert m.job().agent == OTHER_AGENT
    m.unit(lambda d: m.routes().happened(d, Unreachable(peer=BASE_AGENT)))
    assert m.job().state is JobState.PENDING


def test_an_agent_without_a_queue_cannot_confirm(m: ManagerSide) -> None:
    m.submit()
    m.offer(OFFER, by=BASE_AGENT)
    m.offer(b"p" * 16, by=OTHER_AGENT)
    said = m.unit(lambda d: m.routes().happened(d, Unreachable(peer=BASE_AGENT)))
    assert m.offer_row(OFFER, BASE_AGENT).state is OfferState.GONE
    assert [o.to for o in said.sent] == [OTHER_AGENT], "who stands by is taken"
    assert m.request().agent == OTHER_AGENT


def test_an_accept_is_said_once_and_waited_for(m: ManagerSide) -> None:
    m.submit()
    m.offer(OFFER, by=BASE_AGENT)
    assert heard(m.wait(m.settings.lost_after)) == []
    assert m.request().state is RequestState.ACCEPTING
    said = m.wait(MINUTE)
    assert heard(said) == []
    assert m.request().state is RequestState.OPEN
    # it was deaf for longer than anybody waits: its job is not wanted, and not told so
    m.offer(b"p" * 16, by=OTHER_AGENT)
    assert heard(m.accepted(OFFER, by=BASE_AGENT, job_uuid=JOB)) == []
    assert m.row(Job, (BASE_AGENT, JOB)).state is JobState.SUPERSEDED
    assert heard(m.wait(HOUR)) == []
    assert not m.row(Job, (BASE_AGENT, JOB)).due


def test_others_offers_are_rejected_once(m: ManagerSide) -> None:
    m.submit()
    m.offer(OFFER, by=BASE_AGENT)
    m.offer(b"p" * 16, by=OTHER_AGENT)
    said = m.accepted(OFFER, by=BASE_AGENT, job_uuid=JOB)
    assert [o.to for o in said.sent if isinstance(o.message, JobFulfillmentOfferReject)] == [OTHER_AGENT]
    assert m.offer(b"p" * 16, by=OTHER_AGENT).kinds == []


def test_a_job_of_a_cancelled_workflow_runs_to_its_end(m: ManagerSide) -> None:
    fulfilled(m)
    says(m, JobStatus.RUNNING)
    said = m.say(WorkFlowCancel(workflow_uuid=m.workflow_uuid), SUBMITTER)
    assert heard(said) == []
    says(m, JobStatus.COMPLETED)
    assert heard(given(m)) == []
    assert m.step().state is StepState.CANCELLED
    assert m.workflow.state is WorkflowState.CANCELLED


def test_a_base_submitters_workflow(m: ManagerSide) -> None:
    submitter = "unsigned:wf.agent.CCCCCCCCCCCCCCCCCCCCCC"
    for _ in range(2):
        said = m.submit(by=submitter, key=b"")
        assert heard(said) == []
        assert m.workflow.submitter == submitter
    assert len(m.state.tables[Workflow]) == 2
    assert heard(m.submit("none", by=submitter, key=b"", inputs={})) == []


# --- an agent and a base manager -----------------------------------------------------------------


@pytest.fixture
def a() -> AgentSide:
    side = AgentSide()
    side.policy = replace(side.policy, allow=lambda manager, job_type: side.allowance)
    side.state = side.fresh(())
    return side


def test_a_job_as_a_base_manager_hears_of_it(a: AgentSide) -> None:
    offer = a.request(by=BASE_MANAGER, round=0).only(JobFulfillmentOffer).offer_uuid
    assert a.accept(offer, by=BASE_MANAGER).kinds == ["JobAccepted"]
    job = a.job(offer, BASE_MANAGER).job_uuid
    asked = a.say(JobStatusRequest(job_uuid=job), BASE_MANAGER)
    assert asked.only(JobStatusUpdate).job_status is JobStatus.PENDING
    assert a.data(offer, by=BASE_MANAGER, a='"x"').only(JobStatusUpdate).job_status is JobStatus.QUEUED
    assert a.started(offer, BASE_MANAGER).only(JobStatusUpdate).job_status is JobStatus.RUNNING
    said = a.exited(offer, manager=BASE_MANAGER, outputs={"out": OUT, "more": "1"})
    assert said.kinds == ["JobStatusUpdate", "JobDataAvailable", "JobDataAvailable"]
    assert said.of(JobStatusUpdate)[0].job_status is JobStatus.COMPLETED
    assert [m.parameters for m in said.of(JobDataAvailable)] == [{"out": OUT}, {"more": "1"}]
    assert said.act(ForgetJob)
    assert a.job(offer, BASE_MANAGER).released
    assert heard(a.wait(24 * HOUR)) == [], "nothing is repeated"


def test_D_nothing_is_said_twice_to_a_base_manager(a: AgentSide) -> None:
    offer = a.offered(by=BASE_MANAGER, round=0)
    assert heard(a.request(by=BASE_MANAGER, round=0)) == []
    a.accept(offer, by=BASE_MANAGER)
    assert heard(a.request(by=BASE_MANAGER, round=0)) == []
    assert heard(a.accept(offer, by=BASE_MANAGER)) == []
    a.data(offer, by=BASE_MANAGER)
    for _ in range(2):
        assert heard(a.data(offer, by=BASE_MANAGER)) == []
        job = a.job(offer, BASE_MANAGER).job_uuid
        assert heard(a.say(JobStatusRequest(job_uuid=job), BASE_MANAGER)) == []
    a.started(offer, BASE_MANAGER)
    a.exited(offer, manager=BASE_MANAGER)
    assert heard(a.data(offer, by=BASE_MANAGER)) == []
    assert heard(a.say(JobStatusRequest(job_uuid=job), BASE_MANAGER)) == []
    assert heard(a.say(JobKill(job_uuid=job), BASE_MANAGER)) == []


def test_several_statuses_of_one_unit_of_work_all_go_out(a: AgentSide) -> None:
    offer = a.pending(by=BASE_MANAGER, round=0)
    key = (BASE_MANAGER, a.job(offer, BASE_MANAGER).job_uuid)

    def all_at_once(draft: AgentDraft) -> None:
        data = JobDataAvailable(job_uuid=key[1], parameters={"a": '"x"'})
        routes.handle(draft, Origin(uri=BASE_MANAGER), data)
        routes.settle(draft)
        routes.happened(draft, JobStarted(key=key, at=a.now))
        routes.happened(draft, JobExited(key=key, state=AgentJobState.COMPLETED, outputs={"out": OUT}))

    said = a.unit(all_at_once)
    assert [m.job_status.name for m in said.of(JobStatusUpdate)] == ["QUEUED", "RUNNING", "COMPLETED"]


def test_a_process_whose_start_was_not_seen(a: AgentSide) -> None:
    offer = a.starting(by=BASE_MANAGER, round=0)
    said = a.exited(offer, AgentJobState.FAILED, manager=BASE_MANAGER)
    assert [m.job_status.name for m in said.of(JobStatusUpdate)] == ["RUNNING", "FAILED"]


@pytest.mark.parametrize("started", [False, True])
def test_a_kill_ends_in_failed(a: AgentSide, started: bool) -> None:
    offer = a.starting(by=BASE_MANAGER, round=0)
    if started:
        a.started(offer, BASE_MANAGER)
    job = a.job(offer, BASE_MANAGER).job_uuid
    assert heard(a.say(JobKill(job_uuid=job), BASE_MANAGER)) == []
    said = a.exited(offer, AgentJobState.FAILED, manager=BASE_MANAGER)
    names = [m.job_status.name for m in said.of(JobStatusUpdate)]
    assert names == (["FAILED"] if started else ["RUNNING", "FAILED"])


def test_an_input_of_the_wrong_type_and_one_that_never_comes(a: AgentSide) -> None:
    offer = a.pending(by=BASE_MANAGER, round=0, parameters=("a", "n"))
    said = a.data(offer, by=BASE_MANAGER, n='"many"')
    assert [m.job_status.name for m in heard(said)] == ["QUEUED", "RUNNING", "FAILED"]  # type: ignore[attr-defined]
    offer = a.pending(b"s" * 16, by=BASE_MANAGER, round=0)
    said = a.wait(a.settings.input_timeout + MINUTE)
    assert [m.job_status.name for m in heard(said)] == ["QUEUED", "RUNNING", "FAILED"]  # type: ignore[attr-defined]


def test_a_value_is_kept_as_its_type_wants(a: AgentSide) -> None:
    offer = a.pending(by=BASE_MANAGER, round=0, parameters=("a", "n"))
    job = a.job(offer, BASE_MANAGER)
    a.data(offer, by=BASE_MANAGER, n='"5"')
    assert a.row(AgentInput, (*job.key, "n")).value == "5"
    assert a.data(offer, by=BASE_MANAGER, n='"5"').notes == []
    assert a.row(AgentInput, (*job.key, "n")).value == "5"


def test_a_base_manager_is_not_told_what_it_does_not_know(a: AgentSide) -> None:
    for message in (
        JobFulfillmentOfferAccept(request_uuid=REQUEST, offer_uuid=OFFER),
        JobFulfillmentOfferReject(request_uuid=REQUEST, offer_uuid=OFFER),
        JobStatusRequest(job_uuid=JOB),
        JobDataAvailable(job_uuid=JOB, parameters={"a": "1"}),
        JobKill(job_uuid=JOB),
        JobFulfillmentRequest(request_uuid=REQUEST, job_type_name="unknown", parameters=()),
    ):
        assert heard(a.say(message, BASE_MANAGER)) == []
