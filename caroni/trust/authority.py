"""A site's own certificate authority: made once, kept off the daemons' hosts, used by an operator.

Its directory holds ``ca.key`` (encrypted), ``ca.pem`` and ``index.jsonl``, to which every issue,
revocation and list is appended. An authority in memory (no directory, no passphrase) serves the embedded
system. The CA never copies what a request asks for: it takes the public key, the operator says the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from caroni.core.plan import DAY, HOUR
from caroni.errors import ConfigError, MessageRejected, UsageError
from caroni.trust import keys
from caroni.trust.certificates import PublicKey
from caroni.trust.chain import key_id
from caroni.trust.identity import ROLE_OIDS, ROLES, Identity, is_site
from caroni.trust.instants import to_datetime, to_micros
from caroni.trust.keys import KeySigner
from caroni.trust.store import SiteTrust, TrustStore

#: How ``revoke`` spells the reasons of RFC 5280; only these two leave earlier messages good.
REASONS: Final = {
    "unspecified": x509.ReasonFlags.unspecified,
    "key-compromise": x509.ReasonFlags.key_compromise,
    "superseded": x509.ReasonFlags.superseded,
    "cessation-of-operation": x509.ReasonFlags.cessation_of_operation,
    "privilege-withdrawn": x509.ReasonFlags.privilege_withdrawn,
}
#: How long before its issue a certificate is valid already: clocks differ.
BACKDATED: Final = HOUR
#: How long a list keeps a certificate that has expired: nothing signed with it counts any more.
KEPT_AFTER_EXPIRY: Final = 60 * DAY
#: Years after which a daemon's certificate ends unless the operator says otherwise, in days.
LEAF_DAYS: Final = 365


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of the index: an issue, a revocation, or a list (``event``)."""

    event: str
    at: int
    serial: str = ""
    uri: str = ""
    not_after: int = 0
    key_sha256: str = ""
    reason: str = ""
    number: int = 0


class CertificateAuthority:
    """Issues, revokes and lists. Get one from :meth:`create`, :meth:`load` or :meth:`in_memory`."""

    def __init__(
        self,
        site: str,
        key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
        directory: Path | None,
        records: Iterable[Record] = (),
    ) -> None:
        self.site = site
        self.certificate = certificate
        self.directory = directory
        self._key = key
        self._records = list(records)

    # --- making one --------------------------------------------------------------------------------

    @classmethod
    def create(
        cls, directory: Path, site: str, passphrase: bytes | None, *, now: int, years: int = 10
    ) -> CertificateAuthority:
        """Make a new CA in a directory of its own.

        ``passphrase`` None leaves the key unencrypted, for tests and throw-away systems.

        Raises:
            UsageError: the site's name is no name, the passphrase is empty, or a CA is there already.
            ConfigError: the directory is unsafe or cannot be written.
        """
        if passphrase is not None and not passphrase:
            raise UsageError("a CA's key needs a passphrase")
        if (directory / "ca.pem").exists():
            raise UsageError(f"{directory} holds a CA already")
        made = cls._make(site, now, years, directory)
        keys.store_private_key(directory / "ca.key", made._key, passphrase)
        keys.write_atomically(directory / "ca.pem", made.pem.encode("ascii"))
        return made

    @classmethod
    def load(cls, directory: Path, passphrase: bytes | None) -> CertificateAuthority:
        """Open an existing CA.

        Raises:
            ConfigError: files are missing, unsafe or damaged, or the passphrase is wrong.
        """
        pem_path = directory / "ca.pem"
        certificate = keys.certificates_of(keys.read_text(pem_path), pem_path)[0]
        key = keys.load_private_key(directory / "ca.key", passphrase)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError(f"{directory / 'ca.key'} is not a CA key of Caroni")
        site = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        if not site or not is_site(str(site[0].value)):
            raise ConfigError(f"{pem_path} is not a CA certificate of Caroni: it names no site")
        return cls(str(site[0].value), key, certificate, directory, _read_index(directory / "index.jsonl"))

    @classmethod
    def in_memory(cls, site: str, *, now: int) -> CertificateAuthority:
        """A throw-away CA for the embedded system: no file, no passphrase.

        Raises:
            UsageError: the site's name is no name.
        """
        return cls._make(site, now, 10, None)

    @classmethod
    def _make(cls, site: str, now: int, years: int, directory: Path | None) -> CertificateAuthority:
        if not is_site(site):
            raise UsageError(f"{site!r} cannot name a site: lower-case letters, digits, dots and hyphens")
        if not 1 <= years <= 30:
            raise UsageError("a CA lives 1 to 30 years")
        key = ec.generate_private_key(ec.SECP384R1())
        # the random part tells two CAs of one site apart while one replaces the other
        serial = x509.random_serial_number()
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, site),
                x509.NameAttribute(NameOID.COMMON_NAME, f"Caroni CA {serial % 16**8:08x}"),
            ]
        )
        certificate = (
            x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
            .serial_number(serial)
            .not_valid_before(to_datetime(now - BACKDATED))
            .not_valid_after(to_datetime(now + years * 366 * DAY))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA384())
        )
        return cls(site, key, certificate, directory)

    # --- what it is --------------------------------------------------------------------------------

    @property
    def pem(self) -> str:
        """The CA's certificate."""
        return self.certificate.public_bytes(Encoding.PEM).decode("ascii")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the CA's certificate, hexadecimal."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def trust(self, roles: Iterable[str] = ROLES) -> SiteTrust:
        """This CA as a trusted site, without a file."""
        return SiteTrust(site=self.site, anchors=(self.certificate,), roles=frozenset(roles))

    # --- issuing -----------------------------------------------------------------------------------

    def issue(self, csr: str, role: str, name: str, *, now: int, days: int = LEAF_DAYS) -> str:
        """Answer a certificate request (PEM): its public key, the operator's role and name.

        Whatever else the request asks for is not looked at.

        Raises:
            UsageError: not a request, no proof that the key is held, a key of the wrong kind or already
                certified, a bad role or name.
        """
        try:
            request = x509.load_pem_x509_csr(csr.encode("ascii"))
            proven = request.is_signature_valid
            public_key: object = request.public_key()
        except Exception:  # hostile or foreign DER
            raise UsageError("not a certificate request (PEM)") from None
        if not proven:
            raise UsageError("the request is not signed by its own key: make a new one")
        return self.certify(public_key, role, name, now=now, days=days)

    def issue_key(self, role: str, name: str, *, now: int, days: int = LEAF_DAYS) -> KeySigner:
        """Key and certificate in one go, in memory.

        Raises:
            UsageError: a bad role or name.
        """
        key = keys.generate_key()
        return KeySigner(key, self.certify(key.public_key(), role, name, now=now, days=days))

    def certify(self, public_key: object, role: str, name: str, *, now: int, days: int = LEAF_DAYS) -> str:
        """A certificate (PEM) for a public key.

        Raises:
            UsageError: as :meth:`issue`.
        """
        try:
            identity = Identity.of(self.site, role, name)
        except MessageRejected as error:
            raise UsageError(error.detail) from None
        key = _message_key(public_key)
        if not 1 <= days <= 3660:
            raise UsageError("a certificate lives 1 to 3660 days")
        ca_end = to_micros(self.certificate.not_valid_after_utc)
        if now >= ca_end:
            raise UsageError("the CA's certificate has expired: make a new CA")
        end = min(now + days * DAY, ca_end)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(to_datetime(now - BACKDATED), self.certificate.not_valid_before_utc))
            .not_valid_after(to_datetime(end))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ROLE_OIDS[role]]), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.uri)]), critical=True
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        certificate = builder.sign(self._key, hashes.SHA384())
        digest = key_id(certificate).hex()
        # an identity may renew with its key, and both certificates overlap; nobody else may have that key
        if any(r.key_sha256 == digest and r.uri != identity.uri for r in self.live(now)):
            raise UsageError(
                "this key has a certificate of another name that is still good: make a request with a new key"
            )
        self._append(
            Record(
                event="issue",
                at=now,
                serial=f"{certificate.serial_number:x}",
                uri=identity.uri,
                not_after=end,
                key_sha256=digest,
            )
        )
        return certificate.public_bytes(Encoding.PEM).decode("ascii")

    def live(self, now: int) -> list[Record]:
        """Certificates that are neither expired nor revoked."""
        revoked = {r.serial for r in self._records if r.event == "revoke"}
        return [
            r for r in self._records if r.event == "issue" and r.not_after > now and r.serial not in revoked
        ]

    # --- revoking ----------------------------------------------------------------------------------

    def revoke(self, subject: str, reason: str, *, now: int) -> list[str]:
        """Revoke a URI's certificates, or one by its serial (hexadecimal); gives the serials.

        It takes effect elsewhere with the next list.

        Raises:
            UsageError: an unknown reason, or no live certificate of that name.
        """
        if reason not in REASONS:
            raise UsageError(f"unknown reason {reason!r}: one of {', '.join(REASONS)}")
        wanted = subject.replace(":", "").lower().removeprefix("0x").lstrip("0")
        found = [r for r in self.live(now) if r.uri == subject or r.serial == wanted]
        if not found:
            raise UsageError(f"no certificate that is still good for {subject}")
        for record in found:
            self._append(
                Record(
                    event="revoke",
                    at=now,
                    serial=record.serial,
                    uri=record.uri,
                    not_after=record.not_after,
                    reason=reason,
                )
            )
        return [record.serial for record in found]

    def revocation_list(self, *, now: int, days: int = 30) -> str:
        """The next revocation list (PEM), with a number one higher than the last.

        Raises:
            UsageError: the time is not 1 to 366 days.
        """
        if not 1 <= days <= 366:
            raise UsageError("a revocation list lives 1 to 366 days")
        number = 1 + max((r.number for r in self._records if r.event == "list"), default=0)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(to_datetime(now))
            .next_update(to_datetime(now + days * DAY))
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        for record in self._records:
            if record.event == "revoke" and record.not_after + KEPT_AFTER_EXPIRY > now:
                entry = (
                    x509.RevokedCertificateBuilder()
                    .serial_number(int(record.serial, 16))
                    .revocation_date(to_datetime(record.at))
                )
                if record.reason != "unspecified":
                    entry = entry.add_extension(x509.CRLReason(REASONS[record.reason]), critical=False)
                builder = builder.add_revoked_certificate(entry.build())
        signed = builder.sign(self._key, hashes.SHA384())
        self._append(Record(event="list", at=now, number=number))
        return signed.public_bytes(Encoding.PEM).decode("ascii")

    def _append(self, record: Record) -> None:
        if self.directory is not None:
            path = self.directory / "index.jsonl"
            try:
                handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
                with os.fdopen(handle, "ab") as file:
                    file.write(msgspec.json.encode(record) + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
        self._records.append(record)


def throwaway(
    site: str, participants: Iterable[tuple[str, str]], *, now: int
) -> tuple[TrustStore, dict[str, KeySigner]]:
    """Everything the embedded system needs to be signed: a store that trusts a CA which is gone at once.

    ``participants`` are (role, name); the signers come back by URI.
    """
    authority = CertificateAuthority.in_memory(site, now=now)
    signers = [authority.issue_key(role, name, now=now) for role, name in participants]
    return TrustStore([authority.trust()]), {signer.uri: signer for signer in signers}


def _message_key(key: object) -> PublicKey:
    if isinstance(key, Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise UsageError("messages are signed with Ed25519 or P-256 keys only: make a new request")


def _usage(*, ca: bool) -> x509.KeyUsage:
    flags: dict[str, Any] = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **flags)


def _read_index(path: Path) -> list[Record]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(msgspec.json.decode(line, type=Record))
        except (msgspec.DecodeError, ValueError):
            raise ConfigError(f"{path}:{number}: not a record: restore the file from a copy") from None
    return records
