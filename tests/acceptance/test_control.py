"""What operators do while jobs run, by the commands they type: drain, absence, cancel, pause, kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from caroni.core.messages import FailureClass, PresenceState
from caroni.services.stores import now
from tests.acceptance.site import Site, definition, lines, marked, steps
from tests.services import eventually
from tests.services.rabbitmq import RabbitNode

ROOT = Path(__file__).parents[2]
AGENTS = ("a1", "a2")
SECOND = 1_000_000


@pytest.fixture(scope="module")
def site(base: Path, rabbit_node: RabbitNode) -> Iterator[Site]:
    """A manager and two agents that can do the same."""
    site = Site(base, rabbit_node.url(rabbit_node.vhost()))
    try:
        site.make_usual(*AGENTS)
        site.settings["CARONI_AGENT__KILL_GRACE"] = "1s"
        site.settings["CARONI_MANAGER__SUSPECT_AFTER"] = "2s"
        site.settings["CARONI_MANAGER__KILL_RESEND_MIN"] = "2s"
        wait = definition("wait", f"until [ -e '{base}/go' ]; do sleep 0.05; done")
        # the first attempt waits for ever, with a process of its own beside it; the second one is quick
        first = f"if mkdir '{base}/once' 2>/dev/null; then sleep 987 & while :; do sleep 0.05; done; fi"
        once = definition("once", first)
        impatient = definition("impatient", first, stop_after=4 * SECOND)
        for agent in AGENTS:
            jobs = [marked(wait, base / "marks"), once, definition("quick", "true"), impatient]
            site.define(agent, jobs)
        for name in ("wait", "once", "quick", "impatient"):
            text = steps([name])
            if name == "wait":
                text = text.replace("backoff: 0s", "backoff: 0s, lostAfter: 4s")
            site.template("m", name, text)
        site.spawn("m", *AGENTS)
        yield site
        assert site.bugs() == []
    finally:
        (base / "go").touch()
        site.close()


@pytest.fixture(autouse=True)
async def _all_there(site: Site, base: Path) -> AsyncIterator[None]:
    """Everybody is here and takes work, before and after."""
    (base / "go").unlink(missing_ok=True)
    if (base / "once").exists():
        (base / "once").rmdir()
    yield
    (base / "go").touch()
    for agent in AGENTS:
        if agent not in site.processes:
            await asyncio.to_thread(site.spawn, agent)
        for draining, away in await site.rows(agent, "SELECT draining, away_until FROM availability"):
            if draining:
                await caroni(site, agent, "undrain")
            if away:
                await caroni(site, agent, "presence", "online")


async def caroni(site: Site, whose: str, *words: str, code: int = 0) -> Any:
    """A command as an operator types it; gives its JSON."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "caroni", *words, "--json", "--config", str(site.directory(whose))],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout) if done.stdout else done.stderr


async def submit(site: Site, template: str) -> bytes:
    async with site.submitter() as submitter:
        return (await submitter.submit(submitter.new_create(template, {}))).workflow_uuid


async def jobs_of(site: Site, workflow: bytes) -> list[tuple[str, str, str]]:
    """Agent (its name), id and state of a workflow's jobs, oldest first."""
    rows = await site.rows(
        "m",
        "SELECT agent, job_uuid, state FROM job WHERE workflow_uuid = ? ORDER BY attempt",
        workflow.hex(),
    )
    return [(str(agent).rpartition("/")[2], str(job), str(state)) for agent, job, state in rows]


async def running(site: Site, workflow: bytes) -> tuple[str, str]:
    """Agent and id of the workflow's job, as soon as it runs."""

    async def look() -> tuple[str, str] | None:
        found = [(a, j) for a, j, state in await jobs_of(site, workflow) if state == "running"]
        return found[0] if found and processes(found[0][1]) else None

    found: tuple[str, str] = await eventually(look, 30, "the job does not run")
    return found


def processes(job: str) -> list[psutil.Process]:
    """Everything that has the job's id in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CARONI_JOB_ID") == job and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def other(agent: str) -> str:
    return AGENTS[1 - AGENTS.index(agent)]


# --- drain, absence ----------------------------------------------------------------------------------


async def test_a_drained_agent_finishes_and_another_one_serves(site: Site, base: Path) -> None:
    workflow = await submit(site, "wait")
    agent, _ = await running(site, workflow)
    told = await caroni(site, agent, "drain")
    assert (told["agent"]["state"], told["result"]["jobs_left"]) == ("draining", 1)
    quick = await submit(site, "quick")
    assert await site.ended(quick) == "completed"
    assert [a for a, _, _ in await jobs_of(site, quick)] == [other(agent)]

    async def seen() -> bool:  # the other one may have said so before the manager listened
        rows = await site.rows("m", "SELECT uri, presence FROM peer WHERE uri LIKE '%/agent/%'")
        return dict(rows) == {
            site.uri(agent): PresenceState.DRAINING,
            site.uri(other(agent)): PresenceState.ONLINE,
        }

    await eventually(seen, 30, "the manager is not told")
    known = {a["agent"]: a["state"] for a in await caroni(site, "m", "presence", "show")}
    assert known == {site.uri(agent): "draining", site.uri(other(agent)): "online"}
    (base / "go").touch()
    assert await site.ended(workflow) == "completed"
    assert [a for a, _, _ in await jobs_of(site, workflow)] == [agent]


async def test_a_drain_with_a_deadline_has_the_step_done_elsewhere(site: Site) -> None:
    workflow = await submit(site, "once")
    agent, job = await running(site, workflow)
    told = await caroni(site, agent, "drain", "--deadline", "1s")
    assert told["agent"]["drain_deadline"] > 0
    assert await site.ended(workflow) == "completed"
    assert [(a, s) for a, _, s in await jobs_of(site, workflow)] == [
        (agent, "killed"),
        (other(agent), "completed"),
    ]
    assert not processes(job)


async def test_an_announced_absence_is_waited_for(site: Site, base: Path) -> None:
    """Its step would be lost after 4 s without contact; it said that it will be away for longer."""
    workflow = await submit(site, "wait")
    agent, job = await running(site, workflow)
    told = await caroni(site, agent, "presence", "offline", "--for", "10m")
    assert told["agent"]["state"] == "offline"

    async def known() -> bool:
        rows = await site.rows("m", "SELECT away_until FROM peer WHERE uri = ?", site.uri(agent))
        return bool(rows[0][0] > now() + 500 * SECOND)

    await eventually(known, 15, "the manager is not told")
    assert site.terminate(agent) == 0
    gone = now()
    # longer than the lease that counts without an absence, and than it takes to act on it
    await eventually(lambda: now() > gone + 8 * SECOND, 20)
    assert [(a, s) for a, _, s in await jobs_of(site, workflow)] == [(agent, "running")]
    await asyncio.to_thread(site.spawn, agent)
    (base / "go").touch()
    assert await site.ended(workflow) == "completed"
    assert [(a, j) for a, j, _ in await jobs_of(site, workflow)] == [(agent, job)]


async def test_a_schedule_announces_itself(site: Site) -> None:
    """An agent in its hours of absence says until when, and takes nothing; what it has goes on."""
    site.terminate("a2")
    open_at = datetime.now(UTC) + timedelta(hours=6)
    hours = f"{open_at + timedelta(hours=1):%H:00}-{open_at:%H:00}"  # away for 23 hours a day, now as well
    schedule = f'[{{offline = "{hours}", time_zone = "UTC"}}]'
    await asyncio.to_thread(site.spawn, "a2", CARONI_AGENT__SCHEDULE=schedule)

    async def told() -> int:
        rows = await site.rows("m", "SELECT presence, away_until FROM peer WHERE uri = ?", site.uri("a2"))
        return int(rows[0][1]) if rows and rows[0][0] == PresenceState.OFFLINE else 0

    until = await eventually(told, 20, "the manager is not told")
    opens = int(open_at.replace(minute=0, second=0, microsecond=0).timestamp()) * SECOND
    assert abs(until - opens) < 10 * SECOND
    quick = await submit(site, "quick")
    assert await site.ended(quick) == "completed"
    assert [a for a, _, _ in await jobs_of(site, quick)] == ["a1"]
    site.terminate("a2")
    await asyncio.to_thread(site.spawn, "a2")

    async def back() -> bool:
        return await told() == 0

    await eventually(back, 20, "the manager is not told that it is back")


# --- cancel, pause, kill -----------------------------------------------------------------------------


async def test_a_cancel_reaches_an_agent_that_was_away(site: Site) -> None:
    workflow = await submit(site, "once")
    agent, job = await running(site, workflow)
    site.kill(agent)
    told = await caroni(site, "m", "cancel", workflow.hex()[:12], "--reason", "wrong inputs")
    assert (told["result"]["affected"], told["workflow"]["state"]) == (1, "cancelling")
    assert len(processes(job)) > 1, "the job runs on while its agent is away"
    waiting = await caroni(site, "m", "kill", job, "--wait", "--timeout", "5", code=1)
    assert "its kill unreachable" in waiting
    await asyncio.to_thread(site.spawn, agent)
    assert await site.ended(workflow) == "cancelled"
    assert not processes(job)
    assert [s for _, _, s in await jobs_of(site, workflow)] == ["killed"]


async def test_a_submitter_steers_its_own_workflow(site: Site) -> None:
    workflow = await submit(site, "once")
    _, job = await running(site, workflow)
    options = ("--manager", site.uri("m"))
    paused = await caroni(site, "s", "pause", workflow.hex(), *options)
    assert (paused["state"], paused["paused"]) == ("running", True)
    resumed = await caroni(site, "s", "resume", workflow.hex()[:10], *options)
    assert resumed["paused"] is False
    wrong = await caroni(site, "s", "retry", workflow.hex(), "--step", "nothing", *options, code=1)
    assert "the workflow has no step nothing" in wrong
    cancelled = await caroni(site, "s", "cancel", workflow.hex(), *options)
    assert cancelled["state"] in ("cancelling", "cancelled")
    assert await site.ended(workflow) == "cancelled"
    assert not processes(job)


@pytest.mark.parametrize("side", ["manager", "agent"])
async def test_a_paused_job_stands_still(site: Site, side: str) -> None:
    workflow = await submit(site, "once")
    agent, job = await running(site, workflow)
    await eventually(lambda: len(processes(job)) >= 2, 10, "the job has no second process")
    whose = "m" if side == "manager" else agent
    await caroni(site, whose, "pause", "--job", job[:12])

    def all_are(wanted: bool) -> bool:
        found = processes(job)
        return bool(found) and all((p.status() == psutil.STATUS_STOPPED) is wanted for p in found)

    await eventually(partial(all_are, True), 15, "not all processes of the job are suspended")
    await eventually(partial(_is, site, workflow, "paused"), 15, "the manager is not told")
    await caroni(site, whose, "resume", "--job", job[:12])
    await eventually(lambda: any(p.status() != psutil.STATUS_STOPPED for p in processes(job)), 15)
    await eventually(partial(_is, site, workflow, "running"), 15, "the manager is not told")
    await caroni(site, "m", "cancel", workflow.hex())
    assert await site.ended(workflow) == "cancelled"
    assert not processes(job)


async def _is(site: Site, workflow: bytes, state: str) -> bool:
    return [s for _, _, s in await jobs_of(site, workflow)] == [state]


@pytest.mark.parametrize("side", ["manager", "agent"])
async def test_a_killed_job_is_confirmed_and_its_step_is_tried_again(site: Site, side: str) -> None:
    workflow = await submit(site, "once")
    agent, job = await running(site, workflow)
    whose = "m" if side == "manager" else agent
    told = await caroni(site, whose, "kill", job[:12], "--reason", "too big", "--wait", "--timeout", "30")
    assert (told["job"]["state"], told["job"]["kill"]) == ("killed", "confirmed")
    assert not processes(job)
    assert await site.ended(workflow) == "completed"
    first, second = await jobs_of(site, workflow)
    assert (first[1], first[2], second[2]) == (job, "killed", "completed")
    assert "the job has ended" in await caroni(site, whose, "kill", job, code=1)


async def test_a_command_waits_for_its_daemon(site: Site) -> None:
    site.kill("a2")
    assert "the agent does not run" in await caroni(site, "a2", "drain", code=75)
    await asyncio.to_thread(site.spawn, "a2")

    async def drained() -> bool:
        return await site.rows("a2", "SELECT draining FROM availability") == [(1,)]

    await eventually(drained, 15, "the command is not carried out at the next start")


async def test_a_job_that_does_not_outlive_its_managers_silence(site: Site) -> None:
    workflow = await submit(site, "impatient")
    agent, job = await running(site, workflow)
    site.kill("m")
    await eventually(lambda: not processes(job), 30, "the job outlives its manager's silence")

    async def lost() -> bool:
        query = "SELECT state, failure_class FROM agent_job WHERE job_uuid = ?"
        return await site.rows(agent, query, job) == [("killed", FailureClass.LOST)]

    await eventually(lost, 10)
    await asyncio.to_thread(site.spawn, "m")
    assert await site.ended(workflow) == "completed"
    assert [s for _, _, s in await jobs_of(site, workflow)] == ["killed", "completed"]


# --- the second-best offer ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["vanishes", "withdraws"])
async def test_the_second_best_offer_is_taken_when_the_best_agent(site: Site, how: str) -> None:
    """Both agents offer; the better one does not stand by it: the other one's offer is still good."""
    site.terminate("m")
    await asyncio.to_thread(
        site.spawn,
        "m",
        CARONI_MANAGER__OFFER_WINDOW="3s",
        CARONI_MANAGER__ACCEPT_RESEND_MIN="1s",
        CARONI_MANAGER__ACCEPT_TRIES="2",
    )
    workflow = await submit(site, "quick")

    async def offers() -> list[str]:
        found = await site.rows(
            "m",
            "SELECT o.agent FROM offer o JOIN request r ON r.request_uuid = o.request_uuid"
            " WHERE r.workflow_uuid = ? AND o.state = 'received' ORDER BY o.received_at, o.id",
            workflow.hex(),
        )
        return [str(row[0]).rpartition("/")[2] for row in found] if len(found) == 2 else []

    best, second = await eventually(offers, 15, "there are not two offers")
    if how == "vanishes":
        site.kill(best)
    else:  # the manager sleeps while its agent changes its mind
        os.kill(site.pid("m"), signal.SIGSTOP)
        await caroni(site, best, "drain")
        os.kill(site.pid("m"), signal.SIGCONT)
    assert await site.ended(workflow) == "completed"
    assert [(a, s) for a, _, s in await jobs_of(site, workflow)] == [(second, "completed")]
    requests = await site.rows("m", "SELECT attempt FROM request WHERE workflow_uuid = ?", workflow.hex())
    assert requests == [(1,)], "nobody was asked anew"
    states = dict(await site.rows("m", "SELECT agent, state FROM offer ORDER BY id DESC LIMIT 2"))
    given_up = "rejected" if how == "vanishes" else "gone"
    assert states == {site.uri(best): given_up, site.uri(second): "accepted"}
    site.terminate("m")
    await asyncio.to_thread(site.spawn, "m")


def test_no_job_was_started_twice(base: Path) -> None:
    started = lines(base / "marks")
    assert started
    assert len(started) == len(set(started))
