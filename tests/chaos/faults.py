"""What is done to the federation, one function a kind: each injects its fault and takes it away again."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

import psutil

from tests.chaos.arena import AGENTS, DAEMONS, Arena
from tests.chaos.daemon import AGENT_ONLY, POINTS
from tests.services import ServiceFailed

Fault = Callable[[Arena, random.Random], Awaitable[None]]

#: longer than three heartbeats of two seconds: the peer takes the connection for dead
LONG = (7.0, 10.0)
#: the one fault that may make jobs fail
FULL_DISKS = "full disks"


# --- the broker and the database -------------------------------------------------------------------


async def broker_kill(arena: Arena, dice: random.Random) -> None:
    """``kill -9``, some time of nothing, and a start that has to recover."""
    arena.journal.fault("broker kills")
    await asyncio.to_thread(arena.node.kill9)
    await asyncio.sleep(dice.uniform(0.0, 2.0))
    await asyncio.to_thread(arena.node.start)
    await arena.at_work(20.0)


async def broker_freeze(arena: Arena, dice: random.Random) -> None:
    """Connections stay open and nothing is answered, for longer than the heartbeat."""
    seconds = dice.uniform(*LONG)
    arena.journal.fault("broker freezes", f"{seconds:.1f} s")
    arena.node.freeze()
    try:
        await asyncio.sleep(seconds)
    finally:
        arena.node.thaw()


async def connections_closed(arena: Arena, dice: random.Random) -> None:
    """An operator closes everybody's connections."""
    arena.journal.fault("connections closed")
    await asyncio.to_thread(arena.node.close_all_connections)


async def queue_deleted(arena: Arena, dice: random.Random) -> None:
    """A control queue goes with all that is in it."""
    name = dice.choice(DAEMONS)
    arena.journal.fault("queues deleted", name)
    with contextlib.suppress(ServiceFailed):  # after a kill its owner may not have declared it yet
        await asyncio.to_thread(arena.node.control, "delete_queue", arena.queues(name)[0], "-p", arena.vhost)


async def memory_alarm(arena: Arena, dice: random.Random) -> None:
    """The broker has no memory and takes no publishes."""
    seconds = dice.uniform(1.0, 6.0)
    arena.journal.fault("memory alarms", f"{seconds:.1f} s")
    await asyncio.to_thread(arena.node.memory_alarm, True)
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(arena.node.memory_alarm, False)


async def postgresql_kill(arena: Arena, dice: random.Random) -> None:
    """``kill -9`` of all its processes, and a start that has to recover."""
    if arena.cluster is None:
        return
    arena.journal.fault("PostgreSQL kills")
    arena.excuse("m2")
    await asyncio.to_thread(arena.cluster.kill9)
    await asyncio.sleep(dice.uniform(0.0, 1.0))
    await asyncio.to_thread(arena.cluster.start)
    arena.excuse("m2")


# --- daemons ---------------------------------------------------------------------------------------


async def daemon_kill(arena: Arena, dice: random.Random) -> None:
    """``kill -9`` at any moment."""
    name, away = dice.choice(arena.victims), dice.choice((0.0, 0.0, dice.uniform(0.0, 3.0)))
    async with arena.locks[name]:
        arena.journal.fault("SIGKILL at random", f"{name}, away for {away:.1f} s")
        await arena.kill(name)
        await asyncio.sleep(away)
        await arena.spawn(name)


async def daemon_trap(arena: Arena, dice: random.Random) -> None:
    """``kill -9``, and a start with a point at which it kills itself."""
    name = dice.choice(arena.victims)
    points = [point for point in POINTS if name in AGENTS or point not in AGENT_ONLY]
    point = dice.choice(points)
    fault = f"{point}:{dice.randint(1, POINTS[point])}"
    async with arena.locks[name]:
        arena.journal.fault("SIGKILL at random", f"{name}, armed with {fault}")
        await arena.kill(name)
        await arena.spawn(name, fault)


async def daemon_stop(arena: Arena, dice: random.Random) -> None:
    """SIGSTOP for longer than the heartbeat: its broker and its peers take it for dead."""
    name, seconds = dice.choice(arena.victims), dice.uniform(*LONG)
    async with arena.locks[name]:
        arena.journal.fault("daemon SIGSTOPs", f"{name} for {seconds:.1f} s")
        arena.signal(name, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            arena.signal(name, signal.SIGCONT)


async def daemon_restart(arena: Arena, dice: random.Random) -> None:
    """What a supervisor does at an update: SIGTERM and a start."""
    name = dice.choice(arena.victims)
    async with arena.locks[name]:
        arena.journal.fault("daemon restarts", name)
        await arena.terminate(name)
        await arena.spawn(name)


async def launcher_kill(arena: Arena, dice: random.Random) -> None:
    """``kill -9`` of the process through which an agent starts jobs."""
    name = dice.choice([one for one in AGENTS if one in arena.victims])
    arena.journal.fault("launcher SIGKILLs", name)
    with contextlib.suppress(psutil.Error, KeyError):
        for child in psutil.Process(arena.site.pid(name)).children():
            child.kill()


# --- the network -----------------------------------------------------------------------------------


async def network_cut(arena: Arena, dice: random.Random) -> None:
    """A daemon's connections end; for a while, or just once."""
    name, seconds = dice.choice(DAEMONS), dice.choice((0.0, dice.uniform(1.0, 6.0)))
    arena.journal.fault("network cuts", f"{name} for {seconds:.1f} s")
    arena.proxies[name].cut(refuse=seconds > 0)
    await asyncio.sleep(seconds)
    arena.proxies[name].through()


async def network_blackhole(arena: Arena, dice: random.Random) -> None:
    """What a daemon sends and gets goes nowhere, and nobody is told."""
    name, seconds = dice.choice(DAEMONS), dice.uniform(*LONG)
    arena.journal.fault("network blackholes", f"{name} for {seconds:.1f} s")
    arena.proxies[name].blackhole()
    await asyncio.sleep(seconds)
    arena.proxies[name].through()


async def network_slow(arena: Arena, dice: random.Random) -> None:
    """Every piece comes late."""
    name, delay, seconds = dice.choice(DAEMONS), dice.uniform(0.1, 0.5), dice.uniform(4.0, 10.0)
    arena.journal.fault("network slowed", f"{name} by {delay:.1f} s for {seconds:.1f} s")
    arena.proxies[name].slow(delay)
    await asyncio.sleep(seconds)
    arena.proxies[name].through()


async def disk_full(arena: Arena, dice: random.Random) -> None:
    """Somebody fills the disk of ``a3`` to the last byte."""
    if arena.disk is None:
        return
    seconds = dice.uniform(1.0, 5.0)
    arena.journal.fault(FULL_DISKS, f"a3 for {seconds:.1f} s")
    ballast = arena.disk / "ballast"
    arena.excuse("a3")
    try:
        await asyncio.to_thread(fill, ballast)
        await asyncio.sleep(seconds)
    finally:
        ballast.unlink(missing_ok=True)
    arena.excuse("a3")


def fill(path: Path) -> None:
    """Take all the space there is."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


#: lanes run beside one another; inside a lane one fault follows the other. Kind -> weight
LANES: dict[str, tuple[dict[Fault, int], tuple[float, float]]] = {
    "services": (
        {
            broker_kill: 14,
            broker_freeze: 1,
            connections_closed: 2,
            queue_deleted: 3,
            memory_alarm: 1,
            postgresql_kill: 4,
        },
        (3.0, 8.0),
    ),
    "daemons": (
        {daemon_kill: 6, daemon_trap: 12, daemon_stop: 1, daemon_restart: 1, launcher_kill: 1},
        (1.0, 4.0),
    ),
    "network": (
        {network_cut: 3, network_blackhole: 1, network_slow: 2, disk_full: 1},
        (4.0, 10.0),
    ),
}


async def lane(
    arena: Arena,
    dice: random.Random,
    kinds: Mapping[Fault, int],
    pause: tuple[float, float],
    seconds: float,
) -> None:
    """Faults one after the other for so many seconds; the last one is taken away before the end."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(min(dice.uniform(*pause), max(0.0, end - time.monotonic())))
        (kind,) = dice.choices(list(kinds), list(kinds.values()))
        await once(arena, dice, kind)


async def sequence(
    arena: Arena, dice: random.Random, kinds: Iterable[Fault], pause: tuple[float, float]
) -> None:
    """These faults one after the other."""
    for kind in kinds:
        await asyncio.sleep(dice.uniform(*pause))
        await once(arena, dice, kind)


async def once(arena: Arena, dice: random.Random, kind: Fault) -> None:
    """One fault, with dice of its own: how one turns out changes nothing for the next."""
    await kind(arena, random.Random(dice.getrandbits(64)))


async def all_lanes(arena: Arena, seed: int, seconds: float) -> None:
    """The whole schedule of a seed."""
    async with asyncio.TaskGroup() as group:
        for name, (kinds, pause) in LANES.items():
            group.create_task(lane(arena, random.Random(f"{seed} {name}"), kinds, pause, seconds))
