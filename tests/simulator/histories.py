"""``python -m tests.simulator.histories FIRST COUNT``: seeded histories of nodes with real databases.

Small worlds (one or two managers, two agents, at most 300 events), with the simulator's faults and deaths
inside the store; ``CARONI_TEST_DB`` names the database. Prints progress, the transcript of a history that
breaks, and the figures. The status is 1 if one broke. A single history (COUNT 1) is told whole.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import multiprocessing
import os
import queue
import shlex
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from caroni.core.agent.state import JobType
from caroni.core.messages import OnFailure, Reserve, WorkFlowCancel, WorkFlowCreate
from caroni.core.plan import HOUR, MINUTE, SECOND, Plan
from caroni.core.rows import Workflow
from caroni.model.schema import migrate
from tests.services.postgres import PostgresCluster
from tests.simulator.disk import PostgresRoom, Room, SqliteRoom
from tests.simulator.scenario import HEALED, check, random_plan
from tests.simulator.stored import Stored, StoredAgentNode, StoredManagerNode, StoredWorld
from tests.simulator.world import START, AgentNode, Node

#: events of a history, and how many of them the faults may last
EVENTS = 300
FAULTY_EVENTS = 120
#: databases that a history needs at most
NODES = 4
TYPES = ("t0", "t1")
#: transcripts shown, and lines of each
SHOWN = 3
TAIL = 200


def build(seed: int, room: Room) -> StoredWorld:
    """A small world: each of its events costs a few transactions."""
    world = StoredWorld(seed, room)
    dice = world.dice
    managers = [
        StoredManagerNode(
            world,
            f"caroni://s/manager/m{number}",
            {"p": _small_plan(world)},
            window=dice.choice([0, 0, 2 * SECOND]),
        )
        for number in range(dice.choice([1, 1, 2]))
    ]
    kinds = {
        name: JobType(
            name=name,
            version="1",
            revision=1,
            inputs={"a": "Any", "b": ["null", "string"]},
            required=frozenset("a"),
        )
        for name in TYPES
    }
    for number in range(2):
        StoredAgentNode(world, f"caroni://s/agent/a{number}", kinds)
    for node in world.nodes.values():
        node.start()
    for manager in managers:
        for number in range(dice.choice([1, 1, 2]) if len(managers) == 1 else 1):
            _submit_later(world, manager, number)
    for node in list(world.nodes.values()):
        _trouble_later(world, node)
    return world


def _small_plan(world: StoredWorld) -> Plan:
    plan = random_plan(world.dice, list(TYPES))
    # a step only takes what earlier ones give
    return replace(plan, steps=plan.steps[: world.dice.choice([1, 2, 3])])


def _submit_later(world: StoredWorld, node: StoredManagerNode, number: int) -> None:
    dice = world.dice
    create = WorkFlowCreate(
        template_name="p",
        inputs={"start": f'"{node.uri}-{number}"'},
        submit_uuid=dice.randbytes(16),
        on_failure=dice.choice([OnFailure.DRAIN, OnFailure.KILL]),
        reserve=dice.choice([Reserve.READY, Reserve.READY, Reserve.ALL]),
    )

    def submit() -> None:
        if node.up:
            node.happen(create)
        else:  # the submitter asks again until he hears
            world.at(world.now + MINUTE, submit)

    def cancel() -> None:
        for workflow in node.of(Workflow):
            if workflow.submit_uuid == create.submit_uuid and node.up and not workflow.ended_at:
                node.happen(WorkFlowCancel(workflow_uuid=workflow.workflow_uuid))

    when = START + int(dice.random() * 2 * MINUTE)
    for _ in range(dice.choice([1, 1, 2])):  # twice is one workflow
        world.at(when, submit)
    if dice.random() < world.faults.cancel:
        world.at(when + int(dice.random() * HOUR), cancel)


def _trouble_later(world: StoredWorld, node: Node) -> None:
    dice = world.dice

    def trouble() -> None:
        if dice.random() < world.faults.long_absence:
            node.stop(int(dice.choice([10, 600, 4 * 3600]) * (0.5 + dice.random()) * SECOND))
        elif isinstance(node, AgentNode) and dice.random() < world.faults.reboot:
            node.reboot(int(60 * dice.random() * SECOND))

    for _ in range(3):
        world.at(START + int(dice.random() * HOUR), trouble)


def play(seed: int, room: Room, prepare: Callable[[StoredWorld], None] = lambda world: None) -> StoredWorld:
    """Run one seed to its end and compare everything; ``world.violations`` is the verdict.

    ``prepare`` may change the world before it begins.
    """
    world = build(seed, room)
    prepare(world)
    nodes = [node for node in world.nodes.values() if isinstance(node, Stored)]
    try:
        world.run(START + 6 * HOUR, FAULTY_EVENTS)
        world.faults.heal()
        world.store_faults = 0.0
        calm = world.run(START + HEALED, EVENTS)
        for node in nodes:
            node.finish()
        world.figures["histories at rest" if calm else "histories cut short"] += 1
        if calm:
            check(world)
    except Exception as error:
        world.violate(f"I11 {error!r}")
    finally:
        for node in nodes:
            node.disk.close()
    return world


# --- many of them --------------------------------------------------------------------------------


@dataclass
class History:
    """What is kept of a world, small enough to cross to the parent."""

    seed: int
    events: int
    violations: list[str]
    transcript: list[str]
    figures: Counter[str]


def _work(
    urls: list[str],
    template: str,
    inbox: multiprocessing.Queue[int | None],
    outbox: multiprocessing.Queue[History],
) -> None:
    """A worker: one history after the other until there is none."""
    with asyncio.Runner() as runner:
        while (seed := inbox.get()) is not None:
            with tempfile.TemporaryDirectory(prefix="caroni-history-") as directory:
                room: Room
                if urls:
                    room = PostgresRoom(runner, urls)
                else:
                    room = SqliteRoom(runner, Path(directory), Path(template))
                outbox.put(_history(seed, room))


def _history(seed: int, room: Room) -> History:
    try:
        world = play(seed, room)
    except Exception:  # the others go on
        return History(seed, 0, ["it could not begin"], traceback.format_exc().splitlines(), Counter())
    return History(seed, world.steps, world.violations, world.trace.lines, world.figures)


def run(seeds: range, database: str) -> tuple[Counter[str], list[int], float]:
    """Play on all cores; gives the figures, the seeds that broke, and the seconds."""
    workers = min(multiprocessing.cpu_count(), len(seeds))
    context = multiprocessing.get_context("spawn")
    cluster = PostgresCluster() if database == "postgresql" else None
    with tempfile.TemporaryDirectory(prefix="caroni-histories-") as directory:
        try:
            template = f"{directory}/empty.db"
            urls: list[list[str]] = [[] for _ in range(workers)]
            if cluster is None:
                asyncio.run(migrate(f"sqlite://{template}"))
            else:
                cluster.start()
                name = cluster.create_database()
                asyncio.run(migrate(cluster.url(name)))
                urls = [
                    [cluster.url(cluster.create_database(template=name)) for _ in range(NODES)]
                    for _ in range(workers)
                ]
            todo, done = context.Queue(), context.Queue()
            for seed in [*seeds, *[None] * workers]:
                todo.put(seed)
            began = time.monotonic()
            processes = [context.Process(target=_work, args=(mine, template, todo, done)) for mine in urls]
            for process in processes:
                process.start()
            figures, broken = _collect(done, seeds, processes)
            for process in processes:
                process.join()
            return figures, broken, time.monotonic() - began
        finally:
            if cluster is not None:
                cluster.close()


def _next(
    done: multiprocessing.Queue[History], processes: Sequence[multiprocessing.process.BaseProcess]
) -> History:
    """The next history that has ended; a worker that was killed ends the run."""
    while True:
        try:
            return done.get(timeout=5)
        except queue.Empty:
            if any(process.exitcode for process in processes):
                raise SystemExit("a worker has ended: see above") from None


def _collect(
    done: multiprocessing.Queue[History],
    seeds: range,
    processes: Sequence[multiprocessing.process.BaseProcess],
) -> tuple[Counter[str], list[int]]:
    figures: Counter[str] = Counter()
    broken: list[int] = []
    told = time.monotonic()
    for number in range(1, len(seeds) + 1):
        history = _next(done, processes)
        figures.update(history.figures)
        figures["events"] += history.events
        if history.violations:
            broken.append(history.seed)
        if len(seeds) == 1 or (history.violations and len(broken) <= SHOWN):
            lines = history.transcript if len(seeds) == 1 else history.transcript[-TAIL:]
            print("\n".join(lines))
            print(f"seed {history.seed}: " + ("; ".join(history.violations) or "unbroken"), flush=True)
        if time.monotonic() - told > 5:
            told = time.monotonic()
            print(f"{number} of {len(seeds)} histories, {len(broken)} broken", flush=True)
    return figures, sorted(broken)


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator.histories", description=__doc__)
    parser.add_argument("first", type=int, help="the first seed")
    parser.add_argument("count", type=int, help="how many histories")
    parser.add_argument("--result", default="", help="append the figures to this file, as a line of JSON")
    arguments = parser.parse_args()
    database = os.environ.get("CARONI_TEST_DB", "sqlite")
    seeds = range(arguments.first, arguments.first + arguments.count)
    figures, broken, took = run(seeds, database)
    command = f"CARONI_TEST_DB={database} python -m tests.simulator.histories {shlex.join(sys.argv[1:])}"
    deaths = sum(count for name, count in figures.items() if name.startswith("deaths"))
    print(", ".join(f"{name} {count:,}" for name, count in sorted(figures.items())))
    print(
        f"{len(seeds):,} histories from seed {arguments.first} on {database} in {took:.1f} s: "
        f"{figures['events']:,} events, {figures['statements']:,} statements, "
        f"{deaths:,} deaths in the store, {figures['restarts']:,} restarts, {len(broken)} broken"
    )
    if arguments.result:
        line = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "commit": _commit(),
            "command": command,
            "database": database,
            "seeds": [seeds.start, seeds.stop],
            "seconds": round(took, 1),
            "statements": figures["statements"],
            "crashes": deaths,
            "figures": dict(sorted(figures.items())),
            "broken": broken,
        }
        with Path(arguments.result).open("a") as file:
            file.write(json.dumps(line) + "\n")
    if broken:
        again = " ".join(str(seed) for seed in broken[:20]) + (" ..." if len(broken) > 20 else "")
        print(f"broken: {again}; read one: make histories SEEDS=1 SEED={broken[0]} DB={database}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
