"""Recovery: who is away, orphans of a restored database, wishes, and deliveries that kill."""

# ruff: noqa: D101, E501

from __future__ import annotations

from tortoise import fields, migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("caroni", "0001_initial")]

    initial = False

    operations = [
        ops.CreateModel(
            name="AvailabilityTable",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("name", fields.TextField(unique=False)),
                ("draining", fields.BooleanField()),
                ("drain_deadline", fields.BigIntField()),
                ("away_until", fields.BigIntField()),
                ("due", fields.BigIntField()),
                ("rev", fields.BigIntField(db_index=True)),
            ],
            options={
                "table": "availability",
                "app": "caroni",
                "unique_together": (("name",),),
                "pk_attr": "id",
                "table_description": ":class:`~caroni.core.rows.Availability`.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="OrphanTable",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("agent", fields.TextField(unique=False)),
                ("job_uuid", fields.CharField(max_length=64)),
                ("request_uuid", fields.CharField(max_length=64)),
                ("status", fields.BigIntField()),
                ("due", fields.BigIntField()),
                ("first_at", fields.BigIntField()),
                ("last_at", fields.BigIntField()),
                ("info", fields.TextField(unique=False)),
                ("rev", fields.BigIntField(db_index=True)),
            ],
            options={
                "table": "orphan",
                "app": "caroni",
                "unique_together": (("job_uuid", "agent"),),
                "pk_attr": "id",
                "table_description": ":class:`~caroni.core.rows.Orphan`.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="SuspectTable",
            fields=[
                ("digest", fields.CharField(primary_key=True, unique=True, db_index=True, max_length=64)),
                ("tries", fields.BigIntField()),
                ("last_at", fields.BigIntField()),
            ],
            options={
                "table": "suspect",
                "app": "caroni",
                "pk_attr": "digest",
                "table_description": "Deliveries that were being worked on when a daemon died, by the digest of their body.",
            },
            bases=["Model"],
        ),
        ops.AddField(
            model_name="JobTable",
            name="kill_asked_at",
            field=fields.BigIntField(db_default=0),
        ),
        ops.AddField(
            model_name="JobTable",
            name="kill_info",
            field=fields.TextField(db_default="", unique=False),
        ),
        ops.AddField(
            model_name="JobTable",
            name="pause_wanted",
            field=fields.BooleanField(db_default=False),
        ),
        ops.AddField(
            model_name="PeerTable",
            name="gaps",
            field=fields.BigIntField(db_default=0),
        ),
        ops.AddField(
            model_name="PeerTable",
            name="presence",
            field=fields.BigIntField(db_default=0),
        ),
        ops.AddField(
            model_name="PeerTable",
            name="report_asked_at",
            field=fields.BigIntField(db_default=0),
        ),
        ops.AddField(
            model_name="PeerTable",
            name="reported_at",
            field=fields.BigIntField(db_default=0),
        ),
        ops.AddField(
            model_name="PeerTable",
            name="rolled_back_at",
            field=fields.BigIntField(db_default=0),
        ),
        ops.AddField(
            model_name="RequestTable",
            name="warned",
            field=fields.BooleanField(db_default=False),
        ),
        ops.AddField(
            model_name="StepTable",
            name="doubtful",
            field=fields.BooleanField(db_default=False),
        ),
    ]
