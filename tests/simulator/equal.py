"""What a database holds, and how it differs from what it must hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from caroni.core.rows import Row
from caroni.model.mapping import mapping
from caroni.model.store import Store
from caroni.wire.codec import decode


@dataclass
class Held:
    """All that a simulated node keeps in its database."""

    #: by (class name, key)
    rows: dict[Any, Any]
    inbox: dict[Any, Any]
    #: id -> (recipient, message, stream, sequence, tries, next try)
    outbox: dict[Any, Any]
    sequences: dict[Any, Any]
    facts: dict[Any, Any]
    #: id -> (kind, arguments) of the commands that wait
    commands: dict[Any, Any]
    ledger: dict[Any, Any]

    def differences(self, expected: Held) -> list[str]:
        """In words; settings that the simulator does not know of are the store's own."""
        told = unlike("row", self.rows, expected.rows)
        told += unlike("inbox", self.inbox, expected.inbox)
        told += unlike("outbox", self.outbox, expected.outbox)
        told += unlike("sequence", self.sequences, expected.sequences)
        told += unlike(
            "setting", {n: v for n, v in self.facts.items() if n in expected.facts}, expected.facts
        )
        told += unlike("command", self.commands, expected.commands)
        return told + unlike("ledger", self.ledger, expected.ledger)


def unlike(what: str, found: dict[Any, Any], expected: dict[Any, Any]) -> list[str]:
    """How two mappings differ, in words."""
    told = [f"{what}: {key} is missing" for key in expected.keys() - found.keys()]
    told += [f"{what}: {key} is there and should not be" for key in found.keys() - expected.keys()]
    for key in found.keys() & expected.keys():
        if found[key] != expected[key]:
            told.append(f"{what}: {key} is {found[key]}, should be {expected[key]}")
    return told


async def held(store: Store, row_types: Iterable[type[Row]]) -> Held:
    """Read the whole database."""
    rows: dict[Any, Any] = {}
    for row_type in row_types:
        table = mapping(row_type, store.database.dialect)
        columns = ", ".join(f'"{name}"' for name in table.columns)
        for record in await store.database.fetch(f'SELECT {columns} FROM "{table.table}"'):  # noqa: S608
            row = table.decode(record)
            rows[row_type.__name__, row.key] = row
    inbox = await store.database.fetch("SELECT sender, message_id FROM inbox")
    pending = [row for _, row in await store.pending_outbox(100_000)]
    outbox: dict[Any, Any] = {
        row.id: (
            row.peer,
            decode(row.payload_type, row.payload),
            row.stream_id,
            row.sequence,
            row.tries,
            row.next_try,
        )
        for row in pending
    }
    if len(pending) != await store.count_outbox() or any(row.sealed != row.payload for row in pending):
        outbox[b""] = "an envelope is not sealed, or not counted"
    ((ledger,),) = await store.database.fetch("SELECT COUNT(*) FROM ledger")
    return Held(
        rows=rows,
        inbox={(sender, bytes.fromhex(id_)): None for sender, id_ in inbox},
        outbox=outbox,
        sequences=dict(await store.sequences()),
        facts=dict(await store.settings()),
        commands={c.id: (c.kind, c.args) for c in await store.new_commands(100_000)},
        ledger={"rows": int(ledger)},
    )
