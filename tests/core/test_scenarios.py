"""The acceptance scenarios that are about state, with both cores talking."""

from __future__ import annotations

from typing import Any

import pytest

from caroni.core.agent.state import SignalJob
from caroni.core.commands import Drain
from caroni.core.ids import job_uuid_of
from caroni.core.messages import (
    AgentPresence,
    FailureClass,
    JobAccepted,
    JobFulfillmentOffer,
    JobFulfillmentOfferAccept,
    JobFulfillmentOfferReject,
    JobFulfillmentOfferWithdrawn,
    JobFulfillmentRequest,
    JobKill,
    JobRelease,
    JobStatusUpdate,
    PresenceState,
)
from caroni.core.plan import DAY, HOUR, MINUTE, SECOND
from caroni.core.rows import AgentJob, AgentOffer, Flow, Job, Workflow
from caroni.core.states import AgentJobState, JobState, StepState, WorkflowState
from tests.core.build import AGENT, MANAGER, OUT, SECOND_AGENT, AgentSide, Federation, ManagerSide, plan, step


def federation(template: str = "one", agents: int = 1, **settings: Any) -> Federation:
    manager = ManagerSide()
    uris = [AGENT, SECOND_AGENT][:agents]
    f = Federation(manager, *(AgentSide(uri=uri, **settings) for uri in uris))
    if agents == 2:
        f.cut.add(SECOND_AGENT)
    manager.submit(template)
    return f


def presence(f: Federation, uri: str, state: PresenceState, **more: Any) -> None:
    f.manager.say(AgentPresence(state=state, job_types=("t",), number=f.manager.now, **more), uri)


def workflow(f: Federation) -> WorkflowState:
    return f.manager.row(Workflow, f.manager.workflow_uuid).state


def jobs(f: Federation, uri: str = AGENT) -> list[AgentJob]:
    return [j for j in f.agents[uri].state.tables[AgentJob].values() if isinstance(j, AgentJob)]


def finish(f: Federation, uri: str = AGENT) -> None:
    offer = f.run(uri)
    f.carry()
    f.agents[uri].exited(offer)
    f.carry()


def test_the_straight_line() -> None:
    f = federation("chain")
    f.carry()
    finish(f)
    finish(f)
    assert workflow(f) is WorkflowState.COMPLETED
    assert all(j.released for j in jobs(f))
    assert not f.waiting


def test_S1_agent_offline_for_three_days_at_the_broadcast() -> None:
    f = federation()
    f.cut.add(AGENT)
    f.wait(3 * DAY)
    # the broadcasts are gone: their queue keeps them for minutes only
    f.waiting = [w for w in f.waiting if not isinstance(w[2], JobFulfillmentRequest)]
    f.cut.clear()
    presence(f, AGENT, PresenceState.ONLINE)
    f.carry()
    assert f.manager.step().state is StepState.RUNNING
    finish(f)
    assert workflow(f) is WorkflowState.COMPLETED


def test_S2_manager_down_while_the_job_completes() -> None:
    f = federation()
    f.carry()
    offer = f.run()
    f.cut.add(MANAGER)
    f.agents[AGENT].exited(offer)
    f.wait(2 * HOUR)  # the agent repeats its result; every copy waits
    waiting = [w for w in f.waiting if isinstance(w[2], JobStatusUpdate)]
    assert len(waiting) > 3
    f.cut.clear()
    moved = f.carry(copies=2)
    assert moved.count("JobRelease") >= 1
    assert f.manager.step().winner == (AGENT, job_uuid_of(offer))
    assert workflow(f) is WorkflowState.COMPLETED
    assert all(j.released for j in jobs(f))


def silent_since_running(offline: int) -> Federation:
    f = federation(agents=2)
    f.carry()
    f.run()
    f.carry()
    if offline:
        presence(f, AGENT, PresenceState.OFFLINE, offline_for=offline)
    f.cut = {AGENT}
    return f


def test_S3_agent_away_no_longer_than_announced() -> None:
    f = silent_since_running(12 * HOUR)
    f.wait(12 * HOUR + 10 * MINUTE)
    assert f.manager.step().attempt == 1
    assert f.manager.job().state is JobState.RUNNING
    assert f.manager.job().suspect
    assert not jobs(f, SECOND_AGENT)


def test_S4_away_too_long_is_tried_once_more_and_the_original_is_adopted_when_it_comes_first() -> None:
    f = silent_since_running(12 * HOUR)
    f.wait(13 * HOUR)
    assert f.manager.step().attempt == 2
    (again,) = jobs(f, SECOND_AGENT)
    f.run(SECOND_AGENT)
    f.carry()
    (original,) = jobs(f)
    f.agents[AGENT].exited(original.offer_uuid)
    f.cut.clear()
    f.carry()
    assert f.manager.step().winner == (AGENT, original.job_uuid)
    assert workflow(f) is WorkflowState.COMPLETED
    (again,) = jobs(f, SECOND_AGENT)
    assert again.state is AgentJobState.KILLING
    f.agents[SECOND_AGENT].exited(again.offer_uuid, AgentJobState.KILLED)
    f.carry()
    assert all(j.released for uri in f.agents for j in jobs(f, uri))


def test_S5_the_original_comes_after_the_retry_has_won() -> None:
    f = silent_since_running(0)
    f.wait(2 * HOUR)
    finish(f, SECOND_AGENT)
    assert workflow(f) is WorkflowState.COMPLETED
    before = f.manager.row(Flow, (f.manager.workflow_uuid, "first/out"))
    (original,) = jobs(f)
    f.agents[AGENT].exited(original.offer_uuid, outputs={"out": '"late"'})
    f.cut.clear()
    f.carry()
    (original,) = jobs(f)
    assert original.released
    assert f.manager.row(Job, (AGENT, original.job_uuid)).state is JobState.COMPLETED
    assert f.manager.row(Flow, (f.manager.workflow_uuid, "first/out")) == before
    assert before.agent == SECOND_AGENT


def test_S6_accept_five_times_and_twice_after_the_offer_expired() -> None:
    f = federation(offer_ttl=HOUR)
    f.carry(drop=(JobFulfillmentOfferAccept,))
    (offer,) = f.agents[AGENT].state.tables[AgentOffer].values()
    assert isinstance(offer, AgentOffer)
    agent = f.agents[AGENT]
    agent.now += 30 * MINUTE
    for number in range(5):
        agent.accept(offer.offer_uuid, request_uuid=offer.request_uuid)
        assert len(jobs(f)) == 1, number
    agent.wait(2 * HOUR)
    for _ in range(2):
        agent.accept(offer.offer_uuid, request_uuid=offer.request_uuid)
    f.carry()
    assert len(jobs(f)) == 1
    assert len(f.manager.step().jobs) == 1


@pytest.mark.parametrize("draining", [True, False])
def test_S6_accept_twice_only_after_the_offer_expired(draining: bool) -> None:
    f = federation(offer_ttl=MINUTE)
    f.carry(drop=(JobFulfillmentOfferAccept,))
    agent = f.agents[AGENT]
    (offer,) = agent.state.tables[AgentOffer].values()
    assert isinstance(offer, AgentOffer)
    agent.wait(2 * MINUTE)
    if draining:
        agent.command(Drain())
    for _ in range(2):
        said = agent.accept(offer.offer_uuid, request_uuid=offer.request_uuid)
        said.only(JobFulfillmentOfferWithdrawn if draining else JobAccepted)
    assert len(jobs(f)) == (0 if draining else 1)


def test_S7_an_offer_that_was_lost_and_expired_is_followed_by_a_new_one() -> None:
    f = federation(offer_ttl=10 * SECOND)
    f.carry(drop=(JobFulfillmentOffer,))
    agent = f.agents[AGENT]
    (lost,) = agent.state.tables[AgentOffer]
    f.manager.wait(31 * SECOND)
    agent.wait(31 * SECOND)
    f.carry()
    assert f.manager.step().state is StepState.RUNNING
    assert f.manager.request().accepted != lost


def test_S8_a_revoke_overtakes_the_accept() -> None:
    f = federation()
    f.collect()
    f.cut.add(AGENT)
    f.waiting, requests = [], f.waiting
    for sender, to, m in requests:
        f.sides[to].say(m, sender)
    f.collect()
    _, _, offer = f.take(JobFulfillmentOffer)
    f.manager.say(offer, AGENT)
    _, _, accept = f.take(JobFulfillmentOfferAccept)
    f.manager.wait(3 * HOUR)  # never confirmed: revoked
    f.collect()
    _, _, revoke = f.take(JobFulfillmentOfferReject)
    agent = f.agents[AGENT]
    agent.say(revoke, MANAGER)
    assert agent.say(accept, MANAGER).only(JobFulfillmentOfferWithdrawn).offer_uuid == offer.offer_uuid
    assert not jobs(f)
    f.waiting = []
    f.cut.clear()
    f.wait(2 * HOUR)
    assert f.manager.step().state is StepState.RUNNING


def test_S8_a_reject_of_an_offer_that_is_not_known_leads_to_no_job() -> None:
    agent = AgentSide()
    agent.say(JobFulfillmentOfferReject(request_uuid=b"r" * 16, offer_uuid=b"o" * 16), MANAGER)
    agent.accept(b"o" * 16).only(JobFulfillmentOfferWithdrawn)
    assert not agent.state.tables[AgentJob]


@pytest.mark.parametrize("end", [AgentJobState.COMPLETED, AgentJobState.KILLED])
def test_S9_a_kill_races_the_end(end: AgentJobState) -> None:
    f = federation()
    f.carry()
    offer = f.run()
    f.carry()
    agent = f.agents[AGENT]
    said = agent.say(JobKill(job_uuid=job_uuid_of(offer)), MANAGER)
    assert said.act(SignalJob)
    agent.exited(offer, end)
    f.carry()
    job = f.manager.row(Job, (AGENT, job_uuid_of(offer)))
    assert job.state is JobState(end.value)
    assert (workflow(f) is WorkflowState.COMPLETED) is (end is AgentJobState.COMPLETED)


def test_S11_the_host_is_rebooted_in_mid_job() -> None:
    f = federation()
    f.carry()
    offer = f.run()
    f.carry()
    f.agents[AGENT].exited(
        offer, AgentJobState.FAILED, failure_class=FailureClass.AGENT, info="host rebooted"
    )
    f.carry()
    row = f.manager.step()
    assert (row.state, row.job_failures, row.other_failures) == (StepState.WAITING, 0, 1)
    f.wait(30 * SECOND)
    finish(f)
    assert f.manager.step().attempt == 2
    assert workflow(f) is WorkflowState.COMPLETED


def test_S20_an_agent_drains_while_its_offer_is_being_accepted() -> None:
    f = federation(agents=2, offer_ttl=5 * SECOND)
    f.carry(drop=(JobFulfillmentOfferAccept,))
    first = f.agents[AGENT]
    first.command(Drain())
    f.wait(11 * SECOND)  # the offer has expired when the accept is said again
    withdrawn = [o for o in first.posted if isinstance(o.message, JobFulfillmentOfferWithdrawn)]
    assert len(withdrawn) == 1
    assert not jobs(f)
    f.cut.clear()
    f.wait(30 * SECOND)
    assert f.manager.step().agent == SECOND_AGENT
    finish(f, SECOND_AGENT)
    assert workflow(f) is WorkflowState.COMPLETED


def test_at_most_once_goes_on_after_a_long_silence() -> None:
    """A partition must not destroy the only job that there may ever be."""
    f = federation("once", agents=2)
    f.carry()
    offer = f.run()
    f.carry()
    f.cut = {AGENT}
    f.wait(3 * HOUR)
    assert workflow(f) is WorkflowState.HELD
    f.cut = {SECOND_AGENT}
    f.wait(20 * MINUTE)
    assert workflow(f) is WorkflowState.RUNNING
    (job,) = jobs(f)
    assert job.state is AgentJobState.RUNNING
    f.agents[AGENT].exited(offer)
    f.carry()
    assert workflow(f) is WorkflowState.COMPLETED


def test_everything_said_twice_changes_nothing() -> None:
    f = federation("chain")
    started: list[bytes] = []
    for _ in range(2):
        f.carry(copies=3)
        offer = f.run()
        started.append(offer)
        f.carry(copies=3)
        f.agents[AGENT].exited(offer)
    f.carry(copies=3)
    assert workflow(f) is WorkflowState.COMPLETED
    assert [len(f.manager.step(name).jobs) for name in ("first", "second")] == [1, 1]
    assert len(jobs(f)) == len(started) == 2


def test_lost_messages_are_made_up_for_by_timers() -> None:
    """Each type of message is lost once; whoever waits for it asks again."""
    for kind in (
        JobFulfillmentRequest,
        JobFulfillmentOffer,
        JobFulfillmentOfferAccept,
        JobAccepted,
        JobStatusUpdate,
        JobRelease,
    ):
        f = federation(offer_ttl=10 * MINUTE)
        f.carry(drop=(kind,))
        f.wait(2 * MINUTE)
        agent = f.agents[AGENT]
        if not jobs(f):
            f.wait(10 * MINUTE)
        offer = f.run()
        f.carry(drop=(kind,))
        agent.exited(offer)
        f.carry(drop=(kind,))
        f.wait(HOUR)
        assert workflow(f) is WorkflowState.COMPLETED, kind
        assert all(j.released for j in jobs(f)), kind


def test_values_reach_consumers_from_the_winner_only() -> None:
    manager = ManagerSide({"one": plan(step("first"), step("second", "first/out"))})
    f = Federation(manager, AgentSide())
    manager.submit("one")
    f.carry()
    offer = f.run()
    f.carry()
    f.agents[AGENT].exited(offer, AgentJobState.FAILED, failure_class=FailureClass.JOB, exit_code=1)
    f.carry()
    f.wait(30 * SECOND)
    finish(f)
    (second,) = [j for j in jobs(f) if j.state is AgentJobState.STARTING]
    inputs = f.agents[AGENT].state.tables
    values = [r.value for t, table in inputs.items() if t.__name__ == "AgentInput" for r in table.values()]  # type: ignore[attr-defined]
    assert OUT in values
    assert second.parameters == ("a",)
