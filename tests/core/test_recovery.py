"""Absence, restore, clock and operators' wishes: what each decides, by real messages."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from caroni.core.agent.availability import presence
from caroni.core.agent.state import Announce, SignalJob, SignalKind
from caroni.core.agent.state import Started as AgentStarted
from caroni.core.clockjump import ClockJumped, newest_instant
from caroni.core.commands import (
    CancelWorkflow,
    Drain,
    GoOffline,
    GoOnline,
    KillJob,
    PauseJob,
    PauseWorkflow,
    ResumeJob,
    ResumeWorkflow,
    RetrySteps,
    Undrain,
)
from caroni.core.draft import RenewStream
from caroni.core.ids import job_uuid_of
from caroni.core.manager.restore import MAX_ORPHANS
from caroni.core.manager.state import Started
from caroni.core.messages import (
    AgentPresence,
    DeclineReason,
    FailureClass,
    JobAccepted,
    JobFulfillmentDecline,
    JobFulfillmentOffer,
    JobFulfillmentOfferAccept,
    JobFulfillmentOfferReject,
    JobFulfillmentOfferWithdrawn,
    JobFulfillmentRequest,
    JobFulfillmentRequestWithdrawn,
    JobKill,
    JobPause,
    JobRelease,
    JobReport,
    JobReportEntry,
    JobReportRequest,
    JobResume,
    JobStatus,
    JobStatusRequest,
    JobStatusUpdate,
    PresenceState,
)
from caroni.core.plan import DAY, HOUR, MINUTE, SECOND
from caroni.core.rows import Flow, Job, Orphan, Peer, Step
from caroni.core.states import (
    AgentJobState,
    AgentOfferState,
    JobState,
    OfferState,
    RequestState,
    StepState,
    WorkflowState,
)
from caroni.errors import CommandRefused
from tests.core.build import (
    AGENT,
    JOB_TYPES,
    MANAGER,
    NOW,
    OUT,
    SECOND_AGENT,
    UNCLEARED,
    AgentSide,
    ManagerSide,
)

OFFER = b"o" * 16
FIRST = (AGENT, job_uuid_of(OFFER))
LOST = b"l" * 16
UNKNOWN = (AGENT, job_uuid_of(LOST))


@pytest.fixture
def m() -> ManagerSide:
    return ManagerSide()


@pytest.fixture
def a() -> AgentSide:
    return AgentSide()


def says(m: ManagerSide, state: PresenceState, number: int = 1, **more: int) -> None:
    m.say(AgentPresence(state=state, number=number, job_types=("t",), **more), AGENT)


# --- sequence numbers ------------------------------------------------------------------------------


def test_gaps_are_counted_and_late_ones_fill_them(m: ManagerSide) -> None:
    m.fulfilled()
    for sequence, gaps in ((1, 0), (4, 2), (3, 1), (6, 2), (2, 1), (5, 0)):
        said = m.say(JobReport(report_uuid=b"R" * 16), AGENT, sequence=sequence)
        assert m.row(Peer, AGENT).gaps == gaps
        assert "peer_was_put_back" not in said.notes
    assert m.row(Peer, AGENT).sequence == 6


def test_a_number_that_comes_again_tells_of_a_database_that_was_put_back(m: ManagerSide) -> None:
    m.fulfilled()
    report = JobReport(report_uuid=b"R" * 16)
    for sequence in (1, 2, 3):
        m.say(report, AGENT, sequence=sequence)
    said = m.say(report, AGENT, sequence=2)
    assert "peer_was_put_back" in said.notes
    assert said.only(JobReportRequest).seen_sequence == 3
    assert not m.say(report, AGENT, sequence=2).of(JobReportRequest), "he is told so once in a while"


def test_a_new_stream_is_another_database_and_is_asked(m: ManagerSide) -> None:
    m.fulfilled()
    m.say(JobReport(report_uuid=b"R" * 16), AGENT, sequence=5)
    said = m.say(JobReport(report_uuid=b"R" * 16), AGENT, stream=2, sequence=1)
    assert said.of(JobReportRequest)[0].seen_stream == 2
    assert (m.row(Peer, AGENT).sequence, m.row(Peer, AGENT).gaps) == (1, 0)


def test_an_agent_tells_a_manager_that_was_put_back_what_it_has(a: AgentSide) -> None:
    offer = a.running()
    ask = JobReportRequest(report_uuid=b"R" * 16)
    for sequence in (1, 2):
        a.say(ask, MANAGER, sequence=sequence)
    say_no_more = JobRelease(job_uuid=b"?" * 16)
    for question in (ask, say_no_more):  # asked or not
        (report,) = a.say(question, MANAGER, sequence=1).of(JobReport)
        assert [e.job_uuid for e in report.jobs] == [job_uuid_of(offer)]
        assert report.complete
        assert report.seen_sequence == 2
        a.now += HOUR


def test_an_agent_that_was_put_back_renews_its_stream(a: AgentSide) -> None:
    a.state.own_stream = 7
    a.state.next_sequence = {MANAGER: 3}
    assert not a.say(JobReportRequest(report_uuid=b"R" * 16, seen_stream=7, seen_sequence=2), MANAGER).acts
    said = a.say(JobReportRequest(report_uuid=b"R" * 16, seen_stream=7, seen_sequence=3), MANAGER)
    assert said.act(RenewStream)[0].stream_id > 7
    assert a.happens(AgentStarted(put_back=True)).act(RenewStream)


# --- a manager's restart and restore ---------------------------------------------------------------


def test_a_start_asks_the_agents_that_have_jobs(m: ManagerSide) -> None:
    m.fulfilled()
    m.state.started_at = m.now + 1
    m.now += SECOND
    said = m.happens(Started())
    assert [o.to for o in said.sent] == [AGENT]
    said.only(JobReportRequest)


def test_a_report_of_more_than_we_have_said_begins_the_hold(m: ManagerSide) -> None:
    m.submit()
    m.state.own_stream = 7
    m.state.next_sequence = {AGENT: 3}
    assert "database_was_put_back" not in m.report(seen_stream=7, seen_sequence=2).notes
    assert "database_was_put_back" not in m.report(seen_stream=6, seen_sequence=9).notes
    said = m.report(
        AGENT,
        JobReportEntry(job_uuid=UNKNOWN[1], job_status=JobStatus.RUNNING),
        seen_stream=7,
        seen_sequence=3,
    )
    assert "database_was_put_back" in said.notes
    assert said.act(RenewStream)
    assert m.state.hold_until == m.now + DAY
    assert not said.of(JobKill)
    assert m.row(Orphan, UNKNOWN).due == m.state.hold_until


def test_whoever_is_cleared_for_nothing_cannot_make_us_hold(m: ManagerSide) -> None:
    m.submit()
    m.state.own_stream = 7
    assert not m.report(UNCLEARED, seen_stream=7, seen_sequence=99).notes
    assert not m.state.hold_until


def put_back(m: ManagerSide) -> None:
    assert m.happens(Started(put_back=True)).act(RenewStream)


def test_in_the_hold_a_job_of_an_open_request_is_adopted_and_completes(m: ManagerSide) -> None:
    m.submit()
    put_back(m)
    request = m.request()
    said = m.status(JobStatus.RUNNING, UNKNOWN, conversation=request.request_uuid)
    assert "job_adopted" in said.notes
    assert not said.of(JobKill)
    assert (m.step().state, m.step().current) == (StepState.RUNNING, UNKNOWN)
    assert m.request().state is RequestState.FULFILLED
    m.completes(UNKNOWN).only(JobRelease)
    assert m.workflow.state is WorkflowState.COMPLETED


def test_in_the_hold_standing_offers_of_an_adopted_step_are_rejected() -> None:
    m = ManagerSide(offer_window=HOUR)
    m.submit()
    put_back(m)
    m.offer(b"1" * 16, by=SECOND_AGENT)
    said = m.status(JobStatus.PENDING, UNKNOWN, conversation=m.request().request_uuid)
    assert not said.of(JobFulfillmentOfferReject), "an offer of that time may have become a job"
    (withdrawn,) = (o for o in said.sent if isinstance(o.message, JobFulfillmentRequestWithdrawn))
    assert withdrawn.to == SECOND_AGENT
    assert m.offer_row(b"1" * 16, SECOND_AGENT).state is OfferState.REJECTED


@pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.COMPLETED])
def test_an_orphan_is_kept_through_the_hold_and_stopped_after_it(m: ManagerSide, status: JobStatus) -> None:
    m.submit()
    put_back(m)
    for _ in range(2):
        said = m.status(status, UNKNOWN)
        assert not said.sent
    orphan = m.row(Orphan, UNKNOWN)
    assert (orphan.status, orphan.due) == (status, m.state.hold_until)
    m.say(JobFulfillmentOffer(request_uuid=b"?" * 16, offer_uuid=LOST), AGENT)
    kind = JobKill if status is JobStatus.RUNNING else JobRelease
    early = m.wait(DAY - HOUR)
    assert not early.of(JobKill)
    assert not early.of(JobRelease)
    assert m.wait(2 * HOUR).of(JobReportRequest), "were we put back once more?"
    m.report()
    assert m.wait(6 * MINUTE).of(kind)
    assert m.row(Orphan, UNKNOWN).due == 0


def test_an_offer_of_the_lost_time_is_not_rejected_in_the_hold(m: ManagerSide) -> None:
    put_back(m)
    assert not m.say(JobFulfillmentOffer(request_uuid=b"?" * 16, offer_uuid=LOST), AGENT).sent


def test_orphans_of_one_agent_are_bounded(m: ManagerSide) -> None:
    put_back(m)
    for number in range(MAX_ORPHANS + 5):
        m.status(JobStatus.RUNNING, (AGENT, number.to_bytes(16, "big")), seq=1)
    assert m.state.orphans_of[AGENT] == MAX_ORPHANS


def test_an_operator_may_stop_an_orphan_at_once(m: ManagerSide) -> None:
    put_back(m)
    m.status(JobStatus.RUNNING, UNKNOWN)
    m.command(KillJob(peer=AGENT, job_uuid=UNKNOWN[1])).only(JobKill)
    with pytest.raises(CommandRefused):
        m.command(KillJob(peer=AGENT, job_uuid=UNKNOWN[1]))


def test_an_at_most_once_step_is_held_after_a_restore_until_the_operator_says() -> None:
    m = ManagerSide()
    m.submit("once")
    said = m.happens(Started(put_back=True))
    assert "step_held" in said.notes
    assert (m.step().state, m.workflow.state) == (StepState.HELD, WorkflowState.HELD)
    assert not m.wait(2 * DAY).of(JobFulfillmentRequest)
    m.command(RetrySteps(workflow_uuid=m.workflow_uuid))
    assert m.result["affected"] == 1
    assert m.step().state is StepState.FULFILLING
    assert m.workflow.state is WorkflowState.RUNNING


def test_an_at_most_once_step_that_becomes_ready_later_is_held_too() -> None:
    from tests.core.build import plan, step

    m = ManagerSide({"two": plan(step("first"), step("second", "first/out", at_most_once=True))})
    m.submit("two")
    put_back(m)
    m.fulfilled("two")
    m.completes()
    assert m.step("second").state is StepState.HELD


def test_a_held_step_takes_its_job_up_again_when_it_speaks() -> None:
    m = ManagerSide()
    m.submit("once")
    request = m.request().request_uuid
    put_back(m)
    m.status(JobStatus.RUNNING, UNKNOWN, conversation=request)
    assert (m.step().state, m.workflow.state) == (StepState.RUNNING, WorkflowState.RUNNING)
    m.completes(UNKNOWN)
    assert m.workflow.state is WorkflowState.COMPLETED


def test_unknown_jobs_are_killed_only_after_a_report(m: ManagerSide) -> None:
    m.submit()
    m.status(JobStatus.RUNNING, UNKNOWN).only(JobReportRequest)
    assert not m.status(JobStatus.RUNNING, UNKNOWN).sent
    entry = JobReportEntry(job_uuid=UNKNOWN[1], job_status=JobStatus.RUNNING)
    m.report(AGENT, entry).only(JobStatusRequest)
    m.status(JobStatus.RUNNING, UNKNOWN).only(JobKill)


# --- absence ---------------------------------------------------------------------------------------


def test_an_announced_absence_outlasts_the_lease(m: ManagerSide) -> None:
    m.running()
    says(m, PresenceState.OFFLINE, offline_for=12 * HOUR)
    assert m.row(Peer, AGENT).presence is PresenceState.OFFLINE
    m.wait(12 * HOUR + 10 * MINUTE)
    assert m.job().state is JobState.RUNNING
    assert m.job().suspect
    m.wait(HOUR)
    assert m.row(Job, FIRST).state is JobState.LOST


def test_being_back_ends_the_absence_and_older_news_does_not_count(m: ManagerSide) -> None:
    m.running()
    says(m, PresenceState.OFFLINE, number=2, offline_for=12 * HOUR)
    says(m, PresenceState.ONLINE, number=3)
    says(m, PresenceState.OFFLINE, number=2, offline_for=12 * HOUR)
    assert m.row(Peer, AGENT).away_until == 0
    m.wait(HOUR)
    assert m.row(Job, FIRST).state is JobState.LOST


def test_draining_is_no_absence(m: ManagerSide) -> None:
    m.running()
    says(m, PresenceState.DRAINING, draining_for=12 * HOUR)
    assert m.row(Peer, AGENT).away_until == 0


@pytest.mark.parametrize("reason", list(DeclineReason))
def test_an_agent_that_is_back_is_asked_again_what_it_declined_for_being_away(
    m: ManagerSide, reason: DeclineReason
) -> None:
    m.submit()
    m.say(JobFulfillmentDecline(request_uuid=m.request().request_uuid, reason=reason), AGENT)
    said = m.say(AgentPresence(state=PresenceState.ONLINE, number=1, job_types=("t",)), AGENT)
    asked = bool(said.of(JobFulfillmentRequest))
    assert asked == (reason in (DeclineReason.DRAINING, DeclineReason.SCHEDULE))


def test_a_reboot_of_an_agent_with_jobs_asks_for_a_report(m: ManagerSide) -> None:
    m.running()
    m.say(AgentPresence(state=PresenceState.ONLINE, number=1, boot_id=b"1" * 16), AGENT)
    m.wait(5 * MINUTE)
    said = m.say(AgentPresence(state=PresenceState.ONLINE, number=2, boot_id=b"2" * 16), AGENT)
    said.only(JobReportRequest)


def test_nobody_answers_is_said_once(m: ManagerSide) -> None:
    m.submit()
    notes = [m.wait(MINUTE).notes.count("request_unanswered") for _ in range(10)]
    assert sum(notes) == 1
    assert m.request().warned


def test_an_accept_is_not_repeated_while_its_agent_is_away(m: ManagerSide) -> None:
    m.submit()
    m.offer(OFFER, ttl=DAY)
    says(m, PresenceState.OFFLINE, offline_for=12 * HOUR)
    assert len(m.wait(11 * HOUR).of(JobFulfillmentOfferAccept)) <= 1
    assert m.wait(2 * HOUR).of(JobFulfillmentOfferAccept)


def test_an_offer_whose_job_came_to_nothing_is_followed_by_another(a: AgentSide) -> None:
    """A manager that was put back asks again with the request that it remembers."""
    offer = a.running()
    a.say(JobKill(job_uuid=job_uuid_of(offer)), MANAGER)
    a.request(round=2).only(JobAccepted)
    a.exited(offer, AgentJobState.KILLED)
    assert a.request(round=3).only(JobFulfillmentOffer).offer_uuid != offer


def test_an_offer_that_we_do_not_remember_to_have_accepted_is_asked_about_before_its_job_is_stopped() -> None:
    m = ManagerSide(offer_window=HOUR)
    m.submit()
    m.offer(OFFER)
    m.accepted(OFFER).only(JobReportRequest)
    m.report()
    m.accepted(OFFER).only(JobFulfillmentOfferReject)


# --- the agent's availability ----------------------------------------------------------------------


def test_drain_finishes_what_is_there_and_takes_nothing_new(a: AgentSide) -> None:
    offer = a.running()
    waiting = a.starting(b"s" * 16)
    assert a.command(Drain()).act(Announce)
    assert a.result == {"draining": True, "drain_deadline": 0, "away_until": 0, "jobs_left": 2}
    assert a.request(b"n" * 16).only(JobFulfillmentDecline).reason is DeclineReason.DRAINING
    a.exited(offer)
    assert a.job(waiting).state is AgentJobState.STARTING
    assert presence(a.state, a.now, b"", 1).state is PresenceState.DRAINING
    assert a.command(Undrain()).act(Announce)
    a.request(b"n" * 16).only(JobFulfillmentOffer)


def test_a_drain_deadline_kills_the_rest_on_the_agents_account(a: AgentSide) -> None:
    offer = a.running()
    queued = a.starting(b"s" * 16)
    a.command(Drain(deadline=HOUR))
    assert not a.wait(HOUR - MINUTE).act(SignalJob)
    said = a.wait(2 * MINUTE)
    assert [s.kind for s in said.act(SignalJob)] == [SignalKind.KILL]
    assert a.job(queued).state is AgentJobState.KILLED
    status = a.exited(offer, AgentJobState.KILLED).of(JobStatusUpdate)[-1]
    assert (status.job_status, status.failure_class) == (JobStatus.KILLED, FailureClass.AGENT)
    assert a.request(b"n" * 16).only(JobFulfillmentDecline).reason is DeclineReason.DRAINING


def test_a_job_that_ends_well_while_it_is_killed_has_no_failure_class(a: AgentSide) -> None:
    offer = a.running()
    a.command(KillJob(peer=MANAGER, job_uuid=job_uuid_of(offer)))
    a.exited(offer)
    assert a.job(offer).failure_class is FailureClass.UNSPECIFIED
    assert a.job(offer).state is AgentJobState.COMPLETED


def test_going_offline_takes_offers_back_begins_nothing_and_ends_by_itself(a: AgentSide) -> None:
    reserved = a.offered()
    pending = a.pending(b"p" * 16)
    said = a.command(GoOffline(duration=12 * HOUR))
    assert said.only(JobFulfillmentOfferWithdrawn).offer_uuid == reserved
    assert a.offer_row(reserved).state is AgentOfferState.REVOKED
    told = presence(a.state, a.now, b"", 1)
    assert told.state is PresenceState.OFFLINE
    assert abs(told.offline_for - 12 * HOUR) < SECOND
    declined = a.request(b"n" * 16).only(JobFulfillmentDecline)
    assert declined.reason is DeclineReason.SCHEDULE
    assert 11 * HOUR < declined.retry_after <= 12 * HOUR
    a.data(pending)
    assert a.job(pending).state is AgentJobState.QUEUED, "nothing is begun"
    assert a.wait(13 * HOUR).act(Announce)
    assert a.job(pending).state is AgentJobState.STARTING
    assert presence(a.state, a.now, b"", 1).state is PresenceState.ONLINE


def test_coming_back_early(a: AgentSide) -> None:
    a.command(GoOffline(duration=12 * HOUR))
    a.command(GoOnline())
    assert presence(a.state, a.now, b"", 1).state is PresenceState.ONLINE
    a.request().only(JobFulfillmentOffer)


def test_durations_that_nobody_would_wait_for_are_refused(a: AgentSide) -> None:
    for command in (GoOffline(duration=400 * DAY), Drain(deadline=-1)):
        with pytest.raises(CommandRefused):
            a.command(command)


def test_the_schedule_announces_itself_ahead_and_opens_again(a: AgentSide) -> None:
    start, end = NOW + 2 * HOUR, NOW + 10 * HOUR
    a.policy = replace(a.policy, window=lambda now: (start, end) if now < end else (end + DAY, end + 2 * DAY))
    a.state.policy = a.policy
    a.happens(AgentStarted())
    a.wait(start - a.now - 9 * MINUTE)
    reserved = a.offered()
    told = presence(a.state, a.now, b"", 1)
    assert (told.state, a.now + told.offline_for) == (PresenceState.OFFLINE, end)
    a.request(b"y" * 16).only(JobFulfillmentOffer)
    a.wait(10 * MINUTE)
    assert a.offer_row(reserved).state is AgentOfferState.REVOKED
    assert a.request(b"n" * 16).only(JobFulfillmentDecline).reason is DeclineReason.SCHEDULE
    assert a.wait(8 * HOUR).act(Announce)
    a.request(b"m" * 16).only(JobFulfillmentOffer)


# --- a manager that is silent ----------------------------------------------------------------------


def test_a_job_is_kept_or_stopped_when_its_manager_is_silent(a: AgentSide) -> None:
    kept = a.running()
    a.exited(kept)
    a.job_types["t"] = replace(JOB_TYPES["t"], stop_after=2 * HOUR)
    offer = a.running(b"s" * 16)
    a.wait(HOUR)
    a.say(JobStatusRequest(job_uuid=job_uuid_of(offer)), MANAGER)  # he is there
    assert not a.wait(HOUR + 50 * MINUTE).act(SignalJob)
    assert [s.kind for s in a.wait(20 * MINUTE).act(SignalJob)] == [SignalKind.KILL]
    a.exited(offer, AgentJobState.KILLED)
    assert a.job(offer).failure_class is FailureClass.LOST


# --- operators' wishes -----------------------------------------------------------------------------


def test_pause_and_resume_of_a_workflow(m: ManagerSide) -> None:
    m.submit("chain")
    m.fulfilled("chain")
    m.command(PauseWorkflow(workflow_uuid=m.workflow_uuid))
    assert m.result == {"state": "running", "paused": True, "affected": 2}
    m.completes()
    assert m.step("second").state is StepState.WAITING
    m.command(ResumeWorkflow(workflow_uuid=m.workflow_uuid)).only(JobFulfillmentRequest)


def test_a_paused_step_suspends_its_job_and_says_so_again_if_it_was_not_running_yet(m: ManagerSide) -> None:
    m.fulfilled()
    m.command(PauseWorkflow(workflow_uuid=m.workflow_uuid, steps=("first",))).only(JobPause)
    assert m.status(JobStatus.RUNNING).of(JobPause)
    m.status(JobStatus.PAUSED)
    assert m.job().state is JobState.PAUSED
    m.command(ResumeJob(peer=AGENT, job_uuid=FIRST[1])).only(JobResume)
    assert not m.status(JobStatus.RUNNING).of(JobPause)


def test_a_cancelled_step_fails_its_workflow(m: ManagerSide) -> None:
    m.running("chain")
    m.command(CancelWorkflow(workflow_uuid=m.workflow_uuid, steps=("first",))).only(JobKill)
    assert m.step().state is StepState.FAILED
    assert m.step("second").state is StepState.CANCELLED
    assert m.workflow.state is WorkflowState.FAILED
    m.completes()
    assert not m.state.get(Flow, (m.workflow_uuid, "first/out"))


def test_a_waiting_step_can_be_given_up(m: ManagerSide) -> None:
    m.submit("chain")
    m.command(CancelWorkflow(workflow_uuid=m.workflow_uuid, steps=("second",)))
    assert m.step("second").state is StepState.FAILED
    assert m.workflow.state is WorkflowState.FAILED


def test_a_kill_is_a_wish_first_and_confirmed_by_the_agent(m: ManagerSide) -> None:
    m.running()
    m.command(KillJob(peer=AGENT, job_uuid=FIRST[1], reason="too hot")).only(JobKill)
    assert m.job().kill_wanted
    assert (m.job().kill_asked_at, m.job().kill_info) == (m.now, "too hot")
    m.status(JobStatus.KILLED)
    assert m.row(Job, FIRST).state is JobState.KILLED
    assert m.step().state in (StepState.WAITING, StepState.FULFILLING), "it is tried again"


@pytest.mark.parametrize(
    "command",
    [
        CancelWorkflow(workflow_uuid=b"?" * 16),
        PauseWorkflow(workflow_uuid=b"?" * 16),
        KillJob(peer=AGENT, job_uuid=b"?" * 16),
        PauseJob(peer=AGENT, job_uuid=b"?" * 16),
    ],
)
def test_commands_for_nothing_are_refused(m: ManagerSide, command: object) -> None:
    with pytest.raises(CommandRefused):
        m.command(command)


def test_a_step_that_is_not_there_is_named(m: ManagerSide) -> None:
    m.submit()
    with pytest.raises(CommandRefused, match="no step nope"):
        m.command(RetrySteps(workflow_uuid=m.workflow_uuid, steps=("first", "nope")))


def test_an_agents_operator_pauses_resumes_and_kills(a: AgentSide) -> None:
    offer = a.running()
    key = {"peer": MANAGER, "job_uuid": job_uuid_of(offer)}
    assert a.command(PauseJob(**key)).act(SignalJob)[0].kind is SignalKind.PAUSE
    with pytest.raises(CommandRefused, match="only a running job"):
        a.command(PauseJob(**key))
    assert a.command(ResumeJob(**key)).act(SignalJob)[0].kind is SignalKind.RESUME
    assert a.command(KillJob(**key)).act(SignalJob)[0].kind is SignalKind.KILL
    a.exited(offer, AgentJobState.KILLED)
    assert a.job(offer).failure_class is FailureClass.POLICY
    with pytest.raises(CommandRefused):
        a.command(KillJob(**key))


# --- clocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [2 * DAY, -2 * DAY])
def test_a_clock_that_is_set_gives_nobody_up_and_stalls_nothing(m: ManagerSide, by: int) -> None:
    m.running()
    m.now += by
    said = m.happens(ClockJumped(by=by))
    assert "clock_jumped" in said.notes
    assert m.wait(5 * MINUTE).of(JobStatusRequest), "the poll goes on"
    m.wait(30 * MINUTE)
    assert m.job().state is JobState.RUNNING
    m.wait(20 * MINUTE)
    assert m.row(Job, FIRST).state is JobState.LOST


def test_an_agents_timers_move_with_its_clock(a: AgentSide) -> None:
    offer = a.offered()
    a.now += 2 * DAY
    a.happens(ClockJumped(by=2 * DAY))
    assert not a.wait(50 * MINUTE).changed
    a.accept(offer)
    assert a.offer_row(offer).state is AgentOfferState.ACCEPTED


def test_the_newest_instant_tells_of_a_clock_that_went_back(m: ManagerSide) -> None:
    assert newest_instant(m.state) == 0
    m.running()
    assert NOW < newest_instant(m.state) <= m.now


def test_steps_and_values_of_an_adopted_job_are_those_of_the_workflow(m: ManagerSide) -> None:
    m.submit("chain")
    put_back(m)
    m.status(JobStatus.RUNNING, UNKNOWN, conversation=m.request().request_uuid)
    m.completes(UNKNOWN)
    assert m.row(Flow, (m.workflow_uuid, "first/out")).value == OUT
    assert m.row(Step, (m.workflow_uuid, 1)).state is StepState.FULFILLING
