"""Many messages in one payload: up to 500 and 256 KiB for one routing key and audience, never nested.

Its membership and bytes are fixed before the first publish. A single message travels without a bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
from google.protobuf.message import DecodeError

from caroni.errors import MessageRejected
from caroni.wire import caroni_pb2 as pb
from caroni.wire.codec import TYPE_PREFIX, message_name
from caroni.wire.rules import MAX_BUNDLE_BYTES, MAX_BUNDLE_ITEMS, lifetime

BUNDLE_URL: Final = TYPE_PREFIX + "Bundle"
ENCRYPTED_URL: Final = TYPE_PREFIX + "EncryptedPayload"

#: What a bundle adds to one message at most: three ids, tags and lengths.
_OVERHEAD: Final = 80


class Part(NamedTuple):
    """One encoded message with its ids (16 bytes; the last two may be empty)."""

    message_id: bytes
    conversation_id: bytes
    in_reply_to: bytes
    type_url: str
    value: bytes

    @property
    def size(self) -> int:
        """Bytes that this takes in a bundle, at most."""
        return len(self.value) + len(self.type_url) + _OVERHEAD


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What an envelope carries, ready to be sealed. ``lifetime`` (microseconds) is its longest part's."""

    type_url: str
    value: bytes
    lifetime: int


def batches(parts: Sequence[Part]) -> Iterator[Sequence[Part]]:
    """Cut a sequence, in order, into runs that fit a bundle; one that is too large stands alone."""
    start = size = 0
    for index, part in enumerate(parts):
        grown = size + part.size
        if index > start and (index - start == MAX_BUNDLE_ITEMS or grown > MAX_BUNDLE_BYTES):
            yield parts[start:index]
            start, grown = index, part.size
        size = grown
    if start < len(parts):
        yield parts[start:]


def pack(parts: Sequence[Part | tuple[bytes, bytes, bytes, str, bytes]]) -> Payload:
    """One message as it is, several as a bundle.

    The ids of a single message are not in the payload: they go into the header by ``Sealer.seal``.

    Raises:
        ValueError: nothing to pack, too much for one bundle, or a bundle within a bundle.
    """
    if len(parts) == 1:
        _, _, _, type_url, value = parts[0]
        return Payload(type_url=type_url, value=value, lifetime=lifetime(message_name(type_url)))
    if not 1 < len(parts) <= MAX_BUNDLE_ITEMS:
        raise ValueError(f"a bundle holds 1 to {MAX_BUNDLE_ITEMS} messages, not {len(parts)}")
    bundle = pb.Bundle()
    bundle.signature.SetInParent()
    urls = set()
    items = bundle.items
    for message_id, conversation_id, in_reply_to, type_url, value in parts:
        urls.add(type_url)
        item = items.add(message_id=message_id)
        if conversation_id:
            item.conversation_id = conversation_id
        if in_reply_to:
            item.in_reply_to = in_reply_to
        payload = item.payload
        payload.type_url = type_url
        payload.value = value
    if BUNDLE_URL in urls:
        raise ValueError("a bundle does not hold bundles")
    data = bundle.SerializeToString()
    if len(data) > MAX_BUNDLE_BYTES:
        raise ValueError(f"a bundle is at most {MAX_BUNDLE_BYTES} bytes, not {len(data)}")
    return Payload(type_url=BUNDLE_URL, value=data, lifetime=max(lifetime(message_name(url)) for url in urls))


def unpack(data: bytes) -> list[Part]:
    """The parts of a bundle; their ids and contents are not checked yet.

    Raises:
        MessageRejected: ``E_LIMIT`` empty or too large, ``E_PARSE``.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise MessageRejected("E_LIMIT", "bundle is larger than 256 KiB")
    try:
        items = pb.Bundle.FromString(data).items
    except DecodeError:
        raise MessageRejected("E_PARSE", "bundle cannot be parsed") from None
    if not 1 <= len(items) <= MAX_BUNDLE_ITEMS:
        raise MessageRejected("E_LIMIT", f"bundle of {len(items)} messages")
    parts = []
    for item in items:
        payload = item.payload
        parts.append(
            Part(item.message_id, item.conversation_id, item.in_reply_to, payload.type_url, payload.value)
        )
    return parts
