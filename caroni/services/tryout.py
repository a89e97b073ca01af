"""Run a job definition once, here and now, the way an agent would: ``caroni job test``."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from caroni.core import cwltypes
from caroni.core.messages import Json
from caroni.errors import UsageError
from caroni.execution.definition import JobDefinition
from caroni.execution.executor import JobOutcome, JobSpec
from caroni.execution.local import LocalExecutor

_REQUESTER = "caroni://localhost/manager/job-test"
_MAX_STREAM = 1024 * 1024


class TryOut(msgspec.Struct, frozen=True, kw_only=True):
    """How the run ended, and what it wrote (at most 1 MiB of each stream)."""

    outcome: JobOutcome
    stdout: str
    stderr: str
    #: the job's directory, if it was kept
    directory: str = ""


class _Ended:
    """Hears of the job's end."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[JobOutcome] = asyncio.get_running_loop().create_future()

    def on_started(self, manager: str, job_uuid: bytes, at: int) -> None:
        """Nothing to do."""

    def on_exit(self, manager: str, job_uuid: bytes, outcome: JobOutcome) -> None:
        """Keep the first outcome (it may be told again)."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)


async def try_out(definition: JobDefinition, inputs: Mapping[str, Json], *, keep: bool = False) -> TryOut:
    """Run a definition in a temporary directory and wait for its end.

    Cancelling kills the job. Inputs are checked as an agent checks them.

    Args:
        definition: what to run.
        inputs: name to JSON text.
        keep: leave the directory behind and say where it is.

    Raises:
        UsageError: an input is missing, unknown or ill-typed.
        ConfigError: nothing can be run here.
    """
    _check(definition, inputs)
    with _directory(keep) as root:
        executor = LocalExecutor(root / "spool")
        ended = _Ended()
        job_uuid = os.urandom(16)
        spec = JobSpec(
            manager=_REQUESTER,
            job_uuid=job_uuid,
            request_uuid=os.urandom(16),
            definition=definition,
            inputs=dict(inputs),
        )
        await executor.start(ended)
        try:
            await executor.launch([spec])
            try:
                outcome = await asyncio.shield(ended.outcome)
            except asyncio.CancelledError:
                await executor.signal(job_uuid, "kill", 1_000_000)
                await asyncio.wait([ended.outcome], timeout=10)
                raise
            out = await executor.tail(job_uuid, "stdout", 0, _MAX_STREAM)
            err = await executor.tail(job_uuid, "stderr", 0, _MAX_STREAM)
        finally:
            await executor.close()
        return TryOut(
            outcome=outcome,
            stdout=out.data.decode(errors="replace"),
            stderr=err.data.decode(errors="replace"),
            directory=str(root / "spool" / job_uuid.hex()) if keep else "",
        )


def _check(definition: JobDefinition, inputs: Mapping[str, Json]) -> None:
    for name in definition.required_inputs:
        if inputs.get(name, "null") == "null":
            wanted = cwltypes.describe(definition.inputs[name])
            raise UsageError(f"input {name!r} is missing ({wanted}): add --input {name}=...")
    for name, text in inputs.items():
        if name not in definition.inputs:
            known = ", ".join(definition.inputs) or "none"
            raise UsageError(f"{definition.name} has no input {name!r}; it has: {known}")
        try:
            cwltypes.check_json(text, definition.inputs[name])
        except cwltypes.ValueMismatch as error:
            raise UsageError(f"input {error.under(name)}") from None


@contextmanager
def _directory(keep: bool) -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="caroni-job-"))
    try:
        yield root
    finally:
        if not keep:
            shutil.rmtree(root, ignore_errors=True)
