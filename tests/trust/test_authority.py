"""A site's CA: what it issues, what it refuses, and what its lists say."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from caroni.core.plan import DAY
from caroni.errors import ConfigError, UsageError
from caroni.trust import keys
from caroni.trust.authority import CertificateAuthority, throwaway
from caroni.trust.certificates import parse_presented
from caroni.trust.exchange import make_request
from caroni.trust.identity import ROLE_OIDS, Identity
from caroni.trust.instants import to_micros
from caroni.trust.revocation import read_list
from tests.wire.world import AGENT, NOW


@pytest.fixture
def authority() -> CertificateAuthority:
    return CertificateAuthority.in_memory("nasa.example", now=NOW)


def test_files(tmp_path: Path) -> None:
    home = tmp_path / "ca"
    made = CertificateAuthority.create(home, "nasa.example", b"a passphrase", now=NOW)
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "ca.key").stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in (home / "ca.key").read_bytes()
    signer = made.issue_key("agent", "a1", now=NOW)
    made.revoke(signer.uri, "superseded", now=NOW + DAY)
    made.revocation_list(now=NOW + DAY)
    loaded = CertificateAuthority.load(home, b"a passphrase")
    assert (loaded.site, loaded.fingerprint) == ("nasa.example", made.fingerprint)
    assert loaded.live(NOW) == []
    listed = read_list(loaded.revocation_list(now=NOW + 2 * DAY).encode(), (loaded.certificate,))
    assert listed.number == 2
    assert len(listed.revoked) == 1
    with pytest.raises(ConfigError, match="passphrase is wrong"):
        CertificateAuthority.load(home, b"another")
    with pytest.raises(UsageError, match="holds a CA already"):
        CertificateAuthority.create(home, "nasa.example", b"x", now=NOW)
    with pytest.raises(UsageError, match="passphrase"):
        CertificateAuthority.create(tmp_path / "other", "nasa.example", b"", now=NOW)
    (home / "index.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match=r"index\.jsonl:1"):
        CertificateAuthority.load(home, b"a passphrase")


def test_leaf_profile(authority: CertificateAuthority) -> None:
    pem = authority.issue_key("agent", "a1", now=NOW, days=30).certificate
    presented = parse_presented(pem)
    leaf = presented.leaf
    assert presented.identity == Identity("nasa.example", "agent", "a1")
    assert leaf.subject.rdns == []
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ROLE_OIDS["agent"]]
    assert to_micros(leaf.not_valid_after_utc) == NOW + 30 * DAY
    assert isinstance(authority.certificate.public_key(), ec.EllipticCurvePublicKey)
    assert authority.certificate.public_key().curve.name == "secp384r1"  # type: ignore[union-attr]


def test_84_only_the_key_is_taken_from_the_request(authority: CertificateAuthority) -> None:
    key = keys.generate_key()
    greedy = (
        x509.CertificateSigningRequestBuilder(
            subject_name=x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")])
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier("caroni://esa.example/manager/m1")]),
            critical=True,
        )
        .sign(key, None)
        .public_bytes(Encoding.PEM)
        .decode()
    )
    presented = parse_presented(authority.issue(greedy, "agent", "a1", now=NOW))
    assert presented.identity.uri == AGENT
    assert presented.leaf.public_key() == key.public_key()
    assert not presented.leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_requests_that_are_refused(authority: CertificateAuthority) -> None:
    key = keys.generate_key()
    request = make_request(key, Identity.parse(AGENT))
    for role, name in (("root", "a1"), ("agent", "A1"), ("agent", "")):
        with pytest.raises(UsageError):
            authority.issue(request, role, name, now=NOW)
    with pytest.raises(UsageError, match="not a certificate request"):
        authority.issue("junk", "agent", "a1", now=NOW)
    with pytest.raises(UsageError, match="1 to 3660 days"):
        authority.issue(request, "agent", "a1", now=NOW, days=0)
    authority.issue(request, "agent", "a1", now=NOW)
    with pytest.raises(UsageError, match="still good"):
        authority.issue(request, "agent", "a2", now=NOW)
    # the same identity renews with its key while the old certificate is still good
    authority.issue(request, "agent", "a1", now=NOW + 300 * DAY)
    assert len(authority.revoke(AGENT, "superseded", now=NOW + 301 * DAY)) == 2
    authority.issue(request, "agent", "a1", now=NOW + 366 * DAY)
    weak = x509.CertificateSigningRequestBuilder(subject_name=x509.Name([])).sign(
        rsa.generate_private_key(65537, 2048), hashes.SHA256()
    )
    with pytest.raises(UsageError, match="Ed25519 or P-256"):
        authority.issue(weak.public_bytes(Encoding.PEM).decode(), "agent", "a3", now=NOW)


def test_proof_of_possession(authority: CertificateAuthority) -> None:
    request = x509.load_pem_x509_csr(make_request(keys.generate_key(), Identity.parse(AGENT)).encode())
    der = bytearray(request.public_bytes(Encoding.DER))
    der[-1] ^= 1
    spoiled = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()
    with pytest.raises(UsageError, match="its own key"):
        authority.issue(spoiled, "agent", "a1", now=NOW)


def test_leaf_does_not_outlive_its_ca(authority: CertificateAuthority) -> None:
    late = NOW + 10 * 366 * DAY - 5 * DAY
    leaf = parse_presented(authority.issue_key("agent", "a1", now=late).certificate).leaf
    assert leaf.not_valid_after_utc == authority.certificate.not_valid_after_utc
    with pytest.raises(UsageError, match="has expired"):
        authority.issue_key("agent", "a1", now=late + 6 * DAY)


def test_revoking(authority: CertificateAuthority) -> None:
    first, second = (authority.issue_key("agent", "a1", now=NOW) for _ in range(2))
    other = authority.issue_key("agent", "a2", now=NOW)
    with pytest.raises(UsageError, match="unknown reason"):
        authority.revoke(AGENT, "spite", now=NOW)
    with pytest.raises(UsageError, match="no certificate"):
        authority.revoke("caroni://nasa.example/agent/a9", "superseded", now=NOW)
    serial = parse_presented(first.certificate).leaf.serial_number
    assert authority.revoke(f"0x0{serial:X}", "superseded", now=NOW + DAY) == [f"{serial:x}"]
    assert len(authority.revoke(AGENT, "key-compromise", now=NOW + DAY)) == 1
    listed = read_list(authority.revocation_list(now=NOW + DAY).encode(), (authority.certificate,))
    assert not listed.refuses(serial, NOW)
    assert listed.refuses(serial, NOW + DAY)
    assert listed.refuses(parse_presented(second.certificate).leaf.serial_number, NOW)
    assert not listed.refuses(parse_presented(other.certificate).leaf.serial_number, NOW + DAY)
    much_later = authority.revocation_list(now=NOW + 500 * DAY)
    assert read_list(much_later.encode(), (authority.certificate,)).revoked == {}


def test_throwaway() -> None:
    store, signers = throwaway("demo.local", [("manager", "m1"), ("agent", "a1")], now=NOW)
    assert set(signers) == {"caroni://demo.local/manager/m1", "caroni://demo.local/agent/a1"}
    assert list(store.sites) == ["demo.local"]
    with pytest.raises(UsageError, match="cannot name a site"):
        throwaway("Demo", [], now=NOW)
