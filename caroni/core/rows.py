"""The durable state of manager and agent as frozen rows; ``caroni.model`` has a table for each.

A row is replaced, never changed. Its natural key is what ``key`` gives. ``due`` is when its timer
fires next (wall microseconds, 0 = none): the heap in memory is rebuilt from it at every start.
Peers are named by their verified URI (``caroni://site/role/name``, or ``unsigned:...`` in lab mode).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

import msgspec

from caroni.core.messages import FailureClass, JobStatus, Json, PresenceState
from caroni.core.states import (
    AgentJobState,
    AgentOfferState,
    JobState,
    OfferState,
    RequestState,
    StepState,
    WorkflowState,
)

StepKey = tuple[bytes, int]
OfferKey = tuple[str, bytes]
JobKey = tuple[str, bytes]

NO_JOB: JobKey = ("", b"")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all rows."""

    #: the columns that make the natural key, in order
    KEY: ClassVar[tuple[str, ...]] = ()

    @property
    def key(self) -> Hashable:
        """The natural key: a scalar for one column, else a tuple."""
        raise NotImplementedError  # pragma: no cover


# --- both sides ----------------------------------------------------------------------------------


class Peer(Row, frozen=True, kw_only=True):
    """Somebody we have had a verified message from."""

    KEY = ("uri",)
    uri: str
    first_contact: int = 0
    last_contact: int = 0
    stream_id: int = 0
    sequence: int = 0
    #: sequence numbers below the highest that have not come: lost, or still on their way
    gaps: int = 0
    #: when it was last noticed that this peer's database is older than what it has said
    rolled_back_at: int = 0
    #: what an agent last said of itself, and until when it is away (wall, 0 = it did not say)
    presence: PresenceState = PresenceState.UNSPECIFIED
    away_until: int = 0
    boot_id: bytes = b""
    presence_number: int = 0
    #: when the open requests were last put to it directly
    asked_at: int = 0
    #: when a report of its jobs was last asked for, and when the last full one came
    report_asked_at: int = 0
    reported_at: int = 0

    @property
    def key(self) -> str:
        return self.uri


# --- manager -------------------------------------------------------------------------------------


class Workflow(Row, frozen=True, kw_only=True):
    """One execution of a template revision."""

    KEY = ("workflow_uuid",)
    workflow_uuid: bytes
    state: WorkflowState
    name: str = ""
    template: str = ""
    revision: int = 0
    submitter: str = ""
    submit_uuid: bytes = b""
    paused: bool = False
    watch: bool = False
    kill_on_failure: bool = False
    reserve_all: bool = False
    steps_total: int = 0
    steps_left: int = 0
    failure: str = ""
    created_at: int = 0
    ended_at: int = 0

    @property
    def key(self) -> bytes:
        return self.workflow_uuid


class Step(Row, frozen=True, kw_only=True):
    """One step of one workflow. ``missing`` counts its sources that have no value yet."""

    KEY = ("workflow_uuid", "index")
    workflow_uuid: bytes
    index: int
    name: str
    job_type: str
    state: StepState
    missing: int = 0
    attempt: int = 0
    #: failures that count against ``max_attempts`` / that count against the larger budget
    job_failures: int = 0
    other_failures: int = 0
    request_uuid: bytes = b""
    agent: str = ""
    job_uuid: bytes = b""
    winner_agent: str = ""
    winner_job_uuid: bytes = b""
    #: every job this step ever had, oldest first
    jobs: tuple[JobKey, ...] = ()
    #: agent -> attempt number from which it may serve this step again
    excluded: dict[str, int] = {}
    due: int = 0
    #: at most once, and the database was put back: it may have run already, an operator must say
    doubtful: bool = False
    #: why the current attempt was made, e.g. ``job failed: exit code 3``
    cause: str = ""
    failure: str = ""
    exit_code: int | None = None
    stderr_tail: str = ""
    ready_at: int = 0
    started_at: int = 0
    ended_at: int = 0

    @property
    def key(self) -> StepKey:
        return (self.workflow_uuid, self.index)

    @property
    def current(self) -> JobKey:
        """The job that fulfils this step now, or ``NO_JOB``."""
        return (self.agent, self.job_uuid)

    @property
    def winner(self) -> JobKey:
        """The job whose outputs are this step's, or ``NO_JOB``."""
        return (self.winner_agent, self.winner_job_uuid)


class Request(Row, frozen=True, kw_only=True):
    """One call for proposals, for one attempt of one step."""

    KEY = ("request_uuid",)
    request_uuid: bytes
    workflow_uuid: bytes
    step_index: int
    attempt: int
    state: RequestState
    round: int = 0
    due: int = 0
    #: every offer received, oldest first
    offers: tuple[OfferKey, ...] = ()
    agent: str = ""
    offer_uuid: bytes = b""
    accept_tries: int = 0
    #: agent -> ``reason: message`` of its latest decline
    declines: dict[str, str] = {}
    #: nobody was bound to the broadcast key when it was last sent
    unheard: bool = False
    #: an operator was told that nobody answers
    warned: bool = False
    created_at: int = 0

    @property
    def key(self) -> bytes:
        return self.request_uuid

    @property
    def accepted(self) -> OfferKey:
        """The offer that is being accepted or was accepted."""
        return (self.agent, self.offer_uuid)


class Offer(Row, frozen=True, kw_only=True):
    """An offer as the manager knows it."""

    KEY = ("agent", "offer_uuid")
    agent: str
    offer_uuid: bytes
    request_uuid: bytes
    state: OfferState
    #: wall instant on our own clock: received + ttl
    expires_at: int = 0
    max_offline: int = 0
    queue_depth: int = 0
    job_type_version: str = ""
    received_at: int = 0

    @property
    def key(self) -> OfferKey:
        return (self.agent, self.offer_uuid)


class Job(Row, frozen=True, kw_only=True):
    """A job as the manager knows it: one attempt of a step on one agent."""

    KEY = ("agent", "job_uuid")
    agent: str
    job_uuid: bytes
    workflow_uuid: bytes
    step_index: int
    attempt: int
    request_uuid: bytes
    offer_uuid: bytes
    state: JobState
    stream_id: int = 0
    seq: int = 0
    max_offline: int = 0
    #: reported state ended (manifest known) although outputs may be missing still
    ended: bool = False
    #: the wish to have it stopped: since when, and why; it is confirmed by the job's end
    kill_wanted: bool = False
    kill_asked_at: int = 0
    kill_info: str = ""
    #: the wish to have it suspended; it is confirmed by ``paused``
    pause_wanted: bool = False
    suspect: bool = False
    due: int = 0
    tries: int = 0
    manifest: dict[str, bytes] = {}
    info: str = ""
    progress: float = 0.0
    exit_code: int | None = None
    failure_class: FailureClass = FailureClass.UNSPECIFIED
    stdout_tail: str = ""
    stderr_tail: str = ""
    wall: int = 0
    cpu: int = 0
    max_rss: int = 0
    accepted_at: int = 0
    started_at: int = 0
    ended_at: int = 0

    @property
    def key(self) -> JobKey:
        return (self.agent, self.job_uuid)


class JobOutput(Row, frozen=True, kw_only=True):
    """An output staged under its job, write-once; a value of the workflow only if the job wins."""

    KEY = ("agent", "job_uuid", "name")
    agent: str
    job_uuid: bytes
    name: str
    value: Json

    @property
    def key(self) -> tuple[str, bytes, str]:
        return (self.agent, self.job_uuid, self.name)


class JobLog(Row, frozen=True, kw_only=True):
    """The end of a job's stdout or stderr as its agent has sent it, because an operator wanted to look.

    A question without an answer has ``answered_at < asked_at``; a refused one keeps what was there before.
    """

    KEY = ("agent", "job_uuid", "stream")
    agent: str
    job_uuid: bytes
    stream: str
    asked_at: int = 0
    answered_at: int = 0
    #: why the agent did not send it, in its own words
    refusal: str = ""
    #: when ``data`` came, 0 = never
    at: int = 0
    #: where ``data`` begins in the stream, and how long the stream was, bytes
    offset: int = 0
    total: int = 0
    #: the job has ended and nothing follows
    end: bool = False
    #: the bytes, each as the character of its number (Latin-1)
    data: str = ""

    @property
    def key(self) -> tuple[str, bytes, str]:
        return (self.agent, self.job_uuid, self.stream)


class Flow(Row, frozen=True, kw_only=True):
    """A value of the workflow: an input (no producer) or the winner's output. Write-once."""

    KEY = ("workflow_uuid", "name")
    workflow_uuid: bytes
    name: str
    value: Json
    agent: str = ""
    job_uuid: bytes = b""

    @property
    def key(self) -> tuple[bytes, str]:
        return (self.workflow_uuid, self.name)


class Orphan(Row, frozen=True, kw_only=True):
    """A job that an agent runs for us and that our (restored) database does not know.

    Kept until ``due``, when the agent is told to stop it; a row with ``due`` 0 is history.
    """

    KEY = ("agent", "job_uuid")
    agent: str
    job_uuid: bytes
    #: the request it was for, as far as the agent's message named it
    request_uuid: bytes = b""
    status: JobStatus = JobStatus.UNSPECIFIED
    due: int = 0
    first_at: int = 0
    last_at: int = 0
    info: str = ""

    @property
    def key(self) -> JobKey:
        return (self.agent, self.job_uuid)


# --- agent ---------------------------------------------------------------------------------------


class Availability(Row, frozen=True, kw_only=True):
    """Whether this agent takes work: what its operator and its schedule say. One row."""

    KEY = ("name",)
    name: str = "agent"
    draining: bool = False
    #: when jobs that are left are killed (wall, 0 = never)
    drain_deadline: int = 0
    #: announced absence (wall, 0 = none)
    away_until: int = 0
    #: the next instant at which one of these, or the schedule, changes
    due: int = 0

    @property
    def key(self) -> str:
        return self.name


class AgentOffer(Row, frozen=True, kw_only=True):
    """A reservation this agent made (or a tombstone for one it never heard of)."""

    KEY = ("manager", "offer_uuid")
    manager: str
    offer_uuid: bytes
    request_uuid: bytes
    state: AgentOfferState
    job_type: str = ""
    job_type_version: str = ""
    definition_revision: int = 0
    #: the input names that the request promised
    parameters: tuple[str, ...] = ()
    round: int = 0
    attempt: int = 0
    #: when the reservation ends (wall)
    due: int = 0
    max_runtime: int = 0
    data_class: str = ""
    created_at: int = 0

    @property
    def key(self) -> OfferKey:
        return (self.manager, self.offer_uuid)


class AgentJob(Row, frozen=True, kw_only=True):
    """A job this agent owns (or a tombstone for one that was killed before it was known)."""

    KEY = ("manager", "job_uuid")
    manager: str
    job_uuid: bytes
    offer_uuid: bytes
    request_uuid: bytes
    state: AgentJobState
    job_type: str = ""
    job_type_version: str = ""
    definition_revision: int = 0
    #: the input names to wait for
    parameters: tuple[str, ...] = ()
    attempt: int = 0
    #: inputs that are not here yet
    missing: int = 0
    seq: int = 0
    kill_info: str = ""
    released: bool = False
    due: int = 0
    tries: int = 0
    max_runtime: int = 0
    info: str = ""
    progress: float = 0.0
    exit_code: int | None = None
    failure_class: FailureClass = FailureClass.UNSPECIFIED
    manifest: dict[str, bytes] = {}
    stdout_tail: str = ""
    stderr_tail: str = ""
    wall: int = 0
    cpu: int = 0
    max_rss: int = 0
    created_at: int = 0
    #: when the last input arrived; the queue is FIFO by this
    queued_at: int = 0
    started_at: int = 0
    ended_at: int = 0

    @property
    def key(self) -> JobKey:
        return (self.manager, self.job_uuid)


class AgentInput(Row, frozen=True, kw_only=True):
    """An input that arrived for a job. Write-once: a different second value is an alarm."""

    KEY = ("manager", "job_uuid", "name")
    manager: str
    job_uuid: bytes
    name: str
    value: Json

    @property
    def key(self) -> tuple[str, bytes, str]:
        return (self.manager, self.job_uuid, self.name)


class AgentOutput(Row, frozen=True, kw_only=True):
    """An output of a job that ended well; sent until the manager releases the job."""

    KEY = ("manager", "job_uuid", "name")
    manager: str
    job_uuid: bytes
    name: str
    value: Json

    @property
    def key(self) -> tuple[str, bytes, str]:
        return (self.manager, self.job_uuid, self.name)


#: Rows of each role, in an order in which they may be written and read.
MANAGER_ROWS: tuple[type[Row], ...] = (
    Peer,
    Workflow,
    Step,
    Request,
    Offer,
    Job,
    JobOutput,
    JobLog,
    Flow,
    Orphan,
)
AGENT_ROWS: tuple[type[Row], ...] = (Peer, Availability, AgentOffer, AgentJob, AgentInput, AgentOutput)
