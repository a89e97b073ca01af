"""What goes between people and sites by file: requests, certificates, and one text bundle per site.

A bundle is plain text (CA certificate, revocation list, site, offered roles) for a USB stick or a mail.
It is worth nothing without the fingerprint that its sender reads out over another way: there is no trust
on first use. Sources of all of this are files; nothing here is ever fetched.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from caroni.errors import ConfigError, MessageRejected, UsageError
from caroni.trust import keys
from caroni.trust.authority import CertificateAuthority
from caroni.trust.certificates import parse_presented
from caroni.trust.chain import SiteVerifier
from caroni.trust.identity import ROLES, Identity, is_site
from caroni.trust.instants import to_micros, to_text
from caroni.trust.keys import SigningKey
from caroni.trust.revocation import HARMLESS
from caroni.trust.store import TrustStore, check_anchor, lists_text, read_lists, read_site

HEADING: Final = "Caroni trust bundle 1"
_WARN_BEFORE: Final = 30 * 86_400_000_000


def spaced(fingerprint: str) -> str:
    """A hexadecimal fingerprint in groups of four, to read out."""
    return " ".join(fingerprint[i : i + 4] for i in range(0, len(fingerprint), 4))


def bare(fingerprint: str) -> str:
    """A fingerprint as typed (spaces, colons, capitals) without its spelling."""
    return "".join(fingerprint.split()).replace(":", "").lower()


# --- requests and certificates -------------------------------------------------------------------


def make_request(key: SigningKey, identity: Identity) -> str:
    """A certificate request (PEM) for a key; the name in it is a wish that the CA need not grant."""
    hint = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{identity.role} {identity.name}")])
    uri = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.uri)])
    builder = x509.CertificateSigningRequestBuilder(subject_name=hint).add_extension(uri, critical=False)
    algorithm = None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode("ascii")


def install_certificate(
    certificate: str, key_path: Path, target: Path, anchors: str, *, now: int
) -> Identity:
    """Put a certificate beside its key, if it belongs to it and to the CA.

    Raises:
        ConfigError: it is for another key, another CA's, expired, or unsuited to sign messages.
    """
    certificate = certificate.replace("\r\n", "\n")
    key = keys.as_signing_key(keys.load_private_key(key_path), key_path)
    keys.KeySigner(key, certificate)
    presented = parse_presented(certificate)
    try:
        verifier = SiteVerifier(tuple(keys.certificates_of(anchors, "CA certificate")))
        chain = verifier.verify(presented, now)
    except MessageRejected as error:
        raise ConfigError(f"the certificate was not issued by this CA ({error.code})") from None
    if not chain.start <= now <= chain.end:
        raise ConfigError(f"the certificate is good from {to_text(chain.start)} to {to_text(chain.end)} only")
    keys.write_atomically(target, certificate.encode("ascii"))
    return presented.identity


# --- bundles between sites -----------------------------------------------------------------------


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A site as another site is to know it. ``fingerprints`` are of its anchors, ascending."""

    site: str
    roles: tuple[str, ...]
    anchors: str
    lists: str
    fingerprints: tuple[str, ...]


def export_bundle(authority: CertificateAuthority, roles: tuple[str, ...], *, now: int) -> str:
    """The text to hand to a partner: with a fresh revocation list, so that it can be seen to age.

    Raises:
        UsageError: an unknown role, or none.
    """
    if not roles or (unknown := sorted(set(roles) - set(ROLES))):
        raise UsageError(
            f"roles must be some of {', '.join(ROLES)}{'' if not roles else f', not {unknown[0]}'}"
        )
    head = (
        f"{HEADING}\nSite: {authority.site}\nRoles: {', '.join(roles)}\nMade: {to_text(now)}\n"
        f"SHA-256: {spaced(authority.fingerprint)}\n\n"
    )
    return head + authority.pem + authority.revocation_list(now=now)


def read_bundle(text: str) -> Bundle:
    """Take a bundle apart.

    Raises:
        UsageError: it is no bundle, or its parts do not fit each other.
    """
    lines = text.replace("\r\n", "\n").strip().split("\n")
    if lines[0].strip() != HEADING:
        raise UsageError(f"not a trust bundle: its first line is not {HEADING!r}")
    fields = dict(line.split(": ", 1) for line in lines[1:20] if ": " in line and not line.startswith("-"))
    body = "\n".join(lines) + "\n"
    site = fields.get("Site", "").strip()
    roles = tuple(role.strip() for role in fields.get("Roles", "").split(",") if role.strip())
    if not is_site(site) or not roles or set(roles) - set(ROLES):
        raise UsageError("the trust bundle names no site, or roles that do not exist")
    try:
        start, end = body.index("-----BEGIN CERTIFICATE"), body.rindex("-----END CERTIFICATE-----\n")
        anchors = keys.certificates_of(body[start : end + 26], "trust bundle")
        for anchor in anchors:
            check_anchor(anchor, "trust bundle")
        lists = read_lists(body, tuple(anchors))
    except ValueError:
        raise UsageError("the trust bundle holds no certificate") from None
    except (ConfigError, MessageRejected) as error:
        raise UsageError(f"the trust bundle is damaged: {error}") from None
    return Bundle(
        site=site,
        roles=roles,
        anchors="".join(a.public_bytes(Encoding.PEM).decode("ascii") for a in anchors),
        lists=lists_text(lists.values()),
        fingerprints=tuple(sorted(a.fingerprint(hashes.SHA256()).hex() for a in anchors)),
    )


def import_bundle(
    directory: Path, text: str, *, expect_fingerprint: str, roles: tuple[str, ...] | None = None
) -> Bundle:
    """Trust a site from now on, for the offered roles or fewer.

    ``expect_fingerprint`` must come from somewhere else than the bundle; with several anchors, all of
    theirs, separated by commas.

    Raises:
        UsageError: the bundle is damaged, is another one than expected, or does not offer the roles.
        ConfigError: the directory cannot be written, or an older list than the present one is offered.
    """
    bundle = read_bundle(text)
    expected = tuple(sorted(bare(part) for part in expect_fingerprint.split(",")))
    if expected != bundle.fingerprints:
        found = ", ".join(spaced(f) for f in bundle.fingerprints)
        raise UsageError(f"the fingerprint is another one: this bundle has {found}; ask its sender again")
    granted = bundle.roles if roles is None else roles
    if not granted or set(granted) - set(bundle.roles):
        raise UsageError(f"{bundle.site} offers only {', '.join(bundle.roles)}")
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = directory / f"{bundle.site}.toml"
    _refuse_older_lists(path, bundle)
    keys.write_atomically(directory / f"{bundle.site}.pem", bundle.anchors.encode("ascii"))
    if bundle.lists:
        keys.write_atomically(directory / f"{bundle.site}.crl", bundle.lists.encode("ascii"))
    lines = [
        f'site = "{bundle.site}"',
        f'ca = "{bundle.site}.pem"',
        f"ca_sha256 = {msgspec.json.encode(bundle.fingerprints).decode()}",
        f"roles = {msgspec.json.encode(granted).decode()}",
        *([f'crl = "{bundle.site}.crl"'] if bundle.lists else []),
        'max_staleness = "30d"',
        'crl_fail = "deny-new-work"',
    ]
    keys.write_atomically(path, ("\n".join(lines) + "\n").encode("ascii"))
    TrustStore.load(directory)
    return bundle


def _refuse_older_lists(path: Path, bundle: Bundle) -> None:
    """A bundle must not bring a list back that knows less than the one that is here."""
    if not path.exists():
        return
    present = read_site(path)
    offered = read_lists(bundle.lists, tuple(keys.certificates_of(bundle.anchors, "trust bundle")))
    for issuer, old in present.lists.items():
        new = offered.get(issuer)
        if new is not None and new.number < old.number:
            raise ConfigError(
                f"the bundle's revocation list {new.number} is older than the present {old.number}: "
                "ask for a new bundle"
            )


# --- in plain words ------------------------------------------------------------------------------


def describe(text: str, *, now: int) -> list[str]:
    """What a file is, line by line: a certificate, a request, a revocation list or a bundle.

    Raises:
        UsageError: it is none of these.
    """
    text = text.replace("\r\n", "\n")
    try:
        if text.lstrip().startswith(HEADING):
            return _describe_bundle(read_bundle(text), now)
        if "-----BEGIN CERTIFICATE REQUEST" in text:
            return _describe_request(x509.load_pem_x509_csr(text.encode("ascii")))
        if "-----BEGIN X509 CRL" in text:
            return _describe_list(x509.load_pem_x509_crl(text.encode("ascii")), now)
        if "-----BEGIN CERTIFICATE" in text:
            lines: list[str] = []
            for certificate in x509.load_pem_x509_certificates(text.encode("ascii")):
                lines += _describe_certificate(certificate, now)
            return lines
    except UsageError:
        raise
    except Exception as error:  # hostile or foreign DER
        raise UsageError(f"the file is damaged ({type(error).__name__})") from None
    if "PRIVATE KEY" in text:
        raise UsageError("this is a private key: it is never shown and never leaves its host")
    raise UsageError("neither a certificate, a request, a revocation list nor a trust bundle")


def _describe_certificate(certificate: x509.Certificate, now: int) -> list[str]:
    start, end = to_micros(certificate.not_valid_before_utc), to_micros(certificate.not_valid_after_utc)
    pem = certificate.public_bytes(Encoding.PEM).decode("ascii")
    problems = []
    try:
        check_anchor(certificate, "")
        organisation = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        lines = [f"CA certificate of site {organisation[0].value!s}" if organisation else "CA certificate"]
    except ConfigError:
        try:
            identity = parse_presented(pem).identity
            lines = [f"Certificate of {identity.uri}", f"  role     {identity.role}"]
        except MessageRejected as error:
            lines = ["Certificate"]
            problems.append(f"cannot sign messages: {error.detail or error.code}")
    if now < start:
        problems.append("not valid yet")
    elif now > end:
        problems.append("expired")
    elif end - now < _WARN_BEFORE:
        problems.append("expires within 30 days")
    lines += [
        f"  valid    {to_text(start)} to {to_text(end)}",
        f"  serial   {certificate.serial_number:x}",
        f"  SHA-256  {spaced(certificate.fingerprint(hashes.SHA256()).hex())}",
    ]
    return lines + [f"  PROBLEM  {problem}" for problem in problems]


def _describe_request(request: x509.CertificateSigningRequest) -> list[str]:
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        wished = ", ".join(names.get_values_for_type(x509.UniformResourceIdentifier))
    except x509.ExtensionNotFound:
        wished = "no name"
    spki = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    lines = [
        f"Certificate request, asking for {wished!r}",
        "  (the CA's operator decides on name and role, not the request)",
        f"  key      {spaced(hashlib.sha256(spki).hexdigest())}",
    ]
    return lines if request.is_signature_valid else [*lines, "  PROBLEM  not signed by its own key"]


def _describe_list(loaded: x509.CertificateRevocationList, now: int) -> list[str]:
    number = loaded.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    next_update = loaded.next_update_utc
    lines = [
        f"Revocation list {number} of {loaded.issuer.rfc4514_string()!r}",
        f"  made     {to_text(to_micros(loaded.last_update_utc))}",
    ]
    if next_update is not None:
        lines.append(f"  next     {to_text(to_micros(next_update))}")
        if to_micros(next_update) < now:
            lines.append("  PROBLEM  a newer list is due")
    for entry in loaded:
        try:
            reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
        except x509.ExtensionNotFound:
            reason = x509.ReasonFlags.unspecified
        kept = "; what it signed before stays good" if reason in HARMLESS else ""
        when = to_text(to_micros(entry.revocation_date_utc))
        lines.append(f"  revoked  {entry.serial_number:x} on {when} ({reason.value}{kept})")
    return lines


def _describe_bundle(bundle: Bundle, now: int) -> list[str]:
    lines = [f"Trust bundle of site {bundle.site}", f"  offers   {', '.join(bundle.roles)}"]
    for anchor in x509.load_pem_x509_certificates(bundle.anchors.encode("ascii")):
        lines += _describe_certificate(anchor, now)
    for block in bundle.lists.split("-----END X509 CRL-----\n")[:-1]:
        lines += _describe_list(
            x509.load_pem_x509_crl(f"{block}-----END X509 CRL-----\n".encode("ascii")), now
        )
    return lines
