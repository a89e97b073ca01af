"""What opening an envelope gives: messages with a proven sender, a verdict, or "not now"."""

from __future__ import annotations

import msgspec

from caroni.core.messages import Message
from caroni.errors import CaroniError, MessageRejected


class Refused(MessageRejected):
    """A verdict on an envelope. ``sender`` is proven, or empty when the verdict fell before that."""

    def __init__(self, code: str, detail: str = "", sender: str = "") -> None:
        self.sender = sender
        super().__init__(code, detail)


class Parked(CaroniError):
    """Not now: keep the body and open it again at ``until`` (microseconds), or when something changes.

    ``reason`` is ``future`` (sent ahead of our clock) or ``certificate`` (its fingerprint is unknown here;
    try again when its owner has shown it). ``bucket`` is what a quota is counted on: the proven sender,
    or the fingerprint's URN.
    """

    def __init__(self, reason: str, until: int, bucket: str) -> None:
        self.reason = reason
        self.until = until
        self.bucket = bucket
        super().__init__(f"parked: {reason}")


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One message of an envelope. Either ``message`` or ``error`` is set.

    An item with an error is authenticated and bad for good: it goes to quarantine alone, the rest counts.
    """

    message: Message | None
    conversation_id: bytes
    in_reply_to: bytes
    message_id: bytes
    type_name: str
    error: MessageRejected | None = None
    #: as it came, for the quarantine: a later version may know its type
    type_url: str = ""
    value: bytes = b""


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """An envelope whose sender is proven (or, in lab mode, is only named: ``unsigned``)."""

    sender: str
    role: str
    message_id: bytes
    sent_at: int
    #: until when (sender, message_id) must be remembered as seen; microseconds
    deadline: int
    stream_id: int
    sequence: int
    payload_type: str
    items: tuple[Item, ...]
    #: SHA-256 of the leaf certificate; empty for unsigned ones
    fingerprint: bytes
    unsigned: bool = False
    #: the operator has it tried again: it was set aside, and is no sign of life now
    replayed: bool = False
