"""A whole federation in one thread: the real core under a virtual clock, with seeded faults.

Nodes hold durable rows, an inbox and an outbox, as the daemons do; what is volatile is lost in a crash.
The network drops, repeats, delays and reorders. Processes are entries in a table that survives their
agent. A seed decides everything, so a failing seed replays.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

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
    SignalJob,
    SignalKind,
    StartJob,
)
from caroni.core.agent.state import evictable as agent_evictable
from caroni.core.draft import ALL_AGENTS, ALL_MANAGERS, Origin, Outgoing
from caroni.core.manager import routes as manager_routes
from caroni.core.manager.state import ManagerDraft, ManagerPolicy, ManagerSettings, ManagerState
from caroni.core.manager.state import evictable as manager_evictable
from caroni.core.messages import (
    AgentPresence,
    FailureClass,
    JobFulfillmentRequest,
    JobFulfillmentRequestWithdrawn,
    Message,
    PresenceState,
)
from caroni.core.peers import contact
from caroni.core.plan import HOUR, MINUTE, SECOND, Plan
from caroni.core.rows import (
    AgentInput,
    AgentJob,
    AgentOffer,
    AgentOutput,
    Flow,
    Job,
    JobOutput,
    Offer,
    Request,
    Row,
    Step,
    Workflow,
)
from caroni.core.states import AgentJobState, is_terminal

START = 1_800_000_000 * SECOND


class Crash(Exception):
    """The node stops here; everything volatile is gone."""


@dataclass
class Faults:
    """How hostile the world is, drawn per seed (swarm testing); ``heal`` switches all of it off."""

    drop: float = 0.0
    duplicate: float = 0.0
    slow: float = 0.0
    crash: float = 0.0
    job_failure: float = 0.0
    reboot: float = 0.0
    cancel: float = 0.0
    long_absence: float = 0.0

    @classmethod
    def draw(cls, dice: random.Random) -> Faults:
        def some(limit: float) -> float:
            return dice.random() * limit if dice.random() < 0.6 else 0.0

        return cls(
            drop=some(0.1),
            duplicate=some(0.3),
            slow=some(0.3),
            crash=some(0.05),
            job_failure=some(0.3),
            reboot=some(0.3),
            cancel=0.3 if dice.random() < 0.3 else 0.0,
            long_absence=some(0.3),
        )

    def heal(self) -> None:
        for name in self.__dataclass_fields__:
            setattr(self, name, 0.0)


@dataclass
class Posted:
    """An outbox row: one envelope-to-be."""

    id: bytes
    outgoing: Outgoing
    sent: bool = False


@dataclass
class Process:
    """A job's process on a host: what the spool directory would hold."""

    started_at: int
    ends_at: int
    inputs: dict[str, str]
    alive: bool = True
    exit: JobExited | None = None
    token: int = 0


@dataclass
class Trace:
    """What happened, in words, for a failing seed."""

    lines: list[str] = field(default_factory=list)

    def add(self, now: int, text: str) -> None:
        self.lines.append(f"{(now - START) / SECOND:12.3f}  {text}")


class World:
    """Clock, network and nodes."""

    def __init__(self, seed: int, *, mutant: str = "") -> None:
        self.seed = seed
        self.mutant = mutant
        self.dice = random.Random(seed)
        self.faults = Faults.draw(self.dice)
        self.now = START
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.count = 0
        self.steps = 0
        self.nodes: dict[str, Node] = {}
        self.trace = Trace()
        self.violations: list[str] = []
        #: job_uuid -> how often its process was started (I1)
        self.starts: dict[bytes, int] = {}
        self.seen: dict[str, int] = {}

    # -- clock ---------------------------------------------------------------------------------

    def at(self, when: int, do: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (max(when, self.now), self.count, do))

    def run(self, until: int, max_events: int) -> bool:
        """Run to an instant; False if there were more events than a quiet world should have."""
        while self.events and self.events[0][0] <= until:
            if self.steps >= max_events:
                return False
            self.steps += 1
            self.now, _, do = heapq.heappop(self.events)
            do()
        self.now = until
        return True

    # -- network -------------------------------------------------------------------------------

    def post(self, sender: str, posted: Posted) -> None:
        """The broker has confirmed: from here on the message may still be lost, late, or come twice."""
        to = posted.outgoing.to
        if to == ALL_AGENTS:
            names = [n.uri for n in self.nodes.values() if isinstance(n, AgentNode)]
        elif to == ALL_MANAGERS:
            names = [n.uri for n in self.nodes.values() if isinstance(n, ManagerNode)]
        else:
            names = [to]
        for name in names:
            copies = 1
            if self.dice.random() < self.faults.drop:
                self.seen["dropped"] = self.seen.get("dropped", 0) + 1
                continue
            if self.dice.random() < self.faults.duplicate:
                self.seen["duplicated"] = self.seen.get("duplicated", 0) + 1
                copies = 2 if self.dice.random() < 0.8 else 5
            for _ in range(copies):
                delay = int(self.dice.random() * 0.1 * SECOND)
                if self.dice.random() < self.faults.slow:
                    delay += int(self.dice.choice([1, 30, 300, 3600, 20000]) * self.dice.random() * SECOND)
                self.at(self.now + delay, lambda n=name: self._arrive(n, sender, posted))

    def _arrive(self, name: str, sender: str, posted: Posted) -> None:
        node = self.nodes.get(name)
        if node is not None:
            node.deliver(sender, posted)

    def violate(self, text: str) -> None:
        self.violations.append(text)
        self.trace.add(self.now, f"VIOLATION {text}")


def changed(old: Any, new: Any) -> bool:
    return old is not None and is_terminal(old.state) and new.state is not old.state


class Node:
    """A daemon: durable rows, inbox and outbox; volatile state and queue."""

    role = "node"

    def __init__(self, world: World, uri: str) -> None:
        self.world = world
        self.uri = uri
        self.rows: dict[tuple[type[Row], Hashable], Row] = {}
        self.inbox: set[tuple[str, bytes]] = set()
        self.outbox: dict[bytes, Posted] = {}
        #: the broker's durable queue for this identity
        self.queue: list[tuple[str, Posted]] = []
        self.stream = 1
        self.up = False
        self.epoch = 0
        self.wake_at = 0
        self.local: list[Any] = []
        #: never comes back
        self.gone = False
        world.nodes[uri] = self

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        if self.gone:
            return
        self.up = True
        self.epoch += 1
        self.wake_at = 0
        self.local = []
        self.load()
        self.wake(self.world.now)

    def stop(self, back_after: int) -> None:
        if not self.up:
            return
        self.up = False
        self.epoch += 1
        self.world.trace.add(self.world.now, f"{self.uri} stops for {back_after / SECOND:.0f} s")
        self.world.at(self.world.now + back_after, self.start)

    def crash_here(self, where: str) -> None:
        if self.world.dice.random() < self.world.faults.crash:
            self.world.seen[f"crash {where}"] = self.world.seen.get(f"crash {where}", 0) + 1
            self.world.trace.add(self.world.now, f"{self.uri} crashes {where}")
            raise Crash(where)

    def wake(self, when: int) -> None:
        epoch = self.epoch

        def run() -> None:
            if self.up and self.epoch == epoch:
                self.unit()

        self.world.at(when, run)

    def deliver(self, sender: str, posted: Posted) -> None:
        self.queue.append((sender, posted))
        if self.up:
            self.wake(self.world.now)

    def happen(self, event: Any) -> None:
        self.local.append(event)
        if self.up:
            self.wake(self.world.now)

    # -- one unit of work ----------------------------------------------------------------------

    def unit(self) -> None:
        world = self.world
        draft = self.draft()
        taken = self.queue[: world.dice.randint(1, 8)]
        local, self.local = self.local, []
        fresh: list[tuple[str, bytes]] = []
        try:
            for sender, posted in taken:
                mid = (sender, posted.id)
                if mid in self.inbox or mid in fresh:
                    continue
                fresh.append(mid)
                stream = world.nodes[sender].stream if sender in world.nodes else 0
                origin = Origin(uri=sender, stream_id=stream)
                message = posted.outgoing.message
                self.load_for(sender, message)
                draft.cause = posted.id
                self.handle(draft, origin, message)
            for event in local:
                self.happened(draft, event)
            for row_type, key in draft.state.timers.take(world.now, 100):
                self.fire(draft, row_type, key)
            more = self.settle(draft)
        except Crash:
            raise
        except Exception as error:
            world.violate(f"I11 {self.uri}: handler raised {error!r}")
            raise
        try:
            self.crash_here("before commit")
            self.commit(draft, fresh)
            self.crash_here("after commit, before ack")
            del self.queue[: len(taken)]
            self.after_commit(draft)
            self.pump()
        except Crash:
            self.up = False
            self.epoch += 1
            world.at(world.now + int(world.dice.random() * 60 * SECOND), self.start)
            return
        if self.queue or more:
            self.wake(world.now)
        due = draft.state.timers.next_due()
        if due and (due < self.wake_at or self.wake_at <= world.now):
            self.wake_at = due
            self.wake(due)

    def commit(self, draft: Any, fresh: list[tuple[str, bytes]]) -> None:
        for rows in draft.changes().values():
            for row in rows:
                old = self.rows.get((type(row), row.key))
                self.check_row(old, row)
                self.rows[type(row), row.key] = row
        self.inbox.update(fresh)
        for outgoing in draft.messages:
            posted = Posted(id=self.world.dice.randbytes(16), outgoing=outgoing)
            self.outbox[posted.id] = posted

    def pump(self) -> None:
        for posted in [p for p in self.outbox.values() if not p.sent]:
            m = posted.outgoing.message
            self.world.trace.add(
                self.world.now, f"{self.uri} -> {posted.outgoing.to}: {type(m).__name__} {_ids(m)}"
            )
            self.world.post(self.uri, posted)
            self.crash_here("after publish, before mark")
            posted.sent = True
        self.outbox = {i: p for i, p in self.outbox.items() if not p.sent}

    def check_row(self, old: Row | None, row: Row) -> None:
        if hasattr(row, "state") and changed(old, row):
            self.world.violate(f"I10 {self.uri}: {type(row).__name__} left {old.state} for {row.state}")  # type: ignore[union-attr]

    def of(self, row_type: type[Any]) -> list[Any]:
        return [row for (kind, _), row in self.rows.items() if kind is row_type]

    def draft(self) -> Any:
        raise NotImplementedError

    def load(self) -> None:
        raise NotImplementedError

    def load_for(self, sender: str, m: Message) -> None:
        raise NotImplementedError

    def handle(self, draft: Any, origin: Origin, m: Message) -> None:
        raise NotImplementedError

    def happened(self, draft: Any, event: Any) -> None:
        raise NotImplementedError

    def fire(self, draft: Any, row_type: type[Row], key: Hashable) -> None:
        raise NotImplementedError

    def settle(self, draft: Any) -> bool:
        raise NotImplementedError

    def after_commit(self, draft: Any) -> None:
        raise NotImplementedError


def _ids(m: Message) -> str:
    shown = []
    for name in ("request_uuid", "offer_uuid", "job_uuid"):
        value = getattr(m, name, b"")
        if value:
            shown.append(f"{name[:3]}={value.hex()[:6]}")
    for name in ("round", "job_status", "seq", "parameters", "decline_message", "reason", "kill_info"):
        value = getattr(m, name, None)
        if value:
            shown.append(f"{name}={value}"[:60])
    return " ".join(shown)


MANAGER_POLICY = ManagerPolicy(
    may_serve=lambda agent, job_type, data_class: True,
    may_submit=lambda sender, template: True,
    may_control=lambda sender, workflow: True,
    rank=lambda request, offer: -float(offer.queue_depth),
)


class ManagerNode(Node):
    """A manager with one plan per template."""

    role = "manager"

    def __init__(self, world: World, uri: str, plans: dict[str, Plan], window: int = 0) -> None:
        super().__init__(world, uri)
        self.plans = plans
        self.settings = ManagerSettings(
            max_open_requests=world.dice.choice([2, 5, 500]),
            requests_per_unit=world.dice.choice([1, 200]),
            offer_window=window,
        )
        self.state = ManagerState(self.settings, MANAGER_POLICY, world.now)

    def load(self) -> None:
        self.state = ManagerState(self.settings, MANAGER_POLICY, self.world.now)
        for name, plan in self.plans.items():
            self.state.plans[name, 1] = plan
            self.state.revisions[name] = 1
        live = {w.workflow_uuid for w in self.of(Workflow) if not w.ended_at}
        # a workflow that has ended may still have jobs to stop
        live |= {j.workflow_uuid for j in self.of(Job) if j.due}
        order = list(self.state.tables)
        rows = [
            row
            for row in self.rows.values()
            if getattr(row, "workflow_uuid", None) in live
            or type(row).__name__ in ("Peer", "Offer", "JobOutput")
        ]
        rows.sort(key=lambda row: order.index(type(row)))
        self.state.load(rows)

    def load_for(self, sender: str, m: Message) -> None:
        for row_type, key in manager_routes.needs(self.state, sender, m):
            row = self.rows.get((row_type, key))
            if row is None and row_type is Workflow:
                row = next((w for w in self.of(Workflow) if (w.submitter, w.submit_uuid) == key), None)
            if row is None:
                continue
            request = row if isinstance(row, Request) else None
            if isinstance(row, Offer):
                request = self.rows.get((Request, row.request_uuid))  # type: ignore[assignment]
            found: list[Row | None] = [row, request]
            wf = getattr(row, "workflow_uuid", None) or getattr(request, "workflow_uuid", None)
            index = getattr(row, "step_index", getattr(request, "step_index", None))
            found = [self.rows.get((Workflow, wf)), self.rows.get((Step, (wf, index))), *found]
            if isinstance(row, Job):
                found += [o for o in self.of(JobOutput) if (o.agent, o.job_uuid) == row.key]
            for one in found:
                if one is not None and self.state.get(type(one), one.key) is None:
                    self.state.load([one])

    def draft(self) -> ManagerDraft:
        return ManagerDraft(self.state, self.world.now, self.world.dice)

    def handle(self, draft: ManagerDraft, origin: Origin, m: Message) -> None:
        contact(draft, origin)
        manager_routes.handle(draft, origin, m)

    def happened(self, draft: ManagerDraft, event: Any) -> None:
        manager_routes.handle(draft, Origin(uri="caroni://s/submitter/u"), event)

    def fire(self, draft: ManagerDraft, row_type: type[Row], key: Hashable) -> None:
        if self.world.mutant == "re-broadcast" and row_type is Request:
            return
        if self.world.mutant == "lease" and row_type is Job:
            return
        manager_routes.fire(draft, row_type, key)

    def settle(self, draft: ManagerDraft) -> bool:
        return manager_routes.settle(draft)

    def after_commit(self, draft: ManagerDraft) -> None:
        touched = [row for rows in draft.changes().values() for row in rows]
        for row_type, key in manager_evictable(self.state, touched):
            self.state.evict(row_type, key)

    def check_row(self, old: Row | None, row: Row) -> None:
        super().check_row(old, row)
        world = self.world
        if isinstance(row, Step):
            before = old if isinstance(old, Step) else None
            if before is not None and before.winner != ("", b"") and before.winner != row.winner:
                world.violate(f"I2 step {row.name} changed its winner")
            if before is not None and row.attempt > before.attempt and not row.cause:
                world.violate(f"I8 step {row.name} has a new attempt without a cause")
        if isinstance(row, Flow) and isinstance(old, Flow) and old.value != row.value:
            world.violate(f"I3 value {row.name} changed")
        was = (old.stream_id, old.seq) if isinstance(old, Job) else (0, 0)
        if isinstance(row, Job) and (row.stream_id, row.seq) < was:
            world.violate(f"I12 job {row.job_uuid.hex()[:6]} went back in sequence")


def plain_policy(allowance: Allowance) -> AgentPolicy:
    return AgentPolicy(
        allow=lambda manager, job_type: allowance, decide=lambda manager, request, kind, load: None
    )


class AgentNode(Node):
    """An agent, its host and its spool."""

    role = "agent"

    def __init__(self, world: World, uri: str, job_types: dict[str, JobType]) -> None:
        super().__init__(world, uri)
        dice = world.dice
        self.job_types = job_types
        self.settings = AgentSettings(
            slots=dice.choice([1, 2, 4]),
            offer_ttl=dice.choice([2 * MINUTE, HOUR]),
            max_offline=dice.choice([0, HOUR]),
        )
        self.policy = plain_policy(
            Allowance(max_queued=dice.choice([1, 3, 1000]), offers_outstanding=dice.choice([2, 1000]))
        )
        self.state = AgentState(self.settings, self.policy)
        self.spool: dict[bytes, Process] = {}
        self.boot = 0
        self.number = 0

    def load(self) -> None:
        self.state = AgentState(self.settings, self.policy)
        self.state.job_types = self.job_types
        jobs = [j for j in self.of(AgentJob) if not j.released or not j.offer_uuid]
        keys = {j.key for j in jobs}
        offers = [
            o
            for o in self.of(AgentOffer)
            if o.state in ("open", "accepted")
            or (o.manager, o.offer_uuid) in {(j.manager, j.offer_uuid) for j in jobs}
        ]
        parts = [r for t in (AgentInput, AgentOutput) for r in self.of(t) if (r.manager, r.job_uuid) in keys]
        self.state.load([*offers, *jobs, *parts])
        for job in jobs:  # the recovery scan of the spool
            if job.state in ("starting", "running", "paused", "killing"):
                self._recover(job)
        self.number += 1
        self.presence()

    def presence(self) -> None:
        posted = Posted(
            id=self.world.dice.randbytes(16),
            outgoing=Outgoing(
                to=ALL_MANAGERS,
                message=AgentPresence(
                    state=PresenceState.ONLINE,
                    job_types=tuple(self.job_types),
                    boot_id=str(self.boot).encode(),
                    number=self.number,
                ),
            ),
        )
        self.world.post(self.uri, posted)

    def load_for(self, sender: str, m: Message) -> None:
        for row_type, key in agent_routes.needs(self.state, sender, m):
            row = self.rows.get((row_type, key))
            if (
                row is None
                and row_type is AgentOffer
                and isinstance(m, JobFulfillmentRequest | JobFulfillmentRequestWithdrawn)
            ):
                found = [o for o in self.of(AgentOffer) if (o.manager, o.request_uuid) == key]
                row = max(found, key=lambda o: (o.round, o.created_at), default=None)
            if row is None:
                continue
            parts: list[Row] = [row]
            if isinstance(row, AgentJob):
                parts += [
                    o
                    for t in (AgentInput, AgentOutput)
                    for o in self.of(t)
                    if (o.manager, o.job_uuid) == row.key
                ]
            for one in parts:
                if self.state.get(type(one), one.key) is None:
                    self.state.load([one])

    def draft(self) -> AgentDraft:
        return AgentDraft(self.state, self.world.now, self.world.dice)

    def handle(self, draft: AgentDraft, origin: Origin, m: Message) -> None:
        agent_routes.handle(draft, origin, m)

    def happened(self, draft: AgentDraft, event: Any) -> None:
        agent_routes.happened(draft, event)

    def fire(self, draft: AgentDraft, row_type: type[Row], key: Hashable) -> None:
        agent_routes.fire(draft, row_type, key)

    def settle(self, draft: AgentDraft) -> bool:
        return agent_routes.settle(draft)

    def after_commit(self, draft: AgentDraft) -> None:
        for action in draft.actions:
            if isinstance(action, StartJob):
                self.crash_here("between starting and spawn")
                job = draft.get(AgentJob, action.key)
                if job is not None:
                    self._spawn(job)
                    self.crash_here("after spawn")
            elif isinstance(action, SignalJob) and action.kind is SignalKind.KILL:
                self._kill(action.key[1])
        touched = [row for rows in draft.changes().values() for row in rows]
        for row_type, key in agent_evictable(self.state, touched):
            self.state.evict(row_type, key)

    def check_row(self, old: Row | None, row: Row) -> None:
        super().check_row(old, row)
        if isinstance(row, AgentJob):
            if isinstance(old, AgentJob) and row.seq < old.seq:
                self.world.violate(f"I12 {self.uri} job {row.job_uuid.hex()[:6]} lost sequence")
            if row.state in ("starting", "running") and row.missing:
                self.world.violate(f"I4 {self.uri} job {row.job_uuid.hex()[:6]} starts without inputs")

    # -- processes -----------------------------------------------------------------------------

    def _spawn(self, job: AgentJob) -> None:
        world = self.world
        if job.job_uuid in self.spool and world.mutant != "spool claim":
            return  # the claim file exists: started once already
        world.starts[job.job_uuid] = world.starts.get(job.job_uuid, 0) + 1
        inputs = {r.name: r.value for r in self.of(AgentInput) if (r.manager, r.job_uuid) == job.key}
        ends = world.now + int(world.dice.choice([1, 20, 600, 3 * 3600]) * world.dice.random() * SECOND)
        process = Process(started_at=world.now, ends_at=ends, inputs=inputs, token=self.boot)
        self.spool[job.job_uuid] = process
        fails = world.dice.random() < world.faults.job_failure
        world.trace.add(world.now, f"{self.uri} starts {job.job_type} {job.job_uuid.hex()[:6]} fails={fails}")
        self.happen(JobStarted(key=job.key, at=world.now))
        world.at(ends, lambda: self._end(job, process, fails))

    def _end(self, job: AgentJob, process: Process, fails: bool) -> None:
        if not process.alive or process.token != self.boot:
            return
        process.alive = False
        if fails:
            process.exit = JobExited(
                key=job.key,
                state=AgentJobState.FAILED,
                exit_code=3,
                failure_class=FailureClass.JOB,
                info="exit code 3",
            )
        else:
            # the value names its job, so that a value from the wrong job is noticed
            process.exit = JobExited(
                key=job.key,
                state=AgentJobState.COMPLETED,
                exit_code=0,
                outputs={"out": f'"{job.job_uuid.hex()}"'},
            )
        if self.up:
            self.happen(process.exit)

    def _kill(self, job_uuid: bytes) -> None:
        process = self.spool.get(job_uuid)
        if process is None:
            # killed between the commit of `starting` and the spawn: claim it so that it never runs
            job = next((j for j in self.of(AgentJob) if j.job_uuid == job_uuid), None)
            if job is None:
                return
            process = Process(started_at=0, ends_at=0, inputs={}, alive=False)
            self.spool[job_uuid] = process
            process.exit = JobExited(key=job.key, state=AgentJobState.KILLED, info="killed before it started")
        elif process.alive:
            process.alive = False
            key = next(j.key for j in self.of(AgentJob) if j.job_uuid == job_uuid)
            process.exit = JobExited(key=key, state=AgentJobState.KILLED, exit_code=-15, info="killed")
        if process.exit is not None:
            self.happen(process.exit)

    def _recover(self, job: AgentJob) -> None:
        process = self.spool.get(job.job_uuid)
        if process is None or (self.world.mutant == "spool claim" and job.state == "starting"):
            if job.state == "killing":
                self._kill(job.job_uuid)
            else:
                self._spawn(job)
            return
        if process.alive and process.token != self.boot:
            process.alive = False
            process.exit = JobExited(
                key=job.key,
                state=AgentJobState.FAILED,
                failure_class=FailureClass.AGENT,
                info="host rebooted",
            )
        if process.exit is not None:
            self.happen(process.exit)
        else:
            if job.state == "starting":
                self.happen(JobStarted(key=job.key, at=process.started_at))
            if job.state == "killing":
                self._kill(job.job_uuid)

    def reboot(self, back_after: int) -> None:
        if not self.up:
            return
        # processes of another boot never end by themselves; the recovery scan notices them
        self.boot += 1
        self.world.seen["reboot"] = self.world.seen.get("reboot", 0) + 1
        self.stop(back_after)
