"""How soon a manager with 10,000 open steps serves again after a restart.

The steps are made through the store: 9,500 with a running job, 500 that look for an agent. The time goes from
the start of the process until a submitter has the answer to a question that waits in the manager's queue.
References in the same run: the bare time to read the same rows from the SQLite file, and the same start with
an empty database. ``overdue`` is the same after a night away, when every timer has run out.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.federation import MANAGER, Federation
from benchmarks.workflows import independent
from caroni.config import load_config
from caroni.core.plan import HOUR, MINUTE
from caroni.core.rows import Flow, Job, Offer, Request, Row, Step, Workflow
from caroni.core.states import JobState, OfferState, RequestState, StepState, WorkflowState
from caroni.daemon.service import make_submitter
from caroni.daemon.submitter import NoQueue
from caroni.model.store import Store
from caroni.model.unit import Unit
from caroni.services.stores import now

WORKFLOWS = 20
STEPS = 500
#: of each workflow's steps
SEEKING = 25
RUNS = 3
AGENT = "caroni://bench.example/agent/a"
SUBMITTER = "caroni://bench.example/submitter/s"
#: tables that a start reads
TABLES = ("peer", "workflow", "step", "request", "offer", "job", "job_output", "flow", "orphan")


def workflow(dice: random.Random, at: int) -> Iterator[Row]:
    """One workflow at work since ``at``: its timers are due within the next five minutes."""
    uuid = dice.randbytes(16)
    yield Workflow(
        workflow_uuid=uuid,
        state=WorkflowState.RUNNING,
        name="restart",
        template="many",
        revision=1,
        submitter=SUBMITTER,
        submit_uuid=dice.randbytes(16),
        steps_total=STEPS,
        steps_left=STEPS,
        created_at=at,
    )
    yield Flow(workflow_uuid=uuid, name="n", value="1")
    for index in range(STEPS):
        request, offer, job = (dice.randbytes(16) for _ in range(3))
        due = at + dice.randrange(5 * MINUTE)
        step = Step(
            workflow_uuid=uuid,
            index=index,
            name=f"s{index}",
            job_type="noop",
            state=StepState.FULFILLING,
            attempt=1,
            request_uuid=request,
            ready_at=at,
        )
        asked = Request(
            request_uuid=request,
            workflow_uuid=uuid,
            step_index=index,
            attempt=1,
            state=RequestState.OPEN,
            created_at=at,
        )
        if index < SEEKING:
            yield step
            yield msgspec.structs.replace(asked, due=due, round=1)
            continue
        yield msgspec.structs.replace(
            step,
            state=StepState.RUNNING,
            agent=AGENT,
            job_uuid=job,
            jobs=((AGENT, job),),
            started_at=at,
        )
        yield msgspec.structs.replace(
            asked,
            state=RequestState.FULFILLED,
            agent=AGENT,
            offer_uuid=offer,
            offers=((AGENT, offer),),
        )
        yield Offer(
            agent=AGENT,
            offer_uuid=offer,
            request_uuid=request,
            state=OfferState.ACCEPTED,
            expires_at=at + HOUR,
            received_at=at,
        )
        yield Job(
            agent=AGENT,
            job_uuid=job,
            workflow_uuid=uuid,
            step_index=index,
            attempt=1,
            request_uuid=request,
            offer_uuid=offer,
            state=JobState.RUNNING,
            seq=3,
            due=due,
            accepted_at=at,
            started_at=at,
        )


async def fill(database: Path, at: int) -> None:
    """Write the open workflows, one unit of work each."""
    store = await Store.open(f"sqlite://{database}", "manager")
    dice = random.Random(7)
    for _ in range(WORKFLOWS):
        rows: dict[type[Row], list[Row]] = {}
        for row in workflow(dice, at):
            rows.setdefault(type(row), []).append(row)
        await store.commit(Unit(rows=rows, now=at))
    await store.close()


def bare_read(database: Path) -> tuple[float, int]:
    """Seconds to fetch all rows of the tables with Python's own driver, and how many there are."""
    began = time.perf_counter()
    connection = sqlite3.connect(database)
    rows = sum(len(connection.execute(f"SELECT * FROM {table}").fetchall()) for table in TABLES)  # noqa: S608
    seconds = time.perf_counter() - began
    connection.close()
    return seconds, rows


async def answers(made: Federation) -> bool:
    """Whether the manager is there."""
    try:
        await made.submitter.status(seconds=60)
    except NoQueue:
        return False
    return True


async def start_time(made: Federation) -> tuple[float, float]:
    """Seconds from the start of the process to its first answer, and its processor seconds until then."""
    question = asyncio.create_task(made.submitter.status(seconds=120))
    await asyncio.sleep(0.2)  # it waits in the queue
    began = time.perf_counter()
    made.spawn("manager", "m")
    await question
    took = time.perf_counter() - began, made.cpu("m")
    process = made.processes.pop("m")
    process.terminate()
    await asyncio.to_thread(process.wait, 60)
    return took


async def measure(url: str, directory: Path) -> list[dict[str, Any]]:
    """The figures, one dictionary a line."""
    made = Federation(directory, url)
    await made.make()
    await made.template("many", independent("noop", STEPS))
    database, kept = directory / "m" / "caroni.db", directory / "kept.db"
    made.submitter = make_submitter(load_config(directory / "s"), MANAGER)
    try:
        # both have been here before: their queues exist
        made.spawn("agent", "a")
        made.spawn("manager", "m")
        await made.submitter.start(60)
        async with asyncio.timeout(60):
            while not await answers(made):  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.1)
        await made.stop()
        made.processes.clear()
        empty = [await start_time(made) for _ in range(RUNS)]
        shutil.copy(database, kept)
        found: list[dict[str, Any]] = []
        for name, ago in (("restart", 0), ("restart_overdue", 12 * HOUR)):
            shutil.copy(kept, database)
            await fill(database, now() - ago)
            size = database.stat().st_size
            filled = directory / f"{name}.db"
            shutil.copy(database, filled)
            times, reads, processor = [], [], []
            for _ in range(RUNS):
                shutil.copy(filled, database)
                seconds, rows = bare_read(database)
                reads.append(seconds)
                took, used = await start_time(made)
                times.append(took)
                processor.append(used)
            found.append(
                {
                    "benchmark": name,
                    "value": statistics.median(times),
                    "unit": "s",
                    "reference": "reading the same rows from the SQLite file",
                    "reference_value": statistics.median(reads),
                    "ratio": statistics.median(times) / statistics.median(reads),
                    "empty_value": statistics.median(wall for wall, _ in empty),
                    "cpu_s": statistics.median(processor),
                    "empty_cpu_s": statistics.median(used for _, used in empty),
                    "open_steps": WORKFLOWS * STEPS,
                    "rows": rows,
                    "database_mib": size / 2**20,
                }
            )
        return found
    finally:
        await made.submitter.close()
        await made.stop()
