"""Peers: the one row class that both roles have."""

# Tortoise reads each Meta class; what it says is in the docstring of its table.
# ruff: noqa: D106

from __future__ import annotations

from tortoise import fields
from tortoise.models import Model

from caroni.model.tables.columns import change_number, hex_id, surrogate


class PeerTable(Model):
    """:class:`~caroni.core.rows.Peer`."""

    id = surrogate()
    uri = fields.TextField()
    first_contact = fields.BigIntField()
    last_contact = fields.BigIntField()
    stream_id = fields.BigIntField()
    sequence = fields.BigIntField()
    gaps = fields.BigIntField(db_default=0)
    rolled_back_at = fields.BigIntField(db_default=0)
    presence = fields.BigIntField(db_default=0)
    away_until = fields.BigIntField()
    boot_id = hex_id()
    presence_number = fields.BigIntField()
    asked_at = fields.BigIntField()
    report_asked_at = fields.BigIntField(db_default=0)
    reported_at = fields.BigIntField(db_default=0)
    rev = change_number()

    class Meta:
        table = "peer"
        unique_together = (("uri",),)
