"""Private keys and the files they live in: nobody else may read, replace or redirect them.

A key file is a regular file of our own user with mode 0600 in a directory with mode 0700; anything
laxer, or a symbolic link, stops the start (``docs/security.md`` 4).
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from caroni.errors import ConfigError, MessageRejected, of_system
from caroni.trust.certificates import parse_presented

#: Keys that sign messages.
SigningKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey

_MAX_FILE: Final = 1024 * 1024


class Signer(Protocol):
    """Signs for one identity; the key may live in a file, a token, or a credential of the system."""

    @property
    def uri(self) -> str:
        """The identity that the certificate names."""
        ...

    @property
    def certificate(self) -> str:
        """PEM: leaf, then intermediates, no root."""
        ...

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the leaf's DER."""
        ...

    def sign(self, data: bytes) -> bytes:
        """The raw signature: Ed25519, or ECDSA (DER) with SHA-256 on P-256."""
        ...


class KeySigner:
    """A :class:`Signer` with its key in memory.

    Raises:
        ConfigError: key and certificate do not belong together, or the certificate cannot sign messages.
    """

    def __init__(self, key: SigningKey, certificate: str) -> None:
        try:
            presented = parse_presented(certificate)
        except MessageRejected as error:
            raise ConfigError(f"the certificate cannot sign messages: {error.detail or error.code}") from None
        if _public_bytes(key.public_key()) != _public_bytes(presented.leaf.public_key()):
            raise ConfigError(
                "the certificate was issued for another key: install the one made from its request"
            )
        self._key = key
        self.certificate: str = certificate
        self.uri: str = presented.identity.uri
        self.fingerprint: bytes = presented.fingerprint

    def sign(self, data: bytes) -> bytes:
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(data)
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))


def _public_bytes(key: object) -> bytes:
    made: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return made


def generate_key() -> Ed25519PrivateKey:
    """A new key to sign messages with."""
    return Ed25519PrivateKey.generate()


def load_signer(key_path: Path, certificate_path: Path) -> KeySigner:
    """The signer of a daemon from its two files.

    Raises:
        ConfigError: a file is missing, unsafe, or does not fit the other.
    """
    key = load_private_key(key_path)
    return KeySigner(as_signing_key(key, key_path), read_text(certificate_path))


def as_signing_key(key: object, path: Path) -> SigningKey:
    """The key if it is of a kind that signs messages.

    Raises:
        ConfigError: neither Ed25519 nor P-256.
    """
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ConfigError(f"{path}: messages are signed with Ed25519 or P-256 keys only: make a new request")


def load_private_key(path: Path, passphrase: bytes | None = None) -> object:
    """A private key (PEM, PKCS#8) from a file that is safe.

    Raises:
        ConfigError: the file is missing, unsafe, no key, or the passphrase is wrong.
    """
    data = read_private(path)
    try:
        return serialization.load_pem_private_key(data, passphrase)
    except TypeError:
        wanted = "needs a passphrase" if passphrase is None else "has no passphrase"
        raise ConfigError(f"{path}: the key {wanted}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{path}: not a private key, or the passphrase is wrong") from None


def store_private_key(path: Path, key: SigningKey, passphrase: bytes | None = None) -> None:
    """Write a key as PKCS#8 PEM, 0600, without ever showing half of it.

    Raises:
        ConfigError: the file exists already, or the directory is unsafe.
    """
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    data = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    make_private_directory(path.parent)
    if os.path.lexists(path):
        raise ConfigError(f"{path} exists already: move it away first, a key is never overwritten")
    write_atomically(path, data, mode=0o600)


def make_private_directory(path: Path) -> None:
    """Make (or check) a directory that is ours alone.

    Raises:
        ConfigError: it exists with a laxer mode or another owner.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_directory(path)


def read_private(path: Path) -> bytes:
    """The bytes of a secret file; what is checked is the file that is read, not its name.

    Raises:
        ConfigError: missing, a symbolic link, not ours, or readable by others.
    """
    _check_directory(path.parent)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except OSError as error:
        if path.is_symlink():
            raise ConfigError(f"{path} is a symbolic link: put the key itself there") from None
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path} is not a regular file")
        _check_owner(path, status)
        if status.st_mode & 0o077:
            raise ConfigError(f"{path} can be read by others: run chmod 600 {path}")
        return file.read(_MAX_FILE)


def _check_directory(path: Path) -> None:
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    _check_owner(path, status)
    if status.st_mode & 0o077:
        raise ConfigError(f"{path} is open to others: run chmod 700 {path}")


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise ConfigError(f"{path} belongs to another user: run chown, or run as its owner")


def read_text(path: Path) -> str:
    """A public file (certificate, list, bundle).

    Raises:
        ConfigError: it cannot be read, is no ASCII text, or is larger than 1 MiB.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(data) > _MAX_FILE:
        raise ConfigError(f"{path} is larger than 1 MiB")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not ASCII text") from None


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file in one step that survives a crash: temporary file, fsync, rename, fsync.

    Raises:
        ConfigError: the directory cannot be written.
        TransientError: there is no space just now.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise of_system(error, f"{path} cannot be written") from None


def certificates_of(text: str, source: object) -> list[x509.Certificate]:
    """Every certificate of a PEM text.

    Raises:
        ConfigError: it holds none, or something else.
    """
    try:
        return x509.load_pem_x509_certificates(text.encode("ascii"))
    except ValueError:
        raise ConfigError(f"{source}: no PEM certificate") from None
