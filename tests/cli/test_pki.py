"""Certificates, trust and bans, command by command."""

from __future__ import annotations


def test_issue_with_a_new_key_and_show(sites, caroni):
    result = caroni("pki", "issue", "--ca", sites / "ca-a", "--local", "--role", "submitter", "--name", "s9",
                    "-o", sites / "s9.crt", "--json").json  # fmt: skip
    assert result["uri"] == "caroni://a.example/submitter/s9"
    assert (sites / "s9.key").stat().st_mode & 0o777 == 0o600
    assert "Certificate of caroni://a.example/submitter/s9" in caroni("pki", "show", sites / "s9.crt").out
    again = caroni("pki", "issue", "--ca", sites / "ca-a", "--local", "--role", "submitter", "--name", "s9",
                   "-o", sites / "s9.crt")  # fmt: skip
    assert "exists already" in again.refused()


def test_revoke_list_and_update(sites, caroni):
    bundle = sites / "b.bundle"
    made = caroni("pki", "export", "--ca", sites / "ca-b", "-o", bundle, "--json").json
    m1 = ("--config", sites / "m1")
    hint = caroni("trust", "import", bundle, "--expect-fingerprint", made["fingerprint"], *m1)
    assert '[[manager.trust]]\nagent = "caroni://b.example/agent/*"' in hint.err
    caroni(
        "pki", "revoke", "caroni://b.example/agent/g1", "--ca", sites / "ca-b", "--reason", "key-compromise"
    )
    assert (
        "no certificate that is still good"
        in caroni("pki", "revoke", "caroni://b.example/agent/g1", "--ca", sites / "ca-b").refused()
    )
    caroni("pki", "crl", "--ca", sites / "ca-b", "-o", sites / "b.crl")
    assert "revoked" in caroni("pki", "show", sites / "b.crl").out
    before = caroni("trust", "list", *m1, "--json").json
    updated = caroni("trust", "update", sites / "b.crl", *m1, "--json").json
    assert (
        updated["list_number"] > next(s for s in before["sites"] if s["site"] == "b.example")["list_number"]
    )
    assert "not newer" in caroni("trust", "update", sites / "b.crl", *m1).refused()
    caroni("pki", "crl", "--ca", sites / "ca-b", "-o", sites / "b2.crl")
    assert (
        "not signed by a CA that is trusted here"
        in caroni("trust", "update", sites / "b2.crl", "--config", sites / "s1").refused()
    )


def test_bans(sites, caroni):
    m1 = ("--config", sites / "m1")
    uri = "caroni://b.example/agent/g1"
    assert caroni("trust", "ban", uri, "--reason", "stolen", *m1).code == 0
    assert caroni("trust", "list", *m1, "--json").json["bans"] == [uri]
    assert f"banned: {uri}" in caroni("trust", "list", *m1).out
    listed = caroni("trust", "list", *m1, "--json").json
    assert listed["notes"] == {uri: "stolen"}
    told = "the manager does not run, and reads it when it starts"
    assert caroni("trust", "unban", uri, *m1, "--json").json == {"unbanned": uri, "told": told}
    assert "is not banned" in caroni("trust", "unban", uri, *m1).refused()
    assert "neither caroni://site/role/name" in caroni("trust", "ban", "nonsense", *m1).refused()


def test_list_says_what_runs_out(sites, caroni):
    g1 = ("--config", sites / "g1")
    assert caroni("trust", "list", *g1, "--json").json["own"]["state"] == "ok"
    (sites / "g1" / "identity.crt").unlink()
    own = caroni("trust", "list", *g1, "--json").json["own"]
    assert (own["uri"], own["state"], own["fingerprint"]) == ("caroni://b.example/agent/g1", "problem", "")
    assert "there is none yet" in own["text"]
    m1 = caroni("trust", "list", "--config", sites / "m1", "--json").json
    assert m1["own"]["state"] == "ok"
    assert m1["own"]["expires_in_days"] == 364
    (site,) = [s for s in m1["sites"] if s["site"] == "a.example"]
    assert site["state"] == "ok"
    assert site["expires_in_days"] > 3000
    assert "CA is good for another" in site["text"]


def test_an_import_is_looked_at_first(sites, caroni):
    bundle, m1 = sites / "b.bundle", ("--config", sites / "m1")
    made = caroni("pki", "export", "--ca", sites / "ca-b", "-o", bundle, "--json").json
    rest = ("--roles", "agent", "--dry-run", *m1)
    arguments = ("trust", "import", bundle, "--expect-fingerprint")
    seen = caroni(*arguments, made["fingerprint"], *rest, "--json").json
    assert (seen["site"], seen["fits"], seen["roles"]) == ("b.example", True, ["agent"])
    assert caroni(*arguments, "00" * 32, *rest, "--json").json["fits"] is False
    assert "ANOTHER" in caroni(*arguments, "00" * 32, *rest).out
    assert "offers" in caroni(*arguments, "00", "--roles", "king", "--dry-run", *m1).refused()
    assert "b.example" not in [s["site"] for s in caroni("trust", "list", *m1, "--json").json["sites"]]


def test_install_takes_only_this_identitys_certificate(sites, caroni):
    g1 = ("--config", sites / "g1")
    for name in ("g1", "other"):
        caroni("pki", "issue", "--ca", sites / "ca-b", "--local", "--role", "agent", "--name", name,
               "-o", sites / f"{name}.crt")  # fmt: skip
    assert "another key" in caroni("pki", "install", sites / "g1.crt", *g1).refused()
    assert (
        "is of caroni://b.example/agent/other" in caroni("pki", "install", sites / "other.crt", *g1).refused()
    )
    assert caroni("pki", "install", sites / "g1" / "identity.crt", *g1, "--json").code == 0
    (sites / "g1" / "trust.d" / "b.example.pem").unlink()
    assert "caroni trust import" in caroni("pki", "install", sites / "g1" / "identity.crt", *g1).refused()


def test_passphrases_are_never_guessed(tmp_path, caroni):
    ca = tmp_path / "ca"
    assert "--passphrase-file" in caroni("pki", "init-ca", ca, "--site", "c.example").refused()
    secret = tmp_path / "secret"
    secret.write_text("one\n")
    assert (
        "chmod 600"
        in caroni("pki", "init-ca", ca, "--site", "c.example", "--passphrase-file", secret).refused()
    )
    secret.chmod(0o600)
    assert caroni("pki", "init-ca", ca, "--site", "c.example", "--passphrase-file", secret).code == 0
    crl = ("pki", "crl", "--ca", ca, "-o", tmp_path / "c.crl")
    assert "--passphrase-file" in caroni(*crl).refused()
    secret.write_text("two\n")
    assert "passphrase is wrong" in caroni(*crl, "--passphrase-file", secret).refused()
    both = ("--passphrase-file", secret, "--no-passphrase")
    assert "not both" in caroni("pki", "init-ca", tmp_path / "x", "--site", "c.example", *both).refused()
