"""A look into an envelope without believing it: its header, and the messages that are in it."""

from __future__ import annotations

import msgspec
from google.protobuf.message import DecodeError

from caroni.errors import MessageRejected
from caroni.trust.certificates import urn_fingerprint
from caroni.wire import caroni_pb2 as pb
from caroni.wire.bundle import BUNDLE_URL, Part, unpack
from caroni.wire.codec import ALIASES, TYPE_PREFIX
from caroni.wire.fields import from_timestamp
from caroni.wire.rules import MAX_ENVELOPE


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """What an envelope says. Nothing of it has been verified; ``signed`` only that a signature is there."""

    size: int
    signed: bool
    sender: str
    audience: tuple[str, ...]
    federation: str
    message_id: bytes
    conversation_id: bytes
    in_reply_to: bytes
    payload_type: str
    sent_at: int
    expires_at: int
    stream_id: int
    sequence: int
    fingerprint: bytes
    parts: tuple[Part, ...]


def glance(body: bytes) -> Glance:
    """Look into an envelope.

    Raises:
        MessageRejected: ``E_SIZE``, ``E_PARSE``, ``E_LIMIT``: it is none, or larger than they are.
    """
    if len(body) > MAX_ENVELOPE:
        raise MessageRejected("E_SIZE", "envelope is larger than 4 MiB")
    try:
        envelope = pb.CaroniEnvelope.FromString(body)
        header = pb.SignedHeader.FromString(envelope.signed_header)
    except DecodeError:
        raise MessageRejected("E_PARSE", "envelope cannot be parsed") from None
    type_url = envelope.payload.type_url
    ids = (header.message_id[:16], header.conversation_id[:16], header.in_reply_to[:16])
    if type_url == BUNDLE_URL:
        parts = tuple(unpack(envelope.payload.value))
    else:
        parts = (Part(*ids, type_url, envelope.payload.value),)
    named = urn_fingerprint(envelope.signature.signator_certificate)
    return Glance(
        size=len(body),
        signed=bool(envelope.signature.payload_signature),
        sender=header.sender[:512],
        audience=tuple(header.audience[:16]),
        federation=header.federation[:256],
        message_id=ids[0],
        conversation_id=ids[1],
        in_reply_to=ids[2],
        payload_type=name_of(header.payload_type or type_url),
        sent_at=_instant(header.sent_at),
        expires_at=_instant(header.expires_at),
        stream_id=int.from_bytes(header.stream_id[:8], "big"),
        sequence=header.sequence,
        fingerprint=named or header.certificate_sha256[:32],
        parts=parts,
    )


def name_of(type_url: str) -> str:
    """The present name of a message type; never raises, and never long."""
    name = type_url.removeprefix(TYPE_PREFIX)[:128]
    return ALIASES.get(name, name)


def _instant(value: object) -> int:
    try:
        return from_timestamp(value)  # type: ignore[arg-type]
    except MessageRejected:
        return 0
