import datetime

from google.protobuf import any_pb2 as _any_pb2
from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    MANAGER: _ClassVar[Role]
    AGENT: _ClassVar[Role]
    SUBMITTER: _ClassVar[Role]
    OPERATOR: _ClassVar[Role]

class Recipient(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECIPIENT_UNSPECIFIED: _ClassVar[Recipient]
    SINGLE: _ClassVar[Recipient]
    BROADCAST: _ClassVar[Recipient]

class RepeatedBy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPEATED_BY_UNSPECIFIED: _ClassVar[RepeatedBy]
    NOTHING: _ClassVar[RepeatedBy]
    THE_QUESTION: _ClassVar[RepeatedBy]
    REQUEST_OPEN: _ClassVar[RepeatedBy]
    ACCEPT_SENT: _ClassVar[RepeatedBy]
    JOB_POLL: _ClassVar[RepeatedBy]
    JOB_UNRELEASED: _ClassVar[RepeatedBy]
    KILL_UNANSWERED: _ClassVar[RepeatedBy]
    PRESENCE: _ClassVar[RepeatedBy]
    THE_SENDER: _ClassVar[RepeatedBy]

class JobStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATUS_UNSPECIFICED: _ClassVar[JobStatus]
    JOB_STATUS_PENDING: _ClassVar[JobStatus]
    JOB_STATUS_QUEUED: _ClassVar[JobStatus]
    JOB_STATUS_RUNNING: _ClassVar[JobStatus]
    JOB_STATUS_COMPLETED: _ClassVar[JobStatus]
    JOB_STATUS_FAILED: _ClassVar[JobStatus]
    JOB_STATUS_PAUSED: _ClassVar[JobStatus]
    JOB_STATUS_KILLED: _ClassVar[JobStatus]
    JOB_STATUS_UNKNOWN: _ClassVar[JobStatus]

class FailureClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAILURE_CLASS_UNSPECIFIED: _ClassVar[FailureClass]
    FAILURE_CLASS_JOB: _ClassVar[FailureClass]
    FAILURE_CLASS_INPUT: _ClassVar[FailureClass]
    FAILURE_CLASS_TIMEOUT: _ClassVar[FailureClass]
    FAILURE_CLASS_AGENT: _ClassVar[FailureClass]
    FAILURE_CLASS_LOST: _ClassVar[FailureClass]
    FAILURE_CLASS_REJECTED: _ClassVar[FailureClass]
    FAILURE_CLASS_POLICY: _ClassVar[FailureClass]

class DeclineReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECLINE_REASON_UNSPECIFIED: _ClassVar[DeclineReason]
    DECLINE_REASON_NO_JOB_TYPE: _ClassVar[DeclineReason]
    DECLINE_REASON_PARAMETERS: _ClassVar[DeclineReason]
    DECLINE_REASON_POLICY: _ClassVar[DeclineReason]
    DECLINE_REASON_BUSY: _ClassVar[DeclineReason]
    DECLINE_REASON_DRAINING: _ClassVar[DeclineReason]
    DECLINE_REASON_SCHEDULE: _ClassVar[DeclineReason]
    DECLINE_REASON_RESOURCES: _ClassVar[DeclineReason]

class PresenceState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRESENCE_STATE_UNSPECIFIED: _ClassVar[PresenceState]
    PRESENCE_STATE_ONLINE: _ClassVar[PresenceState]
    PRESENCE_STATE_OFFLINE: _ClassVar[PresenceState]
    PRESENCE_STATE_DRAINING: _ClassVar[PresenceState]

class OnFailure(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_FAILURE_UNSPECIFIED: _ClassVar[OnFailure]
    ON_FAILURE_DRAIN: _ClassVar[OnFailure]
    ON_FAILURE_KILL: _ClassVar[OnFailure]

class Reserve(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESERVE_UNSPECIFIED: _ClassVar[Reserve]
    RESERVE_READY: _ClassVar[Reserve]
    RESERVE_ALL: _ClassVar[Reserve]
ROLE_UNSPECIFIED: Role
MANAGER: Role
AGENT: Role
SUBMITTER: Role
OPERATOR: Role
RECIPIENT_UNSPECIFIED: Recipient
SINGLE: Recipient
BROADCAST: Recipient
REPEATED_BY_UNSPECIFIED: RepeatedBy
NOTHING: RepeatedBy
THE_QUESTION: RepeatedBy
REQUEST_OPEN: RepeatedBy
ACCEPT_SENT: RepeatedBy
JOB_POLL: RepeatedBy
JOB_UNRELEASED: RepeatedBy
KILL_UNANSWERED: RepeatedBy
PRESENCE: RepeatedBy
THE_SENDER: RepeatedBy
JOB_STATUS_UNSPECIFICED: JobStatus
JOB_STATUS_PENDING: JobStatus
JOB_STATUS_QUEUED: JobStatus
JOB_STATUS_RUNNING: JobStatus
JOB_STATUS_COMPLETED: JobStatus
JOB_STATUS_FAILED: JobStatus
JOB_STATUS_PAUSED: JobStatus
JOB_STATUS_KILLED: JobStatus
JOB_STATUS_UNKNOWN: JobStatus
FAILURE_CLASS_UNSPECIFIED: FailureClass
FAILURE_CLASS_JOB: FailureClass
FAILURE_CLASS_INPUT: FailureClass
FAILURE_CLASS_TIMEOUT: FailureClass
FAILURE_CLASS_AGENT: FailureClass
FAILURE_CLASS_LOST: FailureClass
FAILURE_CLASS_REJECTED: FailureClass
FAILURE_CLASS_POLICY: FailureClass
DECLINE_REASON_UNSPECIFIED: DeclineReason
DECLINE_REASON_NO_JOB_TYPE: DeclineReason
DECLINE_REASON_PARAMETERS: DeclineReason
DECLINE_REASON_POLICY: DeclineReason
DECLINE_REASON_BUSY: DeclineReason
DECLINE_REASON_DRAINING: DeclineReason
DECLINE_REASON_SCHEDULE: DeclineReason
DECLINE_REASON_RESOURCES: DeclineReason
PRESENCE_STATE_UNSPECIFIED: PresenceState
PRESENCE_STATE_ONLINE: PresenceState
PRESENCE_STATE_OFFLINE: PresenceState
PRESENCE_STATE_DRAINING: PresenceState
ON_FAILURE_UNSPECIFIED: OnFailure
ON_FAILURE_DRAIN: OnFailure
ON_FAILURE_KILL: OnFailure
RESERVE_UNSPECIFIED: Reserve
RESERVE_READY: Reserve
RESERVE_ALL: Reserve
RULE_FIELD_NUMBER: _ClassVar[int]
rule: _descriptor.FieldDescriptor
PART_FIELD_NUMBER: _ClassVar[int]
part: _descriptor.FieldDescriptor

class Rule(_message.Message):
    __slots__ = ("senders", "recipient", "lifetime_seconds", "repeated_by", "base")
    SENDERS_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REPEATED_BY_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    senders: _containers.RepeatedScalarFieldContainer[Role]
    recipient: Recipient
    lifetime_seconds: int
    repeated_by: RepeatedBy
    base: bool
    def __init__(self, senders: _Optional[_Iterable[_Union[Role, str]]] = ..., recipient: _Optional[_Union[Recipient, str]] = ..., lifetime_seconds: _Optional[int] = ..., repeated_by: _Optional[_Union[RepeatedBy, str]] = ..., base: _Optional[bool] = ...) -> None: ...

class Signature(_message.Message):
    __slots__ = ("signator_certificate", "payload_signature")
    SIGNATOR_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    signator_certificate: str
    payload_signature: str
    def __init__(self, signator_certificate: _Optional[str] = ..., payload_signature: _Optional[str] = ...) -> None: ...

class CaroniEnvelope(_message.Message):
    __slots__ = ("signature", "payload", "signed_header", "co_signatures")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SIGNED_HEADER_FIELD_NUMBER: _ClassVar[int]
    CO_SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    payload: _any_pb2.Any
    signed_header: bytes
    co_signatures: _containers.RepeatedCompositeFieldContainer[Signature]
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., payload: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., signed_header: _Optional[bytes] = ..., co_signatures: _Optional[_Iterable[_Union[Signature, _Mapping]]] = ...) -> None: ...

class SignedHeader(_message.Message):
    __slots__ = ("version", "federation", "message_id", "sender", "audience", "sent_at", "expires_at", "payload_type", "payload_sha256", "payload_length", "in_reply_to", "conversation_id", "stream_id", "sequence", "reply_topic", "reply_key", "certificate_sha256", "known_certificates")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_SHA256_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_LENGTH_FIELD_NUMBER: _ClassVar[int]
    IN_REPLY_TO_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REPLY_TOPIC_FIELD_NUMBER: _ClassVar[int]
    REPLY_KEY_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_SHA256_FIELD_NUMBER: _ClassVar[int]
    KNOWN_CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    version: int
    federation: str
    message_id: bytes
    sender: str
    audience: _containers.RepeatedScalarFieldContainer[str]
    sent_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    payload_type: str
    payload_sha256: bytes
    payload_length: int
    in_reply_to: bytes
    conversation_id: bytes
    stream_id: bytes
    sequence: int
    reply_topic: str
    reply_key: EncryptionKey
    certificate_sha256: bytes
    known_certificates: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, version: _Optional[int] = ..., federation: _Optional[str] = ..., message_id: _Optional[bytes] = ..., sender: _Optional[str] = ..., audience: _Optional[_Iterable[str]] = ..., sent_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., payload_type: _Optional[str] = ..., payload_sha256: _Optional[bytes] = ..., payload_length: _Optional[int] = ..., in_reply_to: _Optional[bytes] = ..., conversation_id: _Optional[bytes] = ..., stream_id: _Optional[bytes] = ..., sequence: _Optional[int] = ..., reply_topic: _Optional[str] = ..., reply_key: _Optional[_Union[EncryptionKey, _Mapping]] = ..., certificate_sha256: _Optional[bytes] = ..., known_certificates: _Optional[_Iterable[bytes]] = ...) -> None: ...

class EncryptionKey(_message.Message):
    __slots__ = ("suite", "key_id", "public_key", "not_after")
    SUITE_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    suite: int
    key_id: bytes
    public_key: bytes
    not_after: _timestamp_pb2.Timestamp
    def __init__(self, suite: _Optional[int] = ..., key_id: _Optional[bytes] = ..., public_key: _Optional[bytes] = ..., not_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class EncryptedPayload(_message.Message):
    __slots__ = ("suite", "recipient_key_id", "ciphertext")
    SUITE_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    suite: int
    recipient_key_id: bytes
    ciphertext: bytes
    def __init__(self, suite: _Optional[int] = ..., recipient_key_id: _Optional[bytes] = ..., ciphertext: _Optional[bytes] = ...) -> None: ...

class Bundle(_message.Message):
    __slots__ = ("signature", "items")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    items: _containers.RepeatedCompositeFieldContainer[BundledMessage]
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., items: _Optional[_Iterable[_Union[BundledMessage, _Mapping]]] = ...) -> None: ...

class BundledMessage(_message.Message):
    __slots__ = ("message_id", "conversation_id", "in_reply_to", "payload")
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    IN_REPLY_TO_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    message_id: bytes
    conversation_id: bytes
    in_reply_to: bytes
    payload: _any_pb2.Any
    def __init__(self, message_id: _Optional[bytes] = ..., conversation_id: _Optional[bytes] = ..., in_reply_to: _Optional[bytes] = ..., payload: _Optional[_Union[_any_pb2.Any, _Mapping]] = ...) -> None: ...

class RevocationNotice(_message.Message):
    __slots__ = ("crl_der",)
    CRL_DER_FIELD_NUMBER: _ClassVar[int]
    crl_der: bytes
    def __init__(self, crl_der: _Optional[bytes] = ...) -> None: ...

class Site(_message.Message):
    __slots__ = ("site_identifier", "site_uuid", "site_contact")
    SITE_IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    SITE_UUID_FIELD_NUMBER: _ClassVar[int]
    SITE_CONTACT_FIELD_NUMBER: _ClassVar[int]
    site_identifier: str
    site_uuid: bytes
    site_contact: str
    def __init__(self, site_identifier: _Optional[str] = ..., site_uuid: _Optional[bytes] = ..., site_contact: _Optional[str] = ...) -> None: ...

class JobParameter(_message.Message):
    __slots__ = ("key", "value", "json_value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    JSON_VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    json_value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ..., json_value: _Optional[str] = ...) -> None: ...

class WorkFlowInput(_message.Message):
    __slots__ = ("key", "value", "json_value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    JSON_VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    json_value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ..., json_value: _Optional[str] = ...) -> None: ...

class JobType(_message.Message):
    __slots__ = ("job_type_name", "required_parameters", "optional_parameters")
    JOB_TYPE_NAME_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    job_type_name: str
    required_parameters: _containers.RepeatedScalarFieldContainer[str]
    optional_parameters: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job_type_name: _Optional[str] = ..., required_parameters: _Optional[_Iterable[str]] = ..., optional_parameters: _Optional[_Iterable[str]] = ...) -> None: ...

class ResourceUse(_message.Message):
    __slots__ = ("wall", "cpu", "max_rss")
    WALL_FIELD_NUMBER: _ClassVar[int]
    CPU_FIELD_NUMBER: _ClassVar[int]
    MAX_RSS_FIELD_NUMBER: _ClassVar[int]
    wall: _duration_pb2.Duration
    cpu: _duration_pb2.Duration
    max_rss: int
    def __init__(self, wall: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., cpu: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_rss: _Optional[int] = ...) -> None: ...

class JobReportEntry(_message.Message):
    __slots__ = ("job_uuid", "job_status", "seq")
    JOB_UUID_FIELD_NUMBER: _ClassVar[int]
    JOB_STATUS_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    job_uuid: bytes
    job_status: JobStatus
    seq: int
    def __init__(self, job_uuid: _Optional[bytes] = ..., job_status: _Optional[_Union[JobStatus, str]] = ..., seq: _Optional[int] = ...) -> None: ...

class StepSummary(_message.Message):
    __slots__ = ("name", "state", "job_type", "agent", "attempt", "started_at", "ended_at", "info")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: str
    job_type: str
    agent: str
    attempt: int
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    info: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[str] = ..., job_type: _Optional[str] = ..., agent: _Optional[str] = ..., attempt: _Optional[int] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., info: _Optional[str] = ...) -> None: ...

class WorkFlowSummary(_message.Message):
    __slots__ = ("workflow_uuid", "wf_name", "template_name", "template_revision", "state", "paused", "step_counts", "created_at", "ended_at", "failure")
    class StepCountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    WORKFLOW_UUID_FIELD_NUMBER: _ClassVar[int]
    WF_NAME_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_NAME_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_REVISION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    STEP_COUNTS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    workflow_uuid: bytes
    wf_name: str
    template_name: str
    template_revision: int
    state: str
    paused: bool
    step_counts: _containers.ScalarMap[str, int]
    created_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    failure: str
    def __init__(self, workflow_uuid: _Optional[bytes] = ..., wf_name: _Optional[str] = ..., template_name: _Optional[str] = ..., template_revision: _Optional[int] = ..., state: _Optional[str] = ..., paused: _Optional[bool] = ..., step_counts: _Optional[_Mapping[str, int]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., failure: _Optional[str] = ...) -> None: ...

class JobFulfillmentRequest(_message.Message):
    __slots__ = ("signature", "request_uuid", "job_type_name", "parameters", "round", "attempt", "max_runtime", "lost_after", "at_most_once", "data_class", "input_bytes", "hints")
    class HintsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_UUID_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNTIME_FIELD_NUMBER: _ClassVar[int]
    LOST_AFTER_FIELD_NUMBER: _ClassVar[int]
    AT_MOST_ONCE_FIELD_NUMBER: _ClassVar[int]
    DATA_CLASS_FIELD_NUMBER: _ClassVar[int]
    INPUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    HINTS_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    request_uuid: bytes
    job_type_name: str
    parameters: _containers.RepeatedCompositeFieldContainer[JobParameter]
    round: int
    attempt: int
    max_runtime: _duration_pb2.Duration
    lost_after: _duration_pb2.Duration
    at_most_once: bool
    data_class: str
    input_bytes: int
    hints: _containers.ScalarMap[str, str]
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., request_uuid: _Optional[bytes] = ..., job_type_name: _Optional[str] = ..., parameters: _Optional[_Iterable[_Union[JobParameter, _Mapping]]] = ..., round: _Optional[int] = ..., attempt: _Optional[int] = ..., max_runtime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lost_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., at_most_once: _Optional[bool] = ..., data_class: _Optional[str] = ..., input_bytes: _Optional[int] = ..., hints: _Optional[_Mapping[str, str]] = ...) -> None: ...

class JobFulfillmentDecline(_message.Message):
    __slots__ = ("signature", "request_uuid", "site", "decline_message", "reason", "retry_after")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_UUID_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    DECLINE_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    request_uuid: bytes
    site: Site
    decline_message: str
    reason: DeclineReason
    retry_after: _duration_pb2.Duration
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., request_uuid: _Optional[bytes] = ..., site: _Optional[_Union[Site, _Mapping]] = ..., decline_message: _Optional[str] = ..., reason: _Optional[_Union[DeclineReason, str]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class JobFulfillmentOffer(_message.Message):
    __slots__ = ("signature", "request_uuid", "offer_uuid", "site", "offer_message", "expiration", "ttl", "queue_depth", "max_offline", "job_type_version")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_UUID_FIELD_NUMBER: _ClassVar[int]
    OFFER_UUID_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    OFFER_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXPIRATION_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    MAX_OFFLINE_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_VERSION_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    request_uuid: bytes
    offer_uuid: bytes
    site: Site
    offer_message: str
    expiration: _timestamp_pb2.Timestamp
    ttl: _duration_pb2.Duration
    queue_depth: int
    max_offline: _duration_pb2.Duration
    job_type_version: str
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., request_uuid: _Optional[bytes] = ..., offer_uuid: _Optional[bytes] = ..., site: _Optional[_Union[Site, _Mapping]] = ..., offer_message: _Optional[str] = ..., expiration: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., queue_depth: _Optional[int] = ..., max_offline: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., job_type_version: _Optional[str] = ...) -> None: ...

class JobFulfillmentOfferAccept(_message.Message):
    __slots__ = ("signature", "request_uuid", "offer_uuid", "accept_message")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_UUID_FIELD_NUMBER: _ClassVar[int]
    OFFER_UUID_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    request_uuid: bytes
    offer_uuid: bytes
    accept_message: str
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., request_uuid: _Optional[bytes] = ..., offer_uuid: _Optional[bytes] = ..., accept_message: _Optional[str] = ...) -> None: ...

class JobFulfillmentOfferReject(_message.Message):
    __slots__ = ("signature", "request_uuid", "offer_uuid", "reject_message")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_UUID_FIELD_NUMBER: _ClassVar[int]
    OFFER_UUID_FIELD_NUMBER: _ClassVar[int]
    REJECT_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    request_uuid: bytes
    offer_uuid: bytes
    reject_message: str
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., request_uuid: _Optional[bytes] = ..., offer_uuid: _Optional[bytes] = ..., reject_message: _Optional[str] = ...) -> None: ...

class JobFulfillmentOfferWithdrawn(_message.Message):
    __slots__ = ("signature", "request_uuid", "offer_uuid", "reason")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_UUID_FIELD_NUMBER: _ClassVar[int]
    OFFER_UUID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    request_uuid: bytes
    offer_uuid: bytes
    reason: str
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., request_uuid: _Optional[bytes] = ..., offer_uuid: _Optional[bytes] = ..., reason: _Optional[str] = ...) -> None: ...

class JobFulfillmentRequestWithdrawn(_message.Message):
    __slots__ = ("signature", "request_uuid", "job_type_name")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_UUID_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_NAME_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    request_uuid: bytes
    job_type_name: str
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., request_uuid: _Optional[bytes] = ..., job_type_name: _Optional[str] = ...) -> None: ...

class JobAccepted(_message.Message):
    __slots__ = ("signature", "job_uuid", "offer_uuid")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    JOB_UUID_FIELD_NUMBER: _ClassVar[int]
    OFFER_UUID_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    job_uuid: bytes
    offer_uuid: bytes
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., job_uuid: _Optional[bytes] = ..., offer_uuid: _Optional[bytes] = ...) -> None: ...

class JobStatusRequest(_message.Message):
    __slots__ = ("signature", "job_uuid")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    JOB_UUID_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    job_uuid: bytes
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., job_uuid: _Optional[bytes] = ...) -> None: ...

class JobStatusUpdate(_message.Message):
    __slots__ = ("signature", "job_uuid", "job_status", "status_info", "seq", "attempt", "occurred_at", "progress", "progress_message", "exit_code", "failure_class", "manifest", "stdout_tail", "stderr_tail", "usage")
    class ManifestEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    JOB_UUID_FIELD_NUMBER: _ClassVar[int]
    JOB_STATUS_FIELD_NUMBER: _ClassVar[int]
    STATUS_INFO_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_CLASS_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    STDOUT_TAIL_FIELD_NUMBER: _ClassVar[int]
    STDERR_TAIL_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    job_uuid: bytes
    job_status: JobStatus
    status_info: str
    seq: int
    attempt: int
    occurred_at: _timestamp_pb2.Timestamp
    progress: float
    progress_message: str
    exit_code: int
    failure_class: FailureClass
    manifest: _containers.ScalarMap[str, bytes]
    stdout_tail: str
    stderr_tail: str
    usage: ResourceUse
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., job_uuid: _Optional[bytes] = ..., job_status: _Optional[_Union[JobStatus, str]] = ..., status_info: _Optional[str] = ..., seq: _Optional[int] = ..., attempt: _Optional[int] = ..., occurred_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., progress: _Optional[float] = ..., progress_message: _Optional[str] = ..., exit_code: _Optional[int] = ..., failure_class: _Optional[_Union[FailureClass, str]] = ..., manifest: _Optional[_Mapping[str, bytes]] = ..., stdout_tail: _Optional[str] = ..., stderr_tail: _Optional[str] = ..., usage: _Optional[_Union[ResourceUse, _Mapping]] = ...) -> None: ...

class JobKill(_message.Message):
    __slots__ = ("signature", "job_uuid", "kill_info")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    JOB_UUID_FIELD_NUMBER: _ClassVar[int]
    KILL_INFO_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    job_uuid: bytes
    kill_info: str
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., job_uuid: _Optional[bytes] = ..., kill_info: _Optional[str] = ...) -> None: ...

class JobDataAvailable(_message.Message):
    __slots__ = ("signature", "job_uuid", "parameters")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    JOB_UUID_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    job_uuid: bytes
    parameters: _containers.RepeatedCompositeFieldContainer[JobParameter]
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., job_uuid: _Optional[bytes] = ..., parameters: _Optional[_Iterable[_Union[JobParameter, _Mapping]]] = ...) -> None: ...

class JobRelease(_message.Message):
    __slots__ = ("signature", "job_uuid")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    JOB_UUID_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    job_uuid: bytes
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., job_uuid: _Optional[bytes] = ...) -> None: ...

class JobPause(_message.Message):
    __slots__ = ("signature", "job_uuid")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    JOB_UUID_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    job_uuid: bytes
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., job_uuid: _Optional[bytes] = ...) -> None: ...

class JobResume(_message.Message):
    __slots__ = ("signature", "job_uuid")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    JOB_UUID_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    job_uuid: bytes
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., job_uuid: _Optional[bytes] = ...) -> None: ...

class JobLogRequest(_message.Message):
    __slots__ = ("signature", "job_uuid", "stream", "offset", "max_bytes")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    JOB_UUID_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    job_uuid: bytes
    stream: str
    offset: int
    max_bytes: int
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., job_uuid: _Optional[bytes] = ..., stream: _Optional[str] = ..., offset: _Optional[int] = ..., max_bytes: _Optional[int] = ...) -> None: ...

class JobLogChunk(_message.Message):
    __slots__ = ("signature", "job_uuid", "stream", "offset", "data", "total_bytes", "end", "refusal")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    JOB_UUID_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    job_uuid: bytes
    stream: str
    offset: int
    data: bytes
    total_bytes: int
    end: bool
    refusal: str
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., job_uuid: _Optional[bytes] = ..., stream: _Optional[str] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., total_bytes: _Optional[int] = ..., end: _Optional[bool] = ..., refusal: _Optional[str] = ...) -> None: ...

class AgentPresence(_message.Message):
    __slots__ = ("signature", "state", "offline_for", "draining_for", "job_types", "boot_id", "number")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_FOR_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FOR_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPES_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    state: PresenceState
    offline_for: _duration_pb2.Duration
    draining_for: _duration_pb2.Duration
    job_types: _containers.RepeatedScalarFieldContainer[str]
    boot_id: bytes
    number: int
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., state: _Optional[_Union[PresenceState, str]] = ..., offline_for: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., draining_for: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., job_types: _Optional[_Iterable[str]] = ..., boot_id: _Optional[bytes] = ..., number: _Optional[int] = ...) -> None: ...

class JobReportRequest(_message.Message):
    __slots__ = ("signature", "report_uuid", "seen_stream", "seen_sequence")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    REPORT_UUID_FIELD_NUMBER: _ClassVar[int]
    SEEN_STREAM_FIELD_NUMBER: _ClassVar[int]
    SEEN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    report_uuid: bytes
    seen_stream: int
    seen_sequence: int
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., report_uuid: _Optional[bytes] = ..., seen_stream: _Optional[int] = ..., seen_sequence: _Optional[int] = ...) -> None: ...

class JobReport(_message.Message):
    __slots__ = ("signature", "report_uuid", "boot_id", "jobs", "complete", "seen_stream", "seen_sequence")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    REPORT_UUID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    SEEN_STREAM_FIELD_NUMBER: _ClassVar[int]
    SEEN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    report_uuid: bytes
    boot_id: bytes
    jobs: _containers.RepeatedCompositeFieldContainer[JobReportEntry]
    complete: bool
    seen_stream: int
    seen_sequence: int
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., report_uuid: _Optional[bytes] = ..., boot_id: _Optional[bytes] = ..., jobs: _Optional[_Iterable[_Union[JobReportEntry, _Mapping]]] = ..., complete: _Optional[bool] = ..., seen_stream: _Optional[int] = ..., seen_sequence: _Optional[int] = ...) -> None: ...

class WorkFlowCreate(_message.Message):
    __slots__ = ("signature", "template_name", "wf_name", "inputs", "submit_uuid", "watch", "on_failure", "reserve")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_NAME_FIELD_NUMBER: _ClassVar[int]
    WF_NAME_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    SUBMIT_UUID_FIELD_NUMBER: _ClassVar[int]
    WATCH_FIELD_NUMBER: _ClassVar[int]
    ON_FAILURE_FIELD_NUMBER: _ClassVar[int]
    RESERVE_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    template_name: str
    wf_name: str
    inputs: _containers.RepeatedCompositeFieldContainer[WorkFlowInput]
    submit_uuid: bytes
    watch: bool
    on_failure: OnFailure
    reserve: Reserve
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., template_name: _Optional[str] = ..., wf_name: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[WorkFlowInput, _Mapping]]] = ..., submit_uuid: _Optional[bytes] = ..., watch: _Optional[bool] = ..., on_failure: _Optional[_Union[OnFailure, str]] = ..., reserve: _Optional[_Union[Reserve, str]] = ...) -> None: ...

class WorkFlowCreated(_message.Message):
    __slots__ = ("signature", "submit_uuid", "workflow_uuid", "template_revision")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SUBMIT_UUID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_UUID_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_REVISION_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    submit_uuid: bytes
    workflow_uuid: bytes
    template_revision: int
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., submit_uuid: _Optional[bytes] = ..., workflow_uuid: _Optional[bytes] = ..., template_revision: _Optional[int] = ...) -> None: ...

class WorkFlowRejected(_message.Message):
    __slots__ = ("signature", "submit_uuid", "reason", "input_name", "line", "column")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SUBMIT_UUID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    INPUT_NAME_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    submit_uuid: bytes
    reason: str
    input_name: str
    line: int
    column: int
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., submit_uuid: _Optional[bytes] = ..., reason: _Optional[str] = ..., input_name: _Optional[str] = ..., line: _Optional[int] = ..., column: _Optional[int] = ...) -> None: ...

class WorkFlowStatusRequest(_message.Message):
    __slots__ = ("signature", "request_uuid", "workflow_uuid", "explain", "watch", "page", "page_size")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_UUID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_UUID_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    WATCH_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    request_uuid: bytes
    workflow_uuid: bytes
    explain: bool
    watch: bool
    page: int
    page_size: int
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., request_uuid: _Optional[bytes] = ..., workflow_uuid: _Optional[bytes] = ..., explain: _Optional[bool] = ..., watch: _Optional[bool] = ..., page: _Optional[int] = ..., page_size: _Optional[int] = ...) -> None: ...

class WorkFlowStatusUpdate(_message.Message):
    __slots__ = ("signature", "request_uuid", "workflows", "steps", "outputs", "explanation", "pages", "error")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_UUID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOWS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    PAGES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    request_uuid: bytes
    workflows: _containers.RepeatedCompositeFieldContainer[WorkFlowSummary]
    steps: _containers.RepeatedCompositeFieldContainer[StepSummary]
    outputs: _containers.RepeatedCompositeFieldContainer[WorkFlowInput]
    explanation: str
    pages: int
    error: str
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., request_uuid: _Optional[bytes] = ..., workflows: _Optional[_Iterable[_Union[WorkFlowSummary, _Mapping]]] = ..., steps: _Optional[_Iterable[_Union[StepSummary, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[WorkFlowInput, _Mapping]]] = ..., explanation: _Optional[str] = ..., pages: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class WorkFlowCancel(_message.Message):
    __slots__ = ("signature", "workflow_uuid", "reason", "steps")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_UUID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    workflow_uuid: bytes
    reason: str
    steps: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., workflow_uuid: _Optional[bytes] = ..., reason: _Optional[str] = ..., steps: _Optional[_Iterable[str]] = ...) -> None: ...

class WorkFlowPause(_message.Message):
    __slots__ = ("signature", "workflow_uuid", "steps")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_UUID_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    workflow_uuid: bytes
    steps: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., workflow_uuid: _Optional[bytes] = ..., steps: _Optional[_Iterable[str]] = ...) -> None: ...

class WorkFlowResume(_message.Message):
    __slots__ = ("signature", "workflow_uuid", "steps")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_UUID_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    workflow_uuid: bytes
    steps: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., workflow_uuid: _Optional[bytes] = ..., steps: _Optional[_Iterable[str]] = ...) -> None: ...

class WorkFlowRetry(_message.Message):
    __slots__ = ("signature", "workflow_uuid", "steps")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_UUID_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    workflow_uuid: bytes
    steps: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ..., workflow_uuid: _Optional[bytes] = ..., steps: _Optional[_Iterable[str]] = ...) -> None: ...
