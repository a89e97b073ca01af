from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from caroni.core.plan import SECOND
from caroni.execution.claims import is_alive
from caroni.execution.definition import JobDefinition, load_definition
from caroni.execution.executor import JobOutcome, JobSpec
from caroni.execution.local import LocalExecutor
from caroni.execution.spool import SpoolSettings

FAST = SpoolSettings(grace=SECOND, durable=False)
_numbers = itertools.count(1)


async def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        await asyncio.sleep(0.01)


class Watcher:
    """An executor's callbacks, remembered."""

    def __init__(self) -> None:
        self.started: list[bytes] = []
        self.ended: list[bytes] = []
        self.outcomes: dict[bytes, JobOutcome] = {}

    def on_started(self, manager: str, job_uuid: bytes, at: int) -> None:
        self.started.append(job_uuid)

    def on_exit(self, manager: str, job_uuid: bytes, outcome: JobOutcome) -> None:
        self.ended.append(job_uuid)
        self.outcomes[job_uuid] = outcome

    async def outcome(self, spec: JobSpec, seconds: float = 15.0) -> JobOutcome:
        await until(lambda: spec.job_uuid in self.outcomes, seconds)
        return self.outcomes[spec.job_uuid]


class Host:
    """A spool and the executors on it."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self.executor: LocalExecutor
        self.watcher = Watcher()

    async def open(self, settings: SpoolSettings = FAST) -> LocalExecutor:
        self.watcher = Watcher()
        self.executor = LocalExecutor(self.spool, settings)
        await self.executor.start(self.watcher)
        return self.executor

    def directory(self, spec: JobSpec) -> Path:
        return self.spool / spec.job_uuid.hex()

    async def run(self, spec: JobSpec, seconds: float = 15.0) -> JobOutcome:
        await self.executor.launch([spec])
        return await self.watcher.outcome(spec, seconds)

    async def running(self, spec: JobSpec) -> None:
        """Wait until the job itself has said so, in a file of its working directory."""
        await until((self.directory(spec) / "work" / "runs").exists)

    async def gone(self, spec: JobSpec) -> None:
        """Wait until the job's supervisor is gone or has let go."""
        claim = self.executor.spool.claim_of(spec.job_uuid)
        await until(lambda: (self.directory(spec) / "exit.json").exists() or (claim and not is_alive(claim)))


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    host = Host(tmp_path / "spool")
    await host.open()
    yield host
    await host.executor.close()


def define(script: str, **fields: object) -> JobDefinition:
    lines = [f"name: job-{next(_numbers)}", "script: |", *(f"  {line}" for line in script.split("\n"))]
    definition = load_definition("\n".join(lines))
    return definition if not fields else _with(definition, fields)


def _with(definition: JobDefinition, fields: dict[str, object]) -> JobDefinition:
    import msgspec

    return msgspec.structs.replace(definition, **fields)


def job(definition: JobDefinition, /, max_runtime: int = 0, **inputs: str) -> JobSpec:
    return JobSpec(
        manager="caroni://here/manager/m",
        job_uuid=os.urandom(16),
        request_uuid=os.urandom(16),
        definition=definition,
        inputs=inputs,
        max_runtime=max_runtime,
    )


def pid_of(path: Path) -> int:
    return int(path.read_text())


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
