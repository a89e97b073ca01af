"""Manager and agent cores brought into any state by real messages, one unit of work at a time.

Every unit is decided twice: the first time it is undone, and rows, timers and indexes must be what they
were; the second time it is kept, and the indexes must be what a start from the same rows would build.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from caroni.core.agent import routes as agent_routes
from caroni.core.agent.state import (
    AgentDraft,
    AgentPolicy,
    AgentSettings,
    AgentState,
    Allowance,
    JobExited,
    JobStarted,
    JobType,
)
from caroni.core.draft import ALL_AGENTS, ALL_MANAGERS, Action, Draft, Event, Origin, Outgoing
from caroni.core.ids import job_uuid_of, value_digest
from caroni.core.manager import routes as manager_routes
from caroni.core.manager.state import ManagerDraft, ManagerPolicy, ManagerSettings, ManagerState
from caroni.core.messages import (
    FailureClass,
    JobAccepted,
    JobDataAvailable,
    JobFulfillmentOffer,
    JobFulfillmentOfferAccept,
    JobFulfillmentRequest,
    JobReport,
    JobReportEntry,
    JobStatus,
    JobStatusUpdate,
    Message,
    WorkFlowCreate,
)
from caroni.core.plan import HOUR, SECOND, Plan, PlanInput, PlanStep, StepPolicy, WorkflowInput
from caroni.core.rows import (
    AgentInput,
    AgentJob,
    AgentOffer,
    AgentOutput,
    Flow,
    Job,
    JobKey,
    JobOutput,
    Offer,
    Request,
    Row,
    Step,
    Workflow,
)
from caroni.core.states import AgentJobState, is_terminal

NOW = 1_800_000_000 * SECOND
MANAGER = "caroni://site/manager/m"
OTHER_MANAGER = "caroni://site/manager/n"
AGENT = "caroni://site/agent/a"
SECOND_AGENT = "caroni://site/agent/b"
#: an agent that the manager's rules do not clear for anything
UNCLEARED = "caroni://elsewhere/agent/x"
SUBMITTER = "caroni://site/submitter/s"
#: somebody who may neither submit nor steer
OUTSIDER = "caroni://elsewhere/submitter/x"

R = TypeVar("R", bound=Row)
M = TypeVar("M", bound=Message)
A = TypeVar("A", bound=Action)


@dataclass
class Said:
    """What one unit of work decided."""

    sent: list[Outgoing] = field(default_factory=list)
    acts: list[Action] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        """The types of the messages, in order."""
        return [type(o.message).__name__ for o in self.sent]

    def of(self, message_type: type[M]) -> list[M]:
        return [o.message for o in self.sent if isinstance(o.message, message_type)]

    def only(self, message_type: type[M]) -> M:
        """The one message that was sent, which must be of this type."""
        assert self.kinds == [message_type.__name__], self.kinds
        return self.of(message_type)[0]

    def act(self, action_type: type[A]) -> list[A]:
        return [a for a in self.acts if isinstance(a, action_type)]

    @property
    def notes(self) -> list[str]:
        return [event.kind for event in self.events]

    def rows(self, *ignored: type[Row]) -> list[str]:
        """The types of the changed rows without the peers'."""
        return [
            type(r).__name__ for r in self.changed if type(r).__name__ != "Peer" and type(r) not in ignored
        ]


class Side:
    """What both roles share: the clock, the dice, and a unit of work that is checked."""

    uri: str
    state: Any

    def __init__(self) -> None:
        self.now = NOW
        self.dice = random.Random(7)
        self.streams: dict[str, int] = {}
        #: the number of the next envelope that is heard, 0 for none
        self.sequence = 0
        #: what the last command gave
        self.result: dict[str, Any] = {}
        #: everything that was ever sent
        self.posted: list[Outgoing] = []

    # -- roles fill these in

    def draft(self) -> Any:
        raise NotImplementedError

    def hear(self, draft: Any, origin: Origin, m: Message) -> None:
        raise NotImplementedError

    def routes(self) -> Any:
        raise NotImplementedError

    def fresh(self, rows: Iterable[Row]) -> Any:
        raise NotImplementedError

    # -- a unit of work

    def unit(self, decide: Callable[[Any], None]) -> Said:
        self.now += 1000
        before = snapshot(self.state)
        # these steer who is next, and what is asked and offered unasked: hints, which a rollback may lose
        hints = {
            hint: copy.deepcopy(getattr(self.state, hint))
            for hint in ("declined_busy",)
            if hasattr(self.state, hint)
        }
        turns = list(getattr(self.state, "queue", ()))
        dice = self.dice.getstate()
        rehearsal = self.draft()
        decide(rehearsal)
        self.routes().settle(rehearsal)
        rehearsal.rollback()
        assert snapshot(self.state) == before, "rollback restores rows, timers and indexes"
        assert not rehearsal.messages
        assert not rehearsal.actions
        self.dice.setstate(dice)
        for hint, value in hints.items():
            setattr(self.state, hint, value)
        if turns:
            self.state.queue = {manager: self.state.queue[manager] for manager in turns}

        draft = self.draft()
        decide(draft)
        self.routes().settle(draft)
        self.check(before, draft)
        changed = [row for rows in draft.changes().values() for row in rows]
        self.posted.extend(draft.messages)
        return Said(sent=draft.messages, acts=draft.actions, events=draft.events, changed=changed)

    def check(self, before: Any, draft: Draft) -> None:
        for (row_type, key), old in before[0].items():
            new = self.state.get(row_type, key)
            assert new is not None, "a decision never deletes a row"
            if hasattr(old, "state") and is_terminal(old.state):
                assert new.state is old.state, f"{row_type.__name__} left {old.state}"
            if isinstance(old, Flow | JobOutput | AgentInput | AgentOutput):
                assert new == old, "a value is written once"
        self.check_indexes()

    def check_indexes(self) -> None:
        rows = [row for table in self.state.tables.values() for row in table.values()]
        assert indexes(self.fresh(rows)) == indexes(self.state), "indexes are those of a start"

    def say(
        self, m: Message, by: str, *, stream: int = 1, conversation: bytes = b"", sequence: int = 0
    ) -> Said:
        """One message, in a unit of its own."""
        self.sequence = sequence

        def decide(draft: Any) -> None:
            self.hear(draft, Origin(uri=by, stream_id=stream, conversation_id=conversation), m)

        return self.unit(decide)

    def happens(self, event: Any) -> Said:
        """Something local, in a unit of its own."""
        return self.unit(lambda draft: self.routes().happened(draft, event))

    def command(self, command: Any) -> Said:
        """An operator's command, in a unit of its own; ``result`` is what it gives."""

        def decide(draft: Any) -> None:
            self.result = self.routes().operate(draft, command)

        return self.unit(decide)

    def wait(self, duration: int) -> Said:
        """Let time pass; every timer that falls due fires at its instant, each in a unit of its own."""
        until = self.now + duration
        total = Said()
        while (due := self.state.timers.next_due()) and due <= until:
            self.now = max(self.now, due)
            said = self.fire_due()
            for name in ("sent", "acts", "events", "changed"):
                getattr(total, name).extend(getattr(said, name))
        self.now = max(self.now, until)
        return total

    def fire_due(self) -> Said:
        armed = self.state.timers.take(self.now + 1000, 100)
        # what is due at one instant fires in no order that is promised: here in one that two sides share
        armed.sort(key=lambda timer: (self.state.get(*timer).due, timer[0].__name__, repr(timer[1])))
        for row_type, key in armed:  # armed again, so that the check of the rollback sees them
            self.state.timers.set(row_type, key, self.state.get(row_type, key).due)

        def decide(draft: Any) -> None:
            for row_type, key in armed:
                self.routes().fire(draft, row_type, key)

        said = self.unit(decide)
        for row_type, key in armed:
            row = self.state.get(row_type, key)
            assert row is None or row.due == 0 or row.due > self.now, "armed for later or not at all"
        return said

    def idle(self) -> Said:
        """A unit of work with nothing in it but its end."""
        return self.unit(lambda draft: None)

    def row(self, row_type: type[R], key: Hashable) -> R:
        row = self.state.get(row_type, key)
        assert row is not None, f"no {row_type.__name__} {key!r}"
        return row  # type: ignore[no-any-return]


def snapshot(state: Any) -> Any:
    rows = {(t, key): row for t, table in state.tables.items() for key, row in table.items()}
    return rows, dict(state.timers._due), indexes(state)


def indexes(state: Any) -> dict[str, Any]:
    """All that is looked up other than by key; order counts only where a decision takes the first."""
    if isinstance(state, ManagerState):
        return {
            "ready": {uuid: set(steps) for uuid, steps in state.ready.items()},
            "open_requests": state.open_requests,
            "submits": dict(state.submits),
            "requests_by_type": {name: set(found) for name, found in state.requests_by_type.items()},
            "jobs_by_agent": {name: set(found) for name, found in state.jobs_by_agent.items()},
            "orphans_of": dict(state.orphans_of),
        }
    return {
        "offer_of_request": dict(state.offer_of_request),
        "offers_of_request": {name: set(found) for name, found in state.offers_of_request.items()},
        "open_offers": dict(state.open_offers),
        "running": state.running,
        "running_of": dict(state.running_of),
        "waiting_of": dict(state.waiting_of),
        "queue": {name: list(found) for name, found in state.queue.items()},
        "unreleased": set(state.unreleased),
        "tombstones": {name: set(found) for name, found in state.tombstones.items()},
    }


# --- plans ---------------------------------------------------------------------------------------


def step(name: str, source: str = "start", *, job_type: str = "t", **policy: Any) -> PlanStep:
    return PlanStep(
        name=name,
        job_type=job_type,
        inputs=(PlanInput(name="a", type="Any", source=source),),
        outputs={"out": "string"},
        policy=StepPolicy(**policy),
    )


def plan(*steps: PlanStep) -> Plan:
    return Plan(inputs=(WorkflowInput(name="start", type="string"),), steps=steps, outputs=())


PLANS = {
    "one": plan(step("first")),
    "chain": plan(step("first"), step("second", "first/out")),
    "pair": plan(step("first"), step("second", job_type="u")),
    "once": plan(step("first", at_most_once=True)),
    "none": Plan(inputs=(WorkflowInput(name="start", type="string"),)),
}

OUT = '"done"'


# --- the manager ---------------------------------------------------------------------------------


class ManagerSide(Side):
    """A manager and what is said to it."""

    uri = MANAGER
    state: ManagerState

    def __init__(self, plans: dict[str, Plan] | None = None, **settings: Any) -> None:
        super().__init__()
        self.plans = PLANS if plans is None else plans
        self.settings = ManagerSettings(**settings)
        self.policy = ManagerPolicy(
            may_serve=lambda agent, job_type, data_class: agent != UNCLEARED,
            may_submit=lambda sender, template: sender != OUTSIDER,
            may_control=lambda sender, workflow: sender == workflow.submitter,
            rank=lambda request, offer: -float(offer.queue_depth),
            knows=lambda agent: agent != UNCLEARED,
        )
        self.state = self.fresh(())
        self.workflow_uuid = b""
        self.seqs: dict[bytes, int] = {}

    def fresh(self, rows: Iterable[Row]) -> ManagerState:
        state = ManagerState(self.settings, self.policy, NOW)
        for name, one in self.plans.items():
            state.plans[name, 1] = one
            state.revisions[name] = 1
        order = list(state.tables)
        state.load(sorted(rows, key=lambda row: order.index(type(row))))
        return state

    def draft(self) -> ManagerDraft:
        return ManagerDraft(self.state, self.now, self.dice)

    def routes(self) -> Any:
        return manager_routes

    def hear(self, draft: ManagerDraft, origin: Origin, m: Message) -> None:
        manager_routes.contact(draft, origin, self.sequence)
        assert manager_routes.handle(draft, origin, m)

    # -- what is known

    @property
    def workflow(self) -> Workflow:
        return self.row(Workflow, self.workflow_uuid)

    def step(self, name: str = "first") -> Step:
        names = [s.name for s in self.plans[self.workflow.template].steps]
        return self.row(Step, (self.workflow_uuid, names.index(name)))

    def request(self, name: str = "first") -> Request:
        return self.row(Request, self.step(name).request_uuid)

    def job(self, name: str = "first", place: int = -1) -> Job:
        return self.row(Job, self.step(name).jobs[place])

    def offer_row(self, offer_uuid: bytes, agent: str = AGENT) -> Offer:
        return self.row(Offer, (agent, offer_uuid))

    # -- what is said

    def submit(
        self, template: str = "one", *, by: str = SUBMITTER, key: bytes = b"k" * 16, **more: Any
    ) -> Said:
        more.setdefault("inputs", {"start": '"s"'})
        said = self.say(WorkFlowCreate(template_name=template, submit_uuid=key, **more), by)
        if found := [r for r in said.changed if isinstance(r, Workflow)]:
            self.workflow_uuid = found[0].workflow_uuid
        return said

    def offer(
        self,
        offer_uuid: bytes = b"o" * 16,
        *,
        by: str = AGENT,
        name: str = "first",
        request_uuid: bytes = b"",
        ttl: int = HOUR,
        **more: Any,
    ) -> Said:
        m = JobFulfillmentOffer(
            request_uuid=request_uuid or self.step(name).request_uuid, offer_uuid=offer_uuid, ttl=ttl, **more
        )
        return self.say(m, by)

    def accepted(self, offer_uuid: bytes = b"o" * 16, *, by: str = AGENT, job_uuid: bytes = b"") -> Said:
        job_uuid = job_uuid or job_uuid_of(offer_uuid)
        return self.say(JobAccepted(job_uuid=job_uuid, offer_uuid=offer_uuid), by)

    def status(
        self,
        status: JobStatus,
        key: JobKey | None = None,
        *,
        seq: int | None = None,
        stream: int = 1,
        conversation: bytes = b"",
        **more: Any,
    ) -> Said:
        agent, job_uuid = key or self.job().key
        if seq is None:
            seq = self.seqs.get(job_uuid, 0) + 1
        self.seqs[job_uuid] = max(seq, self.seqs.get(job_uuid, 0))
        return self.say(
            JobStatusUpdate(job_uuid=job_uuid, job_status=status, seq=seq, **more),
            agent,
            stream=stream,
            conversation=conversation,
        )

    def report(self, by: str = AGENT, *jobs: JobReportEntry, **more: Any) -> Said:
        return self.say(JobReport(report_uuid=b"R" * 16, jobs=jobs, complete=True, **more), by)

    def outputs(self, key: JobKey | None = None, **values: str) -> Said:
        agent, job_uuid = key or self.job().key
        return self.say(JobDataAvailable(job_uuid=job_uuid, parameters=values or {"out": OUT}), agent)

    def completes(self, key: JobKey | None = None, value: str = OUT) -> Said:
        """The outputs, then the end, as agents say it."""
        self.outputs(key, out=value)
        return self.status(JobStatus.COMPLETED, key, exit_code=0, manifest={"out": value_digest(value)})

    def fails(
        self, key: JobKey | None = None, cls: FailureClass = FailureClass.JOB, code: int | None = 3
    ) -> Said:
        return self.status(JobStatus.FAILED, key, failure_class=cls, exit_code=code, status_info="it broke")

    # -- states of the first step, by real messages

    def fulfilled(
        self, template: str = "one", offer: bytes = b"o" * 16, *, by: str = AGENT, **more: Any
    ) -> Said:
        if not self.workflow_uuid:
            self.submit(template, **more)
        self.offer(offer, by=by)
        return self.accepted(offer, by=by)

    def running(self, template: str = "one", **more: Any) -> Said:
        self.fulfilled(template, **more)
        self.status(JobStatus.QUEUED)
        return self.status(JobStatus.RUNNING)

    def lost(self, template: str = "one", **more: Any) -> Said:
        """The first job was given up; nothing has been asked again yet."""
        self.running(template, **more)
        self.now = self.state.timers.next_due() + 41 * 60 * SECOND
        return self.fire_due()

    def again(self, offer: bytes = b"p" * 16, *, by: str = SECOND_AGENT) -> Said:
        """The next attempt gets a job."""
        self.wait(15 * SECOND)
        self.offer(offer, by=by)
        return self.accepted(offer, by=by)


# --- the agent -----------------------------------------------------------------------------------


JOB_TYPES = {
    "t": JobType(name="t", version="1", revision=1, inputs={"a": "Any", "n": "int"}, required=frozenset("a")),
    "idle": JobType(name="idle", version="1", revision=1),
}


class AgentSide(Side):
    """An agent and what is said to it."""

    state: AgentState

    def __init__(self, allowance: Allowance | None = None, uri: str = AGENT, **settings: Any) -> None:
        super().__init__()
        self.uri = uri
        self.allowance = allowance or Allowance()
        self.settings = AgentSettings(**settings)
        self.policy = AgentPolicy(
            allow=lambda manager, job_type: self.allowance if manager in (MANAGER, OTHER_MANAGER) else None,
            decide=lambda manager, request, kind, load: None,
        )
        self.job_types = dict(JOB_TYPES)
        self.state = self.fresh(())
        self.dice = random.Random(uri)

    def fresh(self, rows: Iterable[Row]) -> AgentState:
        state = AgentState(self.settings, self.policy)
        state.job_types = self.job_types
        order = list(state.tables)
        state.load(sorted(rows, key=lambda row: order.index(type(row))))
        return state

    def draft(self) -> AgentDraft:
        return AgentDraft(self.state, self.now, self.dice)

    def routes(self) -> Any:
        return agent_routes

    def hear(self, draft: AgentDraft, origin: Origin, m: Message) -> None:
        agent_routes.contact(draft, origin, self.sequence)
        assert agent_routes.handle(draft, origin, m)

    def check(self, before: Any, draft: Draft) -> None:
        super().check(before, draft)
        assert self.state.running <= self.settings.slots, "no more processes than slots"
        for row in draft.changes().get(AgentJob, ()):
            assert isinstance(row, AgentJob)
            old = before[0].get((AgentJob, row.key))
            assert old is None or row.seq >= old.seq, "the sequence never falls"

    # -- what is known

    def offer_row(self, offer_uuid: bytes, manager: str = MANAGER) -> AgentOffer:
        return self.row(AgentOffer, (manager, offer_uuid))

    def job(self, offer_uuid: bytes, manager: str = MANAGER) -> AgentJob:
        return self.row(AgentJob, (manager, job_uuid_of(offer_uuid)))

    # -- what is said and what happens

    def request(
        self,
        request_uuid: bytes = b"r" * 16,
        *,
        by: str = MANAGER,
        round: int = 1,
        job_type: str = "t",
        parameters: tuple[str, ...] = ("a",),
    ) -> Said:
        m = JobFulfillmentRequest(
            request_uuid=request_uuid,
            job_type_name=job_type,
            parameters=parameters,
            round=round,
            attempt=1,
        )
        return self.say(m, by)

    def accept(self, offer_uuid: bytes, *, by: str = MANAGER, request_uuid: bytes = b"r" * 16) -> Said:
        return self.say(JobFulfillmentOfferAccept(request_uuid=request_uuid, offer_uuid=offer_uuid), by)

    def data(self, offer_uuid: bytes, *, by: str = MANAGER, **values: str) -> Said:
        m = JobDataAvailable(job_uuid=job_uuid_of(offer_uuid), parameters=values or {"a": "1"})
        return self.say(m, by)

    def started(self, offer_uuid: bytes, manager: str = MANAGER) -> Said:
        event = JobStarted(key=(manager, job_uuid_of(offer_uuid)), at=self.now)
        return self.unit(lambda draft: agent_routes.happened(draft, event))

    def exited(
        self,
        offer_uuid: bytes,
        state: AgentJobState = AgentJobState.COMPLETED,
        *,
        manager: str = MANAGER,
        **more: Any,
    ) -> Said:
        if state is AgentJobState.COMPLETED:
            more = {"exit_code": 0, "outputs": {"out": OUT}, **more}
        event = JobExited(key=(manager, job_uuid_of(offer_uuid)), state=state, **more)
        return self.unit(lambda draft: agent_routes.happened(draft, event))

    # -- states of one offer and its job, by real messages

    def offered(self, request_uuid: bytes = b"r" * 16, **more: Any) -> bytes:
        return self.request(request_uuid, **more).only(JobFulfillmentOffer).offer_uuid

    def pending(self, request_uuid: bytes = b"r" * 16, *, by: str = MANAGER, **more: Any) -> bytes:
        offer = self.offered(request_uuid, by=by, **more)
        self.accept(offer, by=by, request_uuid=request_uuid)
        return offer

    def starting(self, request_uuid: bytes = b"r" * 16, *, by: str = MANAGER, **more: Any) -> bytes:
        """With a free slot, a job that has its inputs starts in the same unit of work."""
        offer = self.pending(request_uuid, by=by, **more)
        self.data(offer, by=by)
        return offer

    def running(self, request_uuid: bytes = b"r" * 16, *, by: str = MANAGER, **more: Any) -> bytes:
        offer = self.starting(request_uuid, by=by, **more)
        self.started(offer, by)
        return offer

    def completed(self, request_uuid: bytes = b"r" * 16, **more: Any) -> bytes:
        offer = self.running(request_uuid, **more)
        self.exited(offer)
        return offer


# --- both ----------------------------------------------------------------------------------------


class Federation:
    """One manager, its agents, one clock, and a post that the test may hold, drop or repeat."""

    def __init__(self, manager: ManagerSide, *agents: AgentSide) -> None:
        self.manager = manager
        self.agents = {agent.uri: agent for agent in agents}
        self.sides: dict[str, Side] = {manager.uri: manager, **self.agents}
        #: who cannot be reached now; what is for them waits, as in a durable queue
        self.cut: set[str] = set()
        self.waiting: list[tuple[str, str, Message]] = []
        self.taken = {uri: 0 for uri in self.sides}

    def collect(self) -> None:
        """Move what was sent into the post."""
        for uri, side in self.sides.items():
            for outgoing in side.posted[self.taken[uri] :]:
                to = outgoing.to
                names = list(self.agents) if to == ALL_AGENTS else [to]
                names = [self.manager.uri] if to == ALL_MANAGERS else names
                self.waiting.extend((uri, name, outgoing.message) for name in names if name in self.sides)
            self.taken[uri] = len(side.posted)

    def carry(self, *, drop: tuple[type[Message], ...] = (), copies: int = 1) -> list[str]:
        """Deliver until nothing moves any more; what is for somebody cut off stays."""
        moved: list[str] = []
        self.collect()
        while ready := [w for w in self.waiting if w[1] not in self.cut and w[0] not in self.cut]:
            self.waiting = [w for w in self.waiting if w not in ready]
            for sender, to, m in ready:
                if isinstance(m, drop):
                    continue
                moved.append(type(m).__name__)
                for _ in range(copies):
                    self.sides[to].say(m, sender)
            self.collect()
        return moved

    def take(self, message_type: type[M]) -> tuple[str, str, M]:
        """Take one message out of the post."""
        self.collect()
        found = next(w for w in self.waiting if isinstance(w[2], message_type))
        self.waiting.remove(found)
        return found  # type: ignore[return-value]

    def wait(self, duration: int) -> None:
        """Let time pass everywhere, message by message."""
        until = max(s.now for s in self.sides.values()) + duration
        while True:
            self.carry()
            dues = [due for s in self.sides.values() if (due := s.state.timers.next_due())]
            now = min([until, *dues])
            for side in self.sides.values():
                if side.now < now:
                    side.now = now
            fired = [s.fire_due() for s in self.sides.values() if 0 < s.state.timers.next_due() <= now]
            if not fired and now >= until:
                return

    def run(self, uri: str = AGENT) -> bytes:
        """Start the one job that waits for its process; gives its offer."""
        agent = self.agents[uri]
        jobs = [j for j in agent.state.tables[AgentJob].values() if j.state is AgentJobState.STARTING]  # type: ignore[attr-defined]
        (job,) = jobs
        assert isinstance(job, AgentJob)
        agent.started(job.offer_uuid, job.manager)
        return job.offer_uuid
