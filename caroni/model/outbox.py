"""Reading the outbox back after a start."""

# Names in statements are those of our own classes and tables; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from caroni.model.database import Database
from caroni.model.mapping import unescape
from caroni.model.sql import names
from caroni.model.statements import OUTBOX_COLUMNS
from caroni.model.unit import OutboxRow


async def pending(database: Database, limit: int, after: int) -> list[tuple[int, OutboxRow]]:
    """See :meth:`~caroni.model.store.Store.pending_outbox`."""
    rows = await database.fetch(
        f"SELECT rev, {names(OUTBOX_COLUMNS)} FROM outbox WHERE rev > ? AND state <> 'dead'"
        " ORDER BY rev LIMIT ?",
        after,
        limit,
    )
    return [
        (
            r[0],
            OutboxRow(
                id=bytes.fromhex(r[1]),
                peer=unescape(r[2]),
                routing_key=unescape(r[3]),
                type=r[4],
                payload_type=r[5],
                payload=r[6],
                conversation_id=bytes.fromhex(r[7]),
                in_reply_to=bytes.fromhex(r[8]),
                created_at=r[9],
                sealed=r[10],
                stream_id=r[11],
                sequence=r[12],
                state=r[13],
                tries=r[14],
                next_try=r[15],
            ),
        )
        for r in rows
    ]
