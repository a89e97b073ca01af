"""A daemon's database as a whole: bring it up to date, look whether it is sound."""

from __future__ import annotations

from pathlib import Path

import msgspec

from caroni.config import Loaded, database_url
from caroni.errors import ConfigError, UsageError
from caroni.services.locks import locked
from caroni.services.stores import now, opened


class Migrated(msgspec.Struct, frozen=True, kw_only=True):
    """Names of the migrations that were applied; none if the database was up to date."""

    database: str
    applied: list[str]


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A database that can be used."""

    database: str
    role: str
    dialect: str


async def migrate(loaded: Loaded) -> Migrated:
    """Create the database or bring it up to date, while its daemon is stopped.

    Raises:
        ConfigError: the daemon runs, the place is unsuitable, or the database is newer than Caroni.
        TransientError: it is away or locked.
    """
    _has_database(loaded)
    from caroni.model.places import without_password
    from caroni.model.schema import migrate as run

    url = database_url(loaded)
    applied = await run(url, loaded.lock_file)
    return Migrated(database=without_password(url), applied=list(applied))


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """A copy that was made."""

    database: str
    file: str
    size: int


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What the next start will do. ``hold`` is microseconds, 0 for an agent."""

    database: str
    role: str
    live_workflows: int
    live_jobs: int
    hold: int


async def backup(loaded: Loaded, target: Path) -> Copied:
    """Copy the database into a new file, while its daemon runs or not.

    Raises:
        ConfigError: the file exists or cannot be written, or a program is missing.
        TransientError: the database is away or busy.
    """
    _has_database(loaded)
    from caroni.model.backup import backup as copy
    from caroni.model.places import without_password

    url = database_url(loaded)
    size = await copy(url, target)
    return Copied(database=without_password(url), file=str(target), size=size)


async def restored(loaded: Loaded) -> Restored:
    """Record that this database was put back from a copy: the next start acts on it.

    Raises:
        ConfigError: the daemon runs, or the database cannot be used.
        TransientError: it is away or locked.
    """
    _has_database(loaded)
    from caroni.model.unit import Unit

    role = loaded.config.role
    with locked(loaded):
        async with opened(loaded, role, "databases", read_only=False) as store:
            await store.commit(Unit(now=now(), settings={"put_back": "1"}))
            live = "state NOT IN ('completed', 'failed', 'cancelled')"
            jobs = "job WHERE state IN ('pending', 'queued', 'running', 'paused')"
            if role == "agent":
                jobs = "agent_job WHERE NOT released AND offer_uuid <> ''"
            ((workflows,),) = await store.database.fetch(f"SELECT COUNT(*) FROM workflow WHERE {live}")  # noqa: S608
            ((count,),) = await store.database.fetch(f"SELECT COUNT(*) FROM {jobs}")  # noqa: S608
            return Restored(
                database=store.database.place.label,
                role=role,
                live_workflows=int(workflows),
                live_jobs=int(count),
                hold=loaded.config.manager.restore_hold if role == "manager" else 0,
            )


async def check(loaded: Loaded) -> Checked:
    """Look whether the database is there, of this version and role, and undamaged.

    Raises:
        ConfigError: it is not; names the remedy.
        TransientError: it is away or locked.
    """
    _has_database(loaded)
    async with opened(loaded, loaded.config.role, "databases", read_only=True) as store:
        database = store.database
        if database.dialect.sqlite:
            rows = await database.fetch("PRAGMA quick_check(5)")
            if [row[0] for row in rows] != ["ok"]:
                raise ConfigError(f"{database.place.label} is damaged ({rows[0][0]}): restore a copy")
        return Checked(
            database=database.place.label,
            role=store.role,
            dialect=database.dialect.name,
        )


def _has_database(loaded: Loaded) -> None:
    if loaded.config.role == "submitter":
        raise UsageError(f"{loaded.path} is the configuration of a submitter, which has no database")
