"""The quarantine as operators ask for it: pages without bodies, and whole rows by key."""

# Names in statements are those of our own classes and tables; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caroni.model.database import Database
from caroni.model.mapping import escape, unescape
from caroni.model.unit import QuarantineRow

_COLUMNS = "kind, sender, reason, error, first_at, last_at, tries, parked_until"


async def page(
    database: Database, limit: int, reason: str, before: int | None
) -> list[tuple[int, QuarantineRow]]:
    """See :meth:`~caroni.model.store.Store.quarantine`."""
    conditions, parameters = ["1 = 1"], list[Any]()
    if reason:
        conditions.append("reason = ?")
        parameters.append(escape(reason))
    if before is not None:
        conditions.append("rev < ?")
        parameters.append(before)
    query = (
        f"SELECT rev, key, {_COLUMNS} FROM quarantine WHERE {' AND '.join(conditions)}"
        " ORDER BY rev DESC LIMIT ?"
    )
    return [(int(r[0]), _row(r[1:], b"")) for r in await database.fetch(query, *parameters, limit)]


async def of_keys(database: Database, keys: Sequence[bytes]) -> list[QuarantineRow]:
    """See :meth:`~caroni.model.store.Store.quarantined`."""
    dialect = database.dialect
    query = f"SELECT key, {_COLUMNS}, body FROM quarantine WHERE {dialect.any_of('key')} ORDER BY rev"
    records = await database.fetch(query, dialect.texts(key.hex() for key in keys))
    return [_row(r[:-1], bytes(r[-1])) for r in records]


def _row(r: Sequence[Any], body: bytes) -> QuarantineRow:
    return QuarantineRow(
        key=bytes.fromhex(r[0]),
        kind=r[1],
        body=body,
        sender=unescape(r[2]),
        reason=unescape(r[3]),
        error=unescape(r[4]),
        first_at=int(r[5]),
        last_at=int(r[6]),
        tries=int(r[7]),
        parked_until=int(r[8]),
    )
