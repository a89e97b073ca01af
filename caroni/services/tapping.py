"""Messages seen on the broker as entries of a trace: taken apart and verified only when they are shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from caroni.errors import MessageRejected
from caroni.services.traced import TraceEntry

if TYPE_CHECKING:
    from caroni.wire.audit import Auditor

#: messages of one bundle that become entries
MAX_PARTS = 500

TapState = Literal["live", "away", "not permitted", "closed"]
LIVE: Final = "live"
AWAY: Final = "away"
NOT_PERMITTED: Final = "not permitted"
CLOSED: Final = "closed"


class Tapped(msgspec.Struct, frozen=True, kw_only=True):
    """One body as it passed the broker; ``at`` is when it came to us, in wall microseconds."""

    at: int
    routing_key: str
    body: bytes


class TapReader:
    """Makes entries of what was tapped, numbered in the order in which it came."""

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor
        self._next = 0

    def entries(self, tapped: Iterable[Tapped]) -> list[TraceEntry]:
        """The messages of these envelopes. ``verdict`` is what the trust store says of each now.

        What belongs to which workflow is for :class:`~caroni.services.belonging.Belonging` to fill in.
        """
        found: list[TraceEntry] = []
        for one in tapped:
            self._next += 1
            found += self._of(one)
        return found

    def _of(self, one: Tapped) -> list[TraceEntry]:
        from caroni.services.opening import described
        from caroni.wire.glance import glance

        audit = self._auditor.audit(one.body, one.at)
        receiver = one.routing_key
        entry = TraceEntry(
            rev=self._next,
            at=one.at,
            direction="seen",
            sender=audit.sender,
            receiver=receiver,
            type="",
            verdict=audit.code,
            size=len(one.body),
        )
        try:
            seen = glance(one.body)
        except MessageRejected as error:
            return [msgspec.structs.replace(entry, kind="refused", summary=str(error))]
        # what a header claims is shown with the verdict beside it
        entry = msgspec.structs.replace(
            entry,
            sender=audit.sender or seen.sender,
            receiver=seen.audience[0] if seen.audience else receiver,
            message_id=seen.message_id.hex(),
        )
        return [
            described(msgspec.structs.replace(entry, position=place), part, len(seen.parts))
            for place, part in enumerate(seen.parts[:MAX_PARTS])
        ]
