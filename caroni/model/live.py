"""What a daemon has in memory, read back: all that lives at a start, slices for the rest on demand.

At a start a row that cannot be read quarantines its owner (a workflow, an agent's job) and nothing else.
"""

# Names in statements are those of our own classes and tables; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any

import msgspec

from caroni.core.rows import (
    AgentInput,
    AgentJob,
    AgentOffer,
    AgentOutput,
    Availability,
    Flow,
    Job,
    JobOutput,
    Offer,
    Orphan,
    Peer,
    Request,
    Row,
    Step,
    Workflow,
)
from caroni.core.states import (
    AgentOfferState,
    JobState,
    RequestState,
    StepState,
    WorkflowState,
    is_terminal,
)
from caroni.model.database import Database
from caroni.model.mapping import mapping
from caroni.model.sql import quote

#: A row's natural key; a workflow is also found by ``(submitter, submit_uuid)``, an agent's offer also
#: by ``(manager, request_uuid)``.
SliceKey = tuple[type[Row], Hashable]


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of all that lives, and what could not be read: ``(workflow or job uuid, error)``.

    No row of a broken owner is in ``rows``. A broken peer is under the empty id.
    """

    rows: list[Row]
    broken: list[tuple[bytes, str]]


def _names(states: Iterable[str]) -> str:
    return ", ".join(f"'{state}'" for state in states)


_ENDED_WORKFLOWS = _names(s for s in WorkflowState if is_terminal(s))
_ENDED_STEPS = _names(s for s in StepState if is_terminal(s))
#: the job may still have to be told to stop, or reports that it ended
_UNSETTLED_JOBS = _names(s for s in JobState if not is_terminal(s) and s != JobState.LOST)
#: jobs of workflows that have ended keep their workflow in memory until they are settled
_UNSETTLED = f"(due > 0 OR state IN ({_UNSETTLED_JOBS}))"
_OPEN_WORKFLOWS = f"SELECT workflow_uuid FROM workflow WHERE state NOT IN ({_ENDED_WORKFLOWS})"
_LIVE_WORKFLOWS = f"{_OPEN_WORKFLOWS} UNION SELECT workflow_uuid FROM job WHERE {_UNSETTLED}"
#: of a workflow that has ended only the steps of its unsettled jobs
_LIVE_STEPS = (
    f"SELECT id FROM step WHERE workflow_uuid IN ({_OPEN_WORKFLOWS})"
    " UNION SELECT s.id FROM step s"
    ' JOIN job j ON j.workflow_uuid = s.workflow_uuid AND j.step_index = s."index"'
    f" WHERE j.due > 0 OR j.state IN ({_UNSETTLED_JOBS})"
)
_OPEN_REQUESTS = _names([RequestState.OPEN, RequestState.ACCEPTING])
_LIVE_REQUESTS = (
    "SELECT r.request_uuid FROM request r"
    ' JOIN step s ON s.workflow_uuid = r.workflow_uuid AND s."index" = r.step_index'
    f" WHERE r.workflow_uuid IN ({_LIVE_WORKFLOWS})"
    f" AND (r.state IN ({_OPEN_REQUESTS}) OR s.state NOT IN ({_ENDED_STEPS}))"
)
_LIVE_JOBS = (
    "SELECT j.id FROM job j"
    ' JOIN step s ON s.workflow_uuid = j.workflow_uuid AND s."index" = j.step_index'
    f" WHERE j.workflow_uuid IN ({_LIVE_WORKFLOWS})"
    f" AND (j.due > 0 OR j.state IN ({_UNSETTLED_JOBS}) OR s.state NOT IN ({_ENDED_STEPS}))"
)
#: (row class, query for its owner, join and condition); ``t`` is the table itself
_MANAGER_LIVE: tuple[tuple[type[Row], str, str], ...] = (
    (Peer, "''", ""),
    (Workflow, "t.workflow_uuid", f"WHERE t.workflow_uuid IN ({_LIVE_WORKFLOWS})"),
    (Step, "t.workflow_uuid", f"WHERE t.id IN ({_LIVE_STEPS})"),
    (Request, "t.workflow_uuid", f"WHERE t.request_uuid IN ({_LIVE_REQUESTS})"),
    (
        Offer,
        "r.workflow_uuid",
        f"JOIN request r ON r.request_uuid = t.request_uuid WHERE t.request_uuid IN ({_LIVE_REQUESTS})",
    ),
    (Job, "t.workflow_uuid", f"WHERE t.id IN ({_LIVE_JOBS})"),
    (
        JobOutput,
        "j.workflow_uuid",
        f"JOIN job j ON j.job_uuid = t.job_uuid AND j.agent = t.agent WHERE j.id IN ({_LIVE_JOBS})",
    ),
    (Flow, "t.workflow_uuid", f"WHERE t.workflow_uuid IN ({_OPEN_WORKFLOWS})"),
    (Orphan, "t.job_uuid", "WHERE t.due > 0"),
)

_OPEN_OFFERS = (
    f"(t.state = '{AgentOfferState.OPEN}' OR (t.state = '{AgentOfferState.ACCEPTED}' AND EXISTS"
    " (SELECT 1 FROM agent_job j WHERE j.offer_uuid = t.offer_uuid AND j.manager = t.manager"
    " AND NOT j.released)))"
)
_OF_UNRELEASED = "JOIN agent_job j ON j.job_uuid = t.job_uuid AND j.manager = t.manager WHERE NOT j.released"
_AGENT_LIVE: tuple[tuple[type[Row], str, str], ...] = (
    (Peer, "''", ""),
    (Availability, "''", ""),
    (AgentOffer, "t.offer_uuid", f"WHERE {_OPEN_OFFERS}"),
    # with the tombstones of jobs that were killed before they were known
    (AgentJob, "t.job_uuid", "WHERE NOT t.released OR t.offer_uuid = ''"),
    (AgentInput, "t.job_uuid", _OF_UNRELEASED),
    (AgentOutput, "t.job_uuid", _OF_UNRELEASED),
)


async def _load_live(
    database: Database, tables: Iterable[tuple[type[Row], str, str]], of: bytes | None
) -> Live:
    owned: list[tuple[bytes, Row]] = []
    broken: dict[bytes, str] = {}
    for row_type, owner, condition in tables:
        table = mapping(row_type, database.dialect)
        columns = ", ".join(f"t.{quote(column)}" for column in table.columns)
        query = f"SELECT {owner} AS owner, t.rev, {columns} FROM {quote(table.table)} t {condition}"
        if of is None:
            records = await database.fetch(f"{query} ORDER BY t.rev")
        else:
            records = await database.fetch(f"SELECT * FROM ({query}) live WHERE owner = ?", _text(of))
        decode = table.decode
        for record in records:
            identity, _, *values = record
            try:
                owned.append((bytes.fromhex(identity), decode(values)))
            except Exception as error:
                text = f"{table.table} row: {type(error).__name__}: {error}"
                broken.setdefault(_lenient_id(identity), text)
    rows = [row for identity, row in owned if identity not in broken or not identity]
    return Live(rows=rows, broken=list(broken.items()))


def _text(owner: bytes) -> str:
    """What :func:`_lenient_id` made the id of."""
    return owner.hex() if len(owner) in (0, 16) else owner.decode("utf-8", "replace")


def _lenient_id(identity: str) -> bytes:
    try:
        return bytes.fromhex(identity)
    except ValueError:
        return identity.encode()


async def load_live_manager(database: Database, owner: bytes | None = None) -> Live:
    """See :meth:`~caroni.model.store.Store.load_live_manager`."""
    return await _load_live(database, _MANAGER_LIVE, owner)


async def load_live_agent(database: Database, owner: bytes | None = None) -> Live:
    """See :meth:`~caroni.model.store.Store.load_live_agent`."""
    return await _load_live(database, _AGENT_LIVE, owner)


class _Slice:
    """Rows gathered so far, each once."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.rows: dict[tuple[type[Row], Hashable], Row] = {}

    async def by_keys(self, row_type: type[Row], keys: Iterable[Hashable]) -> None:
        wanted = [key for key in dict.fromkeys(keys) if (row_type, key) not in self.rows]
        table = mapping(row_type, self.database.dialect)
        if not wanted:
            return
        parameters = [table.key_parameters(key) for key in wanted]
        if len(table.key_columns) == 1:
            await self.where_any(row_type, table.key_columns[0], [key for (key,) in parameters])
        else:
            condition = self.database.dialect.any_key(table.key_columns, table.key_kinds)
            await self._select(row_type, condition, *self.database.dialect.keys(parameters))

    async def where_any(
        self,
        row_type: type[Row],
        column: str,
        values: Iterable[str],
        keep: Callable[[Any], bool] = lambda row: True,
    ) -> None:
        """Rows by one id; ``keep`` has the rest of the key, as others choose ids too and may choose ours."""
        texts = list(values)
        if texts:
            dialect = self.database.dialect
            await self._select(row_type, dialect.any_of(quote(column)), dialect.texts(texts), keep=keep)

    async def _select(
        self,
        row_type: type[Row],
        condition: str,
        *parameters: Any,
        keep: Callable[[Any], bool] = lambda row: True,
    ) -> None:
        table = mapping(row_type, self.database.dialect)
        columns = ", ".join(map(quote, table.columns))
        query = f"SELECT {columns} FROM {quote(table.table)} WHERE {condition}"
        for record in await self.database.fetch(query, *parameters):
            row = table.decode(record)
            if keep(row):
                self.rows[row_type, row.key] = row

    def of(self, row_type: type[Any]) -> list[Any]:
        return [row for (kind, _), row in self.rows.items() if kind is row_type]


def _by_type(keys: Collection[SliceKey]) -> dict[type[Row], list[Any]]:
    found: dict[type[Row], list[Any]] = {}
    for row_type, key in keys:
        found.setdefault(row_type, []).append(key)
    return found


async def load_slice(database: Database, keys: Collection[SliceKey]) -> list[Row]:
    """See :meth:`~caroni.model.store.Store.load_slice`."""
    gathered = _Slice(database)
    wanted = _by_type(keys)
    if workflows := wanted.pop(Workflow, None):
        await _workflows(gathered, workflows)
    if offers := wanted.pop(AgentOffer, None):
        await _agent_offers(gathered, offers)
    for row_type, row_keys in wanted.items():
        await gathered.by_keys(row_type, row_keys)
    await _owners(gathered)
    return list(gathered.rows.values())


async def _workflows(gathered: _Slice, keys: list[Any]) -> None:
    await gathered.by_keys(Workflow, [key for key in keys if isinstance(key, bytes)])
    submitted = {key for key in keys if isinstance(key, tuple)}
    await gathered.where_any(
        Workflow,
        "submit_uuid",
        {uuid.hex() for _, uuid in submitted if uuid},
        keep=lambda row: (row.submitter, row.submit_uuid) in submitted,
    )


async def _agent_offers(gathered: _Slice, keys: list[Any]) -> None:
    named = set(keys)
    ids = [uuid.hex() for _, uuid in named]
    for column in ("offer_uuid", "request_uuid"):
        await gathered.where_any(
            AgentOffer,
            column,
            ids,
            keep=lambda row, column=column: (row.manager, getattr(row, column)) in named,  # type: ignore[misc]
        )
    # a repeated request or accept is answered with the job that came of the offer
    offers = {offer.key for offer in gathered.of(AgentOffer)}
    await gathered.where_any(
        AgentJob,
        "offer_uuid",
        [uuid.hex() for _, uuid in offers],
        keep=lambda row: (row.manager, row.offer_uuid) in offers,
    )


async def _owners(gathered: _Slice) -> None:
    """What a decision on these rows also looks at."""
    await gathered.by_keys(Request, [o.request_uuid for o in gathered.of(Offer)])
    jobs, requests = gathered.of(Job), gathered.of(Request)
    await gathered.by_keys(Request, [j.request_uuid for j in jobs])
    await gathered.by_keys(Step, [(r.workflow_uuid, r.step_index) for r in (*jobs, *requests)])
    await gathered.by_keys(Workflow, [s.workflow_uuid for s in gathered.of(Step)])
    named = {j.key for j in jobs}
    job_ids = [j.job_uuid.hex() for j in jobs]
    await gathered.where_any(JobOutput, "job_uuid", job_ids, lambda row: (row.agent, row.job_uuid) in named)
    agent_jobs = gathered.of(AgentJob)
    await gathered.by_keys(AgentOffer, [(j.manager, j.offer_uuid) for j in agent_jobs])
    owned = {j.key for j in agent_jobs}
    agent_ids = [j.job_uuid.hex() for j in agent_jobs]
    for kind in (AgentInput, AgentOutput):
        await gathered.where_any(
            kind, "job_uuid", agent_ids, lambda row: (row.manager, row.job_uuid) in owned
        )
