"""What simulated histories have found, one table row each, so that it is not found again."""

from __future__ import annotations

import pytest

from caroni.core.agent.state import SignalJob, SignalKind
from caroni.core.commands import PauseJob, ResumeJob
from caroni.core.ids import job_uuid_of
from caroni.core.messages import (
    JobDataAvailable,
    JobKill,
    JobPause,
    JobResume,
    JobStatus,
    JobStatusRequest,
    JobStatusUpdate,
    OnFailure,
    Reserve,
)
from caroni.core.plan import MINUTE
from caroni.core.states import AgentJobState, JobState, StepState, WorkflowState
from tests.core.build import AGENT, MANAGER, AgentSide, ManagerSide, plan, step

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
    assert [s.kind for s in said.act(SignalJob)] == [SignalKind.RESUME], (
        "this time it was the manager's pause"
    )


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
