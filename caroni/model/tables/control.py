"""What is about the database itself: commands from outside, removed rows, facts."""

# Tortoise reads each Meta class; what it says is in the docstring of its table.
# ruff: noqa: D106

from __future__ import annotations

from tortoise import fields
from tortoise.models import Model

from caroni.model.tables.columns import change_number, surrogate


class CommandTable(Model):
    """What an operator wishes, written by CLI or console, done by the daemon that owns the database."""

    id = surrogate()
    kind = fields.TextField()
    args = fields.TextField()
    state = fields.TextField()
    result = fields.TextField()
    created_at = fields.BigIntField()
    done_at = fields.BigIntField()

    class Meta:
        table = "command"
        indexes = (("state",),)


class TombstoneTable(Model):
    """A row that is gone, for readers that follow ``rev`` (that of an owner stands for all it owned)."""

    id = surrogate()
    table = fields.TextField()
    key = fields.TextField()
    at = fields.BigIntField()
    rev = change_number()

    class Meta:
        table = "tombstone"
        unique_together = (("table", "key"),)


class SettingTable(Model):
    """Facts about this database: role, identity, stream, the highest revision ever given."""

    key = fields.CharField(max_length=128, primary_key=True)
    value = fields.TextField()

    class Meta:
        table = "setting"
