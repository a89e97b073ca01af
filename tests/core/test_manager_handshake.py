"""The manager's tables of requests and offers, row by row; D is a duplicate, L late or out of order."""

from __future__ import annotations

import pytest

from caroni.core.draft import ALL_AGENTS
from caroni.core.ids import job_uuid_of
from caroni.core.manager.fulfilment import MAX_OFFERS
from caroni.core.messages import (
    AgentPresence,
    DeclineReason,
    JobAccepted,
    JobDataAvailable,
    JobFulfillmentDecline,
    JobFulfillmentOfferAccept,
    JobFulfillmentOfferReject,
    JobFulfillmentOfferWithdrawn,
    JobFulfillmentRequest,
    JobKill,
    JobReportRequest,
    JobStatus,
    PresenceState,
)
from caroni.core.plan import HOUR, MINUTE, SECOND
from caroni.core.rows import Job, Offer
from caroni.core.states import JobState, OfferState, RequestState, StepState
from tests.core.build import AGENT, OUTSIDER, SECOND_AGENT, SUBMITTER, UNCLEARED, ManagerSide, Said

ONE, TWO, THREE = b"o" * 16, b"p" * 16, b"q" * 16


@pytest.fixture
def m() -> ManagerSide:
    """A manager with one step that is asked for."""
    side = ManagerSide()
    side.submit()
    return side


def withdrawn(m: ManagerSide, offer: bytes = ONE, by: str = AGENT) -> Said:
    message = JobFulfillmentOfferWithdrawn(request_uuid=m.step().request_uuid, offer_uuid=offer)
    return m.say(message, by)


# --- request -------------------------------------------------------------------------------------


def test_a_ready_step_is_asked_for_at_once() -> None:
    m = ManagerSide()
    said = m.submit("chain")
    request = said.of(JobFulfillmentRequest)[0]
    assert [o.to for o in said.sent if o.message is request] == [ALL_AGENTS]
    assert (request.round, request.attempt, request.parameters) == (1, 1, ("a",))
    assert m.step().state is StepState.FULFILLING
    assert m.step("second").state is StepState.WAITING
    assert m.request().state is RequestState.OPEN


def test_the_first_offer_wins_at_once(m: ManagerSide) -> None:
    said = m.offer()
    assert said.only(JobFulfillmentOfferAccept).offer_uuid == ONE
    assert m.request().state is RequestState.ACCEPTING
    assert m.offer_row(ONE).state is OfferState.ACCEPTED


def test_within_a_window_the_best_offer_wins() -> None:
    m = ManagerSide(offer_window=2 * SECOND)
    m.submit()
    assert not m.offer(ONE, queue_depth=5).sent
    assert not m.offer(TWO, by=SECOND_AGENT, queue_depth=1).sent
    said = m.wait(3 * SECOND)
    assert said.only(JobFulfillmentOfferAccept).offer_uuid == TWO
    assert m.offer_row(ONE).state is OfferState.RECEIVED


def test_an_offer_shortly_before_the_next_round_is_still_taken_when_its_window_ends() -> None:
    m = ManagerSide(offer_window=2 * SECOND)
    m.submit()
    m.wait(29 * SECOND)
    m.offer()
    said = m.wait(3 * SECOND)
    assert [a.offer_uuid for a in said.of(JobFulfillmentOfferAccept)] == [ONE]


def test_open_D_the_same_offer_is_one_row_and_the_same_answer(m: ManagerSide) -> None:
    m.offer()
    said = m.offer()
    assert said.only(JobFulfillmentOfferAccept).offer_uuid == ONE
    assert m.request().offers == ((AGENT, ONE),)
    assert m.request().accept_tries == 1


def test_open_decline_is_recorded_and_changes_nothing_else(m: ManagerSide) -> None:
    decline = JobFulfillmentDecline(
        request_uuid=m.step().request_uuid, reason=DeclineReason.BUSY, decline_message="full"
    )
    for _ in range(2):
        said = m.say(decline, AGENT)
        assert said.rows() == ["Request"]
        assert not said.sent
    assert m.request().declines == {AGENT: "BUSY: full"}
    assert m.request().state is RequestState.OPEN


def test_decline_L_after_the_job_exists_is_ignored(m: ManagerSide) -> None:
    m.fulfilled()
    assert not m.say(JobFulfillmentDecline(request_uuid=m.step().request_uuid), SECOND_AGENT).rows()
    assert not m.say(JobFulfillmentDecline(request_uuid=b"?" * 16), SECOND_AGENT).rows()


def test_open_timer_asks_again_in_a_higher_round_ever_more_rarely(m: ManagerSide) -> None:
    said = m.wait(30 * SECOND)
    again = said.only(JobFulfillmentRequest)
    assert (again.request_uuid, again.round) == (m.step().request_uuid, 2)
    said = m.wait(24 * HOUR)
    assert [r.round for r in said.of(JobFulfillmentRequest)] == list(range(3, 3 + len(said.sent)))
    assert 46 <= len(said.sent) <= 54, "every half hour at most"


def test_open_presence_puts_the_request_to_that_agent_alone(m: ManagerSide) -> None:
    online = AgentPresence(state=PresenceState.ONLINE, job_types=("t", "x"), number=1)
    said = m.say(online, AGENT)
    assert said.only(JobFulfillmentRequest).request_uuid == m.step().request_uuid
    assert [o.to for o in said.sent] == [AGENT]
    assert not m.say(AgentPresence(state=PresenceState.ONLINE, job_types=("x",), number=2), AGENT).sent
    assert not m.say(AgentPresence(state=PresenceState.DRAINING, job_types=("t",), number=3), AGENT).sent
    m.offer()
    assert not m.say(online, SECOND_AGENT).sent, "only what is open"


def test_accepting_JobAccepted_of_the_current_offer_fulfils(m: ManagerSide) -> None:
    m.offer()
    said = m.accepted()
    assert said.only(JobDataAvailable).parameters == {"a": '"s"'}
    assert m.request().state is RequestState.FULFILLED
    assert m.step().state is StepState.FULFILLED
    assert m.step().current == (AGENT, job_uuid_of(ONE))
    assert m.job().state is JobState.PENDING


def test_accepting_D_JobAccepted_is_not_answered(m: ManagerSide) -> None:
    m.fulfilled()
    said = m.accepted()
    assert not said.sent
    assert not said.rows()


def test_accepting_a_second_job_for_one_offer_is_not_paid_for(m: ManagerSide) -> None:
    m.fulfilled()
    said = m.accepted(job_uuid=b"2" * 16)
    assert not said.sent
    assert m.step().jobs == ((AGENT, job_uuid_of(ONE)),)


def test_accepting_JobAccepted_of_another_offer_is_stopped(m: ManagerSide) -> None:
    m.offer()
    m.offer(TWO, by=SECOND_AGENT)
    said = m.accepted(TWO, by=SECOND_AGENT)
    assert said.only(JobKill).job_uuid == job_uuid_of(TWO)
    assert m.row(Job, (SECOND_AGENT, job_uuid_of(TWO))).state is JobState.SUPERSEDED
    assert m.step().state is StepState.FULFILLING


def test_accepting_another_offer_stands_by_until_the_job_is_accepted(m: ManagerSide) -> None:
    m.offer()
    assert not m.offer(TWO, by=SECOND_AGENT).sent
    assert m.offer_row(TWO, SECOND_AGENT).state is OfferState.RECEIVED
    said = m.accepted()
    assert [r.offer_uuid for r in said.of(JobFulfillmentOfferReject)] == [TWO]
    assert m.offer_row(TWO, SECOND_AGENT).state is OfferState.REJECTED


def test_accepting_withdrawn_takes_the_next_offer(m: ManagerSide) -> None:
    m.offer()
    m.offer(TWO, by=SECOND_AGENT)
    said = withdrawn(m)
    assert said.only(JobFulfillmentOfferAccept).offer_uuid == TWO
    assert m.offer_row(ONE).state is OfferState.GONE


def test_accepting_withdrawn_passes_over_an_expired_offer(m: ManagerSide) -> None:
    m.offer()
    m.offer(TWO, by=SECOND_AGENT, ttl=SECOND)
    m.now += 2 * SECOND
    assert not withdrawn(m).sent
    assert m.offer_row(TWO, SECOND_AGENT).state is OfferState.EXPIRED
    assert m.request().state is RequestState.OPEN


def test_accepting_withdrawn_without_another_asks_again_in_a_higher_round(m: ManagerSide) -> None:
    uuid = m.step().request_uuid
    m.offer()
    said = withdrawn(m)
    assert not said.sent
    assert m.request().state is RequestState.OPEN
    again = m.wait(10 * SECOND).only(JobFulfillmentRequest)
    assert (again.request_uuid, again.round) == (uuid, 2)


def test_accepting_withdrawn_D_and_strangers_change_nothing(m: ManagerSide) -> None:
    m.offer()
    assert not withdrawn(m, by=SECOND_AGENT).rows()
    withdrawn(m)
    said = withdrawn(m)
    assert not said.sent
    assert not said.rows()


def test_accepting_withdrawn_L_after_the_job_exists_is_the_jobs_own_affair(m: ManagerSide) -> None:
    m.fulfilled()
    assert not withdrawn(m).rows()
    assert m.request().state is RequestState.FULFILLED


def test_accepting_L_JobAccepted_after_withdrawn_is_stopped(m: ManagerSide) -> None:
    m.offer()
    withdrawn(m)
    said = m.accepted()
    assert said.only(JobKill).job_uuid == job_uuid_of(ONE)
    assert m.job().state is JobState.SUPERSEDED
    assert m.step().state is StepState.FULFILLING


def test_accepting_timer_says_accept_again_then_revokes(m: ManagerSide) -> None:
    m.offer()
    said = m.wait(HOUR)
    assert {type(x) for x in (o.message for o in said.sent)} == {JobFulfillmentOfferAccept}
    said = m.wait(2 * HOUR)
    assert [r.offer_uuid for r in said.of(JobFulfillmentOfferReject)] == [ONE]
    assert m.offer_row(ONE).state is OfferState.REJECTED
    assert m.request().state is RequestState.OPEN
    assert said.of(JobFulfillmentRequest), "and it is asked for again"


def test_accepting_timer_waits_for_an_announced_window(m: ManagerSide) -> None:
    m.say(AgentPresence(state=PresenceState.OFFLINE, offline_for=12 * HOUR, number=1), AGENT)
    m.offer()
    m.wait(11 * HOUR)
    assert m.request().state is RequestState.ACCEPTING
    m.wait(4 * HOUR)
    assert m.request().state is RequestState.OPEN


def test_accepting_L_JobAccepted_after_the_revoke_is_stopped(m: ManagerSide) -> None:
    m.offer()
    m.wait(3 * HOUR)
    said = m.accepted()
    assert said.kinds == ["JobKill"]


@pytest.mark.parametrize("end", ["fulfilled", "withdrawn"])
def test_a_closed_request_rejects_offers_however_often_they_come(m: ManagerSide, end: str) -> None:
    m.fulfilled()
    if end == "withdrawn":  # the first job is lost, and comes back before the second request is served
        m = ManagerSide()
        m.lost()
        m.wait(15 * SECOND)
        m.completes(m.step().jobs[0])
    assert m.request().state is RequestState(end)
    for _ in range(2):
        said = m.offer(THREE, by=SECOND_AGENT)
        assert said.only(JobFulfillmentOfferReject).offer_uuid == THREE
        assert m.request().state is RequestState(end)


def test_an_offer_for_an_unknown_request_is_rejected_without_a_row(m: ManagerSide) -> None:
    m.offer(request_uuid=b"?" * 16).only(JobReportRequest)  # do we not know it, or have we forgotten it?
    m.report()
    said = m.offer(request_uuid=b"?" * 16)
    said.only(JobFulfillmentOfferReject)
    assert not said.rows()


def test_an_offer_uuid_belongs_to_one_request() -> None:
    m = ManagerSide()
    m.submit("pair")
    m.offer(ONE, name="first")
    said = m.offer(ONE, name="second")
    said.only(JobFulfillmentOfferReject)
    assert not said.rows()


def test_no_more_requests_are_open_than_the_budget_allows() -> None:
    m = ManagerSide(max_open_requests=1)
    m.submit("pair")
    assert [m.step(n).state for n in ("first", "second")] == [StepState.FULFILLING, StepState.WAITING]
    m.offer()
    said = m.accepted()
    assert [r.job_type_name for r in said.of(JobFulfillmentRequest)] == ["u"]


def test_workflows_take_turns_at_the_budget() -> None:
    m = ManagerSide(max_open_requests=1)
    m.submit("pair")
    first = m.workflow_uuid
    m.submit("one", key=b"2" * 16)
    m.workflow_uuid, second = first, m.workflow_uuid
    m.offer()
    said = m.accepted()
    assert len(said.of(JobFulfillmentRequest)) == 1
    m.offer(TWO, name="second")
    m.accepted(TWO)
    m.workflow_uuid = second
    assert m.step().state is StepState.FULFILLING


# --- offer ---------------------------------------------------------------------------------------


def test_offer_D_while_standing_by_renews_its_lifetime(m: ManagerSide) -> None:
    m.offer()
    m.offer(TWO, by=SECOND_AGENT, ttl=MINUTE)
    before = m.offer_row(TWO, SECOND_AGENT).expires_at
    assert not m.offer(TWO, by=SECOND_AGENT, ttl=HOUR).sent
    assert m.offer_row(TWO, SECOND_AGENT).expires_at > before


@pytest.mark.parametrize("end", [OfferState.GONE, OfferState.REJECTED, OfferState.EXPIRED])
def test_offer_D_of_one_that_has_ended_is_rejected_again(m: ManagerSide, end: OfferState) -> None:
    m.offer()
    m.offer(TWO, by=SECOND_AGENT, ttl=SECOND)
    if end is OfferState.GONE:
        withdrawn(m, TWO, SECOND_AGENT)
    elif end is OfferState.EXPIRED:
        m.now += 2 * SECOND
        withdrawn(m)
    else:
        m.accepted()
    assert m.offer_row(TWO, SECOND_AGENT).state is end
    said = m.offer(TWO, by=SECOND_AGENT)
    assert said.only(JobFulfillmentOfferReject).offer_uuid == TWO
    assert m.offer_row(TWO, SECOND_AGENT).state is end


def test_offer_D_of_the_one_whose_job_exists_is_not_answered(m: ManagerSide) -> None:
    m.fulfilled()
    assert not m.offer().sent
    assert m.offer_row(ONE).state is OfferState.ACCEPTED


def test_offer_of_an_agent_that_is_not_cleared_is_rejected(m: ManagerSide) -> None:
    said = m.offer(by=UNCLEARED)
    said.only(JobFulfillmentOfferReject)
    assert not said.rows(), "what is no candidate leaves nothing behind"


def test_JobAccepted_for_an_offer_that_was_never_a_candidate_only_hears_no(m: ManagerSide) -> None:
    """An agent that is not cleared must not be able to fill the step's list of jobs."""
    m.offer(by=UNCLEARED)
    m.report(UNCLEARED)
    before = m.step()
    said = m.accepted(by=UNCLEARED)
    said.only(JobFulfillmentOfferReject)
    assert not said.rows()
    assert m.step() == before


def test_JobAccepted_for_an_unknown_offer_only_hears_no(m: ManagerSide) -> None:
    m.offer()
    m.report(SECOND_AGENT)
    said = m.accepted(ONE, by=SECOND_AGENT)
    said.only(JobFulfillmentOfferReject)
    assert not said.rows()


def test_more_offers_than_anybody_needs_are_rejected(m: ManagerSide) -> None:
    for number in range(MAX_OFFERS):
        m.offer(number.to_bytes(16, "big"), by=SECOND_AGENT)
    m.offer(TWO).only(JobFulfillmentOfferReject)
    assert len(m.request().offers) == MAX_OFFERS


def test_a_request_whose_offers_all_came_to_nothing_is_replaced(m: ManagerSide) -> None:
    """Else the cap on offers would shut out the good agent that comes last, for ever."""
    uuid = m.step().request_uuid
    for number in range(MAX_OFFERS):
        m.offer(number.to_bytes(16, "big"), by=SECOND_AGENT)
    for number in range(MAX_OFFERS):
        withdrawn(m, number.to_bytes(16, "big"), SECOND_AGENT)
    m.wait(HOUR)
    assert m.step().request_uuid != uuid
    assert m.offer(TWO).only(JobFulfillmentOfferAccept).offer_uuid == TWO


def test_the_agent_that_failed_a_step_waits_for_somebody_else() -> None:
    m = ManagerSide()
    m.running()
    m.fails()
    m.wait(15 * SECOND)
    assert not m.offer(TWO).sent
    said = m.offer(THREE, by=SECOND_AGENT)
    assert said.only(JobFulfillmentOfferAccept).offer_uuid == THREE


def test_the_agent_that_failed_a_step_is_taken_when_nobody_else_comes() -> None:
    m = ManagerSide()
    m.running()
    m.fails()
    m.wait(15 * SECOND)
    m.offer(TWO)
    assert m.wait(6 * SECOND).only(JobFulfillmentOfferAccept).offer_uuid == TWO


def test_the_agent_that_failed_is_taken_too_when_it_offers_just_before_a_round() -> None:
    m = ManagerSide()
    m.running()
    m.fails()
    m.wait(15 * SECOND)
    m.now = m.request().due - SECOND
    m.offer(TWO)
    said = m.wait(6 * SECOND)
    assert [a.offer_uuid for a in said.of(JobFulfillmentOfferAccept)] == [TWO]


def test_nobody_but_agents_with_the_request_moves_it(m: ManagerSide) -> None:
    m.offer()
    before = (m.request(), m.step(), m.offer_row(ONE))
    for sender in (UNCLEARED, OUTSIDER, SUBMITTER, SECOND_AGENT):
        m.say(JobAccepted(job_uuid=job_uuid_of(ONE), offer_uuid=ONE), sender)
        withdrawn(m, by=sender)
        m.status(JobStatus.RUNNING, (sender, job_uuid_of(ONE)))
    assert (m.request(), m.step(), m.offer_row(ONE)) == before
    assert not [k for k in m.state.tables[Offer] if k[0] != AGENT]  # type: ignore[index]
