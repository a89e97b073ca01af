"""Seeded histories on the database that ``CARONI_TEST_DB`` names, and proof that a difference is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from caroni.core.rows import AgentJob, Job, Request, Row, Step
from caroni.model.live import Live
from caroni.model.store import Store
from caroni.model.unit import Unit
from tests.model.databases import *  # noqa: F403
from tests.model.databases import DIALECT, sqlite_only
from tests.simulator.compared import StoredWorld
from tests.simulator.disk import PostgresRoom, Room, SqliteRoom
from tests.simulator.histories import NODES, play
from tests.simulator.stored import Stored, StoredManagerNode

BATCH = 4
#: each database sees histories of its own, a server fewer: each start of a node connects to it anew
SEEDS = {"sqlite": range(36), "postgresql": range(36, 50)}[DIALECT]


@pytest.fixture(scope="module")
def databases(request: pytest.FixtureRequest, migrated: str) -> Iterator[list[str]]:
    """URLs of a server's empty databases, used by one history after the other; none on SQLite."""
    if DIALECT == "sqlite":
        yield []
        return
    cluster = request.getfixturevalue("postgres_cluster")
    names = [cluster.create_database(template=migrated) for _ in range(NODES)]
    yield [cluster.url(name) for name in names]
    for name in names:
        cluster.drop_database(name)


@pytest.fixture
def room(databases: list[str], migrated: str, tmp_path: Path) -> Iterator[Room]:
    """Where the nodes of a history have their databases."""
    with asyncio.Runner() as runner:
        yield PostgresRoom(runner, databases) if databases else SqliteRoom(runner, tmp_path, Path(migrated))


def story(world: StoredWorld) -> str:
    return "\n".join([*world.trace.lines[-60:], *world.violations])


@pytest.mark.parametrize("first", SEEDS[::BATCH])
def test_database_and_memory_stay_equal(first: int, room: Room) -> None:
    for seed in SEEDS[SEEDS.index(first) :][:BATCH]:
        world = play(seed, room)
        assert not world.violations, f"seed {seed} on {DIALECT}\n{story(world)}"


def drop_a_row(unit: Unit) -> None:
    unit.rows.pop(Step, None)


def change_a_row(unit: Unit) -> None:
    for row_type in (Job, AgentJob):
        if rows := unit.rows.get(row_type):
            unit.rows[row_type] = [replace(row, seq=row.seq + 1) for row in rows]  # type: ignore[attr-defined]


def forget_what_was_handled(unit: Unit) -> None:
    del unit.inbox[:1]


def lose_a_letter(unit: Unit) -> None:
    sealed = {one.id for one in unit.sealed}
    unit.outbox = [row for row in unit.outbox if row.id in sealed]


def keep_what_has_left(unit: Unit) -> None:
    unit.outbox_sent.clear()


def give_a_number_twice(unit: Unit) -> None:
    unit.sequences.clear()


@sqlite_only
@pytest.mark.parametrize(
    "tamper",
    [
        drop_a_row,
        change_a_row,
        forget_what_was_handled,
        lose_a_letter,
        keep_what_has_left,
        give_a_number_twice,
    ],
)
def test_a_unit_that_is_not_written_whole_is_noticed(tamper: Callable[[Unit], None], room: Room) -> None:
    def prepare(world: StoredWorld) -> None:
        for node in world.nodes.values():
            if isinstance(node, Stored):
                node.tamper = tamper

    assert any(play(seed, room, prepare).violations for seed in range(6))


@sqlite_only
@pytest.mark.parametrize("forgotten", [Request, Step, Job])
def test_a_start_that_forgets_is_noticed(
    forgotten: type[Row], room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: Callable[[Any, Store], Awaitable[Live]] = StoredManagerNode.load_live

    async def load_live(self: StoredManagerNode, store: Store) -> Live:
        live = await whole(self, store)
        return replace(live, rows=[row for row in live.rows if not isinstance(row, forgotten)])

    monkeypatch.setattr(StoredManagerNode, "load_live", load_live)
    told = (text for seed in range(6) for text in play(seed, room).violations)
    assert any(forgotten.__name__ in text for text in told)
