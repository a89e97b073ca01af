"""Schema versions: bringing a database up to date, and refusing one that is not."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import filelock
from tortoise.migrations.executor import MigrationExecutor, MigrationTarget

from caroni.errors import ConfigError, TransientError
from caroni.model.database import Database, shielded
from caroni.model.places import APP, MIGRATIONS, find_place

#: For Tortoise's own command line, which writes new migrations:
#: ``tortoise -c caroni.model.schema.TORTOISE_ORM makemigrations``
TORTOISE_ORM: dict[str, Any] = find_place("sqlite://:memory:").tortoise()


def known_migrations() -> tuple[str, ...]:
    """The migrations that this version has, oldest first."""
    package = import_module(MIGRATIONS)
    return tuple(sorted(name for _, name, _ in pkgutil.iter_modules(package.__path__) if name[0] != "_"))


async def applied_migrations(database: Database) -> tuple[str, ...]:
    """The migrations that a database has had, oldest first; none for an empty database."""
    if database.dialect.sqlite:
        exists = "SELECT 1 FROM sqlite_master WHERE name = 'tortoise_migrations'"
    else:
        exists = "SELECT 1 WHERE to_regclass('tortoise_migrations') IS NOT NULL"
    if not await database.fetch(exists):
        return ()
    rows = await database.fetch("SELECT name FROM tortoise_migrations WHERE app = ? ORDER BY name", APP)
    return tuple(str(row[0]) for row in rows)


async def check_schema(database: Database) -> None:
    """Refuse a database whose schema is not this version's.

    Raises:
        ConfigError: naming ``caroni db migrate``, or saying that the database is newer than Caroni.
    """
    known, applied = known_migrations(), await applied_migrations(database)
    if newer := [name for name in applied if name not in known]:
        raise ConfigError(
            f"database {database.place.label} was made by a newer Caroni ({newer[-1]}): upgrade Caroni"
        )
    if missing := [name for name in known if name not in applied]:
        state = "is out of date" if applied else "has no schema yet"
        raise ConfigError(
            f"database {database.place.label} {state} ({len(missing)} to apply): run caroni db migrate"
        )


async def migrate(url: str, lock: Path | None = None, target: str | None = None) -> Sequence[str]:
    """Create the database's schema or bring it up to date.

    Args:
        url: the database.
        lock: the lock file of the daemon that owns it, taken while the schema changes.
        target: stop after this migration instead of the newest (tests of upgrades).

    Returns:
        The names of the migrations that were applied.

    Raises:
        ConfigError: the daemon is running, or the database is newer than this version.
        TransientError: the database is away or locked.
    """
    if lock is None:
        return await shielded(_migrate(url, target))
    guard = filelock.FileLock(lock, timeout=0)
    try:
        guard.acquire()
    except filelock.Timeout as error:
        raise ConfigError(f"the daemon of {lock} is running: stop it, then migrate") from error
    try:
        return await shielded(_migrate(url, target))
    finally:
        guard.release()


async def _migrate(url: str, target: str | None) -> Sequence[str]:
    database = await Database.open(url, create=True)
    try:
        before = await applied_migrations(database)
        if newer := [name for name in before if name not in known_migrations()]:
            raise ConfigError(f"database {database.place.label} was made by a newer Caroni ({newer[-1]})")
        with database.context:
            executor = MigrationExecutor(
                database.context.connections.get("default"), database.place.tortoise()["apps"]
            )
            targets = [MigrationTarget(app_label=APP, name=target or "__latest__")]
            try:
                await executor.migrate(targets, direction="forward")
            except Exception as error:
                if "locked" in str(error):
                    raise TransientError(f"database {database.place.label} is in use: {error}") from error
                raise
        return [name for name in await applied_migrations(database) if name not in before]
    finally:
        await database.close()
