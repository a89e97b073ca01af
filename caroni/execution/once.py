"""One job, here and now, exactly as an agent would run it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from caroni.core.messages import Json
from caroni.execution.definition import JobDefinition
from caroni.execution.executor import Executor, JobOutcome, JobSpec
from caroni.execution.local import LocalExecutor
from caroni.execution.spool import SpoolSettings

#: seconds that a killed job has to end
_KILL_WAIT = 15.0


class _One:
    """Callbacks that wait for a single job."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[JobOutcome] = asyncio.get_running_loop().create_future()

    def on_started(self, manager: str, job_uuid: bytes, at: int) -> None:
        """Nothing waits for the start."""

    def on_exit(self, manager: str, job_uuid: bytes, outcome: JobOutcome) -> None:
        """The one job has ended."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)


async def run_once(
    definition: JobDefinition,
    inputs: Mapping[str, Json],
    directory: Path,
    settings: SpoolSettings | None = None,
    watch: Callable[[Executor, bytes], Awaitable[None]] | None = None,
) -> JobOutcome:
    """Run a job here and now, as an agent would (``caroni job test``).

    Cancelling kills the job. Its files stay in ``directory/<32 hex digits>/``. ``watch`` gets executor and
    job and runs beside it; it is cancelled when the job has ended.

    Raises:
        ConfigError: ``directory`` cannot be used.
    """
    executor = LocalExecutor(directory, settings or SpoolSettings(durable=False))
    one = _One()
    await executor.start(one)
    job_uuid = os.urandom(16)
    spec = JobSpec(
        manager="", job_uuid=job_uuid, request_uuid=bytes(16), definition=definition, inputs=dict(inputs)
    )
    ended = one.outcome
    watcher: asyncio.Future[None] | None = None
    try:
        await executor.launch([spec])
        if watch is not None:
            watcher = asyncio.ensure_future(watch(executor, job_uuid))
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        await executor.signal(job_uuid, "kill", 0)
        # the supervisor reads the wish from the directory, which the caller may delete once this is over
        await asyncio.wait([ended], timeout=_KILL_WAIT)
        raise
    finally:
        if watcher is not None:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
        await executor.close()
