"""Invariants that are checked at every commit, from what is true and not from what the core believes.

Numbers as in ``docs/reliability.md``. An oracle also counts what it sees (``World.saw``), so that it is
known which rare paths a run has been on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caroni.core.agent.state import STARTED, AgentDraft
from caroni.core.draft import Draft, Origin
from caroni.core.ids import job_uuid_of
from caroni.core.manager.state import GIVEN_UP_JOB, LIVE_JOB
from caroni.core.messages import (
    AgentPresence,
    FailureClass,
    JobFulfillmentOfferAccept,
    JobFulfillmentOfferReject,
    JobKill,
    Message,
    PresenceState,
)
from caroni.core.plan import MINUTE, StepPolicy
from caroni.core.rows import (
    AgentJob,
    AgentOffer,
    Flow,
    Job,
    JobKey,
    Offer,
    OfferKey,
    Request,
    Row,
    Step,
    StepKey,
    Workflow,
)
from caroni.core.states import (
    AgentJobState,
    AgentOfferState,
    JobState,
    OfferState,
    RequestState,
    StepState,
    is_terminal,
)
from tests.simulator import words

if TYPE_CHECKING:
    from tests.simulator.agent import AgentNode
    from tests.simulator.manager import ManagerNode
    from tests.simulator.node import Durable

#: what an oracle forgives: the core notices a clock that was set by more
SLACK = 2 * MINUTE
#: added to the end of an announced absence before a job is given up
WINDOW_GRACE = 15 * MINUTE
_NO_NOTICE = ((0, 0), 0, 0)


class ManagerOracle:
    """Watches one manager."""

    def __init__(self, node: ManagerNode) -> None:
        self.node = node
        self.world = node.world
        #: when an agent was last heard; its newest notice: ((sent, number), known, until); true time
        self.contacts: dict[str, int] = {}
        self.windows: dict[str, tuple[tuple[int, int], int, int]] = {}
        self._heard: list[tuple[Origin, Message]] = []
        #: jobs and offers that a restore made this manager forget, and when
        self.forgotten: dict[JobKey, int] = {}
        self.forgotten_offers: set[OfferKey] = set()
        #: steps that an operator had tried again: he takes the risk that they run twice
        self.retried: set[StepKey] = set()
        self._steps: list[Step] = []
        self._requests: list[Request] = []
        #: jobs that had been given up and have completed
        self._late: set[JobKey] = set()

    def begin(self) -> None:
        """A unit of work begins."""
        self._heard.clear()

    def heard(self, origin: Origin, m: Message) -> None:
        """A message is decided on; it counts when the unit is committed."""
        self._heard.append((origin, m))

    def put_back(self, before: Durable, after: Durable) -> None:
        """The database is an older one from now on."""
        jobs = {k[1] for k in before.rows if k[0] is Job} - {k[1] for k in after.rows if k[0] is Job}
        offers = {k[1] for k in before.rows if k[0] is Offer} - {k[1] for k in after.rows if k[0] is Offer}
        for key in jobs:
            self.forgotten.setdefault(key, self.world.now)  # type: ignore[arg-type]
        self.forgotten_offers |= offers  # type: ignore[arg-type]

    # -- around a commit -----------------------------------------------------------------------

    def before_commit(self, draft: Draft) -> None:
        """I22: what was forgotten is not stopped within the hold."""
        if not self.forgotten:
            return
        for outgoing in draft.messages:
            m = outgoing.message
            if isinstance(m, JobKill) and self._in_hold((outgoing.to, m.job_uuid)):
                job = draft.get(Job, (outgoing.to, m.job_uuid))
                if job is not None and job.state in LIVE_JOB:
                    continue  # adopted first, in this very unit of work
                self._violate("I22", f"stops {self._name(m.job_uuid)}, which a restore made it forget")
            if isinstance(m, JobFulfillmentOfferReject) and (
                (outgoing.to, m.offer_uuid) in self.forgotten_offers
                and self._in_hold((outgoing.to, job_uuid_of(m.offer_uuid)))
            ):
                self._violate("I22", f"rejects {self._name(m.offer_uuid)}, which a restore made it forget")

    def _in_hold(self, key: JobKey) -> bool:
        since = self.forgotten.get(key)
        if since is None or self.world.now >= since + self.node.settings.restore_hold - SLACK:
            return False
        # where the operator does not say so it is mostly noticed, but not always in time
        return self.node.put_back_told

    def after_commit(self, draft: Draft) -> None:
        """What the unit heard counts now; what it changed must fit together."""
        world = self.world
        for origin, m in self._heard:
            self.contacts[origin.uri] = world.now
            if isinstance(m, AgentPresence):
                sent = world.presences.get((origin.uri, m.number), 0)
                notice = (sent, m.number)
                if notice >= self.windows.get(origin.uri, _NO_NOTICE)[0]:
                    until = world.now + m.offline_for if m.state is PresenceState.OFFLINE else 0
                    self.windows[origin.uri] = (notice, world.now, until)
        self._heard.clear()
        for step in self._steps:
            self._check_step(step)
            if step.state is StepState.COMPLETED and step.winner in self._late:
                self.world.saw("late adopt")
        for request in self._requests:
            accepted = [
                key
                for key in request.offers
                if isinstance(offer := self.node.rows.get((Offer, key)), Offer)
                and offer.state is OfferState.ACCEPTED
            ]
            if len(accepted) > 1:
                self._violate(
                    "I14", f"{self._name(request.request_uuid)} has {len(accepted)} accepted offers"
                )
        self._steps.clear()
        self._requests.clear()
        self._late.clear()

    def _check_step(self, step: Step) -> None:
        live = [
            job
            for key in step.jobs
            if isinstance(job := self.node.rows.get((Job, key)), Job)
            and job.state in LIVE_JOB
            and not job.kill_wanted
        ]
        if len(live) > 1:
            self._violate("I13", f"{self._step(step)} has {len(live)} jobs that are wanted")
        if step.state is StepState.FULFILLING and live:
            self._violate("I8", f"{self._step(step)} is asked for again while a job of it is wanted")

    # -- rows ----------------------------------------------------------------------------------

    def row(self, old: Row | None, row: Row) -> None:
        """One row's change, before it is durable."""
        if _left_end(old, row):
            self._violate("I10", f"a {type(row).__name__.lower()} left {old.state} for {row.state}")  # type: ignore[union-attr]
        kind = type(row)
        if kind is Step:
            self._on_step(old, row)  # type: ignore[arg-type]
        elif kind is Job:
            self._on_job(old, row)  # type: ignore[arg-type]
        elif kind is Request:
            self._on_request(old, row)  # type: ignore[arg-type]
        elif kind is Offer:
            self._on_offer(old, row)  # type: ignore[arg-type]
        elif kind is Flow and isinstance(old, Flow) and old.value != row.value:  # type: ignore[attr-defined]
            self._violate("I3", f"the value {old.name} has changed")
        elif kind is Workflow:
            assert isinstance(row, Workflow)
            self.world.trace.names.workflow(row.workflow_uuid)
            before = old.state if isinstance(old, Workflow) else None
            if before is not row.state:
                self.world.saw(f"workflow {row.state}")
                self.world.tell(
                    words.became, self.node.uri, row.workflow_uuid, "", str(row.state), row.failure
                )

    def _on_step(self, old: Step | None, row: Step) -> None:
        self._steps.append(row)
        if old is None:
            return
        if old.winner != ("", b"") and old.winner != row.winner:
            self._violate("I2", f"{self._step(row)} changed its winner")
        if row.attempt > old.attempt and not row.cause:
            self._violate("I8", f"{self._step(row)} has a new attempt without a cause")
        policy = self.policy(row)
        if row.job_failures > policy.max_attempts or row.other_failures > policy.max_other_failures:
            self._violate("I8", f"{self._step(row)} failed more often than its policy allows")
        if old.state is row.state:
            return
        self.world.tell(words.became, self.node.uri, row.workflow_uuid, row.name, str(row.state), row.failure)
        self.world.saw(f"step {row.state}")
        if old.state is StepState.HELD and row.state in (StepState.RUNNING, StepState.FULFILLED):
            self.world.saw("held step goes on")
        if old.state is StepState.HELD and row.state in (StepState.WAITING, StepState.FULFILLING):
            self.retried.add(row.key)
            self.world.saw("held step tried again")

    def _on_job(self, old: Job | None, row: Job) -> None:
        name = f"{self._called(row)}@{words.name(row.agent)}"
        self.world.trace.names.learn(row.job_uuid, name)
        self.forgotten.pop(row.key, None)
        if old is None:
            key = (row.agent, row.offer_uuid)
            # offer and job may have come in one unit of work, of which the job is written first
            offer = self.node.rows.get((Offer, key)) or self.node.state.get(Offer, key)
            if row.offer_uuid and not isinstance(offer, Offer):
                self._violate("I14", f"{name} is of no offer")
            return
        if (row.stream_id, row.seq) < (old.stream_id, old.seq):
            self._violate("I12", f"{name} went back in sequence")
        if old.state in LIVE_JOB and row.state is JobState.LOST:
            if row.info == "unknown to the agent":
                self.world.saw("unknown to the agent")
            else:
                self.world.saw("lost verdict")
                self._check_verdict(row, name)
        if old.state in GIVEN_UP_JOB and row.state is JobState.COMPLETED:
            self._late.add(row.key)
        if old.state is JobState.PAUSED and row.state in (JobState.RUNNING, JobState.QUEUED):
            self.world.saw("paused job goes on")
        if row.kill_wanted and old.kill_wanted and row.state in (JobState.COMPLETED, JobState.FAILED):
            self.world.saw("ended before the kill came")

    def _check_verdict(self, job: Job, name: str) -> None:
        """I18, by the true clock."""
        node, now = self.node, self.world.now
        step = node.rows.get((Step, (job.workflow_uuid, job.step_index)))
        assert isinstance(step, Step)
        patience = self.policy(step).lost_after or node.settings.lost_after
        if now < node.started_true + patience - SLACK:
            self._violate("I18", f"{name} is given up within the grace of the manager's own start")
        contact = self.contacts.get(job.agent, 0)
        if contact > node.blind_at and now < contact + max(patience, job.max_offline) - SLACK:
            self._violate("I18", f"{name} is given up although its agent was heard")
        _, known, until = self.windows.get(job.agent, _NO_NOTICE)
        until = min(until, known + node.settings.abandon_after)
        if known > max(node.blind_at, node.put_back_at) and now < until + WINDOW_GRACE - SLACK:
            self._violate("I18", f"{name} is given up within an announced absence")

    def _on_request(self, old: Request | None, row: Request) -> None:
        self._requests.append(row)
        self.world.trace.names.learn(row.request_uuid, self._called(row))
        if not isinstance(old, Request):
            return
        again = old.state is RequestState.ACCEPTING and row.state is RequestState.ACCEPTING
        if again and old.accepted != row.accepted:
            self.world.saw("standby accepted at once")
        if row.state is RequestState.ACCEPTING and old.accepted != row.accepted:
            step = self.node.rows.get((Step, (row.workflow_uuid, row.step_index)))
            if isinstance(step, Step) and step.excluded.get(row.agent, 0) > step.attempt:
                self.world.saw("excluded agent allowed again")

    def _on_offer(self, old: Offer | None, row: Offer) -> None:
        if old is None:
            called = f"offer of {words.name(row.agent)} for {self._name(row.request_uuid)}"
            self.world.trace.names.learn(row.offer_uuid, called)
        elif old.state is OfferState.ACCEPTED and row.state is OfferState.GONE:
            self.world.saw("offer withdrawn after accept")
        elif old.state is OfferState.RECEIVED and row.state is OfferState.EXPIRED:
            self.world.saw("standby expired")

    # -- words ---------------------------------------------------------------------------------

    def policy(self, step: Step) -> StepPolicy:
        """What the plan says of a step."""
        workflow = self.node.rows.get((Workflow, step.workflow_uuid))
        assert isinstance(workflow, Workflow)
        return self.node.plans[workflow.template].steps[step.index].policy

    def _called(self, row: Job | Request) -> str:
        step = self.node.rows.get((Step, (row.workflow_uuid, row.step_index)))
        name = step.name if isinstance(step, Step) else f"step {row.step_index}"
        return f"{self.world.trace.names.workflow(row.workflow_uuid)}/{name}#{row.attempt}"

    def _step(self, step: Step) -> str:
        return f"{self._name(step.workflow_uuid)}/{step.name}"

    def _name(self, uuid: bytes) -> str:
        return self.world.trace.names.of(uuid)

    def _violate(self, number: str, text: str) -> None:
        self.world.violate(f"{number} {words.name(self.node.uri)}: {text}")


class AgentOracle:
    """Watches one agent and its host."""

    def __init__(self, node: AgentNode) -> None:
        self.node = node
        self.world = node.world
        #: jobs with a place
        self.placed: set[JobKey] = set()
        #: jobs that were to be stopped before this agent knew them
        self.dead: set[JobKey] = set()
        self._heard: set[JobKey] = set()
        self._new: list[AgentJob] = []

    def begin(self) -> None:
        """A unit of work begins."""
        self._heard.clear()

    def put_back(self) -> None:
        """The database is another one from now on."""
        self.placed = {j.key for j in self.node.of(AgentJob) if j.state in STARTED}
        self.dead.clear()

    def heard(self, draft: AgentDraft, origin: Origin, m: Message) -> None:
        """A message is decided on."""
        if isinstance(m, JobFulfillmentOfferAccept):
            offer = draft.get(AgentOffer, (origin.uri, m.offer_uuid))
            if offer is not None and offer.state is AgentOfferState.ACCEPTED:
                self.world.saw("accept repeated")
            elif offer is not None and offer.state is AgentOfferState.EXPIRED:
                self.world.saw("accept of an expired offer")
        elif isinstance(m, JobKill) and draft.get(AgentJob, (origin.uri, m.job_uuid)) is None:
            self.world.saw("kill of an unknown job")
            self._heard.add((origin.uri, m.job_uuid))

    def after_commit(self) -> None:
        """What the unit heard counts now."""
        self.dead |= self._heard
        self._heard.clear()
        for job in self._new:
            offer = self.node.rows.get((AgentOffer, (job.manager, job.offer_uuid)))
            if not isinstance(offer, AgentOffer) or offer.state is AgentOfferState.OPEN:
                name = self.world.trace.names.of(job.job_uuid)
                self._violate("I14", f"{name} is of an offer that was not accepted")
        self._new.clear()
        # what is found in the spool after a restore runs already, whether there is a slot or not
        if len(self.placed) > self.node.settings.slots and not self.node.put_back_count:
            self._violate("I20", f"{len(self.placed)} jobs in {self.node.settings.slots} slots")

    def row(self, old: Row | None, row: Row) -> None:
        """One row's change, before it is durable."""
        if _left_end(old, row):
            self._violate("I10", f"a {type(row).__name__.lower()} left {old.state} for {row.state}")  # type: ignore[union-attr]
        if isinstance(row, AgentJob):
            self._on_job(old if isinstance(old, AgentJob) else None, row)
        elif isinstance(row, AgentOffer):
            if old is None and row.offer_uuid:
                names = self.world.trace.names
                request = names.of(row.request_uuid)
                names.learn(row.offer_uuid, f"offer of {words.name(self.node.uri)} for {request}")
                names.learn(job_uuid_of(row.offer_uuid), f"{request}@{words.name(self.node.uri)}")
            elif isinstance(old, AgentOffer) and old.state is AgentOfferState.ACCEPTED is not row.state:
                self.world.saw("revoke after accept")
            elif isinstance(old, AgentOffer) and old.state is not row.state:
                self.world.saw(f"reservation {row.state}")

    def _on_job(self, old: AgentJob | None, row: AgentJob) -> None:
        name = self.world.trace.names.of(row.job_uuid)
        if old is not None and row.seq < old.seq:
            self._violate("I12", f"{name} lost its sequence")
        if row.state in STARTED:
            self.placed.add(row.key)
            if row.missing:
                self._violate("I4", f"{name} starts without {row.missing} of its inputs")
        else:
            self.placed.discard(row.key)
        if old is None:
            if row.offer_uuid:
                self._new.append(row)
            return
        if old.state is AgentJobState.KILLING and row.state is AgentJobState.COMPLETED:
            self.world.saw("completed while being killed")
        if old.state is not row.state and row.state is AgentJobState.KILLED:
            self.world.saw("job killed")
            if row.failure_class is FailureClass.AGENT:
                self.world.saw("killed at the drain's deadline")
            if row.failure_class is FailureClass.LOST:
                self.world.saw("stopped for want of its manager")
        if old.state is not row.state and row.state is AgentJobState.PAUSED:
            self.world.saw("job paused")

    def started(self, job: AgentJob) -> None:
        """The host starts a process."""
        world = self.world
        name = world.trace.names.of(job.job_uuid)
        if world.starts[job.job_uuid] > 1:
            self._violate("I1", f"{name} is started a second time")
        if job.key in self.dead:
            self._violate("G5", f"{name} is started although it was to be stopped before it was known")
        absent = [p for p in job.parameters if p not in self.node.inputs_of(job.key)]
        if absent:
            self._violate("I4", f"{name} is started without {', '.join(absent)}")
        if not self.node.put_back_count and self.node.host.running() >= self.node.settings.slots:
            self._violate("I20", f"{name} is started while all slots are taken")

    def _violate(self, number: str, text: str) -> None:
        self.world.violate(f"{number} {words.name(self.node.uri)}: {text}")


def _left_end(old: Any, row: Any) -> bool:
    state = getattr(old, "state", None)
    return state is not None and row.state is not state and is_terminal(state)
