"""Secrets are files: their modes are checked before they are read, and nothing keeps their text."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from caroni.config.load import Loaded
from caroni.errors import ConfigError
from caroni.text import safe_line

_MAX_BYTES = 4096


def read_secret(path: Path) -> str:
    """The first line of a secret's file.

    Raises:
        ConfigError: missing, a symbolic link, not owned by us, or readable by others.
    """
    shown = safe_line(str(path))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        link = "; a symbolic link is not followed" if path.is_symlink() else ""
        raise ConfigError(f"{shown}: cannot be read: {error.strerror}{link}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{shown}: not a regular file")
        if status.st_uid not in (os.geteuid(), 0):
            raise ConfigError(f"{shown}: belongs to another user")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise ConfigError(f"{shown}: mode {mode:04o} lets others read a secret; run: chmod 600 {shown}")
        data = file.read(_MAX_BYTES)
    try:
        secret = data.decode().split("\n", 1)[0].rstrip("\r")
    except UnicodeDecodeError:
        raise ConfigError(f"{shown}: not UTF-8 text") from None
    if not secret:
        raise ConfigError(f"{shown}: is empty")
    return secret


def broker_url(loaded: Loaded) -> str:
    """The broker's URL with the password from its file. Never log it.

    Raises:
        ConfigError: the password file cannot be used.
    """
    return _with_password(loaded.config.amqp.url, loaded.config.amqp.password_file)


def database_url(loaded: Loaded) -> str:
    """The database's URL with an absolute SQLite path, or with the password from its file. Never log it.

    Raises:
        ConfigError: the password file cannot be used.
    """
    url = loaded.config.database.url
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        name, query, options = rest.partition("?")
        return f"sqlite://{loaded.directory / name}{query}{options}"
    return _with_password(url, loaded.config.database.password_file)


def _with_password(url: str, path: Path | None) -> str:
    if path is None:
        return url
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(read_secret(path), safe='')}@{host}"))
