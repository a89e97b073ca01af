"""What the quarantine keeps of one message: its bytes as they came, and what opening it again needs."""

from __future__ import annotations

from typing import Final

import msgspec

from caroni.wire.opened import Item, Opened

#: Stands before what is kept; a body without it was written by an earlier version, or is an envelope.
_MARK: Final = b"caroni item 1\n"


class Kept(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One message of an envelope. ``fingerprint`` is of its sender's certificate, empty if unsigned."""

    type_url: str
    value: bytes
    message_id: bytes
    conversation_id: bytes
    in_reply_to: bytes
    stream_id: int
    sent_at: int
    fingerprint: bytes


_decode = msgspec.msgpack.Decoder(Kept).decode


def keep(item: Item, one: Opened) -> bytes:
    """The body of a quarantine row for one message of an envelope."""
    return _MARK + msgspec.msgpack.encode(
        Kept(
            type_url=item.type_url,
            value=item.value,
            message_id=item.message_id,
            conversation_id=item.conversation_id,
            in_reply_to=item.in_reply_to,
            stream_id=one.stream_id,
            sent_at=one.sent_at,
            fingerprint=one.fingerprint,
        )
    )


def kept(body: bytes) -> Kept | None:
    """The inverse of :func:`keep`; None for any other bytes."""
    if not body.startswith(_MARK):
        return None
    try:
        return _decode(memoryview(body)[len(_MARK) :])
    except msgspec.MsgspecError:
        return None
