"""A plugin's own thread: what raises or hangs in there costs its own call and nothing else.

A call that overruns its limit is left alone (a thread cannot be stopped) and its plugin is set aside for
a while; a new thread serves it afterwards. A plugin that hangs again and again is set aside for good, so
the number of stuck threads is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from caroni.core.plan import SECOND

MAX_BACKLOG = 1000
MAX_STUCK = 3


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin misbehaved: for the log. ``disabled_for`` in microseconds, -1 = until the next start."""

    plugin: str
    hook: str
    text: str
    disabled_for: int = 0


class PluginUnavailable(Exception):
    """The call gave nothing: the plugin raised, overran, or is set aside."""


class IsolatedPlugin:
    """Calls of one plugin, in order, in its thread. Limits and cool-down in microseconds."""

    def __init__(
        self,
        name: str,
        on_fault: Callable[[Fault], None],
        *,
        limit: int = 2 * SECOND,
        cool_down: int = 60 * SECOND,
        max_failures: int = 5,
    ) -> None:
        self.name = name
        self._on_fault = on_fault
        self._limit = limit / SECOND
        self._cool_down = cool_down
        self._max_failures = max_failures
        self._failures = 0
        self._stuck = 0
        self._disabled_until = 0.0
        self._calls: queue.Queue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] | None = None

    @property
    def enabled(self) -> bool:
        """Whether it would be called now."""
        return self._stuck < MAX_STUCK and time.monotonic() >= self._disabled_until

    async def call(self, hook: str, function: Callable[[], Any], limit: int | None = None) -> Any:
        """What the plugin says.

        Args:
            hook: for the fault's text.
            function: the call.
            limit: microseconds, instead of the plugin's usual limit.

        Raises:
            PluginUnavailable: it said nothing in time; a fault was reported.
        """
        seconds = self._limit if limit is None else limit / SECOND
        future = self.submit(hook, function)
        try:
            async with asyncio.timeout(seconds):
                result = await future
        except TimeoutError:
            if self._calls is not None and future.cancelled():
                self._set_aside(hook, seconds)
            raise PluginUnavailable(f"plugin {self.name}: {hook} took longer than {seconds:g} s") from None
        except asyncio.CancelledError:
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {error}"[:500]
            self.failed(hook, text)
            raise PluginUnavailable(f"plugin {self.name}: {hook}: {text}") from error
        self._failures = 0
        return result

    def submit(self, hook: str, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Queue a call.

        Raises:
            PluginUnavailable: it is set aside, or has too many calls waiting.
        """
        if not self.enabled:
            raise PluginUnavailable(f"plugin {self.name} is set aside")
        if self._calls is None:
            self._calls = queue.Queue(MAX_BACKLOG)
            threading.Thread(
                target=_serve, args=(self._calls,), name=f"plugin-{self.name}", daemon=True
            ).start()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            self._calls.put_nowait((function, future))
        except queue.Full:
            raise PluginUnavailable(f"plugin {self.name}: too many calls are waiting ({hook})") from None
        return future

    def failed(self, hook: str, text: str) -> None:
        self._failures += 1
        disabled_for = 0
        if self._failures >= self._max_failures:
            self._failures = 0
            disabled_for = self._cool_down
            self._disabled_until = time.monotonic() + disabled_for / SECOND
        self._on_fault(Fault(plugin=self.name, hook=hook, text=text, disabled_for=disabled_for))

    def _set_aside(self, hook: str, seconds: float) -> None:
        """The thread is stuck: leave it, and do not call the plugin for a while."""
        self.close()
        self._stuck += 1
        self._disabled_until = time.monotonic() + self._cool_down / SECOND
        disabled_for = self._cool_down if self._stuck < MAX_STUCK else -1
        text = f"took longer than {seconds:g} s"
        self._on_fault(Fault(plugin=self.name, hook=hook, text=text, disabled_for=disabled_for))

    def close(self) -> None:
        """Let the thread end after the call it is in; calls that wait are dropped."""
        calls, self._calls = self._calls, None
        if calls is None:
            return
        with contextlib.suppress(queue.Empty):
            while True:
                waiting = calls.get_nowait()
                if waiting is not None and not waiting[1].done():
                    waiting[1].cancel()
        calls.put_nowait(None)


def _serve(calls: queue.Queue[tuple[Callable[[], Any], asyncio.Future[Any]] | None]) -> None:
    while (entry := calls.get()) is not None:
        function, future = entry
        if future.cancelled():
            continue
        try:
            result, error = function(), None
        except BaseException as caught:  # SystemExit of a plugin ends nothing, either
            result, error = None, caught if isinstance(caught, Exception) else RuntimeError(repr(caught))
        with contextlib.suppress(RuntimeError):  # the loop is closed
            future.get_loop().call_soon_threadsafe(_settle, future, result, error)


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
