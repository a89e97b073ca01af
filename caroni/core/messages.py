"""Every message of the protocol as a frozen value, in the order of the conversation.

These are what decisions see; ``caroni.wire.codec`` is the only place that knows their bytes.
Ids are 16 bytes. Durations and instants are integer microseconds (an instant is wall time since the
epoch and is for people only). A *value* is JSON text (``str``), so that null, large integers, arrays
and File objects survive unchanged from one end to the other.

Source: the protocol's sections 1 (base messages) and 2 (additions); see ``docs/protocol.md``.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

#: A value on its way: JSON text.
Json = str


class JobStatus(IntEnum):
    """``JobStatus`` of the wire; 7 and 8 are additions and never go to base-protocol peers."""

    UNSPECIFIED = 0
    PENDING = 1
    QUEUED = 2
    RUNNING = 3
    COMPLETED = 4
    FAILED = 5
    PAUSED = 6
    KILLED = 7
    UNKNOWN = 8


class FailureClass(IntEnum):
    """Why a job failed. JOB, INPUT and TIMEOUT count against a step's attempts; the rest do not."""

    UNSPECIFIED = 0
    JOB = 1
    INPUT = 2
    TIMEOUT = 3
    AGENT = 4
    LOST = 5
    REJECTED = 6
    POLICY = 7


class DeclineReason(IntEnum):
    """Why an agent does not offer."""

    UNSPECIFIED = 0
    NO_JOB_TYPE = 1
    PARAMETERS = 2
    POLICY = 3
    BUSY = 4
    DRAINING = 5
    SCHEDULE = 6
    RESOURCES = 7


class PresenceState(IntEnum):
    """What an agent says of itself."""

    UNSPECIFIED = 0
    ONLINE = 1
    OFFLINE = 2
    DRAINING = 3


class OnFailure(IntEnum):
    """What happens to running siblings when a step has failed for good."""

    UNSPECIFIED = 0
    DRAIN = 1
    KILL = 2


class Reserve(IntEnum):
    """Which steps are asked for: those that are ready, or every static step at once."""

    UNSPECIFIED = 0
    READY = 1
    ALL = 2


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all messages."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Who offers; ``site_identifier`` must equal the certificate's site."""

    site_identifier: str = ""
    site_uuid: bytes = b""
    site_contact: str = ""


# --- call for proposals --------------------------------------------------------------------------


class JobFulfillmentRequest(Message, frozen=True, kw_only=True):
    """Manager to agents (broadcast, repeatable): who can run this job type with these parameters?"""

    request_uuid: bytes
    job_type_name: str
    parameters: tuple[str, ...] = ()
    round: int = 0
    attempt: int = 0
    max_runtime: int = 0
    lost_after: int = 0
    at_most_once: bool = False
    data_class: str = ""
    input_bytes: int = 0
    hints: dict[str, str] = {}


class JobFulfillmentDecline(Message, frozen=True, kw_only=True):
    """Agent to manager: not me, and why; ``retry_after`` is when asking again makes sense."""

    request_uuid: bytes
    site: Site = Site()
    decline_message: str = ""
    reason: DeclineReason = DeclineReason.UNSPECIFIED
    retry_after: int = 0


class JobFulfillmentOffer(Message, frozen=True, kw_only=True):
    """Agent to manager: a reservation that holds for ``ttl``."""

    request_uuid: bytes
    offer_uuid: bytes
    site: Site = Site()
    offer_message: str = ""
    expiration: int = 0
    ttl: int = 0
    queue_depth: int = 0
    max_offline: int = 0
    job_type_version: str = ""


class JobFulfillmentOfferAccept(Message, frozen=True, kw_only=True):
    """Manager to agent: you have the job. Repeating it yields the same job."""

    request_uuid: bytes
    offer_uuid: bytes
    accept_message: str = ""


class JobFulfillmentOfferReject(Message, frozen=True, kw_only=True):
    """Manager to agent: not taken (or no longer wanted); frees the reservation, kills its job."""

    request_uuid: bytes
    offer_uuid: bytes
    reject_message: str = ""


class JobFulfillmentOfferWithdrawn(Message, frozen=True, kw_only=True):
    """Agent to manager: the accepted offer cannot be honoured; bid elsewhere."""

    request_uuid: bytes
    offer_uuid: bytes
    reason: str = ""


class JobFulfillmentRequestWithdrawn(Message, frozen=True, kw_only=True):
    """Manager to agents (broadcast): free your reservations for this request."""

    request_uuid: bytes
    job_type_name: str = ""


# --- job -----------------------------------------------------------------------------------------


class JobAccepted(Message, frozen=True, kw_only=True):
    """Agent to manager: the job exists; ``job_uuid`` is the version-5 uuid of the offer's."""

    job_uuid: bytes
    offer_uuid: bytes


class JobStatusRequest(Message, frozen=True, kw_only=True):
    """Manager to agent: tell me of this job."""

    job_uuid: bytes


class ResourceUse(msgspec.Struct, frozen=True, kw_only=True):
    """What a job used: wall and processor time in microseconds, largest resident set in bytes."""

    wall: int = 0
    cpu: int = 0
    max_rss: int = 0


class JobStatusUpdate(Message, frozen=True, kw_only=True):
    """Agent to manager: the job's state, ordered by (stream of the sender, ``seq``)."""

    job_uuid: bytes
    job_status: JobStatus
    status_info: str = ""
    seq: int = 0
    attempt: int = 0
    occurred_at: int = 0
    progress: float = 0.0
    progress_message: str = ""
    exit_code: int | None = None
    failure_class: FailureClass = FailureClass.UNSPECIFIED
    #: output name -> SHA-256 of its JSON text; a completed job is effective once all are here
    manifest: dict[str, bytes] = {}
    stdout_tail: str = ""
    stderr_tail: str = ""
    usage: ResourceUse | None = None


class JobKill(Message, frozen=True, kw_only=True):
    """Manager to agent: stop this job (a job that has ended reports how it ended)."""

    job_uuid: bytes
    kill_info: str = ""


class JobDataAvailable(Message, frozen=True, kw_only=True):
    """Both ways: inputs to a job, or outputs of one; in several messages, in any order."""

    job_uuid: bytes
    parameters: dict[str, Json] = {}


class JobRelease(Message, frozen=True, kw_only=True):
    """Manager to agent: the result is safe here; forget the job after its retention."""

    job_uuid: bytes


class JobPause(Message, frozen=True, kw_only=True):
    """Manager to agent: suspend the job."""

    job_uuid: bytes


class JobResume(Message, frozen=True, kw_only=True):
    """Manager to agent: let the suspended job go on."""

    job_uuid: bytes


class JobLogRequest(Message, frozen=True, kw_only=True):
    """Manager to agent: ``max_bytes`` of a stream, where policy allows it.

    From ``offset`` on; 0 asks for its end.
    """

    job_uuid: bytes
    stream: str = "stderr"
    offset: int = 0
    max_bytes: int = 0


class JobLogChunk(Message, frozen=True, kw_only=True):
    """Agent to manager: a part of a job's stdout or stderr; transient, not in the ledger.

    ``end``: the job has ended and nothing follows. With ``refusal`` there is no part, but why not.
    """

    job_uuid: bytes
    stream: str = "stderr"
    offset: int = 0
    data: bytes = b""
    total_bytes: int = 0
    end: bool = False
    refusal: str = ""


class AgentPresence(Message, frozen=True, kw_only=True):
    """Agent to managers (broadcast): online, offline for a while, draining; not in inbox or ledger."""

    state: PresenceState
    offline_for: int = 0
    draining_for: int = 0
    job_types: tuple[str, ...] = ()
    boot_id: bytes = b""
    number: int = 0


class JobReportRequest(Message, frozen=True, kw_only=True):
    """Manager to agent: report every live job of mine (after a restart or a restore)."""

    report_uuid: bytes
    #: the highest sequence seen of the agent, and its stream: it has said that much, or was put back
    seen_stream: int = 0
    seen_sequence: int = 0


class JobReportEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One live job in a report."""

    job_uuid: bytes
    job_status: JobStatus
    seq: int = 0


class JobReport(Message, frozen=True, kw_only=True):
    """Agent to manager: all live jobs of this manager; a job missing from a full report is unknown."""

    report_uuid: bytes
    boot_id: bytes = b""
    jobs: tuple[JobReportEntry, ...] = ()
    complete: bool = False
    #: the same of the manager
    seen_stream: int = 0
    seen_sequence: int = 0


# --- workflow ------------------------------------------------------------------------------------


class WorkFlowCreate(Message, frozen=True, kw_only=True):
    """Submitter to manager: run this template; ``submit_uuid`` makes the repeat harmless."""

    template_name: str
    wf_name: str = ""
    inputs: dict[str, Json] = {}
    submit_uuid: bytes = b""
    watch: bool = False
    on_failure: OnFailure = OnFailure.UNSPECIFIED
    reserve: Reserve = Reserve.UNSPECIFIED


class WorkFlowCreated(Message, frozen=True, kw_only=True):
    """Manager to submitter: accepted under this uuid."""

    submit_uuid: bytes
    workflow_uuid: bytes
    template_revision: int = 0


class WorkFlowRejected(Message, frozen=True, kw_only=True):
    """Manager to submitter: refused, with the template's line and column or the input at fault."""

    submit_uuid: bytes
    reason: str
    input_name: str = ""
    line: int = 0
    column: int = 0


class WorkFlowStatusRequest(Message, frozen=True, kw_only=True):
    """Submitter to manager: one workflow, or (without a uuid) a page of the sender's own."""

    request_uuid: bytes = b""
    workflow_uuid: bytes = b""
    explain: bool = False
    watch: bool = False
    page: int = 0
    page_size: int = 0


class StepSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One step in a status: where it ran and how often."""

    name: str
    state: str
    job_type: str = ""
    agent: str = ""
    attempt: int = 0
    started_at: int = 0
    ended_at: int = 0
    info: str = ""


class WorkFlowSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One workflow in a status."""

    workflow_uuid: bytes
    wf_name: str = ""
    template_name: str = ""
    template_revision: int = 0
    state: str = ""
    paused: bool = False
    #: step state -> how many steps are in it
    step_counts: dict[str, int] = {}
    created_at: int = 0
    ended_at: int = 0
    failure: str = ""


class WorkFlowStatusUpdate(Message, frozen=True, kw_only=True):
    """Manager to submitter: state, counts, outputs, first failure; also pushed to a watcher."""

    request_uuid: bytes = b""
    workflows: tuple[WorkFlowSummary, ...] = ()
    steps: tuple[StepSummary, ...] = ()
    outputs: dict[str, Json] = {}
    explanation: str = ""
    pages: int = 0
    error: str = ""


class WorkFlowCancel(Message, frozen=True, kw_only=True):
    """Submitter or operator to manager: stop the workflow, or only these steps; answered by a status."""

    workflow_uuid: bytes
    reason: str = ""
    steps: tuple[str, ...] = ()


class WorkFlowPause(Message, frozen=True, kw_only=True):
    """Submitter or operator to manager: ask for nothing new, running jobs end; of steps: suspend the jobs."""

    workflow_uuid: bytes
    steps: tuple[str, ...] = ()


class WorkFlowResume(Message, frozen=True, kw_only=True):
    """Submitter or operator to manager: go on, or let the jobs of these steps go on."""

    workflow_uuid: bytes
    steps: tuple[str, ...] = ()


class WorkFlowRetry(Message, frozen=True, kw_only=True):
    """Submitter or operator to manager: try held steps, and those that wait for a next attempt, at once."""

    workflow_uuid: bytes
    steps: tuple[str, ...] = ()


class RevocationNotice(Message, frozen=True, kw_only=True):
    """Anyone to anyone: a certificate revocation list, which authenticates itself."""

    crl_der: bytes
