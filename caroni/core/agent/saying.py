"""What an agent says of its jobs: how each stands, its outputs, and all of them at once.

``seq`` rises with every change that the manager should hear of; a report that is asked for repeats the
current one.
"""

from __future__ import annotations

from collections.abc import Hashable

from msgspec.structs import replace

from caroni.core.agent.state import ENDED, AgentDraft, ForgetJob
from caroni.core.base_peers import is_base, statuses
from caroni.core.draft import Outgoing
from caroni.core.messages import (
    JobAccepted,
    JobDataAvailable,
    JobReport,
    JobReportEntry,
    JobStatus,
    JobStatusUpdate,
    Json,
    Message,
    ResourceUse,
)
from caroni.core.peers import heard_of
from caroni.core.rows import AgentJob, AgentOutput
from caroni.core.states import AgentJobState, advance

STATUS = {
    AgentJobState.PENDING: JobStatus.PENDING,
    AgentJobState.QUEUED: JobStatus.QUEUED,
    AgentJobState.STARTING: JobStatus.QUEUED,
    AgentJobState.RUNNING: JobStatus.RUNNING,
    AgentJobState.PAUSED: JobStatus.PAUSED,
    AgentJobState.KILLING: JobStatus.RUNNING,
    AgentJobState.COMPLETED: JobStatus.COMPLETED,
    AgentJobState.FAILED: JobStatus.FAILED,
    AgentJobState.KILLED: JobStatus.KILLED,
}


def report(d: AgentDraft, job: AgentJob) -> None:
    """Say the job's state; with a completed one, its outputs."""
    if not job.offer_uuid:  # only the memory of a kill: to say "killed" would say that it never ran
        unknown(d, job.manager, job.job_uuid)
        return
    if is_base(job.manager):
        return  # it hears of each change once (``_tell_base``), and of nothing again
    if job.state is AgentJobState.COMPLETED:
        _send_outputs(d, job)
    usage = ResourceUse(wall=job.wall, cpu=job.cpu, max_rss=job.max_rss) if job.ended_at else None
    d.send(
        job.manager,
        JobStatusUpdate(
            job_uuid=job.job_uuid,
            job_status=STATUS[job.state],
            status_info=job.info,
            seq=job.seq,
            attempt=job.attempt,
            occurred_at=job.ended_at or job.started_at or job.queued_at or job.created_at,
            progress=job.progress,
            exit_code=job.exit_code,
            failure_class=job.failure_class,
            manifest=job.manifest,
            stdout_tail=job.stdout_tail,
            stderr_tail=job.stderr_tail,
            usage=usage,
        ),
        job.request_uuid,
    )


def _send_outputs(d: AgentDraft, job: AgentJob) -> None:
    chunk: dict[str, Json] = {}
    size = 0
    for name in job.manifest:
        output = d.get(AgentOutput, (*job.key, name))
        if output is None:
            continue
        if chunk and size + len(output.value) > d.settings.data_chunk:
            d.send(job.manager, JobDataAvailable(job_uuid=job.job_uuid, parameters=chunk), job.request_uuid)
            chunk, size = {}, 0
        chunk[name] = output.value
        size += len(output.value)
    if chunk:
        d.send(job.manager, JobDataAvailable(job_uuid=job.job_uuid, parameters=chunk), job.request_uuid)


def unknown(d: AgentDraft, manager: str, job_uuid: bytes) -> None:
    """There is no such job here."""
    d.send(
        manager,
        JobStatusUpdate(
            job_uuid=job_uuid, job_status=JobStatus.UNKNOWN, status_info="this job is not known here"
        ),
    )


def move(d: AgentDraft, job: AgentJob, state: AgentJobState, info: str = "") -> AgentJob:
    """Change the state, raise the sequence, tell the manager."""
    job = replace(job, state=advance("job", job.state, state), seq=job.seq + 1, info=info or job.info)
    if state in ENDED:
        job = replace(job, ended_at=job.ended_at or d.now, tries=0, due=d.now + d.settings.result_resend)
    if is_base(job.manager):
        return _tell_base(d, job)
    d.put(job)
    report(d, job)
    return job


def _tell_base(d: AgentDraft, job: AgentJob) -> AgentJob:
    """Say what is new to a manager of the base protocol; it releases nothing, so the end is that too."""
    for status in statuses(d.get(AgentJob, job.key), job):
        update = JobStatusUpdate(job_uuid=job.job_uuid, job_status=status, status_info=job.info)
        d.send(job.manager, update, job.request_uuid)
    if job.state in ENDED:
        for name in job.manifest if job.state is AgentJobState.COMPLETED else ():
            output = d.get(AgentOutput, (*job.key, name))
            if output is not None:
                data = JobDataAvailable(job_uuid=job.job_uuid, parameters={name: output.value})
                d.send(job.manager, data, job.request_uuid)
        job = replace(job, released=True, due=0)
        d.act(ForgetJob(key=job.key))
    return d.put(job)


def report_all(d: AgentDraft, manager: str, report_uuid: bytes) -> None:
    """Every unreleased job of a manager that is in memory, which is every one there is."""
    entries = tuple(
        JobReportEntry(job_uuid=job.job_uuid, job_status=STATUS[job.state], seq=job.seq)
        for job in d.state.tables[AgentJob].values()
        if isinstance(job, AgentJob) and job.manager == manager and not job.released
    )
    stream, sequence = heard_of(d, manager)
    d.send(
        manager,
        JobReport(
            report_uuid=report_uuid,
            boot_id=d.state.boot_id,
            jobs=entries[:5000],
            complete=len(entries) <= 5000,
            seen_stream=stream,
            seen_sequence=sequence,
        ),
    )


def keep_newest_status(d: AgentDraft) -> None:
    """Of several statuses of one job in one unit of work only the newest says anything; the last step.

    So it is with its outputs, which are the same each time, and with reports of all jobs: of those the last
    says all that the others say. Base peers hear everything once and in order.
    """
    newest: dict[Hashable, Message] = {}
    repeats = False
    for outgoing in d.messages:
        about = _about(outgoing)
        if about is not None:
            repeats |= about in newest
            newest[about] = outgoing.message
    if repeats:
        d.messages = [o for o in d.messages if (a := _about(o)) is None or newest[a] is o.message]


def _about(outgoing: Outgoing) -> Hashable:
    """What a status, outputs or a report are about; None for anything of which each one counts."""
    message = outgoing.message
    if type(message) is JobStatusUpdate and not is_base(outgoing.to):
        return (outgoing.to, message.job_uuid)
    if type(message) is JobDataAvailable and not is_base(outgoing.to):
        return (outgoing.to, message.job_uuid, *message.parameters)
    if type(message) is JobAccepted and not is_base(outgoing.to):
        return (outgoing.to, JobAccepted, message.job_uuid)
    if type(message) is JobReport:
        return (outgoing.to, JobReport)
    return None
