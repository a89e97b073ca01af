"""Key files: ours, private, real files; and keys that fit their certificates."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from caroni.errors import ConfigError
from caroni.trust import keys
from caroni.trust.authority import CertificateAuthority
from tests.wire.world import AGENT, NOW


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "identity"
    keys.make_private_directory(directory)
    return directory


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority.in_memory("nasa.example", now=NOW)


def test_store_and_load(home: Path) -> None:
    key = keys.generate_key()
    path = home / "agent.key"
    keys.store_private_key(path, key)
    assert path.stat().st_mode & 0o777 == 0o600
    loaded = keys.as_signing_key(keys.load_private_key(path), path)
    assert loaded.public_key() == key.public_key()
    assert [entry.name for entry in home.iterdir()] == ["agent.key"]
    with pytest.raises(ConfigError, match="never overwritten"):
        keys.store_private_key(path, key)


def test_passphrase(home: Path) -> None:
    path = home / "ca.key"
    keys.store_private_key(path, keys.generate_key(), b"secret")
    keys.load_private_key(path, b"secret")
    with pytest.raises(ConfigError, match="passphrase is wrong"):
        keys.load_private_key(path, b"other")
    with pytest.raises(ConfigError, match="needs a passphrase"):
        keys.load_private_key(path)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_83_lax_modes(home: Path, mode: int) -> None:
    path = home / "agent.key"
    keys.store_private_key(path, keys.generate_key())
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        keys.load_private_key(path)


def test_83_lax_directory(home: Path) -> None:
    path = home / "agent.key"
    keys.store_private_key(path, keys.generate_key())
    home.chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        keys.load_private_key(path)


def test_83_symbolic_link(home: Path) -> None:
    keys.store_private_key(home / "real.key", keys.generate_key())
    (home / "agent.key").symlink_to("real.key")
    with pytest.raises(ConfigError, match="symbolic link"):
        keys.load_private_key(home / "agent.key")
    with pytest.raises(ConfigError, match="exists already"):
        keys.store_private_key(home / "agent.key", keys.generate_key())


def test_83_no_file(home: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        keys.load_private_key(home / "agent.key")
    os.mkfifo(home / "pipe", 0o600)
    with pytest.raises(ConfigError, match="not a regular file"):
        keys.load_private_key(home / "pipe")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_83_foreign_owner(home: Path) -> None:
    path = home / "agent.key"
    keys.store_private_key(path, keys.generate_key())
    os.chown(path, 65534, -1)
    with pytest.raises(ConfigError, match="another user"):
        keys.load_private_key(path)
    os.chown(home, 65534, -1)
    with pytest.raises(ConfigError, match="another user"):
        keys.load_private_key(path)


def test_signer_from_files(home: Path, authority: CertificateAuthority) -> None:
    key = keys.generate_key()
    keys.store_private_key(home / "agent.key", key)
    certificate = authority.certify(key.public_key(), "agent", "a1", now=NOW)
    (home / "agent.crt").write_text(certificate)
    signer = keys.load_signer(home / "agent.key", home / "agent.crt")
    assert (signer.uri, signer.certificate) == (AGENT, certificate)
    key.public_key().verify(signer.sign(b"data"), b"data")
    assert "PRIVATE" not in repr(vars(signer))


def test_signer_of_another_key(authority: CertificateAuthority) -> None:
    certificate = authority.issue_key("agent", "a2", now=NOW).certificate
    with pytest.raises(ConfigError, match="another key"):
        keys.KeySigner(keys.generate_key(), certificate)
    with pytest.raises(ConfigError, match="cannot sign messages"):
        keys.KeySigner(keys.generate_key(), authority.pem)


def test_keys_of_other_kinds(home: Path) -> None:
    path = home / "odd.key"
    keys.store_private_key(path, ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(ConfigError, match="Ed25519 or P-256"):
        keys.as_signing_key(keys.load_private_key(path), path)
    path.write_bytes(b"junk")
    with pytest.raises(ConfigError, match="not a private key"):
        keys.load_private_key(path)


def test_atomic_write_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        keys.write_atomically(target, b"data")
    assert list(tmp_path.iterdir()) == [target]
