"""Memory from rows: what lives comes back, what has ended stays, one broken row harms its owner only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from caroni.core.messages import JobStatus, WorkFlowCancel
from caroni.core.plan import DAY
from caroni.core.rows import (
    AgentInput,
    AgentJob,
    AgentOffer,
    AgentOutput,
    Flow,
    Job,
    JobOutput,
    Offer,
    Peer,
    Request,
    Row,
    Step,
    Workflow,
)
from caroni.core.states import (
    AgentJobState,
    AgentOfferState,
    JobState,
    RequestState,
    StepState,
    WorkflowState,
)
from caroni.model.store import Store
from caroni.model.unit import Unit
from tests.core.build import SUBMITTER
from tests.core.forgetful import ForgetfulManager
from tests.model.databases import *  # noqa: F403
from tests.model.samples import AGENT, MANAGER, NOW, Ids, workflow_rows

Open = Callable[..., Any]
Rows = dict[type[Row], list[Row]]


def keys(rows: Rows | list[Row]) -> set[tuple[type[Row], Any]]:
    flat = [r for some in rows.values() for r in some] if isinstance(rows, dict) else rows
    return {(type(row), row.key) for row in flat}


async def commit(store: Store, *made: Rows) -> None:
    for rows in made:
        await store.commit(Unit(rows=rows))


async def test_a_live_workflow_comes_back_whole(open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    live = workflow_rows(ids, steps=3)
    live[Peer] = [Peer(uri=AGENT, last_contact=NOW)]
    ended = workflow_rows(
        ids,
        steps=2,
        state=WorkflowState.COMPLETED,
        step_state=StepState.COMPLETED,
        job_state=JobState.COMPLETED,
    )
    await commit(store, live, ended)
    found = await store.load_live_manager()
    assert found.broken == []
    assert keys(found.rows) == keys(live)
    assert {r.key: r for r in found.rows if isinstance(r, Job)} == {r.key: r for r in live[Job]}


async def test_what_has_ended_inside_a_live_workflow_stays_in_the_database(open_store: Open) -> None:
    store = await open_store()
    rows = workflow_rows(Ids(), steps=2)
    done: Rows = {
        Step: [msgspec.structs.replace(rows[Step][0], state=StepState.COMPLETED)],
        Job: [msgspec.structs.replace(rows[Job][0], state=JobState.COMPLETED)],
    }
    await commit(store, rows, done)
    found = keys((await store.load_live_manager()).rows)
    gone = keys(rows) - found
    assert gone == {(kind, rows[kind][0].key) for kind in (Request, Offer, Job, JobOutput)}


async def test_an_open_request_comes_back_whatever_its_step(open_store: Open) -> None:
    store = await open_store()
    rows = workflow_rows(Ids(), steps=1, step_state=StepState.COMPLETED, job_state=JobState.COMPLETED)
    rows[Request] = [msgspec.structs.replace(rows[Request][0], state=RequestState.OPEN)]
    await commit(store, rows)
    found = keys((await store.load_live_manager()).rows)
    assert found >= keys({Request: rows[Request], Offer: rows[Offer]})


@pytest.mark.parametrize(("state", "due"), [(JobState.SUPERSEDED, NOW), (JobState.RUNNING, 0)])
async def test_an_unsettled_job_keeps_its_ended_workflow_in_memory(
    state: JobState, due: int, open_store: Open
) -> None:
    store = await open_store()
    ids = Ids()
    rows = workflow_rows(ids, state=WorkflowState.CANCELLED, step_state=StepState.CANCELLED)
    rows[Job] = [msgspec.structs.replace(rows[Job][0], state=state, due=due, kill_wanted=True)]
    await commit(store, rows)
    found = keys((await store.load_live_manager()).rows)
    assert found == keys({kind: rows[kind] for kind in (Workflow, Step, Job, JobOutput)})


async def test_of_an_ended_workflow_the_steps_of_unsettled_jobs_come_back(open_store: Open) -> None:
    store = await open_store()
    rows = workflow_rows(
        Ids(),
        steps=3,
        state=WorkflowState.CANCELLED,
        step_state=StepState.CANCELLED,
        job_state=JobState.KILLED,
    )
    rows[Job][1] = msgspec.structs.replace(rows[Job][1], state=JobState.LOST, due=NOW)
    await commit(store, rows)
    found = keys((await store.load_live_manager()).rows)
    assert found == keys([rows[Workflow][0], *(rows[kind][1] for kind in (Step, Job, JobOutput))])


def cancelled_before_its_job_is_known(template: str) -> ForgetfulManager:
    """The job of the first step was accepted too late: nothing of the workflow was in memory then."""
    manager = ForgetfulManager()
    manager.submit(template)
    manager.offer()
    manager.say(WorkFlowCancel(workflow_uuid=manager.workflow_uuid), SUBMITTER)
    assert not manager.state.tables[Workflow]
    manager.accepted()
    assert manager.job().state is JobState.SUPERSEDED
    return manager


def cancelled_while_its_job_runs(template: str) -> ForgetfulManager:
    """The agent is silent for so long that the workflow ends without it; it has still to be told."""
    manager = ForgetfulManager()
    manager.running(template)
    manager.say(WorkFlowCancel(workflow_uuid=manager.workflow_uuid), SUBMITTER)
    manager.wait(DAY)
    assert manager.workflow.state is WorkflowState.CANCELLED
    assert manager.job().state is JobState.LOST
    return manager


@pytest.mark.parametrize("template", ["one", "chain", "pair"])
@pytest.mark.parametrize("history", [cancelled_before_its_job_is_known, cancelled_while_its_job_runs])
async def test_memory_has_of_an_ended_workflow_what_a_start_loads(
    history: Callable[[str], ForgetfulManager], template: str, open_store: Open
) -> None:
    store, manager = await open_store(), history(template)
    for row_type, row in ((row_type, row) for (row_type, _), row in manager.store.rows.items()):
        await commit(store, {row_type: [row]})
    in_memory = [row for table in manager.state.tables.values() for row in table.values()]
    assert keys((await store.load_live_manager()).rows) == keys(in_memory)
    manager.status(JobStatus.KILLED)
    assert [kind for kind, table in manager.state.tables.items() if table] == [Peer]


@pytest.mark.parametrize(
    ("table", "kind", "column", "value"),
    [
        ("step", Step, "state", "'dancing'"),
        ("step", Step, "jobs", "'[['"),
        ("offer", Offer, "offer_uuid", "'xyz'"),
        ("job", Job, "failure_class", "99"),
        ("job_output", JobOutput, "job_uuid", None),
        ("flow", Flow, "job_uuid", "'0'"),
    ],
)
async def test_a_row_that_cannot_be_read_harms_its_workflow_alone(
    table: str, kind: type[Row], column: str, value: str | None, open_store: Open
) -> None:
    store = await open_store()
    ids = Ids()
    good, bad = workflow_rows(ids, steps=2), workflow_rows(ids, steps=2)
    await commit(store, good, bad)
    uuid = bad[Workflow][0].key
    if value is None:
        # an output whose job is gone belongs to nobody and is not loaded
        await store.database.run("DELETE FROM job WHERE workflow_uuid = ?", uuid.hex())  # type: ignore[attr-defined]
        found = await store.load_live_manager()
        assert found.broken == []
        assert not {k for k in keys(found.rows) if k[0] is JobOutput} - keys(good)
        return
    ((rev,),) = await store.database.fetch(f"SELECT MAX(rev) FROM {table}")  # noqa: S608
    await store.database.run(f'UPDATE {table} SET "{column}" = {value} WHERE rev = ?', rev)  # noqa: S608
    found = await store.load_live_manager()
    assert [owner for owner, _ in found.broken] == [uuid]
    assert found.broken[0][1].startswith(f"{table} row: ")
    assert keys(found.rows) == keys(good)


async def test_slices_bring_what_a_decision_needs(open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    one, other = workflow_rows(ids, steps=3), workflow_rows(ids, steps=1)
    await commit(store, one, other)
    index = 1

    def at(*kinds: type[Row]) -> set[tuple[type[Row], Any]]:
        return keys([one[kind][0 if kind is Workflow else index] for kind in kinds])

    async def loaded(kind: type[Row], key: Any) -> set[tuple[type[Row], Any]]:
        return keys(await store.load_slice({(kind, key)}))

    job, request, offer = one[Job][index], one[Request][index], one[Offer][index]
    assert await loaded(Job, job.key) == at(Job, JobOutput, Request, Step, Workflow)
    assert await loaded(Request, request.key) == at(Request, Step, Workflow)
    assert await loaded(Offer, offer.key) == at(Offer, Request, Step, Workflow)
    assert await loaded(Step, one[Step][index].key) == at(Step, Workflow)
    assert await loaded(Flow, one[Flow][index].key) == at(Flow)
    assert await loaded(JobOutput, one[JobOutput][index].key) == at(JobOutput)
    workflow = one[Workflow][0]
    assert isinstance(workflow, Workflow)
    assert await loaded(Workflow, workflow.key) == at(Workflow)
    assert await loaded(Workflow, (workflow.submitter, workflow.submit_uuid)) == at(Workflow)
    assert await loaded(Workflow, ("caroni://esa.example/user/eve", workflow.submit_uuid)) == set()
    assert await loaded(Job, ("caroni://nasa.example/agent/b", job.job_uuid)) == set()  # type: ignore[attr-defined]
    assert await store.load_slice(set()) == []
    many = {(Job, row.key) for row in one[Job]} | {(Job, other[Job][0].key), (Job, (AGENT, ids()))}
    found = await store.load_slice(many)
    assert len(found) == len(keys(found)) == 4 * 4 + 2


def agent_rows(
    ids: Ids, state: AgentJobState = AgentJobState.RUNNING, released: bool = False, ended_at: int = 0
) -> Rows:
    offer, job, request = ids(), ids(), ids()
    return {
        AgentOffer: [
            AgentOffer(
                manager=MANAGER,
                offer_uuid=offer,
                request_uuid=request,
                state=AgentOfferState.ACCEPTED,
                job_type="thumb",
                parameters=("image",),
            )
        ],
        AgentJob: [
            AgentJob(
                manager=MANAGER,
                job_uuid=job,
                offer_uuid=offer,
                request_uuid=request,
                state=state,
                released=released,
                ended_at=ended_at,
                created_at=NOW,
            )
        ],
        AgentInput: [AgentInput(manager=MANAGER, job_uuid=job, name="image", value='"a"')],
        AgentOutput: [AgentOutput(manager=MANAGER, job_uuid=job, name="small", value="null")],
    }


async def test_an_agent_gets_open_offers_and_unreleased_jobs_back(open_store: Open) -> None:
    store = await open_store("agent")
    ids = Ids()
    running = agent_rows(ids)
    waiting = agent_rows(ids, AgentJobState.COMPLETED)
    released = agent_rows(ids, AgentJobState.COMPLETED, released=True)
    offers: Rows = {
        AgentOffer: [
            AgentOffer(manager=MANAGER, offer_uuid=ids(), request_uuid=ids(), state=state)
            for state in (AgentOfferState.OPEN, AgentOfferState.EXPIRED, AgentOfferState.REJECTED)
        ],
        Peer: [Peer(uri=MANAGER)],
    }
    await commit(store, running, waiting, released, offers)
    found = await store.load_live_agent()
    open_offer: Rows = {AgentOffer: offers[AgentOffer][:1], Peer: offers[Peer]}
    assert keys(found.rows) == keys(running) | keys(waiting) | keys(open_offer)


async def test_a_broken_job_of_an_agent_harms_itself_alone(open_store: Open) -> None:
    store = await open_store("agent")
    ids = Ids()
    good, bad = agent_rows(ids), agent_rows(ids)
    await commit(store, good, bad)
    uuid = bad[AgentJob][0].job_uuid  # type: ignore[attr-defined]
    await store.database.run("UPDATE agent_job SET state = 'x' WHERE job_uuid = ?", uuid.hex())
    found = await store.load_live_agent()
    assert [owner for owner, _ in found.broken] == [uuid]
    assert keys(found.rows) == keys(good) | keys(bad[AgentOffer])


async def test_an_agent_finds_offers_by_request_too(open_store: Open) -> None:
    store = await open_store("agent")
    ids = Ids()
    rows, other = agent_rows(ids), agent_rows(ids)
    await commit(store, rows, other)
    offer = rows[AgentOffer][0]
    assert isinstance(offer, AgentOffer)
    for uuid in (offer.offer_uuid, offer.request_uuid):
        assert keys(await store.load_slice({(AgentOffer, (MANAGER, uuid))})) == keys(rows)
    assert await store.load_slice({(AgentOffer, (AGENT, offer.offer_uuid))}) == []
    # another manager chose the same ids
    twins: Rows = {
        kind: [msgspec.structs.replace(row, manager=AGENT) for row in some] for kind, some in rows.items()
    }
    await commit(store, twins)
    assert keys(await store.load_slice({(AgentOffer, (AGENT, offer.offer_uuid))})) == keys(twins)
    assert keys(await store.load_slice({(AgentJob, rows[AgentJob][0].key)})) == keys(rows)
    name = rows[AgentInput][0]
    assert keys(await store.load_slice({(AgentInput, name.key)})) == keys([name])
