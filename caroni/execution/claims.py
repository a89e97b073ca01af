"""Who runs a job, how it ended, and what is left of it when nobody does."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from enum import Enum

import msgspec

from caroni.execution import launcher


class Claim(msgspec.Struct, frozen=True):
    """Who runs a job: a process id means something only with its start time, on the same boot."""

    pid: int
    start: int
    boot: str
    at: int = 0


class ExitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``exit.json`` (written by :mod:`caroni.execution.launcher`)."""

    v: int
    boot: str = ""
    #: why the supervisor stopped the job: kill, timeout, overflow, disk, spawn; "" = it did not
    reason: str = ""
    detail: str = ""
    exit_code: int | None = None
    signal: int | None = None
    errno: int | None = None
    survivors: tuple[int, ...] = ()
    started_at: int = 0
    ended_at: int = 0
    wall: int = 0
    cpu: int = 0
    max_rss: int = 0
    stdout: int = 0
    stderr: int = 0


class Found(Enum):
    """What a job's directory tells."""

    NOTHING = "nothing"  #: not claimed: start it
    RUNNING = "running"
    ENDED = "ended"  #: exit.json is there
    DEAD = "dead"  #: claimed on this boot, but the supervisor is gone
    REBOOTED = "rebooted"  #: claimed on another boot


def is_alive(claim: Claim) -> bool:
    """Whether the claiming supervisor still runs; a zombie does not."""
    try:
        state, _, _, start = launcher.process_stat(claim.pid)
    except (OSError, IndexError, ValueError):
        return False
    return start == claim.start and state not in "ZX"


def kill_leftovers(job_uuid: bytes, claim: Claim | None) -> int:
    """Kill what runs on of a job whose supervisor is gone; gives how many processes that were.

    They are known by the supervisor's session or by the job's id in their environment. ``claim`` is of
    this boot, or None.
    """
    mark = f"CARONI_JOB_ID={job_uuid.hex()}".encode()
    session = _orphaned_session(claim) if claim else 0
    killed = 0
    for _ in range(20):
        found = [pid for pid in _pids() if _belongs(pid, session, mark)]
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        if not found:
            break
        time.sleep(0.02)  # in a thread; killed processes need a moment to leave
    return killed


def _orphaned_session(claim: Claim) -> int:
    """The session of a dead supervisor, 0 if that number means something else by now."""
    try:
        start = launcher.process_stat(claim.pid)[3]
    except (OSError, IndexError, ValueError):
        return claim.pid
    return claim.pid if start == claim.start else 0


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _belongs(pid: int, session: int, mark: bytes) -> bool:
    try:
        state, _, its_session, _ = launcher.process_stat(pid)
        if state in "ZX":
            return False
        if session and its_session == session and pid != session:
            return True
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read(1 << 20).split(b"\0")
    except (OSError, IndexError, ValueError):
        return False
