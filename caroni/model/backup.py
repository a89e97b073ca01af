"""A consistent copy of a database while its daemon runs."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from caroni.errors import ConfigError, TransientError
from caroni.model.places import find_place

#: where Debian keeps the programs of PostgreSQL's versions
_PG_BINARIES = Path("/usr/lib/postgresql")
#: seconds that a copy may take
PATIENCE = 3600.0


async def backup(url: str, target: Path) -> int:
    """Copy the database into a new file (mode 0600) that is durable when this returns; gives its bytes.

    SQLite: a compacted database that can be put in the place of the original. PostgreSQL: an archive for
    ``pg_restore``, made by ``pg_dump``.

    Raises:
        ConfigError: the file exists or cannot be written, or there is no ``pg_dump``.
        TransientError: the database is away or busy.
    """
    place = find_place(url, read_only=True)
    if place.path is not None and not place.path.exists():
        raise ConfigError(f"database {place.path} does not exist: run caroni db migrate")
    program = "" if place.path is not None else _pg_dump()
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        raise ConfigError(f"{target} exists: give a new name, nothing is overwritten") from None
    except OSError as error:
        raise ConfigError(f"{target} cannot be made: {error.strerror}") from None
    try:
        if place.path is not None:
            await asyncio.to_thread(_sqlite, place.path, target)
        else:
            await _postgresql(program, place.connection["credentials"], place.label, target)
        return await asyncio.to_thread(_settle, target)
    except BaseException:
        _remove(target)
        raise


def _sqlite(source: Path, target: Path) -> None:
    try:
        connection = sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=30)
    except sqlite3.Error as error:
        raise TransientError(f"database {source} cannot be opened: {error}") from error
    try:
        # one read transaction: whatever is committed meanwhile is not in the copy
        connection.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.Error as error:
        raise TransientError(f"database {source} cannot be copied to {target}: {error}") from error
    finally:
        connection.close()
    copy = sqlite3.connect(target)
    try:
        ((verdict,),) = copy.execute("PRAGMA quick_check(1)")
    finally:
        copy.close()
    if verdict != "ok":
        raise ConfigError(f"the copy of {source} is damaged ({verdict}): is the database?")


def _pg_dump() -> str:
    found = shutil.which("pg_dump")
    if found is None:
        for binary in sorted(_PG_BINARIES.glob("*/bin/pg_dump"), reverse=True):
            return str(binary)
        raise ConfigError("there is no pg_dump on this host: install the PostgreSQL client programs")
    return found


async def _postgresql(program: str, credentials: dict[str, Any], label: str, target: Path) -> None:
    # the password goes by the environment: arguments can be read by everybody on this host
    named = {
        "PGHOST": "host",
        "PGPORT": "port",
        "PGUSER": "user",
        "PGPASSWORD": "password",
        "PGDATABASE": "database",
    }
    given = {name: str(credentials[key]) for name, key in named.items() if credentials.get(key)}
    process = await asyncio.create_subprocess_exec(
        program, "--format=custom", "--no-owner", "--no-password", f"--file={target}",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **given},
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE):
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        line = " ".join(said.decode("utf-8", "replace").split())[:500]
        raise TransientError(f"pg_dump of {label} failed: {line}")


def _remove(target: Path) -> None:
    target.unlink(missing_ok=True)


def _settle(target: Path) -> int:
    """Make the file and its name durable."""
    for path, flags in ((target, os.O_RDWR), (target.parent, os.O_RDONLY | os.O_DIRECTORY)):
        fd = os.open(path, flags | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    return target.stat().st_size
