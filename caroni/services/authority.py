"""A site's certificate authority, as its operator uses it: create, issue, revoke, list, export.

Nothing here reads a terminal: passphrases come in as bytes.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from caroni.errors import ConfigError, UsageError
from caroni.services.stores import now
from caroni.text import safe_line
from caroni.trust import exchange, keys
from caroni.trust.authority import CertificateAuthority
from caroni.trust.identity import ROLES


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """A CA that was made. ``fingerprint`` is to be read out to partners."""

    site: str
    directory: str
    fingerprint: str


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that was issued, and where it is; ``key`` only if it was made here too."""

    uri: str
    certificate: str
    key: str = ""


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """Serials (hexadecimal) that the next revocation list will hold."""

    subject: str
    serials: list[str]


def init_ca(directory: Path, site: str, passphrase: bytes | None, *, years: int) -> Authority:
    """Make a CA.

    Raises:
        UsageError: a bad site or number of years, or there is a CA already.
        ConfigError: the directory is unsafe or cannot be written.
    """
    try:
        made = CertificateAuthority.create(directory, site, passphrase, now=now(), years=years)
    except OSError as error:
        raise ConfigError(f"{safe_line(str(directory))} cannot be made: {error.strerror}") from None
    return Authority(site=site, directory=str(directory), fingerprint=exchange.spaced(made.fingerprint))


def needs_passphrase(directory: Path) -> bool:
    """Whether the CA's key is encrypted.

    Raises:
        ConfigError: there is no CA, or its files are unsafe.
    """
    if not (directory / "ca.pem").is_file():
        raise ConfigError(f"{safe_line(str(directory))} holds no CA; make one with: caroni pki init-ca")
    return b"ENCRYPTED" in keys.read_private(directory / "ca.key").split(b"\n", 1)[0]


def issue(
    directory: Path,
    passphrase: bytes | None,
    *,
    role: str,
    name: str,
    days: int,
    output: Path,
    request: Path | None,
) -> Issued:
    """Issue a certificate for a request; without one, make the key here too (beside the output, ``.key``).

    Raises:
        UsageError: the request, role, name or lifetime is refused, or a file is there already.
        ConfigError: the CA cannot be used.
    """
    key_path = output.with_suffix(".key")
    for path in (output, *([] if request else [key_path])):
        if path.exists():
            raise UsageError(f"{safe_line(str(path))} exists already: choose another name")
    csr = keys.read_text(request) if request is not None else ""
    authority = CertificateAuthority.load(directory, passphrase)
    if request is not None:
        certificate = authority.issue(csr, role, name, now=now(), days=days)
    else:
        key = keys.generate_key()
        certificate = authority.certify(key.public_key(), role, name, now=now(), days=days)
        keys.store_private_key(key_path, key)
    keys.write_atomically(output, certificate.encode("ascii"))
    return Issued(
        uri=f"caroni://{authority.site}/{role}/{name}",
        certificate=str(output),
        key="" if request else str(key_path),
    )


def revoke(directory: Path, passphrase: bytes | None, subject: str, reason: str) -> Revoked:
    """Revoke the certificates of a URI, or one by serial.

    Raises:
        UsageError: an unknown reason, or nothing to revoke.
        ConfigError: the CA cannot be used.
    """
    authority = CertificateAuthority.load(directory, passphrase)
    return Revoked(subject=subject, serials=authority.revoke(subject, reason, now=now()))


def revocation_list(directory: Path, passphrase: bytes | None, *, days: int) -> str:
    """The next revocation list (PEM).

    Raises:
        UsageError: a bad lifetime.
        ConfigError: the CA cannot be used.
    """
    return CertificateAuthority.load(directory, passphrase).revocation_list(now=now(), days=days)


def export(directory: Path, passphrase: bytes | None, roles: tuple[str, ...] = ROLES) -> tuple[str, str]:
    """The trust bundle for partners, and the fingerprint to read out to them.

    Raises:
        UsageError: an unknown role.
        ConfigError: the CA cannot be used.
    """
    authority = CertificateAuthority.load(directory, passphrase)
    return exchange.export_bundle(authority, roles, now=now()), exchange.spaced(authority.fingerprint)


def describe(path: Path) -> list[str]:
    """What a certificate, request, revocation list or bundle says, in plain words.

    Raises:
        UsageError: it is none of these.
        ConfigError: it cannot be read.
    """
    return exchange.describe(keys.read_text(path), now=now())


def read_passphrase(path: Path) -> bytes:
    """The first line of a passphrase file, which nobody else may read.

    Raises:
        ConfigError: missing, empty, or with a lax mode.
    """
    from caroni.config import read_secret

    return read_secret(path).encode()
