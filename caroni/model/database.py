"""One connection to one database: Tortoise owns it, units of work run on it whole.

Tortoise's transactions are not safe against cancellation, so everything here runs in a task of its own
that a cancelled caller waits for. SQLite has one connection, PostgreSQL a small pool; writes of a
process are serial in both, which makes ``rev`` rise in commit order.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]
from tortoise.context import TortoiseContext
from tortoise.exceptions import DBConnectionError

from caroni.errors import ConfigError, TransientError
from caroni.model.places import Place, create_private_file, find_place, refuse_network_file_system
from caroni.model.sql import Dialect, Statement

T = TypeVar("T")

_INT64 = 2**63 - 1
_UNREPRESENTABLE = (OverflowError, asyncpg.DataError)
_PG_AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # how asyncpg puts it that the server has ended the session a moment ago
    asyncpg.InternalClientError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.PostgresIOError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    DBConnectionError,
    TimeoutError,
)
_PG_BROKEN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_SQLITE_AWAY = ("locked", "busy", "full", "i/o", "unable to open", "readonly", "disk", "interrupted")

#: seconds that a unit of work of a process before us may still take; then its session is ended, and has
#: so long for that
PATIENCE = 5.0
_ENDING = 10.0
#: our sessions that have written something they have not committed, begun before an instant
_UNENDED = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user"
    " AND application_name = current_setting('application_name') AND pid <> pg_backend_pid()"
    " AND backend_xid IS NOT NULL AND xact_start <= ?"
)


class OutcomeUnknown(TransientError):
    """The connection went while a commit was on its way: what was written must be looked up."""


async def shielded(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` in a task of its own to its end, even if the caller is cancelled meanwhile."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                continue
        if not task.cancelled():
            task.exception()
        raise


def transient(error: BaseException, label: str, committing: bool) -> TransientError | None:
    """The error as the caller shall see it if it is of the place and not of the statement."""
    if isinstance(error, sqlite3.OperationalError):
        text = str(error).lower()
        if not any(word in text for word in _SQLITE_AWAY):
            return None
        # a failed flush leaves open whether the frames of this commit are on the disk
        unknown = committing and "i/o" in text
    elif isinstance(error, _PG_AWAY) and not isinstance(error, sqlite3.Error):
        unknown = committing
    else:
        return None
    reason = " ".join(str(error).split()) or type(error).__name__
    if unknown:
        return OutcomeUnknown(f"database {label}: outcome of a commit is unknown: {reason}")
    return TransientError(f"database {label} is not usable now: {reason}")


def _clamped(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [tuple(max(-_INT64 - 1, min(_INT64, v)) if type(v) is int else v for v in row) for row in rows]


class Database:
    """An open database.

    ``before_statement`` is called with each statement of a write and with ``COMMIT``: tests make it
    raise, or end the process, to prove that a unit of work is all or nothing.
    """

    def __init__(self, place: Place, before_statement: Callable[[str], None] | None = None) -> None:
        self.place = place
        self.dialect: Dialect = place.dialect
        self.context = TortoiseContext()
        self._before = before_statement
        self._writing = asyncio.Lock()
        self._client: Any = None

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        read_only: bool = False,
        create: bool = False,
        before_statement: Callable[[str], None] | None = None,
    ) -> Database:
        """Connect.

        Args:
            url: see :func:`~caroni.model.places.find_place`.
            read_only: refuse to write.
            create: make the SQLite file if it is not there.
            before_statement: see the class.

        Raises:
            ConfigError: the URL, the place, or a database file that is not there.
            TransientError: the server cannot be reached now.
        """
        place = find_place(url, read_only=read_only)
        if place.path is not None:
            refuse_network_file_system(place.path)
            if create:
                create_private_file(place.path)
            elif not place.path.exists():
                raise ConfigError(f"database {place.path} does not exist: run caroni db migrate")
        database = cls(place, before_statement)
        try:
            await shielded(database._connect())
        except BaseException:
            await database.close()
            raise
        return database

    async def _connect(self) -> None:
        with self.context:
            await self.context.init(config=self.place.tortoise())
            self._client = self.context.connections.get("default")
        await self._guard(self._check_connection())

    async def _check_connection(self) -> None:
        if not self.dialect.sqlite:
            await self._fetch("SELECT 1", ())
            return
        try:
            ((mode,),) = await self._fetch("PRAGMA journal_mode", ())
            ((synchronous,),) = await self._fetch("PRAGMA synchronous", ())
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise ConfigError(f"{self.place.path} is not a database: {error}") from error
        if self.place.path is not None and (mode, synchronous) != ("wal", 2):
            raise ConfigError(
                f"{self.place.path} does not take SQLite's write-ahead log (it has {mode}): use a local disk"
            )

    async def close(self) -> None:
        """Close every connection."""
        await shielded(self._close())

    async def _close(self) -> None:
        async with self._writing:
            if self._client is not None:
                await self._client.close()
                self._client = None
            self.context = TortoiseContext()

    async def _guard(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except Exception as error:
            if (away := transient(error, self.place.label, committing=False)) is not None:
                raise away from error
            raise

    async def fetch(self, sql: str, *parameters: Any) -> Sequence[Sequence[Any]]:
        """Rows of a query.

        Raises:
            TransientError: the database is away, locked or full.
        """
        return await shielded(self._guard(self._fetch(sql, parameters)))

    async def _fetch(self, sql: str, parameters: Sequence[Any]) -> Sequence[Sequence[Any]]:
        if self._client is None:
            raise TransientError(f"database {self.place.label} is closed")
        async with self._client.acquire_connection() as connection:
            if self.dialect.sqlite:
                return list(await connection.execute_fetchall(sql, parameters))
            return list(await connection.fetch(self.dialect.sql(sql), *parameters))

    async def quiet(self) -> None:
        """Wait until every unit of work that was begun before is durable or undone.

        A process that was killed, or that lost its connection during a commit, has left that commit to
        the server, which may finish it a while later: whoever reads before must not take what he finds
        for what is there. (A process's hold on a SQLite file ends with the process.)

        Raises:
            TransientError: the database is away, or a unit of work cannot be ended.
        """
        if not self.dialect.sqlite:
            await shielded(self._guard(self._quiet()))

    async def _quiet(self) -> None:
        async with self._writing:
            loop = asyncio.get_running_loop()
            began = loop.time()
            ((since,),) = await self._fetch("SELECT clock_timestamp()", ())
            while unended := await self._fetch(_UNENDED, (since,)):
                waited = loop.time() - began
                if waited > PATIENCE + _ENDING:
                    raise TransientError(f"database {self.place.label} is still busy with a unit of work")
                if waited > PATIENCE:  # its client's host has vanished: nobody else would end it
                    for (pid,) in unended:
                        await self._fetch("SELECT pg_terminate_backend(?)", (pid,))
                await asyncio.sleep(0.01)

    async def run(self, sql: str, *parameters: Any) -> int:
        """Run one writing statement as its own transaction and give the number of rows it touched."""
        return await shielded(self._guard(self._run(sql, parameters)))

    async def insert(self, sql: str, *parameters: Any) -> int:
        """Run one insert as its own transaction and give the row's surrogate ``id``."""
        return await shielded(self._guard(self._run(sql, parameters, new_id=True)))

    async def _run(self, sql: str, parameters: Sequence[Any], new_id: bool = False) -> int:
        async with self._writing:
            if self._client is None:
                raise TransientError(f"database {self.place.label} is closed")
            async with self._client.acquire_connection() as connection:
                if self.dialect.sqlite:
                    cursor = await connection.execute(sql, parameters)
                    return int(cursor.lastrowid if new_id else cursor.rowcount)
                if new_id:
                    return int(
                        await connection.fetchval(self.dialect.sql(f"{sql} RETURNING id"), *parameters)
                    )
                status = await connection.execute(self.dialect.sql(sql), *parameters)
                return int(status.rsplit(" ", 1)[-1])

    async def write(self, prepare: Callable[[], Sequence[Statement]]) -> None:
        """Run statements as one transaction.

        Args:
            prepare: gives the statements; called under the lock that makes writes serial. The first
                statement is a write, so that SQLite never has to turn a read lock into a write lock.

        Raises:
            OutcomeUnknown: the connection went during the commit.
            TransientError: nothing was written; the database is away, locked or full.
        """
        await shielded(self._write(prepare))

    async def _write(self, prepare: Callable[[], Sequence[Statement]]) -> None:
        async with self._writing:
            statements = prepare()
            if not statements:
                return
            if self._client is None:
                raise TransientError(f"database {self.place.label} is closed")
            run = self._run_sqlite if self.dialect.sqlite else self._run_postgresql
            try:
                await run(statements)
            except _UNREPRESENTABLE:
                # an integer beyond 64 bits: only a hostile peer sends one, and the nearest will do
                await run([(sql, _clamped(rows)) for sql, rows in statements])

    async def _run_sqlite(self, statements: Sequence[Statement]) -> None:
        before = self._before
        committing = False
        async with self._client.acquire_connection() as connection:
            try:
                await connection.execute("BEGIN IMMEDIATE")
                for sql, rows in statements:
                    if before is not None:
                        before(sql)
                    await connection.executemany(sql, rows)
                if before is not None:
                    before("COMMIT")
                committing = True
                await connection.commit()
            except BaseException as error:
                try:
                    await connection.rollback()
                except sqlite3.Error as again:
                    # the transaction ended with the error; a connection that cannot even say so is replaced
                    error.add_note(f"rollback: {again}")
                    await self._client.close()
                if (away := transient(error, self.place.label, committing)) is not None:
                    raise away from error
                raise

    async def _run_postgresql(self, statements: Sequence[Statement]) -> None:
        before = self._before
        committing = False
        try:
            async with self._client.acquire_connection() as connection:
                transaction = connection.transaction()
                try:
                    await transaction.start()
                    for sql, rows in statements:
                        if before is not None:
                            before(sql)
                        if len(rows) == 1:
                            await connection.execute(sql, *rows[0])
                        else:
                            await connection.executemany(sql, rows)
                    if before is not None:
                        before("COMMIT")
                except BaseException as error:
                    try:
                        await transaction.rollback()
                    except _PG_BROKEN as again:
                        error.add_note(f"rollback: {again}")
                        # a connection that is lost is no longer the pool's, which says so
                        with contextlib.suppress(asyncpg.InterfaceError):
                            connection.terminate()
                    raise
                committing = True
                await transaction.commit()
        except Exception as error:
            if (away := transient(error, self.place.label, committing)) is not None:
                raise away from error
            raise
