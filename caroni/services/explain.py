"""Why a workflow is not running: what the rows testify, as a structure for programs and people.

The rules that the manager decides by are asked (:func:`caroni.core.manager.leases.lease`), never repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from caroni.core.draft import ALL_AGENTS
from caroni.core.manager.leases import Lease, lease
from caroni.core.manager.state import GIVEN_UP_JOB, LIVE_JOB, ManagerSettings
from caroni.core.messages import FailureClass, PresenceState
from caroni.core.peers import role_of
from caroni.core.plan import SECOND, Plan, PlanStep
from caroni.core.rows import Job, Peer, Request, Step, Workflow
from caroni.core.states import OfferState, RequestState, StepState, WorkflowState, is_terminal
from caroni.errors import CaroniError, UsageError
from caroni.services.explained import (
    AgentSeen,
    Asked,
    Attempt,
    Declined,
    Explained,
    Offered,
    StepExplained,
    WaitsFor,
    Works,
)
from caroni.services.jobs import kill_of, rows
from caroni.services.testimony import MAX_STEPS, Testimony, gather
from caroni.services.words import last_line, plural, said, span, until

if TYPE_CHECKING:
    from caroni.model.store import Store

#: silent agents that are named
MAX_SILENT = 20
#: a message that has waited for so long is waiting for the broker
STUCK = 15 * SECOND


async def explain(
    store: Store,
    workflow_uuid: bytes,
    settings: ManagerSettings,
    now: int,
    *,
    step: str = "",
    limit: int = MAX_STEPS,
    notes: tuple[str, ...] = (),
    plans: Mapping[tuple[str, int], Plan] = {},
) -> Explained:
    """Explain a workflow, or one of its steps.

    Args:
        store: the manager's.
        workflow_uuid: which.
        settings: the manager's timers.
        now: wall microseconds.
        step: name of the one step; empty for all that are not done.
        limit: at most so many steps.
        notes: what else is known to hold work back (the daemon is down, the disk is full).
        plans: those that are in memory already.

    Raises:
        UsageError: there is no such workflow, or no such step.
        CaroniError: the workflow's own row is damaged.
        TransientError: the database is away.
    """
    try:
        found = await rows(store, Workflow, "workflow_uuid = ?", workflow_uuid.hex())
    except CaroniError:
        raise
    except Exception as error:  # whatever a damaged row makes its decoder say
        raise CaroniError(
            f"workflow {workflow_uuid.hex()} cannot be read ({said(str(error))}); see: caroni quarantine list"
        ) from error
    if not found:
        raise UsageError(f"there is no workflow {workflow_uuid.hex()}; see: caroni list")
    plan = plans.get((found[0].template, found[0].revision))
    facts = await gather(store, found[0], now, step, limit, plan)
    if step and not facts.chosen:
        name = said(found[0].name, 60)
        raise UsageError(f"workflow {name!r} has no step {said(step, 60)!r}; see: caroni show")
    return explained(facts, settings, notes)


def explained(facts: Testimony, settings: ManagerSettings, notes: tuple[str, ...] = ()) -> Explained:
    """The explanation that this testimony gives. Never raises, whatever the rows say."""
    row = facts.workflow
    why, remedy = _of_workflow(row, facts)
    more = list(notes)
    if facts.unreadable:
        more.append(f"a row of it cannot be read, it is left alone: {said(facts.unreadable)}"
                    " (caroni quarantine list)")  # fmt: skip
    if facts.broken_rows and not facts.unreadable:
        more.append(f"{plural(facts.broken_rows, 'row')} cannot be read (caroni doctor)")
    if not facts.plan.steps and facts.states:
        more.append(f"template {said(row.template, 80)}, revision {row.revision}, is gone: it is left alone")
    if facts.hold_until > facts.now:
        more.append(
            f"the database was put back: jobs that it does not know are left alone"
            f" {until(facts.hold_until, facts.now)}"
        )
    return Explained(
        workflow=row.workflow_uuid.hex(),
        name=row.name,
        template=row.template,
        revision=row.revision,
        state=row.state.value,
        paused=row.paused,
        steps_total=row.steps_total,
        steps_left=row.steps_left,
        at=facts.now,
        why=why,
        remedy=remedy,
        notes=tuple(more),
        steps=tuple(_Step(step, facts, settings, notes).explained() for step in facts.chosen),
        left_out=facts.left_out,
    )


def _of_workflow(row: Workflow, facts: Testimony) -> tuple[str, str]:
    short, failure = row.workflow_uuid.hex()[:12], f": {said(row.failure, 500)}" if row.failure else ""
    left = plural(row.steps_left, "step")
    if row.paused and not is_terminal(row.state):
        return "it is paused: nothing new is asked for, what runs goes on", f"caroni resume {short}"
    match row.state:
        case WorkflowState.COMPLETED:
            return "it is completed", ""
        case WorkflowState.FAILED | WorkflowState.CANCELLED:
            return f"it is {row.state.value}{failure}", ""
        case WorkflowState.CANCELLING:
            return f"it is being cancelled{failure}; {left} must end first", ""
        case WorkflowState.FAILING:
            return f"it fails{failure}; what still runs ends first", ""
        case WorkflowState.HELD:
            count = sum(state == StepState.HELD for state in facts.states.values())
            return f"{plural(count, 'step')} cannot go on without an operator's word", f"caroni retry {short}"
        case _:
            done = row.steps_total - row.steps_left
            return f"it is under way: {done} of {plural(row.steps_total, 'step')} done", ""


class _Step:
    """The explanation of one step."""

    def __init__(
        self, step: Step, facts: Testimony, settings: ManagerSettings, notes: tuple[str, ...]
    ) -> None:
        self.step = step
        self.facts = facts
        self.settings = settings
        self.now = facts.now
        self.idle = notes[0] if notes else ""
        plan = facts.plan.steps
        self.plan = plan[step.index] if 0 <= step.index < len(plan) else PlanStep(name="", job_type="")
        self.request = facts.requests.get(step.request_uuid)
        self.job = facts.jobs.get(step.current) if step.job_uuid else None
        self.next: tuple[str, int] = ("", 0)
        self.remedy = ""

    def explained(self) -> StepExplained:
        step = self.step
        waits = self._waits_for()
        asked = self._asked() if step.state is StepState.FULFILLING else None
        works = self._works() if self.job is not None and not is_terminal(step.state) else None
        why = self._why(waits, asked, works)
        return StepExplained(
            step=step.name,
            index=step.index,
            state=step.state.value,
            job_type=step.job_type,
            attempt=step.attempt,
            why=why,
            remedy=self.remedy,
            next=self.next[0],
            next_at=self.next[1],
            waits_for=waits,
            asked=asked,
            works=works,
            attempts=self._attempts(works is not None),
            excluded={agent: first for agent, first in step.excluded.items() if first > step.attempt},
            failure=step.failure,
            cause=step.cause,
            doubtful=step.doubtful,
        )

    # --- the headline --------------------------------------------------------------------------

    def _why(self, waits: tuple[WaitsFor, ...], asked: Asked | None, works: Works | None) -> str:
        step = self.step
        match step.state:
            case StepState.COMPLETED:
                return f"done by {said(step.winner_agent) or 'nobody that is named'}"
            case StepState.FAILED | StepState.CANCELLED:
                return f"{step.state.value}: {said(step.failure, 500) or 'no reason is recorded'}"
            case StepState.HELD:
                return self._held(works)
            case StepState.WAITING:
                return self._waiting(waits)
            case StepState.FULFILLING:
                return self._fulfilling(asked)
            case _:
                return self._working(works)

    def _held(self, works: Works | None) -> str:
        short = self.facts.workflow.workflow_uuid.hex()[:12]
        name = said(self.step.name, 100)
        self.remedy = (
            f"caroni retry {short} --step {name} (it may run a second time),"
            f" or caroni cancel {short} --step {name}"
        )
        if works is not None and works.due:
            self.next = (f"asks {said(works.agent)} again", works.due)
        return f"held, because it must run at most once: {said(self.step.failure, 500)}"

    def _waiting(self, waits: tuple[WaitsFor, ...]) -> str:
        step, workflow = self.step, self.facts.workflow
        short = workflow.workflow_uuid.hex()[:12]
        if workflow.state not in (WorkflowState.RUNNING, WorkflowState.HELD):
            return f"is not asked for any more: the workflow is {workflow.state.value}"
        if step.due:
            self.next = (f"attempt {step.attempt + 1}", step.due)
            self.remedy = f"caroni retry {short} --step {said(step.name, 100)} tries it at once"
            return f"waits before the next attempt, after: {said(step.cause or step.failure)}"
        if waits and not workflow.reserve_all:
            return f"waits for {plural(len(waits), 'input')}"
        if workflow.paused:
            return "could be asked for, but the workflow is paused"
        if step.doubtful:
            return "may have run already, before the database was put back: it is held when its turn comes"
        if self.idle:
            return f"could be asked for, but {self.idle}"
        if self.facts.open_requests >= self.settings.max_open_requests:
            return (
                f"could be asked for, but {self.facts.open_requests} others are"
                f" (manager.max_open_requests = {self.settings.max_open_requests})"
            )
        return "can be asked for, and will be at once"

    def _fulfilling(self, asked: Asked | None) -> str:
        if asked is None:
            return "is asked for, but its request is not known"
        if asked.state == RequestState.ACCEPTING:
            self.next = ("tells it again that its offer is taken", asked.due)
            times = plural(asked.accept_tries, "time")
            return f"the offer of {said(asked.accepting)} is taken; it was told {times} and has not confirmed"
        if asked.due:
            self.next = ("asks again", asked.due)
        if asked.unsent_since:
            return f"the call for offers has not left for {span(self.now - asked.unsent_since)}: no broker"
        standing = [o for o in asked.offers if o.state == OfferState.RECEIVED]
        if standing and all(o.excluded for o in standing):
            self.next = ("takes the offer of an agent that failed it, if nobody else offers", asked.due)
            return f"only {said(standing[0].agent)} offers, which has failed this step before"
        if standing:
            self.next = ("chooses among the offers", asked.due)
            return f"{plural(len(standing), 'offer')} came, the best is taken when the window closes"
        if asked.unheard:
            self.remedy = "start an agent that has this job type active (caroni job list --config AGENT)"
            return (
                f"no agent has job type {said(self.step.job_type, 100)}: nobody is bound to it at the broker"
            )
        if asked.declines:
            return f"{plural(len(asked.declines), 'agent')} declined, nobody offers"
        if asked.offers:
            return f"{plural(len(asked.offers), 'offer')} came to nothing, nobody offers now"
        return f"nobody has answered for {span(self.now - asked.opened_at)}"

    def _working(self, works: Works | None) -> str:
        if works is None:
            return "has a job that is not known"
        agent = said(works.agent)
        if works.kill in ("asked", "unreachable"):
            self.next = ("tells it again to stop", works.due)
            where = "and it cannot be reached" if works.kill == "unreachable" else "which has not confirmed"
            return f"its job is to stop: {agent} was told {span(self.now - works.kill_asked_at)} ago, {where}"
        if works.due:
            asks = works.due < works.lost_at
            self.next = (f"asks {agent}", works.due) if asks else (f"gives {agent} up", works.lost_at)
        if works.suspect or self.now - works.last_contact > self.settings.suspect_after:
            return f"no word of {agent} for {span(self.now - works.last_contact)}"
        if works.pause_wanted and works.state != "paused":
            return f"its job is to be suspended, {agent} has not confirmed"
        match works.state:
            case "pending":
                return f"{agent} has the job and waits for its inputs, or has not said how it stands"
            case "queued":
                behind = works.queue_depth
                depth = f" ({plural(behind, 'job')} waited there when it offered)" if behind else ""
                return f"is in the queue of {agent}{depth}"
            case "paused":
                self.remedy = "" if not works.pause_wanted else f"caroni resume --job {works.job[:12]}"
                return f"is suspended on {agent}"
            case _:
                since = works.started_at or works.accepted_at
                return f"runs on {agent} for {span(self.now - since)}"

    # --- the parts -----------------------------------------------------------------------------

    def _waits_for(self) -> tuple[WaitsFor, ...]:
        if self.step.state not in (StepState.WAITING, StepState.FULFILLING, StepState.FULFILLED):
            return ()
        found: list[WaitsFor] = []
        for item in self.plan.inputs:
            if item.source is None or item.source in self.facts.flows:
                continue
            name = item.source.rpartition("/")[0]
            state = self.facts.states.get(name, "")
            found.append(WaitsFor(input=item.name, source=item.source, step=name, state=state))
        return tuple(found)

    def _asked(self) -> Asked | None:
        request = self.request
        if request is None:
            return None
        last = self.facts.said.get((request.request_uuid, "JobFulfillmentRequest", ALL_AGENTS), 0)
        count, since = self.facts.unsent.get(ALL_AGENTS, (0, 0))
        stuck = count and last < since <= self.now - STUCK and not request.offers and not request.declines
        silent = self._silent(request)
        return Asked(
            request=request.request_uuid.hex(),
            state=request.state.value,
            round=request.round,
            opened_at=request.created_at,
            asked_at=last or request.created_at,
            due=request.due,
            unheard=request.unheard,
            unsent_since=since if stuck else 0,
            declines=tuple(
                self._decline(request, agent, text) for agent, text in sorted(request.declines.items())
            ),
            offers=self._offers(request),
            silent=tuple(silent[:MAX_SILENT]),
            silent_more=max(len(silent) - MAX_SILENT, 0),
            accepting=request.agent,
            accept_tries=request.accept_tries,
        )

    def _decline(self, request: Request, agent: str, text: str) -> Declined:
        reason, _, message = text.partition(": ")
        return Declined(
            agent=agent,
            reason=reason.rstrip(":").lower(),
            message=message,
            at=self.facts.said.get((request.request_uuid, "JobFulfillmentDecline", agent), 0),
        )

    def _offers(self, request: Request) -> tuple[Offered, ...]:
        return tuple(
            Offered(
                agent=offer.agent,
                offer=offer.offer_uuid.hex(),
                state=offer.state.value,
                received_at=offer.received_at,
                expires_at=offer.expires_at,
                queue_depth=offer.queue_depth,
                excluded=self.step.excluded.get(offer.agent, 0) > self.step.attempt,
            )
            for offer in sorted(
                self.facts.offers.get(request.request_uuid, ()), key=lambda offer: offer.received_at
            )
        )

    def _silent(self, request: Request) -> list[AgentSeen]:
        answered = {agent for agent, _ in request.offers} | request.declines.keys()
        agents = [
            peer
            for peer in self.facts.peers.values()
            if role_of(peer.uri) == "agent" and peer.uri not in answered
        ]
        agents.sort(key=lambda peer: -peer.last_contact)
        return [
            AgentSeen(
                agent=peer.uri,
                presence=presence_of(peer, self.now),
                away_until=peer.away_until,
                last_contact=peer.last_contact,
            )
            for peer in agents
        ]

    def _lease(self, job: Job) -> Lease:
        patience = self.plan.policy.lost_after or self.settings.lost_after
        return lease(job, self.facts.peers.get(job.agent), patience, self.facts.started_at)

    def _works(self) -> Works:
        job = self.job
        assert job is not None
        peer = self.facts.peers.get(job.agent)
        held = self._lease(job)
        offer = next((o for o in self.facts.offers.get(job.request_uuid, ()) if o.agent == job.agent), None)
        count, since = self.facts.unsent.get(job.agent, (0, 0))
        return Works(
            job=job.job_uuid.hex(),
            agent=job.agent,
            state=job.state.value,
            reported_at=self.facts.said.get((job.request_uuid, "JobStatusUpdate", job.agent), 0),
            accepted_at=job.accepted_at,
            started_at=job.started_at,
            progress=job.progress,
            info=job.info,
            last_contact=held.last_contact,
            lost_at=held.lost_at if job.state in LIVE_JOB else 0,
            promise=held.because,
            presence=presence_of(peer, self.now) if peer is not None else "",
            away_until=peer.away_until if peer is not None else 0,
            suspect=job.suspect,
            kill=kill_of(job),
            kill_asked_at=job.kill_asked_at,
            kill_info=job.kill_info,
            pause_wanted=job.pause_wanted,
            queue_depth=offer.queue_depth if offer is not None else None,
            due=job.due,
            unsent_since=since if count and since <= self.now - STUCK else 0,
        )

    def _attempts(self, has_job: bool) -> tuple[Attempt, ...]:
        jobs = (self.facts.jobs.get(key) for key in self.step.jobs)
        found = [job for job in jobs if job is not None and not (has_job and job.key == self.step.current)]
        return tuple(_attempt(job) for job in sorted(found, key=lambda job: (job.attempt, job.accepted_at)))


def _attempt(job: Job) -> Attempt:
    failed = job.failure_class is not FailureClass.UNSPECIFIED
    return Attempt(
        attempt=job.attempt,
        agent=job.agent,
        job=job.job_uuid.hex(),
        state=job.state.value,
        failure=job.failure_class.name.lower() if failed else "",
        exit_code=job.exit_code,
        info=job.info,
        stderr=last_line(job.stderr_tail),
        kill=kill_of(job) if job.state in LIVE_JOB | GIVEN_UP_JOB else "",
        accepted_at=job.accepted_at,
        ended_at=job.ended_at,
    )


def presence_of(peer: Peer, now: int) -> str:
    """What a peer last said of itself, in a word or two; ``unknown`` if it never did."""
    match peer.presence:
        case PresenceState.OFFLINE if peer.away_until > now:
            return f"offline {until(peer.away_until, now)}"
        case PresenceState.OFFLINE if peer.away_until:
            return f"offline, should be back since {span(now - peer.away_until)}"
        case PresenceState.UNSPECIFIED:
            return "unknown"
        case _:
            return peer.presence.name.lower()
