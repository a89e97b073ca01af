"""Opening: from a body on the broker to messages whose sender is proven, or to a verdict.

The steps and their codes are those of ``docs/security.md`` section 2.5, in that order: nothing is
parsed that the presenter has not signed, and nothing is acted on before the digest has been compared.
Every failure is ``MessageRejected`` or ``Parked``; no byte a peer can send raises anything else.
"""

from __future__ import annotations

import binascii
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from caroni.core.base_peers import UNSIGNED_PREFIX
from caroni.core.messages import JobFulfillmentDecline, JobFulfillmentOffer, Message
from caroni.core.plan import DAY, HOUR, MINUTE
from caroni.errors import MessageRejected
from caroni.trust.certificates import parse_presented, urn_fingerprint
from caroni.trust.identity import Identity
from caroni.trust.store import Known, TrustStore
from caroni.wire import caroni_pb2 as pb
from caroni.wire.bundle import BUNDLE_URL, ENCRYPTED_URL, unpack
from caroni.wire.codec import ALIASES, TYPE_PREFIX, decode, message_name
from caroni.wire.fields import from_timestamp
from caroni.wire.kept import Kept
from caroni.wire.opened import Item, Opened, Parked, Refused
from caroni.wire.rules import DEFAULT_LIFETIME, MAX_ENVELOPE, MAX_LIFETIME, RULES_BY_NAME, UNSIGNED, permit
from caroni.wire.sealing import (
    HEADER_TYPE,
    HEADER_VERSION,
    Sealer,
    pre_authentication_encoding,
    seal_unsigned,
)
from caroni.wire.topics import is_topic, topic_of

__all__ = [
    "Item",
    "Opened",
    "Opener",
    "Parked",
    "Refused",
    "Sealer",
    "permit",
    "pre_authentication_encoding",
    "seal_unsigned",
]

REQUIRED: Final = "required"
LAB: Final = "lab"

MAX_HEADER: Final = 4 * 1024
MAX_AUDIENCE: Final = 16
DEFAULT_SKEW: Final = 5 * MINUTE
MAX_SKEW: Final = 24 * HOUR
#: How far ahead a message may be to be kept until its time comes.
PARK_AHEAD: Final = 48 * HOUR
#: How long a message waits for a certificate that is not known here.
PARK_UNKNOWN: Final = DAY
#: Certificates remembered by fingerprint, in all and for one identity.
KNOWN_CERTIFICATES: Final = 10_000
KNOWN_PER_URI: Final = 8


class Opener:
    """Verifies and opens what arrives for one identity. Pure computation; one per daemon.

    Args:
        store: who is trusted.
        own_uri: whom messages must be addressed to.
        federation: other federations' messages are refused.
        mode: ``required``, or ``lab`` to accept base-protocol peers that sign nothing.
        skew: how far clocks may differ, microseconds, at most 24 h.
        caps: message name -> lifetime in microseconds, where this site wants it shorter.
        signed: URIs that are known to sign: in lab mode nothing unsigned is taken for theirs.
    """

    def __init__(
        self,
        store: TrustStore,
        own_uri: str,
        federation: str,
        mode: str = REQUIRED,
        skew: int = DEFAULT_SKEW,
        *,
        caps: Mapping[str, int] | None = None,
        signed: Iterable[str] = (),
    ) -> None:
        if mode not in (REQUIRED, LAB):
            raise ValueError(f"security mode is {REQUIRED} or {LAB}, not {mode!r}")
        if not 0 <= skew <= MAX_SKEW:
            raise ValueError("clock skew is 0 to 24 hours")
        self.store = store
        self.own_uri = own_uri
        self.federation = federation
        self.mode = mode
        self._skew = skew
        self._wildcard = f"caroni://*/{Identity.parse(own_uri).role}/*"
        self._caps: dict[str, int | None] = {name: rule.lifetime for name, rule in RULES_BY_NAME.items()}
        for name, cap in (caps or {}).items():
            if name not in self._caps:
                raise ValueError(f"lifetime of an unknown message {name!r}")
            mine = self._caps[name]
            self._caps[name] = cap if mine is None else min(cap, mine)
        self._caps["Bundle"] = MAX_LIFETIME
        self._signed = {topic_of(uri) for uri in signed}
        self._texts: OrderedDict[bytes, str] = OrderedDict()
        self._by_uri: dict[str, list[bytes]] = {}

    # --- the steps -----------------------------------------------------------------------------------

    def open(self, body: bytes, now: int, reply_to: str = "") -> Opened:
        """Steps 0 to 14; replay, role, policy and state are the caller's (:func:`permit` is step 15).

        Args:
            body: of the AMQP message.
            now: microseconds since the epoch.
            reply_to: of the AMQP message; only names an unsigned peer in lab mode.

        Raises:
            Refused: the envelope is refused as a whole; ``code`` says why.
            Parked: it may be good later.
        """
        if len(body) > MAX_ENVELOPE:
            raise Refused("E_SIZE", "envelope is larger than 4 MiB")
        try:
            envelope = pb.CaroniEnvelope.FromString(body)
        except DecodeError:
            raise Refused("E_PARSE", "envelope cannot be parsed") from None
        signature = envelope.signature
        if not signature.payload_signature:
            return self._open_unsigned(envelope, body, now, reply_to)
        sender = ""
        try:
            known, header = self._authenticate(signature, envelope.signed_header, now)
            sender = known.presented.identity.uri
            return self._accept(known, header, envelope.payload, now)
        except Refused:
            raise
        except MessageRejected as error:
            raise Refused(error.code, error.detail, sender) from None

    def _authenticate(
        self, signature: pb.Signature, signed_header: bytes, now: int
    ) -> tuple[Known, pb.SignedHeader]:
        """Steps 3 to 7: whose signature this is, and that its owner is who the header says."""
        text = signature.signator_certificate
        fingerprint = urn_fingerprint(text)
        if fingerprint is not None:
            found = self._texts.get(fingerprint)
            if found is None:
                raise Parked("certificate", now + PARK_UNKNOWN, text)
            text = found
        key, known = self.store.known(text)
        presented = self.store.parse(key, text, now) if known is None else known.presented
        if len(signed_header) > MAX_HEADER:
            raise MessageRejected("E_HEADER", "header is larger than 4 KiB")
        raw = signature_bytes(signature.payload_signature)
        if not presented.verify(raw, pre_authentication_encoding(HEADER_TYPE, signed_header)):
            raise MessageRejected("E_SIG", "signature does not fit")
        try:
            header = pb.SignedHeader.FromString(signed_header)
        except DecodeError:
            raise MessageRejected("E_HEADER", "header cannot be parsed") from None
        uri = presented.identity.uri
        if header.version != HEADER_VERSION:
            raise MessageRejected("E_HEADER", f"header version {header.version} is unknown")
        if header.sender != uri or header.certificate_sha256 != presented.fingerprint:
            raise MessageRejected("E_HEADER", "header names another sender than the certificate")
        if header.reply_topic != topic_of(uri):
            raise MessageRejected("E_HEADER", "header names another reply topic than the sender's")
        _check_ids(header)
        if header.federation != self.federation:
            raise MessageRejected("E_FEDERATION", "message of another federation")
        if known is None:
            known = self.store.verify(key, presented, _instant(header.sent_at), now)
        return known, header

    def _accept(self, known: Known, header: pb.SignedHeader, payload: object, now: int) -> Opened:
        """Steps 8 to 14 on a header whose sender is proven."""
        presented = known.presented
        uri = presented.identity.uri
        payload_type = header.payload_type
        name = payload_type.removeprefix(TYPE_PREFIX)
        name = ALIASES.get(name, name)
        wildcard = self._check_audience(header, name)
        sent_at = _instant(header.sent_at)
        deadline = self._check_time(known, name, sent_at, _instant(header.expires_at), now)
        rule = RULES_BY_NAME.get(name)
        stale = self.store.check(known, sent_at, now)
        if stale and rule is not None and rule.new_work:
            raise MessageRejected("E_CRL_STALE", _STALE)
        type_url: str = payload.type_url  # type: ignore[attr-defined]
        value: bytes = payload.value  # type: ignore[attr-defined]
        if type_url != payload_type or not type_url.startswith(TYPE_PREFIX):
            raise MessageRejected("E_TYPE", "payload is of another type than was signed")
        if len(value) != header.payload_length or hashlib.sha256(value).digest() != header.payload_sha256:
            raise MessageRejected("E_DIGEST", "payload is not what was signed")
        self._remember(uri, presented.fingerprint, presented.text)
        site = presented.identity.site
        if type_url == BUNDLE_URL:
            items = self._open_bundle(value, site, wildcard, stale, sent_at, now)
        else:
            items = (
                _open_item(
                    type_url, value, site, header.message_id, header.conversation_id, header.in_reply_to
                ),
            )
        return Opened(
            sender=uri,
            role=presented.identity.role,
            message_id=header.message_id,
            sent_at=sent_at,
            deadline=deadline,
            stream_id=int.from_bytes(header.stream_id, "big"),
            sequence=header.sequence,
            payload_type=name,
            items=items,
            fingerprint=presented.fingerprint,
        )

    def _check_audience(self, header: pb.SignedHeader, name: str) -> bool:
        """Whether the message is to us at all; True when only by a wildcard."""
        audience = header.audience
        if not 1 <= len(audience) <= MAX_AUDIENCE:
            raise MessageRejected("E_AUDIENCE", "no audience, or too many")
        if self.own_uri in audience:
            return False
        if self._wildcard not in audience:
            raise MessageRejected("E_AUDIENCE", "message to somebody else")
        if name != "Bundle":
            self._check_broadcast(name)
        return True

    def _check_broadcast(self, name: str) -> None:
        rule = RULES_BY_NAME.get(name)
        if rule is None or rule.audience != self._wildcard:
            raise MessageRejected("E_AUDIENCE", f"{name[:64]} cannot be broadcast")

    def _check_time(self, known: Known, name: str, sent_at: int, expires_at: int, now: int) -> int:
        """Step 9; gives the instant after which the message is refused as expired."""
        if sent_at > now + self._skew:
            if sent_at <= now + PARK_AHEAD:
                raise Parked("future", sent_at - self._skew, known.presented.identity.uri)
            raise MessageRejected("E_FUTURE", "sent more than 48 hours ahead of our clock")
        chain = known.chain
        cap = self._caps.get(name, DEFAULT_LIFETIME)
        deadline = min(expires_at, (now if cap is None else sent_at) + (cap or DEFAULT_LIFETIME))
        if now > deadline:
            raise MessageRejected("E_EXPIRED", "past its lifetime")
        if not chain.start - self._skew <= sent_at <= chain.end:
            raise MessageRejected("E_CERT_TIME", "sent when the certificate was not valid")
        if cap is not None and now > chain.end + cap:
            raise MessageRejected("E_CERT_TIME", "the certificate expired too long ago")
        return deadline

    def _open_bundle(
        self, value: bytes, site: str, wildcard: bool, stale: bool, sent_at: int, now: int
    ) -> tuple[Item, ...]:
        items = []
        for message_id, conversation_id, in_reply_to, type_url, content in unpack(value):
            name = message_name(type_url) if wildcard else ""
            if wildcard:
                self._check_broadcast(name)
            item = _open_item(type_url, content, site, message_id, conversation_id, in_reply_to)
            items.append(self._check_item(item, stale, sent_at, now))
        return tuple(items)

    def _check_item(self, item: Item, stale: bool, sent_at: int, now: int) -> Item:
        """What the header's checks are for a message that has none of its own."""
        if item.error is not None:
            return item
        cap = self._caps[item.type_name]
        if cap is not None and now > sent_at + cap:
            return _failed(item, MessageRejected("E_EXPIRED", "past its lifetime"))
        if stale and RULES_BY_NAME[item.type_name].new_work:
            return _failed(item, MessageRejected("E_CRL_STALE", _STALE))
        return item

    def reopen(self, sender: str, kept: Kept, now: int) -> Opened:
        """A message that was set aside, judged as if it came now: its sender may have been banned since.

        Args:
            sender: whose it was proven to be when it came.
            kept: what was kept of it.
            now: microseconds since the epoch.

        Raises:
            MessageRejected: nothing of this sender is taken (any more).
        """
        ids = (kept.message_id, kept.conversation_id, kept.in_reply_to)
        if kept.fingerprint:
            text = self._texts.get(kept.fingerprint)
            if text is None:
                raise MessageRejected("E_CERT_FORMAT", "its sender's certificate is not known any more")
            key, known = self.store.known(text)
            if known is None:
                presented = self.store.parse(key, text, now)
                known = self.store.verify(key, presented, kept.sent_at, now)
            identity = known.presented.identity
            if identity.uri != sender:
                raise MessageRejected("E_HEADER", "it was kept under another sender's name")
            stale = self.store.check(known, kept.sent_at, now)
            item = _open_item(kept.type_url, kept.value, identity.site, *ids)
            item, role = self._check_item(item, stale, kept.sent_at, now), identity.role
        elif self.mode == LAB and sender.startswith(UNSIGNED_PREFIX):
            item, role = _open_item(kept.type_url, kept.value, None, *ids), UNSIGNED
        else:
            raise MessageRejected("E_UNSIGNED", "unsigned messages are refused (security.mode)")
        return Opened(
            sender=sender,
            role=role,
            message_id=b"",
            sent_at=kept.sent_at,
            deadline=now + DAY,
            stream_id=kept.stream_id,
            sequence=0,
            payload_type=item.type_name,
            items=(item,),
            fingerprint=kept.fingerprint,
            unsigned=not kept.fingerprint,
            replayed=True,
        )

    def _open_unsigned(self, envelope: pb.CaroniEnvelope, body: bytes, now: int, reply_to: str) -> Opened:
        """A base peer in lab mode: named by its ``reply_to``, refused if that topic's owner signs."""
        stripped = envelope.signed_header or envelope.signature.signator_certificate
        if self.mode != LAB or stripped:
            raise Refused("E_UNSIGNED", "unsigned messages are refused (security.mode)")
        if not is_topic(reply_to):
            raise Refused("E_UNSIGNED", "an unsigned message needs a reply_to to answer to")
        if reply_to in self._signed:
            raise Refused("E_UNSIGNED", "unsigned, but its sender is known to sign")
        payload = envelope.payload
        item = _open_item(payload.type_url, payload.value, None, b"", b"", b"")
        if item.error is not None:
            raise Refused(item.error.code, item.error.detail)
        return Opened(
            sender=UNSIGNED_PREFIX + reply_to,
            role=UNSIGNED,
            # it has no id: one made of its content tells what the broker delivers a second time
            message_id=hashlib.sha256(reply_to.encode() + b"\0" + body).digest()[:16],
            sent_at=0,
            deadline=now + DAY,
            stream_id=0,
            sequence=0,
            payload_type=item.type_name,
            items=(item,),
            fingerprint=b"",
            unsigned=True,
        )

    # --- what is remembered of peers -------------------------------------------------------------------

    def learn(self, text: str) -> bytes:
        """Know a certificate text (from the database) by its fingerprint; it is verified when it is used.

        Raises:
            MessageRejected: ``E_CERT_FORMAT``, ``E_KEYTYPE``, ``E_IDENTITY``.
        """
        presented = parse_presented(text)
        self._remember(presented.identity.uri, presented.fingerprint, text)
        return presented.fingerprint

    def certificate(self, fingerprint: bytes) -> str | None:
        """The certificate text that this fingerprint stands for, as far as known."""
        return self._texts.get(fingerprint)

    def _remember(self, uri: str, fingerprint: bytes, text: str) -> None:
        if fingerprint in self._texts:
            return
        self._signed.add(topic_of(uri))
        mine = self._by_uri.setdefault(uri, [])
        mine.append(fingerprint)
        self._texts[fingerprint] = text
        if len(mine) > KNOWN_PER_URI:
            self._texts.pop(mine.pop(0), None)
        if len(self._texts) > KNOWN_CERTIFICATES:
            self._texts.popitem(last=False)


_STALE: Final = "no new work while the sender's revocation list is this old"


def signature_bytes(text: str) -> bytes:
    """The bytes of a signature from its one spelling.

    Raises:
        MessageRejected: ``E_SIG``.
    """
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise MessageRejected("E_SIG", "signature is not base64") from None
    if not raw or len(raw) > 256 or binascii.b2a_base64(raw, newline=False) != text.encode("ascii"):
        raise MessageRejected("E_SIG", "signature is not plain base64")
    return raw


def _check_ids(header: pb.SignedHeader) -> None:
    if len(header.message_id) != 16 or len(header.stream_id) != 8:
        raise MessageRejected("E_HEADER", "message_id must have 16 bytes, stream_id 8")
    if len(header.conversation_id) not in (0, 16) or len(header.in_reply_to) not in (0, 16):
        raise MessageRejected("E_HEADER", "conversation_id and in_reply_to must have 16 bytes or none")
    # both go into signed 64-bit columns
    if header.stream_id[0] > 0x7F or header.sequence >= 2**63:
        raise MessageRejected("E_HEADER", "stream_id or sequence is out of range")


def _instant(value: object) -> int:
    try:
        return from_timestamp(value)  # type: ignore[arg-type]
    except MessageRejected:
        raise MessageRejected("E_HEADER", "an instant is out of range") from None


def _failed(item: Item, error: MessageRejected) -> Item:
    return msgspec.structs.replace(item, message=None, error=error)


def _open_item(
    type_url: str,
    value: bytes,
    site: str | None,
    message_id: bytes,
    conversation_id: bytes,
    in_reply_to: bytes,
) -> Item:
    """Steps 13 and 14 for one message; ``site`` is the certificate's, None where there is none."""
    name = type_url.removeprefix(TYPE_PREFIX)
    message: Message | None = None
    error: MessageRejected | None = None
    try:
        if site is not None and (
            len(message_id) != 16 or len(conversation_id) not in (0, 16) or len(in_reply_to) not in (0, 16)
        ):
            raise MessageRejected("E_LIMIT", "an id of a bundled message has not 16 bytes")
        if type_url == ENCRYPTED_URL:
            raise MessageRejected("E_DECRYPT", "there is no key here to decrypt this")
        message = decode(type_url, value)
        if (
            site is not None
            and isinstance(message, (JobFulfillmentOffer, JobFulfillmentDecline))
            and message.site.site_identifier not in ("", site)
        ):
            raise MessageRejected("E_LIMIT", "site_identifier is not the certificate's site")
    except MessageRejected as rejected:
        message, error = None, rejected
    return Item(
        message=message,
        conversation_id=conversation_id,
        in_reply_to=in_reply_to,
        message_id=message_id,
        type_name=ALIASES.get(name, name[:128]),
        error=error,
        type_url=type_url,
        value=value,
    )
