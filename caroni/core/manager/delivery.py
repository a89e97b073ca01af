"""What a manager tells the agent of a job: inputs, stop, release."""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core.manager.state import ManagerDraft
from caroni.core.messages import JobDataAvailable, JobKill, JobRelease, Json
from caroni.core.rows import Flow, Job, Step


def send_inputs(d: ManagerDraft, job: Job, step: Step, only: frozenset[str] | None = None) -> None:
    """Send every input that has a value (or only those named), split so that no message is large.

    An input with a source that has no value yet is sent when it gets one. A null value takes the
    step's default, as CWL says.
    """
    chunk: dict[str, Json] = {}
    size = 0
    for item in d.plan_step(step).inputs:
        if only is not None and item.name not in only:
            continue
        value: Json | None = None
        if item.source is not None:
            flow = d.get(Flow, (step.workflow_uuid, item.source))
            if flow is None:
                continue
            value = flow.value
        if value is None or value == "null":
            value = item.default if item.default is not None else "null"
        if chunk and size + len(value) > d.settings.data_chunk:
            d.send(job.agent, JobDataAvailable(job_uuid=job.job_uuid, parameters=chunk), job.request_uuid)
            chunk, size = {}, 0
        chunk[item.name] = value
        size += len(value)
    if chunk:
        d.send(job.agent, JobDataAvailable(job_uuid=job.job_uuid, parameters=chunk), job.request_uuid)


def stop_job(d: ManagerDraft, job: Job, why: str) -> Job:
    """Record the wish first, then say it; the job's timer repeats it until the agent answers."""
    d.send(job.agent, JobKill(job_uuid=job.job_uuid, kill_info=why), job.request_uuid)
    if job.kill_wanted:
        return job
    return d.put(replace(job, kill_wanted=True, tries=0, due=d.now + d.settings.kill_resend))


def release(d: ManagerDraft, agent: str, job_uuid: bytes, conversation_id: bytes = b"") -> None:
    """The result is safe here: the agent may forget the job."""
    d.send(agent, JobRelease(job_uuid=job_uuid), conversation_id)
