"""One run: the federation, the stream of workflows, the faults, the healing, the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.chaos.arena import DAEMONS, Arena
from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.chaos.oracle import Verdict, judge, settle
from tests.services import ServiceMissing
from tests.services.postgres import PostgresCluster
from tests.services.rabbitmq import RabbitNode

#: lines of each daemon's log that a failure shows
TAIL = 25


def end_cleanly() -> None:
    """Have SIGINT and SIGTERM end this process through its ``finally`` clauses, however it was started."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


@contextmanager
def rabbitmq() -> Iterator[RabbitNode]:
    """A private node, running."""
    node = RabbitNode()
    try:
        node.start()
        yield node
    finally:
        node.close()


@contextmanager
def postgresql() -> Iterator[PostgresCluster | None]:
    """A private cluster, running; None where PostgreSQL is not installed."""
    try:
        cluster = PostgresCluster()
    except ServiceMissing:
        yield None
        return
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@contextmanager
def small_disk(base: Path, megabytes: int) -> Iterator[Path | None]:
    """A small tmpfs; None where mounting is not permitted."""
    mount = base / "disk"
    mount.mkdir(mode=0o700)
    size = f"size={megabytes}m,mode=0700"
    command = ["mount", "-t", "tmpfs", "-o", size, "caroni-chaos", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        yield None
        return
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


@contextmanager
def directory() -> Iterator[Path]:
    """A new directory, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="caroni-chaos-", ignore_cleanup_errors=True) as path:
        yield Path(path)


@asynccontextmanager
async def running(arena: Arena, load: Load) -> AsyncIterator[None]:
    """The federation at work."""
    try:
        await arena.open()
        await asyncio.to_thread(load.prepare)
        await arena.start()
        await load.start()
        arena.journal.start()
        yield
    finally:
        with contextlib.suppress(Exception):
            await load.close()
        await arena.close()


async def play(
    arena: Arena, load: Load, faults: Callable[[], Awaitable[None]], *, deadline: float = 240.0
) -> Verdict:
    """Faults while the workflows stream, then healing, then the verdict (``deadline`` seconds after it)."""
    try:
        await faults()
    except Exception as error:  # a daemon or a service that does not start: told with the rest
        errors = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
        arena.breaks += [f"the faults ended early: {one!r}" for one in errors]
        arena.journal.say(arena.breaks[-1])
    await load.stop()
    await arena.heal()
    left = await settle(arena, load, deadline)
    return await judge(arena, load, left)


def account(arena: Arena, verdict: Verdict, journal: Journal) -> str:
    """What a failure shows: breaks, the schedule, the end of each log."""
    parts = ["the schedule:", *journal.lines, "", "retries:", *verdict.notes[:50], ""]
    for name in DAEMONS:
        path = arena.site.log_file(name)
        text = path.read_text(errors="replace").splitlines() if path.exists() else []
        parts += [f"{name}, the end of its log:", *text[-TAIL:], ""]
    return "\n".join([*parts, "broken promises:", *verdict.breaks])
