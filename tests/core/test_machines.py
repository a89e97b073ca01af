"""Any message in any state, from owners and strangers, repeated and out of order.

Two of each role hear the same: one keeps everything in memory, the other forgets what it may and loads
by ``needs``. They must say, do and keep the same. Both check every unit of work as ``build`` does.
``CARONI_EXAMPLES`` multiplies how much is tried, and has a failing history made as short as can be.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from caroni.core.agent import routes as agent_routes
from caroni.core.agent.state import Allowance, JobExited, JobStarted, StartJob
from caroni.core.draft import Draft, Origin
from caroni.core.ids import job_uuid_of, value_digest
from caroni.core.manager.state import GIVEN_UP_JOB, LIVE_JOB
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
from caroni.core.plan import HOUR, MINUTE, SECOND
from caroni.core.rows import AgentJob, AgentOffer, Job, Peer, Request, Row, Step, Workflow
from caroni.core.states import AgentJobState, StepState, WorkflowState, is_terminal
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


class Pair(RuleBasedStateMachine):
    """The same heard by one that remembers and one that forgets."""

    whole: Any
    lean: Any

    def __init__(self) -> None:
        super().__init__()
        self.history: list[tuple[Message, str, int]] = []

    def both(self, do: Callable[[Any], Said]) -> Said:
        said, again = do(self.whole), do(self.lean)
        assert [(o.to, o.message) for o in said.sent] == [(o.to, o.message) for o in again.sent]
        assert said.acts == again.acts
        assert said.changed == again.changed
        self.heard(said)
        return said

    def heard(self, said: Said) -> None:
        """Look at what was decided."""

    def say(self, m: Message, by: str, stream: int = 1) -> Said:
        self.history.append((m, by, stream))
        return self.both(lambda side: side.say(m, by, stream=stream))

    def once_more(self, heard: list[tuple[Message, str, int]]) -> None:
        """The same messages again: duplicates, late, and in another order."""
        for m, by, stream in heard:
            # in its first round a request is taken as new without a look at the store (see ``needs``)
            if not isinstance(m, JobFulfillmentRequest) or m.round > 1:
                self.both(lambda side, m=m, by=by, stream=stream: side.say(m, by, stream=stream))  # type: ignore[misc]

    @rule(start=st.integers(0, 1000), count=st.integers(1, 8), backwards=st.booleans())
    def repeated(self, start: int, count: int, backwards: bool) -> None:
        if self.history:
            start %= len(self.history)
            heard = self.history[start : start + count]
            self.once_more(heard[::-1] if backwards else heard)

    @rule(duration=st.sampled_from(DURATIONS))
    def time_passes(self, duration: int) -> None:
        self.both(lambda side: side.wait(duration))

    @rule(duration=st.sampled_from(DURATIONS[:2]))
    def time_passes_a_little(self, duration: int) -> None:
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


class ManagerMachine(Pair):
    """A manager among honest, broken and hostile agents and submitters."""

    def __init__(self) -> None:
        super().__init__()
        self.whole, self.lean = GuardedManager(PLANS), GuardedForgetfulManager(PLANS)
        #: (agent, request, offer)
        self.offers: list[tuple[str, bytes, bytes]] = []
        self.seq = 0
        self.submitted = 0

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
    ) -> None:
        owner, _, offer = self.pick(pick)
        job = self.whole.state.get(Job, (owner, job_uuid_of(offer)))
        m = JobStatusUpdate(
            job_uuid=job_uuid_of(offer),
            job_status=status,
            seq=max(0, (job.seq if job is not None else 0) + further),
            failure_class=cls,
            exit_code=code,
            manifest={"out": value_digest(value)} if status is JobStatus.COMPLETED else {},
        )
        self.say(m, by or owner, stream)

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
        complete=st.booleans(),
    )
    def any_report(self, by: str, picks: list[tuple[int, JobStatus]], complete: bool) -> None:
        jobs = tuple(
            JobReportEntry(job_uuid=job_uuid_of(self.pick(pick)[2]), job_status=status)
            for pick, status in picks
        )
        self.say(JobReport(report_uuid=b"R" * 16, jobs=jobs, complete=complete), by)

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

    def teardown(self) -> None:
        """With honest agents and time everything ends, and then memory keeps nothing."""
        for uuid in list(self.whole.state.tables[Workflow]):
            self.say(WorkFlowCancel(workflow_uuid=uuid), self.whole.row(Workflow, uuid).submitter)
        self.seq += 1
        for job in list(self.whole.state.tables[Job].values()):
            m = JobStatusUpdate(job_uuid=job.job_uuid, job_status=JobStatus.KILLED, seq=10**9 + self.seq)
            self.say(m, job.agent, stream=9)
        self.once_more(self.history[::-1])
        assert all(w.ended_at for w in self.whole.state.tables[Workflow].values())
        left = {t for t, table in self.lean.state.tables.items() if table}
        assert left <= {Peer}, left


TestManager = ManagerMachine.TestCase
TestManager.settings = THOROUGH


# --- the agent -----------------------------------------------------------------------------------


class Owned:
    """Mixed in before an agent: whatever a manager says touches his own rows only."""

    def hear(self, draft: Draft, origin: Origin, m: Message) -> None:
        super().hear(draft, origin, m)  # type: ignore[misc]
        for row in (row for rows in draft.changes().values() for row in rows):
            assert getattr(row, "manager", None) == origin.uri, f"{origin.uri} changed {row}"
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

    def __init__(self) -> None:
        super().__init__()
        allowance = Allowance(max_queued=3, offers_outstanding=3)
        self.whole = OwnedAgent(allowance, slots=2)
        self.lean = OwnedForgetfulAgent(allowance, slots=2)
        self.requests: list[tuple[str, bytes]] = []
        self.started: set[bytes] = set()

    def heard(self, said: Said) -> None:
        for start in said.act(StartJob):
            assert start.key[1] not in self.started, "one start for each job"
            self.started.add(start.key[1])

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
            self.happens(JobStarted(key=(by, job), at=NOW))
        if upto > 3:
            self.happens(JobExited(key=(by, job), state=AgentJobState.COMPLETED, outputs={"out": OUT}))

    def happens(self, event: JobStarted | JobExited) -> None:
        self.both(lambda side: side.unit(lambda draft: agent_routes.happened(draft, event)))

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

    @rule(by=managers)
    def any_report_request(self, by: str) -> None:
        self.say(JobReportRequest(report_uuid=b"R" * 16), by)

    @rule(
        pick=number,
        state=st.none() | st.sampled_from([s for s in AgentJobState if is_terminal(s)]),
        cls=st.sampled_from(FailureClass),
    )
    def any_event(self, pick: int, state: AgentJobState | None, cls: FailureClass) -> None:
        key = self.job(pick)
        if state is None:
            self.happens(JobStarted(key=key, at=NOW))
        else:
            outputs = {"out": OUT} if state is AgentJobState.COMPLETED else {}
            self.happens(JobExited(key=key, state=state, failure_class=cls, outputs=outputs))

    @rule(draining=st.booleans())
    def drains(self, draining: bool) -> None:
        self.whole.state.draining = self.lean.state.draining = draining

    def teardown(self) -> None:
        """Once every job has ended and is released, memory keeps nothing but memories of kills."""
        self.drains(True)
        for _ in range(len(self.whole.state.tables[AgentJob])):  # each end lets another begin
            for job in list(self.whole.state.tables[AgentJob].values()):
                self.say(JobKill(job_uuid=job.job_uuid), job.manager)
                self.happens(JobExited(key=job.key, state=AgentJobState.KILLED))
        for job in list(self.whole.state.tables[AgentJob].values()):
            assert is_terminal(job.state)
            self.say(JobRelease(job_uuid=job.job_uuid), job.manager)
        self.time_passes(3 * HOUR)
        self.once_more(self.history[::-1])
        self.drains(True)
        self.time_passes(3 * HOUR)
        left: list[Row] = [row for table in self.lean.state.tables.values() for row in table.values()]
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
