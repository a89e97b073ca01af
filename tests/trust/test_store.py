"""The trust directory: strict files, lists that are kept, bans, and caches that forget in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from caroni.core.plan import DAY
from caroni.errors import ConfigError, MessageRejected
from caroni.trust import store as trust_store
from caroni.trust.authority import CertificateAuthority
from caroni.trust.clock import ClockFile
from caroni.trust.exchange import export_bundle, import_bundle
from caroni.trust.store import TrustStore
from tests.wire import world as w
from tests.wire.world import AGENT, NOW


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority.in_memory("nasa.example", now=NOW)


@pytest.fixture
def trust(tmp_path: Path, authority: CertificateAuthority) -> Path:
    directory = tmp_path / "trust.d"
    text = export_bundle(authority, ("agent",), now=NOW)
    import_bundle(directory, text, expect_fingerprint=authority.fingerprint)
    return directory


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('site = "nasa.example"', 'site = "NASA"', "not a site's name"),
        ('roles = ["agent"]', 'roles = ["root"]', "unknown role 'root'"),
        ('roles = ["agent"]', "roles = []", "roles is empty"),
        ('roles = ["agent"]', 'roles = "agent"', "roles"),
        ('"30d"', '"a while"', "not like 30d"),
        ('"deny-new-work"', '"hope"', "crl_fail must be"),
        ('ca = "nasa.example.pem"', 'ca = "../nasa.pem"', "same directory"),
        ('ca = "nasa.example.pem"', 'ca = "other.pem"', "No such file"),
        ("ca_sha256 = [", "ca_sha256 = ['00', ", "not the fingerprint"),
        ('crl = "nasa.example.crl"', 'crl = "none.crl"', "No such file"),
        ('crl = "nasa.example.crl"', 'crl = "nasa.example.pem"', "no PEM revocation list"),
        ("site =", "sites =", "sites"),
        ("site =", "site = =", "line 1"),
    ],
)
def test_strict_files(trust: Path, old: str, new: str, why: str) -> None:
    store = TrustStore.load(trust)
    _edit(trust / "nasa.example.toml", old, new)
    with pytest.raises(ConfigError, match=why) as refused:
        store.reload()
    assert str(trust) in str(refused.value)
    assert list(store.sites) == ["nasa.example"]


def test_no_leaf_as_an_anchor(trust: Path, authority: CertificateAuthority) -> None:
    signer = w.odd_leaf(authority)
    (trust / "nasa.example.pem").write_text(signer.certificate)
    _edit(trust / "nasa.example.toml", authority.fingerprint, signer.fingerprint.hex())
    with pytest.raises(ConfigError, match="not a CA's"):
        TrustStore.load(trust)


def test_nobody_else_may_write_there(trust: Path) -> None:
    for path, mode in ((trust / "nasa.example.toml", 0o664), (trust, 0o777)):
        before = path.stat().st_mode
        path.chmod(mode)
        with pytest.raises(ConfigError, match="chmod go-w"):
            TrustStore.load(trust)
        path.chmod(before)
    TrustStore.load(trust)


def test_one_file_a_site(trust: Path) -> None:
    (trust / "again.toml").write_text((trust / "nasa.example.toml").read_text())
    with pytest.raises(ConfigError, match="two files"):
        TrustStore.load(trust)


def test_a_missing_directory_trusts_nobody(tmp_path: Path) -> None:
    assert TrustStore.load(tmp_path / "none").sites == {}


def test_newer_lists_are_kept(trust: Path, authority: CertificateAuthority) -> None:
    store = TrustStore.load(trust)
    before = store.generation
    (number,) = [one.number for one in store.sites["nasa.example"].lists.values()]
    store.install_list(w.list_of(authority, number + 5, {7: (NOW, None)}))
    assert store.generation > before
    again = TrustStore.load(trust)
    (kept,) = again.sites["nasa.example"].lists.values()
    assert (kept.number, kept.revoked) == (number + 5, {7: 0})


def test_bans_are_kept(trust: Path) -> None:
    store = TrustStore.load(trust)
    store.ban(AGENT, "odd\nresults")
    store.ban("AB:" * 31 + "AB")
    assert (trust / "bans").read_text() == f"{AGENT}  # odd results\n{'ab' * 32}\n"
    assert TrustStore.load(trust).bans == {AGENT, "ab" * 32}
    assert store.unban(AGENT)
    assert not store.unban(AGENT)
    assert TrustStore.load(trust).bans == {"ab" * 32}
    with pytest.raises(MessageRejected, match="E_IDENTITY"):
        store.ban("somebody")
    (trust / "bans").write_text("# comment\n\nsomebody\n")
    with pytest.raises(ConfigError, match="bans:3"):
        TrustStore.load(trust)


def test_refusals_are_remembered_for_a_minute() -> None:
    world = w.World()
    stranger = CertificateAuthority.in_memory("other.example", now=NOW).issue_key("agent", "a", now=NOW)
    text = stranger.certificate
    key, known = world.store.known(text)
    assert known is None
    presented = world.store.parse(key, text, NOW)
    with pytest.raises(MessageRejected, match="E_NAMESPACE"):
        world.store.verify(key, presented, NOW, NOW)
    with pytest.raises(MessageRejected, match="E_NAMESPACE"):
        world.store.parse(key, text, NOW + trust_store.REFUSAL_KEPT - 1)
    world.store.parse(key, text, NOW + trust_store.REFUSAL_KEPT)


def test_68_caches_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_store, "CACHED_CHAINS", 3)
    monkeypatch.setattr(trust_store, "CACHED_REFUSALS", 3)
    world = w.World()
    opener = world.opener()
    for _ in range(6):
        opener.open(w.forge(w.odd_leaf(world.nasa), w.STATUS), NOW)
    for number in range(6):
        with pytest.raises(MessageRejected):
            opener.open(w.forge(world.agent, w.STATUS, certificate=f"junk {number}"), NOW)
    assert len(world.store._chains) == 3
    assert len(world.store._refusals) == 3


def test_clock_file(tmp_path: Path) -> None:
    clock = ClockFile(tmp_path / "clock")
    assert clock.read() == 0
    clock.advance(NOW)
    clock.advance(NOW - 1)
    assert clock.read() == NOW
    with pytest.raises(ConfigError, match="the clock says"):
        clock.advance(NOW - 2 * DAY)
    (tmp_path / "clock").write_text("junk")
    clock.advance(NOW - 2 * DAY)
