"""Requests and offers: from a step that is ready to a job on an agent (Contract Net, FIPA SC00029H).

An offer is a reservation with a lifetime. The first good offer wins at once, unless a window is set;
later ones stand by until the job is accepted. A request goes back to ``open`` (and to a higher round)
when its accepted offer is withdrawn, expires, or is never confirmed.
"""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core.base_peers import is_base
from caroni.core.draft import ALL_AGENTS, Origin
from caroni.core.manager.delivery import reject, reject_standbys, say_reject, send_inputs, stop_job
from caroni.core.manager.held import hold_step
from caroni.core.manager.restore import stranger, unasked
from caroni.core.manager.state import LIVE_STEP, OPEN_REQUEST, ManagerDraft
from caroni.core.messages import (
    DeclineReason,
    JobAccepted,
    JobFulfillmentDecline,
    JobFulfillmentOffer,
    JobFulfillmentOfferAccept,
    JobFulfillmentOfferWithdrawn,
    JobFulfillmentRequest,
    JobFulfillmentRequestWithdrawn,
    JobStatus,
    JobStatusRequest,
)
from caroni.core.plan import MINUTE
from caroni.core.rows import Flow, Job, Offer, OfferKey, Peer, Request, Step
from caroni.core.states import JobState, OfferState, RequestState, StepState, WorkflowState, advance

#: declines kept per request: who has answered, and how
MAX_DECLINES = 100
#: offers kept per request; a flood of agents is rejected beyond it
MAX_OFFERS = 200
#: reasons of a decline that are over when the agent says that it is online
_PASSING = tuple(f"{r.name}:" for r in (DeclineReason.DRAINING, DeclineReason.SCHEDULE))


def settle(d: ManagerDraft) -> bool:
    """Ask for ready steps, one of each workflow in turn, within the budget of open requests.

    True if more could be asked for in another unit of work at once.
    """
    state = d.state
    if state.short_of:
        return False
    budget = d.settings.requests_per_unit
    while state.ready and state.open_requests < d.settings.max_open_requests:
        asked = False
        for workflow_uuid in list(state.ready):
            workflow = d.workflow(workflow_uuid)
            if (
                workflow is None
                or workflow.paused
                or workflow.state not in (WorkflowState.RUNNING, WorkflowState.HELD)
            ):
                continue
            index = next(iter(state.ready[workflow_uuid]))
            step = d.step((workflow_uuid, index))
            assert step is not None, "a ready step is in memory"
            asked = True
            if step.doubtful:
                hold_step(d, step, "the database was put back: this step may have run already")
                continue
            _open_request(d, step)
            budget -= 1
            if state.open_requests >= d.settings.max_open_requests:
                return False
            if budget == 0:
                return bool(state.ready)
        if not asked:
            return False
    return False


def _open_request(d: ManagerDraft, step: Step) -> None:
    former = d.get(Request, step.request_uuid)
    if former is not None:
        d.put(former)  # unchanged: what was touched and is nobody's any more leaves memory
    request = d.put(
        Request(
            request_uuid=d.new_id(),
            workflow_uuid=step.workflow_uuid,
            step_index=step.index,
            attempt=step.attempt + 1,
            state=RequestState.OPEN,
            round=1,
            due=d.now + d.settings.rebroadcast,
            created_at=d.now,
        )
    )
    step = d.put(
        replace(
            step,
            state=advance("step", step.state, StepState.FULFILLING),
            attempt=step.attempt + 1,
            request_uuid=request.request_uuid,
            agent="",
            job_uuid=b"",
        )
    )
    d.send(ALL_AGENTS, call_for_proposals(d, request, step), request.request_uuid)


def call_for_proposals(d: ManagerDraft, request: Request, step: Step) -> JobFulfillmentRequest:
    """The broadcast for one request: keys of the inputs, never their values."""
    plan_step = d.plan_step(step)
    known = (d.get(Flow, (step.workflow_uuid, source)) for source in plan_step.sources)
    return JobFulfillmentRequest(
        request_uuid=request.request_uuid,
        job_type_name=plan_step.job_type,
        parameters=tuple(item.name for item in plan_step.inputs),
        round=request.round,
        attempt=request.attempt,
        max_runtime=plan_step.policy.max_runtime,
        lost_after=plan_step.policy.lost_after or d.settings.lost_after,
        at_most_once=plan_step.policy.at_most_once,
        data_class=plan_step.policy.data_class,
        input_bytes=sum(len(flow.value) for flow in known if flow is not None),
    )


def on_decline(d: ManagerDraft, origin: Origin, m: JobFulfillmentDecline) -> None:
    """Recorded for the operator. A busy agent offers by itself when it has room again."""
    request = d.get(Request, m.request_uuid)
    if request is None or request.state not in OPEN_REQUEST:
        return
    declines = request.declines
    if origin.uri in declines or len(declines) < MAX_DECLINES:
        declines = {**declines, origin.uri: f"{m.reason.name}: {m.decline_message}"[:200]}
    d.put(replace(request, declines=declines))


def on_offer(d: ManagerDraft, origin: Origin, m: JobFulfillmentOffer) -> None:
    """Every offer is answered in the end: accept or reject. One that is no candidate leaves no row."""
    key: OfferKey = (origin.uri, m.offer_uuid)
    request = d.get(Request, m.request_uuid)
    known = d.get(Offer, key)
    if request is None:
        unasked(d, origin, m)
        return
    if known is None and request.state not in OPEN_REQUEST and d.may_have_gone_on(request):
        return  # it may have been accepted in the time that is lost: a reject would kill its job
    if known is not None and known.request_uuid != m.request_uuid:
        say_reject(d, origin.uri, m.request_uuid, m.offer_uuid, "this request is not known here")
        return
    if known is not None:
        _answer_again(d, request, known, m)
        return
    step = d.step((request.workflow_uuid, request.step_index))
    if request.state not in OPEN_REQUEST or step is None:
        say_reject(d, origin.uri, m.request_uuid, m.offer_uuid, "the request is not open any more")
        return
    plan_step = d.plan_step(step)
    if not d.state.policy.may_serve(origin.uri, plan_step.job_type, plan_step.policy.data_class):
        say_reject(d, origin.uri, m.request_uuid, m.offer_uuid, "this agent is not cleared for this step")
        return
    if len(request.offers) >= MAX_OFFERS:
        say_reject(d, origin.uri, m.request_uuid, m.offer_uuid, "enough offers have come")
        return
    offer = Offer(
        agent=origin.uri,
        offer_uuid=m.offer_uuid,
        request_uuid=m.request_uuid,
        state=OfferState.RECEIVED,
        expires_at=d.now + m.ttl if m.ttl else 0,
        max_offline=m.max_offline,
        queue_depth=m.queue_depth,
        job_type_version=m.job_type_version,
        received_at=d.now,
    )
    d.put(offer)
    request = d.put(replace(request, offers=(*request.offers, key), unheard=False))
    if request.state is RequestState.OPEN:
        _choose(d, request, step)


def _answer_again(d: ManagerDraft, request: Request, offer: Offer, m: JobFulfillmentOffer) -> None:
    if is_base(offer.agent):
        return  # brought twice by the broker: it has, or will have, its one answer
    if offer.state is OfferState.RECEIVED:
        expires_at = d.now + m.ttl if m.ttl else 0
        if expires_at > offer.expires_at:
            d.put(replace(offer, expires_at=expires_at))
        if request.state not in OPEN_REQUEST:
            reject(d, offer, "the request is not open any more")
    elif offer.state is OfferState.ACCEPTED:
        if request.state is RequestState.ACCEPTING and request.accepted == offer.key:
            _say_accept(d, request)
    elif not d.may_have_gone_on(request):
        say_reject(d, offer.agent, offer.request_uuid, offer.offer_uuid, "not taken")


def _choose(d: ManagerDraft, request: Request, step: Step) -> None:
    """Accept the best offer that may be taken now; set aside ones wait for somebody else's."""
    settings = d.settings
    best: tuple[float, int, Offer] | None = None
    wait_until = 0
    for place, key in enumerate(request.offers):
        offer = d.get(Offer, key)
        if offer is None or offer.state is not OfferState.RECEIVED:
            continue
        if offer.expires_at and offer.expires_at <= d.now:
            d.put(replace(offer, state=OfferState.EXPIRED))
            continue
        taken_from = offer.received_at + settings.offer_window
        if step.excluded.get(offer.agent, 0) > step.attempt:
            taken_from += settings.exclusion_wait
        if taken_from > d.now:
            wait_until = min(wait_until or taken_from, taken_from)
            continue
        rank = d.state.policy.rank(request, offer) if settings.offer_window else 0.0
        if best is None or rank > best[0]:
            best = (rank, place, offer)
    if best is not None:
        _accept(d, request, best[2])
    elif wait_until and wait_until < request.due:
        d.put(replace(request, due=wait_until))


def _accept(d: ManagerDraft, request: Request, offer: Offer) -> None:
    d.put(replace(offer, state=advance("offer", offer.state, OfferState.ACCEPTED)))
    request = d.put(
        replace(
            request,
            state=advance("request", request.state, RequestState.ACCEPTING),
            agent=offer.agent,
            offer_uuid=offer.offer_uuid,
            accept_tries=1,
            due=d.now + d.settings.accept_resend,
        )
    )
    _say_accept(d, request)


def _say_accept(d: ManagerDraft, request: Request) -> None:
    d.send(
        request.agent,
        JobFulfillmentOfferAccept(request_uuid=request.request_uuid, offer_uuid=request.offer_uuid),
        request.request_uuid,
    )


def on_withdrawn(d: ManagerDraft, origin: Origin, m: JobFulfillmentOfferWithdrawn) -> None:
    """An offer is gone: take the next one that stands by, or ask again."""
    offer = d.get(Offer, (origin.uri, m.offer_uuid))
    if offer is None or offer.state not in (OfferState.RECEIVED, OfferState.ACCEPTED):
        return
    request = d.get(Request, offer.request_uuid)
    confirmed = request is not None and request.state is RequestState.FULFILLED
    if confirmed and request is not None and request.accepted == offer.key:
        return  # a job exists for it: its own messages tell what becomes of it
    d.put(replace(offer, state=advance("offer", offer.state, OfferState.GONE)))
    if request is not None and request.state is RequestState.ACCEPTING and request.accepted == offer.key:
        _reopen(d, request)


def _reopen(d: ManagerDraft, request: Request) -> None:
    """The accepted offer came to nothing. Counts as a round, so a contrary agent cannot spin us."""
    wait = min(d.settings.rebroadcast * 2 ** min(request.round - 1, 16), d.settings.rebroadcast_cap)
    request = d.put(
        replace(
            request,
            state=advance("request", request.state, RequestState.OPEN),
            agent="",
            offer_uuid=b"",
            accept_tries=0,
            due=d.now + min(wait, d.settings.accept_resend * request.round),
        )
    )
    step = d.step((request.workflow_uuid, request.step_index))
    if step is not None:
        _choose(d, request, step)


def on_job_accepted(d: ManagerDraft, origin: Origin, m: JobAccepted) -> None:
    """The agent confirms: from here on the step has a job. Anything but the current offer is stopped."""
    offer = d.get(Offer, (origin.uri, m.offer_uuid))
    job = d.get(Job, (origin.uri, m.job_uuid))
    if job is not None:
        return  # a repeat; the job's own timer asks when it has not spoken
    if offer is None:
        stranger(d, origin, m.job_uuid, JobStatus.PENDING, m.offer_uuid)
        return
    request = d.get(Request, offer.request_uuid)
    step = d.step((request.workflow_uuid, request.step_index)) if request is not None else None
    if request is None or step is None:
        if not is_base(origin.uri):
            say_reject(d, origin.uri, offer.request_uuid, m.offer_uuid, "this request is not known here")
        return
    if (request.state is RequestState.FULFILLED and request.accepted == offer.key) or any(
        known.offer_uuid == m.offer_uuid for known in _jobs(d, step) if known.agent == origin.uri
    ):
        return  # one offer makes one job; a second job_uuid for it is not ours to pay for
    job = Job(
        agent=origin.uri,
        job_uuid=m.job_uuid,
        workflow_uuid=step.workflow_uuid,
        step_index=step.index,
        attempt=request.attempt,
        request_uuid=request.request_uuid,
        offer_uuid=m.offer_uuid,
        state=JobState.PENDING,
        max_offline=min(offer.max_offline, d.settings.max_offline_cap),
        due=d.now + d.settings.poll,
        accepted_at=d.now,
    )
    if (
        request.state is RequestState.ACCEPTING
        and request.accepted == offer.key
        and step.state is StepState.FULFILLING
        and step.request_uuid == request.request_uuid
    ):
        d.put(job)
        request = d.put(
            replace(request, state=advance("request", request.state, RequestState.FULFILLED), due=0)
        )
        step = d.put(
            replace(
                step,
                state=advance("step", step.state, StepState.FULFILLED),
                agent=job.agent,
                job_uuid=job.job_uuid,
                jobs=(*step.jobs, job.key),
            )
        )
        reject_standbys(d, request, "another offer was taken")
        if is_base(job.agent):
            # as a base manager does: once, and before the inputs
            d.send(job.agent, JobStatusRequest(job_uuid=job.job_uuid), job.request_uuid)
        send_inputs(d, job, step)
        d.note("job_accepted", workflow=step.workflow_uuid, step=step.name, agent=job.agent, job=job.job_uuid)
        return
    if d.may_have_gone_on(request):
        stranger(d, origin, m.job_uuid, JobStatus.PENDING)  # taken, in the time that is lost
        return
    if request.state is RequestState.OPEN and offer.state is OfferState.RECEIVED and not is_base(origin.uri):
        # nothing was accepted yet, as far as we remember
        stranger(d, origin, m.job_uuid, JobStatus.PENDING, m.offer_uuid)
        return
    d.put(replace(step, jobs=(*step.jobs, job.key)))
    stop_job(d, d.put(replace(job, state=JobState.SUPERSEDED)), "this offer was not taken in the end")


def _jobs(d: ManagerDraft, step: Step) -> list[Job]:
    return [job for key in step.jobs if (job := d.get(Job, key)) is not None]


def withdraw(d: ManagerDraft, request_uuid: bytes, why: str) -> None:
    """Nobody needs this request any more: reject its offers and free the reservations unseen yet."""
    request = d.get(Request, request_uuid)
    if request is None or request.state not in OPEN_REQUEST:
        return
    step = d.step((request.workflow_uuid, request.step_index))
    for key in request.offers:
        offer = d.get(Offer, key)
        if offer is not None and offer.state in (OfferState.RECEIVED, OfferState.ACCEPTED):
            reject(d, offer, why)
    d.put(replace(request, state=advance("request", request.state, RequestState.WITHDRAWN), due=0))
    d.send(
        ALL_AGENTS,
        JobFulfillmentRequestWithdrawn(
            request_uuid=request_uuid, job_type_name=step.job_type if step is not None else ""
        ),
        request_uuid,
    )


def on_request_due(d: ManagerDraft, request: Request) -> None:
    """Ask again, accept again, or give an agent up that never confirms."""
    step = d.step((request.workflow_uuid, request.step_index))
    if step is None or request.state not in OPEN_REQUEST or step.state not in LIVE_STEP:
        d.put(replace(request, due=0))
        return
    if request.state is RequestState.ACCEPTING:
        _accept_due(d, request)
        return
    _choose(d, request, step)
    current = d.get(Request, request.request_uuid)
    if current is None or current.state is not RequestState.OPEN or current.due > d.now:
        return
    if len(current.offers) >= MAX_OFFERS:
        _start_over(d, current, step)
        return
    _warn_of_silence(d, current, step)
    current = _ask_again(d, current, step)
    if current.offers:
        _choose(d, current, step)  # an offer that still has to wait is taken before the next round


def _warn_of_silence(d: ManagerDraft, request: Request, step: Step) -> None:
    """Nobody has answered for a while: an operator should know, once for each request."""
    silent = d.now - request.created_at >= d.settings.unanswered_after
    if request.warned or request.offers or request.declines or not silent:
        return
    d.put(replace(request, warned=True))
    d.note(
        "request_unanswered",
        workflow=step.workflow_uuid,
        step=step.name,
        job_type=step.job_type,
        minutes=(d.now - request.created_at) // MINUTE,
    )


def _start_over(d: ManagerDraft, request: Request, step: Step) -> None:
    """No further offer would be kept, and none of the many led to a job: a new request takes new ones."""
    reject_standbys(d, request, "too many offers came to nothing")
    d.put(replace(request, state=advance("request", request.state, RequestState.DEAD), due=0))
    d.put(
        replace(
            step,
            state=advance("step", step.state, StepState.WAITING),
            request_uuid=b"",
            cause=f"{len(request.offers)} offers came to nothing",
        )
    )


def _ask_again(d: ManagerDraft, request: Request, step: Step) -> Request:
    wait = min(d.settings.rebroadcast * 2 ** min(request.round, 16), d.settings.rebroadcast_cap)
    request = d.get(Request, request.request_uuid) or request
    request = d.put(replace(request, round=request.round + 1, due=d.now + wait))
    d.send(ALL_AGENTS, call_for_proposals(d, request, step), request.request_uuid)
    return request


def _accept_due(d: ManagerDraft, request: Request) -> None:
    settings = d.settings
    peer = d.get(Peer, request.agent)
    if peer is not None and peer.away_until > d.now:
        # it waits in the agent's queue; should it be lost there, it is said again when he is back
        d.put(replace(request, due=peer.away_until))
        return
    if is_base(request.agent) and request.accept_tries == 1:
        # it is not told twice, and answers when its present job is over
        step = d.step((request.workflow_uuid, request.step_index))
        lease = d.plan_step(step).policy.lost_after if step is not None else 0
        tries = max(settings.accept_tries, 2)
        d.put(replace(request, accept_tries=tries, due=d.now + (lease or settings.lost_after)))
        return
    if request.accept_tries >= settings.accept_tries:
        offer = d.get(Offer, request.accepted)
        if offer is not None and offer.state is OfferState.ACCEPTED:
            reject(d, offer, "the accept was never confirmed")
        _reopen(d, request)
        return
    wait = min(settings.accept_resend * 2 ** min(request.accept_tries, 16), settings.accept_resend_cap)
    request = d.put(replace(request, accept_tries=request.accept_tries + 1, due=d.now + wait))
    _say_accept(d, request)


def agent_gone(d: ManagerDraft, agent: str) -> None:
    """A base agent has no queue any more: what it was to confirm is asked for again."""
    for request in list(d.state.tables[Request].values()):
        if (
            isinstance(request, Request)
            and request.state is RequestState.ACCEPTING
            and request.agent == agent
            and (offer := d.get(Offer, request.accepted)) is not None
        ):
            d.put(replace(offer, state=advance("offer", offer.state, OfferState.GONE)))
            _reopen(d, request)


def ask_directly(d: ManagerDraft, agent: str, job_types: tuple[str, ...], limit: int = 200) -> None:
    """An agent is (back) online: put to it alone what it may serve and has not answered yet."""
    for job_type in job_types:
        for request_uuid in list(d.state.requests_by_type.get(job_type, ())):
            request = d.get(Request, request_uuid)
            if request is None or request.state is not RequestState.OPEN:
                continue
            step = d.step((request.workflow_uuid, request.step_index))
            declined = request.declines.get(agent, "")
            if step is None or any(o[0] == agent for o in request.offers):
                continue
            if declined and not declined.startswith(_PASSING):
                continue
            data_class = d.plan_step(step).policy.data_class
            if not d.state.policy.may_serve(agent, job_type, data_class):
                continue
            if limit == 0:
                return
            limit -= 1
            d.send(agent, call_for_proposals(d, request, step), request.request_uuid)
