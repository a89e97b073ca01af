"""The short pass: some of each fault that is cheap, on real daemons, with the oracle of the long run."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import faults
from tests.chaos.arena import Arena
from tests.chaos.daemon import arm, trap
from tests.chaos.faults import Fault, sequence
from tests.chaos.journal import SIGKILLS, Journal
from tests.chaos.load import Load
from tests.chaos.oracle import judge
from tests.chaos.run import account, play, running
from tests.services.postgres import PostgresCluster
from tests.services.rabbitmq import RabbitNode

SEED = 5

SERVICES: list[Fault] = [
    faults.broker_kill,
    faults.queue_deleted,
    faults.postgresql_kill,
    faults.connections_closed,
    faults.broker_freeze,
]
DAEMONS: list[Fault] = [
    faults.daemon_kill,
    *[faults.daemon_trap] * 5,
    faults.daemon_restart,
    faults.launcher_kill,
    faults.daemon_stop,
]
NETWORK: list[Fault] = [faults.network_cut, faults.network_blackhole, faults.network_slow]


async def short(arena: Arena) -> None:
    async with asyncio.TaskGroup() as group:
        for name, kinds in (("services", SERVICES), ("daemons", DAEMONS), ("network", NETWORK)):
            dice = random.Random(f"{SEED} {name}")
            group.create_task(sequence(arena, dice, kinds, (0.5, 2.0)))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.mark.timeout(420)
async def test_nothing_is_lost_and_nothing_starts_twice(
    base: Path, rabbit_node: RabbitNode, postgres_cluster: PostgresCluster
) -> None:
    journal = Journal()
    arena = Arena(base, rabbit_node, journal, cluster=postgres_cluster)
    load = Load(arena, width=2)
    async with running(arena, load):
        verdict = await play(arena, load, lambda: short(arena))
        assert not verdict.breaks, f"seed {SEED}\n{account(arena, verdict, journal)}"
        assert verdict.workflows >= len(load.submitted) > 0
        assert verdict.jobs_started >= verdict.steps > 0
        assert journal.counts[SIGKILLS] >= 6
        await the_oracle_sees(arena, load)


async def the_oracle_sees(arena: Arena, load: Load) -> None:
    """What would be a broken promise is told as one."""
    marked = next(arena.marks.iterdir())
    with marked.open("a") as file:
        file.write("again\n")
    (arena.marks / ("ab" * 16)).write_text("0 0 1\n")
    last = load.submitted[-1]
    del load.submitted[:-1]
    load.submitted[0] = replace(last, text="another")
    load.submitted.insert(0, replace(last, uuid=bytes(16)))
    breaks = "\n".join((await judge(arena, load, ["something is left"])).breaks)
    for text in (
        "something is left",
        f"started twice: {marked.name}",
        f"started, and no manager knows it: {'ab' * 16}",
        f"has lost workflow: {'00' * 16}",
        f"outputs of {last.uuid.hex()}",
    ):
        assert text in breaks


def test_a_trap_strikes_once_and_a_point_that_is_none_is_refused() -> None:
    struck: list[int] = []
    spring = trap(2, lambda: struck.append(1))
    spring()
    assert not struck
    spring()
    spring()
    assert struck == [1]
    with pytest.raises(SystemExit, match="names no point"):
        arm("nowhere", 1)
