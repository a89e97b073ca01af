"""Any message in any state, from owners and strangers, repeated and out of order.

Two of each role hear the same: one keeps everything in memory, the other forgets what it may and loads
by ``needs``. They must say, do and keep the same. Both check every unit of work as ``build`` does.
``CARONI_EXAMPLES`` multiplies how much is tried, and has a failing history made as short as can be.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from caroni.core.agent.state import Allowance, Connected, JobExited, JobStarted, StartJob
from caroni.core.agent.state import Started as AgentStarted
from caroni.core.clockjump import ClockJumped
from caroni.core.commands import (
    CancelWorkflow,
    Drain,
    GoOffline,
    GoOnline,
    KillJob,
    PauseJob,
    PauseWorkflow,
    ResumeJob,
    ResumeWorkflow,
    RetrySteps,
    Undrain,
)
from caroni.core.draft import Draft, Origin, RenewStream
from caroni.core.ids import job_uuid_of, value_digest
from caroni.core.manager.state import GIVEN_UP_JOB, LIVE_JOB, Unheard
from caroni.core.manager.state import Started as ManagerStarted
from caroni.core.messages import (
    AgentPresence,
    DeclineReason,
    FailureClass,
    JobAccepted,
    JobDataAvailable,
    JobFulfillmentDecline,
    JobFulfillmentOffer,
    JobFulfillmentOfferAccept,
    JobFulfillmentOfferReject,
    JobFulfillmentOfferWithdrawn,
    JobFulfillmentRequest,
    JobFulfillmentRequestWithdrawn,
    JobKill,
    JobLogRequest,
    JobPause,
    JobRelease,
    JobReport,
    JobReportEntry,
    JobReportRequest,
    JobResume,
    JobStatus,
    JobStatusRequest,
    JobStatusUpdate,
    Message,
    OnFailure,
    PresenceState,
    Reserve,
    WorkFlowCancel,
    WorkFlowCreate,
    WorkFlowPause,
    WorkFlowResume,
    WorkFlowRetry,
    WorkFlowStatusRequest,
)
from caroni.core.plan import DAY, HOUR, MINUTE, SECOND
from caroni.core.rows import (
    AgentJob,
    AgentOffer,
    Availability,
    Job,
    Offer,
    Orphan,
    Peer,
    Request,
    Row,
    Step,
    Workflow,
)
from caroni.core.states import AgentJobState, StepState, WorkflowState, is_terminal
from caroni.errors import CommandRefused
from tests.core.build import (
    AGENT,
    MANAGER,
    NOW,
    OTHER_MANAGER,
    OUT,
    OUTSIDER,
    SECOND_AGENT,
    SUBMITTER,
    UNCLEARED,
    AgentSide,
    ManagerSide,
    Said,
    Side,
    plan,
    step,
)
from tests.core.forgetful import Forgetful, ForgetfulAgent, ForgetfulManager

MORE = int(os.environ.get("CARONI_EXAMPLES", "1"))
#: the same examples at every run, so that a failure is a change's; more of them on request
THOROUGH = settings(
    max_examples=80 * MORE,
    stateful_step_count=50,
    deadline=None,
    derandomize=MORE == 1,
    database=None,
    phases=(Phase.explicit, Phase.generate) if MORE == 1 else (Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)

PLANS = {
    "chain": plan(step("first", max_attempts=2, backoff=0), step("second", "first/out", max_attempts=2)),
    "pair": plan(step("first", max_other_failures=2), step("second", job_type="u")),
    "once": plan(step("first", at_most_once=True), step("second", "first/out")),
}
DURATIONS = [SECOND, 15 * SECOND, MINUTE, 10 * MINUTE, HOUR, 3 * HOUR, 13 * HOUR]

number = st.integers(0, 11)
agents = st.sampled_from([AGENT, AGENT, AGENT, SECOND_AGENT, SECOND_AGENT, UNCLEARED])
managers = st.sampled_from([MANAGER, MANAGER, MANAGER, OTHER_MANAGER, "caroni://elsewhere/manager/x"])
values = st.sampled_from([OUT, OUT, OUT, '"other"', "1", "null", "["])


def name(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()[:16]


@dataclass(frozen=True)
class Heard:
    """A message as it came."""

    message: Message
    by: str
    stream: int
    conversation: bytes


class Pair(RuleBasedStateMachine):
    """The same heard by one that remembers and one that forgets."""

    whole: Any
    lean: Any

    #: what has been decided on, in which states of the rows that it is about
    met: ClassVar[set[tuple[str, str]]]

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Heard] = []
        self.broken = False

    def both(self, do: Callable[[Any], Said]) -> Said:
        self.broken = True  # until this is over
        said, again = do(self.whole), do(self.lean)
        assert [(o.to, o.message) for o in said.sent] == [(o.to, o.message) for o in again.sent]
        assert said.acts == again.acts
        assert said.changed == again.changed
        assert self.whole.now == self.lean.now, "the same timers fired"
        for renewed in said.act(RenewStream):
            for side in (self.whole, self.lean):
                side.state.own_stream, side.state.next_sequence = renewed.stream_id, {}
        self.heard(said)
        self.broken = False
        return said

    def teardown(self) -> None:
        if not self.broken:  # else what broke is what is told
            self.end()

    def end(self) -> None:
        """What must be possible from any state."""

    def heard(self, said: Said) -> None:
        """Look at what was decided."""

    def rows_of(self, about: Any, by: str) -> Iterable[Row | None]:
        """The rows whose states decide what becomes of a message or a command."""
        raise NotImplementedError

    def meet(self, about: Any, by: str) -> None:
        """Note what is decided on, and in which states."""
        for row in self.rows_of(about, by):
            state = getattr(row, "state", "unknown")
            self.met.add((type(about).__name__, f"{type(row).__name__} {state}"))

    def say(
        self, m: Message, by: str, stream: int = 1, *, conversation: bytes = b"", sequence: int = 0
    ) -> Said:
        self.history.append(Heard(m, by, stream, conversation))
        self.meet(m, by)
        return self.both(
            lambda side: side.say(m, by, stream=stream, conversation=conversation, sequence=sequence)
        )

    def once_more(self, heard: list[Heard]) -> None:
        """The same messages again: duplicates, late, and in another order."""
        for one in heard:
            # in its first round a request is taken as new without a look at the store (see ``needs``)
            if not isinstance(one.message, JobFulfillmentRequest) or one.message.round > 1:
                self.meet(one.message, one.by)
                self.both(
                    lambda side, one=one: side.say(  # type: ignore[misc]
                        one.message, one.by, stream=one.stream, conversation=one.conversation
                    )
                )

    def happens(self, event: Any) -> None:
        """Something local, in every state that there is a row in."""
        for table in self.whole.state.tables.values():
            for row in table.values():
                if hasattr(row, "state"):
                    self.met.add((type(event).__name__, f"{type(row).__name__} {row.state}"))
        self.both(lambda side: side.happens(event))

    def orders(self, command: Any) -> None:
        """An operator's command; what is refused changes nothing."""
        self.meet(command, getattr(command, "peer", ""))

        def order(side: Any) -> Said:
            side.result = {}

            def decide(draft: Any) -> None:
                mark = draft.mark()
                try:
                    side.result = side.routes().operate(draft, command)
                except CommandRefused:
                    draft.rollback(mark)
                    assert not draft.changes()

            return cast("Said", side.unit(decide))

        known = getattr(command, "workflow_uuid", b"") in self.lean.state.tables.get(Workflow, {})
        self.both(order)
        # of what has ended and left memory an operator hears only that
        assert self.whole.result == self.lean.result or not known

    @rule(by=st.sampled_from([-3 * HOUR, -MINUTE, MINUTE, 3 * HOUR, 30 * DAY]))
    def clock_is_set(self, by: int) -> None:
        for side in (self.whole, self.lean):
            side.now += by
        said, again = (side.happens(ClockJumped(by=by)) for side in (self.whole, self.lean))
        assert (said.sent, said.acts) == (again.sent, again.acts)
        assert {row.key for row in again.changed} <= {row.key for row in said.changed}
        # what need not be in memory keeps its instants: no decision reads them
        for (row_type, key), row in self.lean.store.rows.items():
            if self.whole.state.get(row_type, key) != row:
                self.whole.state.replace(row_type, key, row)

    def begins_again(self, put_back: bool) -> None:
        """Both processes end, and begin with what memory must have."""
        for side in (self.whole, self.lean):
            old = side.state
            rows = [row for table in old.tables.values() for row in table.values()]
            side.state = side.fresh(rows)
            for fact in ("own_stream", "next_sequence", "hold_until", "restored_at", "boot_id"):
                if hasattr(old, fact):
                    setattr(side.state, fact, getattr(old, fact))
            if hasattr(old, "started_at"):
                side.state.started_at = side.now
        self.happens(self.started(put_back))

    def started(self, put_back: bool) -> Any:
        """The role's own event."""
        raise NotImplementedError

    @rule(put_back=st.sampled_from([False, False, False, True]))
    def restart(self, put_back: bool) -> None:
        self.begins_again(put_back)

    @rule(start=st.integers(0, 1000), count=st.integers(1, 8), backwards=st.booleans())
    def repeated(self, start: int, count: int, backwards: bool) -> None:
        if self.history:
            start %= len(self.history)
            heard = self.history[start : start + count]
            self.once_more(heard[::-1] if backwards else heard)

    @rule(duration=st.sampled_from(DURATIONS))
    def time_passes(self, duration: int) -> None:
        self.passes(duration)

    @rule(duration=st.sampled_from(DURATIONS[:2]))
    def time_passes_a_little(self, duration: int) -> None:
        self.passes(duration)

    def passes(self, duration: int) -> None:
        """Timers fire, in whatever states their rows are."""
        until = self.whole.now + duration
        for table in self.whole.state.tables.values():
            for row in table.values():
                if 0 < getattr(row, "due", 0) <= until:
                    self.met.add(("timer", f"{type(row).__name__} {getattr(row, 'state', '')}".strip()))
        self.both(lambda side: side.wait(duration))

    @invariant()
    def the_store_has_what_memory_has(self) -> None:
        kept = {(t, key): row for t, table in self.whole.state.tables.items() for key, row in table.items()}
        assert self.lean.store.rows == kept


# --- the manager ---------------------------------------------------------------------------------


class Guarded:
    """Mixed in before a manager: strangers move nothing, and what is chosen stays."""

    state: Any

    def hear(self, draft: Draft, origin: Origin, m: Message) -> None:
        before = {Request: dict(self.state.tables[Request])}
        super().hear(draft, origin, m)  # type: ignore[misc]
        if origin.uri not in (UNCLEARED, OUTSIDER):
            return
        for row in (row for rows in draft.changes().values() for row in rows):
            if isinstance(row, Request):  # whoever heard the call may decline; only that is written down
                old = before[Request][row.key]
                assert {f: getattr(old, f) for f in row.__struct_fields__ if f != "declines"} == {
                    f: getattr(row, f) for f in row.__struct_fields__ if f != "declines"
                }
            elif isinstance(row, Orphan):  # in the hold, whoever claims to run a job of ours
                assert row.agent == origin.uri
            else:
                assert isinstance(row, Peer), f"a stranger changed {row}"
                assert row.uri == origin.uri

    def check(self, before: Any, draft: Draft) -> None:
        super().check(before, draft)  # type: ignore[misc]
        for row in (row for rows in draft.changes().values() for row in rows):
            old = before[0].get((type(row), row.key))
            if isinstance(row, Step):
                assert old is None or old.winner == ("", b"") or old.winner == row.winner, "one winner"
                policy = PLANS[self.state.get(Workflow, row.workflow_uuid).template].steps[row.index].policy
                assert row.job_failures <= policy.max_attempts
                assert row.other_failures <= policy.max_other_failures
                assert old is None or row.attempt in (old.attempt, old.attempt + 1)
                assert row.cause
            elif isinstance(row, Job) and old is not None:
                assert (row.stream_id, row.seq) >= (old.stream_id, old.seq)
            elif isinstance(row, Workflow) and is_terminal(row.state):
                assert row.steps_left == 0
                steps = [self.state.get(Step, (row.workflow_uuid, i)) for i in range(row.steps_total)]
                ended = [s.state for s in steps if s is not None]
                assert all(is_terminal(s) for s in ended)
                assert (row.state is WorkflowState.COMPLETED) == all(s is StepState.COMPLETED for s in ended)


class GuardedManager(Guarded, ManagerSide):
    pass


class GuardedForgetfulManager(Guarded, ForgetfulManager):
    pass


#: how far our own numbers are at the beginning, in which stream
STREAM, NEXT = 5, 10


class ManagerMachine(Pair):
    """A manager among honest, broken and hostile agents and submitters."""

    met: ClassVar[set[tuple[str, str]]] = set()

    def __init__(self) -> None:
        super().__init__()
        self.whole, self.lean = GuardedManager(PLANS), GuardedForgetfulManager(PLANS)
        for side in (self.whole, self.lean):
            side.state.own_stream, side.state.next_sequence = STREAM, {AGENT: NEXT, SECOND_AGENT: NEXT}
        #: (agent, request, offer)
        self.offers: list[tuple[str, bytes, bytes]] = []
        self.seq = 0
        self.submitted = 0

    def started(self, put_back: bool) -> Any:
        return ManagerStarted(put_back=put_back)

    def rows_of(self, about: Any, by: str) -> Iterable[Row | None]:
        get = self.whole.state.get
        job = get(Job, (by, getattr(about, "job_uuid", b"")))
        offer = get(Offer, (by, getattr(about, "offer_uuid", b"")))
        request = get(Request, getattr(about, "request_uuid", b""))
        if request is None and offer is not None:
            request = get(Request, offer.request_uuid)
        owner = job or request
        step = get(Step, (owner.workflow_uuid, owner.step_index)) if owner is not None else None
        workflow = get(Workflow, getattr(about, "workflow_uuid", b""))
        if isinstance(about, JobReport):
            yield from (get(Job, (by, entry.job_uuid)) for entry in about.jobs)
        if workflow is not None:
            yield from (
                row for row in self.whole.state.tables[Step].values() if row.workflow_uuid == workflow.key
            )
        yield from (row for row in (job, offer, request, step, workflow) if row is not None)
        if not any((job, offer, request, workflow)):
            yield None

    def pick(self, number: int) -> tuple[str, bytes, bytes]:
        """One of the last few offers: most messages are about what is going on."""
        recent = self.offers[-6:]
        return recent[number % len(recent)] if recent else (AGENT, b"?" * 16, b"?" * 16)

    def request(self, number: int) -> bytes:
        rows = list(self.whole.state.tables[Request].values())[-4:]
        return rows[number % len(rows)].request_uuid if rows else b"?" * 16

    def workflow(self, number: int) -> bytes:
        rows = list(self.whole.state.tables[Workflow])[-3:]
        return rows[number % len(rows)] if rows else b"?" * 16

    def offer(self, request: bytes, by: str, number: int, ttl: int = HOUR) -> bytes:
        # an offer's uuid belongs to one request: honest agents draw them at random
        offer = name(by, request, number)
        self.offers.append((by, request, offer))
        self.say(JobFulfillmentOffer(request_uuid=request, offer_uuid=offer, ttl=ttl), by)
        return offer

    @initialize(templates=st.lists(st.sampled_from(["chain", "pair", "once"]), min_size=1, max_size=3))
    def begin(self, templates: list[str]) -> None:
        for place, template in enumerate(templates):
            create = WorkFlowCreate(template_name=template, inputs={"start": '"s"'}, submit_uuid=name(place))
            self.say(create, SUBMITTER)

    @rule(
        template=st.sampled_from(["chain", "pair", "once", "nothing"]),
        key=number,
        by=st.sampled_from([SUBMITTER, SUBMITTER, SUBMITTER, OUTSIDER]),
        kill=st.sampled_from(OnFailure),
        reserve=st.sampled_from(Reserve),
        start=st.sampled_from(['"s"', '"s"', "1", "{"]),
    )
    def submit(self, template: str, key: int, by: str, kill: OnFailure, reserve: Reserve, start: str) -> None:
        self.say(
            WorkFlowCreate(
                template_name=template,
                inputs={"start": start},
                submit_uuid=name(key % 4),
                on_failure=kill,
                reserve=reserve,
            ),
            by,
        )

    @precondition(lambda self: any(r.state == "open" for r in self.whole.state.tables[Request].values()))
    @rule(by=st.sampled_from([AGENT, SECOND_AGENT]), upto=st.integers(0, 4), value=values)
    def serve(self, by: str, upto: int, value: str) -> None:
        """An honest agent takes an open request, some way along the line."""
        rows = [r for r in self.whole.state.tables[Request].values() if r.state == "open"]
        self.line(self.offer(rows[0].request_uuid, by, 0), by, upto, value)

    @precondition(lambda self: self.offers)
    @rule(pick=number, value=values)
    def go_on(self, pick: int, value: str) -> None:
        """An honest agent takes a job along the whole line, from wherever it was."""
        owner, _, offer = self.pick(pick)
        self.line(offer, owner, 4, value)

    def live(self) -> list[Job]:
        return [job for job in self.whole.state.tables[Job].values() if job.state in LIVE_JOB | GIVEN_UP_JOB]

    @precondition(lambda self: self.live())
    @rule(pick=number, output=values, other=values, back=st.integers(0, 2))
    def contradict(self, pick: int, output: str, other: str, back: int) -> None:
        """An agent that says one thing and then another of a job that is not over."""
        jobs = self.live()
        job = jobs[pick % len(jobs)]
        for seq, status in ((self.seq, JobStatus.RUNNING), (self.seq - back, JobStatus.PAUSED)):
            m = JobStatusUpdate(job_uuid=job.job_uuid, job_status=status, seq=max(1, seq))
            self.say(m, job.agent)
        for value in (output, other):
            self.say(JobDataAvailable(job_uuid=job.job_uuid, parameters={"out": value}), job.agent)

    def line(self, offer: bytes, by: str, upto: int, value: str) -> None:
        job = job_uuid_of(offer)
        line: list[Message] = [
            JobAccepted(job_uuid=job, offer_uuid=offer),
            self.update(job, JobStatus.RUNNING),
            JobDataAvailable(job_uuid=job, parameters={"out": value}),
            self.update(job, JobStatus.COMPLETED, manifest={"out": value_digest(value)}),
        ]
        for m in line[:upto]:
            self.say(m, by)

    def update(self, job: bytes, status: JobStatus, **more: Any) -> JobStatusUpdate:
        self.seq += 1
        return JobStatusUpdate(job_uuid=job, job_status=status, seq=self.seq, **more)

    @rule(pick=number, by=agents, another=st.integers(0, 2), ttl=st.sampled_from([0, MINUTE, HOUR]))
    def any_offer(self, pick: int, by: str, another: int, ttl: int) -> None:
        self.offer(self.request(pick), by, another, ttl)

    @rule(pick=number, by=st.none() | agents, withdrawn=st.booleans())
    def any_answer(self, pick: int, by: str | None, withdrawn: bool) -> None:
        owner, request, offer = self.pick(pick)
        m: Message = JobAccepted(job_uuid=job_uuid_of(offer), offer_uuid=offer)
        if withdrawn:
            m = JobFulfillmentOfferWithdrawn(request_uuid=request, offer_uuid=offer)
        self.say(m, by or owner)

    @rule(pick=number, by=agents, reason=st.sampled_from(DeclineReason))
    def any_decline(self, pick: int, by: str, reason: DeclineReason) -> None:
        self.say(JobFulfillmentDecline(request_uuid=self.request(pick), reason=reason), by)

    @rule(
        pick=number,
        by=st.none() | st.none() | agents,
        status=st.sampled_from(JobStatus),
        further=st.sampled_from([1, 1, 1, 0, -1, -3]),
        stream=st.sampled_from([1, 1, 1, 2, 0]),
        cls=st.sampled_from(FailureClass),
        code=st.sampled_from([None, 0, 3]),
        value=values,
        known=st.sampled_from([True, True, True, False]),
        conversation=st.booleans(),
        sequence=st.sampled_from([0, 0, 1, 2, 7]),
    )
    def any_status(
        self,
        pick: int,
        by: str | None,
        status: JobStatus,
        further: int,
        stream: int,
        cls: FailureClass,
        code: int | None,
        value: str,
        known: bool,
        conversation: bool,
        sequence: int,
    ) -> None:
        owner, _, offer = self.pick(pick)
        job = self.whole.state.get(Job, (owner, job_uuid_of(offer)))
        m = JobStatusUpdate(
            # one that is not known here may be of the time before a restore
            job_uuid=job_uuid_of(offer) if known else name("forgotten", pick % 3),
            job_status=status,
            seq=max(0, (job.seq if job is not None else 0) + further),
            failure_class=cls,
            exit_code=code,
            manifest={"out": value_digest(value)} if status is JobStatus.COMPLETED else {},
        )
        about = self.request(pick) if conversation else b""
        self.say(m, by or owner, stream, conversation=about, sequence=sequence)

    @rule(pick=number, by=st.none() | agents, output=st.sampled_from(["out", "out", "more"]), value=values)
    def any_data(self, pick: int, by: str | None, output: str, value: str) -> None:
        owner, _, offer = self.pick(pick)
        self.say(JobDataAvailable(job_uuid=job_uuid_of(offer), parameters={output: value}), by or owner)

    @rule(
        by=agents,
        state=st.sampled_from(PresenceState),
        away=st.sampled_from([0, HOUR, 12 * HOUR]),
        number=number,
        boot=st.binary(max_size=1),
    )
    def any_presence(self, by: str, state: PresenceState, away: int, number: int, boot: bytes) -> None:
        m = AgentPresence(state=state, offline_for=away, job_types=("t", "u"), number=number, boot_id=boot)
        self.say(m, by)

    @rule(
        by=agents,
        picks=st.lists(st.tuples(number, st.sampled_from(JobStatus)), max_size=3),
        forgotten=st.none() | number,
        complete=st.booleans(),
        seen=st.sampled_from([0, 0, 0, 3, NEXT]),
    )
    def any_report(
        self,
        by: str,
        picks: list[tuple[int, JobStatus]],
        forgotten: int | None,
        complete: bool,
        seen: int,
    ) -> None:
        jobs = [
            JobReportEntry(job_uuid=job_uuid_of(self.pick(pick)[2]), job_status=status)
            for pick, status in picks
        ]
        if forgotten is not None:
            uuid = name("forgotten", forgotten % 3)
            jobs.append(JobReportEntry(job_uuid=uuid, job_status=JobStatus.RUNNING))
        m = JobReport(
            report_uuid=b"R" * 16,
            jobs=tuple(jobs),
            complete=complete,
            # whoever has heard of us can say so: any verified agent can have the manager hold
            seen_stream=self.whole.state.own_stream if seen else 0,
            seen_sequence=seen,
        )
        self.say(m, by)

    @rule(picks=st.lists(number, max_size=3))
    def nobody_was_bound(self, picks: list[int]) -> None:
        self.happens(Unheard(requests=tuple(self.request(pick) for pick in picks)))

    @rule(
        pick=number,
        kind=st.sampled_from([CancelWorkflow, PauseWorkflow, ResumeWorkflow, RetrySteps, RetrySteps]),
        steps=st.sampled_from([(), ("first",), ("second",), ("first", "second"), ("nothing",)]),
    )
    def any_command(self, pick: int, kind: Any, steps: tuple[str, ...]) -> None:
        self.orders(kind(workflow_uuid=self.workflow(pick), steps=steps))

    @rule(pick=number, kind=st.sampled_from([KillJob, PauseJob, ResumeJob]), known=st.booleans())
    def any_job_command(self, pick: int, kind: Any, known: bool) -> None:
        owner, _, offer = self.pick(pick)
        orphans = list(self.whole.state.tables[Orphan])
        if not known and orphans:
            owner, uuid = orphans[pick % len(orphans)]
        else:
            uuid = job_uuid_of(offer)
        self.orders(kind(peer=owner, job_uuid=uuid))

    @rule(
        pick=number,
        by=st.sampled_from([SUBMITTER, SUBMITTER, OUTSIDER, AGENT]),
        kind=st.sampled_from(
            [
                WorkFlowCancel,
                WorkFlowPause,
                WorkFlowResume,
                WorkFlowResume,
                WorkFlowRetry,
                WorkFlowStatusRequest,
            ]
        ),
    )
    def any_control(self, pick: int, by: str, kind: type[Message]) -> None:
        self.say(kind(workflow_uuid=self.workflow(pick)), by)

    def end(self) -> None:
        """With honest agents and time everything ends, and then memory keeps nothing."""
        for uuid in list(self.whole.state.tables[Workflow]):
            self.say(WorkFlowCancel(workflow_uuid=uuid), self.whole.row(Workflow, uuid).submitter)
        self.all_killed()
        self.once_more(self.history[::-1])
        self.all_killed()  # also a job whose accept was only now taken for one
        assert all(w.ended_at for w in self.whole.state.tables[Workflow].values())
        self.passes(max(0, self.whole.state.hold_until - self.whole.now) + SECOND)
        for agent in (AGENT, SECOND_AGENT, UNCLEARED):  # orphans are stopped when it is sure what they are
            self.say(JobReport(report_uuid=b"R" * 16, complete=True), agent)
        self.passes(6 * MINUTE)
        left = [
            row for kind, rows in self.lean.state.tables.items() for row in rows.values() if kind is not Peer
        ]
        assert not left

    def all_killed(self) -> None:
        """Every agent tells the end of its jobs."""
        self.seq += 1
        for job in list(self.whole.state.tables[Job].values()):
            m = JobStatusUpdate(job_uuid=job.job_uuid, job_status=JobStatus.KILLED, seq=10**9 + self.seq)
            self.say(m, job.agent, stream=9)


TestManager = ManagerMachine.TestCase
TestManager.settings = THOROUGH


# --- the agent -----------------------------------------------------------------------------------


class Owned:
    """Mixed in before an agent: whatever a manager says touches his own rows only."""

    def hear(self, draft: Draft, origin: Origin, m: Message) -> None:
        super().hear(draft, origin, m)  # type: ignore[misc]
        for row in (row for rows in draft.changes().values() for row in rows):
            owner = row.uri if isinstance(row, Peer) else getattr(row, "manager", None)
            assert owner == origin.uri, f"{origin.uri} changed {row}"
        assert {o.to for o in draft.messages} <= {origin.uri}

    def check(self, before: Any, draft: Draft) -> None:
        super().check(before, draft)  # type: ignore[misc]
        for row in draft.changes().get(AgentJob, ()):
            assert isinstance(row, AgentJob)
            if row.state in (AgentJobState.QUEUED, AgentJobState.STARTING, AgentJobState.RUNNING):
                assert row.missing == 0, "nothing starts before its inputs are here"
            assert not row.released or is_terminal(row.state)


class OwnedAgent(Owned, AgentSide):
    pass


class OwnedForgetfulAgent(Owned, ForgetfulAgent):
    pass


class AgentMachine(Pair):
    """An agent among honest, broken and hostile managers, and its executor."""

    met: ClassVar[set[tuple[str, str]]] = set()

    def __init__(self) -> None:
        super().__init__()
        allowance = Allowance(max_queued=3, offers_outstanding=3)
        self.whole = OwnedAgent(allowance, slots=2)
        self.lean = OwnedForgetfulAgent(allowance, slots=2)
        for side in (self.whole, self.lean):
            side.state.own_stream, side.state.next_sequence = STREAM, {MANAGER: NEXT, OTHER_MANAGER: NEXT}
        self.requests: list[tuple[str, bytes]] = []
        self.began: set[bytes] = set()

    def heard(self, said: Said) -> None:
        for start in said.act(StartJob):
            assert start.key[1] not in self.began, "one start for each job"
            self.began.add(start.key[1])

    def started(self, put_back: bool) -> Any:
        return AgentStarted(put_back=put_back)

    def rows_of(self, about: Any, by: str) -> Iterable[Row | None]:
        state = self.whole.state
        job = state.get(AgentJob, (by, getattr(about, "job_uuid", b"")))
        offer = state.get(AgentOffer, (by, getattr(about, "offer_uuid", b"")))
        if offer is None and (key := state.offer_of_request.get((by, getattr(about, "request_uuid", b"")))):
            offer = state.get(AgentOffer, key)
        yield from (row for row in (job, offer) if row is not None)
        if job is None and offer is None:
            yield None

    def offer(self, number: int) -> tuple[str, bytes, bytes]:
        rows = [r for r in self.whole.state.tables[AgentOffer].values()][-5:]
        if not rows:
            return MANAGER, b"?" * 16, name(number)
        row = rows[number % len(rows)]
        return row.manager, row.request_uuid, row.offer_uuid

    def job(self, number: int) -> tuple[str, bytes]:
        rows = [r for r in self.whole.state.tables[AgentJob].values()][-5:]
        if not rows or number == 11:
            manager, _, offer = self.offer(number)
            return manager, job_uuid_of(offer)
        return rows[number % len(rows)].key  # type: ignore[no-any-return]

    def ask(self, request: bytes, by: str, round: int, parameters: tuple[str, ...], job_type: str) -> None:
        m = JobFulfillmentRequest(
            request_uuid=request, job_type_name=job_type, parameters=parameters, round=round, attempt=1
        )
        self.say(m, by)

    @rule(
        by=managers,
        parameters=st.sampled_from([("a",), ("a",), ("a", "n"), ("n",), ("a", "a")]),
        job_type=st.sampled_from(["t", "t", "t", "idle", "x"]),
    )
    def new_request(self, by: str, parameters: tuple[str, ...], job_type: str) -> None:
        self.requests.append((by, name("request", len(self.requests))))
        if job_type == "idle":
            parameters = ()
        self.ask(self.requests[-1][1], by, 1, parameters, job_type)

    @rule(pick=number, by=st.none() | managers, round=st.integers(2, 5))
    def same_request(self, pick: int, by: str | None, round: int) -> None:
        if self.requests:
            owner, request = self.requests[-4:][pick % len(self.requests[-4:])]
            self.ask(request, by or owner, round, ("a",), "t")

    @rule(by=st.sampled_from([MANAGER, OTHER_MANAGER]), upto=st.integers(1, 4))
    def serve(self, by: str, upto: int) -> None:
        """An honest manager, some way along the line."""
        request = name("request", len(self.requests))
        self.requests.append((by, request))
        self.ask(request, by, 1, ("a",), "t")
        key = self.whole.state.offer_of_request.get((by, request))
        if key is None:
            return
        offer = key[1]
        job = job_uuid_of(offer)
        line: list[Message] = [
            JobFulfillmentOfferAccept(request_uuid=request, offer_uuid=offer),
            JobDataAvailable(job_uuid=job, parameters={"a": "1"}),
        ]
        for m in line[:upto]:
            self.say(m, by)
        if upto > 2:
            self.process(JobStarted(key=(by, job), at=NOW))
        if upto > 3:
            self.process(JobExited(key=(by, job), state=AgentJobState.COMPLETED, outputs={"out": OUT}))

    def process(self, event: JobStarted | JobExited) -> None:
        """The executor speaks of one job."""
        row = self.whole.state.get(AgentJob, event.key)
        self.met.add((type(event).__name__, f"{type(row).__name__} {getattr(row, 'state', 'unknown')}"))
        self.both(lambda side: side.happens(event))

    @rule(pick=number, by=st.none() | st.none() | managers, accept=st.booleans())
    def any_answer(self, pick: int, by: str | None, accept: bool) -> None:
        owner, request, offer = self.offer(pick)
        kind = JobFulfillmentOfferAccept if accept else JobFulfillmentOfferReject
        self.say(kind(request_uuid=request, offer_uuid=offer), by or owner)

    @rule(pick=number, by=st.none() | managers)
    def any_withdrawal(self, pick: int, by: str | None) -> None:
        if self.requests:
            owner, request = self.requests[-4:][pick % len(self.requests[-4:])]
            self.say(JobFulfillmentRequestWithdrawn(request_uuid=request, job_type_name="t"), by or owner)

    @rule(
        pick=number,
        by=st.none() | st.none() | managers,
        kind=st.sampled_from(
            [JobStatusRequest, JobKill, JobRelease, JobRelease, JobPause, JobResume, JobLogRequest]
        ),
    )
    def any_question(self, pick: int, by: str | None, kind: type[Message]) -> None:
        owner, job = self.job(pick)
        self.say(kind(job_uuid=job), by or owner)

    @rule(
        pick=number,
        by=st.none() | st.none() | managers,
        parameter=st.sampled_from(["a", "n", "z"]),
        value=st.sampled_from(["1", "1", "2", '"s"', "["]),
    )
    def any_data(self, pick: int, by: str | None, parameter: str, value: str) -> None:
        owner, job = self.job(pick)
        self.say(JobDataAvailable(job_uuid=job, parameters={parameter: value}), by or owner)

    @rule(by=managers, first=st.sampled_from(["1", "2"]), second=st.sampled_from(["2", "1"]))
    def contradict(self, by: str, first: str, second: str) -> None:
        """A manager that gives one input twice, while the job waits for another."""
        waiting = [j for j in self.whole.state.tables[AgentJob].values() if j.state == "pending"]
        if not waiting:
            request = name("request", len(self.requests))
            self.requests.append((by, request))
            self.ask(request, by, 1, ("a", "n"), "t")
            if key := self.whole.state.offer_of_request.get((by, request)):
                self.say(JobFulfillmentOfferAccept(request_uuid=request, offer_uuid=key[1]), by)
            return
        job = waiting[-1]
        for value in (first, second):
            self.say(JobDataAvailable(job_uuid=job.job_uuid, parameters={"a": value}), job.manager)

    @rule(
        by=managers,
        seen=st.sampled_from([0, 0, 3, NEXT]),
        sequence=st.sampled_from([0, 1, 1, 5]),
        stream=st.sampled_from([1, 1, 2]),
    )
    def any_report_request(self, by: str, seen: int, sequence: int, stream: int) -> None:
        m = JobReportRequest(
            report_uuid=b"R" * 16,
            seen_stream=self.whole.state.own_stream if seen else 0,
            seen_sequence=seen,
        )
        self.say(m, by, stream, sequence=sequence)

    @rule()
    def broker_is_back(self) -> None:
        self.happens(Connected())

    @rule(
        command=st.sampled_from(
            [
                Drain(),
                Drain(deadline=MINUTE),
                Drain(deadline=-1),
                Undrain(),
                Undrain(),
                GoOffline(duration=HOUR),
                GoOffline(duration=999 * DAY),
                GoOnline(),
                GoOnline(),
            ]
        )
    )
    def any_command(self, command: Any) -> None:
        for table in (AgentJob, AgentOffer):
            for row in self.whole.state.tables[table].values():
                self.met.add((type(command).__name__, f"{table.__name__} {row.state}"))
        self.orders(command)

    @rule(pick=number, kind=st.sampled_from([KillJob, PauseJob, ResumeJob]))
    def any_job_command(self, pick: int, kind: Any) -> None:
        manager, uuid = self.job(pick)
        self.orders(kind(peer=manager, job_uuid=uuid))

    @rule(
        pick=number,
        state=st.none() | st.sampled_from([s for s in AgentJobState if is_terminal(s)]),
        cls=st.sampled_from(FailureClass),
    )
    def any_event(self, pick: int, state: AgentJobState | None, cls: FailureClass) -> None:
        key = self.job(pick)
        if state is None:
            self.process(JobStarted(key=key, at=NOW))
        else:
            outputs = {"out": OUT} if state is AgentJobState.COMPLETED else {}
            self.process(JobExited(key=key, state=state, failure_class=cls, outputs=outputs))

    def end(self) -> None:
        """Once every job has ended and is released, memory keeps nothing but memories of kills."""
        self.orders(Drain())
        for _ in range(len(self.whole.state.tables[AgentJob])):  # each end lets another begin
            for job in list(self.whole.state.tables[AgentJob].values()):
                self.say(JobKill(job_uuid=job.job_uuid), job.manager)
                self.process(JobExited(key=job.key, state=AgentJobState.KILLED))
        for job in list(self.whole.state.tables[AgentJob].values()):
            assert is_terminal(job.state)
            self.say(JobRelease(job_uuid=job.job_uuid), job.manager)
        self.time_passes(3 * HOUR)
        self.once_more(self.history[::-1])
        self.time_passes(3 * HOUR)
        left: list[Row] = [
            row
            for kind, table in self.lean.state.tables.items()
            for row in table.values()
            if kind not in (Peer, Availability)
        ]
        assert all(isinstance(row, AgentJob) and not row.offer_uuid for row in left), left
        assert not self.whole.state.running
        assert not self.whole.state.waiting_of
        assert not self.whole.state.open_offers


TestAgent = AgentMachine.TestCase
TestAgent.settings = THOROUGH


def test_the_forgetful_ones_do_forget() -> None:
    manager = ForgetfulManager()
    manager.submit("one")
    assert isinstance(manager, Forgetful)
    assert isinstance(manager, Side)
    manager.offer()
    manager.accepted()
    manager.completes()
    assert [t.__name__ for t, table in manager.state.tables.items() if table] == ["Peer"]
    assert len(manager.store.rows) > 6
