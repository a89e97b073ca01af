"""The agent's tables of jobs, inputs and outputs, row by row; D is a duplicate, L late."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from caroni.core.agent import jobs
from caroni.core.agent.state import (
    Allowance,
    ForgetJob,
    SendLog,
    SignalJob,
    SignalKind,
    StartJob,
    evictable,
)
from caroni.core.ids import job_uuid_of, value_digest
from caroni.core.messages import (
    FailureClass,
    JobDataAvailable,
    JobFulfillmentOfferWithdrawn,
    JobKill,
    JobLogRequest,
    JobPause,
    JobRelease,
    JobReport,
    JobReportRequest,
    JobResume,
    JobStatus,
    JobStatusRequest,
    JobStatusUpdate,
    Message,
)
from caroni.core.plan import DAY, HOUR, MINUTE
from caroni.core.rows import AgentInput, AgentJob, Peer
from caroni.core.states import AgentJobState, AgentOfferState
from tests.core.build import MANAGER, OTHER_MANAGER, OUT, AgentSide, Said

REQUEST = b"r" * 16
STATES = list(AgentJobState)


def bring(a: AgentSide, state: AgentJobState) -> bytes:
    """A job in this state, by real messages; gives its offer."""
    S = AgentJobState
    if state is S.QUEUED:
        a.running(b"0" * 16, by=OTHER_MANAGER)
        return a.starting()
    if state is S.PENDING:
        return a.pending()
    offer = a.starting()
    if state is S.STARTING:
        return offer
    a.started(offer)
    if state is S.PAUSED:
        ask(a, offer, JobPause)
    elif state is S.KILLING:
        ask(a, offer, JobKill)
    elif state is not S.RUNNING:
        a.exited(offer, state)
    return offer


def ask(a: AgentSide, offer: bytes, kind: type[Message], by: str = MANAGER, **more: object) -> Said:
    return a.say(kind(job_uuid=job_uuid_of(offer), **more), by)


def status(said: Said) -> JobStatusUpdate:
    (found,) = said.of(JobStatusUpdate)
    return found


@pytest.fixture
def a() -> AgentSide:
    return AgentSide()


# --- inputs --------------------------------------------------------------------------------------


def test_pending_the_last_input_queues_it(a: AgentSide) -> None:
    a.running(b"0" * 16)
    offer = a.pending(parameters=("a", "n"))
    assert not a.data(offer, a="1").sent
    assert a.job(offer).missing == 1
    assert status(a.data(offer, n="2")).job_status is JobStatus.QUEUED
    assert a.job(offer).state is AgentJobState.QUEUED


def test_pending_D_input_of_the_same_value_is_ignored(a: AgentSide) -> None:
    offer = a.pending(parameters=("a", "n"))
    a.data(offer, a="1")
    said = a.data(offer, a="1")
    assert not said.rows()
    assert not said.events


def test_pending_D_input_of_another_value_is_an_alarm_and_the_first_stays(a: AgentSide) -> None:
    offer = a.pending(parameters=("a", "n"))
    a.data(offer, a="1")
    said = a.data(offer, a="2")
    assert said.notes == ["input_changed"]
    assert a.row(AgentInput, (MANAGER, job_uuid_of(offer), "a")).value == "1"


def test_pending_undeclared_inputs_are_not_kept(a: AgentSide) -> None:
    offer = a.pending()
    said = a.data(offer, z="1")
    assert said.notes == ["input_undeclared"]
    assert not said.rows()


@pytest.mark.parametrize("value", ['"text"', "null", "1.5", "{", "", "99999999999", "[" * 5000])
def test_pending_an_input_that_does_not_fit_fails_the_job(a: AgentSide, value: str) -> None:
    offer = a.pending(parameters=("a", "n"))
    said = status(a.data(offer, n=value))
    assert (said.job_status, said.failure_class) == (JobStatus.FAILED, FailureClass.INPUT)


def test_pending_inputs_that_never_come_fail_the_job(a: AgentSide) -> None:
    offer = a.pending()
    a.wait(DAY + MINUTE)
    assert a.job(offer).state is AgentJobState.FAILED
    assert a.job(offer).failure_class is FailureClass.INPUT


@pytest.mark.parametrize("state", [s for s in STATES if s is not AgentJobState.PENDING])
def test_L_data_after_pending_is_answered_with_the_state(a: AgentSide, state: AgentJobState) -> None:
    offer = bring(a, state)
    before = a.job(offer)
    for value, notes in (("1", []), ("2", ["input_changed"])):
        said = a.data(offer, a=value)
        assert status(said).seq == before.seq
        assert said.notes == notes
        assert not said.rows()
    assert a.job(offer) == before


def test_data_from_another_manager_is_unknown(a: AgentSide) -> None:
    offer = a.pending()
    assert a.data(offer, by=OTHER_MANAGER).only(JobStatusUpdate).job_status is JobStatus.UNKNOWN
    assert a.job(offer).missing == 1


# --- queue ---------------------------------------------------------------------------------------


def test_queued_starts_when_a_slot_is_free(a: AgentSide) -> None:
    first = a.running(b"0" * 16)
    second, third = a.starting(b"1" * 16), a.starting(b"2" * 16)
    assert list(a.state.queue[MANAGER]) == [(MANAGER, job_uuid_of(o)) for o in (second, third)]
    said = a.exited(first)
    assert [s.key[1] for s in said.act(StartJob)] == [job_uuid_of(second)]
    assert a.job(second).state is AgentJobState.STARTING


def test_queued_managers_take_turns() -> None:
    a = AgentSide()
    running = a.running(b"0" * 16)
    mine = [a.starting(bytes([n]) * 16) for n in (1, 2)]
    theirs = a.starting(b"9" * 16, by=OTHER_MANAGER)
    order = []
    key = (MANAGER, running)
    for _ in range(3):
        (start,) = a.exited(key[1], manager=key[0]).act(StartJob)
        order.append(start.key)
        offer = next(j for j in a.state.tables[AgentJob].values() if j.key == start.key)
        assert isinstance(offer, AgentJob)
        key = (offer.manager, offer.offer_uuid)
    assert order == [
        (MANAGER, job_uuid_of(mine[0])),
        (OTHER_MANAGER, job_uuid_of(theirs)),
        (MANAGER, job_uuid_of(mine[1])),
    ]


def test_queued_waits_for_the_managers_own_limit() -> None:
    a = AgentSide(Allowance(max_running=1), slots=2)
    a.running(b"0" * 16)
    second = a.starting(b"1" * 16)
    assert a.job(second).state is AgentJobState.QUEUED
    third = a.starting(b"2" * 16, by=OTHER_MANAGER)
    assert a.job(third, OTHER_MANAGER).state is AgentJobState.STARTING


# --- process -------------------------------------------------------------------------------------


def test_starting_runs(a: AgentSide) -> None:
    offer = a.starting()
    assert status(a.started(offer)).job_status is JobStatus.RUNNING
    assert not a.started(offer).sent, "D"


@pytest.mark.parametrize("state", [s for s in STATES if s is not AgentJobState.STARTING])
def test_L_started_in_any_other_state_is_ignored(a: AgentSide, state: AgentJobState) -> None:
    offer = bring(a, state)
    assert not a.started(offer).rows()


@pytest.mark.parametrize("state", ["starting", "running", "paused", "killing"])
@pytest.mark.parametrize("end", ["completed", "failed", "killed"])
def test_what_the_exit_file_says_is_what_is_reported(a: AgentSide, state: str, end: str) -> None:
    offer = bring(a, AgentJobState(state))
    seq = a.job(offer).seq
    said = a.exited(offer, AgentJobState(end), failure_class=FailureClass.AGENT)
    expected = "killed" if (state, end) == ("killing", "failed") else end
    assert status(said).job_status is JobStatus[expected.upper()]
    assert status(said).seq == seq + 1
    if expected == "failed":
        assert status(said).failure_class is FailureClass.AGENT
    assert a.state.unreleased == {(MANAGER, job_uuid_of(offer)): None}


@pytest.mark.parametrize("state", ["pending", "queued", "completed", "failed", "killed"])
def test_L_exit_without_a_process_is_ignored(a: AgentSide, state: str) -> None:
    offer = bring(a, AgentJobState(state))
    said = a.exited(offer, AgentJobState.FAILED)
    assert not said.sent
    assert not said.rows()


def test_completed_sends_its_outputs_and_their_digests(a: AgentSide) -> None:
    offer = a.running()
    said = a.exited(offer)
    assert said.kinds == ["JobDataAvailable", "JobStatusUpdate"]
    assert said.of(JobDataAvailable)[0].parameters == {"out": OUT}
    assert status(said).manifest == {"out": value_digest(OUT)}


def test_large_outputs_are_split() -> None:
    a = AgentSide(data_chunk=10)
    offer = a.running()
    said = a.exited(offer, outputs={"x": '"123456"', "y": '"123456"', "z": "1"})
    assert [list(d.parameters) for d in said.of(JobDataAvailable)] == [["x"], ["y", "z"]]


@pytest.mark.parametrize("state", ["completed", "failed", "killed"])
def test_terminal_repeats_ever_more_rarely_until_released(a: AgentSide, state: str) -> None:
    offer = bring(a, AgentJobState(state))
    seq = a.job(offer).seq
    said = a.wait(DAY)
    reports = said.of(JobStatusUpdate)
    assert 7 <= len(reports) <= 11
    assert {r.seq for r in reports} == {seq}
    assert len(said.of(JobDataAvailable)) == (len(reports) if state == "completed" else 0)
    released = ask(a, offer, JobRelease)
    assert released.act(ForgetJob)
    assert not a.wait(DAY).sent


def test_terminal_is_repeated_at_a_reconnection(a: AgentSide) -> None:
    offer = a.completed()
    assert not a.unit(jobs.reconnected).sent, "it was said a moment ago"
    a.wait(10 * MINUTE)
    assert a.unit(jobs.reconnected).kinds == ["JobDataAvailable", "JobStatusUpdate"]
    ask(a, offer, JobRelease)
    assert not a.unit(jobs.reconnected).sent


# --- kill ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["pending", "queued"])
def test_kill_before_the_process(a: AgentSide, state: str) -> None:
    offer = bring(a, AgentJobState(state))
    said = ask(a, offer, JobKill, kill_info="enough")
    assert (status(said).job_status, status(said).status_info) == (JobStatus.KILLED, "enough")
    assert not said.act(SignalJob)
    seq = a.job(offer).seq
    again = ask(a, offer, JobKill)
    assert (status(again).job_status, status(again).seq) == (JobStatus.KILLED, seq), "D"


@pytest.mark.parametrize("state", ["starting", "running", "paused"])
def test_kill_of_a_process_is_over_when_its_group_is_gone(a: AgentSide, state: str) -> None:
    offer = bring(a, AgentJobState(state))
    for _ in range(2):
        said = ask(a, offer, JobKill)
        assert [s.kind for s in said.act(SignalJob)] == [SignalKind.KILL]
        assert a.job(offer).state is AgentJobState.KILLING
    assert status(a.exited(offer, AgentJobState.KILLED)).job_status is JobStatus.KILLED


@pytest.mark.parametrize("state", ["completed", "failed", "killed"])
def test_L_kill_after_the_end_reports_how_it_ended(a: AgentSide, state: str) -> None:
    offer = bring(a, AgentJobState(state))
    said = ask(a, offer, JobKill)
    assert status(said).job_status is JobStatus[state.upper()]
    assert not said.rows()


def test_kill_by_another_manager_touches_nothing(a: AgentSide) -> None:
    offer = a.running()
    ask(a, offer, JobKill, OTHER_MANAGER)
    assert a.job(offer).state is AgentJobState.RUNNING


# --- what is not known ---------------------------------------------------------------------------

ASKED: list[Callable[[AgentSide, bytes], Said]] = [
    lambda a, o: ask(a, o, JobStatusRequest),
    lambda a, o: a.data(o),
    lambda a, o: ask(a, o, JobKill),
    lambda a, o: ask(a, o, JobPause),
    lambda a, o: ask(a, o, JobResume),
]


@pytest.mark.parametrize("question", ASKED)
def test_none_is_unknown(a: AgentSide, question: Callable[[AgentSide, bytes], Said]) -> None:
    update = question(a, b"?" * 16).only(JobStatusUpdate)
    assert (update.job_status, update.job_uuid) == (JobStatus.UNKNOWN, job_uuid_of(b"?" * 16))


@pytest.mark.parametrize("question", ASKED)
def test_none_killed_before_it_was_known_stays_unknown(
    a: AgentSide, question: Callable[[AgentSide, bytes], Said]
) -> None:
    """To say that it was killed would say that it never ran, and nobody knows that."""
    ask(a, b"?" * 16, JobKill)
    said = question(a, b"?" * 16)
    assert said.only(JobStatusUpdate).job_status is JobStatus.UNKNOWN
    assert not said.rows()


def test_none_kill_keeps_a_later_accept_from_starting_it(a: AgentSide) -> None:
    offer = a.offered()
    ask(a, offer, JobKill)
    a.accept(offer).only(JobFulfillmentOfferWithdrawn)
    a.data(offer)
    assert not a.state.waiting_of
    assert a.offer_row(offer).state is AgentOfferState.REVOKED


def test_none_release_is_ignored_and_a_log_is_refused(a: AgentSide) -> None:
    said = ask(a, b"?" * 16, JobRelease)
    assert (said.sent, said.acts, said.rows()) == ([], [], [])
    said = ask(a, b"?" * 16, JobLogRequest)
    assert (said.sent, said.rows()) == ([], [])
    assert said.act(SendLog)[0].job_type == ""


def test_none_memory_of_kills_is_bounded(a: AgentSide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MAX_TOMBSTONES", 2)
    for number in range(3):
        said = ask(a, bytes([number]) * 16, JobKill)
        assert said.rows() == (["AgentJob"] if number < 2 else [])


# --- status, pause, release, report --------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
def test_status_request_says_the_state_again_without_raising_the_sequence(
    a: AgentSide, state: AgentJobState
) -> None:
    offer = bring(a, state)
    before = a.job(offer)
    expected = {"starting": "QUEUED", "killing": "RUNNING"}.get(state, state.upper())
    for _ in range(2):
        said = status(ask(a, offer, JobStatusRequest))
        assert (said.job_status.name, said.seq) == (expected, before.seq)
    assert a.job(offer) == before


@pytest.mark.parametrize("state", STATES)
def test_release_counts_only_after_the_end(a: AgentSide, state: AgentJobState) -> None:
    offer = bring(a, state)
    ended = state in ("completed", "failed", "killed")
    said = ask(a, offer, JobRelease)
    assert bool(said.act(ForgetJob)) is ended
    assert a.job(offer).released is ended
    said = ask(a, offer, JobRelease)
    assert not said.acts, "D"
    assert not said.rows()


def test_pause_and_resume(a: AgentSide) -> None:
    offer = a.running()
    for kind, job_status, signal in (
        (JobPause, JobStatus.PAUSED, SignalKind.PAUSE),
        (JobResume, JobStatus.RUNNING, SignalKind.RESUME),
    ):
        said = ask(a, offer, kind)
        assert status(said).job_status is job_status
        assert [s.kind for s in said.act(SignalJob)] == [signal]
        said = ask(a, offer, kind)
        assert status(said).job_status is job_status, "D"
        assert not said.acts
        assert not said.rows()


@pytest.mark.parametrize("state", [s for s in STATES if s not in ("running", "paused")])
@pytest.mark.parametrize("kind", [JobPause, JobResume])
def test_pause_and_resume_elsewhere_only_report(
    a: AgentSide, state: AgentJobState, kind: type[Message]
) -> None:
    offer = bring(a, state)
    said = ask(a, offer, kind)
    status(said)
    assert not said.acts
    assert not said.rows()


def test_report_names_every_unreleased_job_of_this_manager(a: AgentSide) -> None:
    done, running = a.completed(b"0" * 16), a.running(b"1" * 16)
    a.pending(b"2" * 16, by=OTHER_MANAGER)
    ask(a, b"?" * 16, JobKill)
    said = a.say(JobReportRequest(report_uuid=b"R" * 16), MANAGER).only(JobReport)
    assert said.complete
    assert {(e.job_uuid, e.job_status) for e in said.jobs} == {
        (job_uuid_of(done), JobStatus.COMPLETED),
        (job_uuid_of(running), JobStatus.RUNNING),
    }
    ask(a, done, JobRelease)
    said = a.say(JobReportRequest(report_uuid=b"R" * 16), MANAGER).only(JobReport)
    assert len(said.jobs) == 1


def test_log_request_is_for_the_jobs_own_manager(a: AgentSide) -> None:
    offer = a.running()
    send = ask(a, offer, JobLogRequest).act(SendLog)[0]
    assert (send.to, send.job_type, send.ended, send.wrote) == (MANAGER, "t", False, False)
    # anybody else hears that there is no such job, in the same words as for one that there never was
    (other,) = ask(a, offer, JobLogRequest, OTHER_MANAGER).act(SendLog)
    assert (other.to, other.job_type) == (OTHER_MANAGER, "")
    assert not ask(a, offer, JobLogRequest, "unsigned:wf.manager").acts


def test_log_request_after_the_end_says_whether_there_was_any_output(a: AgentSide) -> None:
    offer = a.running()
    a.exited(offer, stderr_tail="oops")
    (send,) = ask(a, offer, JobLogRequest).act(SendLog)
    assert send.ended
    assert send.wrote
    (send,) = a.say(JobLogRequest(job_uuid=job_uuid_of(offer), stream="stdout"), MANAGER).act(SendLog)
    assert not send.wrote


def test_memory_keeps_nothing_of_a_released_job(a: AgentSide) -> None:
    offer = a.completed()
    rows = [r for table in a.state.tables.values() for r in table.values()]
    assert not evictable(a.state, rows)
    ask(a, offer, JobRelease)
    rows = [r for table in a.state.tables.values() for r in table.values()]
    for row_type, key in evictable(a.state, rows):
        a.state.evict(row_type, key)
    a.check_indexes()
    assert not any(table for row_type, table in a.state.tables.items() if row_type is not Peer)
    assert not a.wait(HOUR).sent
