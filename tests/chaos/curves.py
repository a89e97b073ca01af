"""The four curves of a soak, a point every ten seconds: what each daemon and the broker hold; are they flat?

Flat means: after a warm-up third, the line through the rest (Theil-Sen: the median of the slopes of all
pairs, which the spikes of faults do not bend) rises over that whole time by no more than an allowance plus a
tenth of the level. Memory is resident bytes; of an agent with its launcher, as are the descriptors. In less
than an hour the memory may also rise by SQLite's page cache, which is bounded and fills with the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

from tests.chaos.arena import DAEMONS, Arena
from tests.chaos.books import Unreadable
from tests.chaos.journal import Journal

#: seconds between two samples
EVERY = 10.0
#: curve -> unit, and how much it may rise beside a tenth of its level
CURVES = {
    "memory": ("MiB", 12.0),
    "descriptors": ("open", 10.0),
    "queues": ("messages", 10.0),
    "outbox": ("rows", 10.0),
}
#: MiB of the database that SQLite keeps in memory
PAGE_CACHE = 32.0
#: points of the rest that are compared pair by pair
POINTS = 400

Series = list[tuple[float, float]]


@dataclass
class Curves:
    """Curve -> daemon -> (seconds, value)."""

    series: dict[str, dict[str, Series]] = field(default_factory=lambda: {name: {} for name in CURVES})

    def add(self, curve: str, daemon: str, seconds: float, value: float) -> None:
        """One point."""
        self.series[curve].setdefault(daemon, []).append((seconds, value))


async def watch(arena: Arena, journal: Journal, curves: Curves) -> None:
    """Take samples until cancelled. What is away just now has no point."""
    while True:
        began = journal.seconds
        for name in DAEMONS:
            with contextlib.suppress(psutil.Error, KeyError):
                process = psutil.Process(arena.site.pid(name))
                held = [process, *process.children()]
                curves.add("memory", name, began, sum(p.memory_info().rss for p in held) / 2**20)
                curves.add("descriptors", name, began, sum(p.num_fds() for p in held))
            with contextlib.suppress(Unreadable):
                curves.add("outbox", name, began, await arena.books.count(name, "outbox"))
        for name, depth in (await arena.depths()).items():
            curves.add("queues", name, began, depth)
        await asyncio.sleep(max(0.0, began + EVERY - journal.seconds))


@dataclass
class Fit:
    """A daemon's curve after the warm-up: its level, its rise along the line, the most that is allowed."""

    curve: str
    daemon: str
    level: float
    rise: float
    allowed: float

    @property
    def flat(self) -> bool:
        """Whether it is within what is allowed."""
        return self.rise <= self.allowed


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Theil-Sen: the median slope of all pairs."""
    thin = points[:: max(1, len(points) // POINTS)]
    return statistics.median(
        (y2 - y1) / (x2 - x1) for i, (x1, y1) in enumerate(thin) for x2, y2 in thin[i + 1 :] if x2 > x1
    )


def fits(curves: Curves, seconds: float) -> list[Fit]:
    """All curves of a soak that lasted so long."""
    found = []
    for curve, daemons in curves.series.items():
        for daemon, points in sorted(daemons.items()):
            rest = [point for point in points if point[0] >= seconds / 3]
            if len(rest) < 3:
                continue
            level = statistics.median(y for _, y in rest)
            rise = slope(rest) * (rest[-1][0] - rest[0][0])
            allowed = CURVES[curve][1] + level / 10
            if curve == "memory" and seconds < 3600:
                allowed += PAGE_CACHE
            found.append(Fit(curve, daemon, level, rise, allowed))
    return found
