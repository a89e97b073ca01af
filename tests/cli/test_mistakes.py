"""Every mistake has one clear line and the right exit code."""

# ruff: noqa: E501  a table reads best with a case on a line

from __future__ import annotations

import filelock
import pytest

from tests.cli.conftest import CHAIN, UPPER


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("init", "boss", "{new}", "--site", "a", "--name", "b"), 2, "none of: manager, agent, submitter"),
        (("init", "manager", "{sites}/m1", "--site", "a.example", "--name", "b"), 2, "not empty"),
        (("init", "manager", "{sites}/m1/caroni.toml", "--site", "a", "--name", "b"), 2, "not empty"),
        (("init", "manager", "/proc/nope", "--site", "a", "--name", "b"), 2, "cannot be made"),
        (("init", "manager", "{new}", "--site", "A B", "--name", "b"), 2, "site"),
        (("init", "manager", "{new}", "--site", "a..b", "--name", "b"), 2, "site"),
        (("init", "manager", "{new}", "--site", "a", "--name", "B"), 2, "name"),
        (("init", "manager", "{new}", "--site", "a", "--name", "b", "--ca", "{new}"), 2, "holds no CA"),
        (("init", "manager", "{new}", "--site", "b.example", "--name", "b", "--ca", "{sites}/ca-a"), 2, "not of b.e"),
        (("init", "manager", "{new}", "--site", "a", "--name", "b", "--broker", "http://x"), 2, "must be amqps://"),
        (("init", "manager", "{new}", "--site", "a", "--name", "b", "--broker", "amqp://x/"), 2, "not encrypted"),
        (("init", "manager", "{new}", "--site", "a", "--name", "b", "--broker", "amqps://u:p@x/"), 2, "password"),
        (("init", "manager", "{new}", "--site", "a", "--name", "b", "--database", "mysql://x"), 2, "sqlite://"),
        (("init", "manager", "{new}", "--site", "a", "--name", "b", "--database", "postgres://u:p@h/n"), 2, "password"),
        (("init", "manager", "{new}", "--site", "a", "--name", "b", "--database", "postgres://u@127.0.0.1:1/n"), 1,
         "not usable now"),
        (("init", "agent", "{new}", "--site", "a", "--name", "b", "--allow-manager", "caroni://*/manager/m"), 2,
         "wildcard"),
        (("init", "manager", "{new}", "--site", "a", "--name", "b", "--allow-manager", "caroni://a/manager/m"), 2,
         "for agents"),
        (("init", "agent", "{new}", "--site", "a", "--name", "b", "--trust-agent", "caroni://a/agent/m"), 2,
         "for managers"),
        (("pki", "init-ca", "{sites}/ca-a", "--site", "a.example", "--no-passphrase"), 2, "holds a CA already"),
        (("pki", "init-ca", "{new}", "--site", "A", "--no-passphrase"), 2, "cannot name a site"),
        (("pki", "init-ca", "{new}", "--site", "a", "--no-passphrase", "--years", "99"), 2, "1 to 30 years"),
        (("pki", "issue", "--ca", "{sites}/ca-a", "--role", "agent", "--name", "x", "-o", "{new}"), 2, "--csr"),
        (("pki", "issue", "--ca", "{sites}/ca-a", "--role", "boss", "--name", "x", "-o", "{new}", "--local"), 2,
         "role"),
        (("pki", "issue", "--ca", "{sites}/ca-a", "--csr", "{sites}/m1/identity.csr", "--role", "manager", "--name",
          "x", "-o", "{new}"), 2, "still good"),
        (("pki", "issue", "--ca", "{sites}/ca-a", "--csr", "{cwl}", "--role", "manager", "--name", "x", "-o",
          "{new}"), 2, "not a certificate request"),
        (("pki", "show", "{new}"), 2, "No such file"),
        (("pki", "show", "{sites}/m1/identity.key"), 2, "private key"),
        (("pki", "show", "{cwl}"), 2, "neither"),
        (("pki", "revoke", "nobody", "--ca", "{sites}/ca-a"), 2, "no certificate"),
        (("pki", "export", "--ca", "{sites}/ca-a", "--roles", "boss", "-o", "{new}"), 2, "roles"),
        (("pki", "export", "--ca", "{sites}/ca-a", "-o", "/proc/nope/x"), 2, "cannot be written"),
        (("trust", "import", "{new}", "--expect-fingerprint", "ab", "--config", "{sites}/m1"), 2, "No such file"),
        (("trust", "import", "{cwl}", "--expect-fingerprint", "ab", "--config", "{sites}/m1"), 2, "not a trust bundle"),
        (("trust", "import", "{bundle}", "--expect-fingerprint", "ab", "--config", "{sites}/m1"), 2,
         "the fingerprint is another one"),
        (("trust", "import", "{bundle}", "--config", "{sites}/m1"), 2, "--expect-fingerprint"),
        (("template", "show", "nothing", "--config", "{sites}/m1"), 2, "no template 'nothing'"),
        (("template", "add", "{new}", "--config", "{sites}/m1"), 1, "No such file"),
        (("template", "add", "{job}", "--config", "{sites}/m1"), 1, "cwlVersion is missing"),
        (("template", "add", "{cwl}", "--name", "a b", "--config", "{sites}/m1"), 2, "cannot name a template"),
        (("template", "add", "{cwl}", "--config", "{sites}/g1"), 2, "configuration of an agent"),
        (("template", "validate", "{yaml}"), 1, "{yaml_name}:"),
        (("template", "validate", "{unsupported}"), 33, ":"),
        (("job", "add", "{yaml}", "--config", "{sites}/g1"), 1, "{yaml}:"),
        (("job", "add", "{new}", "--config", "{sites}/g1"), 1, "No such file"),
        (("job", "add", "{job}", "{job}", "--config", "{sites}/g1"), 2, "more than one of these files"),
        (("job", "add", "{job}", "--config", "{sites}/m1"), 2, "matter of the agent"),
        (("job", "show", "nothing", "--config", "{sites}/g1"), 2, "no job definition 'nothing'"),
        (("job", "test", "{job}"), 2, "input 'message' is missing (string): add --input message=..."),
        (("job", "test", "{job}", "--input", "mesage=x"), 2, "did you mean"),
        (("job", "test", "{job}", "--input", "message"), 2, "write name=value"),
        (("job", "test", "{job}", "--input", "message=a", "--input", "message=b"), 2, "given twice"),
        (("db", "migrate", "--config", "{sites}/s1"), 2, "has no database"),
        (("list", "--config", "{sites}/g1"), 2, "matter of the manager"),
        (("list", "--config", "{new}"), 2, "no such file"),
    ],
)  # fmt: skip
def test_one_line(sites, tmp_path, caroni, arguments, code, expected):
    places = {
        "sites": sites, "new": tmp_path / "new", "cwl": CHAIN, "job": UPPER, "bundle": tmp_path / "b.bundle",
        "yaml": tmp_path / "bad.yaml", "yaml_name": "bad.yaml", "unsupported": tmp_path / "scatter.cwl",
    }  # fmt: skip
    places["yaml"].write_text("a: [1,\n  b: {\n")
    places["unsupported"].write_text(
        CHAIN.read_text().replace("  upper:\n    hints:", "  upper:\n    scatter: message\n    hints:")
    )
    if "{bundle}" in arguments:
        caroni("pki", "export", "--ca", sites / "ca-b", "-o", places["bundle"])
    line = caroni(*(a.format(**places) for a in arguments)).refused(code)
    assert expected.format(**places) in line
    assert not (tmp_path / "new").exists()


def test_unknown_keys_and_environment(sites, caroni, monkeypatch):
    config = sites / "m1" / "caroni.toml"
    config.write_text(config.read_text().replace("[amqp]\n", "[amqp]\nhearbeat = 3\n"))
    line = caroni("list", "--config", sites / "m1").refused()
    assert line == f"caroni: {config}: unknown key [amqp] hearbeat; did you mean heartbeat?\n"
    monkeypatch.setenv("CARONI_AMQP__URI", "x")
    assert "did you mean CARONI_AMQP__URL?" in caroni("trust", "list", "--config", sites / "g1").refused()


def test_lax_modes(sites, caroni):
    install = ("pki", "install", sites / "g1" / "identity.crt", "--config", sites / "g1")
    key = sites / "g1" / "identity.key"
    key.chmod(0o640)
    assert f"chmod 600 {key}" in caroni(*install).refused()
    key.chmod(0o600)
    (sites / "g1").chmod(0o750)
    assert "chmod 700" in caroni(*install).refused()
    (sites / "g1").chmod(0o700)
    (sites / "g1" / "trust.d").chmod(0o777)
    assert "chmod go-w" in caroni("trust", "list", "--config", sites / "g1").refused()
    (sites / "ca-a" / "ca.key").chmod(0o644)
    assert "chmod 600" in caroni("pki", "crl", "--ca", sites / "ca-a", "-o", sites / "x").refused()


def test_databases(sites, caroni):
    m1, g1 = ("--config", sites / "m1"), ("--config", sites / "g1")
    assert caroni("db", "migrate", *m1, "--json").json["applied"] == []
    assert "up to date" in caroni("db", "migrate", *m1).out
    with filelock.FileLock(sites / "m1" / "caroni.lock"):
        assert "stop it, then migrate" in caroni("db", "migrate", *m1).refused()
    (sites / "m1" / "caroni.db").unlink()
    assert "caroni db migrate" in caroni("list", *m1).refused()
    assert "0001_initial" in caroni("db", "migrate", *m1).out
    assert "(sqlite, role manager" in caroni("db", "check", *m1).out
    (sites / "g1" / "caroni.db").write_bytes(b"not a database" * 100)
    assert "not a database" in caroni("db", "check", *g1).refused()


def test_a_failed_init_leaves_nothing(sites, tmp_path, caroni):
    new = tmp_path / "new"
    init = ("init", "manager", new, "--site", "a.example", "--name", "n", "--ca", sites / "ca-a")
    caroni(*init, "--days", 0).refused()
    assert not new.exists()
    new.mkdir()
    caroni(*init, "--days", 0).refused()
    assert list(new.iterdir()) == []
    assert caroni(*init).code == 0
