"""What the operator's console shows: logs of jobs that managers ask for."""

# ruff: noqa: D101

from __future__ import annotations

from tortoise import fields, migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("caroni", "0002_recovery")]

    initial = False

    operations = [
        ops.CreateModel(
            name="JobLogTable",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("agent", fields.TextField(unique=False)),
                ("job_uuid", fields.CharField(max_length=64)),
                ("stream", fields.TextField(unique=False)),
                ("asked_at", fields.BigIntField()),
                ("answered_at", fields.BigIntField()),
                ("refusal", fields.TextField(unique=False)),
                ("at", fields.BigIntField()),
                ("offset", fields.BigIntField()),
                ("total", fields.BigIntField()),
                ("end", fields.BooleanField()),
                ("data", fields.TextField(unique=False)),
                ("rev", fields.BigIntField(db_index=True)),
            ],
            options={
                "table": "job_log",
                "app": "caroni",
                "unique_together": (("job_uuid", "agent", "stream"),),
                "pk_attr": "id",
                "table_description": ":class:`~caroni.core.rows.JobLog`.",
            },
            bases=["Model"],
        ),
    ]
