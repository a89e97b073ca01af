"""Where a database is: its URL taken apart, and the places SQLite must not be."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from tortoise.backends.base.config_generator import expand_db_url
from tortoise.exceptions import ConfigurationError

from caroni.errors import ConfigError
from caroni.model.sql import POSTGRESQL, SQLITE, Dialect

MODELS = "caroni.model.tables"
MIGRATIONS = "caroni.model.migrations"
APP = "caroni"

#: file systems whose locks or shared memory SQLite's WAL cannot trust
NETWORK_FILE_SYSTEMS = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "davfs"),
        *("lustre", "gpfs", "beegfs", "ceph", "glusterfs", "panfs", "pvfs2", "orangefs", "ocfs2", "gfs2"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph-fuse", "fuse.ceph", "fuse.s3fs", "fuse.rclone"),
        *("fuse.davfs2", "fuse.beegfs", "fuse.cvmfs2", "fuse.gcsfuse", "fuse.smbnetfs", "fuse.juicefs"),
    }
)

#: enough for the daemon's working set; the default of 2 MiB makes bulk upserts read pages again
_SQLITE_PRAGMAS = {
    "journal_mode": "WAL",
    # a committed and acknowledged message must survive a loss of power
    "synchronous": "FULL",
    "busy_timeout": 10_000,
    "foreign_keys": "ON",
    "journal_size_limit": 64 * 1024 * 1024,
    "wal_autocheckpoint": 4000,
    "cache_size": -32_768,
    "temp_store": "MEMORY",
}


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A database URL that has been understood. ``path`` is ``None`` for anything but a SQLite file."""

    dialect: Dialect
    path: Path | None
    #: the URL without a password, for messages
    label: str
    connection: dict[str, Any]

    def tortoise(self) -> dict[str, Any]:
        """The configuration that Tortoise and its migrations take."""
        app = {"models": [MODELS], "default_connection": "default", "migrations": MIGRATIONS}
        return {"connections": {"default": self.connection}, "apps": {APP: app}}


def find_place(url: str, *, read_only: bool = False) -> Place:
    """Take a database URL apart.

    Args:
        url: ``sqlite:///absolute/path`` or ``postgres://user:password@host:port/database``.
        read_only: the connection shall refuse to write.

    Raises:
        ConfigError: another scheme, or no path or database in it.
    """
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        path = url.partition("://")[2]
        if not path or "?" in path:
            raise ConfigError(f"database url {url}: write sqlite:///absolute/path/of/caroni.db")
        pragmas = {**_SQLITE_PRAGMAS, **({"query_only": "ON"} if read_only else {})}
        sqlite = {"engine": "tortoise.backends.sqlite", "credentials": {"file_path": path, **pragmas}}
        file = None if path == ":memory:" else Path(path)
        return Place(dialect=SQLITE, path=file, label=url, connection=sqlite)
    if scheme in ("postgres", "postgresql"):
        try:
            connection: dict[str, Any] = expand_db_url(url)
        except (ConfigurationError, ValueError) as error:
            raise ConfigError(f"database url {without_password(url)}: {error}") from error
        if not connection["credentials"].get("database"):
            raise ConfigError(f"database url {without_password(url)} names no database: add /name")
        connection["credentials"]["server_settings"] = {
            "application_name": "caroni",
            "synchronous_commit": "on",
            "default_transaction_read_only": "on" if read_only else "off",
        }
        connection["credentials"].setdefault("command_timeout", 60)
        connection["credentials"].setdefault("timeout", 10)
        return Place(dialect=POSTGRESQL, path=None, label=without_password(url), connection=connection)
    raise ConfigError(f"database url {without_password(url)}: use sqlite:///path or postgres://host/name")


def without_password(url: str) -> str:
    """The URL with its password hidden."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)


def refuse_network_file_system(path: Path, mounts: str | None = None) -> None:
    """Refuse a SQLite file on a network file system.

    Args:
        path: the database file, which need not exist yet.
        mounts: text in the form of ``/proc/self/mountinfo``, which is read by default.

    Raises:
        ConfigError: with the remedy. Where mounts cannot be read (not Linux) nothing is refused.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
        except OSError:
            return
    target = os.path.realpath(path.parent)
    best = ("", "")
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")[0]
        if len(fields) < 5:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4])
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        # of two mounts on one point the later hides the earlier
        if inside and len(point) >= len(best[0]):
            best = (point, kind)
    if best[1] in NETWORK_FILE_SYSTEMS:
        raise ConfigError(
            f"{path} is on {best[1]} ({best[0]}), where SQLite can lose data: "
            "use a path on a local disk, or a postgres:// url"
        )


def create_private_file(path: Path) -> None:
    """Create an empty database file that only its owner reads; an existing one keeps its mode.

    Raises:
        ConfigError: the directory does not exist or cannot be written.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigError(f"database {path} cannot be created: {error.strerror}") from error
