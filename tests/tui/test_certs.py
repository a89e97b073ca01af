"""Certificates and trust on the screen: what runs out, and what changes it, with real certificates."""

from __future__ import annotations

import os
from pathlib import Path

from caroni.services import authority, trusting
from tests.tui.harness import press, sees, shown, text, until
from tests.tui.partners import EVIL, harmless, make_partners


async def typed(pilot, *lines: str) -> None:  # type: ignore[no-untyped-def]
    """Fill a form: each line ends with enter."""
    for line in lines:
        focused = pilot.app.focused
        focused.value = line  # what a terminal pastes comes at once
        await press(pilot, "enter")


async def test_what_runs_out_is_told_in_days_and_words(tmp_path: Path) -> None:
    partners = await make_partners(tmp_path, days=12)
    trusting.ban(partners.manager.loaded, "caroni://b.example/agent/g7", "stolen laptop")
    async with shown(partners.manager, start="certs", size=(100, 30)) as pilot:
        await sees(pilot, "a.example/manager/m1", "11 d", "b.example", "banned", "✔ ok")
        await sees(pilot, "expires in 11 days: renew")
        await press(pilot, "j", "j")
        await sees(pilot, "believed for agent", "list is fresh", "number 1, made")
        await press(pilot, "j")
        await sees(pilot, "stolen laptop", "Nothing of it is believed")
        await press(pilot, "g", "enter")
        await sees(pilot, "certs › m1", "SHA-256", "serial", "identity.crt")


async def test_a_site_is_imported_after_a_look_at_what_it_adds(tmp_path: Path) -> None:
    partners = await make_partners(tmp_path)
    bundle, fingerprint = str(partners.bundles["c.example"]), partners.fingerprints["c.example"]
    async with shown(partners.manager, start="certs", size=(100, 40)) as pilot:
        await sees(pilot, "a.example/manager/m1")
        await press(pilot, "i")
        await sees(pilot, "Believe a site")
        await typed(pilot, bundle, "00" * 32, "agent")
        screen = await sees(pilot, "another fingerprint: ask")
        # it is to come from the partner, so it is not shown
        assert fingerprint[:9] not in screen
        await press(pilot, "shift+tab")
        await typed(pilot, fingerprint, "agent")
        await sees(pilot, "Believe c.example?", "It is believed for: agent", "[[manager.trust]]")
        assert "c.example" not in [s.site for s in trusting.trust(partners.manager.loaded).sites]
        await typed(pilot, "c.example")
        await sees(pilot, "reads it when it starts")
        await until(pilot, lambda: "site  c.example" in text(pilot))
        await press(pilot, "at")
        await sees(pilot, "caroni trust import")
    (site,) = [s for s in trusting.trust(partners.manager.loaded).sites if s.site == "c.example"]
    assert site.roles == ["agent"]


async def test_ban_and_unban_want_the_subject_typed(tmp_path: Path) -> None:
    partners = await make_partners(tmp_path)
    subject = "caroni://b.example/agent/g7"
    loaded = partners.manager.loaded
    async with shown(partners.manager, start="certs", size=(100, 40)) as pilot:
        await sees(pilot, "a.example/manager/m1")
        await press(pilot, "b")
        await sees(pilot, "Ban an identity")
        await typed(pilot, "g7", "")
        await sees(pilot, "neither caroni://site/role/name")
        await press(pilot, "shift+tab")
        await typed(pilot, subject, EVIL)
        await sees(pilot, "Ban it?", subject)
        assert harmless(text(pilot))
        await typed(pilot, "caroni://b.example/agent/g8")
        await sees(pilot, "That was not")
        assert not trusting.trust(loaded).bans
        await typed(pilot, subject)
        await sees(pilot, "⊘ banned", "b.example/agent/g7")
        assert trusting.trust(loaded).bans == [subject]
        assert harmless(text(pilot))
        await press(pilot, "G")
        await until(pilot, lambda: "Nothing of it is believed" in text(pilot))
        await press(pilot, "b")
        await sees(pilot, "Take this ban back?")
        await typed(pilot, subject)
        await until(pilot, lambda: "⊘ banned" not in text(pilot))
    assert not trusting.trust(loaded).bans


async def test_a_renewed_certificate_is_looked_at_and_put_in_place(tmp_path: Path) -> None:
    partners = await make_partners(tmp_path, days=12)
    new, foreign = tmp_path / "new.crt", tmp_path / "foreign.crt"
    ca, request = tmp_path / "ca-a.example", partners.manager.loaded.directory / "identity.csr"
    authority.issue(ca, None, role="manager", name="m1", days=300, output=new, request=request)
    authority.issue(ca, None, role="agent", name="other", days=300, output=foreign, request=None)
    async with shown(partners.manager, start="certs", size=(100, 40)) as pilot:
        await sees(pilot, "11 d")
        await press(pilot, "c")
        await sees(pilot, "renewed certificate")
        await typed(pilot, str(tmp_path / "nothing.crt"))
        await sees(pilot, "nothing.crt")
        await typed(pilot, str(foreign))
        await sees(pilot, "Put this certificate in place?", "a.example/agent/other")
        await press(pilot, "y")
        await sees(pilot, "foreign.crt is of", "caroni://a.example/agent/other")
        await press(pilot, "c")
        await typed(pilot, str(new))
        await sees(pilot, "Certificate of caroni://a.example/manager/m1")
        await press(pilot, "y")
        await until(pilot, lambda: "299 d" in text(pilot))


async def test_a_newer_list_is_taken(tmp_path: Path) -> None:
    partners = await make_partners(tmp_path)
    path = tmp_path / "b.crl"
    path.write_text(authority.revocation_list(tmp_path / "ca-b.example", None, days=30))
    async with shown(partners.manager, start="certs", size=(100, 40)) as pilot:
        await sees(pilot, "b.example")
        await press(pilot, "u")
        await sees(pilot, "A newer revocation list")
        await typed(pilot, str(path))
        await sees(pilot, "new list: the manager does not run")
    (site,) = [s for s in trusting.trust(partners.manager.loaded).sites if s.site == "b.example"]
    assert site.list_number == 2


async def test_a_damaged_trust_directory_is_told(tmp_path: Path) -> None:
    partners = await make_partners(tmp_path)
    async with shown(partners.manager, start="certs", size=(100, 24)) as pilot:
        await sees(pilot, "b.example")
        (partners.manager.loaded.config.security.trust_dir / "bans").write_text("nonsense\n")
        await press(pilot, "ctrl+r")
        screen = await sees(pilot, "again in", "old")
        assert "b.example" in screen


async def test_a_console_that_only_looks_changes_nothing(tmp_path: Path) -> None:
    partners = await make_partners(tmp_path, readonly=True)
    async with shown(partners.manager, start="certs", size=(100, 24), readonly=True) as pilot:
        await sees(pilot, "b.example")
        for key in ("i", "b", "u", "c"):
            await press(pilot, key)
            await sees(pilot, "this console only looks")
            assert not pilot.app.screen.is_modal


async def test_a_pipe_in_place_of_a_file_does_not_hold_the_console(tmp_path: Path) -> None:
    partners = await make_partners(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for key, rest in (("i", ("ab" * 32, "agent")), ("u", ()), ("c", ())):
        async with shown(partners.manager, start="certs", size=(100, 30)) as pilot:
            await sees(pilot, "a.example/manager/m1")
            await press(pilot, key)
            await typed(pilot, str(pipe), *rest)
            await sees(pilot, "is not a regular file")
