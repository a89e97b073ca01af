"""Messages of a trace taken apart: in words, field by field, and verified again against the trust store."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import msgspec

from caroni.core.messages import JobDataAvailable, Message, WorkFlowCreate, WorkFlowStatusUpdate
from caroni.errors import ConfigError, MessageRejected
from caroni.services.messagewords import details
from caroni.services.stores import now as wall
from caroni.services.traced import Decoded, Header, TraceEntry, Verdict
from caroni.wire.audit import Auditor
from caroni.wire.bundle import Part
from caroni.wire.codec import decode
from caroni.wire.glance import Glance, glance, name_of
from caroni.wire.kept import kept

if TYPE_CHECKING:
    from caroni.config import Loaded
    from caroni.model.store import Store
    from caroni.trust.store import TrustStore

#: characters of a summary, and of one text in a message's fields
MAX_SUMMARY = 200
MAX_TEXT = 4000
#: entries of one list or table, and values in all, that are shown of a message
MAX_ENTRIES = 200
MAX_SHOWN = 5000
MAX_DEPTH = 12
#: bytes that are shown of what cannot be decoded
HEAD = 256

#: messages with values in them, which are JSON text: field names
_VALUES: dict[type[Message], str] = {
    JobDataAvailable: "parameters",
    WorkFlowCreate: "inputs",
    WorkFlowStatusUpdate: "outputs",
}
_IDS = ("request", "offer", "job", "workflow")


def described(entry: TraceEntry, part: Part, count: int) -> TraceEntry:
    """An entry with what its message says of itself; ids and type are only filled where they are empty."""
    name = name_of(part.type_url)
    conversation = entry.conversation or part.conversation_id[:16].hex()
    try:
        message = decode(part.type_url, part.value)
    except MessageRejected as error:
        return msgspec.structs.replace(
            entry, type=entry.type or name, conversation=conversation, messages=count, summary=str(error)
        )
    ids = {what: getattr(entry, what) or _id(message, what) for what in _IDS}
    return msgspec.structs.replace(
        entry,
        type=entry.type or name,
        conversation=conversation,
        messages=count,
        message_id=part.message_id[:16].hex() or entry.message_id,
        summary=details(message)[:MAX_SUMMARY],
        job_type=entry.job_type or str(getattr(message, "job_type_name", "")),
        attempt=entry.attempt or int(getattr(message, "attempt", 0)),
        **ids,
    )


def _id(message: Message, what: str) -> str:
    value = getattr(message, f"{what}_uuid", b"")
    return value.hex() if isinstance(value, bytes) else ""


# --- in full -----------------------------------------------------------------------------------------


def decoded(entry: TraceEntry, body: bytes, auditor: Auditor, now: int = 0) -> Decoded:
    """A message of an envelope in full, and what the envelope is worth now."""
    audit = auditor.audit(body, now or wall())
    verdict = Verdict(code=audit.code, words=audit.words)
    try:
        seen = glance(body)
    except MessageRejected as error:
        return Decoded(
            entry=entry, header=Header(), verdict=verdict, error=str(error) if body else "", head=_head(body)
        )
    header = _header(seen, audit.fingerprint)
    if entry.position >= len(seen.parts):
        return Decoded(entry=entry, header=header, verdict=verdict, error="it is not in this envelope")
    part = seen.parts[entry.position]
    return _content(Decoded(entry=entry, header=header, verdict=verdict), part.type_url, part.value)


def set_aside(entry: TraceEntry, kind: str, body: bytes, auditor: Auditor) -> Decoded:
    """What is in quarantine: an envelope, or one message of one, whose signature is not kept with it."""
    if kind == "envelope":
        return msgspec.structs.replace(decoded(entry, body, auditor), error=entry.summary)
    item = kept(body)
    words = "signature was good when it came; a message that is set aside is kept without it"
    shown = Decoded(
        entry=entry,
        header=Header(
            sender=entry.sender,
            message_id=entry.message_id,
            conversation=entry.conversation,
            in_reply_to=item.in_reply_to.hex() if item is not None else "",
            sent_at=item.sent_at if item is not None else 0,
            stream_id=item.stream_id if item is not None else 0,
            fingerprint=item.fingerprint.hex() if item is not None else "",
        ),
        verdict=Verdict(code=entry.verdict, words=words),
    )
    if item is None:
        return msgspec.structs.replace(shown, error=entry.summary, head=_head(body))
    return msgspec.structs.replace(_content(shown, item.type_url, item.value), error=entry.summary)


def only_head(entry: TraceEntry, head: bytes) -> Decoded:
    """A refused message, of which only the first bytes are kept."""
    words = "refused before its sender was proven; only its first bytes are kept"
    return Decoded(
        entry=entry,
        header=Header(),
        verdict=Verdict(code=entry.verdict, words=words),
        error=entry.summary,
        head=_head(head),
    )


def _head(body: bytes) -> str:
    return base64.b64encode(body[:HEAD]).decode("ascii")


def _header(seen: Glance, fingerprint: str) -> Header:
    return Header(
        sender=seen.sender,
        audience=seen.audience,
        federation=seen.federation,
        message_id=seen.message_id.hex(),
        conversation=seen.conversation_id.hex(),
        in_reply_to=seen.in_reply_to.hex(),
        payload_type=seen.payload_type,
        sent_at=seen.sent_at,
        expires_at=seen.expires_at,
        stream_id=seen.stream_id,
        sequence=seen.sequence,
        fingerprint=fingerprint or seen.fingerprint.hex(),
    )


def _content(shown: Decoded, type_url: str, value: bytes) -> Decoded:
    try:
        message = decode(type_url, value)
    except MessageRejected as error:
        return msgspec.structs.replace(shown, error=str(error), head=_head(value))
    plain = _Plain()
    fields = {
        name: plain.values(getattr(message, name))
        if name == _VALUES.get(type(message))
        else plain.of(getattr(message, name))
        for name in message.__struct_fields__
    }
    return msgspec.structs.replace(shown, fields=fields, cut=plain.cut)


class _Plain:
    """What JSON has, as much of it as can be looked at."""

    def __init__(self) -> None:
        self.cut = False
        self._left = MAX_SHOWN

    def values(self, named: dict[str, str]) -> dict[str, Any]:
        """Values by name: each is JSON text."""
        return {self._text(name): self._value(text) for name, text in self._some(list(named.items()))}

    def _value(self, text: str) -> Any:
        try:
            return self.of(msgspec.json.decode(text))
        except (msgspec.DecodeError, RecursionError):
            return self._text(text)

    def of(self, value: Any, depth: int = 0) -> Any:
        """A message's field; ids in hexadecimal, enumerations by name."""
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            self.cut = True
            return "…"
        if isinstance(value, msgspec.Struct):
            return {name: self.of(getattr(value, name), depth + 1) for name in value.__struct_fields__}
        if isinstance(value, dict):
            return {
                self._text(str(key)): self.of(one, depth + 1) for key, one in self._some(list(value.items()))
            }
        if isinstance(value, list | tuple):
            return [self.of(one, depth + 1) for one in self._some(list(value))]
        if isinstance(value, bytes):
            return self._text(value.hex())
        if isinstance(value, str):
            return self._text(value)
        return getattr(value, "name", value)

    def _some(self, many: list[Any]) -> list[Any]:
        if len(many) > MAX_ENTRIES:
            self.cut = True
        return many[:MAX_ENTRIES]

    def _text(self, text: str) -> str:
        if len(text) <= MAX_TEXT:
            return text
        self.cut = True
        return text[: MAX_TEXT - 1] + "…"


# --- who is believed ---------------------------------------------------------------------------------


async def auditor_of(loaded: Loaded, store: Store | None = None) -> Auditor:
    """Verifies against a configuration's trust store, and the certificates that its database has kept.

    Raises:
        ConfigError: the trust store cannot be read.
    """
    trust = await asyncio.to_thread(_trust, loaded)
    known: dict[str, str] = {}
    if store is not None:
        rows = await store.database.fetch("SELECT fingerprint, pem FROM certificate LIMIT 10000")
        known = {str(row[0]): str(row[1]) for row in rows}
    return Auditor(
        trust, known.get, own=await asyncio.to_thread(_own, loaded), skew=loaded.config.security.skew
    )


def _trust(loaded: Loaded) -> TrustStore:
    from caroni.trust.store import TrustStore

    return TrustStore.load(loaded.config.security.trust_dir)


def _own(loaded: Loaded) -> list[str]:
    """The fingerprint of our own certificate; nothing if its file is missing."""
    from cryptography.hazmat.primitives import hashes

    from caroni.trust.keys import certificates_of, read_text

    path = loaded.config.security.certificate_file
    try:
        return [certificates_of(read_text(path), path)[0].fingerprint(hashes.SHA256()).hex()]
    except (ConfigError, IndexError):
        return []
