"""What has had its time goes, nothing goes before its release, and readers are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from caroni.core.plan import DAY
from caroni.core.rows import AgentJob, AgentOffer, Job, JobLog, Orphan, Workflow
from caroni.core.states import AgentJobState, AgentOfferState, JobState, StepState, WorkflowState
from caroni.model.retention import Retention
from caroni.model.store import Role, Store
from caroni.model.unit import CommandDone, QuarantineRow, Unit
from tests.contract.test_store_live import agent_rows
from tests.model.databases import *  # noqa: F403
from tests.model.samples import AGENT, MANAGER, NOW, Ids, ledger_row, workflow_rows

Open = Callable[..., Any]
LATER = NOW + 31 * DAY


async def tables(store: Store) -> dict[str, int]:
    found = {}
    for table in (
        *("workflow", "step", "request", "offer", "job", "job_output", "job_log", "flow"),
        *("agent_offer", "agent_job", "agent_input", "agent_output", "ledger", "ledger_item"),
        *("inbox", "command", "quarantine", "tombstone", "orphan", "suspect"),
    ):
        ((count,),) = await store.database.fetch(f"SELECT COUNT(*) FROM {table}")  # noqa: S608
        if count:
            found[table] = count
    return found


def ended(ids: Ids, job_state: JobState = JobState.COMPLETED, ended_at: int = NOW) -> Any:
    return workflow_rows(
        ids,
        steps=2,
        state=WorkflowState.COMPLETED,
        step_state=StepState.COMPLETED,
        job_state=job_state,
        ended_at=ended_at,
    )


async def test_ended_workflows_go_whole_and_leave_a_tombstone(open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    old, fresh, live = ended(ids), ended(ids, ended_at=LATER - DAY), workflow_rows(ids)
    unsettled = ended(ids, job_state=JobState.RUNNING)
    for rows in (old, fresh, live, unsettled):
        await store.commit(Unit(rows=rows))
    before = store.rev
    pruned = await store.prune(LATER)
    assert pruned.workflows == [old[Workflow][0].workflow_uuid]
    parts = ("step", "request", "offer", "job", "job_output", "flow")
    assert await tables(store) == {"workflow": 3, **dict.fromkeys(parts, 5), "tombstone": 1}
    ((table, key, rev),) = await store.database.fetch('SELECT "table", "key", rev FROM tombstone')
    assert (table, key) == ("workflow", old[Workflow][0].workflow_uuid.hex())
    assert rev == store.rev > before
    assert (await store.prune(LATER)).workflows == []
    assert (await store.prune(LATER + 31 * DAY)).tombstones == 1


async def test_a_job_with_a_timer_keeps_its_workflow(open_store: Open) -> None:
    store = await open_store()
    rows = ended(Ids(), job_state=JobState.SUPERSEDED)
    await store.commit(Unit(rows=rows))
    await store.database.run("UPDATE job SET due = 5")
    assert (await store.prune(LATER)).workflows == []
    await store.database.run("UPDATE job SET due = 0")
    assert len((await store.prune(LATER)).workflows) == 1
    assert await tables(store) == {"tombstone": 1}


async def test_logs_go_with_their_workflow(open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    for rows in (ended(ids, ended_at=NOW), workflow_rows(ids)):
        logs = [
            JobLog(agent=job.agent, job_uuid=job.job_uuid, stream=stream, data="\0\xff")  # type: ignore[attr-defined]
            for job in rows[Job]
            for stream in ("stdout", "stderr")
        ]
        await store.commit(Unit(rows={**rows, JobLog: list(logs)}))
    assert len((await store.prune(LATER)).workflows) == 1
    assert (await tables(store))["job_log"] == 2


async def test_released_jobs_go_with_their_offer(open_store: Open) -> None:
    store = await open_store("agent")
    ids = Ids()
    gone = agent_rows(ids, AgentJobState.COMPLETED, released=True, ended_at=NOW)
    unreleased = agent_rows(ids, AgentJobState.COMPLETED, ended_at=NOW)
    offers = [
        AgentOffer(manager=MANAGER, offer_uuid=ids(), request_uuid=ids(), state=state, created_at=NOW)
        for state in (AgentOfferState.OPEN, AgentOfferState.EXPIRED)
    ]
    for rows in (gone, unreleased):
        await store.commit(Unit(rows=rows))
    await store.commit(Unit(rows={AgentOffer: list(offers)}))
    assert await store.released_jobs(NOW) == []
    assert await store.released_jobs(NOW + 1) == [gone[AgentJob][0].job_uuid]  # type: ignore[attr-defined]
    pruned = await store.prune(LATER)
    assert pruned.jobs == [gone[AgentJob][0].key]
    assert set(pruned.offers) == {gone[AgentOffer][0].key, offers[1].key}
    assert await tables(store) == {
        "agent_offer": 2,
        "agent_job": 1,
        "agent_input": 1,
        "agent_output": 1,
        "tombstone": 3,
    }


async def test_inbox_commands_and_quarantine_go_after_their_time(open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    await store.commit(Unit(inbox=[(AGENT, ids(), NOW + n) for n in range(5000)]))
    for _ in range(2):
        await store.add_command("drain", "{}", NOW)
    first = (await store.new_commands())[0].id
    quarantine = [QuarantineRow(key=ids(), kind="message", last_at=NOW + n * DAY) for n in (0, 70)]
    done = CommandDone(id=first, state="done", result="null", at=NOW)
    await store.commit(Unit(quarantine=quarantine, commands=[done]))
    pruned = await store.prune(NOW + 4500)
    assert (pruned.inbox, pruned.commands, pruned.quarantine) == (4500, 0, 0)
    pruned = await store.prune(NOW + 91 * DAY, Retention(commands=90 * DAY))
    assert (pruned.inbox, pruned.commands, pruned.quarantine) == (500, 1, 1)
    assert await tables(store) == {"command": 1, "quarantine": 1}


async def test_orphans_that_are_history_and_counts_of_deliveries_go(open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    orphans = [Orphan(agent=AGENT, job_uuid=ids(), last_at=NOW, due=due) for due in (0, 0, NOW)]
    await store.commit(Unit(now=NOW, rows={Orphan: orphans}, suspects={ids(): 1, ids(): 2}))
    later = NOW + 31 * DAY
    expected = await store.expired(later)
    assert (expected["orphans"], expected["suspects"]) == (2, 2)
    pruned = await store.prune(later)
    assert (pruned.orphans, pruned.suspects) == (2, 2)
    assert await tables(store) == {"orphan": 1, "tombstone": 2}


@pytest.mark.parametrize("role", ["manager", "agent"])
async def test_what_would_go_is_what_goes(role: Role, open_store: Open) -> None:
    store = await open_store(role)
    ids = Ids()
    if role == "manager":
        for rows in (workflow_rows(ids), ended(ids, ended_at=NOW), ended(ids, ended_at=LATER)):
            await store.commit(Unit(rows=rows))
    else:
        for more in ({}, {"released": True, "ended_at": NOW}, {"released": True, "ended_at": LATER}):
            await store.commit(Unit(rows=agent_rows(ids, AgentJobState.COMPLETED, **more)))
    old = [ledger_row(ids, at=NOW + n, items=n % 3) for n in range(5)]
    young = [ledger_row(ids, at=LATER, items=1)]
    quarantine = [QuarantineRow(key=ids(), kind="message", last_at=NOW)]
    await store.commit(Unit(ledger=[*old, *young], quarantine=quarantine, inbox=[(AGENT, ids(), NOW)]))
    expected = await store.expired(LATER)
    assert expected["ledger"] == 5
    assert expected["workflows" if role == "manager" else "jobs"] == 1
    pruned = await store.prune(LATER)
    gone = {name: getattr(pruned, name) for name in expected}
    # the offer of a job goes with it, one that came to nothing by itself
    gone = {name: len(n) if isinstance(n, list) else n for name, n in gone.items() if name != "offers"}
    assert gone == {name: count for name, count in expected.items() if name != "offers"}
    assert all(count == 0 for count in (await store.expired(LATER)).values())


@pytest.mark.parametrize("rows", [3, 500, 501, 1003])
async def test_old_ledger_rows_go_and_those_of_live_workflows_stay(rows: int, open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    live, over = workflow_rows(ids), ended(ids, ended_at=LATER)
    await store.commit(Unit(rows=live))
    await store.commit(Unit(rows=over))
    (job,) = live[Job]
    assert isinstance(job, Job)
    keeps: list[dict[str, Any]] = [
        {"workflow_uuid": job.workflow_uuid},
        {"request_uuid": job.request_uuid},
        {"job_uuid": job.job_uuid},
        {"offer_uuid": job.offer_uuid},
    ]
    dead = over[Job][0]
    for n in range(rows):
        keys = {"job_uuid": dead.job_uuid} if n % 2 else {}
        await store.commit(
            Unit(ledger=[ledger_row(ids, at=NOW + n, items=n % 3, **keys)])
        ) if n < 20 else None
    if rows > 20:
        many = [ledger_row(ids, at=NOW + n, items=1) for n in range(20, rows)]
        await store.commit(Unit(ledger=many))
    await store.commit(Unit(ledger=[ledger_row(ids, at=NOW + rows, items=2, **keep) for keep in keeps]))
    young = [ledger_row(ids, at=LATER - DAY, items=3) for _ in range(5)]
    await store.commit(Unit(ledger=young))
    pruned = await store.prune(LATER)
    assert pruned.ledger == rows
    left = await tables(store)
    assert (left["ledger"], left["ledger_item"]) == (9, 8 + 15)
    assert (await store.prune(LATER)).ledger == 0


async def test_a_ledger_beyond_its_size_loses_its_oldest_rows(open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    await store.commit(Unit(ledger=[ledger_row(ids, at=NOW + n) for n in range(1200)]))
    pruned = await store.prune(NOW + DAY, Retention(ledger_bytes=600 * 700))
    assert pruned.ledger == 500
    ((oldest,),) = await store.database.fetch("SELECT MIN(at) FROM ledger")
    assert oldest == NOW + 500
    assert (await tables(store))["ledger_item"] == 700


async def test_an_agent_keeps_the_ledger_of_what_it_still_owes(open_store: Open) -> None:
    store = await open_store("agent")
    ids = Ids()
    owed, released = agent_rows(ids), agent_rows(ids, AgentJobState.COMPLETED, released=True, ended_at=LATER)
    for rows in (owed, released):
        await store.commit(Unit(rows=rows))
    for rows in (owed, released):
        job = rows[AgentJob][0]
        assert isinstance(job, AgentJob)
        named: list[dict[str, Any]] = [
            {"job_uuid": job.job_uuid},
            {"offer_uuid": job.offer_uuid},
            {"request_uuid": job.request_uuid},
        ]
        for keys in named:
            await store.commit(Unit(ledger=[ledger_row(ids, at=NOW, items=1, **keys)]))
    assert (await store.prune(LATER)).ledger == 3
    assert (await tables(store))["ledger"] == 3
