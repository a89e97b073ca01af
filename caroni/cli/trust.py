"""``caroni trust``: which sites are believed, and who is banned."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example
from caroni.errors import CaroniError

if TYPE_CHECKING:
    from caroni.config import Loaded
    from caroni.services.trusting import Preview

app = group()


@app.callback()
def _trust() -> None:
    """Which sites are believed, and who is banned."""


@app.command(
    "import",
    epilog=example("caroni trust import b.example.bundle --expect-fingerprint '1f3c 88a0 ...' --roles agent"),
)
def import_(
    bundle: Annotated[Path, typer.Argument(help="What the partner's caroni pki export wrote.")],
    expect_fingerprint: Annotated[
        str, typer.Option(help="The CA's SHA-256, told by the partner another way. Required.")
    ],
    roles: Annotated[
        str | None, typer.Option(help="Believe it for these roles only (agent,manager).", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Believe a site from now on."""
    from caroni.config import load_config
    from caroni.services import trusting

    wanted = None if roles is None else tuple(part.strip() for part in roles.split(",") if part.strip())
    loaded = load_config(config)
    if dry_run:
        _preview(trusting.preview_import(loaded, bundle, expect_fingerprint, wanted), json)
        return
    site = trusting.import_site(loaded, bundle, expect_fingerprint, wanted)
    told = _tell(loaded, f"{site.site} is trusted")
    if json:
        output.as_json({**output.plain(site), "told": told})
        return
    output.line(f"{site.site} is trusted for: {', '.join(site.roles)}; {told}")
    if rule := trusting.missing_rule(loaded, site):
        output.note(f"to let them take part, add a rule to {loaded.path}:\n{rule}")


@app.command("list", epilog=example("caroni trust list --config m1"))
def list_(config: Configuration = None, json: Json = False) -> None:
    """List the sites that are believed, and the bans of this host."""
    from caroni.config import load_config
    from caroni.services import trusting

    found = trusting.trust(load_config(config))
    if json:
        output.as_json(found)
        return
    own = found.own
    output.line(f"{own.state:<8} own certificate {own.uri}: {own.text}")
    if own.fingerprint:
        output.line(f"         SHA-256 {own.fingerprint}")
    output.table(
        (
            "site",
            "state",
            "roles",
            "CA expires",
            "revocation list",
            "next due",
            "what is so",
            "CA fingerprint",
        ),
        [
            (
                s.site,
                s.state,
                ", ".join(s.roles),
                f"in {s.expires_in_days} days",
                f"{s.list_number}, {s.revoked} revoked" if s.list_number is not None else "none",
                s.next_list,
                s.text,
                ", ".join(s.fingerprints),
            )
            for s in found.sites
        ],
        empty="no site is trusted; see: caroni trust import --help",
    )
    for subject in found.bans:
        note = found.notes.get(subject, "")
        output.line(f"banned: {subject}" + (f"  ({note})" if note else ""))


@app.command(epilog=example("caroni trust update b.example.crl --config m1"))
def update(
    file: Annotated[Path, typer.Argument(help="A revocation list of a site that is believed.")],
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Take a newer revocation list."""
    from caroni.config import load_config
    from caroni.services import trusting

    loaded = load_config(config)
    site = trusting.install_list(loaded, file)
    told = _tell(loaded, f"{site.site}: revocation list {site.list_number} is in place")
    if json:
        output.as_json({**output.plain(site), "told": told})
        return
    output.line(f"{site.site}: revocation list {site.list_number}, the next is due {site.next_list}; {told}")


@app.command(epilog=example("caroni trust ban caroni://b.example/agent/g7 --reason 'stolen laptop'"))
def ban(
    subject: Annotated[str, typer.Argument(help="caroni://site/role/name, or a certificate's SHA-256.")],
    reason: Annotated[str, typer.Option(help="A note for the next operator.")] = "",
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Refuse an identity or a certificate on this host, at once."""
    from caroni.config import load_config
    from caroni.services import trusting

    loaded = load_config(config)
    trusting.ban(loaded, subject, reason)
    told = _tell(loaded, f"{subject} is banned")
    if json:
        output.as_json({"banned": subject, "told": told})
        return
    output.line(f"banned: {subject}; {told}")


@app.command(epilog=example("caroni trust unban caroni://b.example/agent/g7"))
def unban(
    subject: Annotated[str, typer.Argument(help="What was banned.")],
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Take a ban back."""
    from caroni.config import load_config
    from caroni.services import trusting

    loaded = load_config(config)
    trusting.unban(loaded, subject)
    told = _tell(loaded, f"{subject} is no longer banned")
    if json:
        output.as_json({"unbanned": subject, "told": told})
        return
    output.line(f"no longer banned: {subject}; {told}")


def _tell(loaded: Loaded, done: str) -> str:
    """Have a running daemon read it: who bans somebody must know if he is still listened to."""
    from caroni.services.trusting import tell_daemon

    try:
        return asyncio.run(tell_daemon(loaded))
    except CaroniError as error:
        raise type(error)(f"{done}, but the daemon has not read it: {error}") from None


def _preview(found: Preview, json: bool) -> None:
    if json:
        output.as_json(found)
        return
    for text in found.lines:
        output.line(text)
    before = f" (so far for: {', '.join(found.before)})" if found.before else ""
    output.line(f"would be trusted for: {', '.join(found.roles)}{before}")
    output.line(
        "the fingerprint fits" if found.fits else "the fingerprint is ANOTHER one: ask its sender again"
    )
    if found.rule:
        output.note(f"to let them take part, a rule would have to be added:\n{found.rule}")
