"""``core.messages`` from and to Protobuf: one table, read in both directions.

A message is checked completely when it is read: counts before they are iterated, every uuid 16 bytes,
every text bounded. Field 1 (the inner signature) is written empty and never read.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from caroni.core import messages as m
from caroni.errors import MessageRejected
from caroni.wire import caroni_pb2 as pb
from caroni.wire import fields as f
from caroni.wire.fields import Layout

#: What stands before a message's name in its type URL.
TYPE_PREFIX: Final = "type.googleapis.com/caroni."

#: Names of older builds and what they are called now.
ALIASES: Final = {"JobQueued": "JobAccepted", "JobDataReady": "JobDataAvailable"}

_SITE = Layout(
    m.Site,
    pb.Site,
    f.name("site_identifier"),
    f.uuid("site_uuid", required=False),
    f.text("site_contact", f.MAX_NAME),
)
_USE = Layout(m.ResourceUse, pb.ResourceUse, f.duration("wall"), f.duration("cpu"), f.number("max_rss"))
_REPORTED = Layout(
    m.JobReportEntry,
    pb.JobReportEntry,
    f.uuid("job_uuid"),
    f.enum("job_status", m.JobStatus, always=True),
    f.number("seq"),
)
_STEP = Layout(
    m.StepSummary,
    pb.StepSummary,
    f.name("name", always=True),
    f.name("state", always=True),
    f.name("job_type"),
    f.name("agent"),
    f.number("attempt"),
    f.instant("started_at"),
    f.instant("ended_at"),
    f.text("info"),
)
_WORKFLOW = Layout(
    m.WorkFlowSummary,
    pb.WorkFlowSummary,
    f.uuid("workflow_uuid"),
    f.text("wf_name", f.MAX_NAME),
    f.name("template_name"),
    f.number("template_revision"),
    f.name("state"),
    f.flag("paused"),
    f.mapping("step_counts", f.number("step_counts"), 64),
    f.instant("created_at"),
    f.instant("ended_at"),
    f.text("failure"),
)

_LAYOUTS: Final = (
    Layout(
        m.JobFulfillmentRequest,
        pb.JobFulfillmentRequest,
        f.uuid("request_uuid"),
        f.name("job_type_name", always=True),
        f.parameter_names("parameters"),
        f.number("round", addition=True),
        f.number("attempt", addition=True),
        f.duration("max_runtime", addition=True),
        f.duration("lost_after", addition=True),
        f.flag("at_most_once", addition=True),
        f.name("data_class", addition=True),
        f.number("input_bytes", addition=True),
        f.mapping("hints", f.name("hints"), 64, addition=True),
    ),
    Layout(
        m.JobFulfillmentDecline,
        pb.JobFulfillmentDecline,
        f.uuid("request_uuid"),
        f.part("site", _SITE, always=True),
        f.text("decline_message", always=True),
        f.enum("reason", m.DeclineReason, addition=True),
        f.duration("retry_after", addition=True),
    ),
    Layout(
        m.JobFulfillmentOffer,
        pb.JobFulfillmentOffer,
        f.uuid("request_uuid"),
        f.uuid("offer_uuid"),
        f.part("site", _SITE, always=True),
        f.text("offer_message", always=True),
        f.instant("expiration"),
        f.duration("ttl", addition=True),
        f.number("queue_depth", addition=True),
        f.duration("max_offline", addition=True),
        f.name("job_type_version", addition=True),
    ),
    Layout(
        m.JobFulfillmentOfferAccept,
        pb.JobFulfillmentOfferAccept,
        f.uuid("request_uuid"),
        f.uuid("offer_uuid"),
        f.text("accept_message", always=True),
    ),
    Layout(
        m.JobFulfillmentOfferReject,
        pb.JobFulfillmentOfferReject,
        f.uuid("request_uuid"),
        f.uuid("offer_uuid"),
        f.text("reject_message", always=True),
    ),
    Layout(
        m.JobFulfillmentOfferWithdrawn,
        pb.JobFulfillmentOfferWithdrawn,
        f.uuid("request_uuid"),
        f.uuid("offer_uuid"),
        f.text("reason"),
    ),
    Layout(
        m.JobFulfillmentRequestWithdrawn,
        pb.JobFulfillmentRequestWithdrawn,
        f.uuid("request_uuid"),
        f.name("job_type_name"),
    ),
    Layout(m.JobAccepted, pb.JobAccepted, f.uuid("job_uuid"), f.uuid("offer_uuid")),
    Layout(m.JobStatusRequest, pb.JobStatusRequest, f.uuid("job_uuid")),
    Layout(
        m.JobStatusUpdate,
        pb.JobStatusUpdate,
        f.uuid("job_uuid"),
        f.enum("job_status", m.JobStatus, always=True),
        f.text("status_info", always=True),
        f.number("seq", addition=True),
        f.number("attempt", addition=True),
        f.instant("occurred_at", addition=True),
        f.fraction("progress", addition=True),
        f.text("progress_message", addition=True),
        f.optional_int("exit_code"),
        f.enum("failure_class", m.FailureClass, addition=True),
        f.mapping("manifest", f.digest("manifest"), addition=True),
        f.text("stdout_tail", f.MAX_TAIL, addition=True),
        f.text("stderr_tail", f.MAX_TAIL, addition=True),
        f.part("usage", _USE, addition=True),
    ),
    Layout(m.JobKill, pb.JobKill, f.uuid("job_uuid"), f.text("kill_info", always=True)),
    Layout(
        m.JobDataAvailable,
        pb.JobDataAvailable,
        f.uuid("job_uuid"),
        f.parameters("parameters", pb.JobParameter),
    ),
    Layout(m.JobRelease, pb.JobRelease, f.uuid("job_uuid")),
    Layout(m.JobPause, pb.JobPause, f.uuid("job_uuid")),
    Layout(m.JobResume, pb.JobResume, f.uuid("job_uuid")),
    Layout(
        m.JobLogRequest,
        pb.JobLogRequest,
        f.uuid("job_uuid"),
        f.name("stream", always=True),
        f.number("offset"),
        f.number("max_bytes"),
    ),
    Layout(
        m.JobLogChunk,
        pb.JobLogChunk,
        f.uuid("job_uuid"),
        f.name("stream", always=True),
        f.number("offset"),
        f.blob("data"),
        f.number("total_bytes"),
        f.flag("end"),
        f.text("refusal"),
    ),
    Layout(
        m.AgentPresence,
        pb.AgentPresence,
        f.enum("state", m.PresenceState, always=True),
        f.duration("offline_for"),
        f.duration("draining_for"),
        f.names("job_types"),
        f.uuid("boot_id", required=False),
        f.number("number"),
    ),
    Layout(
        m.JobReportRequest,
        pb.JobReportRequest,
        f.uuid("report_uuid"),
        f.number("seen_stream"),
        f.number("seen_sequence"),
    ),
    Layout(
        m.JobReport,
        pb.JobReport,
        f.uuid("report_uuid"),
        f.uuid("boot_id", required=False),
        f.parts("jobs", _REPORTED, 10_000),
        f.flag("complete"),
        f.number("seen_stream"),
        f.number("seen_sequence"),
    ),
    Layout(
        m.WorkFlowCreate,
        pb.WorkFlowCreate,
        f.name("template_name", always=True),
        f.text("wf_name", f.MAX_NAME, always=True),
        f.parameters("inputs", pb.WorkFlowInput),
        f.uuid("submit_uuid", required=False, addition=True),
        f.flag("watch", addition=True),
        f.enum("on_failure", m.OnFailure, addition=True),
        f.enum("reserve", m.Reserve, addition=True),
    ),
    Layout(
        m.WorkFlowCreated,
        pb.WorkFlowCreated,
        f.uuid("submit_uuid"),
        f.uuid("workflow_uuid"),
        f.number("template_revision"),
    ),
    Layout(
        m.WorkFlowRejected,
        pb.WorkFlowRejected,
        f.uuid("submit_uuid"),
        f.text("reason", always=True),
        f.name("input_name"),
        f.number("line"),
        f.number("column"),
    ),
    Layout(
        m.WorkFlowStatusRequest,
        pb.WorkFlowStatusRequest,
        f.uuid("request_uuid", required=False),
        f.uuid("workflow_uuid", required=False),
        f.flag("explain"),
        f.flag("watch"),
        f.number("page"),
        f.number("page_size"),
    ),
    Layout(
        m.WorkFlowStatusUpdate,
        pb.WorkFlowStatusUpdate,
        f.uuid("request_uuid", required=False),
        f.parts("workflows", _WORKFLOW),
        f.parts("steps", _STEP, 10_000),
        f.parameters("outputs", pb.WorkFlowInput),
        f.text("explanation", f.MAX_EXPLANATION),
        f.number("pages"),
        f.text("error"),
    ),
    Layout(m.WorkFlowCancel, pb.WorkFlowCancel, f.uuid("workflow_uuid"), f.text("reason"), f.names("steps")),
    Layout(m.WorkFlowPause, pb.WorkFlowPause, f.uuid("workflow_uuid"), f.names("steps")),
    Layout(m.WorkFlowResume, pb.WorkFlowResume, f.uuid("workflow_uuid"), f.names("steps")),
    Layout(m.WorkFlowRetry, pb.WorkFlowRetry, f.uuid("workflow_uuid"), f.names("steps")),
    Layout(m.RevocationNotice, pb.RevocationNotice, f.blob("crl_der", always=True)),
)

for _layout in (*_LAYOUTS, _SITE, _USE, _REPORTED, _STEP, _WORKFLOW):
    _layout.check()


def _signature_field(layout: Layout) -> bytes:
    """The inner signature is field 1 and empty: two bytes that come before every other field."""
    return b"\x0a\x00" if "signature" in layout.proto.DESCRIPTOR.fields_by_name else b""


_BY_NAME: Final = {layout.proto.DESCRIPTOR.name: layout for layout in _LAYOUTS}
_READERS: Final = {
    TYPE_PREFIX + name: (layout.proto.FromString, layout.read)
    for name, layout in (_BY_NAME | {old: _BY_NAME[new] for old, new in ALIASES.items()}).items()
}
_WRITERS: Final = {
    layout.struct: (TYPE_PREFIX + layout.proto.DESCRIPTOR.name, _signature_field(layout), layout)
    for layout in _LAYOUTS
}
_BASE: Final = frozenset(
    layout.struct for layout in _LAYOUTS if layout.proto.DESCRIPTOR.GetOptions().Extensions[pb.rule].base
)


def message_name(type_url: str) -> str:
    """The present name of a message type from its type URL.

    Raises:
        MessageRejected: ``E_TYPE``: the prefix is not ours.
    """
    if not type_url.startswith(TYPE_PREFIX):
        raise MessageRejected("E_TYPE", "type URL has a foreign prefix")
    name = type_url[len(TYPE_PREFIX) :]
    return ALIASES.get(name, name)


def decode(type_url: str, value: bytes) -> m.Message:
    """A message from the two fields of its ``Any``.

    Raises:
        MessageRejected: ``E_TYPE`` unknown message, ``E_PARSE`` no such bytes, ``E_LIMIT`` a field is
            out of its bounds.
    """
    reader = _READERS.get(type_url)
    if reader is None:
        raise MessageRejected("E_TYPE", f"unknown message type {type_url[:128]!r}")
    parse, read = reader
    try:
        proto = parse(value)
    except DecodeError:
        raise MessageRejected("E_PARSE", f"{type_url[len(TYPE_PREFIX) :]} cannot be parsed") from None
    message: m.Message = read(proto)
    return message


def encode(message: m.Message, *, base: bool = False) -> tuple[str, bytes]:
    """Type URL and bytes of a message; ``base`` writes only what base-protocol peers know.

    Text for people is cut to its bound.

    Raises:
        MessageRejected: ``E_PARSE``, ``E_LIMIT``: a value is no JSON, or larger than 3 MiB.
        ValueError: a field is out of its bounds, or (``base``) base peers do not know the message or its
            status.
    """
    type_url, signature, layout = _WRITERS[type(message)]
    if base:
        message = _for_base(message)
    proto = layout.build(message, base=base)
    return type_url, signature + proto.SerializeToString(deterministic=True)


def _for_base(message: m.Message) -> m.Message:
    if type(message) not in _BASE:
        raise ValueError(f"base-protocol peers do not know {type(message).__name__}")
    if isinstance(message, m.JobStatusUpdate) and message.job_status > m.JobStatus.PAUSED:
        raise ValueError(f"base-protocol peers do not know the status {message.job_status.name}")
    return message
