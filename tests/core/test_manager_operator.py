"""What a manager's own operator begins and looks at: workflows without a submitter, logs of jobs."""

from __future__ import annotations

import pytest

from caroni.core.commands import CancelWorkflow, RequestLog, SubmitWorkflow
from caroni.core.ids import job_uuid_of
from caroni.core.manager import routes
from caroni.core.manager.joblogs import MAX_LOG
from caroni.core.manager.state import evictable
from caroni.core.manager.workflows import SubmitRefused
from caroni.core.messages import (
    JobFulfillmentRequest,
    JobLogChunk,
    JobLogRequest,
    WorkFlowCreate,
    WorkFlowRejected,
)
from caroni.core.rows import Flow, Job, JobLog, Workflow
from caroni.core.states import JobState, StepState, WorkflowState
from caroni.errors import CommandRefused
from tests.core.build import AGENT, MANAGER, SECOND_AGENT, ManagerSide, plan, step

OFFER = b"o" * 16
JOB = job_uuid_of(OFFER)


@pytest.fixture
def m() -> ManagerSide:
    side = ManagerSide()
    side.state.uri = MANAGER
    return side


# --- submit ----------------------------------------------------------------------------------------


def begin(m: ManagerSide, template: str = "chain", **more: object) -> Workflow:
    more.setdefault("inputs", {"start": '"s"'})
    said = m.command(SubmitWorkflow(template=template, **more))  # type: ignore[arg-type]
    assert "WorkFlowCreated" not in said.kinds, "nobody is to be answered"
    m.workflow_uuid = bytes.fromhex(m.result["workflow"])
    return m.workflow


def test_the_operators_workflow_is_one_like_any_other(m: ManagerSide) -> None:
    workflow = begin(m, name="mine", kill_on_failure=True)
    assert (workflow.submitter, workflow.name, workflow.revision) == (MANAGER, "mine", 1)
    assert (workflow.kill_on_failure, workflow.reserve_all, workflow.watch) == (True, False, False)
    assert m.result == {"workflow": m.workflow_uuid.hex(), "name": "mine", "revision": 1}
    assert m.row(Flow, (m.workflow_uuid, "start")).value == '"s"'
    assert m.step("first").state is StepState.FULFILLING
    m.offer()
    m.accepted()
    m.completes()
    m.offer(b"p" * 16, name="second")
    m.accepted(b"p" * 16)
    m.completes((AGENT, job_uuid_of(b"p" * 16)))
    assert m.workflow.state is WorkflowState.COMPLETED


def test_it_is_asked_for_in_the_same_unit(m: ManagerSide) -> None:
    said = m.command(SubmitWorkflow(template="pair", inputs={"start": '"s"'}, reserve_all=True))
    assert len(said.of(JobFulfillmentRequest)) == 2


def test_a_workflow_without_steps_has_ended_at_once(m: ManagerSide) -> None:
    assert begin(m, "none").state is WorkflowState.COMPLETED


def test_two_commands_are_two_workflows(m: ManagerSide) -> None:
    assert begin(m).workflow_uuid != begin(m).workflow_uuid


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (SubmitWorkflow(template="what"), "no template is named what"),
        (SubmitWorkflow(template="chain", revision=7), "has no revision 7: its newest is 1"),
        (SubmitWorkflow(template="chain"), "input 'start' is missing"),
        (SubmitWorkflow(template="chain", inputs={"start": "{"}), "not JSON"),
        (SubmitWorkflow(template="chain", inputs={"start": '"s"', "stat": "1"}), "did you mean 'start'?"),
    ],
)
def test_what_is_wrong_is_refused_in_the_words_that_a_submitter_hears(
    m: ManagerSide, command: SubmitWorkflow, why: str
) -> None:
    with pytest.raises(SubmitRefused) as refusal:
        m.command(command)
    assert why in str(refusal.value).replace('"', "'")
    assert not m.state.tables[Workflow]
    if not command.revision:
        said = m.say(
            WorkFlowCreate(template_name=command.template, inputs=command.inputs, submit_uuid=b"k" * 16),
            "caroni://site/submitter/s",
        )
        rejected = said.only(WorkFlowRejected)
        assert rejected.reason == str(refusal.value)
        assert rejected.input_name == refusal.value.input_name


def test_nothing_new_while_the_host_is_short(m: ManagerSide) -> None:
    m.state.short_of = "disk"
    with pytest.raises(CommandRefused, match="takes nothing new at the moment: disk"):
        m.command(SubmitWorkflow(template="one", inputs={"start": '"s"'}))


def test_an_older_revision_can_be_run(m: ManagerSide) -> None:
    m.state.plans["one", 2] = plan(step("renamed"))
    m.state.revisions["one"] = 2
    m.command(SubmitWorkflow(template="one", inputs={"start": '"s"'}, revision=1))
    assert m.row(Workflow, bytes.fromhex(m.result["workflow"])).revision == 1
    m.command(SubmitWorkflow(template="one", inputs={"start": '"s"'}))
    assert m.row(Workflow, bytes.fromhex(m.result["workflow"])).revision == 2


def test_the_operator_steers_it_like_any_other(m: ManagerSide) -> None:
    begin(m)
    said = m.command(CancelWorkflow(workflow_uuid=m.workflow_uuid))
    assert "WorkFlowStatusUpdate" not in said.kinds
    assert m.workflow.state is WorkflowState.CANCELLED


# --- logs ------------------------------------------------------------------------------------------

ASK = RequestLog(peer=AGENT, job_uuid=JOB, stream="stdout", max_bytes=4096)


@pytest.fixture
def running(m: ManagerSide) -> ManagerSide:
    m.submit()
    m.offer(OFFER)
    m.accepted(OFFER)
    return m


def chunk(m: ManagerSide, data: bytes = b"line\n", by: str = AGENT, **more: object) -> list[str]:
    more.setdefault("stream", "stdout")
    return m.say(JobLogChunk(job_uuid=JOB, data=data, **more), by).rows()  # type: ignore[arg-type]


def log(m: ManagerSide) -> JobLog:
    return m.row(JobLog, (AGENT, JOB, "stdout"))


def test_a_log_is_asked_of_the_jobs_agent(running: ManagerSide) -> None:
    said = running.command(ASK)
    (out,) = said.sent
    assert (out.to, out.conversation_id) == (AGENT, running.job().request_uuid)
    assert said.only(JobLogRequest) == JobLogRequest(job_uuid=JOB, stream="stdout", max_bytes=4096)
    assert log(running).asked_at == running.result["asked_at"] > 0
    assert log(running).answered_at == 0


def test_an_answer_replaces_what_was_there(running: ManagerSide) -> None:
    running.command(ASK)
    assert chunk(running, b"\xff\x00one", offset=10, total_bytes=15) == ["JobLog"]
    first = log(running)
    assert first.data.encode("latin-1") == b"\xff\x00one"
    assert (first.offset, first.total, first.end) == (10, 15, False)
    assert first.answered_at >= first.asked_at
    assert running.job().state is JobState.PENDING, "a log says nothing of the state"
    running.command(ASK)
    chunk(running, b"two", offset=15, total_bytes=18, end=True)
    assert (log(running).data, log(running).offset, log(running).end) == ("two", 15, True)


def test_nothing_is_taken_that_was_not_asked_for(running: ManagerSide) -> None:
    assert chunk(running) == []
    running.command(ASK)
    assert chunk(running, stream="stderr") == []
    assert chunk(running, stream="../etc/passwd") == []
    assert chunk(running, by=SECOND_AGENT) == []
    assert chunk(running) == ["JobLog"]
    assert chunk(running, b"again") == [], "one answer to one question"
    assert log(running).data == "line\n"


def test_a_refusal_is_kept_beside_what_was_there(running: ManagerSide) -> None:
    running.command(ASK)
    chunk(running)
    running.command(ASK)
    chunk(running, b"", refusal="no" * 1000)
    assert log(running).refusal.startswith("nono")
    assert len(log(running).refusal) == 300
    assert log(running).data == "line\n"
    assert log(running).answered_at >= log(running).asked_at > log(running).at
    running.command(ASK)
    chunk(running, b"allowed now")
    assert (log(running).refusal, log(running).data) == ("", "allowed now")


def test_an_answer_is_bounded(running: ManagerSide) -> None:
    running.command(RequestLog(peer=AGENT, job_uuid=JOB, stream="stdout", max_bytes=1 << 30))
    assert running.posted[-1].message == JobLogRequest(job_uuid=JOB, stream="stdout", max_bytes=MAX_LOG)
    chunk(running, b"a" * 10 + b"b" * MAX_LOG, offset=5, total_bytes=1)
    assert log(running).data == "b" * MAX_LOG
    assert (log(running).offset, log(running).total) == (15, 15 + MAX_LOG)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (RequestLog(peer=AGENT, job_uuid=b"?" * 16), "no such job"),
        (RequestLog(peer=SECOND_AGENT, job_uuid=JOB), "no such job"),
        (RequestLog(peer=AGENT, job_uuid=JOB, stream="stdin"), "stdout or stderr"),
    ],
)
def test_a_log_that_cannot_be_asked_for(running: ManagerSide, command: RequestLog, why: str) -> None:
    with pytest.raises(CommandRefused, match=why):
        running.command(command)
    assert not running.state.tables[JobLog]


def test_logs_are_only_in_the_database(running: ManagerSide) -> None:
    command_needs = routes.command_needs(running.state, ASK)
    assert command_needs == [(JobLog, (AGENT, JOB, "stdout"))], "the job is in memory"
    running.command(ASK)
    assert (JobLog, log(running).key) in evictable(running.state, [log(running)])
    running.state.evict(JobLog, log(running).key)
    running.state.evict(Job, (AGENT, JOB))
    assert (Job, (AGENT, JOB)) in routes.command_needs(running.state, ASK)
    chunk_needs = routes.needs(running.state, AGENT, JobLogChunk(job_uuid=JOB, stream="stdout"))
    assert chunk_needs == [(JobLog, (AGENT, JOB, "stdout"))]
