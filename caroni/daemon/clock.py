"""The clocks of a running daemon; everything below is given the time."""

from __future__ import annotations

import time
from collections.abc import Callable

#: the wall clock is believed to have been set when it and the steady one differ by more, microseconds
JUMP = 60_000_000


class SystemClock:
    """Wall time of this host, see :class:`caroni.daemon.ports.Clock`."""

    def now(self) -> int:
        return time.time_ns() // 1000


def steady() -> int:
    """Microseconds on a clock that nobody sets and that goes on while the host sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock) // 1000


class JumpWatch:
    """Notices that the wall clock was set, by comparing it with a steady one."""

    def __init__(self, now: int, steady: Callable[[], int] = steady) -> None:
        self._steady = steady
        self._offset = now - steady()

    def jumped(self, now: int) -> int:
        """By how many microseconds the wall clock was set since the last call; 0 if it was not."""
        offset = now - self._steady()
        by = offset - self._offset
        if abs(by) <= JUMP:
            return 0
        self._offset = offset
        return by
