"""What a manager tells an agent: inputs, stop, release, and that an offer is not taken."""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core.base_peers import is_base
from caroni.core.manager.state import ManagerDraft
from caroni.core.messages import (
    JobDataAvailable,
    JobFulfillmentOfferReject,
    JobFulfillmentRequestWithdrawn,
    JobKill,
    JobRelease,
    JobStatusRequest,
    Json,
)
from caroni.core.rows import Flow, Job, Offer, Request, Step
from caroni.core.states import OfferState, advance


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
    if is_base(job.agent):
        return job  # it hears nothing while a job runs: the job ends by itself
    d.send(job.agent, JobKill(job_uuid=job.job_uuid, kill_info=why), job.request_uuid)
    if job.kill_wanted:
        return job
    return d.put(
        replace(
            job,
            kill_wanted=True,
            kill_asked_at=d.now,
            kill_info=why[:300],
            tries=0,
            due=d.now + d.settings.kill_resend,
        )
    )


def release(d: ManagerDraft, agent: str, job_uuid: bytes, conversation_id: bytes = b"") -> None:
    """The result is safe here: the agent may forget the job."""
    d.send(agent, JobRelease(job_uuid=job_uuid), conversation_id)


def ask(d: ManagerDraft, job: Job) -> None:
    """Have the agent say how the job stands; not a base agent, which may know the job no more."""
    if not is_base(job.agent):
        d.send(job.agent, JobStatusRequest(job_uuid=job.job_uuid), job.request_uuid)


def say_reject(d: ManagerDraft, agent: str, request_uuid: bytes, offer_uuid: bytes, why: str) -> None:
    """An offer is not (or no longer) wanted: its reservation is free, a job that came of it is killed."""
    d.send(
        agent,
        JobFulfillmentOfferReject(request_uuid=request_uuid, offer_uuid=offer_uuid, reject_message=why),
        request_uuid,
    )


def reject(d: ManagerDraft, offer: Offer, why: str) -> None:
    """The same, of an offer that we have a row for."""
    d.put(replace(offer, state=advance("offer", offer.state, OfferState.REJECTED)))
    if offer.state is OfferState.ACCEPTED and is_base(offer.agent):
        return  # it has had its one answer
    request = d.get(Request, offer.request_uuid)
    if request is not None and d.may_have_gone_on(request):
        # a reject would kill a job that came of it: this only frees a reservation
        withdrawn = JobFulfillmentRequestWithdrawn(request_uuid=request.request_uuid)
        d.send(offer.agent, withdrawn, request.request_uuid)
        return
    say_reject(d, offer.agent, offer.request_uuid, offer.offer_uuid, why)


def reject_standbys(d: ManagerDraft, request: Request, why: str) -> None:
    """Free the reservations that nobody needs any more."""
    for key in request.offers:
        offer = d.get(Offer, key)
        if offer is not None and offer.state is OfferState.RECEIVED:
            reject(d, offer, why)
