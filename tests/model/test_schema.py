"""Models, migrations and row classes say the same, and a filled older database comes along."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import filelock
import msgspec
import pytest
from tortoise import fields
from tortoise.context import TortoiseContext
from tortoise.migrations.autodetector import MigrationAutodetector
from tortoise.migrations.executor import MigrationExecutor
from tortoise.models import Model

from caroni.core.rows import AGENT_ROWS, MANAGER_ROWS, Row
from caroni.errors import ConfigError, TransientError
from caroni.model import tables
from caroni.model.database import Database
from caroni.model.mapping import table_name
from caroni.model.places import find_place
from caroni.model.schema import TORTOISE_ORM, known_migrations, migrate
from caroni.model.store import Store
from caroni.model.unit import Unit
from tests.model.databases import *  # noqa: F403
from tests.model.databases import DIALECT, sqlite_only
from tests.model.samples import Ids, full_unit

ALL_ROWS = tuple(dict.fromkeys((*MANAGER_ROWS, *AGENT_ROWS)))
MODELS: dict[str, type[Model]] = {
    model._meta.db_table: model for model in (getattr(tables, name) for name in tables.__all__)
}


async def test_models_and_migrations_agree() -> None:
    async with TortoiseContext() as context:
        await context.init(config=TORTOISE_ORM)
        assert context.apps is not None
        changes = await MigrationAutodetector(context.apps, TORTOISE_ORM["apps"]).changes()
    found = [(type(o).__name__, vars(o)) for writer in changes for o in writer.operations]
    assert found == [], "run: tortoise -c caroni.model.schema.TORTOISE_ORM makemigrations"


@pytest.mark.parametrize("row_type", ALL_ROWS, ids=lambda t: t.__name__)
def test_every_row_class_has_its_table(row_type: type[Row]) -> None:
    model = MODELS[table_name(row_type)]
    hints = get_type_hints(row_type)
    columns = {f.name for f in msgspec.structs.fields(row_type)}
    assert set(model._meta.fields_map) - {"id", "rev"} == columns
    key = {row_type.KEY} if len(row_type.KEY) == 1 and model._meta.pk_attr == row_type.KEY[0] else set()
    unique = {frozenset(u) for u in model._meta.unique_together} | {frozenset(k) for k in key}
    assert frozenset(row_type.KEY) in unique
    assert model._meta.fields_map["rev"].index
    for name in columns:
        field = model._meta.fields_map[name]
        hint = hints[name]
        assert field.null == (type(None) in get_args(hint))
        assert isinstance(field, fields.BooleanField) == (hint is bool)
        assert isinstance(field, fields.FloatField) == (hint is float)
        assert isinstance(field, fields.CharField) == (hint is bytes)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_table_comment_holds_nothing_that_ends_a_statement(model: type[Model]) -> None:
    comment = model._meta.table_description or ""
    assert not set(comment) & set(";'\"\\")
    assert "*/" not in comment


async def test_a_database_without_schema_is_refused_with_the_remedy(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if DIALECT == "sqlite":
        url = f"sqlite://{tmp_path}/new.db"
        with pytest.raises(ConfigError, match="does not exist: run caroni db migrate"):
            await Store.open(url, "manager")
        (tmp_path / "new.db").touch()
    else:
        cluster = request.getfixturevalue("postgres_cluster")
        url = cluster.url(request.getfixturevalue("postgres_database"))
    with pytest.raises(ConfigError, match=r"has no schema yet .*run caroni db migrate"):
        await Store.open(url, "manager")
    assert list(await migrate(url, tmp_path / "daemon.lock")) == list(known_migrations())
    assert list(await migrate(url, tmp_path / "daemon.lock")) == []
    store = await Store.open(url, "manager")
    await store.close()


async def test_a_newer_database_is_refused(database_url: str) -> None:
    database = await Database.open(database_url)
    await database.run(
        "INSERT INTO tortoise_migrations (app, name, applied_at)"
        " SELECT app, '9999_later', applied_at FROM tortoise_migrations LIMIT 1"
    )
    await database.close()
    with pytest.raises(ConfigError, match=r"newer Caroni .9999_later.: upgrade"):
        await Store.open(database_url, "manager")
    with pytest.raises(ConfigError, match="newer Caroni"):
        await migrate(database_url)


async def test_migrating_needs_the_daemon_stopped(database_url: str, tmp_path: Path) -> None:
    with (
        filelock.FileLock(tmp_path / "daemon.lock"),
        pytest.raises(ConfigError, match="is running: stop it"),
    ):
        await migrate(database_url, tmp_path / "daemon.lock")


ADDS_A_COLUMN = """
from tortoise import fields, migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("caroni", "{last}")]
    operations = [
        ops.AddField("StepTable", "note", fields.TextField(db_default="")),
        ops.AddField("StepTable", "weight", fields.BigIntField(db_default=7)),
    ]
"""


async def test_a_filled_database_takes_a_later_migration(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await Store.open(database_url, "manager")
    unit = full_unit(Ids(), steps=3)
    await store.commit(unit)
    await store.close()
    source = Path(__file__).parents[2] / "caroni" / "model" / "migrations"
    shutil.copytree(source, tmp_path / "later_migrations", ignore=shutil.ignore_patterns("__pycache__"))
    text = textwrap.dedent(ADDS_A_COLUMN).format(last=known_migrations()[-1])
    (tmp_path / "later_migrations" / "9000_note.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    place = find_place(database_url)
    config = place.tortoise()
    config["apps"]["caroni"]["migrations"] = "later_migrations"
    database = await Database.open(database_url)
    with database.context:
        connection = database.context.connections.get("default")
        await MigrationExecutor(connection, config["apps"]).migrate(direction="forward")
    rows = await database.fetch("SELECT note, weight FROM step")
    assert [tuple(r) for r in rows] == [("", 7)] * 3
    found = await database.fetch("SELECT COUNT(*) FROM job_output")
    assert found[0][0] == 3
    await database.close()


@pytest.mark.parametrize("older", known_migrations()[:-1])
async def test_every_released_schema_upgrades(
    older: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each table of the older schema is filled from its own columns, then brought up to date."""
    if DIALECT == "sqlite":
        url = f"sqlite://{tmp_path}/old.db"
    else:
        cluster = request.getfixturevalue("postgres_cluster")
        url = cluster.url(request.getfixturevalue("postgres_database"))
    await migrate(url, target=older)
    database = await Database.open(url)
    filled = [table for table in MODELS if await _fill(database, table)]
    await database.close()
    await migrate(url)
    store = await Store.open(url, "manager")
    for table in filled:
        ((count,),) = await store.database.fetch(f'SELECT COUNT(*) FROM "{table}"')  # noqa: S608
        assert count >= 1
    await store.commit(full_unit(Ids()))
    await store.close()


async def _fill(database: Database, table: str) -> bool:
    if database.dialect.sqlite:
        columns = [(r[1], r[2].upper()) for r in await database.fetch(f'PRAGMA table_info("{table}")')]
    else:
        query = "SELECT column_name, upper(data_type) FROM information_schema.columns WHERE table_name = ?"
        columns = [(r[0], r[1]) for r in await database.fetch(query, table)]
    columns = [(name, kind) for name, kind in columns if name != "id" or table == "outbox"]
    if not columns:
        return False
    values = ", ".join(_literal(kind, database.dialect.sqlite) for _, kind in columns)
    names = ", ".join(f'"{name}"' for name, _ in columns)
    await database.run(f'INSERT INTO "{table}" ({names}) VALUES ({values})')  # noqa: S608
    return True


def _literal(kind: str, sqlite: bool) -> str:
    if "BOOL" in kind:
        return "0" if sqlite else "false"
    if "INT" in kind or "DOUBLE" in kind or "REAL" in kind:
        return "1"
    if "BLOB" in kind or "BYTEA" in kind:
        return "x'00'" if sqlite else "'\\x00'::bytea"
    return "''"


async def test_a_table_can_be_filled_from_its_columns(database_url: str) -> None:
    database = await Database.open(database_url)
    assert [table for table in MODELS if not await _fill(database, table)] == []
    await database.close()


async def test_the_console_reads_through_the_models(open_store: Callable[..., Any]) -> None:
    store = await open_store()
    await store.commit(full_unit(Ids(), steps=3))
    with store.context:
        rows = await tables.StepTable.filter(rev__gt=0).order_by("rev").limit(2).values("name", "rev")
    assert [row["name"] for row in rows] == ["convert0", "convert1"]


@sqlite_only
async def test_sqlite_is_durable_and_private(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/private.db"
    await migrate(url)
    assert (tmp_path / "private.db").stat().st_mode & 0o777 == 0o600
    store = await Store.open(url, "agent")
    await store.commit(Unit(settings={"a": "b"}))
    found = {}
    for pragma in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys"):
        ((found[pragma],),) = await store.database.fetch(f"PRAGMA {pragma}")
    assert found == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 10_000, "foreign_keys": 1}
    assert (tmp_path / "private.db-wal").stat().st_mode & 0o777 == 0o600
    await store.close()


@sqlite_only
async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("this is not a database, but a text of more than a hundred bytes" * 4)
    with pytest.raises((ConfigError, TransientError), match="not a database"):
        await Store.open(f"sqlite://{tmp_path}/x.db", "manager")
    with pytest.raises(ConfigError, match="cannot be created"):
        await migrate(f"sqlite://{tmp_path}/none/x.db")


async def test_an_unreachable_server_is_transient() -> None:
    if DIALECT == "sqlite":
        pytest.skip("about PostgreSQL")
    with pytest.raises(TransientError, match=r"postgres://u:\*\*\*@127.0.0.1:1/x"):
        await Store.open("postgres://u:secret@127.0.0.1:1/x", "manager")


def test_two_stores_of_one_dialect_live_in_one_process(new_database: Callable[[], str]) -> None:
    async def both() -> None:
        manager, agent = await asyncio.gather(
            Store.open(new_database(), "manager"), Store.open(new_database(), "agent")
        )
        await asyncio.gather(*(s.commit(full_unit(Ids(n))) for n, s in enumerate((manager, agent))))
        for store in (manager, agent):
            assert len(await store.workflows()) == 1
            await store.close()

    asyncio.run(both())


def test_nothing_is_imported_that_a_command_line_does_not_need() -> None:
    code = "import sys, caroni.model.unit; print('tortoise' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=os.getcwd()
    )
    assert done.stdout.strip() == "False"
