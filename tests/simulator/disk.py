"""Where a simulated node's database lives, and what a death at any instant leaves of it.

On SQLite a death is an image of the files at that instant: what a killed process leaves in the page
cache. A power cut during a commit also tears the end off the write-ahead log. On PostgreSQL a death cuts
the connections: the server rolls back what was open, and finishes a commit that was on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import asyncpg  # type: ignore[import-untyped]

from caroni.model.store import Role, Store

T = TypeVar("T")

#: pages of memory: more of a transaction goes to the log before its commit, so an image may hold a part
CACHE_PAGES = 8
_FILES = ("", "-wal", "-shm")


class Disk:
    """One node's database through all lives of its process."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        """The open store."""
        assert self._store is not None
        return self._store

    @property
    def is_open(self) -> bool:
        """Whether a process has opened it and has not ended in order."""
        return self._store is not None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for the store, as nothing else goes on meanwhile."""
        return self._runner.run(work)

    def open(self, role: Role, before: Callable[[str], None]) -> None:
        """A new process opens what the last one left."""
        self.close()
        self._store = self.run(self._open(role, before))

    def close(self) -> None:
        """The process ends in order (or is dead already)."""
        if self._store is not None:
            self.run(self._store.close())
            self._store = None

    async def _open(self, role: Role, before: Callable[[str], None]) -> Store:
        raise NotImplementedError

    def erase(self) -> None:
        """Another database is put in its place: an empty one, with the schema."""
        raise NotImplementedError

    def kill(self) -> None:
        """The process is dead from this instant on; whatever its store still does has no effect."""
        raise NotImplementedError

    def cut(self, dice: random.Random) -> None:
        """The next thing that happens is a commit, and the process dies during it."""
        raise NotImplementedError

    def after_cut(self, dice: random.Random) -> None:
        """The commit that :meth:`cut` announced has returned, one way or the other."""
        raise NotImplementedError

    def busy(self) -> Exception:
        """What the driver raises while somebody else holds the database."""
        raise NotImplementedError


class SqliteDisk(Disk):
    """A file, which a death moves to another place."""

    def __init__(self, runner: asyncio.Runner, directory: Path, template: Path) -> None:
        super().__init__(runner)
        self._directory = directory
        self._lives = 0
        self._path = directory / "0.db"
        self._old: list[Path] = []
        self._log = 0
        self._template = template
        shutil.copy(template, self._path)

    def erase(self) -> None:
        self.close()
        self._lives += 1
        self._old.append(self._path)
        self._path = self._directory / f"{self._lives}.db"
        shutil.copy(self._template, self._path)

    def close(self) -> None:
        super().close()
        for path in self._old:
            for suffix in _FILES:
                Path(f"{path}{suffix}").unlink(missing_ok=True)
        self._old.clear()

    async def _open(self, role: Role, before: Callable[[str], None]) -> Store:
        store = await Store.open(f"sqlite://{self._path}", role, before_statement=before)
        await store.database.fetch(f"PRAGMA cache_size = {CACHE_PAGES}")
        # what was written is in the files of a killed process whether it was flushed or not
        await store.database.fetch("PRAGMA synchronous = OFF")
        return store

    def kill(self) -> None:
        self._lives += 1
        image = self._directory / f"{self._lives}.db"
        for suffix in _FILES:
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(f"{self._path}{suffix}", f"{image}{suffix}")
        self._old.append(self._path)
        self._path = image

    def _log_size(self) -> int:
        log = Path(f"{self._path}-wal")
        return log.stat().st_size if log.exists() else 0

    def cut(self, dice: random.Random) -> None:
        self._log = self._log_size()

    def after_cut(self, dice: random.Random) -> None:
        self.kill()
        size = self._log_size()
        # a log that began again from its start has not grown: then the commit is whole
        if size > self._log and dice.random() < 0.7:
            with Path(f"{self._path}-wal").open("r+b") as log:
                log.truncate(dice.randrange(self._log, size))

    def busy(self) -> Exception:
        return sqlite3.OperationalError("database is locked")


class PostgresDisk(Disk):
    """A database of a server, which loses sight of its client."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        super().__init__(runner)
        self._url = url
        self.erase()

    def erase(self) -> None:
        self.close()
        self.run(self._empty())

    async def _empty(self) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            await _alone(connection)
            records = await connection.fetch(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> $1",
                "tortoise_migrations",
            )
            tables = ", ".join(f'"{record[0]}"' for record in records)
            await connection.execute(f"TRUNCATE {tables} RESTART IDENTITY")
        finally:
            await connection.close()

    async def _open(self, role: Role, before: Callable[[str], None]) -> Store:
        return await Store.open(self._url, role, before_statement=before)

    def kill(self) -> None:
        self.store.database._client._pool.terminate()

    def cut(self, dice: random.Random) -> None:
        # the statement is on its way when the loop turns; its answer finds nobody
        asyncio.get_running_loop().call_soon(self.kill)

    def after_cut(self, dice: random.Random) -> None:
        self.kill()

    def busy(self) -> Exception:
        return asyncpg.LockNotAvailableError("lock not available")  # type: ignore[no-any-return]


async def _alone(connection: Any) -> None:
    """Wait until the server has let go of every other client of this database."""
    others = (
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(30):
        while await connection.fetchval(others):  # noqa: ASYNC110 (the server does not say when)
            await asyncio.sleep(0.002)


class Room(Protocol):
    """Gives each node of a history an empty database."""

    runner: asyncio.Runner

    def disk(self, place: int) -> Disk:
        """The disk of the node at this place."""
        ...


class SqliteRoom:
    """Files below a directory, copies of one with the schema and nothing in it."""

    def __init__(self, runner: asyncio.Runner, directory: Path, template: Path) -> None:
        self.runner = runner
        self._directory = directory
        self._template = template
        self._made = 0

    def disk(self, place: int) -> Disk:
        self._made += 1
        directory = self._directory / str(self._made)
        directory.mkdir()
        return SqliteDisk(self.runner, directory, self._template)


class PostgresRoom:
    """The same databases for one history after the other, emptied between them."""

    def __init__(self, runner: asyncio.Runner, urls: Sequence[str]) -> None:
        self.runner = runner
        self._urls = urls

    def disk(self, place: int) -> Disk:
        return PostgresDisk(self.runner, self._urls[place])
