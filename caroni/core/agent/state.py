"""What an agent keeps in memory, its settings, and what it asks its executor to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import cast

import msgspec

from caroni.core.draft import Action, Draft, State
from caroni.core.messages import (
    DeclineReason,
    FailureClass,
    JobFulfillmentRequest,
    Json,
    Site,
)
from caroni.core.plan import DAY, HOUR, MINUTE, CwlType
from caroni.core.rows import (
    AGENT_ROWS,
    AgentInput,
    AgentJob,
    AgentOffer,
    AgentOutput,
    Availability,
    JobKey,
    OfferKey,
    Row,
)
from caroni.core.states import AgentJobState, AgentOfferState

#: a process may exist
STARTED = frozenset(
    {AgentJobState.STARTING, AgentJobState.RUNNING, AgentJobState.PAUSED, AgentJobState.KILLING}
)
ENDED = frozenset({AgentJobState.COMPLETED, AgentJobState.FAILED, AgentJobState.KILLED})
_CLOSED_OFFER = frozenset({AgentOfferState.REJECTED, AgentOfferState.EXPIRED, AgentOfferState.REVOKED})

#: declined requests that are kept for each manager
MAX_REMEMBERED = 1000


class JobType(msgspec.Struct, frozen=True, kw_only=True):
    """What the core needs to know of a job definition that this agent holds."""

    name: str
    version: str = ""
    revision: int = 0
    inputs: dict[str, CwlType] = {}
    #: inputs that a request must promise
    required: frozenset[str] = frozenset()
    #: a job of this type is stopped when its manager has been silent for so long (0 = it is kept)
    stop_after: int = 0


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner's policy grants one manager for one job type. Durations in microseconds."""

    rule: str = ""
    max_running: int = 0  #: 0 = no limit of its own
    max_queued: int = 1000
    offers_outstanding: int = 1000
    max_runtime: int = 0  #: 0 = the job definition's own


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How busy the agent is, for the decision on a request."""

    slots: int
    running: int
    queued: int
    #: of the manager who asks
    own_waiting: int
    own_offers: int


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A decision not to offer."""

    reason: DeclineReason
    message: str
    retry_after: int = 0


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """A decision to offer on other terms than the settings say."""

    ttl: int


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Timers and bounds. Durations in microseconds."""

    slots: int = 1
    site: Site = Site()
    offer_ttl: int = HOUR
    max_offline: int = 0
    input_timeout: int = DAY
    result_resend: int = 5 * MINUTE
    result_resend_cap: int = 6 * HOUR
    #: values of one message together, in characters of JSON
    data_chunk: int = 192 * 1024


class AgentPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions that belong to the resource's owner, as plain functions without side effects.

    ``knows(manager)``: whether this manager is allowed anything, so that its word on what we said counts.
    ``window(now)``: start and end of the absence that the schedule has now or next, (0, 0) for none.
    ``allow(manager, job_type)``: what this manager may have, or None (deny unless allowed).
    ``decide(manager, request, job_type, load)``: a refusal, terms of an offer, or None for the usual
    ones; plugins come in here.
    """

    allow: Callable[[str, str], Allowance | None]
    decide: Callable[[str, JobFulfillmentRequest, JobType, Load], Refusal | Terms | None]
    window: Callable[[int], tuple[int, int]] = lambda now: (0, 0)
    knows: Callable[[str], bool] = lambda manager: True


class StartJob(Action, frozen=True, kw_only=True):
    """Launch the job's process (at most once per job_uuid, whatever is repeated)."""

    key: JobKey


class RecoverJob(Action, frozen=True, kw_only=True):
    """Find out what became of a job that was begun earlier, and start it only if it never was."""

    key: JobKey


class SignalKind(StrEnum):
    """What can be done to a process."""

    KILL = "kill"
    PAUSE = "pause"
    RESUME = "resume"


class SignalJob(Action, frozen=True, kw_only=True):
    """Kill, suspend or continue the job's process."""

    key: JobKey
    kind: SignalKind


class ForgetJob(Action, frozen=True, kw_only=True):
    """The job is released: its spool may go after the retention."""

    key: JobKey


class Announce(Action, frozen=True, kw_only=True):
    """Tell the managers at once whether this agent is online, draining or away."""


class SendLog(Action, frozen=True, kw_only=True):
    """Send a part of a job's log, or say why not (transient, the policy is the shell's).

    The job may have left memory when this is done, so its definition is named; no name: there is no such
    job. ``offset`` 0 means the end of the stream.
    """

    key: JobKey
    to: str
    stream: str
    offset: int
    max_bytes: int
    job_type: str = ""
    definition_revision: int = 0
    request_uuid: bytes = b""
    #: the job has ended, and whether it had written anything by then
    ended: bool = False
    wrote: bool = False


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """This process has loaded its rows and begins to work; ``put_back``: they are those of a backup."""

    put_back: bool = False


class Connected(msgspec.Struct, frozen=True, kw_only=True):
    """The broker is in reach (again)."""


class FoundJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that has files of this agent's own making, but no row here, or one that says it never started."""

    key: JobKey
    offer_uuid: bytes
    request_uuid: bytes
    job_type: str
    job_type_version: str = ""
    definition_revision: int = 0
    parameters: tuple[str, ...] = ()
    attempt: int = 0
    max_runtime: int = 0
    #: those of a job that has not begun
    inputs: dict[str, Json] = {}
    paused: bool = False


class JobsFound(msgspec.Struct, frozen=True, kw_only=True):
    """This database is older than what its agent has done: these jobs were begun after it was copied."""

    jobs: tuple[FoundJob, ...]


class JobStarted(msgspec.Struct, frozen=True, kw_only=True):
    """The executor says: the process runs."""

    key: JobKey
    at: int


class JobExited(msgspec.Struct, frozen=True, kw_only=True):
    """The executor says: it is over, and this came out."""

    key: JobKey
    state: AgentJobState
    exit_code: int | None = None
    failure_class: FailureClass = FailureClass.UNSPECIFIED
    info: str = ""
    outputs: dict[str, Json] = {}
    stdout_tail: str = ""
    stderr_tail: str = ""
    wall: int = 0
    cpu: int = 0
    max_rss: int = 0
    started_at: int = 0
    ended_at: int = 0


class AgentState(State):
    """Rows of offers and jobs that still matter, and the queue."""

    def __init__(self, settings: AgentSettings, policy: AgentPolicy) -> None:
        super().__init__(AGENT_ROWS)
        self.settings = settings
        self.policy = policy
        self.job_types: dict[str, JobType] = {}
        #: changes when the host is started anew; set by the shell
        self.boot_id = b""
        #: (manager, request) -> the newest offer for it
        self.offer_of_request: dict[tuple[str, bytes], OfferKey] = {}
        #: the same with all its offers, only while there is more than one in memory
        self.offers_of_request: dict[tuple[str, bytes], dict[OfferKey, None]] = {}
        self.open_offers: dict[str, int] = {}
        #: manager -> requests that were declined for want of room; a hint that a restart may lose
        self.declined_busy: dict[str, dict[bytes, JobFulfillmentRequest]] = {}
        self.running = 0
        self.running_of: dict[str, int] = {}
        #: manager -> jobs that are pending or queued
        self.waiting_of: dict[str, int] = {}
        #: manager -> its queued jobs in the order in which their last input came
        self.queue: dict[str, dict[JobKey, None]] = {}
        #: terminal jobs whose manager has not released them
        self.unreleased: dict[JobKey, None] = {}
        #: jobs that were killed before they were known; kept in memory, for a late accept
        self.tombstones: dict[str, dict[JobKey, None]] = {}

    @property
    def availability(self) -> Availability:
        """What the operator has said of this agent."""
        return self.get(Availability, "agent") or Availability()

    def closed_until(self, now: int) -> int:
        """When the absence ends that lasts now, announced or by the schedule; 0 if there is none."""
        start, end = self.policy.window(now)
        away = self.availability.away_until
        return max(away if away > now else 0, end if start <= now < end else 0)

    def index(self, row_type: type[Row], old: Row | None, new: Row | None) -> None:
        if row_type is AgentOffer:
            self._index_offer(cast("AgentOffer | None", old), cast("AgentOffer | None", new))
        elif row_type is AgentJob:
            self._index_job(cast("AgentJob | None", old), cast("AgentJob | None", new))

    def _index_offer(self, old: AgentOffer | None, new: AgentOffer | None) -> None:
        was = old is not None and old.state is AgentOfferState.OPEN
        now = new is not None and new.state is AgentOfferState.OPEN
        offer = new or old
        assert offer is not None
        if was != now:
            _count(self.open_offers, offer.manager, 1 if now else -1)
        if not offer.request_uuid:
            return
        request = (offer.manager, offer.request_uuid)
        newest = self.offer_of_request.get(request)
        if new is None:
            self._drop_offer(request, offer.key)
        elif newest is None or newest == new.key:
            self.offer_of_request[request] = new.key
        else:  # an earlier one is still here: until it is evicted, or for good if the later one is undone
            others = self.offers_of_request.setdefault(request, {newest: None})
            others[new.key] = None
            self.offer_of_request[request] = self._newest(others)

    def _newest(self, offers: Iterable[OfferKey]) -> OfferKey:
        found = [offer for key in offers if (offer := self.get(AgentOffer, key)) is not None]
        return max(found, key=lambda offer: (offer.round, offer.created_at, offer.offer_uuid)).key

    def _drop_offer(self, request: tuple[str, bytes], key: OfferKey) -> None:
        several = self.offers_of_request.get(request)
        if several is None:
            if self.offer_of_request.get(request) == key:
                del self.offer_of_request[request]
            return
        several.pop(key, None)
        self.offer_of_request[request] = self._newest(several)
        if len(several) == 1:
            del self.offers_of_request[request]

    def _index_job(self, old: AgentJob | None, new: AgentJob | None) -> None:
        job = new or old
        assert job is not None
        manager, key = job.manager, job.key
        was = old.state if old is not None else None
        now = new.state if new is not None else None
        if was is not now:
            started = (now in STARTED) - (was in STARTED)
            if started:
                self.running += started
                _count(self.running_of, manager, started)
            waiting = (now in _WAITING) - (was in _WAITING)
            if waiting:
                _count(self.waiting_of, manager, waiting)
            if now is AgentJobState.QUEUED:
                self._enqueue(cast("AgentJob", new))
            elif was is AgentJobState.QUEUED:
                queue = self.queue[manager]
                del queue[key]
                if not queue:
                    del self.queue[manager]
        if new is not None and new.state in ENDED and not new.released:
            self.unreleased[key] = None
        else:
            self.unreleased.pop(key, None)
        if not job.offer_uuid:
            if new is not None:
                self.tombstones.setdefault(manager, {})[key] = None
            else:
                self.tombstones[manager].pop(key, None)
                if not self.tombstones[manager]:
                    del self.tombstones[manager]

    def remember(self, manager: str, request: JobFulfillmentRequest) -> None:
        """Keep a request that was declined for want of room, to offer when there is some."""
        requests = self.declined_busy.setdefault(manager, {})
        requests.pop(request.request_uuid, None)
        if len(requests) >= MAX_REMEMBERED:
            del requests[next(iter(requests))]
        requests[request.request_uuid] = request

    def forget(self, manager: str, request_uuid: bytes) -> None:
        """Drop such a request."""
        requests = self.declined_busy.get(manager)
        if requests is not None:
            requests.pop(request_uuid, None)
            if not requests:
                del self.declined_busy[manager]

    def _enqueue(self, job: AgentJob) -> None:
        queue = self.queue.setdefault(job.manager, {})
        last = next(reversed(queue), None)
        before = self.get(AgentJob, last) if last is not None else None
        queue[job.key] = None
        if before is not None and before.queued_at > job.queued_at:  # loaded, or undone
            jobs = [cast("AgentJob", self.get(AgentJob, k)) for k in queue]
            jobs.sort(key=lambda j: j.queued_at)
            self.queue[job.manager] = {j.key: None for j in jobs}


_WAITING = frozenset({AgentJobState.PENDING, AgentJobState.QUEUED})


def _count(counts: dict[str, int], name: str, by: int) -> None:
    value = counts.get(name, 0) + by
    if value:
        counts[name] = value
    else:
        counts.pop(name, None)


class AgentDraft(Draft):
    """A draft over an agent's state."""

    state: AgentState

    @property
    def settings(self) -> AgentSettings:
        """The agent's settings."""
        return self.state.settings


def evictable(state: AgentState, touched: Iterable[Row]) -> list[tuple[type[Row], object]]:
    """Rows that only the database needs to keep after a commit; a late message loads them again."""
    gone: list[tuple[type[Row], object]] = []
    for row in touched:
        if isinstance(row, AgentOffer) and row.state in _CLOSED_OFFER:
            gone.append((AgentOffer, row.key))
        elif isinstance(row, AgentJob) and row.offer_uuid and row.state in ENDED and row.released:
            job_type = state.job_types.get(row.job_type)
            names = {*row.parameters, *(job_type.inputs if job_type else ())}
            gone.extend((AgentInput, (*row.key, name)) for name in names)
            gone.extend((AgentOutput, (*row.key, name)) for name in row.manifest)
            gone.append((AgentOffer, (row.manager, row.offer_uuid)))
            gone.append((AgentJob, row.key))
    return gone
