"""Rows that only an agent has: one table for each class of ``AGENT_ROWS`` but ``Peer``."""

# Tortoise reads each Meta class; what it says is in the docstring of its table.
# ruff: noqa: D106

from __future__ import annotations

from tortoise import fields
from tortoise.models import Model

from caroni.model.tables.columns import change_number, hex_id, surrogate


class AvailabilityTable(Model):
    """:class:`~caroni.core.rows.Availability`."""

    id = surrogate()
    name = fields.TextField()
    draining = fields.BooleanField()
    drain_deadline = fields.BigIntField()
    away_until = fields.BigIntField()
    due = fields.BigIntField()
    rev = change_number()

    class Meta:
        table = "availability"
        unique_together = (("name",),)


class AgentOfferTable(Model):
    """:class:`~caroni.core.rows.AgentOffer`."""

    id = surrogate()
    manager = fields.TextField()
    offer_uuid = hex_id()
    request_uuid = hex_id(db_index=True)
    state = fields.TextField()
    job_type = fields.TextField()
    job_type_version = fields.TextField()
    definition_revision = fields.BigIntField()
    parameters = fields.TextField()
    round = fields.BigIntField()
    attempt = fields.BigIntField()
    due = fields.BigIntField()
    max_runtime = fields.BigIntField()
    data_class = fields.TextField()
    created_at = fields.BigIntField()
    rev = change_number()

    class Meta:
        table = "agent_offer"
        unique_together = (("offer_uuid", "manager"),)


class AgentJobTable(Model):
    """:class:`~caroni.core.rows.AgentJob`."""

    id = surrogate()
    manager = fields.TextField()
    job_uuid = hex_id()
    offer_uuid = hex_id(db_index=True)
    request_uuid = hex_id()
    state = fields.TextField()
    job_type = fields.TextField()
    job_type_version = fields.TextField()
    definition_revision = fields.BigIntField()
    parameters = fields.TextField()
    attempt = fields.BigIntField()
    missing = fields.BigIntField()
    seq = fields.BigIntField()
    kill_info = fields.TextField()
    released = fields.BooleanField()
    due = fields.BigIntField()
    tries = fields.BigIntField()
    max_runtime = fields.BigIntField()
    info = fields.TextField()
    progress = fields.FloatField()
    exit_code = fields.BigIntField(null=True)
    failure_class = fields.BigIntField()
    manifest = fields.TextField()
    stdout_tail = fields.TextField()
    stderr_tail = fields.TextField()
    wall = fields.BigIntField()
    cpu = fields.BigIntField()
    max_rss = fields.BigIntField()
    created_at = fields.BigIntField()
    queued_at = fields.BigIntField()
    started_at = fields.BigIntField()
    ended_at = fields.BigIntField()
    rev = change_number()

    class Meta:
        table = "agent_job"
        unique_together = (("job_uuid", "manager"),)


class AgentInputTable(Model):
    """:class:`~caroni.core.rows.AgentInput`."""

    id = surrogate()
    manager = fields.TextField()
    job_uuid = hex_id()
    name = fields.TextField()
    value = fields.TextField()
    rev = change_number()

    class Meta:
        table = "agent_input"
        unique_together = (("job_uuid", "manager", "name"),)


class AgentOutputTable(Model):
    """:class:`~caroni.core.rows.AgentOutput`."""

    id = surrogate()
    manager = fields.TextField()
    job_uuid = hex_id()
    name = fields.TextField()
    value = fields.TextField()
    rev = change_number()

    class Meta:
        table = "agent_output"
        unique_together = (("job_uuid", "manager", "name"),)
