"""Attacks by certified peers on real daemons: replay (C), and reaching for what is another's (D)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from caroni.core import messages as m
from caroni.core.ids import job_uuid_of, value_digest
from caroni.wire.topics import topic_of
from tests.acceptance.peer import Peer
from tests.acceptance.site import Site, definition, lines, marked
from tests.services import eventually
from tests.services.rabbitmq import RabbitNode

ASK = """
cwlVersion: v1.2
class: Workflow
$namespaces: {caroni: 'urn:caroni:cwl:'}
hints: {caroni:CaroniRequirement: {maxAttempts: 1, backoff: 0s}}
inputs: {secret: string}
outputs: {answer: {type: int, outputSource: ask/answer}}
steps:
  ask:
    hints: {caroni:CaroniRequirement: {CaroniJobName: ask}}
    run: {class: Operation, inputs: {secret: string}, outputs: {answer: int}}
    in: {secret: secret}
    out: [answer]
"""


@pytest.fixture(scope="module")
def marks(base: Path) -> Path:
    return base / "marks"


@pytest.fixture(scope="module")
def site(base: Path, marks: Path, rabbit_node: RabbitNode) -> Iterator[Site]:
    """Daemons ``m`` and ``a``; the tests play managers ``p`` and ``q``, agents ``x``, ``y`` and ``z``."""
    site = Site(base, rabbit_node.url(rabbit_node.vhost()))
    try:
        trusted = [f"caroni://site.example/agent/{name}" for name in ("x", "y")]
        site.make_usual("a", m={"trust_agents": trusted})
        for name in ("p", "q"):
            site.make("manager", name)
        for name in ("x", "y", "z"):
            site.make("agent", name)
        site.template("m", "ask", ASK)
        body = f"until [ -e '{base}/go' ]; do sleep 0.05; done"
        site.define("a", [marked(definition("held", body, inputs="n: int"), marks)])
        site.spawn("m", "a")
        yield site
        assert site.bugs() == []
    finally:
        (base / "go").touch()
        site.close()


# --- the tests play managers, the agent is real ----------------------------------------------------


async def test_replays_and_foreign_managers(site: Site, marks: Path) -> None:
    """Attacks 29, 30, 46, 53 and 55 on one running job of manager ``p``."""
    agent = site.uri("a")
    async with Peer(site, "p") as p, Peer(site, "q") as q:
        request = p.id()
        ask = m.JobFulfillmentRequest(request_uuid=request, job_type_name="held", parameters=("n",), round=1)
        # 55: the AMQP reply_to names the attacker's topic, the answer goes where the certificate says
        sent = [await p.send(agent, ask, reply_to=topic_of(q.uri))]
        offer = await p.wait(m.JobFulfillmentOffer)
        accept = m.JobFulfillmentOfferAccept(request_uuid=request, offer_uuid=offer.offer_uuid)
        sent.append(await p.send(agent, accept))
        job = (await p.wait(m.JobAccepted)).job_uuid
        sent.append(await p.send(agent, m.JobDataAvailable(job_uuid=job, parameters={"n": "1"})))
        await p.wait(m.JobStatusUpdate, lambda one: one.job_status is m.JobStatus.RUNNING)
        await eventually(lambda: lines(marks) == [job.hex()])
        assert q.got == []

        # 53: accepted twice, in two envelopes
        sent.append(await p.send(agent, accept))
        await eventually(lambda: len(p.all(m.JobAccepted)) == 2)

        # 46: another manager kills, asks for, feeds, pauses, releases it, and takes the offer
        for message in (
            m.JobKill(job_uuid=job),
            m.JobPause(job_uuid=job),
            m.JobDataAvailable(job_uuid=job, parameters={"n": "2"}),
            m.JobRelease(job_uuid=job),
            m.JobFulfillmentOfferReject(request_uuid=request, offer_uuid=offer.offer_uuid),
            m.JobStatusRequest(job_uuid=job),
        ):
            await q.send(agent, message)
        answer = await q.wait(m.JobStatusUpdate, lambda one: "known" in one.status_info)
        assert answer.job_status is m.JobStatus.UNKNOWN
        assert {type(one) for one in q.got} <= {m.JobStatusUpdate, m.JobFulfillmentOfferWithdrawn}
        assert all(
            one.job_status in (m.JobStatus.UNKNOWN, m.JobStatus.KILLED) for one in q.all(m.JobStatusUpdate)
        )

        # 29 and 30: the same bytes again, and again after the agent was killed at once
        heard = len(p.got)
        for one in sent:
            await p.again(one)
        site.kill("a")
        for one in sent:
            await p.again(one)
        await asyncio.to_thread(site.spawn, "a")
        for one in sent:
            await p.again(one)
        # a question of now is answered after everything before it
        await p.send(agent, m.JobStatusRequest(job_uuid=job))
        await eventually(lambda: p.all(m.JobStatusUpdate) and len(p.got) > heard, 15)
        await q.send(agent, m.JobStatusRequest(job_uuid=q.id()))
        await eventually(
            lambda: p.all(m.JobStatusUpdate)[-1].job_status is m.JobStatus.RUNNING, 10, "it does not run"
        )
        assert len(p.all(m.JobFulfillmentOffer)) == 1
        assert len(p.all(m.JobAccepted)) == 2
        assert lines(marks) == [job.hex()]
        rows = await site.rows("a", "SELECT job_uuid, state FROM agent_job WHERE manager = ?", p.uri)
        assert rows == [(job.hex(), "running")]
        values = await site.rows("a", "SELECT value FROM agent_input WHERE manager = ?", p.uri)
        assert values == [("1",)]
        await p.send(agent, m.JobKill(job_uuid=job))
        await p.wait(m.JobStatusUpdate, lambda one: one.job_status is m.JobStatus.KILLED)
        await p.send(agent, m.JobRelease(job_uuid=job))


async def test_an_offer_that_is_gone_cannot_be_accepted(site: Site) -> None:
    """Attack 54: after a reject, and for an offer that there never was."""
    agent = site.uri("a")
    async with Peer(site, "p") as p:
        request = p.id()
        await p.send(
            agent,
            m.JobFulfillmentRequest(request_uuid=request, job_type_name="held", parameters=("n",), round=1),
        )
        offer = await p.wait(m.JobFulfillmentOffer, lambda one: one.request_uuid == request)
        ids = {"request_uuid": request, "offer_uuid": offer.offer_uuid}
        await p.send(agent, m.JobFulfillmentOfferReject(**ids))
        await p.send(agent, m.JobFulfillmentOfferAccept(**ids))
        gone = await p.wait(m.JobFulfillmentOfferWithdrawn)
        assert (gone.offer_uuid, gone.request_uuid) == (offer.offer_uuid, request)
        never = p.id()
        await p.send(agent, m.JobFulfillmentOfferAccept(request_uuid=request, offer_uuid=never))
        await p.wait(m.JobFulfillmentOfferWithdrawn, lambda one: one.offer_uuid == never)
        assert not {one.offer_uuid for one in p.all(m.JobAccepted)} & {offer.offer_uuid, never}
        state = await site.rows(
            "a", "SELECT state FROM agent_offer WHERE offer_uuid = ?", offer.offer_uuid.hex()
        )
        assert state == [("rejected",)]


# --- the tests play agents, the manager is real ----------------------------------------------------


async def test_agents_reach_for_what_is_not_theirs(site: Site) -> None:
    """Attacks 44, 45, 47, 49 and 51 on one step."""
    manager = site.uri("m")
    async with (
        Peer(site, "x", ("ask",)) as x,
        Peer(site, "y", ("ask",)) as y,
        Peer(site, "z", ("ask",)) as z,
        site.submitter() as submitter,
    ):
        created = await submitter.submit(submitter.new_create("ask", {"secret": '"canary"'}))
        request = (await z.wait(m.JobFulfillmentRequest)).request_uuid
        here = m.Site(site_identifier="site.example")

        def offer_of(peer: Peer) -> m.JobFulfillmentOffer:
            return m.JobFulfillmentOffer(
                request_uuid=request, offer_uuid=peer.id(), site=here, ttl=60_000_000
            )

        # 49: certified, and not cleared by a rule: its offer comes first and is never taken
        await z.send(manager, offer_of(z))
        await x.wait(m.JobFulfillmentRequest)
        mine = offer_of(x)
        await x.send(manager, mine)
        await x.wait(m.JobFulfillmentOfferAccept, lambda one: one.offer_uuid == mine.offer_uuid)
        job = job_uuid_of(mine.offer_uuid)

        # 47: another agent offers under the same id, and says that its job exists
        copied = m.JobFulfillmentOffer(
            request_uuid=request, offer_uuid=mine.offer_uuid, site=here, ttl=60_000_000
        )
        await y.send(manager, copied)
        await y.send(manager, m.JobAccepted(job_uuid=job, offer_uuid=mine.offer_uuid))
        # 45: and that the first one's job has failed, and what came out
        await y.send(
            manager,
            m.JobStatusUpdate(
                job_uuid=job, job_status=m.JobStatus.FAILED, seq=99, failure_class=m.FailureClass.JOB
            ),
        )
        await y.send(manager, m.JobDataAvailable(job_uuid=job, parameters={"answer": "666"}))

        await x.send(manager, m.JobAccepted(job_uuid=job, offer_uuid=mine.offer_uuid))
        given = await x.wait(m.JobDataAvailable)
        assert given.parameters == {"secret": '"canary"'}
        status = await submitter.status(created.workflow_uuid)
        assert (status.workflows[0].state, status.steps[0].agent) == ("running", x.uri)

        # 51: a key that nobody declared, and a second, different value; 44: states out of order
        await x.send(manager, m.JobDataAvailable(job_uuid=job, parameters={"answer": "42"}))
        await x.send(manager, m.JobDataAvailable(job_uuid=job, parameters={"answer": "43", "more": "1"}))
        await x.send(
            manager,
            m.JobStatusUpdate(
                job_uuid=job,
                job_status=m.JobStatus.COMPLETED,
                seq=5,
                exit_code=0,
                manifest={"answer": value_digest("42")},
            ),
        )
        await x.send(manager, m.JobStatusUpdate(job_uuid=job, job_status=m.JobStatus.RUNNING, seq=4))
        await x.send(manager, m.JobStatusUpdate(job_uuid=job, job_status=m.JobStatus.FAILED, seq=6))
        assert await site.ended(created.workflow_uuid) == "completed"
        await x.wait(m.JobRelease)
        status = await submitter.status(created.workflow_uuid)
        assert status.outputs == {"answer": "42"}
        jobs = await site.rows("m", "SELECT agent, job_uuid, state FROM job")
        assert (x.uri, job.hex(), "completed") in jobs
        # what y claims is a row of y's, which nobody reads a value from
        assert {row[0] for row in jobs} <= {x.uri, y.uri}
        values = await site.rows("m", "SELECT name, value, agent FROM flow ORDER BY name")
        assert values == [("ask/answer", "42", x.uri), ("secret", '"canary"', "")]
        for stranger in (y, z):
            assert not stranger.all(m.JobFulfillmentOfferAccept)
            assert not stranger.all(m.JobDataAvailable)
