"""What control commands read of a daemon's database, on both databases."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caroni.config.load import build
from caroni.core.messages import PresenceState
from caroni.core.rows import AgentJob, Availability, Job, Peer, Row, Workflow
from caroni.core.states import AgentJobState, JobState, WorkflowState
from caroni.errors import UsageError
from caroni.model.store import Role, Store
from caroni.model.unit import Unit
from caroni.services import control
from caroni.services.jobs import find_job
from tests.model.databases import *  # noqa: F403

AGENTS = ("caroni://a.example/agent/a", "caroni://a.example/agent/b\x01")
MANAGER = "caroni://a.example/manager/m"
FLOW = bytes([0xA1]) * 16
LIVE = (JobState.PENDING, JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)
SECOND = 1_000_000


def job(number: int, agent: str, state: JobState) -> Job:
    return Job(
        agent=agent, job_uuid=bytes([number]) * 16, workflow_uuid=FLOW, step_index=0, attempt=1,
        request_uuid=bytes(16), offer_uuid=bytes([number, 1]) * 8, state=state, kill_wanted=True,
    )  # fmt: skip


def agent_job(number: int, state: AgentJobState) -> AgentJob:
    return AgentJob(
        manager=MANAGER, job_uuid=bytes([number]) * 16, offer_uuid=bytes([number, 1]) * 8,
        request_uuid=bytes(16), state=state,
    )  # fmt: skip


async def filled(url: str, role: Role, *rows: Row) -> Store:
    store = await Store.open(url, role)
    by_type: dict[type[Row], list[Row]] = {}
    for row in rows:
        by_type.setdefault(type(row), []).append(row)
    await store.commit(Unit(rows=by_type, now=SECOND))
    return store


async def test_a_manager(new_database: Callable[[], str]) -> None:
    workflow = Workflow(
        workflow_uuid=FLOW, state=WorkflowState.RUNNING, name="first", steps_total=9, steps_left=4
    )
    peers = [Peer(uri=uri, presence=PresenceState.DRAINING, last_contact=SECOND) for uri in AGENTS]
    jobs = [job(n, AGENTS[0], state) for n, state in enumerate((*LIVE, JobState.KILLED, JobState.LOST), 16)]
    store = await filled(new_database(), "manager", workflow, *peers, *jobs, Peer(uri=MANAGER))
    try:
        known = await control.known_agents(store)
        assert [(a.agent, a.state, a.running, a.waiting) for a in known] == [
            (AGENTS[0], "draining", 2, 2),
            (AGENTS[1], "draining", 0, 0),
        ]
        found = await control.affected(store, FLOW)
        assert (found.name, found.steps_left, found.jobs) == ("first", 4, 4)
        assert await find_job(store, "14141414") == (AGENTS[0], bytes([0x14]) * 16)
        fates = [await control.job_fate(store, AGENTS[0], j.job_uuid) for j in jobs]
        assert [fate.kill for fate in fates if fate] == [*["asked"] * 4, "confirmed", "gave up"]
        assert await control.job_fate(store, AGENTS[1], jobs[0].job_uuid) is None
        with pytest.raises(UsageError, match="there is no workflow"):
            await control.affected(store, bytes(16))
    finally:
        await store.close()


async def test_an_agent(new_database: Callable[[], str], tmp_path: Path) -> None:
    raw: dict[str, Any] = {
        "role": "agent",
        "site": "a.example",
        "name": "a",
        "agent": {"schedule": [{"offline": "00:00-23:00", "time_zone": "UTC"}]},
    }
    loaded = build(raw, path=tmp_path / "caroni.toml", environ={})
    jobs = [agent_job(n, state) for n, state in enumerate(AgentJobState, 32)]
    store = await filled(new_database(), "agent", *jobs, Availability(draining=True, drain_deadline=SECOND))
    try:
        shown = await control.shown_agent(loaded, store)
        assert (shown.running, shown.waiting, shown.drain_deadline) == (4, 2, SECOND)
        assert shown.window[1] - shown.window[0] == 23 * 3600 * SECOND
        assert shown.state in ("offline", "draining")
        many = [os.urandom(16) for _ in range(6000)]
        rows = await store.agent_jobs([*many, *(j.job_uuid for j in jobs)])
        assert rows == {j.job_uuid: j.state.value for j in jobs}
        assert await store.agent_jobs([]) == {}
    finally:
        await store.close()


async def test_an_agent_without_rows(new_database: Callable[[], str], tmp_path: Path) -> None:
    loaded = build(
        {"role": "agent", "site": "a.example", "name": "a"}, path=tmp_path / "caroni.toml", environ={}
    )
    store = await filled(new_database(), "agent")
    try:
        shown = await control.shown_agent(loaded, store)
        assert (shown.state, shown.running, shown.waiting, shown.window) == ("online", 0, 0, (0, 0))
    finally:
        await store.close()
