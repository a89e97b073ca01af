"""The agent's table of offers, row by row; D is a duplicate, L late or out of order."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from caroni.core.agent import routes
from caroni.core.agent.state import (
    AgentDraft,
    Allowance,
    JobType,
    Refusal,
    SignalJob,
    SignalKind,
    StartJob,
    Terms,
    evictable,
)
from caroni.core.commands import Drain
from caroni.core.draft import Origin
from caroni.core.ids import job_uuid_of
from caroni.core.messages import (
    DeclineReason,
    JobAccepted,
    JobFulfillmentDecline,
    JobFulfillmentOffer,
    JobFulfillmentOfferReject,
    JobFulfillmentOfferWithdrawn,
    JobFulfillmentRequest,
    JobFulfillmentRequestWithdrawn,
    JobKill,
    JobStatus,
    JobStatusUpdate,
)
from caroni.core.plan import HOUR, MINUTE
from caroni.core.rows import AgentOffer
from caroni.core.states import AgentJobState, AgentOfferState
from tests.core.build import MANAGER, OTHER_MANAGER, AgentSide, Said

REQUEST = b"r" * 16
STRANGER = "caroni://elsewhere/manager/x"


@pytest.fixture
def a() -> AgentSide:
    return AgentSide()


def reject(a: AgentSide, offer: bytes, *, by: str = MANAGER, request: bytes = REQUEST) -> Said:
    return a.say(JobFulfillmentOfferReject(request_uuid=request, offer_uuid=offer), by)


def over(a: AgentSide, by: str = MANAGER, request: bytes = REQUEST) -> Said:
    return a.say(JobFulfillmentRequestWithdrawn(request_uuid=request, job_type_name="t"), by)


# --- request -------------------------------------------------------------------------------------


def test_a_capable_agent_offers(a: AgentSide) -> None:
    said = a.request()
    offer = said.only(JobFulfillmentOffer)
    assert (offer.request_uuid, offer.ttl) == (REQUEST, HOUR)
    row = a.offer_row(offer.offer_uuid)
    assert (row.state, row.parameters, row.due) == (AgentOfferState.OPEN, ("a",), a.now + HOUR)


@pytest.mark.parametrize(
    ("job_type", "parameters", "by", "reason"),
    [
        ("x", ("a",), MANAGER, DeclineReason.NO_JOB_TYPE),
        ("t", ("a",), STRANGER, DeclineReason.POLICY),
        ("t", (), MANAGER, DeclineReason.PARAMETERS),
        ("t", ("a", "b"), MANAGER, DeclineReason.PARAMETERS),
    ],
)
def test_an_incapable_one_declines_and_keeps_nothing(
    a: AgentSide, job_type: str, parameters: tuple[str, ...], by: str, reason: DeclineReason
) -> None:
    for round in (1, 1, 2):
        said = a.request(by=by, job_type=job_type, parameters=parameters, round=round)
        assert said.only(JobFulfillmentDecline).reason is reason
        assert not said.rows()


def test_a_draining_one_declines(a: AgentSide) -> None:
    a.command(Drain())
    assert a.request().only(JobFulfillmentDecline).reason is DeclineReason.DRAINING


def test_the_owners_policy_has_the_last_word(a: AgentSide) -> None:
    verdicts: list[Refusal | Terms] = [
        Refusal(reason=DeclineReason.SCHEDULE, message="only at night", retry_after=HOUR),
        Terms(ttl=MINUTE),
    ]
    a.state.policy = type(a.policy)(
        allow=a.policy.allow, decide=lambda manager, request, kind, load: verdicts[0]
    )
    decline = a.request().only(JobFulfillmentDecline)
    assert (decline.reason, decline.retry_after) == (DeclineReason.SCHEDULE, HOUR)
    del verdicts[0]
    assert a.request(round=2).only(JobFulfillmentOffer).ttl == MINUTE


def test_D_the_same_request_gets_the_same_offer_with_its_lifetime_renewed(a: AgentSide) -> None:
    offer = a.offered()
    for round in (1, 2, 1):
        a.now += MINUTE
        assert a.request(round=round).only(JobFulfillmentOffer).offer_uuid == offer
        assert a.offer_row(offer).due == a.now + HOUR
    assert a.offer_row(offer).round == 2
    assert a.state.open_offers == {MANAGER: 1}


def test_D_after_the_accept_JobAccepted_is_said_again(a: AgentSide) -> None:
    offer = a.pending()
    assert a.request(round=2).only(JobAccepted).job_uuid == job_uuid_of(offer)


@pytest.mark.parametrize("round", [1, 2])
def test_L_an_expired_offer_is_followed_by_a_new_one(a: AgentSide, round: int) -> None:
    """Silence here would stall the manager for ever."""
    offer = a.offered()
    a.wait(HOUR + MINUTE)
    assert a.offer_row(offer).state is AgentOfferState.EXPIRED
    assert a.offered(round=round) != offer


def test_L_a_rejected_offer_is_followed_by_a_new_one_only_in_a_higher_round(a: AgentSide) -> None:
    offer = a.offered(round=2)
    reject(a, offer)
    for round in (1, 2):
        assert not a.request(round=round).sent
    assert a.offered(round=3) != offer


def test_two_managers_with_one_request_uuid_are_two_requests(a: AgentSide) -> None:
    first, second = a.offered(), a.offered(by=OTHER_MANAGER)
    assert first != second
    reject(a, second, by=OTHER_MANAGER)
    assert a.offer_row(first).state is AgentOfferState.OPEN


# --- busy ----------------------------------------------------------------------------------------


def test_busy_declines_and_offers_by_itself_when_there_is_room() -> None:
    a = AgentSide(Allowance(offers_outstanding=1))
    offer = a.offered()
    for number in (1, 2):
        said = a.request(bytes([number]) * 16)
        assert said.only(JobFulfillmentDecline).reason is DeclineReason.BUSY
    said = reject(a, offer)
    assert said.only(JobFulfillmentOffer).request_uuid == b"\1" * 16, "oldest first, and no more than fit"


def test_busy_forgets_what_was_withdrawn() -> None:
    a = AgentSide(Allowance(offers_outstanding=1))
    offer = a.offered()
    a.request(b"1" * 16)
    over(a, request=b"1" * 16)
    assert not reject(a, offer).sent
    assert not a.state.declined_busy


def test_busy_does_not_offer_twice_for_a_request_that_came_again() -> None:
    a = AgentSide(Allowance(offers_outstanding=1))
    offer = a.offered()
    a.request(b"1" * 16)

    def both(draft: AgentDraft) -> None:
        origin = Origin(uri=MANAGER)
        routes.handle(draft, origin, JobFulfillmentOfferReject(request_uuid=REQUEST, offer_uuid=offer))
        again = JobFulfillmentRequest(
            request_uuid=b"1" * 16, job_type_name="t", parameters=("a",), round=2, attempt=1
        )
        routes.handle(draft, origin, again)

    assert a.unit(both).kinds == ["JobFulfillmentOffer"]


def test_busy_with_jobs_counts_what_waits_of_this_manager() -> None:
    a = AgentSide(Allowance(max_queued=1))
    a.running(b"0" * 16)
    a.starting(b"1" * 16)
    assert a.request().only(JobFulfillmentDecline).reason is DeclineReason.BUSY
    a.offered(by=OTHER_MANAGER)


# --- accept --------------------------------------------------------------------------------------


def test_open_accept_makes_the_job(a: AgentSide) -> None:
    offer = a.offered()
    said = a.accept(offer)
    accepted = said.only(JobAccepted)
    assert (accepted.offer_uuid, accepted.job_uuid) == (offer, job_uuid_of(offer))
    assert a.offer_row(offer).state is AgentOfferState.ACCEPTED
    assert (a.job(offer).state, a.job(offer).missing) == (AgentJobState.PENDING, 1)


def test_open_accept_of_a_job_without_inputs_queues_and_starts_it(a: AgentSide) -> None:
    offer = a.offered(job_type="idle", parameters=())
    said = a.accept(offer)
    assert said.kinds == ["JobAccepted", "JobStatusUpdate"]
    assert said.act(StartJob)


def test_open_D_accept_says_JobAccepted_again_and_makes_nothing(a: AgentSide) -> None:
    offer = a.pending()
    job = a.job(offer)
    for _ in range(5):
        said = a.accept(offer)
        said.only(JobAccepted)
        assert not said.rows()
    assert a.job(offer) == job


@pytest.mark.parametrize("end", ["rejected", "revoked", "none"])
def test_L_accept_of_what_has_ended_is_withdrawn(a: AgentSide, end: str) -> None:
    offer = a.offered()
    if end == "rejected":
        reject(a, offer)
    elif end == "revoked":
        a.say(JobKill(job_uuid=job_uuid_of(offer)), MANAGER)
        a.accept(offer).only(JobFulfillmentOfferWithdrawn)
        assert a.offer_row(offer).state is AgentOfferState.REVOKED
    else:
        offer = b"?" * 16
    for _ in range(2):
        said = a.accept(offer)
        assert said.only(JobFulfillmentOfferWithdrawn).offer_uuid == offer
        assert not said.rows()


def test_L_accept_of_an_expired_offer_is_honoured_while_nothing_stands_against_it(a: AgentSide) -> None:
    offer = a.offered()
    a.wait(HOUR + MINUTE)
    a.accept(offer).only(JobAccepted)
    assert a.offer_row(offer).state is AgentOfferState.ACCEPTED


@pytest.mark.parametrize("why", ["draining", "definition gone", "definition changed"])
def test_L_accept_of_an_expired_offer_is_withdrawn_otherwise(a: AgentSide, why: str) -> None:
    offer = a.offered()
    a.wait(HOUR + MINUTE)
    if why == "draining":
        a.command(Drain())
    elif why == "definition gone":
        del a.job_types["t"]
    else:
        a.job_types["t"] = JobType(name="t", inputs={"n": "int"}, required=frozenset("n"))
    a.accept(offer).only(JobFulfillmentOfferWithdrawn)
    assert not a.state.waiting_of


def test_expired_offers_that_were_kept_do_not_add_up_to_more_than_the_owner_grants() -> None:
    a = AgentSide(Allowance(max_queued=2, offers_outstanding=2))
    kept = []
    for number in range(4):
        request = bytes([number]) * 16
        kept.append(a.request(request_uuid=request).only(JobFulfillmentOffer).offer_uuid)
        a.wait(HOUR + MINUTE)
    for offer in kept[:2]:
        a.accept(offer).only(JobAccepted)
    for offer in kept[2:]:
        assert "no room" in a.accept(offer).only(JobFulfillmentOfferWithdrawn).reason
    assert a.state.waiting_of == {MANAGER: 2}


def test_an_accept_needs_a_rule_that_still_allows_it(a: AgentSide) -> None:
    offer = a.offered()
    a.state.policy = replace(a.policy, allow=lambda manager, job_type: None)
    assert "no rule" in a.accept(offer).only(JobFulfillmentOfferWithdrawn).reason
    assert a.offer_row(offer).state is AgentOfferState.REVOKED


def test_draining_takes_open_offers_back(a: AgentSide) -> None:
    offer = a.offered()
    assert a.command(Drain()).only(JobFulfillmentOfferWithdrawn).offer_uuid == offer
    a.accept(offer).only(JobFulfillmentOfferWithdrawn)
    assert a.offer_row(offer).state is AgentOfferState.REVOKED


def test_accept_by_another_manager_is_unknown(a: AgentSide) -> None:
    offer = a.offered()
    a.accept(offer, by=OTHER_MANAGER).only(JobFulfillmentOfferWithdrawn)
    assert a.offer_row(offer).state is AgentOfferState.OPEN


# --- reject, lifetime, withdrawal ----------------------------------------------------------------


def test_open_reject_frees_the_reservation_and_D_changes_nothing(a: AgentSide) -> None:
    offer = a.offered()
    for rows in (["AgentOffer"], []):
        said = reject(a, offer)
        assert not said.sent
        assert said.rows() == rows
    assert a.offer_row(offer).state is AgentOfferState.REJECTED
    assert not a.state.open_offers


def test_open_lifetime_ends(a: AgentSide) -> None:
    offer = a.offered()
    assert not a.wait(HOUR + MINUTE).sent
    assert a.offer_row(offer).state is AgentOfferState.EXPIRED
    assert not a.state.open_offers
    reject(a, offer)
    a.accept(offer).only(JobFulfillmentOfferWithdrawn)


def test_L_reject_of_an_unknown_offer_needs_no_memory(a: AgentSide) -> None:
    for _ in range(2):
        said = reject(a, b"?" * 16)
        assert not said.sent
        assert not said.rows()
    a.accept(b"?" * 16).only(JobFulfillmentOfferWithdrawn)
    a.offered()


@pytest.mark.parametrize("withdraw", [True, False])
def test_a_withdrawn_request_frees_the_reservation(a: AgentSide, withdraw: bool) -> None:
    offer = a.offered()
    over(a, by=OTHER_MANAGER)
    assert a.offer_row(offer).state is AgentOfferState.OPEN
    for _ in range(2):
        assert not over(a).sent
    assert a.offer_row(offer).state is AgentOfferState.REJECTED
    over(a, request=b"?" * 16)


def test_a_withdrawn_request_does_not_touch_a_job(a: AgentSide) -> None:
    offer = a.running()
    assert not over(a).rows()
    assert a.job(offer).state is AgentJobState.RUNNING


@pytest.mark.parametrize("state", ["pending", "queued", "running"])
def test_accepted_reject_kills_the_job_and_D_reports_it(state: str) -> None:
    a = AgentSide()
    if state == "queued":
        a.running(b"0" * 16)
    offer = {"pending": a.pending, "queued": a.starting, "running": a.running}[state]()
    said = reject(a, offer)
    assert a.offer_row(offer).state is AgentOfferState.REJECTED
    if state == "running":
        assert [s.kind for s in said.act(SignalJob)] == [SignalKind.KILL]
        assert reject(a, offer).only(JobStatusUpdate).job_status is JobStatus.RUNNING
        a.exited(offer, AgentJobState.KILLED)
    assert a.job(offer).state is AgentJobState.KILLED
    assert reject(a, offer).only(JobStatusUpdate).job_status is JobStatus.KILLED
    a.accept(offer).only(JobFulfillmentOfferWithdrawn)


def test_rollback_of_a_later_offer_finds_the_earlier_one_again(a: AgentSide) -> None:
    offer = a.offered()
    a.wait(HOUR + MINUTE)
    draft = a.draft()
    m = JobFulfillmentRequest(request_uuid=REQUEST, job_type_name="t", parameters=("a",), round=2)
    a.hear(draft, Origin(uri=MANAGER), m)
    assert a.state.offer_of_request[MANAGER, REQUEST] != (MANAGER, offer)
    draft.rollback()
    assert a.state.offer_of_request == {(MANAGER, REQUEST): (MANAGER, offer)}


def test_memory_drops_offers_that_are_closed(a: AgentSide) -> None:
    first, second = a.offered(), a.offered(b"2" * 16)
    reject(a, first)
    for row_type, key in evictable(a.state, list(a.state.tables[AgentOffer].values())):
        a.state.evict(row_type, key)
    a.check_indexes()
    assert set(a.state.tables[AgentOffer]) == {(MANAGER, second)}
