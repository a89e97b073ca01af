"""Two sites from nothing to a job that ran, by processes as a person would type them."""

from __future__ import annotations

import json
import stat

from tests.cli.conftest import CHAIN, SAMPLES, UPPER, process


def test_from_nothing_to_a_job_that_ran(tmp_path):
    def caroni(*arguments: object) -> str:
        result = process(*arguments, cwd=tmp_path)
        assert result.code == 0, result.err
        return result.out

    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    made = json.loads(
        caroni("pki", "init-ca", "ca-a", "--site", "a.example", "--passphrase-file", secret, "--json")
    )
    caroni("pki", "init-ca", "ca-b", "--site", "b.example", "--no-passphrase")

    # the manager's site has its CA at hand
    caroni("init", "manager", "m1", "--site", "a.example", "--name", "m1", "--ca", "ca-a",
           "--passphrase-file", secret, "--trust-agent", "caroni://b.example/agent/*")  # fmt: skip

    # the agent's certificate comes by file
    shown = caroni("init", "agent", "g1", "--site", "b.example", "--name", "g1",
                   "--allow-manager", "caroni://a.example/manager/*")  # fmt: skip
    assert "caroni pki issue" in shown
    assert "asking for 'caroni://b.example/agent/g1'" in caroni("pki", "show", "g1/identity.csr")
    caroni("pki", "issue", "--ca", "ca-b", "--csr", "g1/identity.csr", "--role", "agent", "--name", "g1",
           "-o", "g1.crt")  # fmt: skip
    b = json.loads(caroni("pki", "export", "--ca", "ca-b", "-o", "b.bundle", "--json"))
    caroni("trust", "import", "b.bundle", "--expect-fingerprint", b["fingerprint"], "--config", "g1")
    caroni("pki", "install", "g1.crt", "--config", "g1")

    # each side believes the other for one role
    caroni("pki", "export", "--ca", "ca-a", "--passphrase-file", secret, "-o", "a.bundle")
    caroni("trust", "import", "a.bundle", "--expect-fingerprint", made["fingerprint"], "--roles", "manager",
           "--config", "g1")  # fmt: skip
    caroni("trust", "import", "b.bundle", "--expect-fingerprint", b["fingerprint"], "--roles", "agent",
           "--config", "m1")  # fmt: skip
    sites = json.loads(caroni("trust", "list", "--config", "g1", "--json"))["sites"]
    assert [(s["site"], s["roles"]) for s in sites if s["site"] == "a.example"] == [
        ("a.example", ["manager"])
    ]

    caroni("template", "add", CHAIN, "--config", "m1")
    assert "text-chain" in caroni("template", "list", "--config", "m1")
    caroni("job", "add", *sorted((SAMPLES / "text-chain" / "jobs").glob("*/*.yml")), "--config", "g1")
    assert json.loads(caroni("job", "test", "upper-case", "--input", "message=hello", "--config", "g1")) == {
        "shouted": "HELLO"
    }
    caroni("db", "check", "--config", "m1")
    caroni("db", "check", "--config", "g1")

    for name in ("m1", "g1", "ca-a", "ca-b"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700
    for name in ("m1/identity.key", "g1/identity.key", "ca-a/ca.key", "m1/caroni.toml", "m1/caroni.db"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert "ENCRYPTED" in (tmp_path / "ca-a/ca.key").read_text()


def test_a_job_is_tested_from_its_file(caroni):
    result = caroni("job", "test", UPPER, "--input", "message=ok", "--json").json
    assert result["state"] == "completed"
    assert result["outputs"] == {"shouted": "OK"}
    assert result["exit_code"] == 0


def test_a_manager_on_postgresql(tmp_path, postgres_cluster, postgres_database):
    def caroni(*arguments: object) -> str:
        result = process(*arguments, cwd=tmp_path)
        assert result.code == 0, result.err
        return result.out

    url = postgres_cluster.url(postgres_database)
    caroni("init", "manager", "m2", "--site", "a.example", "--name", "m2", "--database", url)
    assert "(postgresql, role manager" in caroni("db", "check", "--config", "m2")
    assert "revision 1" in caroni("template", "add", CHAIN, "--config", "m2")
    assert "text-chain" in caroni("template", "list", "--config", "m2")
    assert "no workflows" in process("list", "--config", tmp_path / "m2").err
    assert "there is no workflow" in process("show", "abcd", "--config", tmp_path / "m2").refused()
