"""Doing something once a text has been still for a while, one at a time, without losing the last state."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable


class Settled:
    """Runs ``work`` when nothing was touched for ``quiet`` seconds; :meth:`run` is a worker's coroutine.

    While work is under way touches are remembered: afterwards it is done once more.
    """

    def __init__(self, quiet: float, work: Callable[[], Awaitable[None]]) -> None:
        self._quiet = quiet
        self._work = work
        self._touched = asyncio.Event()
        self._hurry = asyncio.Event()
        self._at = 0.0

    @property
    def pending(self) -> bool:
        """Whether something was touched that has not been worked on."""
        return self._touched.is_set()

    def touch(self, *, at_once: bool = False) -> None:
        """Something has changed."""
        self._at = asyncio.get_running_loop().time()
        self._touched.set()
        if at_once:
            self._hurry.set()

    async def run(self) -> None:
        """Wait for touches and work, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await self._touched.wait()
            while (left := self._at + self._quiet - loop.time()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), left)
                    break
            self._touched.clear()
            self._hurry.clear()
            await self._work()
