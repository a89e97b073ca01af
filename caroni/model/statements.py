"""A unit of work as statements: one for each table it touches, in a fixed order."""

# Names in statements are those of our own classes and tables; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from typing import Any

from caroni.model.mapping import escape, mapping
from caroni.model.sql import Dialect, Statement, quote
from caroni.model.unit import Unit

#: size of the ring of refused messages
REJECT_RING = 256

OUTBOX_COLUMNS = (
    "id",
    "peer",
    "routing_key",
    "type",
    "payload_type",
    "payload",
    "conversation_id",
    "in_reply_to",
    "created_at",
    "sealed",
    "stream_id",
    "sequence",
    "state",
    "tries",
    "next_try",
)
_LEDGER = (
    "rev",
    "direction",
    "peer",
    "message_id",
    "payload_type",
    "fingerprint",
    "envelope",
    "verdict",
    "at",
)
_LEDGER_ITEM = (
    "rev",
    "ledger",
    "position",
    "type",
    "conversation_id",
    "request_uuid",
    "offer_uuid",
    "job_uuid",
    "workflow_uuid",
    "step_index",
)
_QUARANTINE = (
    "key",
    "kind",
    "body",
    "sender",
    "reason",
    "error",
    "first_at",
    "last_at",
    "tries",
    "parked_until",
    "rev",
)
_REJECT = ("slot", "at", "reason", "detail", "routing_key", "size", "head", "rev")


class Statements:
    """The fixed statements of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        sql = dialect.sql
        self.inbox = dialect.insert("inbox", ("sender", "message_id", "deadline"))
        self.outbox = dialect.insert("outbox", (*OUTBOX_COLUMNS, "rev"))
        self.sealed = sql("UPDATE outbox SET sealed = ?, stream_id = ?, sequence = ?, rev = ? WHERE id = ?")
        self.sent = sql("DELETE FROM outbox WHERE id = ?")
        self.retry = sql("UPDATE outbox SET state = ?, tries = ?, next_try = ?, rev = ? WHERE id = ?")
        self.sequence = dialect.upsert("sequence", ("peer", "next"), ("peer",))
        self.ledger = dialect.insert("ledger", _LEDGER)
        self.ledger_item = dialect.insert("ledger_item", _LEDGER_ITEM)
        self.certificate = dialect.insert_once("certificate", ("fingerprint", "pem"), ("fingerprint",))
        self.quarantine = dialect.upsert("quarantine", _QUARANTINE, ("key",))
        self.unquarantine = sql("DELETE FROM quarantine WHERE key = ?")
        self.reject = dialect.upsert("reject", _REJECT, ("slot",))
        self.reject_count = (
            dialect.insert("reject_count", ("reason", "count", "last_at", "rev"))
            + " ON CONFLICT (reason) DO UPDATE SET count = reject_count.count + excluded.count,"
            " last_at = excluded.last_at, rev = excluded.rev"
        )
        self.command = sql("UPDATE command SET state = ?, result = ?, done_at = ? WHERE id = ?")
        self.setting = dialect.upsert("setting", ("key", "value"), ("key",))
        self.suspect = dialect.upsert("suspect", ("digest", "tries", "last_at"), ("digest",))
        self.cleared = sql("DELETE FROM suspect WHERE digest = ?")
        self.tombstone = dialect.upsert("tombstone", ("table", "key", "at", "rev"), ("table", "key"))

    def of(self, unit: Unit, rev: int, rejected: int) -> tuple[list[Statement], int]:
        """The statements of a unit.

        Args:
            unit: what to write.
            rev: the last change number that was given.
            rejected: how many refused messages there have been, which says where the ring stands.

        Returns:
            The statements, of which the first is a write, and the last change number given now.
        """
        made: list[Statement] = []
        if unit.inbox:
            made.append((self.inbox, [(sender, id_.hex(), cap) for sender, id_, cap in unit.inbox]))
        for row_type, rows in unit.rows.items():
            if rows:
                table = mapping(row_type, self.dialect)
                encoded, rev = table.encode(rows, rev)
                made.append((table.upsert, encoded))
        if unit.deletes:
            rev = self._deletes(made, unit, rev)
        rev = self._outbox(made, unit, rev)
        if unit.ledger:
            rev = self._ledger(made, unit, rev)
        if unit.certificates:
            made.append((self.certificate, list(unit.certificates.items())))
        if unit.quarantine or unit.unquarantine or unit.rejects:
            rev = self._refused(made, unit, rev, rejected)
        if unit.commands:
            done = [(c.state, escape(c.result), c.at, c.id) for c in unit.commands]
            made.append((self.command, done))
        if unit.settings:
            made.append((self.setting, [(k, escape(v)) for k, v in unit.settings.items()]))
        if unit.suspects:
            tries = [(digest.hex(), n, unit.now) for digest, n in unit.suspects.items()]
            made.append((self.suspect, tries))
        if unit.cleared:
            made.append((self.cleared, [(digest.hex(),) for digest in unit.cleared]))
        return made, rev

    def _deletes(self, made: list[Statement], unit: Unit, rev: int) -> int:
        stones: list[tuple[Any, ...]] = []
        for row_type, keys in unit.deletes.items():
            table = mapping(row_type, self.dialect)
            match = " AND ".join(f"{quote(column)} = ?" for column in table.key_columns)
            delete = self.dialect.sql(f"DELETE FROM {quote(table.table)} WHERE {match}")
            made.append((delete, [table.key_parameters(key) for key in keys]))
            for key in keys:
                rev += 1
                stones.append((table.table, table.key_text(key), unit.now, rev))
        if stones:
            made.append((self.tombstone, stones))
        return rev

    def _outbox(self, made: list[Statement], unit: Unit, rev: int) -> int:
        if unit.outbox:
            rows: list[tuple[Any, ...]] = []
            for r in unit.outbox:
                rev += 1
                # fmt: off
                rows.append((
                    r.id.hex(), escape(r.peer), escape(r.routing_key), r.type, r.payload_type, r.payload,
                    r.conversation_id.hex(), r.in_reply_to.hex(), r.created_at, r.sealed, r.stream_id,
                    r.sequence, r.state, r.tries, r.next_try, rev,
                ))
                # fmt: on
            made.append((self.outbox, rows))
        if unit.sealed:
            rows = []
            for s in unit.sealed:
                rev += 1
                rows.append((s.sealed, s.stream_id, s.sequence, rev, s.id.hex()))
            made.append((self.sealed, rows))
        if unit.sequences:
            made.append((self.sequence, [(escape(peer), n) for peer, n in unit.sequences.items()]))
        if unit.outbox_retry:
            rows = []
            for t in unit.outbox_retry:
                rev += 1
                rows.append((t.state, t.tries, t.next_try, rev, t.id.hex()))
            made.append((self.retry, rows))
        if unit.outbox_sent:
            made.append((self.sent, [(id_.hex(),) for id_ in unit.outbox_sent]))
        return rev

    def _ledger(self, made: list[Statement], unit: Unit, rev: int) -> int:
        rows: list[tuple[Any, ...]] = []
        items: list[tuple[Any, ...]] = []
        for r in unit.ledger:
            rev += 1
            ledger = rev
            # fmt: off
            rows.append((
                rev, r.direction, escape(r.peer), r.message_id.hex(), escape(r.payload_type),
                r.fingerprint, r.envelope, escape(r.verdict), r.at,
            ))
            for position, i in enumerate(r.items):
                rev += 1
                items.append((
                    rev, ledger, position, i.type, i.conversation_id.hex(), i.request_uuid.hex(),
                    i.offer_uuid.hex(), i.job_uuid.hex(), i.workflow_uuid.hex(), i.step_index,
                ))
            # fmt: on
        made.append((self.ledger, rows))
        if items:
            made.append((self.ledger_item, items))
        return rev

    def _refused(self, made: list[Statement], unit: Unit, rev: int, rejected: int) -> int:
        rows: list[tuple[Any, ...]] = []
        for q in unit.quarantine:
            rev += 1
            # fmt: off
            rows.append((
                q.key.hex(), q.kind, q.body, escape(q.sender), escape(q.reason), escape(q.error),
                q.first_at, q.last_at, q.tries, q.parked_until, rev,
            ))
            # fmt: on
        if rows:
            made.append((self.quarantine, rows))
        if unit.unquarantine:
            made.append((self.unquarantine, [(key.hex(),) for key in unit.unquarantine]))
        rows = []
        counts: dict[str, tuple[int, int]] = {}
        for r in unit.rejects:
            rev += 1
            slot = rejected % REJECT_RING
            rejected += 1
            rows.append(
                (slot, r.at, escape(r.reason), escape(r.detail), escape(r.routing_key), r.size, r.head, rev)
            )
            counts[r.reason] = (counts.get(r.reason, (0, 0))[0] + 1, r.at)
        if rows:
            made.append((self.reject, rows))
            totals: list[tuple[Any, ...]] = []
            for reason, (count, last) in counts.items():
                rev += 1
                totals.append((escape(reason)[:64], count, last, rev))
            made.append((self.reject_count, totals))
        return rev
