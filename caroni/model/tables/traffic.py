"""Messages: what came, what goes, what is kept of both, and what was refused.

Integer primary keys that have a meaning (``rev``, ``slot``) are always given, never left to the database;
to SQLite they are the row's own number, so they cost no index.
"""

# Tortoise reads each Meta class; what it says is in the docstring of its table.
# ruff: noqa: D106

from __future__ import annotations

from tortoise import fields
from tortoise.models import Model

from caroni.model.tables.columns import change_number, hex_id, surrogate


class InboxTable(Model):
    """Ids of messages whose effect is durable, until their lifetime cap: the replay cache."""

    id = surrogate()
    sender = fields.TextField()
    message_id = hex_id()
    deadline = fields.BigIntField(db_index=True)

    class Meta:
        table = "inbox"
        # the random id first, so that a batch is looked up by ids alone
        unique_together = (("message_id", "sender"),)


class OutboxTable(Model):
    """Envelopes to publish. A row goes when the broker has confirmed it. The ledger keeps the bytes."""

    id = hex_id(primary_key=True)
    peer = fields.TextField()
    routing_key = fields.TextField()
    type = fields.TextField()
    payload_type = fields.TextField()
    conversation_id = hex_id()
    in_reply_to = hex_id()
    created_at = fields.BigIntField()
    stream_id = fields.BigIntField()
    sequence = fields.BigIntField()
    state = fields.TextField()
    tries = fields.BigIntField()
    next_try = fields.BigIntField()
    rev = change_number()
    # the large columns come last in every table, so that a scan of the others does not read them
    payload = fields.BinaryField()
    sealed = fields.BinaryField(null=True)

    class Meta:
        table = "outbox"


class SequenceTable(Model):
    """The next sequence number of our stream towards one recipient."""

    id = surrogate()
    peer = fields.TextField()
    next = fields.BigIntField()

    class Meta:
        table = "sequence"
        unique_together = (("peer",),)


class LedgerTable(Model):
    """Sealed envelopes of both directions with the verdict they met, in the order of ``rev``."""

    rev = fields.BigIntField(primary_key=True)
    direction = fields.TextField()
    peer = fields.TextField()
    message_id = hex_id()
    payload_type = fields.TextField()
    fingerprint = fields.TextField()
    verdict = fields.TextField()
    at = fields.BigIntField()
    envelope = fields.BinaryField()

    class Meta:
        table = "ledger"


class LedgerItemTable(Model):
    """One message of a ledger row (a bundle has several), found by its conversation."""

    rev = fields.BigIntField(primary_key=True)
    #: ``rev`` of the ledger row, always lower than that of its items
    ledger = fields.BigIntField()
    position = fields.BigIntField()
    type = fields.TextField()
    conversation_id = hex_id(db_index=True)
    request_uuid = hex_id()
    offer_uuid = hex_id()
    job_uuid = hex_id()
    workflow_uuid = hex_id()
    step_index = fields.BigIntField(null=True)

    class Meta:
        table = "ledger_item"


class CertificateTable(Model):
    """Each certificate once, under the fingerprint that ledger rows name."""

    fingerprint = fields.CharField(max_length=128, primary_key=True)
    pem = fields.TextField()

    class Meta:
        table = "certificate"


class QuarantineTable(Model):
    """Authenticated messages, and workflows, that failed for good: kept for the operator."""

    key = hex_id(primary_key=True)
    kind = fields.TextField()
    body = fields.BinaryField()
    sender = fields.TextField()
    reason = fields.TextField()
    error = fields.TextField()
    first_at = fields.BigIntField()
    last_at = fields.BigIntField()
    tries = fields.BigIntField()
    parked_until = fields.BigIntField()
    rev = change_number()

    class Meta:
        table = "quarantine"


class SuspectTable(Model):
    """Deliveries that were being worked on when a daemon died, by the digest of their body."""

    digest = hex_id(primary_key=True)
    tries = fields.BigIntField()
    last_at = fields.BigIntField()

    class Meta:
        table = "suspect"


class RejectTable(Model):
    """The last unauthenticated messages, as a ring of fixed size."""

    slot = fields.IntField(primary_key=True)
    at = fields.BigIntField()
    reason = fields.TextField()
    detail = fields.TextField()
    routing_key = fields.TextField()
    size = fields.BigIntField()
    head = fields.BinaryField()
    rev = change_number()

    class Meta:
        table = "reject"


class RejectCountTable(Model):
    """How often each reason refused an unauthenticated message."""

    reason = fields.CharField(max_length=64, primary_key=True)
    count = fields.BigIntField()
    last_at = fields.BigIntField()
    rev = change_number()

    class Meta:
        table = "reject_count"
