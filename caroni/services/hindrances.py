"""What keeps a daemon from beginning anything new, seen from outside: it is down, or short of something."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil

from caroni.config import Loaded
from caroni.services.control import daemon_runs

if TYPE_CHECKING:
    from caroni.model.store import Store


async def hindrances(loaded: Loaded, store: Store) -> tuple[str, ...]:
    """Each as half a sentence, the gravest first; none if work can be begun."""
    config = loaded.config
    found: list[str] = []
    if not await asyncio.to_thread(daemon_runs, loaded.lock_file):
        found.append(f"the {config.role} does not run (caroni {config.role} --config {loaded.directory})")
    free = await asyncio.to_thread(disk_free, loaded)
    if free < config.limits.disk_reserve:
        found.append(
            f"{free >> 20} MiB of disk are free, {config.limits.disk_reserve >> 20} are kept in reserve"
        )
    waiting = await store.count_outbox()
    if waiting > config.limits.outbox_rows:
        found.append(f"{waiting} messages wait for the broker")
    return tuple(found)


def disk_free(loaded: Loaded) -> int:
    """Bytes that are free where the daemon keeps its files."""
    return int(psutil.disk_usage(str(loaded.directory)).free)
