"""One attached daemon: its configuration, and its database for reading and for leaving commands."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from caroni.config import Loaded
from caroni.errors import TransientError, UsageError
from caroni.services import control

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from caroni.model.store import Store

T = TypeVar("T")


class Site:
    """A manager's or an agent's place: a store that stays open to look, others for what is written.

    Several reads may be under way at once. A read that fails closes the store; the next one opens it anew.
    """

    def __init__(self, loaded: Loaded, *, readonly: bool = False) -> None:
        if loaded.config.role == "submitter":
            raise UsageError(f"{loaded.path} is the configuration of a submitter: give a manager or an agent")
        self.loaded = loaded
        self.readonly = readonly
        self._opened: AbstractAsyncContextManager[Store] | None = None
        self._store: Store | None = None
        self._file: tuple[int, int] = (0, 0)
        self._opening = asyncio.Lock()

    @property
    def role(self) -> str:
        """``manager`` or ``agent``."""
        return self.loaded.config.role

    @property
    def uri(self) -> str:
        """``caroni://SITE/ROLE/NAME``."""
        return self.loaded.config.uri

    @property
    def name(self) -> str:
        """Role and name, as headers show them."""
        return f"{self.role} {self.uri.rpartition('/')[2]}"

    @property
    def lab(self) -> bool:
        """Whether unsigned peers are listened to here."""
        return self.loaded.config.security.mode == "lab"

    async def read(self, query: Callable[[Store], Awaitable[T]]) -> T:
        """What ``query`` finds in the database, which is opened read-only.

        Raises:
            TransientError: the database is away or locked.
            ConfigError: it is missing, of another role, or not up to date.
            UsageError: what was asked for is not there.
        """
        store = await self._reading()
        try:
            return await query(store)
        except TransientError:
            await self.close()
            raise

    async def _reading(self) -> Store:
        async with self._opening:
            found = self._identity()
            if self._store is not None and found != self._file:
                await self._close()  # another database was put in its place
            if self._store is None:
                # a third of a second, which the loop has better use for
                await asyncio.to_thread(import_module, "caroni.model.store")
                self._opened = control.to_daemon(self.loaded, read_only=True)
                self._store = await self._opened.__aenter__()
                self._file = found
            return self._store

    def _identity(self) -> tuple[int, int]:
        url = self.loaded.config.database.url
        if not url.startswith("sqlite"):
            return (0, 0)
        from caroni.config import database_url

        try:
            stat = os.stat(database_url(self.loaded).removeprefix("sqlite://").partition("?")[0])
        except OSError:
            return (0, 0)
        return (stat.st_dev, stat.st_ino)

    async def write(self, action: Callable[[Store], Awaitable[T]]) -> T:
        """Let ``action`` write: a command for the daemon, or an entry of its catalogue.

        Raises:
            UsageError: this console only looks.
            TransientError: the database is away or locked.
        """
        if self.readonly:
            raise UsageError("this console only looks (--readonly)")
        async with control.to_daemon(self.loaded) as store:
            return await action(store)

    async def runs(self) -> bool:
        """Whether the daemon runs, as far as its lock tells."""
        return await asyncio.to_thread(control.daemon_runs, self.loaded.lock_file)

    async def close(self) -> None:
        """Close what is open; a later read opens it again."""
        async with self._opening:
            await self._close()

    async def _close(self) -> None:
        opened, self._opened, self._store = self._opened, None, None
        if opened is not None:
            await opened.__aexit__(None, None, None)
