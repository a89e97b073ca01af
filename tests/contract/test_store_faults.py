"""A unit of work is all or nothing, whatever ends it; what is only busy or away is tried again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caroni.core.rows import Peer
from caroni.errors import TransientError
from caroni.model.database import OutcomeUnknown
from caroni.model.store import Store
from caroni.model.unit import OutboxRetry, QuarantineRow, RejectRow, Sealed, Unit
from tests.contract.store_writer import UNIT_ROWS
from tests.model.databases import *  # noqa: F403
from tests.model.databases import DIALECT, postgresql_only, sqlite_only
from tests.model.samples import AGENT, NOW, Ids, full_unit

Open = Callable[..., Any]
ROOT = Path(__file__).parents[2]
TABLES = ("inbox", "step", "request", "offer", "job", "job_output", "flow", "outbox", "ledger")


async def whole_units(store: Store) -> int:
    """The number of units in the database; fails if a part of one is there."""
    found = {}
    for table in TABLES:
        ((found[table],),) = await store.database.fetch(f"SELECT COUNT(*) FROM {table}")  # noqa: S608
    ((workflows,),) = await store.database.fetch("SELECT COUNT(*) FROM workflow")
    assert found == dict.fromkeys(TABLES, UNIT_ROWS * workflows)
    return int(workflows)


class Fault(Exception):
    """Raised where a test wants a unit to break."""


async def test_a_fault_before_any_statement_leaves_nothing(open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    kept = full_unit(ids, steps=UNIT_ROWS)
    await store.commit(kept)
    statements: list[str] = []
    fatal = 0

    def before(sql: str) -> None:
        statements.append(sql)
        if len(statements) > fatal:
            raise Fault(sql)

    breaking = await open_store(before_statement=before)
    unit = full_unit(ids, steps=UNIT_ROWS)
    unit.sealed = [Sealed(id=kept.outbox[0].id, sealed=b"s", stream_id=1, sequence=1)]
    unit.outbox_retry = [OutboxRetry(id=kept.outbox[1].id, tries=1, next_try=1)]
    unit.quarantine = [QuarantineRow(key=ids(), kind="message")]
    unit.rejects = [RejectRow(at=NOW, reason="E_SIG")]
    unit.deletes = {Peer: [AGENT]}
    broke = 0
    while True:
        statements.clear()
        try:
            await breaking.commit(unit)
        except Fault:
            assert await whole_units(store) == 1
            assert (await store.pending_outbox(1))[0][1].sealed is None
            ((extra,),) = await store.database.fetch(
                "SELECT (SELECT COUNT(*) FROM quarantine) + (SELECT COUNT(*) FROM reject)"
                " + (SELECT COUNT(*) FROM tombstone)"
            )
            assert extra == 0
            broke += 1
            fatal += 1
        else:
            break
    assert broke == len(statements) >= 18
    assert statements[-1] == "COMMIT"
    assert await whole_units(store) == 2


def writer(url: str, seed: int, fatal: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.contract.store_writer", url, str(seed), str(fatal)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("fatal", [0, 3, 8, 12])
async def test_a_writer_killed_inside_a_unit_leaves_whole_units(
    fatal: int, database_url: str, open_store: Open
) -> None:
    process = writer(database_url, 1, fatal)
    output, _ = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert output.splitlines()[-1] == "committed 2"
    store = await open_store()
    assert await whole_units(store) == 2
    await store.commit(full_unit(Ids(9), steps=UNIT_ROWS))
    assert await whole_units(store) == 3


@pytest.mark.parametrize("seed", range(3))
async def test_a_writer_killed_at_any_time_loses_nothing_it_said_was_committed(
    seed: int, database_url: str, open_store: Open
) -> None:
    process = writer(database_url, seed, -1)
    dice = random.Random(seed)

    def kill_after_some() -> int:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(dice.randrange(2, 15))]
        # the instant inside a later unit is left to chance
        deadline = time.perf_counter() + dice.random() * 0.004
        while time.perf_counter() < deadline:
            pass
        os.kill(process.pid, signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait(timeout=60)
        process.stdout.close()
        return int(lines[-1].removeprefix("committed "))

    said = await asyncio.to_thread(kill_after_some)
    store = await open_store()
    assert said <= await whole_units(store) <= said + 1


def foreign_writer(url: str, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.contract.foreign_writer", url, name, "40"], cwd=ROOT
    )


async def test_foreign_writers_and_daemon_write_at_once(database_url: str, open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    writers = [foreign_writer(database_url, f"w{n}") for n in range(3)]
    units = 0
    while any(w.poll() is None for w in writers):
        await store.commit(full_unit(ids, steps=UNIT_ROWS))
        units += 1
        await asyncio.sleep(0)
    assert [w.returncode for w in writers] == [0, 0, 0]
    assert await whole_units(store) == units
    commands = await store.new_commands(limit=1000)
    assert sorted((c.kind, c.args) for c in commands) == sorted(
        (f"w{n}", f"[{m}]") for n in range(3) for m in range(40)
    )
    newest = await store.template("shared")
    assert newest is not None
    assert newest.revision == 120


@sqlite_only
async def test_a_locked_file_is_transient_and_the_unit_can_be_committed_again(
    database_url: str, open_store: Open
) -> None:
    store = await open_store()
    await store.database.fetch("PRAGMA busy_timeout = 20")
    other = sqlite3.connect(database_url.removeprefix("sqlite://"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    unit = full_unit(Ids(), steps=UNIT_ROWS)
    with pytest.raises(TransientError, match="locked") as caught:
        await store.commit(unit)
    assert not isinstance(caught.value, OutcomeUnknown)
    assert await whole_units(store) == 0
    other.execute("ROLLBACK")
    other.close()
    await store.commit(unit)
    assert await whole_units(store) == 1


@sqlite_only
async def test_a_full_disk_is_transient_and_nothing_is_lost(open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    ((pages,),) = await store.database.fetch("PRAGMA page_count")
    await store.database.fetch(f"PRAGMA max_page_count = {pages + 4}")
    units = 0

    async def fill() -> None:
        nonlocal units
        while True:
            await store.commit(full_unit(ids, steps=UNIT_ROWS))
            units += 1

    with pytest.raises(TransientError, match="full"):
        await fill()
    assert await whole_units(store) == units
    await store.database.fetch("PRAGMA max_page_count = 100000")
    await store.commit(full_unit(ids, steps=UNIT_ROWS))
    assert await whole_units(store) == units + 1


@postgresql_only
async def test_a_server_that_was_killed_is_transient_and_comes_back(
    postgres_cluster: Any, open_store: Open
) -> None:
    store = await open_store()
    ids = Ids()
    await store.commit(full_unit(ids, steps=UNIT_ROWS))
    unit = full_unit(ids, steps=UNIT_ROWS)
    await asyncio.to_thread(postgres_cluster.kill9)
    with pytest.raises(TransientError):
        await store.commit(unit)
    with pytest.raises(TransientError):
        await store.seen([(AGENT, ids())])
    await asyncio.to_thread(postgres_cluster.start)
    await store.commit(unit)
    assert await whole_units(store) == 2


@postgresql_only
async def test_a_server_killed_at_the_commit_leaves_the_outcome_open(
    postgres_cluster: Any, open_store: Open
) -> None:
    armed = False

    def before(sql: str) -> None:
        if sql == "COMMIT" and armed:
            postgres_cluster.kill9()

    store = await open_store(before_statement=before)
    ids = Ids()
    await store.commit(full_unit(ids, steps=UNIT_ROWS))
    armed = True
    with pytest.raises(OutcomeUnknown):
        await store.commit(full_unit(ids, steps=UNIT_ROWS))
    armed = False
    await asyncio.to_thread(postgres_cluster.start)
    assert await whole_units(store) == 1


@postgresql_only
async def test_a_commit_that_the_server_still_works_on_is_waited_for(
    postgres_cluster: Any, database_url: str, open_store: Open
) -> None:
    database = database_url.rsplit("/", 1)[1]
    await asyncio.to_thread(
        postgres_cluster.sql,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END';"
        " CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON peer DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION slow()",
        database,
    )

    await open_store()  # which fixes the role

    def before(sql: str) -> None:
        if sql == "COMMIT":  # it leaves, and nobody hears what becomes of it
            asyncio.get_running_loop().call_soon(store.database._client._pool.terminate)

    store = await open_store(before_statement=before)
    with pytest.raises(OutcomeUnknown):
        await store.commit(Unit(rows={Peer: [Peer(uri=AGENT)]}))
    again = await open_store()
    found = (await again.load_live_manager()).rows
    ((later,),) = await again.database.fetch("SELECT COUNT(*) FROM peer")
    assert len(found) == later == 1


@postgresql_only
async def test_a_unit_that_nobody_will_end_is_ended_before_a_start(
    postgres_cluster: Any, database_url: str, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caroni.model.database.PATIENCE", 0.1)
    dead = await open_store()
    async with dead.database._client.acquire_connection() as connection:
        # as if the host of the last process had vanished in the middle of a unit of work
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("INSERT INTO setting (key, value) VALUES ('half', 'done')")
        store = await open_store()
        assert (await store.load_live_manager()).rows == []
        assert "half" not in await store.settings()
        with pytest.raises(Exception, match=r"terminat|closed"):
            await transaction.commit()
    await store.commit(full_unit(Ids(), steps=UNIT_ROWS))


@postgresql_only
async def test_a_cut_connection_is_replaced(postgres_cluster: Any, open_store: Open) -> None:
    store = await open_store()
    await store.commit(full_unit(Ids(1), steps=UNIT_ROWS))
    await asyncio.to_thread(
        postgres_cluster.sql,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'caroni'",
    )
    unit = full_unit(Ids(2), steps=UNIT_ROWS)
    try:
        await store.commit(unit)
    except TransientError:
        await store.commit(unit)
    assert await whole_units(store) == 2


def test_the_dialect_is_one_that_exists() -> None:
    assert DIALECT in ("sqlite", "postgresql")
