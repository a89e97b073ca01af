"""Path validation, the one user of ``cryptography.x509.verification`` (its interface is not yet stable).

There is one verifier per site, holding that site's anchors only: so no site can speak in another's name.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from caroni.errors import MessageRejected
from caroni.trust.certificates import Presented
from caroni.trust.instants import to_datetime, to_micros


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """A verified path: when all of it is valid, and each certificate below the anchor as (issuer, serial)."""

    start: int
    end: int
    serials: tuple[tuple[bytes, int], ...]


def key_id(certificate: x509.Certificate) -> bytes:
    """SHA-256 of a certificate's public key: what names an issuer here (names can be repeated)."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


def _any_role(_policy: object, _leaf: x509.Certificate, _usage: object) -> None:
    """The role has been checked with the profile; the library would refuse our object identifiers."""


class SiteVerifier:
    """Validates chains to the anchors of one site."""

    def __init__(self, anchors: tuple[x509.Certificate, ...]) -> None:
        self._anchors = anchors
        self._store = Store(list(anchors))
        self._ee = ExtensionPolicy.webpki_defaults_ee().require_present(
            x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _any_role
        )
        self._ca = ExtensionPolicy.webpki_defaults_ca()

    def verify(self, presented: Presented, at: int) -> Chain:
        """Validate at an instant, moved into the presented certificates' validity.

        The caller compares the instant with the chain's window afterwards: so a chain that has merely
        expired is told from one that is wrong, and the result serves every instant.

        Raises:
            MessageRejected: ``E_CHAIN``, or ``E_CERT_TIME`` where the certificates' and the anchor's
                validity do not overlap at that instant.
        """
        parts = (presented.leaf, *presented.intermediates)
        start = max(to_micros(c.not_valid_before_utc) for c in parts)
        end = min(to_micros(c.not_valid_after_utc) for c in parts)
        moment = min(max(at, start), end)
        # a verifier keeps the time it was built for, hence one for each validation
        builder = PolicyBuilder().store(self._store).time(to_datetime(moment)).max_chain_depth(2)
        builder = builder.extension_policies(ca_policy=self._ca, ee_policy=self._ee)
        try:
            chain = (
                builder.build_client_verifier().verify(presented.leaf, list(presented.intermediates)).chain
            )
        except VerificationError as error:
            if start > end or not any(_valid(anchor, moment) for anchor in self._anchors):
                raise MessageRejected("E_CERT_TIME", "no anchor is valid at that time") from None
            raise MessageRejected("E_CHAIN", str(error)[:200]) from None
        except Exception as error:  # hostile DER that only path building looks at
            raise MessageRejected("E_CHAIN", type(error).__name__) from None
        return Chain(
            start=max(to_micros(c.not_valid_before_utc) for c in chain),
            end=min(to_micros(c.not_valid_after_utc) for c in chain),
            serials=tuple(
                (key_id(issuer), certificate.serial_number) for certificate, issuer in pairwise(chain)
            ),
        )


def _valid(certificate: x509.Certificate, moment: int) -> bool:
    return to_micros(certificate.not_valid_before_utc) <= moment <= to_micros(certificate.not_valid_after_utc)
