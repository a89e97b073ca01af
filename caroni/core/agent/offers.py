"""Requests and offers as the agent answers them.

One request has at most one open offer here; a repeated request repeats it. An expired offer is followed
by a new one when the request comes round again (silence would stall the manager for ever), a rejected
one only in a later round.
"""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core.agent.jobs import create_job, kill
from caroni.core.agent.saying import report
from caroni.core.agent.state import AgentDraft, Load, Refusal, Terms
from caroni.core.base_peers import is_base
from caroni.core.draft import Origin
from caroni.core.ids import job_uuid_of
from caroni.core.messages import (
    DeclineReason,
    JobAccepted,
    JobFulfillmentDecline,
    JobFulfillmentOffer,
    JobFulfillmentOfferAccept,
    JobFulfillmentOfferReject,
    JobFulfillmentOfferWithdrawn,
    JobFulfillmentRequest,
    JobFulfillmentRequestWithdrawn,
)
from caroni.core.plan import MINUTE
from caroni.core.rows import AgentJob, AgentOffer
from caroni.core.states import AgentJobState, AgentOfferState, advance


def on_request(d: AgentDraft, origin: Origin, m: JobFulfillmentRequest) -> None:
    """Offer, repeat the offer, or decline with the reason."""
    key = d.state.offer_of_request.get((origin.uri, m.request_uuid))
    offer = d.get(AgentOffer, key) if key is not None else None
    if offer is not None:
        if is_base(origin.uri):
            return  # a second offer would end it
        if offer.state is AgentOfferState.OPEN:
            offer = d.put(replace(offer, due=d.now + d.settings.offer_ttl, round=max(offer.round, m.round)))
            _say_offer(d, offer)
            return
        if offer.state is AgentOfferState.ACCEPTED and not _came_to_nothing(d, offer):
            _say_accepted(d, offer)
            return
        if offer.state is not AgentOfferState.EXPIRED and m.round <= offer.round:
            return
    verdict = _judge(d, origin.uri, m)
    if isinstance(verdict, Refusal):
        if verdict.reason is DeclineReason.BUSY:
            d.state.remember(origin.uri, m)
        d.send(
            origin.uri,
            JobFulfillmentDecline(
                request_uuid=m.request_uuid,
                site=d.settings.site,
                decline_message=verdict.message,
                reason=verdict.reason,
                retry_after=verdict.retry_after,
            ),
            m.request_uuid,
        )
        return
    _offer(d, origin.uri, m, verdict)


def _came_to_nothing(d: AgentDraft, offer: AgentOffer) -> bool:
    """Whether there will never be a result of this offer: who asks again needs another one."""
    job = d.get(AgentJob, (offer.manager, job_uuid_of(offer.offer_uuid)))
    return job is not None and job.state in (AgentJobState.FAILED, AgentJobState.KILLED)


def offer_what_was_declined(d: AgentDraft) -> None:
    """A place has become free: offer for requests that came while we were busy, oldest first.

    Managers need no timer for a busy agent then; an offer that comes too late is rejected.
    """
    for manager, requests in list(d.state.declined_busy.items()):
        for request in list(requests.values()):
            verdict = _judge(d, manager, request)
            if isinstance(verdict, Refusal) and verdict.reason is DeclineReason.BUSY:
                break
            d.state.forget(manager, request.request_uuid)
            key = d.state.offer_of_request.get((manager, request.request_uuid))
            offer = d.get(AgentOffer, key) if key is not None else None
            stands = offer is not None and offer.state in (AgentOfferState.OPEN, AgentOfferState.ACCEPTED)
            if not stands and not isinstance(verdict, Refusal):
                _offer(d, manager, request, verdict)


def _offer(d: AgentDraft, manager: str, m: JobFulfillmentRequest, terms: Terms | None) -> None:
    job_type = d.state.job_types[m.job_type_name]
    allowance = d.state.policy.allow(manager, m.job_type_name)
    cap = allowance.max_runtime if allowance is not None else 0
    offer = d.put(
        AgentOffer(
            manager=manager,
            offer_uuid=d.new_id(),
            request_uuid=m.request_uuid,
            state=AgentOfferState.OPEN,
            job_type=job_type.name,
            job_type_version=job_type.version,
            definition_revision=job_type.revision,
            parameters=m.parameters,
            round=m.round,
            attempt=m.attempt,
            due=d.now + (terms.ttl if terms is not None else d.settings.offer_ttl),
            max_runtime=min(filter(None, (m.max_runtime, cap)), default=0),
            data_class=m.data_class,
            created_at=d.now,
        )
    )
    _say_offer(d, offer)


def _judge(d: AgentDraft, manager: str, m: JobFulfillmentRequest) -> Refusal | Terms | None:
    state = d.state
    job_type = state.job_types.get(m.job_type_name)
    if job_type is None:
        return Refusal(reason=DeclineReason.NO_JOB_TYPE, message="no such job definition here")
    allowance = state.policy.allow(manager, m.job_type_name)
    if allowance is None:
        return Refusal(reason=DeclineReason.POLICY, message="no rule allows this manager this job type")
    unknown = [name for name in m.parameters if name not in job_type.inputs]
    absent = job_type.required.difference(m.parameters)
    if unknown or absent:
        parts = [f"no input {name[:64]}" for name in unknown[:5]]
        parts += [f"input {name} is required" for name in sorted(absent)[:5]]
        return Refusal(reason=DeclineReason.PARAMETERS, message=", ".join(parts))
    if state.short_of:
        return Refusal(reason=DeclineReason.RESOURCES, message=state.short_of, retry_after=5 * MINUTE)
    if state.availability.draining:
        return Refusal(reason=DeclineReason.DRAINING, message="this agent is draining")
    if until := state.closed_until(d.now):
        return Refusal(
            reason=DeclineReason.SCHEDULE, message="this agent is offline", retry_after=until - d.now
        )
    load = Load(
        slots=d.settings.slots,
        running=state.running,
        queued=sum(len(queue) for queue in state.queue.values()),
        own_waiting=state.waiting_of.get(manager, 0),
        own_offers=state.open_offers.get(manager, 0),
    )
    if load.own_waiting >= allowance.max_queued or load.own_offers >= allowance.offers_outstanding:
        return Refusal(
            reason=DeclineReason.BUSY,
            message=f"{load.own_waiting} jobs and {load.own_offers} offers of yours are waiting",
        )
    return state.policy.decide(manager, m, job_type, load)


def _say_offer(d: AgentDraft, offer: AgentOffer) -> None:
    d.send(
        offer.manager,
        JobFulfillmentOffer(
            request_uuid=offer.request_uuid,
            offer_uuid=offer.offer_uuid,
            site=d.settings.site,
            offer_message=f"Offering for {offer.job_type}",
            expiration=offer.due,
            ttl=offer.due - d.now,
            queue_depth=d.state.waiting_of.get(offer.manager, 0),
            max_offline=d.settings.max_offline,
            job_type_version=offer.job_type_version,
        ),
        offer.request_uuid,
    )


def _say_accepted(d: AgentDraft, offer: AgentOffer) -> None:
    d.send(
        offer.manager,
        JobAccepted(job_uuid=job_uuid_of(offer.offer_uuid), offer_uuid=offer.offer_uuid),
        offer.request_uuid,
    )


def _say_withdrawn(d: AgentDraft, manager: str, request_uuid: bytes, offer_uuid: bytes, why: str) -> None:
    d.send(
        manager,
        JobFulfillmentOfferWithdrawn(request_uuid=request_uuid, offer_uuid=offer_uuid, reason=why),
        request_uuid,
    )


def on_accept(d: AgentDraft, origin: Origin, m: JobFulfillmentOfferAccept) -> None:
    """Honour the reservation once, and say so again as often as asked."""
    offer = d.get(AgentOffer, (origin.uri, m.offer_uuid))
    if offer is None:
        _say_withdrawn(d, origin.uri, m.request_uuid, m.offer_uuid, "this offer is not known here")
        return
    if offer.state is AgentOfferState.ACCEPTED:
        if not is_base(origin.uri):
            _say_accepted(d, offer)
        return
    why = ""
    if offer.state in (AgentOfferState.REJECTED, AgentOfferState.REVOKED):
        why = f"the offer is {offer.state}"
    elif d.get(AgentJob, (origin.uri, job_uuid_of(offer.offer_uuid))) is not None:
        why = "the job was killed before it was accepted"
    elif (job_type := d.state.job_types.get(offer.job_type)) is None:
        why = "the job definition is gone"
    elif job_type.required.difference(offer.parameters):
        why = "the job definition has changed"
    elif (allowance := d.state.policy.allow(origin.uri, offer.job_type)) is None:
        why = "no rule allows this manager this job type any more"
    elif offer.state is AgentOfferState.EXPIRED:
        # it is no reservation any more: kept offers must not add up to more than the owner grants
        if d.state.availability.draining or d.state.closed_until(d.now):
            why = "the offer has expired and this agent takes nothing new"
        elif d.state.short_of:
            why = f"the offer has expired: {d.state.short_of}"
        elif d.state.waiting_of.get(origin.uri, 0) >= allowance.max_queued:
            why = "the offer has expired and there is no room"
    if why:
        if offer.state is AgentOfferState.OPEN:
            d.put(replace(offer, state=advance("offer", offer.state, AgentOfferState.REVOKED), due=0))
        _say_withdrawn(d, origin.uri, offer.request_uuid, offer.offer_uuid, why)
        return
    # an expired offer is honoured while nothing stands against it: the manager has waited for it
    offer = d.put(replace(offer, state=advance("offer", offer.state, AgentOfferState.ACCEPTED), due=0))
    _say_accepted(d, offer)
    create_job(d, offer)


def on_reject(d: AgentDraft, origin: Origin, m: JobFulfillmentOfferReject) -> None:
    """Free the reservation, or kill the job that came of it.

    An unknown offer needs no memory: an accept of it would be answered that it is withdrawn.
    """
    offer = d.get(AgentOffer, (origin.uri, m.offer_uuid))
    if offer is None:
        return
    if offer.state in (AgentOfferState.OPEN, AgentOfferState.EXPIRED):
        d.put(replace(offer, state=advance("offer", offer.state, AgentOfferState.REJECTED), due=0))
    elif offer.state is AgentOfferState.ACCEPTED:
        d.put(replace(offer, state=advance("offer", offer.state, AgentOfferState.REJECTED), due=0))
        job = d.get(AgentJob, (origin.uri, job_uuid_of(offer.offer_uuid)))
        if job is not None:
            kill(d, job, m.reject_message or "the offer was rejected")
    else:
        job = d.get(AgentJob, (origin.uri, job_uuid_of(offer.offer_uuid)))
        if job is not None:
            report(d, job)


def on_request_withdrawn(d: AgentDraft, origin: Origin, m: JobFulfillmentRequestWithdrawn) -> None:
    """Nobody will accept: free the reservation."""
    d.state.forget(origin.uri, m.request_uuid)
    key = d.state.offer_of_request.get((origin.uri, m.request_uuid))
    offer = d.get(AgentOffer, key) if key is not None else None
    if offer is not None and offer.state in (AgentOfferState.OPEN, AgentOfferState.EXPIRED):
        d.put(replace(offer, state=advance("offer", offer.state, AgentOfferState.REJECTED), due=0))


def revoke_open_offers(d: AgentDraft, why: str) -> None:
    """Take back what was reserved: nothing new is begun here."""
    for offer in list(d.state.tables[AgentOffer].values()):
        if isinstance(offer, AgentOffer) and offer.state is AgentOfferState.OPEN:
            d.put(replace(offer, state=advance("offer", offer.state, AgentOfferState.REVOKED), due=0))
            _say_withdrawn(d, offer.manager, offer.request_uuid, offer.offer_uuid, why)


def on_offer_due(d: AgentDraft, offer: AgentOffer) -> None:
    """The reservation has ended."""
    if offer.state is AgentOfferState.OPEN:
        d.put(replace(offer, state=advance("offer", offer.state, AgentOfferState.EXPIRED), due=0))
    else:
        d.put(replace(offer, due=0))
