"""Bodies that cannot be judged yet: sent ahead of our clock, or under a certificate not seen here.

Bounded in number and bytes, per bucket and in all; what does not fit is dropped, because the sender's
timers bring its content again. In memory: after a restart likewise.
"""

from __future__ import annotations

import heapq
from typing import Final, NamedTuple

from caroni.wire.opened import Parked

MAX_PER_BUCKET: Final = 256
MAX_BODIES: Final = 1_000
MAX_BYTES: Final = 16 * 1024 * 1024


class Waiting(NamedTuple):
    """A parked body, with what came beside it."""

    until: int
    order: int
    reason: str
    bucket: str
    body: bytes
    reply_to: str


class ParkingLot:
    """Parked bodies, earliest first."""

    def __init__(self) -> None:
        self._heap: list[Waiting] = []
        self._buckets: dict[str, int] = {}
        self._bytes = 0
        self._order = 0
        #: bodies that did not fit or waited in vain
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._heap)

    def park(self, parked: Parked, body: bytes, reply_to: str = "") -> bool:
        """Keep a body; False when it does not fit and is dropped."""
        count = self._buckets.get(parked.bucket, 0)
        if count >= MAX_PER_BUCKET or len(self._heap) >= MAX_BODIES or self._bytes + len(body) > MAX_BYTES:
            self.dropped += 1
            return False
        self._order += 1
        self._buckets[parked.bucket] = count + 1
        self._bytes += len(body)
        heapq.heappush(
            self._heap, Waiting(parked.until, self._order, parked.reason, parked.bucket, body, reply_to)
        )
        return True

    def next_due(self) -> int:
        """When the earliest body is due, 0 if there is none."""
        return self._heap[0].until if self._heap else 0

    def due(self, now: int) -> list[Waiting]:
        """Take the bodies whose time has come; those whose certificate never came are dropped."""
        taken = []
        while self._heap and self._heap[0].until <= now:
            one = heapq.heappop(self._heap)
            self._leave(one)
            if one.reason == "certificate":
                self.dropped += 1
            else:
                taken.append(one)
        return taken

    def shown(self, urn: str) -> list[Waiting]:
        """Take the bodies that waited for the certificate of this URN, which has become known."""
        if urn not in self._buckets:
            return []
        taken = sorted(one for one in self._heap if one.bucket == urn)
        self._heap = [one for one in self._heap if one.bucket != urn]
        heapq.heapify(self._heap)
        for one in taken:
            self._leave(one)
        return taken

    def _leave(self, one: Waiting) -> None:
        self._bytes -= len(one.body)
        self._buckets[one.bucket] -= 1
        if not self._buckets[one.bucket]:
            del self._buckets[one.bucket]
