"""The lock of a daemon's directory, held by whoever changes its database besides it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from caroni.config import Loaded
from caroni.errors import ConfigError


@contextmanager
def locked(loaded: Loaded) -> Iterator[None]:
    """Keep the daemon from starting for as long as this is held.

    Raises:
        ConfigError: it runs, or the lock cannot be taken.
    """
    role = loaded.config.role
    lock = FileLock(loaded.lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"the {role} of {loaded.directory} runs: stop it first") from None
    except OSError as error:
        raise ConfigError(f"{loaded.lock_file} cannot be locked: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()
