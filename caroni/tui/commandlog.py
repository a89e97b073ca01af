"""What this console did, as commands that can be pasted into a shell."""

from __future__ import annotations

import shlex
import time
from collections import deque
from collections.abc import Callable

import msgspec

from caroni.tui.site import Site

_KEEP = 1000


class Done(msgspec.Struct):
    """One thing that was done. ``outcome`` is empty while it is under way."""

    at: float
    line: str
    outcome: str = ""
    failed: bool = False


class CommandLog:
    """The last things that were done, oldest first; bounded."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.entries: deque[Done] = deque(maxlen=_KEEP)

    def begin(self, line: str) -> Done:
        """Write down what is being done."""
        entry = Done(self._clock(), line)
        self.entries.append(entry)
        return entry


def cli(site: Site, *words: str) -> str:
    """The command line that does the same, e.g. ``caroni cancel 3f2a --config m1/caroni.toml``."""
    return shlex.join(["caroni", *words, "--config", str(site.loaded.path)])
