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

#: no ledger ever comes to this number
FIRST_TAPPED: Final = 2**62

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
    """Makes entries of what was tapped, numbered in the order in which it came.

    Numbers begin far above those of a ledger, so that entries of both can be told apart. Without an auditor
    nothing is verified: ``verdict`` is empty, and ``sender`` what the header claims.
    """

    def __init__(self, auditor: Auditor | None = None) -> None:
        self.auditor = auditor
        self._next = FIRST_TAPPED

    def entries(self, tapped: Iterable[Tapped]) -> list[TraceEntry]:
        """The messages of these envelopes. ``verdict`` is what the trust store says of each now.

        What belongs to which workflow is for :class:`~caroni.services.belonging.Belonging` to fill in.
        """
        return [entry for one in tapped for entry in self.of(one)]

    def of(self, one: Tapped) -> list[TraceEntry]:
        """The messages of one envelope; all have the same ``rev``."""
        from caroni.services.opening import described
        from caroni.wire.glance import glance

        self._next += 1
        entry = TraceEntry(
            rev=self._next,
            at=one.at,
            direction="seen",
            sender="",
            receiver=one.routing_key,
            type="",
            verdict="",
            size=len(one.body),
        )
        if self.auditor is not None:
            entry = verified(entry, one.body, self.auditor)
        try:
            seen = glance(one.body)
        except MessageRejected as error:
            return [msgspec.structs.replace(entry, kind="refused", summary=error.detail, verdict=error.code)]
        # what a header claims is shown with the verdict beside it
        entry = msgspec.structs.replace(
            entry,
            sender=entry.sender or seen.sender,
            receiver=seen.audience[0] if seen.audience else one.routing_key,
            message_id=seen.message_id.hex(),
        )
        return [
            described(msgspec.structs.replace(entry, position=place), part, len(seen.parts))
            for place, part in enumerate(seen.parts[:MAX_PARTS])
        ]


def verified(entry: TraceEntry, body: bytes, auditor: Auditor) -> TraceEntry:
    """The entry with its verdict, and its sender as far as proven."""
    audit = auditor.audit(body, entry.at)
    return msgspec.structs.replace(entry, verdict=audit.code, sender=audit.sender or entry.sender)
