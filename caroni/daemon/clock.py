"""The clock of a running daemon; everything below is given the time."""

from __future__ import annotations

import time


class SystemClock:
    """Wall time of this host, see :class:`caroni.daemon.ports.Clock`."""

    def now(self) -> int:
        return time.time_ns() // 1000
