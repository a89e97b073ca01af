"""What matters of a message, in a few words; whoever shows them makes the words of others safe."""

from __future__ import annotations

from caroni.core.messages import (
    AgentPresence,
    JobAccepted,
    JobDataAvailable,
    JobFulfillmentDecline,
    JobFulfillmentOffer,
    JobFulfillmentOfferAccept,
    JobFulfillmentOfferReject,
    JobFulfillmentOfferWithdrawn,
    JobFulfillmentRequest,
    JobKill,
    JobLogChunk,
    JobLogRequest,
    JobReport,
    JobStatusUpdate,
    Message,
    WorkFlowCancel,
    WorkFlowCreate,
    WorkFlowCreated,
    WorkFlowPause,
    WorkFlowRejected,
    WorkFlowResume,
    WorkFlowRetry,
    WorkFlowStatusUpdate,
)

#: characters of one value of a job
MAX_VALUE = 80


def details(message: Message) -> str:
    """What matters of a message, in a few words; empty where its type says it all."""
    match message:
        case JobFulfillmentRequest():
            again = f", attempt {message.attempt}" if message.attempt > 1 else ""
            return f"round {message.round}{again}"
        case JobFulfillmentOffer():
            return f"for {message.ttl // 1_000_000} s"
        case JobFulfillmentOfferAccept():
            return message.accept_message
        case JobFulfillmentOfferReject():
            return message.reject_message
        case JobFulfillmentOfferWithdrawn():
            return message.reason
        case JobFulfillmentDecline():
            reason = message.reason.name.lower().replace("_", " ") if message.reason else ""
            return f"{reason} {message.decline_message}".strip()
        case JobAccepted():
            return f"job {message.job_uuid.hex()[:8]}"
        case JobDataAvailable():
            return ", ".join(f"{name}={value[:MAX_VALUE]}" for name, value in message.parameters.items())
        case JobStatusUpdate():
            return _status(message)
        case JobKill():
            return message.kill_info
        case AgentPresence():
            return f"{message.state.name.lower()}, {len(message.job_types)} job types"
        case JobLogRequest():
            return f"{message.stream}, {message.max_bytes} bytes"
        case JobLogChunk():
            return f"{message.stream}, {len(message.data)} of {message.total_bytes} bytes"
        case JobReport():
            return f"{len(message.jobs)} jobs"
        case _:
            return _of_workflow(message)


def _status(message: JobStatusUpdate) -> str:
    code = f" exit {message.exit_code}" if message.exit_code else ""
    info = f" {message.status_info}" if message.status_info and not code else ""
    return f"{message.job_status.name.lower()}{code}{info}"


def _of_workflow(message: Message) -> str:
    match message:
        case WorkFlowCreate():
            return message.template_name
        case WorkFlowCreated():
            return f"workflow {message.workflow_uuid.hex()[:8]}"
        case WorkFlowRejected():
            return message.reason
        case WorkFlowStatusUpdate():
            return message.workflows[0].state if message.workflows else message.error
        case WorkFlowCancel():
            return message.reason or ", ".join(message.steps)
        case WorkFlowPause() | WorkFlowResume() | WorkFlowRetry():
            return ", ".join(message.steps)
        case _:
            return ""


def brief(name: str) -> str:
    """A message type's name where there is little room: ``OfferAccept``, ``FlowCreate``."""
    return name.replace("JobFulfillment", "").replace("WorkFlow", "Flow").replace("Job", "")


def short_name(uri: str) -> str:
    """A participant where there is little room: ``g1``, ``all agents``, ``unsigned AbCdEf``."""
    if uri.startswith("caroni://*/"):
        return f"all {uri.split('/')[3]}s"
    if uri.startswith("unsigned:"):
        return f"unsigned {uri.rpartition('.')[2][:6]}"
    return uri.rpartition("/")[2] or "?"
