"""What one unit of work writes, and the plain rows of messages, commands and catalogue around it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

import msgspec

from caroni.core.rows import Row

OutboxState = Literal["new", "unroutable", "dead"]
Direction = Literal["in", "out"]
CommandState = Literal["new", "done", "failed"]


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """An envelope to publish; ``id`` is its message id. ``peer`` is a URI or an audience.

    ``payload`` is the message inside, ``sealed`` the bytes that leave once they have been made: they
    never change afterwards. ``next_try`` is wall microseconds, 0 = at once.
    """

    id: bytes
    peer: str
    routing_key: str
    type: str
    payload_type: str
    payload: bytes
    conversation_id: bytes = b""
    in_reply_to: bytes = b""
    created_at: int = 0
    sealed: bytes | None = None
    stream_id: int = 0
    sequence: int = 0
    state: OutboxState = "new"
    tries: int = 0
    next_try: int = 0


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of an outbox row that are about to leave for the first time."""

    id: bytes
    sealed: bytes
    stream_id: int
    sequence: int


class OutboxRetry(msgspec.Struct, frozen=True, kw_only=True):
    """An outbox row that did not leave: ``state`` says why, ``next_try`` when it is tried again."""

    id: bytes
    tries: int
    next_try: int
    state: OutboxState = "unroutable"


class LedgerItem(msgspec.Struct, frozen=True, kw_only=True):
    """One message inside a ledger row's envelope, with the natural keys that are known of it."""

    type: str
    conversation_id: bytes = b""
    request_uuid: bytes = b""
    offer_uuid: bytes = b""
    job_uuid: bytes = b""
    workflow_uuid: bytes = b""
    step_index: int | None = None


class LedgerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed envelope that came or left, with its verdict (``ok``, or the code of a rejection)."""

    direction: Direction
    peer: str
    message_id: bytes
    payload_type: str
    #: of the signer's certificate, lower-case hexadecimal
    fingerprint: str
    envelope: bytes
    at: int
    verdict: str = "ok"
    items: tuple[LedgerItem, ...] = ()


class QuarantineRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something authenticated that failed for good. ``key`` is a message id or a workflow's uuid."""

    key: bytes
    kind: str
    body: bytes = b""
    sender: str = ""
    reason: str = ""
    error: str = ""
    first_at: int = 0
    last_at: int = 0
    tries: int = 1
    #: wall microseconds until which nothing more is tried, 0 = until an operator acts
    parked_until: int = 0


class RejectRow(msgspec.Struct, frozen=True, kw_only=True):
    """An unauthenticated message that was refused: counted, and kept in a ring of fixed size."""

    at: int
    reason: str
    detail: str = ""
    routing_key: str = ""
    size: int = 0
    #: the first bytes, for an operator's eye
    head: bytes = b""


class CommandDone(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a command. ``result`` is JSON text."""

    id: int
    state: CommandState
    result: str
    at: int


class CommandRow(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's wish. ``args`` and ``result`` are JSON text."""

    id: int
    kind: str
    args: str
    state: CommandState
    result: str
    created_at: int
    done_at: int


class TemplateRow(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable revision of a template. ``documents`` and ``plan`` are JSON text."""

    name: str
    revision: int
    digest: str
    documents: str
    plan: str
    created_at: int


class JobDefinitionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable revision of a job definition. ``body`` is JSON text, ``yaml`` what a person wrote."""

    name: str
    version: str
    revision: int
    digest: str
    body: str
    yaml: str
    active: bool
    created_at: int


class Unit(msgspec.Struct, kw_only=True):
    """All that one unit of work writes, in one transaction: everything of it, or nothing."""

    #: (sender, message id, lifetime cap in wall microseconds) of the messages it handled
    inbox: list[tuple[str, bytes, int]] = []
    #: each key once (what :meth:`caroni.core.draft.Draft.changes` gives)
    rows: dict[type[Row], list[Row]] = {}
    #: natural keys of rows to remove; each leaves a tombstone
    deletes: dict[type[Row], list[Hashable]] = {}
    outbox: list[OutboxRow] = []
    sealed: list[Sealed] = []
    #: ids of rows that the broker has confirmed (they go)
    outbox_sent: list[bytes] = []
    outbox_retry: list[OutboxRetry] = []
    #: peer -> the next sequence number
    sequences: dict[str, int] = {}
    ledger: list[LedgerRow] = []
    #: fingerprint -> PEM
    certificates: dict[str, str] = {}
    quarantine: list[QuarantineRow] = []
    #: keys of quarantine rows that are resolved
    unquarantine: list[bytes] = []
    rejects: list[RejectRow] = []
    commands: list[CommandDone] = []
    settings: dict[str, str] = {}
    #: digest of a delivery -> how often it was begun
    suspects: dict[bytes, int] = {}
    #: digests of deliveries that have ended
    cleared: list[bytes] = []
    #: wall microseconds, for tombstones
    now: int = 0
