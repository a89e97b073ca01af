"""Run a job definition once, here and now, the way an agent would: ``caroni job test``."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from caroni.core import cwltypes
from caroni.core.inputs import unknown_input
from caroni.core.messages import Json
from caroni.errors import UsageError
from caroni.execution.definition import JobDefinition, load_definition
from caroni.execution.executor import Executor, JobOutcome
from caroni.execution.once import run_once
from caroni.services.arguments import typed_arguments

_MAX_STREAM = 1024 * 1024
#: bytes of each stream that are told while a job runs, and seconds between two looks
_TAIL = 16 * 1024
_LOOK = 0.25


class TryOut(msgspec.Struct, frozen=True, kw_only=True):
    """How the run ended, and what it wrote (at most 1 MiB of each stream)."""

    outcome: JobOutcome
    stdout: str
    stderr: str
    #: the job's directory, if it was kept
    directory: str = ""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A job while it runs: for how long (microseconds), and the last 16 KiB that it wrote to each stream."""

    elapsed: int
    stdout: str
    stderr: str
    stdout_bytes: int
    stderr_bytes: int


async def try_out(
    definition: JobDefinition,
    inputs: Mapping[str, Json],
    *,
    keep: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> TryOut:
    """Run a definition in a temporary directory and wait for its end; cancelling kills the job.

    Args:
        definition: what to run.
        inputs: name to JSON text.
        keep: leave the directory behind and say where it is.
        progress: is told four times a second how the job is getting on.

    Raises:
        UsageError: an input is missing, unknown or ill-typed.
        ConfigError: nothing can be run here.
    """
    check_values(definition, inputs)

    async def watch(executor: Executor, job: bytes) -> None:
        started = time.monotonic()
        while progress is not None:
            out, err = [await executor.tail(job, stream, -_TAIL, _TAIL) for stream in ("stdout", "stderr")]
            progress(
                Progress(
                    elapsed=round((time.monotonic() - started) * 1_000_000),
                    stdout=out.data.decode(errors="replace"),
                    stderr=err.data.decode(errors="replace"),
                    stdout_bytes=out.total,
                    stderr_bytes=err.total,
                )
            )
            await asyncio.sleep(_LOOK)

    with _directory(keep) as spool:
        outcome = await run_once(definition, inputs, spool, watch=watch if progress else None)
        return _collected(spool, outcome, keep)


async def try_text(
    text: str, inputs: Mapping[str, str], *, progress: Callable[[Progress], None] | None = None
) -> TryOut:
    """As :func:`try_out`, of a definition's YAML and of values as a person writes them.

    An empty value of an optional input is none.

    Raises:
        DocumentError: the YAML is wrong.
        UsageError: an input is missing, unknown or ill-typed.
    """
    definition = load_definition(text)
    for name in definition.required_inputs:
        if name not in inputs:
            raise UsageError(f"input {name!r} is missing ({cwltypes.describe(definition.inputs[name])})")
    given = [
        f"{name}={value}"
        for name, value in inputs.items()
        if name in definition.inputs and (value or not cwltypes.is_optional(definition.inputs[name]))
    ]
    try:
        values = typed_arguments(given, definition.inputs)
    except UsageError as error:
        # the same words as on the command line, without its option
        raise UsageError(str(error).removeprefix("--").removeprefix("input: ")) from None
    return await try_out(definition, values, progress=progress)


def _collected(spool: Path, outcome: JobOutcome, keep: bool) -> TryOut:
    # a job that could not be started has no directory
    job = next((p for p in spool.iterdir() if p.is_dir() and len(p.name) == 32), spool)
    return TryOut(
        outcome=outcome,
        stdout=_read(job / "stdout"),
        stderr=_read(job / "stderr"),
        directory=str(job) if keep else "",
    )


def _read(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(_MAX_STREAM).decode(errors="replace")


def check_values(definition: JobDefinition, inputs: Mapping[str, Json]) -> None:
    """Refuse as a mistake of the user what an agent would call a failed job."""
    for name in definition.required_inputs:
        if inputs.get(name, "null") == "null":
            wanted = cwltypes.describe(definition.inputs[name])
            raise UsageError(f"input {name!r} is missing ({wanted}): add --input {name}=...")
    for name, text in inputs.items():
        if name not in definition.inputs:
            raise UsageError(unknown_input(name, definition.inputs).replace("the workflow", "the job"))
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
