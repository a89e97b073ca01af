"""Jobs that this database has forgotten: what the spool holds is taken up again."""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core.agent.jobs import silent_until
from caroni.core.agent.saying import report
from caroni.core.agent.state import AgentDraft, FoundJob, JobsFound, RecoverJob
from caroni.core.draft import RenewStream
from caroni.core.peers import renew_stream
from caroni.core.rows import AgentInput, AgentJob, AgentOffer
from caroni.core.states import AgentJobState, AgentOfferState, advance


def on_found(d: AgentDraft, event: JobsFound) -> None:
    """Take up again what this database has forgotten; from then on these are jobs like any other.

    That it has forgotten something means that it was put back: what is said from here on is said in a new
    stream, so that it counts as newer than what managers have heard.
    """
    taken = [job for found in event.jobs if (job := _take_up(d, found)) is not None]
    if not taken:
        return
    if not any(isinstance(action, RenewStream) for action in d.actions):
        renew_stream(d)
    for job in taken:
        d.note("job_found", job=job.job_uuid, manager=job.manager, job_type=job.job_type)
        d.act(RecoverJob(key=job.key))
        report(d, job)


def _take_up(d: AgentDraft, found: FoundJob) -> AgentJob | None:
    manager, job_uuid = found.key
    job = d.get(AgentJob, found.key)
    if job is None:
        _take_up_offer(d, found)
        job = AgentJob(
            manager=manager,
            job_uuid=job_uuid,
            offer_uuid=found.offer_uuid,
            request_uuid=found.request_uuid,
            state=AgentJobState.STARTING,
            job_type=found.job_type,
            job_type_version=found.job_type_version,
            definition_revision=found.definition_revision,
            parameters=found.parameters,
            attempt=found.attempt,
            max_runtime=found.max_runtime,
            created_at=d.now,
        )
    elif job.state is AgentJobState.PENDING:
        job = replace(job, state=advance("job", job.state, AgentJobState.QUEUED))
    elif job.state is not AgentJobState.QUEUED:
        return None  # it is known how it stands
    if job.state is AgentJobState.QUEUED:
        job = replace(job, state=advance("job", job.state, AgentJobState.STARTING))
    if found.paused:
        running = replace(job, state=advance("job", job.state, AgentJobState.RUNNING))
        job = replace(
            running, state=advance("job", running.state, AgentJobState.PAUSED), due=silent_until(d, job)
        )
    else:
        job = replace(job, due=0)
    for name, value in found.inputs.items():
        if name in job.parameters and d.get(AgentInput, (*job.key, name)) is None:
            d.put(AgentInput(manager=manager, job_uuid=job_uuid, name=name, value=value))
    return d.put(replace(job, missing=0, seq=job.seq + 1, queued_at=job.queued_at or d.now))


def _take_up_offer(d: AgentDraft, found: FoundJob) -> None:
    """The job's offer was accepted, whatever this database says of it."""
    offer = d.get(AgentOffer, (found.key[0], found.offer_uuid))
    if offer is None:
        d.put(
            AgentOffer(
                manager=found.key[0],
                offer_uuid=found.offer_uuid,
                request_uuid=found.request_uuid,
                state=AgentOfferState.ACCEPTED,
                job_type=found.job_type,
                job_type_version=found.job_type_version,
                definition_revision=found.definition_revision,
                parameters=found.parameters,
                attempt=found.attempt,
                max_runtime=found.max_runtime,
                created_at=d.now,
            )
        )
    elif offer.state in (AgentOfferState.OPEN, AgentOfferState.EXPIRED):
        d.put(replace(offer, state=advance("offer", offer.state, AgentOfferState.ACCEPTED), due=0))
