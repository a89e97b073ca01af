"""The ends of jobs' stdout and stderr, as agents send them when an operator wants to look.

An answer is taken from the job's own agent, only to a question, once for each, and never more than was
agreed: an agent cannot fill its manager's database. Nothing is decided on it.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from caroni.core.base_peers import is_base
from caroni.core.commands import RequestLog
from caroni.core.draft import Origin
from caroni.core.manager.state import ManagerDraft
from caroni.core.messages import JobLogChunk, JobLogRequest
from caroni.core.rows import Job, JobLog
from caroni.errors import CommandRefused

STREAMS = ("stdout", "stderr")
#: the most that is kept of one stream, bytes; an agent sends no more in one message
MAX_LOG = 64 * 1024


def ask_for_log(d: ManagerDraft, command: RequestLog) -> dict[str, Any]:
    """Ask the job's agent; gives when, so that the answer to this question is known from an older one.

    Raises:
        CommandRefused: there is no such job or stream, or its agent cannot be asked.
    """
    if command.stream not in STREAMS:
        raise CommandRefused(f"a job has no stream {command.stream[:40]}: ask for stdout or stderr")
    job = d.get(Job, (command.peer, command.job_uuid))
    if job is None:
        raise CommandRefused("there is no such job any more")
    if is_base(job.agent):
        raise CommandRefused("its agent speaks the base protocol, which has no logs")
    key = (job.agent, job.job_uuid, command.stream)
    known = d.get(JobLog, key) or JobLog(agent=job.agent, job_uuid=job.job_uuid, stream=command.stream)
    # later than any answer so far, also if the clock was set back
    asked_at = max(d.now, known.asked_at + 1, known.answered_at + 1)
    d.put(replace(known, asked_at=asked_at))
    size = min(max(command.max_bytes, 0) or MAX_LOG, MAX_LOG)
    d.send(
        job.agent,
        JobLogRequest(job_uuid=job.job_uuid, stream=command.stream, max_bytes=size),
        job.request_uuid,
    )
    return {"state": str(job.state), "asked_at": asked_at}


def on_log_chunk(d: ManagerDraft, origin: Origin, m: JobLogChunk) -> None:
    """Keep what an agent answers in place of what it answered before."""
    log = d.get(JobLog, (origin.uri, m.job_uuid, m.stream))
    if log is None or log.answered_at >= log.asked_at:
        return
    log = replace(log, answered_at=max(d.now, log.asked_at))
    if m.refusal:
        d.put(replace(log, refusal=m.refusal[:300]))
        return
    data = m.data[-MAX_LOG:]
    offset = m.offset + len(m.data) - len(data)
    d.put(
        replace(
            log,
            refusal="",
            at=d.now,
            offset=offset,
            data=data.decode("latin-1"),
            total=max(m.total_bytes, offset + len(data)),
            end=m.end,
        )
    )
