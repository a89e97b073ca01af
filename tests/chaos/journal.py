"""What happened when: every fault with its time, and how many there were of each kind."""

from __future__ import annotations

import sys
import time
from collections import Counter

#: all ends of daemons by ``kill -9``, at whatever point: a sum beside the kinds
SIGKILLS = "daemon SIGKILLs"


class Journal:
    """Seconds since the start, told once; ``echo`` prints each line as it comes."""

    def __init__(self, *, echo: bool = False) -> None:
        self._began = time.monotonic()
        self.counts: Counter[str] = Counter()
        self.lines: list[str] = []
        #: of the faults, seconds
        self.times: list[float] = []
        self._echo = echo

    def start(self) -> None:
        """Count from now on."""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    @property
    def faults(self) -> int:
        """All of them."""
        return self.counts.total() - self.counts[SIGKILLS]

    def fault(self, kind: str, detail: str = "") -> None:
        """A fault begins."""
        self.counts[kind] += 1
        self.times.append(self.seconds)
        self.say(f"{kind} {detail}".rstrip())

    def say(self, text: str) -> None:
        """Anything worth its time."""
        line = f"{self.seconds:8.2f}  {text}"
        self.lines.append(line)
        if self._echo:
            print(line, file=sys.stderr, flush=True)
