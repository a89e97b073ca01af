"""Templates and job definitions: immutable revisions that workflows and jobs pin."""

# Tortoise reads each Meta class; what it says is in the docstring of its table.
# ruff: noqa: D106

from __future__ import annotations

from tortoise import fields
from tortoise.models import Model

from caroni.model.tables.columns import surrogate


class TemplateTable(Model):
    """One revision of a workflow template: its documents and the plan made of them."""

    id = surrogate()
    name = fields.TextField()
    revision = fields.BigIntField()
    digest = fields.TextField()
    documents = fields.TextField()
    plan = fields.TextField()
    created_at = fields.BigIntField()

    class Meta:
        table = "template"
        unique_together = (("name", "revision"),)


class JobDefinitionTable(Model):
    """One revision of a job definition, which runs only where the agent has made it active."""

    id = surrogate()
    name = fields.TextField()
    version = fields.TextField()
    revision = fields.BigIntField()
    digest = fields.TextField()
    body = fields.TextField()
    yaml = fields.TextField()
    active = fields.BooleanField()
    created_at = fields.BigIntField()

    class Meta:
        table = "job_definition"
        unique_together = (("name", "revision"),)
