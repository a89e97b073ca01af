"""Certificates and trust: what runs out, who is believed, who is banned."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast

from caroni.services.stores import now
from caroni.services.words import ago, ahead, brief, plural
from caroni.trust.instants import to_text
from caroni.tui.acts import Act
from caroni.tui.glyphs import look, mark
from caroni.tui.paint import BOLD, DIM
from caroni.tui.screens.ask import AskScreen, Field, not_a_file
from caroni.tui.screens.listing import ListScreen
from caroni.tui.widgets.lines import Styled
from caroni.tui.widgets.table import Cell, Column, Key, Line

if TYPE_CHECKING:
    from caroni.config import Loaded
    from caroni.services.trusting import Preview
    from caroni.services.trustlist import OwnCertificate, Trust, TrustedSite


class _Seen(NamedTuple):
    at: int
    trust: Trust


class CertsScreen(ListScreen):
    """The own certificate first, then sites that are believed, then bans."""

    NAME = "certs"
    PERIOD = 10.0
    EMPTY = "There is no certificate, and no site is trusted: i imports one."
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("STATE", 10),
        Column("WHAT", 5),
        Column("WHO", 18, grow=3),
        Column("EXPIRES", 8, right=True),
        Column("LIST AGE", 8, right=True, least=70),
        Column("ROLES", 14, grow=1, least=66),
        Column("WHAT IS SO", 24, grow=4, least=104),
    )

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("certs.import", "i", "import", "Believe a site, from its bundle and its fingerprint",
            writes=True),
        Act("certs.ban", "b", "ban", "Refuse an identity or a certificate here; on a ban: take it back",
            writes=True),
        Act("certs.list", "u", "new list", "Take a newer revocation list of a site, from a file",
            writes=True),
        Act("certs.install", "c", "renew", "Put this daemon's renewed certificate in place, from a file",
            writes=True),
    )  # fmt: skip

    async def fetch(self) -> _Seen:
        loaded = self.site.loaded

        def look_at() -> _Seen:
            from caroni.services.trustlist import trust  # certificates are slow to import

            return _Seen(now(), trust(loaded))

        return await asyncio.to_thread(look_at)

    # --- painting --------------------------------------------------------------------------------

    def rows(self, snapshot: _Seen) -> Sequence[Line]:
        trust, at = snapshot.trust, snapshot.at
        return [
            _own(trust.own),
            *(_site(site, at) for site in trust.sites),
            *(_ban(subject, trust.notes.get(subject, "")) for subject in trust.bans),
        ]

    def detail(self, snapshot: _Seen, key: Key) -> list[Styled]:
        what, who = cast("tuple[str, str]", key)
        trust, at = snapshot.trust, snapshot.at
        if what == "own":
            return _own_in_full(trust.own, at)
        site = next((one for one in trust.sites if one.site == who), None) if what == "site" else None
        if site is not None:
            return _site_in_full(site, at)
        if what == "ban" and who in trust.bans:
            note = trust.notes.get(who, "")
            lines: list[Styled] = [(who, BOLD), "Nothing of it is believed on this host."]
            return lines + ([f"note      {note}"] if note else [])
        return ["It is not there any more."]

    def title_of(self, key: Key) -> str:
        return cast("tuple[str, str]", key)[1].rpartition("/")[2]

    # --- acts ------------------------------------------------------------------------------------

    def do_import(self) -> None:
        """Ask for bundle and fingerprint, show what it would add, then add it."""

        async def dialogue() -> None:
            from caroni.services import trusting

            seen: list[Preview] = []

            def wrong(typed: dict[str, str]) -> str:
                def look_at() -> None:
                    seen.append(_preview(self.site.loaded, typed))

                return not_a_file(_path(typed["bundle"])) or _told(look_at)

            typed = await self._form(
                "Believe a site",
                ["Its operator makes the bundle (caroni pki export), and tells the fingerprint another way."],
                [
                    Field("bundle", "Bundle", "path of the file"),
                    Field("fingerprint", "Fingerprint of its CA", "64 hexadecimal digits, as they were told"),
                    Field("roles", "Roles (empty: all that it offers)", "e.g. agent"),
                ],
                wrong,
            )
            if typed is None:
                return
            found = seen[-1]
            if not await self.confirm(f"Believe {found.site}?", _would(found), phrase=found.site):
                return
            path, roles = _path(typed["bundle"]), _roles(typed["roles"])
            words = ["trust", "import", str(path), "--expect-fingerprint", typed["fingerprint"]]
            words += ["--roles", ",".join(roles)] if roles is not None else []
            loaded = self.site.loaded
            self._change(
                f"believe {found.site}",
                words,
                lambda: trusting.import_site(loaded, path, typed["fingerprint"], roles),
            )

        self.ask(dialogue)

    def do_ban(self) -> None:
        """Ban somebody, or take the ban under the cursor back."""
        key = cast("tuple[str, str] | None", self.table.key)
        self.ask(self._unban(key[1]) if key is not None and key[0] == "ban" else self._ban())

    def _ban(self) -> Callable[[], Awaitable[None]]:
        async def dialogue() -> None:
            from caroni.services import trusting

            typed = await self._form(
                "Ban an identity or a certificate",
                ["Nothing of it is believed on this host, from now on. Its running jobs are not stopped."],
                [
                    Field("subject", "Who", "caroni://SITE/ROLE/NAME, or a certificate's SHA-256"),
                    Field("reason", "Note for the next operator (may be empty)"),
                ],
                lambda typed: _told(lambda: trusting.ban_subject(typed["subject"])),
            )
            if typed is None:
                return
            subject, reason = trusting.ban_subject(typed["subject"]), typed["reason"]
            if await self.confirm(
                "Ban it?", [subject, *([f"Note: {reason}"] if reason else [])], phrase=subject
            ):
                words = ["trust", "ban", subject, *(["--reason", reason] if reason else [])]
                loaded = self.site.loaded
                self._change("ban", words, lambda: trusting.ban(loaded, subject, reason))

        return dialogue

    def _unban(self, subject: str) -> Callable[[], Awaitable[None]]:
        async def dialogue() -> None:
            from caroni.services import trusting

            lines = [subject, "What it says is believed again, as far as trust and rules go."]
            if await self.confirm("Take this ban back?", lines, phrase=subject):
                loaded = self.site.loaded
                self._change("unban", ["trust", "unban", subject], lambda: trusting.unban(loaded, subject))

        return dialogue

    def do_list(self) -> None:
        """Ask for the file and take it."""

        async def dialogue() -> None:
            from caroni.services import trusting

            typed = await self._form(
                "A newer revocation list",
                ["A list is signed by its site's CA, so it may come from anybody."],
                [Field("file", "File", "path of the list (caroni pki crl)")],
                lambda typed: not_a_file(_path(typed["file"])),
            )
            if typed is not None:
                path, loaded = _path(typed["file"]), self.site.loaded
                self._change(
                    "new list", ["trust", "update", str(path)], lambda: trusting.install_list(loaded, path)
                )

        self.ask(dialogue)

    def do_install(self) -> None:
        """Ask for the file, say what it holds, then put it in place."""

        async def dialogue() -> None:
            from caroni.services import authority, trusting

            typed = await self._form(
                "This daemon's renewed certificate",
                [
                    f"The CA's operator issues it for {self.site.loaded.directory / 'identity.csr'}.",
                    "It must be for this identity, this key and this site's CA.",
                ],
                [Field("file", "File", "path of the certificate")],
                lambda typed: (
                    not_a_file(_path(typed["file"]))
                    or _told(lambda: authority.describe(_path(typed["file"])))
                ),
            )
            if typed is None:
                return
            path, loaded = _path(typed["file"]), self.site.loaded
            if await self.confirm("Put this certificate in place?", authority.describe(path)):

                async def act() -> str:
                    await asyncio.to_thread(trusting.install_certificate, loaded, path)
                    runs = self.host.daemon_runs(self.site)
                    return (
                        f"in place; start the {self.site.role} again to sign with it" if runs else "in place"
                    )

                self.do("renew", self.cli("pki", "install", str(path)), act)

        self.ask(dialogue)

    async def _form(
        self,
        title: str,
        lines: list[str],
        fields: list[Field],
        wrong: Callable[[dict[str, str]], str],
    ) -> dict[str, str] | None:
        typed: dict[str, str] | None = await self.host.push_screen_wait(
            AskScreen(title, lines, fields, wrong)
        )
        return typed

    def _change(self, label: str, words: Sequence[str], change: Callable[[], object]) -> None:
        """Write a file of the trust directory, and have the daemon read it."""
        from caroni.services import trusting

        loaded = self.site.loaded

        async def act() -> str:
            await asyncio.to_thread(change)
            return await trusting.tell_daemon(loaded)

        self.do(label, self.cli(*words), act)


# --- what is typed -------------------------------------------------------------------------------


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))


def _roles(text: str) -> tuple[str, ...] | None:
    return tuple(part.strip() for part in text.split(",") if part.strip()) or None


def _told(look_at: Callable[[], object]) -> str:
    """What is wrong with something, in one line."""
    from caroni.errors import CaroniError

    try:
        look_at()
    except CaroniError as error:
        return str(error)
    return ""


def _preview(loaded: Loaded, typed: dict[str, str]) -> Preview:
    from caroni.errors import UsageError
    from caroni.services import trusting

    found = trusting.preview_import(
        loaded,
        _path(typed["bundle"]),
        typed["fingerprint"],
        _roles(typed["roles"]),
    )
    if not found.fits:
        # not told which: it is to come from the partner, not from the bundle
        raise UsageError("the bundle's CA has another fingerprint: ask the site's operator again")
    return found


def _would(found: Preview) -> list[str]:
    before = f" (so far: {', '.join(found.before)})" if found.before else ""
    lines = [
        f"It is believed for: {', '.join(found.roles)}{before}",
        "The fingerprint that you were told is the bundle's.",
        *found.lines,
    ]
    if found.rule:
        lines += ["", "To let them take part, the configuration needs a rule:", *found.rule.splitlines()]
    return lines


# --- words ---------------------------------------------------------------------------------------


def _days(days: int) -> str:
    return f"{days} d" if days >= 0 else "expired"


def _state(state: str) -> Cell:
    shown = mark("check", state)
    return (shown.text, shown.style)


def _own(own: OwnCertificate) -> Line:
    days = own.expires_in_days
    expires = _days(days) if own.fingerprint else "none"
    role = own.uri.split("/")[3]
    cells = (_state(own.state), "own", own.uri.removeprefix("caroni://"), expires, "", role, own.text)
    return Line(("own", own.uri), cells, sort=(own.state, "0", own.uri, days, 0, role, own.text))


def _site(site: TrustedSite, at: int) -> Line:
    age = brief(at - site.list_made_at) if site.list_made_at else "none"
    roles = ", ".join(site.roles)
    cells = (_state(site.state), "site", site.site, _days(site.expires_in_days), age, roles, site.text)
    sort = (site.state, "1", site.site, site.expires_in_days, at - site.list_made_at, roles, site.text)
    return Line(("site", site.site), cells, sort=sort)


def _ban(subject: str, note: str) -> Line:
    shown = look("ended")
    cells = (
        (f"{shown.glyph} banned", shown.style),
        "ban",
        subject.removeprefix("caroni://"),
        "",
        "",
        "",
        note,
    )
    return Line(("ban", subject), cells, sort=("banned", "2", subject, 0, 0, "", note))


def _head(name: str, state: str, text: str) -> list[Styled]:
    shown = mark("check", state)
    return [(name, BOLD), (f"{shown.text}: {text}", shown.style)]


def _own_in_full(own: OwnCertificate, at: int) -> list[Styled]:
    lines = _head(own.uri, own.state, own.text)
    if own.fingerprint:
        lines += [
            f"expires   {to_text(own.expires_at)} ({_when(own.expires_at, at)})",
            f"begins    {to_text(own.starts_at)}",
            f"SHA-256   {own.fingerprint}",
            f"serial    {own.serial}",
        ]
    lines.append(f"file      {own.path}")
    if own.state != "ok":
        lines.append(
            ("Have identity.csr signed again (caroni pki issue); c puts what comes back in place.", DIM)
        )
    return lines


def _site_in_full(site: TrustedSite, at: int) -> list[Styled]:
    lines = _head(site.site, site.state, site.text)
    lines += [
        f"believed for {', '.join(site.roles)}",
        f"CA until  {to_text(site.expires_at)} ({_when(site.expires_at, at)})",
        *(f"SHA-256   {fingerprint}" for fingerprint in site.fingerprints),
    ]
    if site.list_number is None:
        lines.append("list      none: certificates of this site cannot be taken back from here (u takes one)")
    else:
        lines += [
            f"list      number {site.list_number}, made {ago(site.list_made_at, at)},"
            f" {plural(site.revoked, 'certificate')} revoked",
            f"next due  {to_text(site.list_due_at)} ({_when(site.list_due_at, at)})",
            f"too old   {_FAIL.get(site.crl_fail, site.crl_fail)}",
        ]
    return lines


_FAIL = {
    "deny-new-work": "then no new work is taken from it (deny-new-work)",
    "deny-all": "then nothing is taken from it (deny-all)",
    "ignore": "it is believed all the same (ignore)",
}


def _when(instant: int, at: int) -> str:
    return ahead(instant, at) if instant > at else ago(instant, at)
