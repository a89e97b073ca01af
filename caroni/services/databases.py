"""A daemon's database as a whole: bring it up to date, look whether it is sound."""

from __future__ import annotations

import msgspec

from caroni.config import Loaded, database_url
from caroni.errors import ConfigError, UsageError
from caroni.services.stores import opened


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
