"""The manager's tables of steps, job views and values, row by row; D is a duplicate, L late."""

from __future__ import annotations

from itertools import pairwise

import pytest

from caroni.core.ids import job_uuid_of, value_digest
from caroni.core.messages import (
    AgentPresence,
    FailureClass,
    JobDataAvailable,
    JobFulfillmentOfferReject,
    JobFulfillmentRequest,
    JobFulfillmentRequestWithdrawn,
    JobKill,
    JobRelease,
    JobReport,
    JobReportEntry,
    JobStatus,
    JobStatusRequest,
    PresenceState,
    Reserve,
    ResourceUse,
    WorkFlowCancel,
    WorkFlowRetry,
)
from caroni.core.plan import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Plan,
    PlanInput,
    PlanStep,
    StepPolicy,
    WorkflowInput,
)
from caroni.core.rows import Flow, Job, JobKey, JobOutput, Peer, Workflow
from caroni.core.states import JobState, RequestState, StepState, WorkflowState
from tests.core.build import AGENT, OUT, SECOND_AGENT, SUBMITTER, ManagerSide, plan, step

ONE, TWO = b"o" * 16, b"p" * 16
FIRST: JobKey = (AGENT, job_uuid_of(ONE))
AGAIN: JobKey = (SECOND_AGENT, job_uuid_of(TWO))

LIVE = [JobStatus.PENDING, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED]
ENDED = [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.KILLED]


@pytest.fixture
def m() -> ManagerSide:
    return ManagerSide()


# --- step ----------------------------------------------------------------------------------------


def test_waiting_until_all_inputs_have_values(m: ManagerSide) -> None:
    m.running("chain")
    assert m.step("second").state is StepState.WAITING
    said = m.completes()
    assert said.of(JobFulfillmentRequest)[0].job_type_name == "t"
    assert m.step("second").state is StepState.FULFILLING
    assert m.step("second").attempt == 1


def test_fulfilled_runs_with_the_first_status_above_pending(m: ManagerSide) -> None:
    m.fulfilled()
    m.status(JobStatus.PENDING)
    assert m.step().state is StepState.FULFILLED
    m.status(JobStatus.QUEUED)
    assert m.step().state is StepState.RUNNING


def test_running_L_a_lower_seq_changes_nothing(m: ManagerSide) -> None:
    m.running()
    before = m.job(), m.step()
    for status in LIVE:  # an end is never old news
        said = m.status(status, seq=1)
        assert not said.sent
        assert not said.rows()
    assert (m.job(), m.step()) == before


@pytest.mark.parametrize("start", ["fulfilled", "queued", "running", "paused"])
def test_completed_with_all_outputs_wins(m: ManagerSide, start: str) -> None:
    m.fulfilled("chain")
    for status in {"fulfilled": [], "queued": LIVE[1:2], "running": LIVE[1:3], "paused": LIVE[1:4]}[start]:
        m.status(status)
    said = m.completes()
    assert m.step().state is StepState.COMPLETED
    assert m.step().winner == FIRST
    assert m.job().state is JobState.COMPLETED
    value = m.row(Flow, (m.workflow_uuid, "first/out"))
    assert (value.value, value.agent, value.job_uuid) == (OUT, *FIRST)
    assert said.of(JobRelease)[0].job_uuid == FIRST[1]


def test_completed_before_its_outputs_waits_for_them(m: ManagerSide) -> None:
    m.running()
    said = m.status(JobStatus.COMPLETED, exit_code=0, manifest={"out": value_digest(OUT)})
    assert not said.sent
    assert m.step().state is StepState.RUNNING
    assert m.job().ended
    assert m.wait(MINUTE + SECOND).only(JobStatusRequest).job_uuid == FIRST[1]
    m.outputs()
    assert m.step().state is StepState.COMPLETED


def test_completed_D_is_released_again(m: ManagerSide) -> None:
    m.running()
    m.completes()
    for _ in range(2):
        said = m.completes(FIRST)
        assert said.only(JobRelease).job_uuid == FIRST[1]
        assert not said.rows()


def test_completed_with_an_output_that_is_not_its_manifests_fails(m: ManagerSide) -> None:
    m.running()
    m.outputs()
    said = m.status(JobStatus.COMPLETED, manifest={"out": value_digest('"other"')})
    said.only(JobRelease)
    assert m.job().state is JobState.FAILED
    assert m.step().state is StepState.WAITING
    assert m.step().job_failures == 1


@pytest.mark.parametrize("value", ["1", "null", "[", "NaN", "", '"\\ud800"', "[" * 5000])
def test_completed_with_an_output_of_the_wrong_type_fails(m: ManagerSide, value: str) -> None:
    m.running()
    m.completes(value=value)
    assert m.job().state is JobState.FAILED


def test_completed_without_a_declared_output_fails(m: ManagerSide) -> None:
    m.running()
    m.status(JobStatus.COMPLETED, manifest={})
    assert m.job().state is JobState.FAILED
    assert m.step().cause == "job: output out: expected string, got null"


def test_completed_L_of_an_earlier_attempt_while_the_step_has_no_winner_is_adopted(m: ManagerSide) -> None:
    m.lost("chain")
    m.again()
    m.status(JobStatus.RUNNING, AGAIN)
    said = m.completes(FIRST)
    assert m.step().winner == FIRST
    assert [k.job_uuid for k in said.of(JobKill)] == [AGAIN[1]]
    assert [r.job_uuid for r in said.of(JobRelease)] == [FIRST[1]]
    assert m.row(Job, AGAIN).state is JobState.SUPERSEDED


@pytest.mark.parametrize("when", ["waiting", "fulfilling", "accepting"])
def test_completed_L_between_two_attempts_is_adopted(m: ManagerSide, when: str) -> None:
    m.lost("chain")
    if when != "waiting":
        m.wait(15 * SECOND)
    if when == "accepting":
        m.offer(TWO, by=SECOND_AGENT)
    request = m.step().request_uuid
    said = m.completes(FIRST)
    assert m.step().winner == FIRST
    if when != "waiting":
        assert [w.request_uuid for w in said.of(JobFulfillmentRequestWithdrawn)] == [request]
    if when == "accepting":
        assert [r.offer_uuid for r in said.of(JobFulfillmentOfferReject)] == [TWO]
        assert m.accepted(TWO, by=SECOND_AGENT).only(JobKill).job_uuid == AGAIN[1]
    assert m.step("second").state is StepState.FULFILLING


def test_completed_L_after_another_has_won_is_kept_and_never_used(m: ManagerSide) -> None:
    m.lost("chain")
    m.again()
    m.completes(AGAIN)
    before = m.step(), m.row(Flow, (m.workflow_uuid, "first/out")), m.step("second")
    said = m.completes(FIRST, value='"late"')
    said.only(JobRelease)
    assert m.row(Job, FIRST).state is JobState.COMPLETED
    assert m.row(JobOutput, (*FIRST, "out")).value == '"late"'
    assert (m.step(), m.row(Flow, (m.workflow_uuid, "first/out")), m.step("second")) == before


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.KILLED])
def test_failed_is_tried_again_after_a_pause(m: ManagerSide, status: JobStatus) -> None:
    m.running()
    said = m.status(status, exit_code=3)
    said.only(JobRelease)
    assert m.step().state is StepState.WAITING
    assert 7 * SECOND <= m.step().due - m.now <= 13 * SECOND
    assert m.step().cause
    assert m.wait(15 * SECOND).only(JobFulfillmentRequest).attempt == 2
    assert (m.step().job_failures, m.step().other_failures) == (
        (1, 0) if status is JobStatus.FAILED else (0, 1)
    )


def test_unknown_job_is_lost_and_tried_again(m: ManagerSide) -> None:
    m.running()
    said = m.status(JobStatus.UNKNOWN, seq=0)
    assert not said.sent
    assert m.job().state is JobState.LOST
    assert m.step().state is StepState.WAITING
    assert m.step().other_failures == 1


def test_failed_D_and_L_of_a_job_that_is_not_current_is_only_recorded(m: ManagerSide) -> None:
    m.lost()
    m.again()
    before = m.step()
    said = m.fails(FIRST)
    said.only(JobRelease)
    assert m.row(Job, FIRST).state is JobState.FAILED
    assert m.step() == before
    said = m.fails(FIRST)
    said.only(JobRelease)
    assert not said.rows()


def test_failures_pause_ever_longer_and_end_the_step_at_its_limit(m: ManagerSide) -> None:
    m.submit()
    pauses = []
    for number in range(5):
        offer = bytes([number]) * 16
        m.wait(10 * MINUTE)
        m.offer(offer)
        m.wait(10 * SECOND)
        m.accepted(offer)
        m.fails()
        pauses.append(m.step().due - m.now)
    assert all(a < b for a, b in pairwise(pauses[:4]))
    assert m.step().state is StepState.FAILED
    assert m.step().job_failures == StepPolicy().max_attempts
    assert m.workflow.state is WorkflowState.FAILED
    assert "failed after 5 attempts: job: it broke" in m.workflow.failure


def test_failures_that_are_not_the_jobs_have_a_budget_of_their_own() -> None:
    m = ManagerSide({"one": plan(step("first", max_attempts=1, max_other_failures=3, backoff=0))})
    m.submit()
    for number in range(3):
        offer = bytes([number]) * 16
        m.offer(offer)
        m.wait(6 * SECOND)
        m.accepted(offer)
        assert m.step().state is StepState.FULFILLED
        m.fails(cls=FailureClass.AGENT, code=None)
    assert m.step().state is StepState.FAILED
    assert (m.step().job_failures, m.step().other_failures) == (0, 3)


def test_an_exit_code_that_says_never_again_ends_the_step() -> None:
    m = ManagerSide({"one": plan(step("first", non_retryable_exit_codes=(3,)))})
    m.running()
    m.fails(code=3)
    assert m.step().state is StepState.FAILED


def test_lost_is_tried_again_and_told_to_stop(m: ManagerSide) -> None:
    said = m.lost()
    assert said.of(JobKill)[0].job_uuid == FIRST[1]
    assert m.job().state is JobState.LOST
    assert m.job().kill_wanted
    assert m.step().state is StepState.WAITING


def test_lost_L_a_live_status_is_told_to_stop_each_time(m: ManagerSide) -> None:
    m.lost()
    m.again()
    for status in LIVE * 2:
        said = m.status(status, FIRST)
        assert said.only(JobKill).job_uuid == FIRST[1]
        assert m.step().current == AGAIN
    assert m.row(Job, FIRST).state is JobState.LOST


# --- at most once --------------------------------------------------------------------------------


def held() -> ManagerSide:
    m = ManagerSide()
    m.lost("once")
    assert m.step().state is StepState.HELD
    assert m.workflow.state is WorkflowState.HELD
    return m


def test_at_most_once_lost_is_held_until_it_speaks() -> None:
    m = held()
    assert not [r for r in m.wait(DAY).sent if isinstance(r.message, JobFulfillmentRequest)]
    m.status(JobStatus.RUNNING)
    assert m.step().state is StepState.RUNNING
    assert m.workflow.state is WorkflowState.RUNNING
    assert not m.job().kill_wanted
    m.completes()
    assert m.row(Workflow, m.workflow_uuid).state is WorkflowState.COMPLETED


def test_at_most_once_lost_takes_the_same_status_as_before_for_a_sign_of_life() -> None:
    m = held()
    assert {k for k in m.wait(HOUR).kinds} == {"JobStatusRequest"}, "it is asked about, not stopped"
    m.status(JobStatus.RUNNING, seq=1)
    assert m.step().state is StepState.HELD, "an older one is no sign"
    m.status(JobStatus.RUNNING, seq=2)
    assert m.step().state is StepState.RUNNING


def test_at_most_once_held_completes_late() -> None:
    m = held()
    m.completes()
    assert m.step().winner == FIRST
    assert m.workflow.state is WorkflowState.COMPLETED


def test_at_most_once_unknown_stays_held() -> None:
    m = held()
    for _ in range(2):
        m.status(JobStatus.UNKNOWN, seq=0)
        assert m.step().state is StepState.HELD
    m = ManagerSide()
    m.running("once")
    m.status(JobStatus.UNKNOWN, seq=0)
    assert m.step().state is StepState.HELD


def test_at_most_once_failed_ends_the_step(m: ManagerSide) -> None:
    m.running("once")
    m.fails(cls=FailureClass.AGENT)
    assert m.step().state is StepState.FAILED


@pytest.mark.parametrize("cls", [FailureClass.REJECTED, FailureClass.INPUT, FailureClass.POLICY])
def test_at_most_once_is_tried_again_when_it_certainly_never_ran(m: ManagerSide, cls: FailureClass) -> None:
    m.fulfilled("once")
    m.fails(cls=cls, code=None)
    assert m.step().state is StepState.WAITING


def test_at_most_once_killed_in_the_queue_is_tried_again(m: ManagerSide) -> None:
    m.fulfilled("once")
    m.status(JobStatus.KILLED, usage=ResourceUse())
    assert m.step().state is StepState.WAITING


def test_at_most_once_killed_by_a_signal_before_its_running_was_heard_of_is_not_run_again(
    m: ManagerSide,
) -> None:
    """A process that a signal ended has no exit code; that it used time says that it ran."""
    m.fulfilled("once")
    m.status(JobStatus.KILLED, usage=ResourceUse(wall=5 * SECOND))
    assert m.step().state is StepState.FAILED


def test_at_most_once_that_spoke_again_and_was_killed_is_not_run_again() -> None:
    m = ManagerSide()
    m.fulfilled("once")
    m.status(JobStatus.QUEUED)
    m.now = m.state.timers.next_due() + 41 * MINUTE
    m.fire_due()
    assert m.step().state is StepState.HELD
    m.status(JobStatus.RUNNING)
    m.status(JobStatus.KILLED)
    assert m.step().state is StepState.FAILED


def test_at_most_once_held_is_tried_again_only_by_the_operator() -> None:
    m = held()
    said = m.say(WorkFlowRetry(workflow_uuid=m.workflow_uuid), SUBMITTER)
    assert [k.job_uuid for k in said.of(JobKill)] == [FIRST[1]]
    assert said.of(JobFulfillmentRequest)[0].attempt == 2
    assert m.workflow.state is WorkflowState.RUNNING
    m.again()
    assert m.status(JobStatus.RUNNING, FIRST).only(JobKill)


def test_at_most_once_held_is_cancelled_with_its_workflow() -> None:
    m = held()
    m.say(WorkFlowCancel(workflow_uuid=m.workflow_uuid), SUBMITTER)
    assert m.workflow.state is WorkflowState.CANCELLED
    assert m.job().kill_wanted
    assert m.status(JobStatus.RUNNING, FIRST).only(JobKill)


# --- job view ------------------------------------------------------------------------------------


def test_live_status_pending_sends_all_inputs_again(m: ManagerSide) -> None:
    m.fulfilled()
    for seq in (1, 1, 2):  # D: also when the same status comes again
        assert m.status(JobStatus.PENDING, seq=seq).only(JobDataAvailable).parameters == {"a": '"s"'}


def test_live_status_is_taken_with_its_story(m: ManagerSide) -> None:
    m.fulfilled()
    m.status(JobStatus.RUNNING, progress=0.5, status_info="half")
    assert (m.job().state, m.job().progress, m.job().info) == (JobState.RUNNING, 0.5, "half")


def test_live_status_never_goes_back(m: ManagerSide) -> None:
    m.running()
    m.status(JobStatus.QUEUED)
    assert m.job().state is JobState.RUNNING
    m.status(JobStatus.PAUSED)
    m.status(JobStatus.RUNNING)
    assert m.job().state is JobState.RUNNING


def test_live_seq_is_compared_within_the_senders_stream(m: ManagerSide) -> None:
    m.fulfilled()
    m.status(JobStatus.QUEUED, seq=9)
    m.status(JobStatus.RUNNING, seq=1, stream=2)
    assert (m.job().state, m.job().stream_id, m.job().seq) == (JobState.RUNNING, 2, 1)
    assert not m.status(JobStatus.PAUSED, seq=100, stream=1).rows(), "an older life of the agent"


def test_live_status_without_sequence_moves_no_number(m: ManagerSide) -> None:
    m.fulfilled()
    m.status(JobStatus.QUEUED, seq=1)
    m.status(JobStatus.RUNNING, seq=0, stream=2)
    assert (m.job().state, m.job().stream_id, m.job().seq) == (JobState.RUNNING, 1, 1)
    assert not m.status(JobStatus.QUEUED, seq=1).rows(), "what had its number is old news still"


def test_live_status_without_sequence_of_a_base_peer(m: ManagerSide) -> None:
    m.fulfilled()
    for status in (JobStatus.QUEUED, JobStatus.RUNNING):
        m.status(status, seq=0)
    assert m.job().state is JobState.RUNNING
    m.status(JobStatus.COMPLETED, seq=0, manifest={"out": value_digest(OUT)})
    m.outputs()
    assert m.step().state is StepState.COMPLETED


def test_live_unspecified_status_is_contact_only(m: ManagerSide) -> None:
    m.running()
    said = m.status(JobStatus.UNSPECIFIED)
    assert not said.sent
    assert not said.rows()


@pytest.mark.parametrize("status", ENDED)
def test_terminal_repeated_is_released_again(m: ManagerSide, status: JobStatus) -> None:
    m.running()
    m.outputs()
    m.status(status, manifest={"out": value_digest(OUT)})
    for other in ENDED:
        said = m.status(other, FIRST)
        assert said.only(JobRelease).job_uuid == FIRST[1]
        assert not said.rows()
    assert not m.status(JobStatus.UNKNOWN, FIRST, seq=0).rows()
    assert not m.status(JobStatus.RUNNING, FIRST).rows()
    assert not m.outputs(FIRST, out='"other"').rows()


def test_given_up_and_unknown_is_over(m: ManagerSide) -> None:
    m.lost()
    m.status(JobStatus.UNKNOWN, FIRST, seq=0)
    job = m.row(Job, FIRST)
    assert (job.state, job.kill_wanted, job.due) == (JobState.KILLED, False, 0)
    assert m.step().state is StepState.WAITING


def test_superseded_live_is_told_to_stop_and_its_result_is_never_used(m: ManagerSide) -> None:
    m.lost()
    m.again()
    m.completes(FIRST)
    assert m.status(JobStatus.RUNNING, AGAIN).only(JobKill)
    m.completes(AGAIN, value='"other"').only(JobRelease)
    assert m.row(Flow, (m.workflow_uuid, "first/out")).value == OUT


@pytest.mark.parametrize("status", list(JobStatus))
def test_no_row(m: ManagerSide, status: JobStatus) -> None:
    m.submit()
    m.report()
    said = m.status(status, (AGENT, b"?" * 16))
    expected = {**dict.fromkeys(LIVE, "JobKill"), **dict.fromkeys(ENDED, "JobRelease")}
    assert said.kinds == ([expected[status]] if status in expected else [])
    assert not said.rows()


def test_a_job_of_another_agent_is_no_row(m: ManagerSide) -> None:
    m.running()
    m.report(SECOND_AGENT)
    before = m.job()
    assert m.status(JobStatus.RUNNING, (SECOND_AGENT, FIRST[1])).only(JobKill)
    assert not m.outputs((SECOND_AGENT, FIRST[1])).rows()
    assert m.job() == before


def test_kill_is_repeated_ever_more_rarely_until_it_is_answered(m: ManagerSide) -> None:
    m.lost()
    m.again()
    m.status(JobStatus.RUNNING, AGAIN)
    kills = len([k for k in m.wait(HOUR).of(JobKill) if k.job_uuid == FIRST[1]])
    assert 4 <= kills <= 7
    m.fails(FIRST)
    assert not [k for k in m.wait(DAY).of(JobKill) if k.job_uuid == FIRST[1]]


def test_kill_is_given_up_after_a_month(m: ManagerSide) -> None:
    m.lost()
    m.wait(31 * DAY)
    assert m.row(Job, FIRST).due == 0


def test_silence_is_asked_about_then_suspected(m: ManagerSide) -> None:
    m.running()
    said = m.wait(20 * MINUTE)
    assert {k for k in said.kinds} == {"JobStatusRequest"}
    assert 4 <= len(said.sent) <= 7
    assert m.job().suspect
    m.status(JobStatus.RUNNING)
    assert not m.job().suspect


# --- values --------------------------------------------------------------------------------------


def test_values_are_written_once(m: ManagerSide) -> None:
    m.running()
    m.outputs()
    said = m.outputs(out='"other"')
    assert said.notes == ["output_changed"]
    assert not said.rows()
    assert not m.outputs().rows()


def test_output_for_a_step_without_winner_is_staged_under_its_job(m: ManagerSide) -> None:
    m.running()
    said = m.outputs(out=OUT, more="1")
    assert said.rows() == ["JobOutput"]
    assert said.notes == ["output_undeclared"]
    assert m.state.get(Flow, (m.workflow_uuid, "first/out")) is None


def test_every_new_job_of_a_step_gets_all_its_inputs(m: ManagerSide) -> None:
    m.running()
    m.fails()
    assert m.again().only(JobDataAvailable).parameters == {"a": '"s"'}


def test_reserved_consumers_get_each_value_when_it_comes(m: ManagerSide) -> None:
    m.submit("chain", reserve=Reserve.ALL)
    m.offer()
    m.accepted()
    m.offer(TWO, name="second", by=SECOND_AGENT)
    assert not m.accepted(TWO, by=SECOND_AGENT).of(JobDataAvailable)
    assert m.job("second").state is JobState.PENDING
    assert not m.status(JobStatus.PENDING, AGAIN).sent
    said = m.completes(FIRST)
    assert [(d.job_uuid, d.parameters) for d in said.of(JobDataAvailable)] == [(AGAIN[1], {"a": OUT})]
    assert m.status(JobStatus.PENDING, AGAIN).only(JobDataAvailable).parameters == {"a": OUT}


def test_large_inputs_are_split(m: ManagerSide) -> None:
    inputs = tuple(PlanInput(name=name, source="start") for name in "abc")
    one = Plan(
        inputs=(WorkflowInput(name="start"),), steps=(PlanStep(name="first", job_type="t", inputs=inputs),)
    )
    m = ManagerSide({"one": one}, data_chunk=30)
    said = m.fulfilled(inputs={"start": '"long enough"'})
    assert [list(data.parameters) for data in said.of(JobDataAvailable)] == [["a", "b"], ["c"]]


# --- agents as a whole ---------------------------------------------------------------------------


def report(m: ManagerSide, *jobs: tuple[bytes, JobStatus], complete: bool = True) -> list[str]:
    entries = tuple(JobReportEntry(job_uuid=uuid, job_status=status) for uuid, status in jobs)
    said = m.say(JobReport(report_uuid=b"R" * 16, jobs=entries, complete=complete), AGENT)
    return said.kinds


def test_report_asks_about_every_difference_and_concludes_nothing(m: ManagerSide) -> None:
    m.running()
    before = m.job(), m.step()
    assert report(m, (FIRST[1], JobStatus.RUNNING)) == []
    assert report(m, (FIRST[1], JobStatus.COMPLETED)) == ["JobStatusRequest"]
    assert report(m, (FIRST[1], JobStatus.RUNNING), (b"?" * 16, JobStatus.RUNNING)) == ["JobStatusRequest"]
    assert report(m) == ["JobStatusRequest"]
    assert report(m, complete=False) == []
    assert (m.job(), m.step()) == before


def test_report_of_a_job_that_was_given_up_stops_it(m: ManagerSide) -> None:
    m.lost()
    m.again()
    assert report(m, (FIRST[1], JobStatus.RUNNING)) == ["JobKill"]
    assert report(m, (FIRST[1], JobStatus.COMPLETED)) == []


def test_report_of_a_held_steps_only_job_asks_and_does_not_stop_it() -> None:
    m = held()
    assert report(m, (FIRST[1], JobStatus.RUNNING)) == ["JobStatusRequest"]


def test_presence_an_older_notice_never_overrides_a_newer_one(m: ManagerSide) -> None:
    m.say(AgentPresence(state=PresenceState.ONLINE, number=5, boot_id=b"b"), AGENT)
    m.say(AgentPresence(state=PresenceState.OFFLINE, offline_for=HOUR, number=4, boot_id=b"b"), AGENT)
    assert m.row(Peer, AGENT).away_until == 0
    said = m.say(AgentPresence(state=PresenceState.OFFLINE, offline_for=400 * DAY, number=6), AGENT)
    assert m.row(Peer, AGENT).away_until == m.now + 30 * DAY
    assert not said.sent


def test_requests_of_a_step_end_with_it(m: ManagerSide) -> None:
    m.lost()
    m.wait(15 * SECOND)
    request = m.request()
    m.completes(FIRST)
    assert m.row(type(request), request.key).state is RequestState.WITHDRAWN
    assert m.state.open_requests == 0
