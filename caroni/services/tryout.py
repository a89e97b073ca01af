"""Run a job definition once, here and now, the way an agent would: ``caroni job test``."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from caroni.core import cwltypes
from caroni.core.inputs import unknown_input
from caroni.core.messages import Json
from caroni.errors import UsageError
from caroni.execution.definition import JobDefinition
from caroni.execution.executor import JobOutcome
from caroni.execution.once import run_once

_MAX_STREAM = 1024 * 1024


class TryOut(msgspec.Struct, frozen=True, kw_only=True):
    """How the run ended, and what it wrote (at most 1 MiB of each stream)."""

    outcome: JobOutcome
    stdout: str
    stderr: str
    #: the job's directory, if it was kept
    directory: str = ""


async def try_out(definition: JobDefinition, inputs: Mapping[str, Json], *, keep: bool = False) -> TryOut:
    """Run a definition in a temporary directory and wait for its end; cancelling kills the job.

    Args:
        definition: what to run.
        inputs: name to JSON text.
        keep: leave the directory behind and say where it is.

    Raises:
        UsageError: an input is missing, unknown or ill-typed.
        ConfigError: nothing can be run here.
    """
    _check(definition, inputs)
    with _directory(keep) as spool:
        outcome = await run_once(definition, inputs, spool)
        return _collected(spool, outcome, keep)


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


def _check(definition: JobDefinition, inputs: Mapping[str, Json]) -> None:
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
