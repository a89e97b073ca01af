"""``caroni init``: make the directory of a manager, an agent or a submitter."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Json, PassphraseFile, ca_passphrase, example

app = group()


@app.command(
    epilog=example(
        "caroni init manager m1 --site a.example --name m1 --ca ca --trust-agent 'caroni://b.example/agent/*'",
        "caroni init agent g1 --site b.example --name g1 --allow-manager 'caroni://a.example/manager/*'",
    )
)
def init(
    role: Annotated[str, typer.Argument(help="manager, agent or submitter.")],
    directory: Annotated[Path, typer.Argument(help="A new or empty directory.")],
    site: Annotated[str, typer.Option(help="The site that vouches for it, such as a.example.")],
    name: Annotated[str, typer.Option(help="Its name within site and role.")],
    ca: Annotated[
        Path | None, typer.Option(help="Directory of the site's CA, to have the certificate at once.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    broker: Annotated[str, typer.Option(help="URL of the broker.")] = "amqp://localhost/",
    database: Annotated[
        str, typer.Option(help="A local file, or postgres://USER@HOST:5432/NAME without the password.")
    ] = "sqlite://caroni.db",
    database_password_file: Annotated[
        Path | None, typer.Option(help="File (mode 0600) with the PostgreSQL password.", show_default=False)
    ] = None,
    allow_manager: Annotated[
        list[str] | None,
        typer.Option(help="For an agent: whose jobs it runs (default: its own site's managers). Repeatable."),
    ] = None,
    trust_agent: Annotated[
        list[str] | None,
        typer.Option(
            help="For a manager: whose offers it takes (default: its own site's agents). Repeatable."
        ),
    ] = None,
    manager: Annotated[
        str, typer.Option(help="For a submitter: the manager that its workflows go to.", show_default=False)
    ] = "",
    days: Annotated[int, typer.Option(help="Lifetime of the certificate.")] = 365,
    json: Json = False,
) -> None:
    """Make a directory with identity, configuration and database.

    Without --ca the certificate comes from the CA's operator: send identity.csr, get a certificate.
    """
    from caroni.services.setup import make_directory

    made = asyncio.run(
        make_directory(
            role,
            directory,
            site=site,
            name=name,
            broker=broker,
            database=database,
            database_password_file=database_password_file,
            allow_managers=allow_manager or (),
            trust_agents=trust_agent or (),
            manager=manager,
            ca=ca,
            ca_passphrase=ca_passphrase(ca, passphrase_file) if ca is not None else None,
            days=days,
        )
    )
    if json:
        output.as_json(made)
        return
    output.line(f"{made.uri} is in {made.directory}")
    if made.certificate:
        output.line(f"certificate issued; {site} is trusted here (CA {made.fingerprint})")
    else:
        output.line("next, on the host of the CA:")
        output.line(
            f"  caroni pki issue --ca CA --csr identity.csr --role {role} --name {name} -o {name}.crt"
        )
        output.line("  caroni pki export --ca CA -o site.bundle")
        output.line("then here:")
        output.line(f"  caroni trust import site.bundle --expect-fingerprint FP --config {directory}")
        output.line(f"  caroni pki install {name}.crt --config {directory}")
    follow = {
        "manager": f"caroni template add WORKFLOW.cwl --config {directory}",
        "agent": f"caroni job add JOB.yaml --config {directory}",
        "submitter": f"caroni submit TEMPLATE --wait --config {directory}",
    }
    output.line(f"then: {follow[role]}")
