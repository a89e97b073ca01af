"""The manager's table of workflows, row by row, who may steer them, and what memory keeps of them."""

from __future__ import annotations

from typing import Any

import pytest

from caroni.core.ids import job_uuid_of
from caroni.core.manager.state import AnswerStatus, StatusChanged, evictable
from caroni.core.messages import (
    FailureClass,
    JobFulfillmentOfferReject,
    JobFulfillmentRequest,
    JobFulfillmentRequestWithdrawn,
    JobKill,
    JobStatus,
    Message,
    OnFailure,
    WorkFlowCancel,
    WorkFlowCreated,
    WorkFlowPause,
    WorkFlowRejected,
    WorkFlowResume,
    WorkFlowRetry,
    WorkFlowStatusRequest,
)
from caroni.core.plan import HOUR, MINUTE, SECOND
from caroni.core.rows import Job, JobKey, Peer, Row, Workflow
from caroni.core.states import JobState, StepState, WorkflowState
from tests.core.build import AGENT, OUTSIDER, SECOND_AGENT, SUBMITTER, ManagerSide, plan, step

ONE, TWO = b"o" * 16, b"p" * 16
FIRST: JobKey = (AGENT, job_uuid_of(ONE))
SECOND_JOB: JobKey = (SECOND_AGENT, job_uuid_of(TWO))


@pytest.fixture
def m() -> ManagerSide:
    return ManagerSide()


def state(m: ManagerSide) -> WorkflowState:
    return m.row(Workflow, m.workflow_uuid).state


def both_running(m: ManagerSide, **more: Any) -> None:
    m.submit("pair", **more)
    m.offer(ONE)
    m.accepted(ONE)
    m.offer(TWO, name="second", by=SECOND_AGENT)
    m.accepted(TWO, by=SECOND_AGENT)
    for key in (FIRST, SECOND_JOB):
        m.status(JobStatus.RUNNING, key)


def cancel(m: ManagerSide, by: str = SUBMITTER) -> list[str]:
    return m.say(WorkFlowCancel(workflow_uuid=m.workflow_uuid, reason="enough"), by).kinds


def fail_for_good(m: ManagerSide, key: JobKey = FIRST) -> None:
    """One failure of a step that may not be tried again."""
    m.fails(key, code=77)


HARD = plan(step("first", non_retryable_exit_codes=(77,)), step("second", job_type="u"))
CHAIN = plan(step("first", non_retryable_exit_codes=(77,)), step("second", "first/out"))


# --- from submit to completed --------------------------------------------------------------------


def test_submit_makes_the_workflow_its_steps_and_its_values(m: ManagerSide) -> None:
    said = m.submit("chain")
    assert said.of(WorkFlowCreated)[0].workflow_uuid == m.workflow_uuid
    assert state(m) is WorkflowState.RUNNING
    assert (m.workflow.steps_total, m.workflow.steps_left) == (2, 2)
    assert [m.step(n).missing for n in ("first", "second")] == [0, 1]


def test_submit_D_gives_the_same_id(m: ManagerSide) -> None:
    m.submit()
    said = m.submit()
    assert said.only(WorkFlowCreated).workflow_uuid == m.workflow_uuid
    assert not said.rows()
    m.offer()
    m.accepted()
    m.completes()
    assert m.submit(watch=True).only(WorkFlowCreated).workflow_uuid == m.workflow_uuid


def test_submit_keys_belong_to_their_sender_and_without_one_each_is_new(m: ManagerSide) -> None:
    found = set()
    for by, key in ((SUBMITTER, b"1" * 16), ("caroni://site/submitter/t", b"1" * 16), (SUBMITTER, b"")):
        for _ in range(2):
            m.submit(by=by, key=key)
            found.add(m.workflow_uuid)
    assert len(found) == 4


@pytest.mark.parametrize(
    ("template", "by", "inputs", "reason"),
    [
        ("nothing", SUBMITTER, {"start": '"s"'}, "no template is named nothing: add it with"),
        ("one", OUTSIDER, {"start": '"s"'}, "may not start one here"),
        ("one", SUBMITTER, {}, "input 'start' is missing"),
        ("one", SUBMITTER, {"start": "1"}, "input start: expected string"),
        ("one", SUBMITTER, {"start": "{"}, "input start"),
        ("one", SUBMITTER, {"start": '"s"', "strat": "1"}, "did you mean"),
    ],
)
def test_submit_is_refused_with_a_reason(
    m: ManagerSide, template: str, by: str, inputs: dict[str, str], reason: str
) -> None:
    said = m.submit(template, by=by, inputs=inputs)
    assert reason.replace("'", "") in said.only(WorkFlowRejected).reason.replace("'", "").replace('"', "")
    assert not said.rows()


def test_a_plan_without_steps_is_completed_at_once(m: ManagerSide) -> None:
    m.submit("none")
    assert state(m) is WorkflowState.COMPLETED
    assert m.workflow.ended_at == m.now


def test_running_the_last_step_won_completes(m: ManagerSide) -> None:
    both_running(m)
    m.completes(FIRST)
    assert state(m) is WorkflowState.RUNNING
    m.completes(SECOND_JOB)
    assert state(m) is WorkflowState.COMPLETED
    assert m.workflow.steps_left == 0


def test_completed_L_results_are_unused(m: ManagerSide) -> None:
    m.lost()
    m.again()
    m.completes(SECOND_JOB)
    before = m.workflow, m.step()
    m.completes(FIRST, value='"late"')
    assert (m.workflow, m.step()) == before


# --- failing -------------------------------------------------------------------------------------


def test_running_a_step_exhausted_lets_siblings_end() -> None:
    m = ManagerSide({"pair": HARD})
    both_running(m)
    fail_for_good(m)
    assert state(m) is WorkflowState.FAILING
    assert not m.job("second").kill_wanted
    m.completes(SECOND_JOB)  # L: success in the drain is recorded
    assert m.step("second").state is StepState.COMPLETED
    assert state(m) is WorkflowState.FAILED


@pytest.mark.parametrize("end", ["fails", "lost", "unknown"])
def test_failing_a_sibling_is_not_tried_again(end: str) -> None:
    m = ManagerSide({"pair": HARD})
    both_running(m)
    fail_for_good(m)
    if end == "fails":
        m.fails(SECOND_JOB)
    elif end == "unknown":
        m.status(JobStatus.UNKNOWN, SECOND_JOB, seq=0)
    else:
        m.wait(2 * HOUR)
    assert m.step("second").state is StepState.CANCELLED
    assert state(m) is WorkflowState.FAILED


def test_running_a_step_exhausted_kills_siblings_if_so_wished() -> None:
    m = ManagerSide({"pair": HARD})
    both_running(m, on_failure=OnFailure.KILL)
    said = m.fails(FIRST, code=77)
    assert [k.job_uuid for k in said.of(JobKill)] == [SECOND_JOB[1]]
    m.status(JobStatus.KILLED, SECOND_JOB)
    assert state(m) is WorkflowState.FAILED


def test_running_a_step_exhausted_ends_what_waits_and_what_is_asked_for() -> None:
    m = ManagerSide({"chain": CHAIN, "pair": HARD})
    m.fulfilled("chain")
    fail_for_good(m)
    assert m.step("second").state is StepState.CANCELLED
    assert state(m) is WorkflowState.FAILED
    m.submit("pair", key=b"2" * 16)
    m.offer(b"3" * 16)
    m.wait(10 * SECOND)
    m.accepted(b"3" * 16)
    request = m.step("second").request_uuid
    said = m.fails(m.job().key, code=77)
    assert [w.request_uuid for w in said.of(JobFulfillmentRequestWithdrawn)] == [request]


# --- held ----------------------------------------------------------------------------------------


def test_held_and_back(m: ManagerSide) -> None:
    m.lost("once")
    assert state(m) is WorkflowState.HELD
    m.status(JobStatus.RUNNING)
    assert state(m) is WorkflowState.RUNNING


def test_held_other_steps_go_on() -> None:
    m = ManagerSide({"pair": plan(step("first", at_most_once=True), step("second", job_type="u"))})
    m.submit("pair")
    m.offer()
    m.accepted()
    m.status(JobStatus.UNKNOWN, FIRST, seq=0)
    assert state(m) is WorkflowState.HELD
    m.offer(TWO, name="second", by=SECOND_AGENT)
    m.accepted(TWO, by=SECOND_AGENT)
    m.completes(SECOND_JOB)
    assert m.step("second").state is StepState.COMPLETED
    assert state(m) is WorkflowState.HELD
    m.completes(FIRST)
    assert state(m) is WorkflowState.COMPLETED


# --- cancel --------------------------------------------------------------------------------------


def test_cancel_withdraws_what_is_asked_for(m: ManagerSide) -> None:
    m.submit("chain")
    m.offer()
    assert cancel(m) == ["JobFulfillmentOfferReject", "JobFulfillmentRequestWithdrawn"]
    assert state(m) is WorkflowState.CANCELLED
    assert m.accepted().kinds == ["JobKill"]  # L: the job came of an accept that crossed the cancel
    assert m.offer(TWO, request_uuid=m.step().request_uuid).kinds == ["JobFulfillmentOfferReject"]


@pytest.mark.parametrize("end", ["killed", "completes", "fails", "unknown", "lost"])
def test_cancel_ends_when_every_job_has_ended_or_is_lost(m: ManagerSide, end: str) -> None:
    m.running("chain")
    assert cancel(m) == ["JobKill"]
    assert state(m) is WorkflowState.CANCELLING
    match end:
        case "killed":
            m.status(JobStatus.KILLED)
        case "completes":
            m.completes()
        case "fails":
            m.fails()
        case "unknown":
            m.status(JobStatus.UNKNOWN, seq=0)
        case "lost":
            kills = len(m.wait(2 * HOUR).of(JobKill))
            assert 4 <= kills <= 12
            assert m.job().state is JobState.LOST
    assert m.step().state is StepState.CANCELLED
    assert state(m) is WorkflowState.CANCELLED
    assert not [o for o in m.posted[-3:] if isinstance(o.message, JobFulfillmentRequest)]


@pytest.mark.parametrize("when", ["running", "failing", "held", "paused"])
def test_any_live_is_cancelled_and_D_changes_nothing(when: str) -> None:
    m = ManagerSide({"pair": HARD, "once": plan(step("first", at_most_once=True))})
    if when == "held":
        m.lost("once")
    else:
        both_running(m)
        if when == "failing":
            fail_for_good(m)
        if when == "paused":
            m.say(WorkFlowPause(workflow_uuid=m.workflow_uuid), SUBMITTER)
    cancel(m)
    assert state(m) in (WorkflowState.CANCELLING, WorkflowState.CANCELLED)
    before = m.workflow
    said = m.say(WorkFlowCancel(workflow_uuid=m.workflow_uuid), SUBMITTER)
    assert not said.sent
    assert not said.rows()
    assert said.act(AnswerStatus)
    assert m.workflow == before


def test_cancel_of_what_has_ended_changes_nothing(m: ManagerSide) -> None:
    m.running()
    m.completes()
    assert cancel(m) == []
    assert state(m) is WorkflowState.COMPLETED


# --- pause, resume, retry ------------------------------------------------------------------------


def test_paused_asks_for_nothing_new_and_records_what_comes(m: ManagerSide) -> None:
    m.running("chain")
    for _ in range(2):
        m.say(WorkFlowPause(workflow_uuid=m.workflow_uuid), SUBMITTER)
        assert m.workflow.paused
    assert not m.completes().of(JobFulfillmentRequest)
    assert m.step().state is StepState.COMPLETED
    assert not m.wait(HOUR).sent
    for expected in (1, 0):
        said = m.say(WorkFlowResume(workflow_uuid=m.workflow_uuid), SUBMITTER)
        assert len(said.of(JobFulfillmentRequest)) == expected


def test_retry_ends_a_pause_between_attempts(m: ManagerSide) -> None:
    m.running()
    m.fails()
    said = m.say(WorkFlowRetry(workflow_uuid=m.workflow_uuid, steps=("other",)), SUBMITTER)
    assert not said.sent
    said = m.say(WorkFlowRetry(workflow_uuid=m.workflow_uuid, steps=("first",)), SUBMITTER)
    assert said.only(JobFulfillmentRequest).attempt == 2


def test_retry_of_what_has_ended_says_so(m: ManagerSide) -> None:
    m.running()
    m.completes()
    said = m.say(WorkFlowRetry(workflow_uuid=m.workflow_uuid), SUBMITTER)
    assert said.act(AnswerStatus)[0].error == "the workflow is completed: submit it again"
    assert not said.rows()


# --- who may, and who watches --------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [WorkFlowCancel, WorkFlowPause, WorkFlowResume, WorkFlowRetry, WorkFlowStatusRequest]
)
@pytest.mark.parametrize("by", [OUTSIDER, AGENT, "caroni://site/submitter/t"])
def test_others_hear_the_same_as_for_an_unknown_workflow(
    m: ManagerSide, kind: type[Message], by: str
) -> None:
    m.running()
    answers = []
    for uuid in (m.workflow_uuid, b"?" * 16):
        said = m.say(kind(workflow_uuid=uuid), by)
        assert not said.sent
        assert not said.rows()
        (answer,) = said.act(AnswerStatus)
        answers.append((answer.to, answer.error))
    assert answers == [(by, "no such workflow of yours")] * 2


def test_watchers_hear_every_change(m: ManagerSide) -> None:
    m.running("chain")
    request = WorkFlowStatusRequest(workflow_uuid=m.workflow_uuid, watch=True)
    assert m.say(request, SUBMITTER).rows() == ["Workflow"]
    assert m.say(request, SUBMITTER).rows() == []
    assert m.completes().act(StatusChanged)[0].to == SUBMITTER
    assert m.say(WorkFlowStatusRequest(page=1), OUTSIDER).act(AnswerStatus)[0].to == OUTSIDER


# --- memory --------------------------------------------------------------------------------------


def evict(m: ManagerSide) -> set[type[Row]]:
    """Evict as a daemon does that is handed every row; gives the types that are left."""
    rows = [row for table in m.state.tables.values() for row in table.values()]
    for row_type, key in evictable(m.state, rows):
        m.state.evict(row_type, key)
    m.check_indexes()
    return {t for t, table in m.state.tables.items() if table}


def test_memory_keeps_nothing_of_what_is_over(m: ManagerSide) -> None:
    m.lost("chain")
    m.again()
    m.offer(b"late" * 4, by=SECOND_AGENT)
    m.completes(SECOND_JOB)
    m.offer(b"3" * 16, name="second")
    m.accepted(b"3" * 16)
    m.completes(m.job("second").key)
    assert state(m) is WorkflowState.COMPLETED
    assert Workflow in evict(m), "the first job has still to be told to stop"
    m.status(JobStatus.FAILED, FIRST, failure_class=FailureClass.JOB)
    assert evict(m) == {Peer}


def test_memory_keeps_nothing_of_a_job_that_nobody_will_ask_about(m: ManagerSide) -> None:
    m.running()
    m.status(JobStatus.UNKNOWN, seq=0)
    cancel(m)
    assert m.row(Job, FIRST).state is JobState.LOST
    assert evict(m) == {Peer}


def test_memory_drops_offers_that_came_too_late_while_the_step_runs(m: ManagerSide) -> None:
    m.running()
    for number in range(5):
        m.offer(bytes([number]) * 16, by=SECOND_AGENT).only(JobFulfillmentOfferReject)
    evict(m)
    (table,) = [t for kind, t in m.state.tables.items() if kind.__name__ == "Offer"]
    assert set(table) == {(AGENT, ONE)}


def test_memory_keeps_what_lives(m: ManagerSide) -> None:
    m.running("chain")
    before = {t: dict(table) for t, table in m.state.tables.items()}
    evict(m)
    assert {t: dict(table) for t, table in m.state.tables.items()} == before
    m.wait(20 * MINUTE)
    assert m.job().suspect
