"""Workflows as people ask for them: lists, steps, values, paged by keys."""

# Names in statements are those of our own classes and tables; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from caroni.core.rows import Flow, JobOutput, Row, Step, Workflow
from caroni.core.states import StepState
from caroni.model.database import Database
from caroni.model.mapping import escape, mapping
from caroni.model.sql import quote

#: ids in one question
_MANY = 5000


class WorkflowSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow and how many of its steps are in which state; ``rev`` is its last change."""

    workflow: Workflow
    steps: dict[StepState, int]
    rev: int


def _columns(database: Database, row_type: type[Row], alias: str = "") -> str:
    prefix = f"{alias}." if alias else ""
    return ", ".join(prefix + quote(c) for c in mapping(row_type, database.dialect).columns)


async def _rows(database: Database, row_type: type[Row], condition: str, *parameters: Any) -> list[Row]:
    table = mapping(row_type, database.dialect)
    query = f"SELECT {_columns(database, row_type)} FROM {quote(table.table)} WHERE {condition}"
    return [table.decode(record) for record in await database.fetch(query, *parameters)]


async def workflows(
    database: Database, limit: int, before: int | None, submitter: str | None
) -> list[WorkflowSummary]:
    """See :meth:`~caroni.model.store.Store.workflows`."""
    conditions, parameters = ["1 = 1"], list[Any]()
    if before is not None:
        conditions.append("rev < ?")
        parameters.append(before)
    if submitter is not None:
        conditions.append("submitter = ?")
        parameters.append(escape(submitter))
    condition = f"{' AND '.join(conditions)} ORDER BY rev DESC LIMIT ?"
    return await _summaries(database, condition, *parameters, limit)


async def workflow(database: Database, workflow_uuid: bytes) -> WorkflowSummary | None:
    """See :meth:`~caroni.model.store.Store.workflow`."""
    found = await _summaries(database, "workflow_uuid = ?", workflow_uuid.hex())
    return found[0] if found else None


async def _summaries(database: Database, condition: str, *parameters: Any) -> list[WorkflowSummary]:
    table = mapping(Workflow, database.dialect)
    query = f"SELECT rev, {_columns(database, Workflow)} FROM workflow WHERE {condition}"
    found: Sequence[tuple[int, Workflow]] = [
        (rev, table.decode(record)) for rev, *record in await database.fetch(query, *parameters)
    ]
    counts: dict[str, dict[StepState, int]] = {row.workflow_uuid.hex(): {} for _, row in found}
    if counts:
        dialect = database.dialect
        groups = await database.fetch(
            "SELECT workflow_uuid, state, COUNT(*) FROM step"
            f" WHERE {dialect.any_of('workflow_uuid')} GROUP BY workflow_uuid, state",
            dialect.texts(counts),
        )
        for uuid, state, count in groups:
            counts[uuid][StepState(state)] = count
    return [
        WorkflowSummary(workflow=row, steps=counts[row.workflow_uuid.hex()], rev=rev) for rev, row in found
    ]


async def steps(
    database: Database, workflow_uuid: bytes, limit: int, after: int, state: str | None
) -> list[Row]:
    """See :meth:`~caroni.model.store.Store.steps`."""
    condition, parameters = 'workflow_uuid = ? AND "index" > ?', [workflow_uuid.hex(), after]
    if state is not None:
        condition += " AND state = ?"
        parameters.append(state)
    return await _rows(database, Step, f'{condition} ORDER BY "index" LIMIT ?', *parameters, limit)


async def flows(database: Database, workflow_uuid: bytes, limit: int, after: str) -> list[Row]:
    """See :meth:`~caroni.model.store.Store.flows`."""
    condition = "workflow_uuid = ? AND name > ? ORDER BY name LIMIT ?"
    return await _rows(database, Flow, condition, workflow_uuid.hex(), escape(after), limit)


async def job_outputs(database: Database, workflow_uuid: bytes, limit: int, skip: int) -> list[Row]:
    """See :meth:`~caroni.model.store.Store.job_outputs`."""
    table = mapping(JobOutput, database.dialect)
    records = await database.fetch(
        f"SELECT {_columns(database, JobOutput, 't')} FROM job j"
        " JOIN job_output t ON t.job_uuid = j.job_uuid AND t.agent = j.agent"
        " WHERE j.workflow_uuid = ? ORDER BY j.step_index, j.attempt, t.name LIMIT ? OFFSET ?",
        workflow_uuid.hex(),
        limit,
        skip,
    )
    return [table.decode(record) for record in records]


async def agent_jobs(database: Database, job_uuids: Sequence[bytes]) -> dict[bytes, str]:
    """See :meth:`~caroni.model.store.Store.agent_jobs`."""
    dialect = database.dialect
    query = f"SELECT job_uuid, state FROM agent_job WHERE {dialect.any_of('job_uuid')}"
    found: dict[bytes, str] = {}
    for start in range(0, len(job_uuids), _MANY):
        some = dialect.texts(uuid.hex() for uuid in job_uuids[start : start + _MANY])
        found.update((bytes.fromhex(r[0]), str(r[1])) for r in await database.fetch(query, some))
    return found
