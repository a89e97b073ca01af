"""Reading the daemons' databases from outside, with plain SQL and no code of the product."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]

Rows = list[tuple[Any, ...]]


#: how the two libraries put it that a database is away
_AWAY = (sqlite3.Error, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Unreadable(Exception):
    """A database cannot be read just now: its server is away, its disk is full."""


class Books:
    """The databases by daemon: files, or URLs of PostgreSQL."""

    def __init__(self) -> None:
        self.places: dict[str, Path | str] = {}

    async def rows(self, name: str, query: str) -> Rows:
        """All rows of a query; raises :class:`Unreadable`."""
        place = self.places[name]
        try:
            if isinstance(place, Path):
                return await asyncio.to_thread(_from_file, place, query)
            connection = await asyncpg.connect(place, timeout=10)
            try:
                return [tuple(row) for row in await connection.fetch(query, timeout=30)]
            finally:
                await connection.close(timeout=10)
        except (*_AWAY, OSError, TimeoutError) as error:
            raise Unreadable(f"{name}: {error}") from error

    async def count(self, name: str, table: str, where: str = "") -> int:
        """Rows of a table."""
        ((number,),) = await self.rows(name, f"SELECT count(*) FROM {table} {where}")  # noqa: S608
        return int(number)


def _from_file(path: Path, query: str) -> Rows:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
