"""The port of an executor: what it is asked, what it tells, and the values that pass.

A daemon hands in jobs whose ``starting`` state is committed and hears of their ends by callbacks on its
own event loop. Everything may be asked twice: a job is started once per ``job_uuid``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import msgspec

from caroni.core.messages import FailureClass, Json
from caroni.execution.definition import JobDefinition

Signal = Literal["kill", "pause", "resume"]
Stream = Literal["stdout", "stderr"]


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One job to run: one attempt of a step, with everything the agent pinned when it accepted."""

    manager: str
    job_uuid: bytes
    request_uuid: bytes
    definition: JobDefinition
    inputs: dict[str, Json] = {}
    attempt: int = 1
    #: microseconds the requester grants, 0 = the definition's own limit; the smaller of both holds
    max_runtime: int = 0
    #: who runs it, and what of its row is not above: kept with its files, so that it can be taken up again
    agent: str = ""
    offer_uuid: bytes = b""
    definition_revision: int = 0
    parameters: tuple[str, ...] = ()


class SpooledJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that an executor has files of. ``paused``: it was suspended."""

    spec: JobSpec
    paused: bool = False


class JobOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended. Durations in microseconds, instants in wall microseconds, memory in bytes.

    ``max_rss`` is the largest resident set of any one process. Linux counts what a process had before it
    became the job, so small jobs show the size of their supervisor (about 10 MiB).
    """

    state: Literal["completed", "failed", "killed"]
    exit_code: int | None = None
    failure_class: FailureClass = FailureClass.UNSPECIFIED
    #: one line for people
    info: str = ""
    outputs: dict[str, Json] = {}
    #: the last 4 KiB of each stream
    stdout_tail: str = ""
    stderr_tail: str = ""
    wall: int = 0
    cpu: int = 0
    max_rss: int = 0
    started_at: int = 0
    ended_at: int = 0


class StreamPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a job's stdout or stderr. ``end``: the job has ended and nothing follows ``data``."""

    offset: int
    data: bytes
    total: int
    end: bool


class JobRefused(Exception):
    """One job cannot be started; it fails with this class and text."""

    def __init__(self, failure_class: FailureClass, text: str) -> None:
        self.failure_class = failure_class
        self.text = text
        super().__init__(text)


class Callbacks(Protocol):
    """What an executor tells its daemon; always called on the event loop, never from within a request."""

    def on_started(self, manager: str, job_uuid: bytes, at: int) -> None:
        """The job runs since ``at`` (wall microseconds). May come again after a recovery."""
        ...

    def on_exit(self, manager: str, job_uuid: bytes, outcome: JobOutcome) -> None:
        """The job has ended and nothing of it runs any more. Comes at least once."""
        ...


class Executor(Protocol):
    """Runs jobs. A plugin provides one by ``caroni_executors`` (``docs/plugins.md``)."""

    async def start(self, callbacks: Callbacks) -> None:
        """Begin to serve.

        Raises:
            ConfigError: it cannot work here (no such directory, missing rights).
        """
        ...

    async def launch(self, specs: Sequence[JobSpec]) -> None:
        """Start jobs; known ones are left alone. A job that cannot be started ends ``failed``."""
        ...

    async def recover(self, specs: Sequence[JobSpec]) -> None:
        """After a restart: take up jobs that may be running, have ended, or were never started."""
        ...

    async def signal(self, job_uuid: bytes, signal: Signal, grace: int | None = None) -> None:
        """End, suspend or continue a job. ``grace``: microseconds between asking and killing."""
        ...

    async def forget(self, job_uuids: Sequence[bytes]) -> None:
        """Delete what is kept of jobs that have ended."""
        ...

    async def tail(self, job_uuid: bytes, stream: Stream, offset: int, n: int) -> StreamPart:
        """Up to ``n`` bytes of a stream from ``offset`` (negative: from its end)."""
        ...

    async def close(self) -> None:
        """Stop serving; jobs run on and are found by ``recover``. No callback is called afterwards."""
        ...


@runtime_checkable
class KeepsFiles(Protocol):
    """An executor whose jobs leave files, by which an agent with an old database finds them again."""

    async def stored(self) -> list[bytes]:
        """The jobs that have files here."""
        ...

    async def identify(self, job_uuids: Sequence[bytes], agent: str) -> list[SpooledJob]:
        """What is known of these jobs; those that are not certainly this agent's are left out."""
        ...

    async def stale(self, job_uuids: Sequence[bytes], older_than: int) -> list[bytes]:
        """Those of which nothing runs, and whose files have not changed since (wall microseconds)."""
        ...


#: Makes an executor from the directory it may use and its section of the configuration.
ExecutorFactory = Callable[[Path, Mapping[str, object]], Executor]
