"""What is in bytes that were set aside, for an operator's eye. Nothing here is believed or acted on."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from google.protobuf.message import DecodeError

from caroni.errors import MessageRejected
from caroni.wire import caroni_pb2 as pb
from caroni.wire.bundle import BUNDLE_URL, unpack
from caroni.wire.codec import TYPE_PREFIX, decode
from caroni.wire.fields import from_timestamp
from caroni.wire.kept import kept

#: bytes of what cannot be decoded that are shown
HEAD = 256
#: messages of a bundle that are shown
MAX_SHOWN = 50


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """One message. ``fields`` if it can be decoded here, else ``error`` and the first bytes (base64)."""

    type: str
    size: int
    fields: dict[str, Any] = {}
    error: str = ""
    head: str = ""


class Inspected(msgspec.Struct, frozen=True, kw_only=True):
    """A body. ``claims`` is what an envelope's header says of itself, which nobody has verified here."""

    size: int
    claims: dict[str, Any] = {}
    messages: tuple[Content, ...] = ()
    more: int = 0
    error: str = ""


def inspect(kind: str, body: bytes) -> Inspected:
    """Describe a quarantine row's body; never raises for anything in it.

    Args:
        kind: of the row: ``envelope``, or a message's type.
        body: whatever was kept.
    """
    if not body:
        return Inspected(size=0, error="its content was not kept")
    if kind == "envelope":
        return _envelope(body)
    item = kept(body)
    if item is not None:
        return Inspected(size=len(item.value), messages=(_content(item.type_url, item.value),))
    return Inspected(size=len(body), messages=(_content(TYPE_PREFIX + kind, body),))


def _envelope(body: bytes) -> Inspected:
    try:
        envelope = pb.CaroniEnvelope.FromString(body)
        header = pb.SignedHeader.FromString(envelope.signed_header)
    except DecodeError:
        return Inspected(
            size=len(body), error="it cannot be parsed", messages=(_raw("", body, "no envelope"),)
        )
    claims = {
        "sender": header.sender,
        "audience": list(header.audience[:16]),
        "federation": header.federation,
        "payload_type": header.payload_type,
        "message_id": header.message_id.hex(),
        "sequence": header.sequence,
    }
    type_url, value = envelope.payload.type_url, envelope.payload.value
    if type_url != BUNDLE_URL:
        return Inspected(size=len(body), claims=claims, messages=(_content(type_url, value),))
    try:
        parts = unpack(value)
    except MessageRejected as error:
        return Inspected(size=len(body), claims=claims, error=str(error))
    return Inspected(
        size=len(body),
        claims=claims,
        messages=tuple(_content(part.type_url, part.value) for part in parts[:MAX_SHOWN]),
        more=max(len(parts) - MAX_SHOWN, 0),
    )


def _content(type_url: str, value: bytes) -> Content:
    name = type_url.removeprefix(TYPE_PREFIX)[:128]
    try:
        message = decode(type_url, value)
    except MessageRejected as error:
        return _raw(name, value, str(error))
    return Content(type=name, size=len(value), fields=_plain(message))


def _raw(name: str, value: bytes, error: str) -> Content:
    head = base64.b64encode(value[:HEAD]).decode("ascii")
    return Content(type=name, size=len(value), error=error, head=head)


def _plain(value: Any) -> Any:
    """A message as what JSON has: ids in hexadecimal, enumerations by name."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value.hex()
    return getattr(value, "name", value)


def sent_at(envelope: bytes) -> int:
    """When a sealed envelope says that it was sent, wall microseconds; 0 if it does not say."""
    try:
        header = pb.SignedHeader.FromString(pb.CaroniEnvelope.FromString(envelope).signed_header)
        return from_timestamp(header.sent_at)
    except (DecodeError, MessageRejected):
        return 0
