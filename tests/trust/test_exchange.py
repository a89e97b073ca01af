"""What is handed over by file: installed, exported, imported, and shown in plain words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from caroni.core.plan import DAY
from caroni.errors import ConfigError, UsageError
from caroni.trust import keys
from caroni.trust.authority import CertificateAuthority
from caroni.trust.exchange import (
    HEADING,
    bare,
    describe,
    export_bundle,
    import_bundle,
    install_certificate,
    make_request,
    read_bundle,
    spaced,
)
from caroni.trust.identity import Identity
from caroni.trust.store import TrustStore
from tests.wire.world import AGENT, NOW


@pytest.fixture
def authority() -> CertificateAuthority:
    return CertificateAuthority.in_memory("nasa.example", now=NOW)


def test_from_request_to_installed_certificate(tmp_path: Path, authority: CertificateAuthority) -> None:
    home = tmp_path / "identity"
    key = keys.generate_key()
    keys.store_private_key(home / "agent.key", key)
    request = make_request(key, Identity.parse(AGENT))
    certificate = authority.issue(request, "agent", "a1", now=NOW)
    target = home / "agent.crt"
    mailed = certificate.replace("\n", "\r\n")
    identity = install_certificate(mailed, home / "agent.key", target, authority.pem, now=NOW)
    assert identity.uri == AGENT
    assert keys.load_signer(home / "agent.key", target).uri == AGENT

    stranger = CertificateAuthority.in_memory("nasa.example", now=NOW)
    for wrong, anchors, now, why in (
        (authority.issue_key("agent", "a2", now=NOW).certificate, authority.pem, NOW, "another key"),
        (certificate, stranger.pem, NOW, "not issued by this CA"),
        (certificate, authority.pem, NOW + 400 * DAY, "is good from"),
        ("junk", authority.pem, NOW, "cannot sign messages"),
        (authority.pem, authority.pem, NOW, "cannot sign messages"),
    ):
        with pytest.raises(ConfigError, match=why):
            install_certificate(wrong, home / "agent.key", target, anchors, now=now)
    assert target.read_text() == certificate


def test_bundle_from_site_to_site(tmp_path: Path, authority: CertificateAuthority) -> None:
    authority.issue_key("agent", "a1", now=NOW)
    authority.revoke(AGENT, "key-compromise", now=NOW)
    text = export_bundle(authority, ("agent",), now=NOW)
    assert text.isascii()
    read_out = spaced(authority.fingerprint).upper()
    trust = tmp_path / "trust.d"
    bundle = import_bundle(trust, text.replace("\n", "\r\n"), expect_fingerprint=read_out)
    assert (bundle.site, bundle.roles) == ("nasa.example", ("agent",))
    site = TrustStore.load(trust).sites["nasa.example"]
    assert site.roles == {"agent"}
    assert [len(one.revoked) for one in site.lists.values()] == [1]
    old = text
    import_bundle(trust, export_bundle(authority, ("agent",), now=NOW + DAY), expect_fingerprint=read_out)
    with pytest.raises(ConfigError, match="older than the present"):
        import_bundle(trust, old, expect_fingerprint=read_out)


def test_85_no_trust_on_first_use(tmp_path: Path, authority: CertificateAuthority) -> None:
    text = export_bundle(authority, ("agent",), now=NOW)
    for fingerprint in ("", "00" * 32, authority.fingerprint[:-1], authority.fingerprint + ",00"):
        with pytest.raises(UsageError, match="fingerprint is another one"):
            import_bundle(tmp_path, text, expect_fingerprint=fingerprint)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="offers only agent"):
        import_bundle(tmp_path, text, expect_fingerprint=authority.fingerprint, roles=("manager",))


def test_two_anchors_while_a_ca_is_replaced(tmp_path: Path, authority: CertificateAuthority) -> None:
    newer = CertificateAuthority.in_memory("nasa.example", now=NOW)
    text = export_bundle(authority, ("agent",), now=NOW) + newer.pem + newer.revocation_list(now=NOW)
    both = f"{authority.fingerprint}, {newer.fingerprint}"
    bundle = import_bundle(tmp_path, text, expect_fingerprint=both)
    assert len(bundle.fingerprints) == 2
    site = TrustStore.load(tmp_path).sites["nasa.example"]
    assert (len(site.anchors), len(site.lists)) == (2, 2)


def test_damaged_bundles(authority: CertificateAuthority) -> None:
    good = export_bundle(authority, ("agent",), now=NOW)
    stranger = CertificateAuthority.in_memory("nasa.example", now=NOW)
    leaf = authority.issue_key("agent", "a1", now=NOW).certificate
    for text, why in (
        ("", "not a trust bundle"),
        (good.replace(HEADING, "Hello"), "not a trust bundle"),
        (good.replace("Site: nasa", "Site: NASA"), "names no site"),
        (good.replace("Roles: agent", "Roles: root"), "names no site, or roles"),
        (good.split("-----BEGIN")[0], "no certificate"),
        (good.replace(authority.pem, leaf), "damaged"),
        (good.replace("MII", "XXX"), "damaged"),
        (good + stranger.revocation_list(now=NOW), "damaged"),
    ):
        with pytest.raises(UsageError, match=why):
            read_bundle(text)
    with pytest.raises(UsageError, match="roles must be"):
        export_bundle(authority, (), now=NOW)
    with pytest.raises(UsageError, match="not root"):
        export_bundle(authority, ("root",), now=NOW)


def test_in_plain_words(authority: CertificateAuthority) -> None:
    key = keys.generate_key()
    request = make_request(key, Identity.parse(AGENT))
    certificate = authority.issue(request, "agent", "a1", now=NOW)
    assert any(AGENT in line for line in describe(certificate, now=NOW))
    assert not any("PROBLEM" in line for line in describe(certificate, now=NOW))
    for later, problem in ((340, "expires within"), (400, "expired"), (-2, "not valid yet")):
        assert any(problem in line for line in describe(certificate, now=NOW + later * DAY))
    assert describe(authority.pem, now=NOW)[0] == "CA certificate of site nasa.example"
    assert any(spaced(authority.fingerprint) in line for line in describe(authority.pem, now=NOW))
    assert AGENT in describe(request, now=NOW)[0]
    authority.revoke(AGENT, "superseded", now=NOW)
    listed = describe(authority.revocation_list(now=NOW), now=NOW + 40 * DAY)
    assert any("superseded; what it signed before stays good" in line for line in listed)
    assert any("newer list is due" in line for line in listed)
    bundle = describe(export_bundle(authority, ("agent",), now=NOW), now=NOW)
    assert bundle[0] == "Trust bundle of site nasa.example"
    assert any(line.startswith("Revocation list") for line in bundle)


def test_private_keys_are_not_shown(tmp_path: Path) -> None:
    keys.store_private_key(tmp_path / "k" / "a.key", keys.generate_key())
    with pytest.raises(UsageError, match="private key"):
        describe((tmp_path / "k" / "a.key").read_text(), now=NOW)
    for junk in ("", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(UsageError):
            describe(junk, now=NOW)


def test_fingerprints_as_people_write_them() -> None:
    assert re.fullmatch(r"([0-9a-f]{4} ){15}[0-9a-f]{4}", spaced("0123456789abcdef" * 4))
    assert bare("AB:CD 01\n") == "abcd01"
