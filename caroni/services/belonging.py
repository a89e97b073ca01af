"""Which workflow, step and attempt a conversation belongs to: from the rows that it is about."""

# Names in statements are those of our own classes and tables; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from caroni.services.traced import TraceEntry

if TYPE_CHECKING:
    from caroni.model.store import Store


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a conversation is about. On an agent only ``attempt`` and ``job_type`` are known."""

    workflow: str = ""
    workflow_name: str = ""
    step: str = ""
    job_type: str = ""
    attempt: int = 0


_NOTHING = About()
#: conversations that are remembered
_MOST = 20_000


class Belonging:
    """Answers for one store; what was found is remembered, since a conversation is never about another."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._database = store.database
        self._known: dict[str, About] = {}
        self._names: dict[str, str] = {}

    async def fill(self, entries: list[TraceEntry]) -> list[TraceEntry]:
        """The same entries with what they belong to."""
        await self._learn({entry.conversation or entry.request for entry in entries} - {""})
        await self._learn_names({entry.workflow for entry in entries} - {""})
        return [self._filled(entry) for entry in entries]

    def _filled(self, entry: TraceEntry) -> TraceEntry:
        about = self._known.get(entry.conversation or entry.request, _NOTHING)
        workflow = about.workflow or entry.workflow
        if not workflow and about is _NOTHING:
            return entry
        return msgspec.structs.replace(
            entry,
            workflow=workflow,
            workflow_name=about.workflow_name or self._names.get(workflow, ""),
            step=about.step,
            job_type=about.job_type or entry.job_type,
            attempt=about.attempt or entry.attempt,
        )

    async def _learn(self, conversations: set[str]) -> None:
        new = [one for one in conversations if one not in self._known]
        if not new:
            return
        if len(self._known) > _MOST:
            self._known.clear()
            self._names.clear()
        found = await (self._of_manager(new) if self._store.role == "manager" else self._of_agent(new))
        self._known |= found

    async def _of_manager(self, conversations: list[str]) -> dict[str, About]:
        from caroni.model.mapping import unescape

        dialect = self._database.dialect
        rows = await self._database.fetch(
            "SELECT r.request_uuid, r.workflow_uuid, w.name, s.name, s.job_type, r.attempt FROM request r"
            " LEFT JOIN workflow w ON w.workflow_uuid = r.workflow_uuid"
            ' LEFT JOIN step s ON s.workflow_uuid = r.workflow_uuid AND s."index" = r.step_index'
            f" WHERE {dialect.any_of('r.request_uuid')}",
            dialect.texts(conversations),
        )
        found = {
            row[0]: About(
                workflow=row[1],
                workflow_name=unescape(row[2] or ""),
                step=unescape(row[3] or ""),
                job_type=unescape(row[4] or ""),
                attempt=int(row[5]),
            )
            for row in rows
        }
        # a submitter's conversation is named after its submit
        rest = [one for one in conversations if one not in found]
        if rest:
            submits = await self._database.fetch(
                "SELECT submit_uuid, workflow_uuid, name FROM workflow"
                f" WHERE {dialect.any_of('submit_uuid')}",
                dialect.texts(rest),
            )
            found |= {row[0]: About(workflow=row[1], workflow_name=unescape(row[2])) for row in submits}
        return found

    async def _of_agent(self, conversations: list[str]) -> dict[str, About]:
        from caroni.model.mapping import unescape

        dialect = self._database.dialect
        rows = await self._database.fetch(
            "SELECT request_uuid, job_type, attempt FROM agent_offer"
            f" WHERE {dialect.any_of('request_uuid')} ORDER BY rev",
            dialect.texts(conversations),
        )
        return {row[0]: About(job_type=unescape(row[1]), attempt=int(row[2])) for row in rows}

    async def _learn_names(self, workflows: set[str]) -> None:
        from caroni.model.mapping import unescape

        new = [one for one in workflows if one not in self._names]
        if not new or self._store.role != "manager":
            return
        dialect = self._database.dialect
        rows = await self._database.fetch(
            f"SELECT workflow_uuid, name FROM workflow WHERE {dialect.any_of('workflow_uuid')}",
            dialect.texts(new),
        )
        self._names |= {row[0]: unescape(row[1]) for row in rows}

    async def conversations_of_workflow(self, workflow: bytes, step: str, most: int) -> list[str] | None:
        """The conversations about a workflow or one of its steps; None where there are more than ``most``."""
        from caroni.model.mapping import escape

        if self._store.role != "manager":
            return []
        uuid = workflow.hex()
        condition, parameters = "r.workflow_uuid = ?", list[Any]([uuid])
        if step:
            condition += (
                ' AND r.step_index IN (SELECT "index" FROM step WHERE workflow_uuid = ? AND name = ?)'
            )
            parameters += [uuid, escape(step)]
        rows = await self._database.fetch(
            f"SELECT r.request_uuid FROM request r WHERE {condition} LIMIT ?", *parameters, most + 1
        )
        if len(rows) > most:
            return None
        found = [str(row[0]) for row in rows]
        if not step:
            submits = await self._database.fetch(
                "SELECT submit_uuid FROM workflow WHERE workflow_uuid = ?", uuid
            )
            found += [str(row[0]) for row in submits if row[0]]
        return found

    async def conversations_of_job(self, job: bytes) -> list[str]:
        """The conversations about a job (one, unless two agents have named theirs alike)."""
        tables: Iterable[str] = ("job", "orphan") if self._store.role == "manager" else ("agent_job",)
        found: dict[str, None] = {}
        for table in tables:
            rows = await self._database.fetch(
                f"SELECT request_uuid FROM {table} WHERE job_uuid = ?", job.hex()
            )
            found |= {str(row[0]): None for row in rows if row[0]}
        return list(found)
