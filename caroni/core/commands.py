"""What an operator may ask of a daemon on its own host, through the command table of its database.

A command is decided like a message and recorded as done in the same unit of work, so it has its effect
once. Its row holds it as JSON, tagged with its ``kind``; ids are base64 there.
"""

from __future__ import annotations

import msgspec


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Base of all commands."""


# --- to a manager ----------------------------------------------------------------------------------


class SubmitWorkflow(Command, frozen=True, kw_only=True, tag="submit"):
    """Begin a workflow on behalf of this manager's own operator. ``inputs`` are JSON texts by name."""

    template: str
    #: of the template; 0 means the newest
    revision: int = 0
    #: for people; the template's if empty
    name: str = ""
    inputs: dict[str, str] = {}
    kill_on_failure: bool = False
    reserve_all: bool = False


class RequestLog(Command, frozen=True, kw_only=True, tag="request-log"):
    """Ask a job's agent for the last ``max_bytes`` of one of its streams (0: as many as it sends at once)."""

    peer: str
    job_uuid: bytes
    stream: str = "stderr"
    max_bytes: int = 0


class CancelWorkflow(Command, frozen=True, kw_only=True, tag="cancel"):
    """Stop a workflow, or (with ``steps``) let only these steps fail."""

    workflow_uuid: bytes
    steps: tuple[str, ...] = ()
    reason: str = ""


class PauseWorkflow(Command, frozen=True, kw_only=True, tag="pause"):
    """Ask for nothing new; with ``steps``, suspend the jobs of these steps."""

    workflow_uuid: bytes
    steps: tuple[str, ...] = ()


class ResumeWorkflow(Command, frozen=True, kw_only=True, tag="resume"):
    """Undo a pause, of the workflow or of the jobs of these steps."""

    workflow_uuid: bytes
    steps: tuple[str, ...] = ()


class RetrySteps(Command, frozen=True, kw_only=True, tag="retry"):
    """Try held steps, and those that wait for a next attempt, at once: all, or the named ones."""

    workflow_uuid: bytes
    steps: tuple[str, ...] = ()


# --- to either side --------------------------------------------------------------------------------


class KillJob(Command, frozen=True, kw_only=True, tag="kill-job"):
    """Stop one job. ``peer`` is the other side: the job's agent, or the job's manager."""

    peer: str
    job_uuid: bytes
    reason: str = ""


class PauseJob(Command, frozen=True, kw_only=True, tag="pause-job"):
    """Suspend one job."""

    peer: str
    job_uuid: bytes


class ResumeJob(Command, frozen=True, kw_only=True, tag="resume-job"):
    """Let one suspended job go on."""

    peer: str
    job_uuid: bytes


# --- to an agent -----------------------------------------------------------------------------------


class Drain(Command, frozen=True, kw_only=True, tag="drain"):
    """Take nothing new, finish what is there; kill what is left after ``deadline`` (0 = never)."""

    deadline: int = 0


class Undrain(Command, frozen=True, kw_only=True, tag="undrain"):
    """Take work again."""


class GoOffline(Command, frozen=True, kw_only=True, tag="go-offline"):
    """Announce an absence of this duration: managers wait with giving jobs up."""

    duration: int


class GoOnline(Command, frozen=True, kw_only=True, tag="go-online"):
    """End an announced absence."""


# --- to the daemon around either side ---------------------------------------------------------------


class ReplayQuarantined(Command, frozen=True, kw_only=True, tag="replay-quarantined"):
    """Try again what was set aside under these keys; it passes every check as if it came now."""

    keys: tuple[bytes, ...]


class DropQuarantined(Command, frozen=True, kw_only=True, tag="drop-quarantined"):
    """Forget what was set aside under these keys."""

    keys: tuple[bytes, ...]


class ReloadTrust(Command, frozen=True, kw_only=True, tag="reload-trust"):
    """Read the trust directory and the bans again, all or nothing."""


class Prune(Command, frozen=True, kw_only=True, tag="prune"):
    """Remove now what has had its time."""


DaemonCommand = ReplayQuarantined | DropQuarantined
ManagerCommand = (
    SubmitWorkflow
    | CancelWorkflow
    | PauseWorkflow
    | ResumeWorkflow
    | RetrySteps
    | KillJob
    | PauseJob
    | ResumeJob
    | RequestLog
)
AgentCommand = KillJob | PauseJob | ResumeJob | Drain | Undrain | GoOffline | GoOnline
