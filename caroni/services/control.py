"""What an operator does to a running manager or agent: a command in its database, and the answer to it.

The daemon carries a command out at its next look, or, if it does not run, at its next start: nothing here
changes a row by itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from caroni.config import Loaded
from caroni.core.commands import Command
from caroni.core.rows import AgentJob, Availability, Job, Orphan, Peer
from caroni.core.states import AgentJobState, is_terminal
from caroni.errors import CaroniError, CommandRefused, UsageError
from caroni.services.jobs import kill_of, rows
from caroni.services.stores import now, opened, with_article
from caroni.text import safe_line

if TYPE_CHECKING:
    from caroni.model.store import Store

#: seconds that a daemon which runs has for its answer, and one that does not seem to
PATIENCE, DOUBT = 15.0, 3.0
#: seconds between looks at the database
LOOK = 0.1
#: the exit code of a command that waits for its daemon (EX_TEMPFAIL of sysexits.h)
LEFT = 75

_WHAT = "commands of this kind"


class LeftForLater(CaroniError):
    """The daemon has not answered: the command stays in its database, to be carried out."""

    exit_code = LEFT


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A command that was given. ``state``: ``done``, or ``waiting`` where nobody waited for its end."""

    command: int
    kind: str
    state: str
    result: dict[str, Any] = {}


class JobFate(msgspec.Struct, frozen=True, kw_only=True):
    """How the wish to end a job stands. Instants in wall microseconds, 0 = not yet.

    ``kill`` is ``""`` (nobody wants it ended), ``asked``, ``unreachable`` (asked, and its agent is silent),
    ``confirmed`` (it was ended), ``over`` (it had ended by itself), ``gave up`` (its agent was not reached
    for so long that it is not told any more).
    """

    job: str
    peer: str
    state: str
    kill: str
    asked_at: int = 0
    info: str = ""

    @property
    def settled(self) -> bool:
        """Whether nothing more will come of it."""
        return self.kill in ("confirmed", "over", "gave up")


class AgentShown(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an agent takes work. Instants in wall microseconds, 0 = none.

    ``state`` is ``online``, ``offline`` or ``draining``; ``window`` is the present or next absence of its
    schedule, which only the agent itself knows.
    """

    agent: str
    state: str
    until: int = 0
    drain_deadline: int = 0
    window: tuple[int, int] = (0, 0)
    last_contact: int = 0
    running: int = 0
    waiting: int = 0


class Affected(msgspec.Struct, frozen=True, kw_only=True):
    """What a command on a workflow would affect, read before it is given."""

    workflow: str
    name: str
    state: str
    steps_left: int
    jobs: int


# --- giving --------------------------------------------------------------------------------------


@asynccontextmanager
async def to_daemon(loaded: Loaded, *, read_only: bool = False) -> AsyncIterator[Store]:
    """The database of a manager or an agent.

    Raises:
        UsageError: the configuration is a submitter's, which has none.
        ConfigError: the database is missing or not up to date.
    """
    role = loaded.config.role
    if role == "submitter":
        raise UsageError(
            f"{loaded.path} is the configuration of a submitter: give --config of a manager or an agent"
        )
    async with opened(loaded, role, _WHAT, read_only=read_only) as store:
        yield store


def require(loaded: Loaded, role: str, what: str) -> None:
    """Refuse another role's configuration, of a command that only one side has.

    Raises:
        UsageError: says whose it is.
    """
    if loaded.config.role != role:
        raise UsageError(
            f"{what} is done with the configuration of {with_article(role)}, but {loaded.path} is that of"
            f" {with_article(loaded.config.role)}"
        )


async def give(
    loaded: Loaded, store: Store, command: Command, *, wait: bool = True, patience: float = PATIENCE
) -> Answer:
    """Leave a command for the daemon and wait for what becomes of it.

    Args:
        loaded: the daemon's configuration.
        store: its database, open for writing.
        command: what it shall do.
        wait: for its answer, for a bounded time.
        patience: seconds that a daemon which runs has for it.

    Raises:
        CommandRefused: the daemon cannot carry it out; says why.
        LeftForLater: no answer yet; the command stays.
        TransientError: the database is busy or away.
    """
    kind = str(command.__struct_config__.tag)
    id = await store.add_command(kind, msgspec.json.encode(command).decode(), now())
    if not wait:
        return Answer(command=id, kind=kind, state="waiting")
    runs = await asyncio.to_thread(daemon_runs, loaded.lock_file)
    end = time.monotonic() + (patience if runs else DOUBT)
    while True:
        row = await store.command(id)
        if row is not None and row.state == "failed":
            raise CommandRefused(safe_line(str(json.loads(row.result)), 1000))
        if row is not None and row.state == "done":
            result = json.loads(row.result)
            return Answer(
                command=id, kind=kind, state="done", result=result if isinstance(result, dict) else {}
            )
        if time.monotonic() > end:
            break
        await asyncio.sleep(LOOK)
    role = loaded.config.role
    if runs:
        why = f"the {role} is busy and has not answered within {patience:.0f} s"
    else:
        why = f"the {role} does not run"
    raise LeftForLater(f"{why}: the command stays (number {id}) and is carried out when it can be")


def daemon_runs(lock_file: Path) -> bool:
    """Whether somebody holds a daemon's lock, as far as the kernel tells; the lock is not touched."""
    try:
        inode = os.stat(lock_file)
        with open("/proc/locks") as file:
            held = {fields[-3] for line in file if len(fields := line.split()) >= 8}
    except OSError:
        return False
    device = f"{os.major(inode.st_dev):02x}:{os.minor(inode.st_dev):02x}:{inode.st_ino}"
    # overlay and btrfs show another device than stat does: the inode alone is a good hint
    return device in held or any(name.rpartition(":")[2] == str(inode.st_ino) for name in held)


# --- looking -------------------------------------------------------------------------------------


async def affected(store: Store, workflow_uuid: bytes) -> Affected:
    """What a command on a workflow would affect now.

    Raises:
        UsageError: there is no such workflow.
    """
    found = await store.workflow(workflow_uuid)
    if found is None:
        raise UsageError(f"there is no workflow {workflow_uuid.hex()}; see: caroni list")
    ((jobs,),) = await store.database.fetch(
        "SELECT COUNT(*) FROM job"
        " WHERE workflow_uuid = ? AND state IN ('pending', 'queued', 'running', 'paused')",
        workflow_uuid.hex(),
    )
    row = found.workflow
    return Affected(
        workflow=row.workflow_uuid.hex(),
        name=row.name,
        state=row.state.value,
        steps_left=row.steps_left,
        jobs=int(jobs),
    )


async def job_fate(store: Store, peer: str, job_uuid: bytes) -> JobFate | None:
    """How the wish to end a job stands; None if the database does not know the job (any more)."""
    from caroni.model.mapping import escape

    if store.role == "manager":
        found = await rows(store, Job, "agent = ? AND job_uuid = ?", escape(peer), job_uuid.hex())
        if found:
            return _at_manager(found[0])
        orphans = await rows(store, Orphan, "agent = ? AND job_uuid = ?", escape(peer), job_uuid.hex())
        return _of_orphan(orphans[0]) if orphans else None
    here = await rows(store, AgentJob, "manager = ? AND job_uuid = ?", escape(peer), job_uuid.hex())
    return _at_agent(here[0]) if here else None


def _at_manager(job: Job) -> JobFate:
    return JobFate(
        job=job.job_uuid.hex(),
        peer=job.agent,
        state=job.state.value,
        kill=kill_of(job),
        asked_at=job.kill_asked_at,
        info=job.info or job.kill_info,
    )


def _of_orphan(orphan: Orphan) -> JobFate:
    return JobFate(
        job=orphan.job_uuid.hex(),
        peer=orphan.agent,
        state=f"an orphan, {orphan.status.name.lower()}",
        kill="" if orphan.due else "over",
        info=orphan.info,
    )


def _at_agent(job: AgentJob) -> JobFate:
    if is_terminal(job.state):
        kill = "confirmed" if job.state is AgentJobState.KILLED else "over"
    else:
        kill = "asked" if job.state is AgentJobState.KILLING else ""
    return JobFate(
        job=job.job_uuid.hex(),
        peer=job.manager,
        state=job.state.value,
        kill=kill,
        info=job.info or job.kill_info,
    )


async def wait_for_end(
    store: Store,
    peer: str,
    job_uuid: bytes,
    seconds: float | None = None,
    tell: Callable[[JobFate], None] = lambda fate: None,
) -> JobFate:
    """Wait until a job that was asked to end has ended.

    Args:
        store: the daemon's database.
        peer: the other side of the job.
        job_uuid: the job.
        seconds: give up after this long; None: never.
        tell: is called with every change.

    Raises:
        CaroniError: not within ``seconds``; says how it stands.
        UsageError: the job is not known any more.
    """
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    last: JobFate | None = None
    while True:
        fate = await job_fate(store, peer, job_uuid)
        if fate is None:
            raise UsageError(f"job {job_uuid.hex()} is not known any more")
        if fate.settled:
            return fate
        if fate != last:
            tell(fate)
            last = fate
        if time.monotonic() > end:
            raise CaroniError(f"job {fate.job[:12]} is {fate.state}, its kill {fate.kill}: not ended yet")
        await asyncio.sleep(LOOK)


async def shown_agent(loaded: Loaded, store: Store) -> AgentShown:
    """Whether this agent takes work, and what it is at."""
    from caroni.config.schedule import window_of

    at = now()
    found = await rows(store, Availability, "name = 'agent'")
    row = found[0] if found else Availability()
    start, end = window = window_of(loaded.config.agent.schedule)(at)
    away = max(row.away_until if row.away_until > at else 0, end if start <= at < end else 0)
    state = "offline" if away else "draining" if row.draining else "online"
    ((running, waiting),) = await store.database.fetch(
        "SELECT COALESCE(SUM(CASE WHEN state IN ('starting', 'running', 'paused', 'killing') THEN 1 END), 0),"
        " COALESCE(SUM(CASE WHEN state IN ('pending', 'queued') THEN 1 END), 0) FROM agent_job"
    )
    return AgentShown(
        agent=loaded.config.uri,
        state=state,
        until=away,
        drain_deadline=row.drain_deadline,
        window=window,
        running=int(running),
        waiting=int(waiting),
    )


async def known_agents(store: Store) -> list[AgentShown]:
    """What a manager was last told by each agent, by name."""
    found = [peer for peer in await rows(store, Peer, "1 = 1 ORDER BY uri") if "/agent/" in peer.uri]
    ran = await store.database.fetch(
        "SELECT agent, COALESCE(SUM(CASE WHEN state IN ('running', 'paused') THEN 1 END), 0),"
        " COALESCE(SUM(CASE WHEN state IN ('pending', 'queued') THEN 1 END), 0) FROM job"
        " WHERE state IN ('pending', 'queued', 'running', 'paused') GROUP BY agent"
    )
    counts = {cast("str", row[0]): (int(row[1]), int(row[2])) for row in ran}
    return [
        AgentShown(
            agent=peer.uri,
            state=peer.presence.name.lower() if peer.presence else "unknown",
            until=peer.away_until,
            last_contact=peer.last_contact,
            running=counts.get(peer.uri, (0, 0))[0],
            waiting=counts.get(peer.uri, (0, 0))[1],
        )
        for peer in found
    ]
