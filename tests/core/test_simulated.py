"""What simulated histories have found, one table row each, so that it is not found again."""

from __future__ import annotations

import pytest

from caroni.core.agent.state import AgentDraft, SignalJob, SignalKind
from caroni.core.commands import PauseJob, ResumeJob
from caroni.core.draft import Origin, RenewStream
from caroni.core.ids import job_uuid_of, value_digest
from caroni.core.manager.state import ManagerDraft, Started
from caroni.core.messages import (
    AgentPresence,
    FailureClass,
    JobDataAvailable,
    JobFulfillmentOfferReject,
    JobKill,
    JobPause,
    JobRelease,
    JobReport,
    JobReportRequest,
    JobResume,
    JobStatus,
    JobStatusRequest,
    JobStatusUpdate,
    OnFailure,
    PresenceState,
    Reserve,
)
from caroni.core.plan import HOUR, MINUTE, SECOND
from caroni.core.rows import Orphan
from caroni.core.states import AgentJobState, JobState, StepState, WorkflowState
from tests.core.build import AGENT, MANAGER, OUT, SECOND_AGENT, AgentSide, ManagerSide, plan, step

ONE = b"o" * 16
FIRST = (AGENT, job_uuid_of(ONE))


@pytest.fixture
def m() -> ManagerSide:
    return ManagerSide()


@pytest.fixture
def a() -> AgentSide:
    return AgentSide()


def test_a_pause_that_comes_after_the_resume_that_followed_it(m: ManagerSide) -> None:
    m.running()
    m.command(PauseJob(peer=AGENT, job_uuid=FIRST[1])).only(JobPause)
    m.command(ResumeJob(peer=AGENT, job_uuid=FIRST[1])).only(JobResume)
    assert m.status(JobStatus.PAUSED).of(JobResume), "nobody wants it suspended"
    assert m.wait(2 * MINUTE).of(JobResume), "and if that is lost, it is said again instead of a question"
    m.status(JobStatus.RUNNING)
    assert not m.wait(2 * MINUTE).of(JobResume)


def test_a_pause_that_was_lost_is_said_again(m: ManagerSide) -> None:
    m.running()
    m.command(PauseJob(peer=AGENT, job_uuid=FIRST[1])).only(JobPause)
    said = m.wait(2 * MINUTE)
    assert said.of(JobPause)
    assert not said.of(JobStatusRequest)
    m.status(JobStatus.PAUSED)
    assert m.wait(4 * MINUTE).of(JobStatusRequest)
    assert m.job().state is JobState.PAUSED


def test_an_agents_operator_is_not_overruled_by_a_manager_that_wants_nothing(a: AgentSide) -> None:
    offer = a.running()
    key = {"peer": MANAGER, "job_uuid": job_uuid_of(offer)}
    a.command(PauseJob(**key))
    said = a.say(JobResume(job_uuid=key["job_uuid"]), MANAGER)
    assert not said.act(SignalJob)
    assert said.only(JobStatusUpdate).job_status is JobStatus.PAUSED
    assert "operator" in said.only(JobStatusUpdate).status_info
    assert a.command(ResumeJob(**key)).act(SignalJob)[0].kind is SignalKind.RESUME
    a.say(JobPause(job_uuid=key["job_uuid"]), MANAGER)
    assert a.job(offer).state is AgentJobState.PAUSED
    said = a.say(JobResume(job_uuid=key["job_uuid"]), MANAGER)
    assert [s.kind for s in said.act(SignalJob)] == [SignalKind.RESUME], "the manager's own pause"


def test_an_agent_that_was_put_back_gets_the_inputs_again(m: ManagerSide) -> None:
    m.running()
    said = m.status(JobStatus.PENDING, stream=2, seq=1)
    assert said.of(JobDataAvailable)
    assert m.job().state is JobState.RUNNING, "what is known of it stands"
    assert m.status(JobStatus.PENDING, stream=2, seq=1).of(JobDataAvailable), "the first may be lost"


def test_a_failing_workflow_stops_a_reserved_job_that_can_never_begin() -> None:
    m = ManagerSide({"chain": plan(step("first", max_attempts=1), step("second", "first/out"))})
    m.submit("chain", on_failure=OnFailure.DRAIN, reserve=Reserve.ALL)
    for name, offer in (("first", ONE), ("second", b"p" * 16)):
        m.offer(offer, name=name)
        m.accepted(offer)
    m.status(JobStatus.RUNNING, FIRST)
    said = m.fails(FIRST)
    assert said.of(JobKill)[0].job_uuid == job_uuid_of(b"p" * 16)
    m.status(JobStatus.KILLED, (AGENT, job_uuid_of(b"p" * 16)))
    assert m.step("second").state is StepState.CANCELLED
    assert m.workflow.state is WorkflowState.FAILED


# --- restore: what was said in the time that is lost -----------------------------------------------


def put_back(m: ManagerSide) -> None:
    assert m.happens(Started(put_back=True)).act(RenewStream)


def test_a_restore_of_the_time_before_a_restore_is_noticed_by_its_later_stream(m: ManagerSide) -> None:
    m.fulfilled()
    m.state.own_stream = own = m.now // 1000 - 1000
    said = m.report(AGENT, seen_stream=own + 500, seen_sequence=3)
    assert m.state.hold_until > m.now
    assert said.act(RenewStream)[0].stream_id > own + 500


def test_a_peer_that_names_an_impossible_stream_is_not_believed(m: ManagerSide) -> None:
    m.fulfilled()
    m.state.own_stream = m.now // 1000
    assert not m.report(AGENT, seen_stream=2**62, seen_sequence=3).act(RenewStream)


def test_two_agents_in_one_unit_of_work_tell_of_one_restore(m: ManagerSide) -> None:
    m.fulfilled()
    m.state.own_stream = 7
    message = JobReport(report_uuid=b"R" * 16, seen_stream=7, seen_sequence=9)

    def decide(draft: ManagerDraft) -> None:
        for agent in (AGENT, SECOND_AGENT):
            m.hear(draft, Origin(uri=agent, stream_id=1), message)

    assert len(m.unit(decide).act(RenewStream)) == 1


def test_in_the_hold_an_offer_that_may_have_become_a_job_is_not_rejected(m: ManagerSide) -> None:
    m.fulfilled()
    m.now += MINUTE
    put_back(m)
    m.status(JobStatus.RUNNING)
    assert not m.offer(b"2" * 16, by=SECOND_AGENT).of(JobFulfillmentOfferReject)


def test_in_the_hold_a_job_of_an_offer_that_was_not_taken_is_no_job_to_stop() -> None:
    m = ManagerSide(offer_window=MINUTE)
    m.submit()
    m.offer(ONE)
    m.now += SECOND
    put_back(m)
    said = m.accepted(ONE)
    assert not said.of(JobKill)
    assert m.row(Orphan, FIRST).due


def test_a_reserved_job_that_waited_in_vain_is_no_failed_attempt() -> None:
    m = ManagerSide({"chain": plan(step("first"), step("second", "first/out", max_attempts=1))})
    m.submit("chain", reserve=Reserve.ALL)
    m.offer(ONE, name="second")
    m.accepted(ONE)
    m.fails(FIRST, FailureClass.INPUT, None)
    assert (m.step("second").job_failures, m.step("second").other_failures) == (0, 1)
    assert m.step("second").state is StepState.WAITING


def test_an_agent_that_does_not_answer_is_not_asked_for_one_report_after_the_other(m: ManagerSide) -> None:
    m.fulfilled()
    put_back(m)
    asked = len(m.status(JobStatus.RUNNING, (AGENT, b"?" * 16)).of(JobReportRequest))
    for _ in range(5 * 60):
        m.now += MINUTE
        asked += len(
            m.say(AgentPresence(state=PresenceState.ONLINE, boot_id=b"b" * 16), AGENT).of(JobReportRequest)
        )
        asked += len(m.status(JobStatus.RUNNING, (AGENT, b"?" * 16)).of(JobReportRequest))
    assert asked <= 6


def test_what_an_agent_may_be_offline_counts_from_our_own_start_too(m: ManagerSide) -> None:
    m.submit()
    m.offer(max_offline=6 * HOUR)
    m.accepted()
    m.status(JobStatus.RUNNING)
    m.now += 5 * HOUR
    m.state.started_at = m.now  # we were away, or have forgotten what we heard meanwhile
    m.now += 5 * HOUR
    m.fire_due()
    assert m.job().state is JobState.RUNNING
    m.now += 2 * HOUR
    m.fire_due()
    assert m.job().state is JobState.LOST


def test_an_agent_that_is_away_is_not_asked_how_its_jobs_are(m: ManagerSide) -> None:
    m.running()
    m.say(AgentPresence(state=PresenceState.OFFLINE, offline_for=40 * HOUR, number=1), AGENT)
    asked = 0
    for _ in range(39):
        m.now += HOUR
        asked += len(m.fire_due().of(JobStatusRequest))
    assert asked <= 1
    m.now += HOUR + MINUTE
    assert m.fire_due().of(JobStatusRequest)
    assert m.job().state is JobState.RUNNING


def test_what_is_asked_many_times_in_one_unit_of_work_is_answered_once(a: AgentSide) -> None:
    offer = a.completed()
    question = JobStatusRequest(job_uuid=job_uuid_of(offer))

    def decide(draft: AgentDraft) -> None:
        for number in range(100):
            report = JobReportRequest(report_uuid=bytes([number]) * 16)
            a.hear(draft, Origin(uri=MANAGER, stream_id=1), question)
            a.hear(draft, Origin(uri=MANAGER, stream_id=1), report)
        a.routes().settle(draft)

    said = a.unit(decide)
    assert said.of(JobReport)[0].report_uuid == bytes([99]) * 16
    assert len(said.of(JobReport)) == 1
    assert len(said.of(JobStatusUpdate)) == len(said.of(JobDataAvailable)) == 1


@pytest.mark.parametrize("seq", [1, 2])
def test_the_end_of_a_job_counts_whatever_number_an_agent_that_was_put_back_gives_it(
    m: ManagerSide, seq: int
) -> None:
    m.running()
    assert m.job().seq == 2
    m.outputs()
    m.status(JobStatus.COMPLETED, seq=seq, exit_code=0, manifest={"out": value_digest(OUT)}).only(JobRelease)
    assert m.step().state is StepState.COMPLETED
    assert m.job().seq == 2, "numbers never fall"
