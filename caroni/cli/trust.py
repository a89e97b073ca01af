"""``caroni trust``: which sites are believed, and who is banned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example

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
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Believe a site from now on."""
    from caroni.config import load_config
    from caroni.services import trusting

    wanted = None if roles is None else tuple(part.strip() for part in roles.split(",") if part.strip())
    loaded = load_config(config)
    site = trusting.import_site(loaded, bundle, expect_fingerprint, wanted)
    if json:
        output.as_json(site)
        return
    output.line(f"{site.site} is trusted for: {', '.join(site.roles)}")
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
    output.table(
        ("site", "roles", "revocation list", "next due", "CA fingerprint"),
        [
            (s.site, ", ".join(s.roles), s.list_number, s.next_list, ", ".join(s.fingerprints))
            for s in found.sites
        ],
        empty="no site is trusted; see: caroni trust import --help",
    )
    for subject in found.bans:
        output.line(f"banned: {subject}")


@app.command(epilog=example("caroni trust update b.example.crl --config m1"))
def update(
    file: Annotated[Path, typer.Argument(help="A revocation list of a site that is believed.")],
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Take a newer revocation list."""
    from caroni.config import load_config
    from caroni.services import trusting

    site = trusting.install_list(load_config(config), file)
    if json:
        output.as_json(site)
        return
    output.line(f"{site.site}: revocation list {site.list_number}, the next is due {site.next_list}")


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

    trusting.ban(load_config(config), subject, reason)
    if json:
        output.as_json({"banned": subject})
        return
    output.line(f"banned: {subject}")


@app.command(epilog=example("caroni trust unban caroni://b.example/agent/g7"))
def unban(
    subject: Annotated[str, typer.Argument(help="What was banned.")],
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Take a ban back."""
    from caroni.config import load_config
    from caroni.services import trusting

    trusting.unban(load_config(config), subject)
    if json:
        output.as_json({"unbanned": subject})
        return
    output.line(f"no longer banned: {subject}")
