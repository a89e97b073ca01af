"""What an agent with an old database finds in its spool, state by state: taken up again, never twice."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from caroni.core.agent.state import FoundJob, JobsFound, RecoverJob, StartJob
from caroni.core.agent.state import Started as AgentStarted
from caroni.core.draft import RenewStream
from caroni.core.ids import job_uuid_of
from caroni.core.messages import (
    JobAccepted,
    JobFulfillmentOfferReject,
    JobKill,
    JobPause,
    JobReport,
    JobReportRequest,
    JobResume,
    JobStatus,
    JobStatusUpdate,
)
from caroni.core.plan import DAY, HOUR
from caroni.core.rows import AgentInput, AgentJob
from caroni.core.states import AgentJobState, AgentOfferState
from tests.core.build import JOB_TYPES, MANAGER, OTHER_MANAGER, AgentSide

OFFER, REQUEST = b"o" * 16, b"r" * 16


@pytest.fixture
def a() -> AgentSide:
    return AgentSide(slots=10)


def found(offer: bytes = OFFER, manager: str = MANAGER, **more: object) -> FoundJob:
    fields: dict[str, object] = {
        "key": (manager, job_uuid_of(offer)),
        "offer_uuid": offer,
        "request_uuid": REQUEST,
        "job_type": "t",
        "parameters": ("a",),
        "attempt": 3,
        "max_runtime": HOUR,
    }
    return FoundJob(**{**fields, **more})  # type: ignore[arg-type]


def test_a_job_that_is_not_known_is_taken_up_and_reported_in_a_new_stream(a: AgentSide) -> None:
    said = a.happens(JobsFound(jobs=(found(),)))
    job = a.job(OFFER)
    assert (job.state, job.missing, job.attempt, job.max_runtime) == (AgentJobState.STARTING, 0, 3, HOUR)
    assert a.offer_row(OFFER).state is AgentOfferState.ACCEPTED
    assert len(said.act(RenewStream)) == 1
    assert [action.key for action in said.act(RecoverJob)] == [job.key]
    assert not said.act(StartJob)
    assert said.only(JobStatusUpdate).job_status is JobStatus.QUEUED
    assert "job_found" in said.notes
    assert a.started(OFFER).only(JobStatusUpdate).job_status is JobStatus.RUNNING
    ended = a.exited(OFFER).of(JobStatusUpdate)[-1]
    assert (ended.job_status, ended.attempt) == (JobStatus.COMPLETED, 3)
    assert a.wait(DAY).of(JobStatusUpdate), "until it is released"


def test_a_restore_that_the_operator_tells_of_renews_the_stream_once(a: AgentSide) -> None:
    def both(draft: object) -> None:
        a.routes().happened(draft, AgentStarted(put_back=True))
        a.routes().happened(draft, JobsFound(jobs=(found(), found(b"p" * 16, OTHER_MANAGER))))

    said = a.unit(both)
    assert len(said.act(RenewStream)) == 1
    assert said.kinds == ["JobStatusUpdate", "JobStatusUpdate"]


def test_a_job_that_has_not_begun_brings_its_inputs(a: AgentSide) -> None:
    a.happens(JobsFound(jobs=(found(inputs={"a": "1", "undeclared": "2"}),)))
    assert a.row(AgentInput, (*a.job(OFFER).key, "a")).value == "1"
    assert a.state.get(AgentInput, (*a.job(OFFER).key, "undeclared")) is None


def test_a_suspended_job_is_known_to_be_suspended(a: AgentSide) -> None:
    a.job_types["t"] = replace(JOB_TYPES["t"], stop_after=2 * HOUR)
    said = a.happens(JobsFound(jobs=(found(paused=True),)))
    assert said.only(JobStatusUpdate).job_status is JobStatus.PAUSED
    assert a.job(OFFER).due > a.now, "its manager may be silent for good"
    assert not a.started(OFFER).sent, "it is not running because its supervisor is"
    a.say(JobResume(job_uuid=job_uuid_of(OFFER)), MANAGER)
    assert a.job(OFFER).state is AgentJobState.RUNNING


@pytest.mark.parametrize("state", ["pending", "queued"])
@pytest.mark.parametrize("paused", [False, True])
def test_a_row_that_says_it_never_started(a: AgentSide, state: str, paused: bool) -> None:
    if state == "queued":
        a.settings = replace(a.settings, slots=1)
        a.state = a.fresh(())
        a.running(b"0" * 16, by=OTHER_MANAGER)
    offer = a.pending() if state == "pending" else a.starting()
    before = a.job(offer)
    assert before.state == state
    a.state.settings = a.settings = replace(a.settings, slots=10)
    said = a.happens(JobsFound(jobs=(found(offer, paused=paused, parameters=("a",)),)))
    job = a.job(offer)
    assert job.state is (AgentJobState.PAUSED if paused else AgentJobState.STARTING)
    assert (job.missing, job.seq > before.seq, job.due) == (0, True, 0)
    assert said.act(RecoverJob)
    assert not said.act(StartJob)
    assert said.act(RenewStream)
    a.data(offer)
    if not paused:
        a.started(offer)
    a.exited(offer)
    assert a.job(offer).state is AgentJobState.COMPLETED


@pytest.mark.parametrize("state", ["starting", "running", "paused", "killing", "completed", "tombstone"])
def test_a_row_that_knows_better_stays(a: AgentSide, state: str) -> None:
    offer = OFFER
    if state == "tombstone":
        a.say(JobKill(job_uuid=job_uuid_of(offer)), MANAGER)
    elif state == "completed":
        offer = a.completed()
    else:
        offer = a.starting() if state == "starting" else a.running()
        for name, message in (("paused", JobPause), ("killing", JobKill)):
            if state == name:
                a.say(message(job_uuid=job_uuid_of(offer)), MANAGER)
    before = a.row(AgentJob, (MANAGER, job_uuid_of(offer)))
    said = a.happens(JobsFound(jobs=(found(offer, inputs={"a": "9"}),)))
    assert not said.sent
    assert not said.acts
    assert a.row(AgentJob, before.key) == before


@pytest.mark.parametrize("state", ["open", "expired", "rejected"])
def test_an_offer_whose_acceptance_was_forgotten(a: AgentSide, state: str) -> None:
    offer = a.offered()
    if state == "expired":
        a.wait(2 * HOUR)
    elif state == "rejected":
        a.say(JobFulfillmentOfferReject(request_uuid=REQUEST, offer_uuid=offer), MANAGER)
    assert a.offer_row(offer).state == state
    a.happens(JobsFound(jobs=(found(offer),)))
    assert a.job(offer).state is AgentJobState.STARTING
    if state != "rejected":  # a sink; the job is there all the same
        assert a.offer_row(offer).state is AgentOfferState.ACCEPTED
        assert a.accept(offer).only(JobAccepted).job_uuid == job_uuid_of(offer)


def test_nothing_is_found(a: AgentSide) -> None:
    said = a.happens(JobsFound(jobs=()))
    assert not said.acts
    assert not said.changed


def test_a_full_report_has_it(a: AgentSide) -> None:
    a.happens(JobsFound(jobs=(found(),)))
    report = a.say(JobReportRequest(report_uuid=b"q" * 16), MANAGER).only(JobReport)
    assert [entry.job_uuid for entry in report.jobs] == [job_uuid_of(OFFER)]
