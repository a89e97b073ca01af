"""``kill -9`` of manager, agent and broker while the thirty jobs of the genomics sample run.

A seed is a history: what is killed, after how many starts, how long it stays away. ``CARONI_KILL_SEEDS=20``
plays more of them, ``CARONI_KILL_SEEDS=7:8`` the one numbered 7.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from caroni.execution.definition import JobDefinition
from caroni.services.definitions import definition_files
from tests.acceptance.site import SAMPLES, Site, definition, lines, marked, sample_inputs, steps
from tests.services import eventually
from tests.services.rabbitmq import RabbitNode

KILLS = 6


def seeds() -> range:
    first, _, last = os.environ.get("CARONI_KILL_SEEDS", "3").rpartition(":")
    return range(int(first or 0), int(last))


@pytest.fixture(scope="module")
def marks(base: Path) -> Path:
    return base / "marks"


@pytest.fixture(scope="module")
def steady(base: Path, marks: Path, rabbit_node: RabbitNode) -> Iterator[Site]:
    """A manager and one agent with every job of the genomics sample, slowed down and leaving marks."""
    site = Site(base, rabbit_node.url(rabbit_node.vhost()))
    try:
        site.make_usual("a")
        site.template("m", "genomics", SAMPLES / "genomics" / "workflow.cwl")
        site.template("m", "wait", steps(["wait", "wait"]))
        jobs: list[JobDefinition] = []
        for folder in sorted((SAMPLES / "genomics" / "jobs").iterdir()):
            jobs += [marked(one.definition, marks, "sleep 0.2") for one in definition_files(folder)]
        wait = definition("wait", f"until [ -e '{base}/go' ]; do sleep 0.05; done")
        site.define("a", [*jobs, marked(wait, marks)])
        site.settings["CARONI_AGENT__SLOTS"] = "3"
        site.spawn("m", "a")
        yield site
        assert site.bugs() == []
    finally:
        (base / "go").touch()
        site.close()


@pytest.fixture(scope="module")
def undisturbed(steady: Site) -> dict[str, str]:
    """The outputs of a run in peace."""
    end = asyncio.run(steady.run("genomics", sample_inputs("genomics")))
    assert end.workflows[0].state == "completed"
    return end.outputs


async def outputs_of(site: Site, workflow_uuid: bytes) -> dict[str, str]:
    async with site.submitter() as submitter:
        return (await submitter.status(workflow_uuid)).outputs


@pytest.mark.parametrize("seed", seeds())
async def test_thirty_jobs_through_kills(
    seed: int, steady: Site, marks: Path, undisturbed: dict[str, str], rabbit_node: RabbitNode
) -> None:
    dice = random.Random(seed)
    victims = ["m", "a", "broker", *dice.choices(["m", "a"], k=KILLS - 3)]
    dice.shuffle(victims)
    before = len(lines(marks))
    moments = sorted(dice.sample(range(0, 28), KILLS))
    async with steady.submitter() as submitter:
        created = await submitter.submit(submitter.new_create("genomics", sample_inputs("genomics")))
    uuid = created.workflow_uuid
    for victim, moment in zip(victims, moments, strict=True):
        await eventually(
            partial(has_started, marks, before + moment),
            40,
            f"seed {seed}: stands still before {victim}'s end",
        )
        # not to wait for anything: any moment of a job's life will do
        await asyncio.sleep(dice.uniform(0.0, 0.3))
        if victim == "broker":
            await asyncio.to_thread(rabbit_node.kill9)
            await asyncio.to_thread(rabbit_node.start)
        else:
            steady.kill(victim)
            await asyncio.to_thread(steady.spawn, victim)
    assert await steady.ended(uuid) == "completed"
    started = lines(marks)[before:]
    assert len(started) == len(set(started)), "a job was started twice"
    jobs = {row[0] for row in await steady.rows("m", "SELECT job_uuid FROM job")}
    assert set(started) <= jobs, "a job ran that the manager does not know"
    assert await outputs_of(steady, uuid) == undisturbed
    await eventually(lambda: steady.outbox_is_empty("m", "a"), 30, "messages stay in an outbox")
    assert await steady.rows("m", "SELECT * FROM quarantine") == []
    assert await steady.rows("a", "SELECT * FROM quarantine") == []


@pytest.mark.parametrize("end", ["kill", "terminate"])
async def test_jobs_outlive_their_agent(end: str, steady: Site, marks: Path, base: Path) -> None:
    """Killed or asked to stop: jobs run on, are taken up again, and nothing starts twice."""
    (base / "go").unlink(missing_ok=True)
    before = len(lines(marks))
    async with steady.submitter() as submitter:
        created = await submitter.submit(submitter.new_create("wait", {}))
    started = await eventually(lambda: _two(marks, before), 20)
    pids = [pid for job in started for pid in processes_of(job)]
    assert len(pids) == 2
    if end == "kill":
        steady.kill("a")
    else:
        assert steady.terminate("a") == 0
    assert all(psutil.pid_exists(pid) for pid in pids)
    # one job ends while nobody looks, the other one later
    await asyncio.to_thread(steady.spawn, "a")
    assert [pid for job in started for pid in processes_of(job)] == pids
    state, _ = await steady.state(created.workflow_uuid)
    assert state == "running"
    steady.kill("a")
    (base / "go").touch()
    await eventually(lambda: not any(processes_of(job) for job in started), 20, "the jobs do not end")
    await asyncio.to_thread(steady.spawn, "a")
    assert await steady.ended(created.workflow_uuid) == "completed"
    assert lines(marks)[before:] == started


def has_started(marks: Path, count: int) -> bool:
    return len(lines(marks)) >= count


def _two(marks: Path, before: int) -> list[str]:
    found = lines(marks)[before:]
    return found if len(found) == 2 else []


def processes_of(job: str) -> list[int]:
    """The shell of a job: it has its id in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == "bash" and process.environ().get("CARONI_JOB_ID") == job:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
