"""Two sites, their CAs and participants, and an attacker's workshop that signs whatever it is told."""

from __future__ import annotations

import base64
import hashlib
import random
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from caroni.core import messages as m
from caroni.core.plan import DAY
from caroni.trust.authority import CertificateAuthority
from caroni.trust.identity import ROLE_OIDS
from caroni.trust.instants import to_datetime
from caroni.trust.keys import KeySigner
from caroni.trust.store import TrustStore
from caroni.wire import caroni_pb2 as pb
from caroni.wire.bundle import Payload, pack
from caroni.wire.codec import TYPE_PREFIX, encode
from caroni.wire.envelope import Opener, Sealer, pre_authentication_encoding
from caroni.wire.fields import to_timestamp
from caroni.wire.sealing import HEADER_TYPE
from caroni.wire.topics import topic_of

NOW = 1_795_500_000_000_000
MANAGER = "caroni://esa.example/manager/m1"
AGENT = "caroni://nasa.example/agent/a1"
OTHER_AGENT = "caroni://nasa.example/agent/a2"
DICE = random.Random(7)


def some_id() -> bytes:
    return DICE.randbytes(16)


class World:
    """esa.example runs a manager; nasa.example is trusted for agents only."""

    def __init__(self, at: int = NOW) -> None:
        self.esa = CertificateAuthority.in_memory("esa.example", now=at - 100 * DAY)
        self.nasa = CertificateAuthority.in_memory("nasa.example", now=at - 100 * DAY)
        self.store = TrustStore([self.esa.trust(("manager", "submitter")), self.nasa.trust(("agent",))])
        self.manager = self.esa.issue_key("manager", "m1", now=at - DAY)
        self.submitter = self.esa.issue_key("submitter", "s1", now=at - DAY)
        self.agent = self.nasa.issue_key("agent", "a1", now=at - DAY)
        self.other = self.nasa.issue_key("agent", "a2", now=at - DAY)

    def opener(self, uri: str = MANAGER, **options: Any) -> Opener:
        return Opener(self.store, uri, "prod", **options)

    def sealer(self, signer: KeySigner | None = None, federation: str = "prod") -> Sealer:
        signer = signer or self.agent
        return Sealer(signer, signer.uri, federation)


def payload(*messages: m.Message) -> Payload:
    return pack([(some_id(), some_id(), b"", *encode(message)) for message in messages])


def seal(sealer: Sealer, message: m.Message, audience: str = MANAGER, now: int = NOW) -> bytes:
    return sealer.seal(payload(message), audience, some_id(), some_id(), b"", now, 5, 1)


def forge(
    signer: Any,
    message: m.Message | None = None,
    *,
    type_url: str = "",
    value: bytes = b"",
    certificate: str | None = None,
    pae_type: bytes | None = HEADER_TYPE,
    now: int = NOW,
    padding: bytes = b"",
    **header: Any,
) -> bytes:
    """An envelope that says anything at all, correctly signed unless told otherwise."""
    if message is not None:
        type_url, value = encode(message)
    fields: dict[str, Any] = {
        "version": 1,
        "federation": "prod",
        "message_id": some_id(),
        "sender": signer.uri,
        "audience": [MANAGER],
        "sent_at": to_timestamp(now),
        "expires_at": to_timestamp(now + 40 * DAY),
        "payload_type": type_url,
        "payload_sha256": hashlib.sha256(value).digest(),
        "payload_length": len(value),
        "stream_id": bytes(8),
        "reply_topic": topic_of(signer.uri),
        "certificate_sha256": signer.fingerprint,
        **header,
    }
    signed = pb.SignedHeader(**fields).SerializeToString() + padding
    to_sign = signed if pae_type is None else pre_authentication_encoding(pae_type, signed)
    return envelope(
        signed, signer.sign(to_sign), certificate or signer.certificate, type_url, value
    ).SerializeToString()


def envelope(
    signed: bytes, signature: bytes, certificate: str, type_url: str, value: bytes
) -> pb.CaroniEnvelope:
    made = pb.CaroniEnvelope(signed_header=signed)
    made.signature.signator_certificate = certificate
    made.signature.payload_signature = base64.b64encode(signature).decode()
    made.payload.type_url = type_url
    made.payload.value = value
    return made


class OddSigner:
    """Signs with any key under any certificate, however unfit."""

    def __init__(self, key: Any, certificate: str, uri: str) -> None:
        self._key = key
        self.certificate = certificate
        self.uri = uri
        leaf = x509.load_pem_x509_certificates(certificate.encode())[0]
        self.fingerprint = leaf.fingerprint(hashes.SHA256())

    def sign(self, data: bytes) -> bytes:
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(data)
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            return self._key.sign(data, ec.ECDSA(hashes.SHA256()))
        from cryptography.hazmat.primitives.asymmetric import padding

        signed: bytes = self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return signed


def odd_leaf(
    authority: CertificateAuthority,
    uri: str = AGENT,
    *,
    uris: list[str] | None = None,
    usages: list[x509.ObjectIdentifier] | None = None,
    key: Any = None,
    ca: bool = False,
    issuer_key: Any = None,
    issuer: x509.Certificate | None = None,
    start: int = NOW - DAY,
    end: int = NOW + 365 * DAY,
    chain: str = "",
) -> OddSigner:
    """A participant whose certificate breaks whichever rule is asked for."""
    key = key or ed25519.Ed25519PrivateKey.generate()
    issuer = issuer or authority.certificate
    issuer_key = issuer_key or authority._key
    role = uri.split("/")[3] if uri.count("/") > 3 else "agent"
    usages = [ROLE_OIDS.get(role, ROLE_OIDS["agent"])] if usages is None else usages
    subject = x509.Name([]) if not ca else x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "odd")])
    builder = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer.subject, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(to_datetime(start))
        .not_valid_after(to_datetime(end))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(True, False, False, False, False, ca, ca, False, False), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(u) for u in uris or [uri]]),
            critical=True,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
    )
    if ca:
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    algorithm = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA384()
    pem = builder.sign(issuer_key, algorithm).public_bytes(Encoding.PEM).decode()
    return OddSigner(key, pem + chain, uri)


def list_of(
    authority: CertificateAuthority,
    number: int,
    revoked: dict[int, tuple[int, x509.ReasonFlags | None]] | None = None,
    *,
    now: int = NOW,
    days: int = 30,
    key: Any = None,
) -> bytes:
    """A revocation list (DER) of any number: serial -> (since, reason)."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(to_datetime(now))
        .next_update(to_datetime(now) + timedelta(days=days))
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial, (since, reason) in (revoked or {}).items():
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(to_datetime(since))
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key or authority._key, hashes.SHA384()).public_bytes(Encoding.DER)


def serial_of(signer: Any) -> int:
    return x509.load_pem_x509_certificates(signer.certificate.encode())[0].serial_number


STATUS = m.JobStatusUpdate(job_uuid=bytes(range(16)), job_status=m.JobStatus.RUNNING, seq=3)
REQUEST = m.JobFulfillmentRequest(request_uuid=bytes(16), job_type_name="thumbnail", parameters=("image",))
ACCEPT = m.JobFulfillmentOfferAccept(request_uuid=bytes(16), offer_uuid=bytes(16))
REJECT = m.JobFulfillmentOfferReject(request_uuid=bytes(16), offer_uuid=bytes(16))
PRESENCE = m.AgentPresence(state=m.PresenceState.ONLINE, number=4)
STATUS_URL = TYPE_PREFIX + "JobStatusUpdate"
