"""The two SQL dialects: what differs between SQLite and PostgreSQL, and nothing else.

Statements are written with ``?`` for parameters. Names come from our own classes, never from messages.
"""

# Names in statements are those of our own classes and tables; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec

DialectName = Literal["sqlite", "postgresql"]
#: One statement and the parameter rows it is run with.
Statement = tuple[str, Sequence[tuple[Any, ...]]]

_PLACEHOLDER = re.compile(r"\?")


def quote(name: str) -> str:
    """An identifier in quotes (``index`` and ``table`` are words of SQL)."""
    return f'"{name}"'


def names(columns: Iterable[str]) -> str:
    """A list of columns."""
    return ", ".join(map(quote, columns))


@lru_cache(maxsize=1024)
def _numbered(sql: str) -> str:
    count = iter(range(1, 1000))
    return _PLACEHOLDER.sub(lambda _: f"${next(count)}", sql)


class Dialect:
    """How one database wants to be spoken to."""

    def __init__(self, name: DialectName) -> None:
        self.name = name
        self.sqlite = name == "sqlite"

    def sql(self, text: str) -> str:
        """The statement with this dialect's placeholders."""
        return text if self.sqlite else _numbered(text)

    def any_of(self, column: str) -> str:
        """``column`` is one of the texts given by the one parameter that :meth:`texts` makes."""
        if self.sqlite:
            return f"{column} IN (SELECT value FROM json_each(?))"
        return f"{column} = ANY(?::text[])"

    def texts(self, values: Iterable[str]) -> Any:
        """The parameter for :meth:`any_of`."""
        return msgspec.json.encode(list(values)).decode() if self.sqlite else list(values)

    def any_key(self, columns: Sequence[str], kinds: Sequence[type]) -> str:
        """The columns together are one of the keys given by the parameters that :meth:`keys` makes."""
        if self.sqlite:
            parts = ", ".join(f"json_extract(value, '$[{i}]')" for i in range(len(columns)))
            return f"({names(columns)}) IN (SELECT {parts} FROM json_each(?))"
        arrays = ", ".join("?::bigint[]" if kind is int else "?::text[]" for kind in kinds)
        return f"({names(columns)}) IN (SELECT * FROM unnest({arrays}))"

    def keys(self, keys: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
        """The parameters for :meth:`any_key`; ``keys`` must not be empty."""
        if self.sqlite:
            return (msgspec.json.encode(keys).decode(),)
        return tuple(list(column) for column in zip(*keys, strict=True))

    def insert(self, table: str, columns: Sequence[str]) -> str:
        """A plain insert: a conflict is an error."""
        marks = ", ".join("?" * len(columns))
        return self.sql(f"INSERT INTO {quote(table)} ({names(columns)}) VALUES ({marks})")

    def upsert(self, table: str, columns: Sequence[str], key: Sequence[str]) -> str:
        """Insert, or replace every other column of the row with this key."""
        changed = ", ".join(f"{quote(c)} = excluded.{quote(c)}" for c in columns if c not in key)
        return f"{self.insert(table, columns)} ON CONFLICT ({names(key)}) DO UPDATE SET {changed}"

    def insert_once(self, table: str, columns: Sequence[str], key: Sequence[str]) -> str:
        """Insert unless the key is there."""
        return f"{self.insert(table, columns)} ON CONFLICT ({names(key)}) DO NOTHING"


SQLITE = Dialect("sqlite")
POSTGRESQL = Dialect("postgresql")
