"""What a manager's database testifies about a workflow that is not done: rows, and the ledger's instants.

Nothing here decides or guesses; a row that cannot be read is left out and counted.
"""

# Names in statements are those of our own classes and tables; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from caroni.core.plan import Plan
from caroni.core.rows import Job, Offer, Peer, Request, Row, Step, Workflow
from caroni.core.states import StepState

if TYPE_CHECKING:
    from caroni.model.store import Store

R = TypeVar("R", bound=Row)

#: steps that are looked at closely
MAX_STEPS = 50

#: what is looked at first
_ORDER = (
    StepState.HELD.value,
    StepState.FAILED.value,
    StepState.FULFILLING.value,
    StepState.FULFILLED.value,
    StepState.RUNNING.value,
    StepState.WAITING.value,
)
_DONE = (StepState.COMPLETED.value, StepState.CANCELLED.value)
_WANTED = (
    f"state NOT IN ({', '.join(repr(state) for state in _DONE)}) ORDER BY CASE state"
    f' {" ".join(f"WHEN {state!r} THEN {place}" for place, state in enumerate(_ORDER))} END, missing, "index"'
)

_OPEN_REQUESTS = "SELECT COUNT(*) FROM request WHERE state IN ('open', 'accepting')"
_SAID = ("JobFulfillmentRequest", "JobFulfillmentDecline", "JobStatusUpdate")


class Testimony(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an explanation is made of. Instants in wall microseconds."""

    now: int
    workflow: Workflow
    plan: Plan
    #: every step's state, by name
    states: dict[str, str]
    #: those to be explained, the most telling first
    chosen: tuple[Step, ...]
    left_out: int = 0
    requests: dict[bytes, Request] = {}
    offers: dict[bytes, list[Offer]] = {}
    jobs: dict[tuple[str, bytes], Job] = {}
    peers: dict[str, Peer] = {}
    #: names of the values that are there
    flows: frozenset[str] = frozenset()
    #: (conversation, message type, sender or receiver) -> when it last passed
    said: dict[tuple[bytes, str, str], int] = {}
    #: recipient -> (messages that have not left, since when)
    unsent: dict[str, tuple[int, int]] = {}
    open_requests: int = 0
    started_at: int = 0
    hold_until: int = 0
    #: why the workflow could not be read, from the quarantine
    unreadable: str = ""
    broken_rows: int = 0


async def gather(
    store: Store,
    workflow: Workflow,
    now: int,
    step: str = "",
    limit: int = MAX_STEPS,
    plan: Plan | None = None,
) -> Testimony:
    """Gather what is known of a workflow, or closely of one of its steps.

    Args:
        store: a manager's, open for reading.
        workflow: whose.
        now: wall microseconds.
        step: the name of the one step to look at; empty for those that are not done.
        limit: at most so many steps.
        plan: the workflow's, where it is in memory already.
    """
    return await _Gathering(store, workflow, now, plan).all(step, limit)


class _Gathering:
    def __init__(self, store: Store, workflow: Workflow, now: int, plan: Plan | None) -> None:
        self.known_plan = plan
        self.database = store.database
        self.store = store
        self.workflow = workflow
        self.uuid = workflow.workflow_uuid
        self.now = now
        self.broken = 0

    async def rows(self, row_type: type[R], condition: str, *parameters: object) -> list[R]:
        from caroni.model.mapping import mapping
        from caroni.model.sql import quote

        table = mapping(row_type, self.database.dialect)
        columns = ", ".join(quote(column) for column in table.columns)
        query = f"SELECT {columns} FROM {quote(table.table)} WHERE {condition}"
        found: list[R] = []
        for record in await self.database.fetch(query, *parameters):
            try:
                found.append(table.decode(record))
            except Exception:  # whatever a damaged row makes a decoder say: it is no testimony
                self.broken += 1
        return found

    async def of(self, row_type: type[R], column: str, ids: Iterable[bytes]) -> list[R]:
        texts = [id_.hex() for id_ in dict.fromkeys(ids) if id_]
        if not texts:
            return []
        dialect = self.database.dialect
        return await self.rows(row_type, dialect.any_of(column), dialect.texts(texts))

    async def all(self, name: str, limit: int) -> Testimony:
        from caroni.model.mapping import escape, unescape

        states = await self.database.fetch(
            "SELECT name, state FROM step WHERE workflow_uuid = ?", self.uuid.hex()
        )
        left_out = 0
        if name:
            condition = "workflow_uuid = ? AND name = ?"
            chosen = await self.rows(Step, condition, self.uuid.hex(), escape(name))
        else:
            chosen = await self.rows(Step, f"workflow_uuid = ? AND {_WANTED} LIMIT ?", self.uuid.hex(), limit)
            left_out = max(sum(state not in _DONE for _, state in states) - len(chosen) - self.broken, 0)
        requests = {
            r.key: r for r in await self.of(Request, "request_uuid", (s.request_uuid for s in chosen))
        }
        offers: dict[bytes, list[Offer]] = {}
        for offer in await self.of(Offer, "request_uuid", requests):
            offers.setdefault(offer.request_uuid, []).append(offer)
        named = {key for step in chosen for key in step.jobs}
        jobs = {
            job.key: job
            for job in await self.of(Job, "job_uuid", (uuid for _, uuid in named))
            if job.key in named
        }
        facts = await self.store.settings()
        return Testimony(
            now=self.now,
            workflow=self.workflow,
            plan=self.known_plan or await self.plan(),
            states={unescape(name): str(state) for name, state in states},
            chosen=tuple(chosen),
            left_out=left_out,
            requests=requests,
            offers=offers,
            jobs=jobs,
            peers={peer.uri: peer for peer in await self.rows(Peer, "1 = 1")},
            flows=await self.flows(),
            said=await self.said([*requests, *(job.request_uuid for job in jobs.values())]),
            unsent=await unsent(self.store),
            open_requests=await self.count(
                "SELECT COUNT(*) FROM request WHERE state IN ('open', 'accepting')"
            ),
            started_at=int(facts.get("started_at") or 0),
            hold_until=int(facts.get("hold_until") or 0),
            unreadable=await self.unreadable(),
            broken_rows=self.broken,
        )

    async def count(self, query: str) -> int:
        return int((await self.database.fetch(query))[0][0])

    async def plan(self) -> Plan:
        from caroni.cwl import plan_from_json

        template = await self.store.template(self.workflow.template, self.workflow.revision)
        return await asyncio.to_thread(plan_from_json, template.plan) if template is not None else Plan()

    async def flows(self) -> frozenset[str]:
        from caroni.model.mapping import unescape

        rows = await self.database.fetch("SELECT name FROM flow WHERE workflow_uuid = ?", self.uuid.hex())
        return frozenset(unescape(row[0]) for row in rows)

    async def said(self, conversations: list[bytes]) -> dict[tuple[bytes, str, str], int]:
        from caroni.model.mapping import unescape

        if not conversations:
            return {}
        dialect = self.database.dialect
        kinds = ", ".join(f"'{kind}'" for kind in _SAID)
        rows = await self.database.fetch(
            "SELECT i.conversation_id, i.type, l.peer, MAX(l.at) FROM ledger_item i"
            " JOIN ledger l ON l.rev = i.ledger"
            f" WHERE {dialect.any_of('i.conversation_id')} AND i.type IN ({kinds})"
            " GROUP BY i.conversation_id, i.type, l.peer",
            dialect.texts(uuid.hex() for uuid in dict.fromkeys(conversations) if uuid),
        )
        return {(bytes.fromhex(r[0]), r[1], unescape(r[2])): int(r[3]) for r in rows}

    async def unreadable(self) -> str:
        from caroni.model.mapping import unescape

        rows = await self.database.fetch("SELECT error FROM quarantine WHERE key = ?", self.uuid.hex())
        return unescape(rows[0][0]) if rows else ""


async def unsent(store: Store) -> dict[str, tuple[int, int]]:
    """Recipient -> how many envelopes have not left for him, and when the oldest was written."""
    from caroni.model.mapping import unescape

    rows: Any = await store.database.fetch(
        "SELECT peer, COUNT(*), MIN(created_at) FROM outbox WHERE state <> 'dead' GROUP BY peer"
    )
    return {unescape(row[0]): (int(row[1]), int(row[2])) for row in rows}
