"""Whether an envelope that was kept is still to be believed: verified again, for an operator's eye.

The steps are those of ``docs/security.md`` section 2.5 that do not depend on who reads: the signature, the
header, the payload's digest, the chain to the site's anchors, the certificate's validity when it was sent,
bans and revocations as of now. Audience, lifetime and replay are matters of its receiver and are not asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from caroni.errors import MessageRejected
from caroni.trust.certificates import Presented, parse_presented, urn_fingerprint
from caroni.trust.instants import to_micros, to_text
from caroni.trust.store import Known, TrustStore
from caroni.wire import caroni_pb2 as pb
from caroni.wire.envelope import DEFAULT_SKEW, MAX_HEADER, signature_bytes
from caroni.wire.fields import from_timestamp
from caroni.wire.rules import MAX_ENVELOPE
from caroni.wire.sealing import HEADER_TYPE, HEADER_VERSION, pre_authentication_encoding

OK: Final = "ok"
UNSIGNED: Final = "E_UNSIGNED"
#: certificates of strangers that are remembered
REMEMBERED: Final = 500


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict: ``ok`` or its code, one line for people, and whose signature it is, as far as proven."""

    code: str
    words: str
    sender: str = ""
    fingerprint: str = ""


class Auditor:
    """Verifies envelopes, whoever they were meant for.

    Args:
        trust: who is trusted now.
        certificate: finds a certificate's text by its fingerprint (hexadecimal), where an envelope names it
            only; None if it is not known.
        own: fingerprints (hexadecimal) of certificates that are ours: our site may be trusted for other
            roles only.
        federation: the one that messages must be of; empty: any.
        skew: microseconds by which clocks may differ.
    """

    def __init__(
        self,
        trust: TrustStore,
        certificate: Callable[[str], str | None] = lambda fingerprint: None,
        *,
        own: Iterable[str] = (),
        federation: str = "",
        skew: int = DEFAULT_SKEW,
    ) -> None:
        self.trust = trust
        self._certificate = certificate
        self._own = frozenset(own)
        self._federation = federation
        self._skew = skew
        #: certificates taken apart, and what was wrong with their chains, under one generation of trust
        self._generation = trust.generation
        self._presented: dict[bytes, Presented] = {}
        self._refused: dict[bytes, MessageRejected] = {}

    def audit(self, body: bytes, now: int) -> Audit:
        """Verify one envelope; never raises for anything in it.

        Args:
            body: the sealed bytes.
            now: wall microseconds.
        """
        if len(body) > MAX_ENVELOPE:
            return Audit(code="E_SIZE", words="envelope is larger than 4 MiB")
        try:
            envelope = pb.CaroniEnvelope.FromString(body)
        except DecodeError:
            return Audit(code="E_PARSE", words="these bytes are no envelope")
        if not envelope.signature.payload_signature:
            return Audit(code=UNSIGNED, words="not signed: anybody may have sent it")
        try:
            return self._audit(envelope, now)
        except MessageRejected as error:
            return Audit(code=error.code, words=_words(error))

    def _audit(self, envelope: pb.CaroniEnvelope, now: int) -> Audit:
        text = envelope.signature.signator_certificate
        named = urn_fingerprint(text)
        if named is not None:
            found = self._certificate(named.hex())
            if found is None:
                return Audit(
                    code="E_CERT_UNKNOWN",
                    words="cannot be verified: the certificate that it names is not known here",
                    fingerprint=named.hex(),
                )
            text = found
        key, known = self.trust.known(text)
        # not the store's own parse: a refusal that it remembers would hide what the signature is worth
        presented = self._parsed(key, text) if known is None else known.presented
        fingerprint = presented.fingerprint.hex()
        signed = envelope.signed_header
        if len(signed) > MAX_HEADER:
            raise MessageRejected("E_HEADER", "header is larger than 4 KiB")
        raw = signature_bytes(envelope.signature.payload_signature)
        if not presented.verify(raw, pre_authentication_encoding(HEADER_TYPE, signed)):
            return Audit(
                code="E_SIG",
                words="signature does not fit: what it signed was changed, or another key signed it",
                fingerprint=fingerprint,
            )
        header = self._header(signed, presented)
        uri = presented.identity.uri
        payload = envelope.payload
        if (
            payload.type_url != header.payload_type
            or len(payload.value) != header.payload_length
            or hashlib.sha256(payload.value).digest() != header.payload_sha256
        ):
            return Audit(
                code="E_DIGEST",
                words="signature good, but the content is not what was signed",
                sender=uri,
                fingerprint=fingerprint,
            )
        sent_at = from_timestamp(header.sent_at)
        code, words = self._believed(key, presented, sent_at, now)
        return Audit(code=code, words=words, sender=uri, fingerprint=fingerprint)

    def _parsed(self, key: bytes, text: str) -> Presented:
        if self._generation != self.trust.generation or len(self._presented) >= REMEMBERED:
            self._generation = self.trust.generation
            self._presented.clear()
            self._refused.clear()
        presented = self._presented.get(key)
        if presented is None:
            presented = self._presented[key] = parse_presented(text)
        return presented

    def _verified(self, key: bytes, presented: Presented, sent_at: int, now: int) -> Known:
        refused = self._refused.get(key)
        if refused is not None:
            raise refused
        try:
            return self.trust.verify(key, presented, sent_at, now)
        except MessageRejected as error:
            if error.code != "E_CERT_TIME":
                self._refused[key] = error
            raise

    def _header(self, signed: bytes, presented: Presented) -> pb.SignedHeader:
        try:
            header = pb.SignedHeader.FromString(signed)
        except DecodeError:
            raise MessageRejected("E_HEADER", "header cannot be parsed") from None
        if header.version != HEADER_VERSION:
            raise MessageRejected("E_HEADER", f"header version {header.version} is unknown")
        if header.sender != presented.identity.uri or header.certificate_sha256 != presented.fingerprint:
            raise MessageRejected("E_HEADER", "header names another sender than the certificate")
        if self._federation and header.federation != self._federation:
            raise MessageRejected("E_FEDERATION", "message of another federation")
        return header

    def _believed(self, key: bytes, presented: Presented, sent_at: int, now: int) -> tuple[str, str]:
        """What the trust store says of a signature that fits."""
        if presented.fingerprint.hex() in self._own:
            end = to_micros(presented.leaf.not_valid_after_utc)
            return OK, f"signature good, our own certificate, {_validity(end, now)}"
        _, known = self.trust.known(presented.text)
        try:
            if known is None:
                known = self._verified(key, presented, sent_at, now)
            self.trust.check(known, sent_at, now)
        except MessageRejected as error:
            return error.code, f"signature good, but {_words(error)}"
        chain = known.chain
        if not chain.start - self._skew <= sent_at <= chain.end:
            return "E_CERT_TIME", "signature good, but it was sent when the certificate was not valid"
        return OK, f"signature good, certificate {_validity(chain.end, now)}"


def _validity(end: int, now: int) -> str:
    text = to_text(end)
    return f"valid until {text}" if now <= end else f"valid when it was sent, expired since {text}"


def _words(error: MessageRejected) -> str:
    match error.code:
        case "E_CHAIN":
            return f"its certificate was not issued by a CA that is trusted for its site ({error.detail})"
        case "E_NAMESPACE":
            return f"its signer is not trusted: {error.detail}"
        case "E_BANNED":
            return "its signer is banned on this host"
        case "E_REVOKED":
            return "its certificate is revoked"
        case _:
            return error.detail or error.code
