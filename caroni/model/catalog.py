"""Commands, templates and job definitions: the tables that foreign writers may touch.

Each of their transactions is one statement that writes, and is tried again while the daemon writes.
"""

# Names in statements are those of our own classes and tables; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]

from caroni.errors import TransientError
from caroni.model.database import Database, OutcomeUnknown
from caroni.model.mapping import escape, unescape
from caroni.model.unit import CommandRow, JobDefinitionRow, TemplateRow

T = TypeVar("T")

#: seconds between tries; SQLite itself waits up to its busy timeout in each
_PAUSES = (0.05, 0.2, 0.5, 1.0, 2.0)

#: revision numbers that others may take before us
_MAX_RACES = 200

_COMMAND = "id, kind, args, state, result, created_at, done_at"
_TEMPLATE = "name, revision, digest, documents, plan, created_at"
_DEFINITION = "name, version, revision, digest, body, yaml, active, created_at"


async def _patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Try again while the database is busy, or another writer took the same revision number."""
    pauses = list(_PAUSES)
    for _ in range(_MAX_RACES):
        try:
            return await attempt()
        except OutcomeUnknown:
            raise
        except TransientError:
            if not pauses:
                raise
            await asyncio.sleep(pauses.pop(0))
        except asyncpg.UniqueViolationError:
            # whoever took it has committed, so there is progress
            continue
    return await attempt()


async def add_command(database: Database, kind: str, args: str, now: int) -> int:
    """See :meth:`~caroni.model.store.Store.add_command`."""
    sql = (
        "INSERT INTO command (kind, args, state, result, created_at, done_at) VALUES (?, ?, 'new', '', ?, 0)"
    )
    return await _patiently(lambda: database.insert(sql, kind, escape(args), now))


def _command(r: Sequence[Any]) -> CommandRow:
    return CommandRow(
        id=r[0],
        kind=r[1],
        args=unescape(r[2]),
        state=r[3],
        result=unescape(r[4]),
        created_at=r[5],
        done_at=r[6],
    )


async def new_commands(database: Database, limit: int) -> list[CommandRow]:
    """See :meth:`~caroni.model.store.Store.new_commands`."""
    sql = f"SELECT {_COMMAND} FROM command WHERE state = 'new' ORDER BY id LIMIT ?"
    return [_command(r) for r in await database.fetch(sql, limit)]


async def command(database: Database, id_: int) -> CommandRow | None:
    """See :meth:`~caroni.model.store.Store.command`."""
    rows = await database.fetch(f"SELECT {_COMMAND} FROM command WHERE id = ?", id_)
    return _command(rows[0]) if rows else None


async def add_template(
    database: Database, name: str, digest: str, documents: str, plan: str, now: int, expected: int | None
) -> int:
    """See :meth:`~caroni.model.store.Store.add_template`."""
    columns = {"digest": digest, "documents": documents, "plan": plan, "created_at": now}
    return await _add_revision(database, "template", name, columns, ("digest",), expected)


async def _add_revision(
    database: Database,
    table: str,
    name: str,
    columns: dict[str, Any],
    compared: Sequence[str],
    expected: int | None,
) -> int:
    """One statement: the next revision, unless the newest one is the same in the columns ``compared``.

    With ``expected`` only if that is the newest revision; gives 0 if it is not.
    """
    values = ", ".join(_typed(database, value) for value in columns.values())
    same = " AND ".join(f"newest.{column} = ?" for column in compared)
    sql = (
        f"INSERT INTO {table} (name, revision, {', '.join(columns)})"
        f" SELECT {_typed(database, name)}, COALESCE(MAX(t.revision), 0) + 1, {values} FROM {table} t"
        " WHERE t.name = ? HAVING NOT EXISTS (SELECT 1 FROM"
        f" (SELECT {', '.join(compared)} FROM {table} WHERE name = ? ORDER BY revision DESC LIMIT 1) newest"
        f" WHERE {same})"
    )
    safe = {key: escape(value) if isinstance(value, str) else value for key, value in columns.items()}
    name = escape(name)
    parameters = [name, *safe.values(), name, name, *(safe[column] for column in compared)]
    if expected is not None:
        sql += " AND COALESCE(MAX(t.revision), 0) = ?"
        parameters.append(expected)
    await _patiently(lambda: database.run(sql, *parameters))
    if expected is None:
        rows = await database.fetch(f"SELECT MAX(revision) FROM {table} WHERE name = ?", name)
        return int(rows[0][0])
    # ours is the one after the expected, or the expected one itself if that is the same and still the newest
    condition = " AND ".join(f"{column} = ?" for column in compared)
    rows = await database.fetch(
        f"SELECT revision FROM {table} t WHERE name = ? AND {condition} AND (revision = ? OR revision = ? AND"
        f" NOT EXISTS (SELECT 1 FROM {table} n WHERE n.name = t.name AND n.revision > t.revision))",
        name,
        *(safe[column] for column in compared),
        expected + 1,
        expected,
    )
    return int(rows[0][0]) if rows else 0


def _typed(database: Database, value: Any) -> str:
    """A parameter in a select list, where PostgreSQL cannot infer its type."""
    if database.dialect.sqlite:
        return "?"
    return "?::bool" if isinstance(value, bool) else "?::bigint" if isinstance(value, int) else "?::text"


def _template(r: Sequence[Any]) -> TemplateRow:
    return TemplateRow(
        name=unescape(r[0]),
        revision=r[1],
        digest=r[2],
        documents=unescape(r[3]),
        plan=unescape(r[4]),
        created_at=r[5],
    )


async def template(database: Database, name: str, revision: int | None) -> TemplateRow | None:
    """See :meth:`~caroni.model.store.Store.template`."""
    rows = await _revision(database, "template", _TEMPLATE, name, revision)
    return _template(rows[0]) if rows else None


async def _revision(
    database: Database, table: str, columns: str, name: str, revision: int | None
) -> Sequence[Sequence[Any]]:
    base = f"SELECT {columns} FROM {table} WHERE name = ?"
    if revision is None:
        return await database.fetch(f"{base} ORDER BY revision DESC LIMIT 1", escape(name))
    return await database.fetch(f"{base} AND revision = ?", escape(name), revision)


async def templates(database: Database) -> list[TemplateRow]:
    """See :meth:`~caroni.model.store.Store.templates`."""
    rows = await database.fetch(
        "SELECT name, revision, digest, '', '', created_at FROM template t WHERE revision ="
        " (SELECT MAX(revision) FROM template n WHERE n.name = t.name) ORDER BY name"
    )
    return [_template(r) for r in rows]


def _definition(r: Sequence[Any]) -> JobDefinitionRow:
    return JobDefinitionRow(
        name=unescape(r[0]),
        version=unescape(r[1]),
        revision=r[2],
        digest=r[3],
        body=unescape(r[4]),
        yaml=unescape(r[5]),
        active=bool(r[6]),
        created_at=r[7],
    )


async def template_revisions(database: Database, name: str) -> list[TemplateRow]:
    """See :meth:`~caroni.model.store.Store.template_revisions`."""
    rows = await database.fetch(
        "SELECT name, revision, digest, '', '', created_at FROM template WHERE name = ?"
        " ORDER BY revision DESC LIMIT 1000",
        escape(name),
    )
    return [_template(r) for r in rows]


async def template_uses(database: Database) -> dict[tuple[str, int], int]:
    """See :meth:`~caroni.model.store.Store.template_uses`."""
    rows = await database.fetch(
        "SELECT template, revision, COUNT(*) FROM workflow WHERE ended_at = 0 GROUP BY template, revision"
    )
    return {(unescape(r[0]), int(r[1])): int(r[2]) for r in rows}


async def add_job_definition(database: Database, row: JobDefinitionRow, expected: int | None) -> int:
    """See :meth:`~caroni.model.store.Store.add_job_definition`."""
    columns = {
        "version": row.version,
        "digest": row.digest,
        "body": row.body,
        "yaml": row.yaml,
        "active": row.active,
        "created_at": row.created_at,
    }
    # a changed comment is a change too, where there is a text
    compared = ("digest", "yaml") if row.yaml else ("digest",)
    return await _add_revision(database, "job_definition", row.name, columns, compared, expected)


async def job_definition(database: Database, name: str, revision: int | None) -> JobDefinitionRow | None:
    """See :meth:`~caroni.model.store.Store.job_definition`."""
    rows = await _revision(database, "job_definition", _DEFINITION, name, revision)
    return _definition(rows[0]) if rows else None


async def job_definitions(database: Database) -> list[JobDefinitionRow]:
    """See :meth:`~caroni.model.store.Store.job_definitions`."""
    rows = await database.fetch(
        f"SELECT {_DEFINITION} FROM job_definition t WHERE revision ="
        " (SELECT MAX(revision) FROM job_definition n WHERE n.name = t.name) ORDER BY name"
    )
    return [_definition(r) for r in rows]


async def job_definition_revisions(database: Database, name: str) -> list[JobDefinitionRow]:
    """See :meth:`~caroni.model.store.Store.job_definition_revisions`."""
    rows = await database.fetch(
        "SELECT name, version, revision, digest, '', '', active, created_at FROM job_definition"
        " WHERE name = ? ORDER BY revision DESC LIMIT 1000",
        escape(name),
    )
    return [_definition(r) for r in rows]


async def active_job_definitions(database: Database) -> list[JobDefinitionRow]:
    """See :meth:`~caroni.model.store.Store.active_job_definitions`."""
    rows = await database.fetch(f"SELECT {_DEFINITION} FROM job_definition t WHERE active ORDER BY name")
    return [_definition(r) for r in rows]


async def set_active(database: Database, name: str, revision: int, active: bool) -> None:
    """See :meth:`~caroni.model.store.Store.set_active`."""
    flag = "?" if database.dialect.sqlite else "?::bool"
    sql = f"UPDATE job_definition SET active = ({flag} AND revision = ?) WHERE name = ?"
    await _patiently(lambda: database.run(sql, active, revision, escape(name)))
