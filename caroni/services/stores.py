"""Opening a daemon's database from outside, by its configuration."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from caroni.config import Loaded, database_url
from caroni.errors import UsageError

if TYPE_CHECKING:
    from caroni.model.store import Store


def now() -> int:
    """Wall time in microseconds since the epoch."""
    return time.time_ns() // 1000


def require_role(loaded: Loaded, role: str, what: str) -> None:
    """Refuse a command on another role's configuration.

    Raises:
        UsageError: says whose configuration it is and what is needed.
    """
    if loaded.config.role != role:
        raise UsageError(
            f"{what} are a matter of the {role}, but {loaded.path} is the configuration of"
            f" {with_article(loaded.config.role)}: give --config of the {role}"
        )


def with_article(role: str) -> str:
    """``a manager``, ``an agent``."""
    return f"an {role}" if role.startswith(("a", "o")) else f"a {role}"


@asynccontextmanager
async def opened(loaded: Loaded, role: str, what: str, *, read_only: bool) -> AsyncIterator[Store]:
    """A daemon's store, for queries and for additions to its catalogue.

    Raises:
        UsageError: the configuration is of another role.
        ConfigError: the database is missing or not up to date.
        TransientError: it cannot be reached now.
    """
    require_role(loaded, role, what)
    from caroni.model.store import Store  # Tortoise is slow to import, and most commands need none

    store = await Store.open(
        database_url(loaded), "manager" if role == "manager" else "agent", read_only=read_only
    )
    try:
        yield store
    finally:
        await store.close()
