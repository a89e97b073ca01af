"""``python -m tests.simulator.histories FIRST COUNT``: seeded histories of nodes with real databases.

Small worlds (one or two managers, two agents, at most 300 events), with the simulator's faults and with
deaths inside the store; ``CARONI_TEST_DB`` names the database. Prints progress, the transcript of a
history that breaks, and the figures. The status is 1 if one broke. A single history (COUNT 1) is told whole.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
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
from pathlib import Path
from typing import Any

from caroni.core.plan import DAY, HOUR, MINUTE, SECOND
from caroni.model.schema import migrate
from tests.services.postgres import PostgresCluster
from tests.simulator.compared import StoredWorld
from tests.simulator.disk import PostgresRoom, Room, SqliteRoom
from tests.simulator.faults import SHORT
from tests.simulator.people import ROUNDS, Person, random_create
from tests.simulator.plans import TYPES, job_types, random_plan
from tests.simulator.rest import check
from tests.simulator.stored import Stored, StoredAgentNode, StoredManagerNode
from tests.simulator.troubles import Troubles
from tests.simulator.world import START

#: at most 300 events, less than half of them among faults
TINY = dataclasses.replace(
    SHORT,
    name="tiny",
    faulty=40 * MINUTE,
    faulty_events=120,
    healed=20 * DAY,
    max_events=300,
    steps=2,
    workflows=1,
    delays=(1, 30, 300),
    jobs=(1, 60, 600),
    absences=(10, 300, 1800),
    pause=8 * MINUTE,
    poll_caps=(2 * HOUR,),
    abandon_after=DAY,
    input_timeout=3 * HOUR,
    presences=(0,),
)
#: databases that a history needs at most
NODES = 4
#: transcripts shown, and lines of each
SHOWN = 3
TAIL = 200


def build(seed: int, room: Room) -> tuple[StoredWorld, Troubles]:
    """One or two managers and two agents: each of their events costs a few transactions."""
    world = StoredWorld(seed, TINY, room)
    dice = world.dice
    managers = []
    for number in range(dice.choice([1, 1, 2])):
        plans = {"p": random_plan(dice, list(TYPES), TINY.steps)}
        uri = f"caroni://s/manager/m{number}"
        managers.append(StoredManagerNode(world, uri, plans, window=dice.choice([0, 0, 2 * SECOND])))
    kinds = {**job_types(dice, 0), **job_types(dice, 1)}
    for number in range(2):
        StoredAgentNode(world, f"caroni://s/agent/a{number}", kinds)
    for node in world.nodes.values():
        node.start()
    for manager in managers:
        _submit(world, manager)
    troubles = Troubles(world, START + TINY.faulty)
    troubles.begin()
    return world, troubles


def _submit(world: StoredWorld, node: StoredManagerNode) -> None:
    dice, name = world.dice, node.uri.rpartition("/")[2].replace("m", "u")
    person = Person(world, name, node.uri, random_create(world, node, 0))
    world.trace.names.learn(person.create.submit_uuid, f"of {name}")
    when = START + int(dice.random() * 2 * MINUTE)
    for _ in range(dice.choice([1, 1, 2])):  # twice is one workflow
        world.at(when, person.submit)
    if dice.random() < world.faults.cancel:
        world.at(when + int(dice.random() * HOUR), person.cancel)
    if dice.random() < world.faults.steering:
        world.at(when + int(dice.random() * HOUR), person.steer)


def play(seed: int, room: Room, prepare: Callable[[StoredWorld], None] = lambda world: None) -> StoredWorld:
    """Run one seed to its end and compare everything; ``world.violations`` is the verdict.

    ``prepare`` may change the world before it begins.
    """
    world, troubles = build(seed, room)
    prepare(world)
    nodes = [node for node in world.nodes.values() if isinstance(node, Stored)]
    try:
        world.run(START + TINY.faulty, TINY.faulty_events)
        troubles.end()
        world.store_faults = 0.0
        people: list[Any] = [*troubles.managers.values(), *troubles.agents.values(), *world.people.values()]
        for after in ROUNDS:
            for one in people:
                world.at(world.now + after, one.look_after)
        calm = world.run(START + TINY.faulty + TINY.healed, TINY.max_events)
        for node in nodes:
            node.finish()
        world.figures["histories at rest" if calm else "histories cut short"] += 1
        if calm:
            check(world)
    except Exception as error:
        world.violate(f"I11 {error!r}")
        world.trace.lines.extend(traceback.format_exc().splitlines())
    finally:
        for node in nodes:
            node.disk.close()
    return world


# --- many of them --------------------------------------------------------------------------------


@dataclasses.dataclass
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
            processes = [
                context.Process(target=_work, args=(mine, template, todo, done), daemon=True) for mine in urls
            ]
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
