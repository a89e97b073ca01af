"""What a message may be signed with: the presented certificate text, taken apart and held to the profile.

Path validation (``chain``) does not look at the leaf's key, nor at how many names or roles it has; this
does (``docs/security.md`` 2.3, 2.4). Every failure is a named verdict, whatever the bytes.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from caroni.errors import MessageRejected
from caroni.trust.identity import ROLE_OF_OID, Identity

MAX_CERTIFICATE_TEXT: Final = 8 * 1024
MAX_CERTIFICATES: Final = 3
#: What stands for a certificate that the recipient is known to hold.
URN_PREFIX: Final = "urn:caroni:cert:sha256:"

_URN = re.compile(re.escape(URN_PREFIX) + "([0-9a-f]{64})")
_BEGIN = "-----BEGIN CERTIFICATE-----"
_ECDSA = ec.ECDSA(hashes.SHA256())

PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey


class Presented(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A certificate text that keeps the profile; nothing is said yet about who issued it."""

    text: str
    identity: Identity
    leaf: x509.Certificate
    intermediates: tuple[x509.Certificate, ...]
    public_key: PublicKey
    #: SHA-256 of the leaf's DER
    fingerprint: bytes

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether the leaf's key made this signature."""
        try:
            if isinstance(self.public_key, Ed25519PublicKey):
                self.public_key.verify(signature, data)
            else:
                self.public_key.verify(signature, data, _ECDSA)
        except InvalidSignature:
            return False
        return True


def urn_fingerprint(text: str) -> bytes | None:
    """The fingerprint that a URN names; None if the text is no such URN."""
    found = _URN.fullmatch(text)
    return bytes.fromhex(found[1]) if found else None


def urn_of(fingerprint: bytes) -> str:
    """The URN of a certificate."""
    return URN_PREFIX + fingerprint.hex()


def parse_presented(text: str) -> Presented:
    """Take a certificate text apart.

    Only the spelling that the library itself writes is taken, so that one certificate has one text and a
    third party cannot make others of it.

    Raises:
        MessageRejected: ``E_CERT_FORMAT``, ``E_KEYTYPE`` or ``E_IDENTITY``.
    """
    if len(text) > MAX_CERTIFICATE_TEXT:
        raise MessageRejected("E_CERT_FORMAT", "certificate text is larger than 8 KiB")
    if not 1 <= text.count(_BEGIN) <= MAX_CERTIFICATES:
        raise MessageRejected("E_CERT_FORMAT", f"not one to {MAX_CERTIFICATES} certificates")
    try:
        leaf, *intermediates = x509.load_pem_x509_certificates(text.encode("ascii"))
        written = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (leaf, *intermediates))
    except Exception:  # the library names no closed set of errors for hostile DER
        raise MessageRejected("E_CERT_FORMAT", "certificate cannot be parsed") from None
    if written != text.encode("ascii"):
        raise MessageRejected("E_CERT_FORMAT", "certificate text is not in its plain form")
    return Presented(
        text=text,
        public_key=_key(leaf),
        identity=_identity(leaf),
        leaf=leaf,
        intermediates=tuple(intermediates),
        fingerprint=hashlib.sha256(leaf.public_bytes(serialization.Encoding.DER)).digest(),
    )


def _key(leaf: x509.Certificate) -> PublicKey:
    try:
        key = leaf.public_key()
    except Exception:  # as above: unsupported algorithms, points off the curve, ...
        raise MessageRejected("E_KEYTYPE", "the certificate's key is of no known kind") from None
    if isinstance(key, Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise MessageRejected("E_KEYTYPE", "messages are signed with Ed25519 or P-256 keys only")


def _identity(leaf: x509.Certificate) -> Identity:
    try:
        extensions = leaf.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints)
        usage = extensions.get_extension_for_class(x509.KeyUsage)
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
        roles = extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        empty_subject = not leaf.subject.rdns
    except Exception:  # a missing, doubled or malformed extension
        raise MessageRejected("E_IDENTITY", "the certificate lacks what identifies a participant") from None
    if constraints.value.ca:
        raise MessageRejected("E_IDENTITY", "a CA certificate does not sign messages")
    if not _digital_signature_only(usage.value):
        raise MessageRejected("E_IDENTITY", "the key usage must be digitalSignature alone")
    uris = list(names.value)
    if not (names.critical and empty_subject and len(uris) == 1):
        raise MessageRejected("E_IDENTITY", "not exactly one name, critical, with an empty subject")
    if not isinstance(uris[0], x509.UniformResourceIdentifier):
        raise MessageRejected("E_IDENTITY", "the certificate's name is no URI")
    identity = Identity.parse(uris[0].value)
    oids = [oid.dotted_string for oid in roles.value]
    if len(oids) != 1 or ROLE_OF_OID.get(oids[0]) != identity.role:
        raise MessageRejected("E_IDENTITY", "the certificate's role is not the URI's")
    return identity


def _digital_signature_only(usage: x509.KeyUsage) -> bool:
    return usage.digital_signature and not (
        usage.content_commitment
        or usage.key_encipherment
        or usage.data_encipherment
        or usage.key_agreement
        or usage.key_cert_sign
        or usage.crl_sign
    )
