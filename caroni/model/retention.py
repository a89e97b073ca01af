"""Retention: what has had its time goes, in steps that never hold the daemon up for long.

Nothing goes before its release: a workflow stays while a job of it is unsettled, an agent's job until
its manager has released it, a ledger row while anything it speaks of lives.
"""

# Names in statements are those of our own classes and tables; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from caroni.core.plan import DAY
from caroni.core.rows import AgentJob, AgentOffer, JobKey, OfferKey
from caroni.core.states import AgentOfferState, JobState, WorkflowState, is_terminal
from caroni.model.database import Database
from caroni.model.mapping import mapping, unescape
from caroni.model.sql import Statement

NextRev = Callable[[], int]


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long things stay, in microseconds, and how much the ledger may hold, in bytes."""

    workflows: int = 30 * DAY
    #: an agent's jobs after their release; those that no manager has released stay
    released_jobs: int = DAY
    #: an agent's offers that came to nothing
    offers: int = 30 * DAY
    ledger: int = 30 * DAY
    ledger_bytes: int = 2 * 1024**3
    commands: int = 30 * DAY
    quarantine: int = 30 * DAY
    tombstones: int = 30 * DAY
    #: orphans of a restored database that are history
    orphans: int = 30 * DAY
    #: counts of deliveries that never came again
    suspects: int = 30 * DAY


class Pruned(msgspec.Struct, kw_only=True):
    """What went. The daemon forgets the named workflows, jobs and offers."""

    workflows: list[bytes] = []
    jobs: list[JobKey] = []
    offers: list[OfferKey] = []
    inbox: int = 0
    ledger: int = 0
    commands: int = 0
    quarantine: int = 0
    tombstones: int = 0
    orphans: int = 0
    suspects: int = 0


#: rows in one step, so that a commit waits for some ten milliseconds at most
_STEP = 2000
_WORKFLOWS = 20
_SIZES = 20_000


def _names(states: Sequence[str]) -> str:
    return ", ".join(f"'{state}'" for state in states)


_ENDED_WORKFLOW = _names([s for s in WorkflowState if is_terminal(s)])
#: LOST and SUPERSEDED jobs without a timer wait for a late report, which needs no row any more
_RUNNING_JOB = _names([JobState.PENDING, JobState.QUEUED, JobState.RUNNING, JobState.PAUSED])
_UNSETTLED_JOB = f"(j.due > 0 OR j.state IN ({_RUNNING_JOB}))"
_LIVE_WORKFLOW = (
    f"(w.state NOT IN ({_ENDED_WORKFLOW}) OR EXISTS"
    f" (SELECT 1 FROM job j WHERE j.workflow_uuid = w.workflow_uuid AND {_UNSETTLED_JOB}))"
)
_MANAGER_PROTECTS = (
    f"EXISTS (SELECT 1 FROM workflow w WHERE {_LIVE_WORKFLOW} AND (w.workflow_uuid = i.workflow_uuid"
    " OR w.workflow_uuid IN (SELECT workflow_uuid FROM request WHERE request_uuid = i.request_uuid)"
    " OR w.workflow_uuid IN (SELECT workflow_uuid FROM job WHERE job_uuid = i.job_uuid)"
    " OR w.workflow_uuid IN (SELECT r.workflow_uuid FROM offer o JOIN request r"
    " ON r.request_uuid = o.request_uuid WHERE o.offer_uuid = i.offer_uuid)))"
)
_OLD_WORKFLOW = (
    f"NOT {_LIVE_WORKFLOW} AND (CASE WHEN w.ended_at > 0 THEN w.ended_at ELSE w.created_at END) < ?"
)
_OLD_ORPHAN = "due = 0 AND last_at < ?"
_RELEASED_BEFORE = "released AND (CASE WHEN ended_at > 0 THEN ended_at ELSE created_at END) < ?"
_OLD_OFFER = (
    f"state IN ({_names([AgentOfferState.REJECTED, AgentOfferState.EXPIRED, AgentOfferState.REVOKED])})"
    " AND created_at < ? AND due < ? AND NOT EXISTS"
    " (SELECT 1 FROM agent_job j WHERE j.offer_uuid = o.offer_uuid AND j.manager = o.manager)"
)
_OPEN = f"'{AgentOfferState.OPEN}'"
_AGENT_PROTECTS = (
    "(EXISTS (SELECT 1 FROM agent_job j WHERE NOT j.released AND j.job_uuid = i.job_uuid)"
    " OR EXISTS (SELECT 1 FROM agent_job j WHERE NOT j.released AND j.offer_uuid = i.offer_uuid)"
    " OR EXISTS (SELECT 1 FROM agent_offer o WHERE o.request_uuid = i.request_uuid AND"
    f" (o.state = {_OPEN} OR EXISTS (SELECT 1 FROM agent_job j WHERE NOT j.released"
    " AND j.offer_uuid = o.offer_uuid))))"
)


async def prune(database: Database, role: str, now: int, keep: Retention, next_rev: NextRev) -> Pruned:
    """See :meth:`~caroni.model.store.Store.prune`."""
    gone = Pruned()
    if role == "manager":
        await _prune_workflows(database, now, keep, next_rev, gone)
        await _prune_orphans(database, now, keep, next_rev, gone)
    else:
        await _prune_jobs(database, now, keep, next_rev, gone)
    await _prune_ledger(database, role, now, keep, gone)
    gone.inbox = await _delete_old(database, "inbox", "id", "deadline < ?", now)
    for table, (key, condition, limit) in _simple(now, keep).items():
        setattr(gone, _plural(table), await _delete_old(database, table, key, condition, limit))
    return gone


def _plural(table: str) -> str:
    return table if table == "quarantine" else f"{table}s"


def _simple(now: int, keep: Retention) -> dict[str, tuple[str, str, int]]:
    """Tables whose rows go by their age alone: key, condition, and what stands for its ``?``."""
    return {
        "command": ("id", "state <> 'new' AND done_at < ?", now - keep.commands),
        "quarantine": ("key", "last_at < ?", now - keep.quarantine),
        "tombstone": ("id", "at < ?", now - keep.tombstones),
        "suspect": ("digest", "last_at < ?", now - keep.suspects),
    }


async def _delete_old(database: Database, table: str, key: str, condition: str, limit: int) -> int:
    victims = f"SELECT {key} FROM {table} WHERE {condition} LIMIT {_STEP}"
    total = 0
    while count := await database.run(f"DELETE FROM {table} WHERE {key} IN ({victims})", limit):
        total += count
    return total


def _tombstone(database: Database) -> str:
    return database.dialect.upsert("tombstone", ("table", "key", "at", "rev"), ("table", "key"))


async def _prune_workflows(
    database: Database, now: int, keep: Retention, next_rev: NextRev, gone: Pruned
) -> None:
    sql = database.dialect.sql
    query = f"SELECT w.workflow_uuid FROM workflow w WHERE {_OLD_WORKFLOW} ORDER BY w.rev LIMIT {_WORKFLOWS}"
    of_workflow = "WHERE workflow_uuid = ?"
    of_its_jobs = f"WHERE (job_uuid, agent) IN (SELECT job_uuid, agent FROM job {of_workflow})"
    deletes = [
        *(sql(f"DELETE FROM {t} {of_its_jobs}") for t in ("job_output", "job_log")),
        sql(f"DELETE FROM offer WHERE request_uuid IN (SELECT request_uuid FROM request {of_workflow})"),
        *(sql(f"DELETE FROM {t} {of_workflow}") for t in ("job", "request", "step", "flow", "workflow")),
    ]
    while victims := [row[0] for row in await database.fetch(query, now - keep.workflows)]:
        for uuid in victims:

            def statements(uuid: str = uuid) -> list[Statement]:
                stone = ("workflow", uuid, now, next_rev())
                return [*((delete, [(uuid,)]) for delete in deletes), (_tombstone(database), [stone])]

            await database.write(statements)
            gone.workflows.append(bytes.fromhex(uuid))


async def _prune_orphans(
    database: Database, now: int, keep: Retention, next_rev: NextRev, gone: Pruned
) -> None:
    query = f"SELECT job_uuid, agent FROM orphan WHERE {_OLD_ORPHAN} LIMIT {_STEP}"
    delete = database.dialect.sql("DELETE FROM orphan WHERE job_uuid = ? AND agent = ?")
    while victims := await database.fetch(query, now - keep.orphans):
        keys = [(row[0], row[1]) for row in victims]

        def statements(keys: list[tuple[str, str]] = keys) -> list[Statement]:
            stones = [("orphan", f"{agent} {uuid}", now, next_rev()) for uuid, agent in keys]
            return [(delete, keys), (_tombstone(database), stones)]

        await database.write(statements)
        gone.orphans += len(keys)


async def expired(database: Database, role: str, now: int, keep: Retention) -> dict[str, int]:
    """See :meth:`~caroni.model.store.Store.expired`."""
    counts: dict[str, tuple[str, tuple[int, ...]]] = {
        "inbox": ("inbox WHERE deadline < ?", (now,)),
        **{
            _plural(table): (f"{table} WHERE {condition}", (limit,))
            for table, (_, condition, limit) in _simple(now, keep).items()
        },
    }
    if role == "manager":
        counts["workflows"] = (f"workflow w WHERE {_OLD_WORKFLOW}", (now - keep.workflows,))
        counts["orphans"] = (f"orphan WHERE {_OLD_ORPHAN}", (now - keep.orphans,))
    else:
        counts["jobs"] = (f"agent_job WHERE {_RELEASED_BEFORE}", (now - keep.released_jobs,))
        counts["offers"] = (f"agent_offer o WHERE {_OLD_OFFER}", (now - keep.offers, now))
    protects = _MANAGER_PROTECTS if role == "manager" else _AGENT_PROTECTS
    kept = f"SELECT 1 FROM ledger_item i WHERE i.ledger = l.rev AND i.rev > l.rev AND {protects}"
    counts["ledger"] = (f"ledger l WHERE at < ? AND NOT EXISTS ({kept})", (now - keep.ledger,))
    found: dict[str, int] = {}
    for name, (query, parameters) in counts.items():
        ((count,),) = await database.fetch(f"SELECT COUNT(*) FROM {query}", *parameters)
        found[name] = int(count)
    return found


async def released_jobs(database: Database, older_than: int) -> list[bytes]:
    """See :meth:`~caroni.model.store.Store.released_jobs`."""
    rows = await database.fetch(f"SELECT job_uuid FROM agent_job WHERE {_RELEASED_BEFORE}", older_than)
    return [bytes.fromhex(row[0]) for row in rows]


async def _prune_jobs(database: Database, now: int, keep: Retention, next_rev: NextRev, gone: Pruned) -> None:
    sql = database.dialect.sql
    query = f"SELECT job_uuid, manager, offer_uuid FROM agent_job WHERE {_RELEASED_BEFORE} LIMIT {_STEP}"
    jobs, offers = mapping(AgentJob, database.dialect), mapping(AgentOffer, database.dialect)
    of_job = "WHERE job_uuid = ? AND manager = ?"
    delete_jobs = [sql(f"DELETE FROM {t} {of_job}") for t in ("agent_input", "agent_output", jobs.table)]
    delete_offer = sql(f"DELETE FROM {offers.table} WHERE offer_uuid = ? AND manager = ?")
    while victims := await database.fetch(query, now - keep.released_jobs):
        keys = [(row[0], row[1]) for row in victims]
        named = [(row[2], row[1]) for row in victims if row[2]]

        def statements(
            keys: list[tuple[str, str]] = keys, named: list[tuple[str, str]] = named
        ) -> list[Statement]:
            made: list[Statement] = [(delete, keys) for delete in delete_jobs]
            stones: list[tuple[Any, ...]] = [
                (jobs.table, f"{manager} {uuid}", now, next_rev()) for uuid, manager in keys
            ]
            if named:
                made.append((delete_offer, named))
                stones += [(offers.table, f"{manager} {uuid}", now, next_rev()) for uuid, manager in named]
            return [*made, (_tombstone(database), stones)]

        await database.write(statements)
        gone.jobs += [(unescape(manager), bytes.fromhex(uuid)) for uuid, manager in keys]
        gone.offers += [(unescape(manager), bytes.fromhex(uuid)) for uuid, manager in named]
    query = f"SELECT offer_uuid, manager FROM agent_offer o WHERE {_OLD_OFFER} LIMIT {_STEP}"
    while victims := await database.fetch(query, now - keep.offers, now):
        keys = [(row[0], row[1]) for row in victims]

        def stones_too(keys: list[tuple[str, str]] = keys) -> list[Statement]:
            stones = [(offers.table, f"{manager} {uuid}", now, next_rev()) for uuid, manager in keys]
            return [(delete_offer, keys), (_tombstone(database), stones)]

        await database.write(stones_too)
        gone.offers += [(unescape(manager), bytes.fromhex(uuid)) for uuid, manager in keys]


async def _prune_ledger(database: Database, role: str, now: int, keep: Retention, gone: Pruned) -> None:
    excess = await _ledger_size(database) - keep.ledger_bytes
    sql = database.dialect.sql
    protects = _MANAGER_PROTECTS if role == "manager" else _AGENT_PROTECTS
    kept = (
        "SELECT DISTINCT i.ledger FROM ledger_item i"
        f" WHERE i.rev > ? AND i.rev < ? AND i.ledger >= ? AND {protects}"
    )
    oldest = "SELECT rev, at, LENGTH(envelope) FROM ledger WHERE rev > ? ORDER BY rev LIMIT ?"
    after = 0
    while True:
        rows = await database.fetch(oldest, after, _STEP // 4 + 1)
        old = []
        for rev, at, size in rows:
            if at >= now - keep.ledger and excess <= 0:
                break
            old.append((rev, size))
            excess -= size
        if not old:
            return
        # a ledger row's items have the numbers between its own and that of the next ledger row
        ends = [rev for rev, *_ in rows[1 : len(old) + 1]]
        if len(ends) < len(old):
            ends.append(2**63 - 1)
        if len(old) == len(rows) and len(rows) > _STEP // 4:
            old, ends = old[:-1], ends[: len(old) - 1]
        first, last = old[0][0], ends[-1]
        protected = {row[0] for row in await database.fetch(kept, first, last, first)}
        excess += sum(size for rev, size in old if rev in protected)
        victims = [(rev, end) for (rev, _), end in zip(old, ends, strict=True) if rev not in protected]
        if victims:
            deletes: list[Statement] = [
                (sql("DELETE FROM ledger_item WHERE rev > ? AND rev < ?"), victims),
                (sql("DELETE FROM ledger WHERE rev = ?"), [(rev,) for rev, _ in victims]),
            ]
            await database.write(lambda made=deletes: made)  # type: ignore[misc]
            gone.ledger += len(victims)
        after = old[-1][0]
        if len(rows) <= len(old):
            return


async def _ledger_size(database: Database) -> int:
    total, after = 0, 0
    query = (
        "SELECT COALESCE(SUM(size), 0), COALESCE(MAX(rev), 0) FROM (SELECT rev, LENGTH(envelope) AS size"
        " FROM ledger WHERE rev > ? ORDER BY rev LIMIT ?) page"
    )
    while True:
        ((size, last),) = await database.fetch(query, after, _SIZES)
        if last <= after:
            return total
        total += int(size)
        after = last
