"""Rows that only a manager has: one table for each class of ``MANAGER_ROWS`` but ``Peer``."""

# Tortoise reads each Meta class; what it says is in the docstring of its table.
# ruff: noqa: D106

from __future__ import annotations

from tortoise import fields
from tortoise.models import Model

from caroni.model.tables.columns import change_number, hex_id, surrogate


class WorkflowTable(Model):
    """:class:`~caroni.core.rows.Workflow`."""

    workflow_uuid = hex_id(primary_key=True)
    state = fields.TextField()
    name = fields.TextField()
    template = fields.TextField()
    revision = fields.BigIntField()
    submitter = fields.TextField()
    submit_uuid = hex_id(db_index=True)
    paused = fields.BooleanField()
    watch = fields.BooleanField()
    kill_on_failure = fields.BooleanField()
    reserve_all = fields.BooleanField()
    steps_total = fields.BigIntField()
    steps_left = fields.BigIntField()
    failure = fields.TextField()
    created_at = fields.BigIntField()
    ended_at = fields.BigIntField()
    rev = change_number()

    class Meta:
        table = "workflow"


class StepTable(Model):
    """:class:`~caroni.core.rows.Step`."""

    id = surrogate()
    workflow_uuid = hex_id()
    index = fields.BigIntField()
    name = fields.TextField()
    job_type = fields.TextField()
    state = fields.TextField()
    missing = fields.BigIntField()
    attempt = fields.BigIntField()
    job_failures = fields.BigIntField()
    other_failures = fields.BigIntField()
    request_uuid = hex_id()
    agent = fields.TextField()
    job_uuid = hex_id()
    winner_agent = fields.TextField()
    winner_job_uuid = hex_id()
    jobs = fields.TextField()
    excluded = fields.TextField()
    due = fields.BigIntField()
    doubtful = fields.BooleanField(db_default=False)
    cause = fields.TextField()
    failure = fields.TextField()
    exit_code = fields.BigIntField(null=True)
    stderr_tail = fields.TextField()
    ready_at = fields.BigIntField()
    started_at = fields.BigIntField()
    ended_at = fields.BigIntField()
    rev = change_number()

    class Meta:
        table = "step"
        unique_together = (("workflow_uuid", "index"),)


class RequestTable(Model):
    """:class:`~caroni.core.rows.Request`."""

    request_uuid = hex_id(primary_key=True)
    workflow_uuid = hex_id(db_index=True)
    step_index = fields.BigIntField()
    attempt = fields.BigIntField()
    state = fields.TextField()
    round = fields.BigIntField()
    due = fields.BigIntField()
    offers = fields.TextField()
    agent = fields.TextField()
    offer_uuid = hex_id()
    accept_tries = fields.BigIntField()
    declines = fields.TextField()
    unheard = fields.BooleanField()
    warned = fields.BooleanField(db_default=False)
    created_at = fields.BigIntField()
    rev = change_number()

    class Meta:
        table = "request"


class OfferTable(Model):
    """:class:`~caroni.core.rows.Offer`."""

    id = surrogate()
    agent = fields.TextField()
    offer_uuid = hex_id()
    request_uuid = hex_id(db_index=True)
    state = fields.TextField()
    expires_at = fields.BigIntField()
    max_offline = fields.BigIntField()
    queue_depth = fields.BigIntField()
    job_type_version = fields.TextField()
    received_at = fields.BigIntField()
    rev = change_number()

    class Meta:
        table = "offer"
        unique_together = (("offer_uuid", "agent"),)


class JobTable(Model):
    """:class:`~caroni.core.rows.Job`."""

    id = surrogate()
    agent = fields.TextField()
    job_uuid = hex_id()
    workflow_uuid = hex_id(db_index=True)
    step_index = fields.BigIntField()
    attempt = fields.BigIntField()
    request_uuid = hex_id()
    offer_uuid = hex_id()
    state = fields.TextField()
    stream_id = fields.BigIntField()
    seq = fields.BigIntField()
    max_offline = fields.BigIntField()
    ended = fields.BooleanField()
    kill_wanted = fields.BooleanField()
    kill_asked_at = fields.BigIntField(db_default=0)
    kill_info = fields.TextField(db_default="")
    pause_wanted = fields.BooleanField(db_default=False)
    suspect = fields.BooleanField()
    due = fields.BigIntField()
    tries = fields.BigIntField()
    manifest = fields.TextField()
    info = fields.TextField()
    progress = fields.FloatField()
    exit_code = fields.BigIntField(null=True)
    failure_class = fields.BigIntField()
    stdout_tail = fields.TextField()
    stderr_tail = fields.TextField()
    wall = fields.BigIntField()
    cpu = fields.BigIntField()
    max_rss = fields.BigIntField()
    accepted_at = fields.BigIntField()
    started_at = fields.BigIntField()
    ended_at = fields.BigIntField()
    rev = change_number()

    class Meta:
        table = "job"
        unique_together = (("job_uuid", "agent"),)


class JobOutputTable(Model):
    """:class:`~caroni.core.rows.JobOutput`."""

    id = surrogate()
    agent = fields.TextField()
    job_uuid = hex_id()
    name = fields.TextField()
    value = fields.TextField()
    rev = change_number()

    class Meta:
        table = "job_output"
        unique_together = (("job_uuid", "agent", "name"),)


class JobLogTable(Model):
    """:class:`~caroni.core.rows.JobLog`."""

    id = surrogate()
    agent = fields.TextField()
    job_uuid = hex_id()
    stream = fields.TextField()
    asked_at = fields.BigIntField()
    answered_at = fields.BigIntField()
    refusal = fields.TextField()
    at = fields.BigIntField()
    offset = fields.BigIntField()
    total = fields.BigIntField()
    end = fields.BooleanField()
    data = fields.TextField()
    rev = change_number()

    class Meta:
        table = "job_log"
        unique_together = (("job_uuid", "agent", "stream"),)


class FlowTable(Model):
    """:class:`~caroni.core.rows.Flow`."""

    id = surrogate()
    workflow_uuid = hex_id()
    name = fields.TextField()
    value = fields.TextField()
    agent = fields.TextField()
    job_uuid = hex_id()
    rev = change_number()

    class Meta:
        table = "flow"
        unique_together = (("workflow_uuid", "name"),)


class OrphanTable(Model):
    """:class:`~caroni.core.rows.Orphan`."""

    id = surrogate()
    agent = fields.TextField()
    job_uuid = hex_id()
    request_uuid = hex_id()
    status = fields.BigIntField()
    due = fields.BigIntField()
    first_at = fields.BigIntField()
    last_at = fields.BigIntField()
    info = fields.TextField()
    rev = change_number()

    class Meta:
        table = "orphan"
        unique_together = (("job_uuid", "agent"),)
