"""What a job writes to stdout and stderr: read from the agent's spool, or as the manager was told it.

On an agent the files themselves are read, while the job runs and until they are pruned. A manager has the
last 4 KiB of a job that has ended, and more of any job if its agent allows it and is asked.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Literal

import msgspec

from caroni.config import Loaded
from caroni.core.commands import RequestLog
from caroni.core.rows import AgentJob, Job, JobLog
from caroni.core.states import is_terminal
from caroni.errors import CaroniError, UsageError, of_system
from caroni.services.control import PATIENCE, Answer, LeftForLater, give, require
from caroni.services.jobs import rows
from caroni.services.stores import now

if TYPE_CHECKING:
    from caroni.model.store import Store

Stream = Literal["stdout", "stderr"]
STREAMS: tuple[Stream, ...] = ("stdout", "stderr")
#: the most that one call gives, and the most that an agent sends its manager, bytes
CHUNK = 64 * 1024
#: seconds between looks for an agent's answer
LOOK = 0.2


class LogPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a stream. Instants are wall microseconds, 0 = never.

    ``total`` is how long the stream is (was, at ``at``), or -1 where only its end is known: ``offset`` then
    counts from the beginning of that end. ``end``: the job has ended and nothing follows ``data``.

    Of a manager's part: ``at`` is when the agent sent it, ``asked_at`` when it was last asked,
    ``answered_at`` when it last answered, and ``refusal`` why it then sent nothing, in its own words.
    ``gone``: the job's files were removed, this is what was kept of them.
    """

    job: str
    stream: Stream
    offset: int
    data: bytes
    total: int
    end: bool
    at: int
    asked_at: int = 0
    answered_at: int = 0
    refusal: str = ""
    gone: bool = False

    @property
    def waiting(self) -> bool:
        """Whether the agent has been asked and has not answered yet."""
        return self.asked_at > self.answered_at


async def part(
    loaded: Loaded, store: Store, peer: str, job_uuid: bytes, stream: Stream, offset: int, limit: int = CHUNK
) -> LogPart:
    """Read a part of a job's stream.

    Args:
        loaded: the configuration of the job's agent or manager.
        store: its database.
        peer: the other side of the job.
        job_uuid: the job.
        stream: ``stdout`` or ``stderr``.
        offset: where to begin; negative: so many bytes before the end. Beyond the end there is no data.
        limit: at most so many bytes, and never more than 64 KiB.

    Raises:
        UsageError: the job is not known (any more), or there is no such stream.
        ConfigError: its file cannot be read by this user.
        CaroniError: there is something else in the file's place.
        TransientError: the database is away.
    """
    if stream not in STREAMS:
        raise UsageError(f"a job has no stream {stream!r}: stdout or stderr")
    limit = max(0, min(limit, CHUNK))
    if store.role == "manager":
        return await _told(store, peer, job_uuid, stream, offset, limit)
    return await _here(loaded, store, peer, job_uuid, stream, offset, limit)


async def _here(
    loaded: Loaded, store: Store, peer: str, job_uuid: bytes, stream: Stream, offset: int, limit: int
) -> LogPart:
    from caroni.execution.spool import read_part
    from caroni.model.mapping import escape

    found = await rows(store, AgentJob, "manager = ? AND job_uuid = ?", escape(peer), job_uuid.hex())
    if not found:
        raise _unknown(job_uuid)
    job = found[0]
    # asked before the file is read: what is written in between is read with the next part
    ended = is_terminal(job.state)
    directory = loaded.config.agent.spool_dir / job_uuid.hex()

    def read() -> tuple[int, bytes, int, bool]:
        start, data, total = read_part(str(directory / stream), offset, limit)
        return start, data, total, bool(total) or os.path.lexists(directory)

    try:
        start, data, total, there = await asyncio.to_thread(read)
    except PermissionError as error:
        raise of_system(error, f"{directory / stream} cannot be read") from None
    except OSError as error:
        raise CaroniError(
            f"its {stream} is not what the job wrote ({error.strerror}): {directory / stream}"
        ) from None
    if ended and not there:
        tail = job.stdout_tail if stream == "stdout" else job.stderr_tail
        return _of_tail(job_uuid, stream, tail, job.ended_at, offset, limit, gone=True)
    start = min(start, total)
    return LogPart(
        job=job_uuid.hex(),
        stream=stream,
        offset=start,
        data=data,
        total=total,
        end=ended and start + len(data) >= total,
        at=now(),
    )


def _of_tail(
    job_uuid: bytes, stream: Stream, tail: str, at: int, offset: int, limit: int, *, gone: bool
) -> LogPart:
    """A part of the last 4 KiB, which is all that is known of the stream."""
    whole = tail.encode(errors="replace")
    start = max(0, len(whole) + offset) if offset < 0 else min(offset, len(whole))
    data = whole[start : start + limit]
    return LogPart(
        job=job_uuid.hex(),
        stream=stream,
        offset=start,
        data=data,
        total=-1,
        end=start + len(data) >= len(whole),
        at=at,
        gone=gone,
    )


async def _told(store: Store, peer: str, job_uuid: bytes, stream: Stream, offset: int, limit: int) -> LogPart:
    from caroni.model.mapping import escape

    key = (escape(peer), job_uuid.hex())
    found = await rows(store, Job, "agent = ? AND job_uuid = ?", *key)
    if not found:
        raise _unknown(job_uuid)
    job = found[0]
    logs = await rows(store, JobLog, "agent = ? AND job_uuid = ? AND stream = ?", *key, stream)
    log = logs[0] if logs else JobLog(agent=peer, job_uuid=job_uuid, stream=stream)
    tail = job.stdout_tail if stream == "stdout" else job.stderr_tail
    # what the end of the job said is newer than a log that was asked for before it
    if job.ended and tail and not (log.end and log.total):  # an end without data: its files are gone
        told = _of_tail(job_uuid, stream, tail, job.ended_at or now(), offset, limit, gone=False)
        return msgspec.structs.replace(
            told, asked_at=log.asked_at, answered_at=log.answered_at, refusal=log.refusal
        )
    whole = log.data.encode("latin-1")
    known_to = log.offset + len(whole)
    wanted = max(0, log.total + offset) if offset < 0 else offset
    start = min(max(wanted, log.offset), known_to)
    data = whole[start - log.offset :][:limit]
    return LogPart(
        job=job_uuid.hex(),
        stream=stream,
        offset=start,
        data=data,
        total=log.total,
        end=(log.end or job.ended or is_terminal(job.state)) and start + len(data) >= known_to,
        at=log.at,
        asked_at=log.asked_at,
        answered_at=log.answered_at,
        refusal=log.refusal,
    )


async def ask(
    loaded: Loaded,
    store: Store,
    peer: str,
    job_uuid: bytes,
    stream: Stream,
    *,
    max_bytes: int = CHUNK,
    patience: float = PATIENCE,
) -> int:
    """Have a manager ask a job's agent for the end of a stream; gives when it asked.

    A question that the manager has not taken up is not followed by another. The answer shows in
    :func:`part`, by ``at`` or ``refusal``; :func:`answered` waits for it.

    Args:
        loaded: the manager's configuration.
        store: its database, open for writing.
        peer: the job's agent.
        job_uuid: the job.
        stream: ``stdout`` or ``stderr``.
        max_bytes: how much; the agent sends at most 64 KiB.
        patience: seconds that a manager which runs has for its answer.

    Raises:
        UsageError: it is an agent's configuration.
        CommandRefused: the job is not known, or its agent has no logs to give.
        LeftForLater: the manager has not asked (yet).
    """
    require(loaded, "manager", "asking for a log")
    command = RequestLog(peer=peer, job_uuid=job_uuid, stream=stream, max_bytes=max_bytes)
    left = await store.database.fetch(
        "SELECT id FROM command WHERE state = 'new' AND kind = ? AND args = ?",
        str(command.__struct_config__.tag),
        msgspec.json.encode(command).decode(),
    )
    if left:
        raise LeftForLater(
            "the manager does not run or is busy: it has not asked the agent yet, and will when it can"
        )
    answer: Answer = await give(loaded, store, command, patience=patience)
    return int(answer.result.get("asked_at", 0))


async def answered(
    loaded: Loaded, store: Store, peer: str, job_uuid: bytes, stream: Stream, asked_at: int, seconds: float
) -> bool:
    """Wait until an agent has answered (or refused) what it was asked at ``asked_at``; False: not in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        told = await part(loaded, store, peer, job_uuid, stream, 0, 0)
        if told.answered_at >= asked_at:
            return True
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(LOOK)


def _unknown(job_uuid: bytes) -> UsageError:
    return UsageError(f"job {job_uuid.hex()} is not known any more; see: caroni jobs --all")
