"""How far peers' clocks are from ours, as the last messages tell."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caroni.model.store import Store

#: ledger rows that are looked at, and the largest envelope whose instant is read
ROWS, LARGEST = 1000, 16 * 1024
#: envelopes whose instants are read
COMPARED = 200

_RECENT = (
    "SELECT peer, at, envelope FROM ledger WHERE rev >="
    " COALESCE((SELECT rev FROM ledger ORDER BY rev DESC LIMIT 1 OFFSET ?), 0)"
    " AND direction = 'in' AND LENGTH(envelope) <= ? ORDER BY rev DESC LIMIT ?"
)


async def delays(store: Store) -> dict[str, int]:
    """Peer -> the shortest time (microseconds) that one of its last messages took by both clocks.

    Negative: its clock is ahead of ours, at least by that. Positive: it is behind, or messages are slow;
    which of the two cannot be told. Peers without a recent message, or that sign nothing, are left out.

    Raises:
        TransientError: the database is away.
    """
    records = await store.database.fetch(_RECENT, ROWS - 1, LARGEST, COMPARED)
    # opening envelopes takes a library that is slow to import
    return await asyncio.to_thread(_least, records)


def _least(records: Sequence[Sequence[Any]]) -> dict[str, int]:
    from caroni.model.mapping import unescape
    from caroni.wire.inspect import sent_at

    least: dict[str, int] = {}
    for peer, came, envelope in records:
        if sent := sent_at(bytes(envelope)):
            uri, took = unescape(peer), int(came) - sent
            least[uri] = min(least.get(uri, took), took)
    return least
