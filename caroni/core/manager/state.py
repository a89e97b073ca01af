"""What a manager keeps in memory, and the settings its decisions take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import msgspec

from caroni.core.draft import Action, Dice, Draft, Mark, State
from caroni.core.messages import JobStatus
from caroni.core.plan import DAY, HOUR, MINUTE, SECOND, Plan, PlanStep
from caroni.core.rows import (
    MANAGER_ROWS,
    Flow,
    Job,
    JobKey,
    JobLog,
    JobOutput,
    Offer,
    Orphan,
    Request,
    Row,
    Step,
    StepKey,
    Workflow,
)
from caroni.core.states import JobState, OfferState, RequestState, StepState

LIVE_JOB = frozenset({JobState.PENDING, JobState.QUEUED, JobState.RUNNING, JobState.PAUSED})
GIVEN_UP_JOB = frozenset({JobState.LOST, JobState.SUPERSEDED})
LIVE_STEP = frozenset({StepState.FULFILLING, StepState.FULFILLED, StepState.RUNNING})
#: the live states by their status
LIVE_STATUS = {
    JobStatus.PENDING: JobState.PENDING,
    JobStatus.QUEUED: JobState.QUEUED,
    JobStatus.RUNNING: JobState.RUNNING,
    JobStatus.PAUSED: JobState.PAUSED,
}
OPEN_REQUEST = frozenset({RequestState.OPEN, RequestState.ACCEPTING})


class ManagerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Timers and bounds. Durations in microseconds."""

    max_open_requests: int = 500
    #: requests opened in one unit of work: agents begin while the rest is still being asked for
    requests_per_unit: int = 200
    rebroadcast: int = 30 * SECOND
    rebroadcast_cap: int = 30 * MINUTE
    #: 0: the first good offer wins at once; else the best of the offers within this window
    offer_window: int = 0
    #: how long an offer of an agent that failed this step waits for somebody else's
    exclusion_wait: int = 5 * SECOND
    #: for how many further attempts an agent that failed a step is set aside
    exclusion_attempts: int = 2
    accept_resend: int = 10 * SECOND
    accept_resend_cap: int = 10 * MINUTE
    accept_tries: int = 12
    #: first question after an unanswered delivery of inputs, then doubled up to the cap
    poll: int = 60 * SECOND
    poll_cap: int = 10 * MINUTE
    suspect_after: int = 15 * MINUTE
    #: for steps that do not say how long they wait for a silent agent
    lost_after: int = 40 * MINUTE
    #: never give an agent longer than this, whatever it asks for
    max_offline_cap: int = 7 * DAY
    kill_resend: int = MINUTE
    kill_resend_cap: int = HOUR
    #: an operator is told when nobody has answered a request for so long
    unanswered_after: int = 2 * MINUTE
    #: after a restore, jobs that are not known are left alone for so long
    restore_hold: int = DAY
    #: stop telling an agent about a job that was given up after this long
    abandon_after: int = 30 * DAY
    #: values of one message together, in characters of JSON
    data_chunk: int = 192 * 1024


class ManagerPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions that belong to the site, as plain functions without side effects.

    ``may_serve(agent, job_type, data_class)``: whether this agent's offers may be accepted.
    ``may_submit(submitter, template)``: whether this sender may start this template.
    ``may_control(sender, workflow)``: whether this sender may see and steer the workflow.
    ``knows(agent)``: whether this agent is cleared for anything, so that its word on what we said counts.
    ``rank(request, offer)``: higher is better; only used within an offer window.
    """

    may_serve: Callable[[str, str, str], bool]
    may_submit: Callable[[str, str], bool]
    may_control: Callable[[str, Workflow], bool]
    rank: Callable[[Request, Offer], float]
    knows: Callable[[str], bool] = lambda agent: True


class AnswerStatus(Action, frozen=True, kw_only=True):
    """Read the store and answer a submitter's status request (reading decides nothing)."""

    to: str
    request_uuid: bytes
    workflow_uuid: bytes = b""
    explain: bool = False
    page: int = 0
    page_size: int = 0
    error: str = ""


class StatusChanged(Action, frozen=True, kw_only=True):
    """A watched workflow has changed: push its status, best effort, newest only."""

    workflow_uuid: bytes
    to: str


class Unheard(msgspec.Struct, frozen=True, kw_only=True):
    """The broker says that nobody was bound to the key of these calls for proposals."""

    requests: tuple[bytes, ...]


class Unreachable(msgspec.Struct, frozen=True, kw_only=True):
    """The broker says that a base peer has no queue: it has ended, and comes back under another name."""

    peer: str


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """This process has loaded its rows and begins to work; ``put_back``: they are those of a backup."""

    put_back: bool = False


class ManagerState(State):
    """Rows of live workflows, and what is looked up other than by key."""

    def __init__(
        self,
        settings: ManagerSettings,
        policy: ManagerPolicy,
        started_at: int,
    ) -> None:
        super().__init__(MANAGER_ROWS)
        self.settings = settings
        self.policy = policy
        #: who this manager is; the submitter of what its own operator starts. Set by the shell
        self.uri = ""
        #: when this process began to consume: silence before that proves nothing
        self.started_at = started_at
        #: (template, revision) -> plan; filled by the shell before a decision needs it
        self.plans: dict[tuple[str, int], Plan] = {}
        #: template -> newest revision
        self.revisions: dict[str, int] = {}
        #: workflow -> indexes of its steps that can be asked for, in the order they became so
        self.ready: dict[bytes, dict[int, None]] = {}
        self.open_requests = 0
        self.submits: dict[tuple[str, bytes], bytes] = {}
        self.requests_by_type: dict[str, dict[bytes, None]] = {}
        self.jobs_by_agent: dict[str, dict[JobKey, None]] = {}
        #: until when jobs that are not known may be ours, because the database was put back
        self.hold_until = 0
        #: when it was put back, by the clock of then
        self.restored_at = 0
        self.orphans_of: dict[str, int] = {}

    def index(self, row_type: type[Row], old: Row | None, new: Row | None) -> None:
        if row_type is Step:
            self._index_step(cast("Step | None", old), cast("Step | None", new))
        elif row_type is Request:
            self._index_request(cast("Request | None", old), cast("Request | None", new))
        elif row_type is Job:
            self._index_job(cast("Job | None", old), cast("Job | None", new))
        elif row_type is Orphan:
            orphan = cast("Orphan", new or old)
            count = self.orphans_of.get(orphan.agent, 0) + (new is not None) - (old is not None)
            if count:
                self.orphans_of[orphan.agent] = count
            else:
                self.orphans_of.pop(orphan.agent, None)
        elif row_type is Workflow:
            workflow = cast("Workflow | None", new or old)
            if workflow is not None and workflow.submit_uuid:
                key = (workflow.submitter, workflow.submit_uuid)
                if new is None:
                    self.submits.pop(key, None)
                else:
                    self.submits[key] = workflow.workflow_uuid

    def _is_ready(self, step: Step | None) -> bool:
        if step is None or step.state is not StepState.WAITING or step.due:
            return False
        if step.missing == 0:
            return True
        workflow = self.get(Workflow, step.workflow_uuid)
        return workflow is not None and workflow.reserve_all

    def _index_step(self, old: Step | None, new: Step | None) -> None:
        if new is not None and self._is_ready(new):
            self.ready.setdefault(new.workflow_uuid, {}).setdefault(new.index)
            return
        step = new or old
        if step is not None and (waiting := self.ready.get(step.workflow_uuid)) is not None:
            waiting.pop(step.index, None)
            if not waiting:
                del self.ready[step.workflow_uuid]

    def _index_request(self, old: Request | None, new: Request | None) -> None:
        was = old is not None and old.state in OPEN_REQUEST
        now = new is not None and new.state in OPEN_REQUEST
        if was == now:
            return
        self.open_requests += 1 if now else -1
        request = new or old
        assert request is not None
        step = self.get(Step, (request.workflow_uuid, request.step_index))
        if step is not None:
            by_type = self.requests_by_type.setdefault(step.job_type, {})
            if now:
                by_type[request.request_uuid] = None
            else:
                by_type.pop(request.request_uuid, None)
                if not by_type:
                    del self.requests_by_type[step.job_type]

    def _index_job(self, old: Job | None, new: Job | None) -> None:
        job = new or old
        assert job is not None
        live = new is not None and new.state in LIVE_JOB
        jobs = self.jobs_by_agent.setdefault(job.agent, {})
        if live:
            jobs[job.key] = None
        else:
            jobs.pop(job.key, None)
        if not jobs:
            del self.jobs_by_agent[job.agent]

    def plan(self, workflow: Workflow) -> Plan:
        """The plan that this workflow pins; the shell has loaded it with the workflow."""
        return self.plans[workflow.template, workflow.revision]


class ManagerDraft(Draft):
    """A draft over a manager's state, with the look-ups its decisions share."""

    state: ManagerState

    def __init__(self, state: ManagerState, now: int, dice: Dice) -> None:
        super().__init__(state, now, dice)
        self._before = {"hold_until": state.hold_until, "restored_at": state.restored_at}

    def put_back(self) -> None:
        """Remember that the database was put back now; undone with the rest."""
        self.state.restored_at = self.now
        self.facts.append(("restored_at", str(self.now)))

    def hold_until(self, instant: int) -> None:
        """Let the hold after a restore end then; undone with the rest."""
        self.state.hold_until = instant
        self.facts.append(("hold_until", str(instant)))

    def rollback(self, mark: Mark | None = None) -> None:
        super().rollback(mark)
        now = self._before | {name: int(value) for name, value in self.facts if name in self._before}
        self.state.hold_until, self.state.restored_at = now["hold_until"], now["restored_at"]

    @property
    def settings(self) -> ManagerSettings:
        """The manager's settings."""
        return self.state.settings

    def workflow(self, workflow_uuid: bytes) -> Workflow | None:
        """The workflow, if it is in memory."""
        return self.get(Workflow, workflow_uuid)

    def step(self, key: StepKey) -> Step | None:
        """The step, if it is in memory."""
        return self.get(Step, key)

    def plan_step(self, step: Step) -> PlanStep:
        """The plan's side of a step."""
        workflow = self.get(Workflow, step.workflow_uuid)
        assert workflow is not None, "a step is loaded with its workflow"
        return self.state.plan(workflow).steps[step.index]

    def may_have_gone_on(self, request: Request) -> bool:
        """Whether a job may have come of this in the time that a restore has lost, whatever our rows say."""
        hold_until = self.state.hold_until
        # rows in memory have moved with a clock that was set since, those in the database have not
        restored_at = max(self.state.restored_at, hold_until - self.settings.restore_hold)
        return self.now < hold_until and request.created_at < restored_at

    def changed(self, workflow: Workflow) -> None:
        """Have a watched workflow's status pushed."""
        if workflow.watch and workflow.submitter:
            self.act(StatusChanged(workflow_uuid=workflow.workflow_uuid, to=workflow.submitter))


def evictable(state: ManagerState, touched: Iterable[Row]) -> list[tuple[type[Row], object]]:
    """Rows that only the database needs to keep after a commit; a late message loads them again.

    ``touched`` are the rows that the unit of work changed or loaded.
    """
    gone: list[tuple[type[Row], object]] = []
    #: workflows of which something may have ended -> whether their own row is among the touched
    ended: dict[bytes, bool] = {}
    for row in touched:
        kind = type(row)
        if kind is Job:
            job = cast("Job", row)
            if not _is_settled(job):
                continue
            step = state.get(Step, (job.workflow_uuid, job.step_index))
            if step is None or step.state in _ENDED_STEP:
                gone.extend(_job_parts(state, step, job) if step is None else _finished_parts(state, step))
                ended.setdefault(job.workflow_uuid, False)
        elif kind is Step:
            step = cast("Step", row)
            if step.state in _ENDED_STEP:
                gone.extend(_finished_parts(state, step))
                ended.setdefault(step.workflow_uuid, False)
        elif kind is Request:
            request = cast("Request", row)
            if request.state in OPEN_REQUEST:
                continue
            step = state.get(Step, (request.workflow_uuid, request.step_index))
            if step is None or step.state in _ENDED_STEP:
                gone.extend(_request_parts(request))
                ended.setdefault(request.workflow_uuid, False)
            elif request.state in _FRUITLESS_REQUEST and step.request_uuid != request.request_uuid:
                gone.extend(_request_parts(request))
        elif kind is Offer:
            offer = cast("Offer", row)
            if offer.state in _CLOSED_OFFER and not _is_open(state.get(Request, offer.request_uuid)):
                gone.append((Offer, offer.key))
        elif kind is Orphan:
            if not cast("Orphan", row).due:
                gone.append((Orphan, row.key))
        elif kind is JobLog:
            gone.append((JobLog, row.key))
        elif kind is Workflow:
            ended[cast("Workflow", row).workflow_uuid] = True
    for workflow_uuid, touched_itself in ended.items():
        workflow = state.get(Workflow, workflow_uuid)
        if workflow is not None and workflow.ended_at:
            gone.extend(_ended_workflow(state, workflow, values=touched_itself))
    return gone


_ENDED_STEP = frozenset({StepState.COMPLETED, StepState.FAILED, StepState.CANCELLED})
_ENDED_JOB = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.KILLED})
_FRUITLESS_REQUEST = frozenset({RequestState.DEAD, RequestState.WITHDRAWN})
_CLOSED_OFFER = frozenset({OfferState.REJECTED, OfferState.EXPIRED, OfferState.GONE})


def _is_open(request: Request | None) -> bool:
    return request is not None and request.state in OPEN_REQUEST


def _request_parts(request: Request) -> list[tuple[type[Row], object]]:
    return [(Request, request.key), *((Offer, offer) for offer in request.offers)]


def _is_settled(job: Job) -> bool:
    """Whether nothing will be said to the agent about this job unless it speaks first."""
    return job.state in _ENDED_JOB or (job.state in GIVEN_UP_JOB and not job.due)


def _job_parts(state: ManagerState, step: Step | None, job: Job) -> list[tuple[type[Row], object]]:
    if not _is_settled(job):
        return []
    workflow = state.get(Workflow, job.workflow_uuid)
    names: Iterable[str] = job.manifest
    if step is not None and workflow is not None:  # what was staged is declared, in the manifest or not
        names = state.plan(workflow).steps[step.index].outputs
    return [(Job, job.key), *((JobOutput, (*job.key, name)) for name in names)]


def _finished_parts(state: ManagerState, step: Step) -> list[tuple[type[Row], object]]:
    gone: list[tuple[type[Row], object]] = []
    # a request that led to no job: an at-most-once step was held because of a restore
    current = state.get(Request, step.request_uuid)
    if current is not None and current.state in _FRUITLESS_REQUEST:
        gone.extend(_request_parts(current))
    for key in step.jobs:
        job = state.get(Job, key)
        if job is None:
            continue
        request = state.get(Request, job.request_uuid)
        if request is not None and request.state not in OPEN_REQUEST:
            gone.extend(_request_parts(request))
        gone.extend(_job_parts(state, step, job))
    return gone


def _ended_workflow(
    state: ManagerState, workflow: Workflow, *, values: bool
) -> list[tuple[type[Row], object]]:
    """All of it but the steps whose agents still have to hear that their job is not wanted.

    This is what a start would load, also of a workflow that was gone from memory when a late job brought a
    part of it back. Nobody is given a value of an ended workflow: all go with the unit that ends it
    (``values``).
    """
    gone: list[tuple[type[Row], object]] = []
    plan, uuid, steps = state.plan(workflow), workflow.workflow_uuid, state.tables[Step]
    settled = True
    for index in range(len(plan.steps)):
        if (step := cast("Step | None", steps.get((uuid, index)))) is None:
            continue
        if any((job := state.get(Job, k)) is not None and not _is_settled(job) for k in step.jobs):
            settled = False
        else:
            gone.extend(_finished_parts(state, step))
            gone.append((Step, step.key))
    if values:
        gone.extend((Flow, (uuid, f"{step.name}/{name}")) for step in plan.steps for name in step.outputs)
        gone.extend((Flow, (uuid, item.name)) for item in plan.inputs)
    if settled:
        gone.append((Workflow, workflow.key))
    return gone
