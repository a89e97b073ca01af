"""A manager's attempts and an agent's jobs as people ask for them; which one is meant by a prefix."""

# Names in statements are those of our own classes and tables; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

import msgspec

from caroni.core.manager.state import GIVEN_UP_JOB
from caroni.core.rows import AgentJob, Job, Orphan, Row
from caroni.core.states import AgentJobState, JobState, is_terminal
from caroni.errors import UsageError
from caroni.text import safe_line

if TYPE_CHECKING:
    from caroni.model.store import Store

R = TypeVar("R", bound=Row)


async def rows(store: Store, row_type: type[R], condition: str, *parameters: object) -> list[R]:
    """Rows of a daemon's database. ``condition`` is our own text, values are parameters."""
    from caroni.model.mapping import mapping
    from caroni.model.sql import quote

    table = mapping(row_type, store.database.dialect)
    columns = ", ".join(quote(column) for column in table.columns)
    query = f"SELECT {columns} FROM {quote(table.table)} WHERE {condition}"
    return [table.decode(record) for record in await store.database.fetch(query, *parameters)]


async def find_job(store: Store, which: str) -> tuple[str, bytes]:
    """Peer and id of the job that is meant by its id or the first characters of it (4 or more).

    Raises:
        UsageError: there is none, or more than one.
    """
    found = await jobs_like(store, which)
    if not found:
        raise UsageError(f"there is no job {safe_line(which, 60)!r}; see: caroni jobs")
    return only_job(found, which)


def only_job(found: list[tuple[str, bytes]], which: str) -> tuple[str, bytes]:
    """The one job of those that ``which`` may mean.

    Raises:
        UsageError: it may mean more than one.
    """
    if len(found) > 1:
        some = ", ".join(uuid.hex()[:12] for _, uuid in found[:5]) + (", ..." if len(found) > 5 else "")
        raise UsageError(f"{safe_line(which, 60)!r} could be any of {some}: give more of the id")
    return found[0]


async def jobs_like(store: Store, which: str) -> list[tuple[str, bytes]]:
    """Peer and id of the jobs, six at most, whose id begins so (with 4 characters or more)."""
    from caroni.model.mapping import unescape

    digits = which.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{4,32}", digits):
        return []
    found: list[tuple[str, bytes]] = []
    column, tables = ("agent", ("job", "orphan")) if store.role == "manager" else ("manager", ("agent_job",))
    for table in tables:
        query = f"SELECT {column}, job_uuid FROM {table} WHERE job_uuid LIKE ? ORDER BY job_uuid LIMIT 6"
        found += [
            (unescape(str(row[0])), bytes.fromhex(row[1]))
            for row in await store.database.fetch(query, f"{digits}%")
        ]
    return list(dict.fromkeys(found))[:6]  # an orphan that was adopted is a job too


def kill_of(job: Job) -> str:
    """How the wish to end a job stands, as a manager knows it.

    ``""`` (nobody wants it ended), ``asked``, ``unreachable`` (asked, and its agent is silent), ``confirmed``
    (it was ended), ``over`` (it had ended by itself), ``gave up`` (its agent was not reached for so long that
    it is not told any more).
    """
    if is_terminal(job.state):
        return "confirmed" if job.state is JobState.KILLED else "over"
    if not job.kill_wanted:
        return ""
    if job.state in GIVEN_UP_JOB and not job.due:
        return "gave up"
    return "unreachable" if job.suspect else "asked"


class JobOfManager(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt, or an orphan of a restored database (state ``orphan``). Instants 0 = not yet.

    ``kill`` as :func:`kill_of` puts it; ``pause``: ``""``, ``wanted`` or ``confirmed``; ``since`` is when the
    state began, as far as it is known.
    """

    job: str
    workflow: str
    workflow_name: str
    step: str
    attempt: int
    agent: str
    state: str
    kill: str
    pause: str
    suspect: bool
    progress: float
    since: int
    accepted_at: int
    started_at: int
    ended_at: int
    exit_code: int | None
    failure: str
    info: str


class JobOfAgent(msgspec.Struct, frozen=True, kw_only=True):
    """A job that an agent owns. ``position`` is its place in the queue, 1 = next, 0 = not in it.

    ``missing`` counts inputs that have not come; ``released``: its manager has its result.
    """

    job: str
    manager: str
    job_type: str
    state: str
    position: int
    attempt: int
    missing: int
    released: bool
    created_at: int
    queued_at: int
    started_at: int
    ended_at: int
    exit_code: int | None
    failure: str
    info: str


async def jobs_of_manager(
    store: Store, *, workflow: bytes = b"", state: str | None = None, all: bool = False, limit: int = 100
) -> list[JobOfManager]:
    """A manager's attempts, the last changed first.

    Args:
        store: the manager's.
        workflow: only of this one; empty for all.
        state: only those in this state (``orphan`` for jobs that the database does not know).
        all: also those that have ended.
        limit: at most so many.

    Raises:
        UsageError: an unknown state.
    """
    _check_state(state, [*(s.value for s in JobState), "orphan"])
    found: list[JobOfManager] = []
    if state in (None, "orphan") and not workflow:
        condition = "1 = 1" if all else "due > 0"
        found = [
            _orphan(row) for row in await rows(store, Orphan, f"{condition} ORDER BY rev DESC LIMIT ?", limit)
        ]
    if state != "orphan":
        conditions, parameters = ["1 = 1"], list[object]()
        if workflow:
            conditions.append("workflow_uuid = ?")
            parameters.append(workflow.hex())
        if state is not None:
            conditions.append("state = ?")
            parameters.append(state)
        elif not all:
            # a job that was given up lives as long as its agent is still told to stop it
            conditions.append("(state IN ('pending', 'queued', 'running', 'paused') OR due > 0)")
        where = f"{' AND '.join(conditions)} ORDER BY rev DESC LIMIT ?"
        jobs = await rows(store, Job, where, *parameters, limit)
        names = await _names(store, jobs)
        found += [_attempt(job, *names.get((job.workflow_uuid, job.step_index), ("", ""))) for job in jobs]
    return found[:limit]


async def _names(store: Store, jobs: list[Job]) -> dict[tuple[bytes, int], tuple[str, str]]:
    """The names of the workflows and steps of these jobs."""
    from caroni.model.mapping import unescape

    dialect = store.database.dialect
    flows = dialect.texts({job.workflow_uuid.hex() for job in jobs})
    records = await store.database.fetch(
        'SELECT s.workflow_uuid, s."index", w.name, s.name FROM step s'
        " JOIN workflow w ON w.workflow_uuid = s.workflow_uuid"
        f" WHERE {dialect.any_of('s.workflow_uuid')}",
        flows,
    )
    return {(bytes.fromhex(r[0]), int(r[1])): (unescape(r[2]), unescape(r[3])) for r in records}


def _attempt(job: Job, workflow_name: str, step: str) -> JobOfManager:
    paused = job.state is JobState.PAUSED
    kill = kill_of(job)
    return JobOfManager(
        job=job.job_uuid.hex(),
        workflow=job.workflow_uuid.hex(),
        workflow_name=workflow_name,
        step=step,
        attempt=job.attempt,
        agent=job.agent,
        state=job.state.value,
        kill="" if kill == "over" and not job.kill_wanted else kill,
        pause="confirmed" if paused else "wanted" if job.pause_wanted and not job.ended_at else "",
        suspect=job.suspect and not job.ended_at,
        progress=job.progress,
        since=job.ended_at or job.kill_asked_at or job.started_at or job.accepted_at,
        accepted_at=job.accepted_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        exit_code=job.exit_code,
        failure=job.failure_class.name.lower() if job.failure_class else "",
        info=job.info,
    )


def _orphan(row: Orphan) -> JobOfManager:
    return JobOfManager(
        job=row.job_uuid.hex(),
        workflow="",
        workflow_name="",
        step="",
        attempt=0,
        agent=row.agent,
        state="orphan",
        kill="" if row.due else "over",
        pause="",
        suspect=False,
        progress=0.0,
        since=row.first_at,
        accepted_at=0,
        started_at=0,
        ended_at=0 if row.due else row.last_at,
        exit_code=None,
        failure="",
        info=row.info or f"its agent says: {row.status.name.lower()}",
    )


async def jobs_of_agent(
    store: Store, *, state: str | None = None, all: bool = False, limit: int = 100
) -> list[JobOfAgent]:
    """An agent's jobs: what runs, then the queue in its order, then what waits for inputs, then the ended.

    Args:
        store: the agent's.
        state: only those in this state.
        all: also those that have ended.
        limit: at most so many.

    Raises:
        UsageError: an unknown state.
    """
    _check_state(state, [s.value for s in AgentJobState])
    conditions, parameters = ["offer_uuid <> ''"], list[object]()  # without: memories of kills
    if state is not None:
        conditions.append("state = ?")
        parameters.append(state)
    elif not all:
        conditions.append(
            f"state NOT IN ({', '.join(repr(s.value) for s in AgentJobState if is_terminal(s))})"
        )
    order = (
        "CASE state WHEN 'queued' THEN 1 WHEN 'pending' THEN 2 WHEN 'completed' THEN 3 WHEN 'failed' THEN 3"
        " WHEN 'killed' THEN 3 ELSE 0 END,"
        " CASE WHEN ended_at > 0 THEN -ended_at ELSE queued_at END, created_at"
    )
    where = f"{' AND '.join(conditions)} ORDER BY {order} LIMIT ?"
    found: list[JobOfAgent] = []
    position = 0
    for job in await rows(store, AgentJob, where, *parameters, limit):
        position += job.state is AgentJobState.QUEUED
        found.append(
            JobOfAgent(
                job=job.job_uuid.hex(),
                manager=job.manager,
                job_type=job.job_type,
                state=job.state.value,
                position=position if job.state is AgentJobState.QUEUED else 0,
                attempt=job.attempt,
                missing=job.missing,
                released=job.released,
                created_at=job.created_at,
                queued_at=job.queued_at,
                started_at=job.started_at,
                ended_at=job.ended_at,
                exit_code=job.exit_code,
                failure=job.failure_class.name.lower() if job.failure_class else "",
                info=job.info,
            )
        )
    return found


async def last_change(store: Store) -> tuple[int, ...]:
    """Something that is the same as long as no job has changed; cheap, however many there are."""
    tables = ("job", "orphan") if store.role == "manager" else ("agent_job",)
    query = " UNION ALL ".join(f"SELECT '{table}', COALESCE(MAX(rev), 0) FROM {table}" for table in tables)
    found = {str(name): int(rev) for name, rev in await store.database.fetch(query)}
    return tuple(found[table] for table in tables)


def _check_state(state: str | None, known: list[str]) -> None:
    if state is not None and state not in known:
        raise UsageError(f"--state {safe_line(state, 40)!r} is none of: {', '.join(known)}")
