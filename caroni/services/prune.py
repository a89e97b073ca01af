"""Retention at once: what the daemon's hourly sweep removes, counted or carried out now."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from caroni.config import Config, Loaded
from caroni.core.commands import Prune
from caroni.errors import UsageError
from caroni.execution.executor import Executor, KeepsFiles
from caroni.model.retention import Pruned, Retention
from caroni.services.control import daemon_runs, give
from caroni.services.locks import locked
from caroni.services.stores import now, opened

if TYPE_CHECKING:
    from caroni.model.store import Store

#: seconds that a running daemon has for it: a large ledger takes its time
PATIENCE = 900.0


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """How much of each kind went (or would go); ``by`` is ``daemon``, ``here`` or ``nobody`` (a dry run)."""

    by: str
    counts: dict[str, int]


def retention_of(config: Config) -> Retention:
    """How long things stay by a configuration."""
    r = config.retention
    return Retention(
        workflows=r.workflows,
        released_jobs=r.released_jobs,
        offers=r.offers,
        ledger=r.workflows,
        ledger_bytes=r.ledger_bytes,
        commands=r.commands,
        quarantine=r.quarantine,
        orphans=r.workflows,
    )


def counted(gone: Pruned) -> dict[str, int]:
    """How much of each kind went."""
    return {
        name: len(value) if isinstance(value, list) else int(value)
        for name, value in ((name, getattr(gone, name)) for name in gone.__struct_fields__)
    }


async def sweep_files(
    store: Store, executors: Iterable[Executor], stage_dir: Path, older_than: int, *, dry_run: bool = False
) -> dict[str, int]:
    """Remove the files of jobs that were released before ``older_than`` (wall microseconds).

    Files that belong to no job of this database go when they have not changed since then.

    Args:
        store: the agent's.
        executors: the agent's.
        stage_dir: where plugins put data of jobs.
        older_than: see above.
        dry_run: only count.
    """
    released = await store.released_jobs(older_than)
    files = unknown = 0
    for executor in executors:
        stored = set(await executor.stored()) if isinstance(executor, KeepsFiles) else set[bytes]()
        files += len(stored.intersection(released))
        if not dry_run:
            await executor.forget(released)
        if isinstance(executor, KeepsFiles):
            rows = await store.agent_jobs(list(stored))
            stale = await executor.stale([uuid for uuid in stored if uuid not in rows], older_than)
            unknown += len(stale)
            if stale and not dry_run:
                await executor.forget(stale)
    staged = await asyncio.to_thread(_staged, stage_dir)
    rows = await store.agent_jobs(list(staged))
    old = set(released)
    gone = [uuid for uuid, at in staged.items() if uuid in old or (uuid not in rows and at < older_than)]
    if not dry_run:
        for uuid in gone:
            await asyncio.to_thread(shutil.rmtree, stage_dir / uuid.hex(), True)
    return {"files": files, "files_of_nobody": unknown, "staged": len(gone)}


def _staged(stage_dir: Path) -> dict[bytes, int]:
    """Jobs that have a stage directory, and when it last changed."""
    found: dict[bytes, int] = {}
    with contextlib.suppress(OSError):
        for path in stage_dir.iterdir():
            with contextlib.suppress(OSError, ValueError):
                found[bytes.fromhex(path.name)] = path.stat().st_mtime_ns // 1000
    return found


async def prune(loaded: Loaded, *, dry_run: bool) -> Done:
    """Remove what has had its time: by the daemon if it runs, else here under its lock.

    Raises:
        UsageError: a submitter has nothing to prune.
        LeftForLater: the daemon has not done it in time; it will.
        ConfigError: the database cannot be used, or the daemon started a moment ago.
    """
    role = loaded.config.role
    if role == "submitter":
        raise UsageError(f"{loaded.path} is the configuration of a submitter, which has no database")
    if dry_run:
        async with opened(loaded, role, "databases", read_only=True) as store:
            counts = await store.expired(now(), retention_of(loaded.config))
            return Done(by="nobody", counts={**counts, **await _files(loaded, store, dry_run=True)})
    if await asyncio.to_thread(daemon_runs, loaded.lock_file):
        async with opened(loaded, role, "databases", read_only=False) as store:
            answer = await give(loaded, store, Prune(), patience=PATIENCE)
            return Done(by="daemon", counts={str(k): int(v) for k, v in answer.result.items()})
    with locked(loaded):
        async with opened(loaded, role, "databases", read_only=False) as store:
            files = await _files(loaded, store, dry_run=False)
            gone = await store.prune(now(), retention_of(loaded.config))
            return Done(by="here", counts={**counted(gone), **files})


async def _files(loaded: Loaded, store: Store, *, dry_run: bool) -> dict[str, int]:
    config = loaded.config
    if config.role != "agent":
        return {}
    from caroni.plugins.manager import Plugins

    plugins = Plugins.load(config.plugins.disabled)
    try:
        executors = [make(config.agent.spool_dir, {}) for make in plugins.executors().values()]
        older_than = now() - config.retention.released_jobs
        return await sweep_files(store, executors, loaded.directory / "stage", older_than, dry_run=dry_run)
    finally:
        plugins.close()
