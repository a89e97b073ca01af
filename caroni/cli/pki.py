"""``caroni pki``: a site's certificate authority, and certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import (
    Ca,
    Configuration,
    Json,
    PassphraseFile,
    ask_passphrase,
    ca_passphrase,
    example,
)
from caroni.errors import UsageError

app = group()

Output = Annotated[Path, typer.Option("--output", "-o", help="The file to write.")]


@app.callback()
def _pki() -> None:
    """Certificates: a site's authority, issuing, revoking."""


@app.command(
    "init-ca",
    epilog=example("caroni pki init-ca /root/ca --site a.example --passphrase-file /root/ca.passphrase"),
)
def init_ca(
    directory: Annotated[Path, typer.Argument(help="A directory of its own, away from the daemons.")],
    site: Annotated[str, typer.Option(help="The site's name, such as a.example.")],
    years: Annotated[int, typer.Option(help="Lifetime of the CA.")] = 10,
    passphrase_file: PassphraseFile = None,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Leave the key unencrypted (tests and trials only).")
    ] = False,
    json: Json = False,
) -> None:
    """Make a site's certificate authority."""
    from caroni.services import authority

    if no_passphrase and passphrase_file is not None:
        raise UsageError("give --passphrase-file or --no-passphrase, not both")
    passphrase: bytes | None = None
    if passphrase_file is not None:
        passphrase = authority.read_passphrase(passphrase_file)
    elif not no_passphrase:
        passphrase = ask_passphrase(f"new passphrase for the CA of {site}", twice=True)
    made = authority.init_ca(directory, site, passphrase, years=years)
    if json:
        output.as_json(made)
        return
    output.line(f"CA of {made.site} is in {made.directory}")
    output.line(f"SHA-256 {made.fingerprint}")
    output.line("read this fingerprint to your partners over the telephone; they need it to trust you")


@app.command(
    epilog=example(
        "caroni pki issue --ca ca --csr identity.csr --role agent --name g1 -o g1.crt",
        "caroni pki issue --ca ca --local --role submitter --name s1 -o s1.crt",
    )
)
def issue(
    ca: Ca,
    role: Annotated[str, typer.Option(help="manager, agent, submitter or operator.")],
    name: Annotated[str, typer.Option(help="The name within site and role.")],
    target: Output,
    csr: Annotated[Path | None, typer.Option(help="The request; only its public key is taken.")] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Make the key here too, beside the certificate (.key).")
    ] = False,
    days: Annotated[int, typer.Option(help="Lifetime of the certificate.")] = 365,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Issue a certificate: for a request, or with a new key."""
    from caroni.services import authority

    if (csr is None) != local:
        raise UsageError("give either --csr FILE or --local")
    passphrase = ca_passphrase(ca, passphrase_file)
    issued = authority.issue(ca, passphrase, role=role, name=name, days=days, output=target, request=csr)
    if json:
        output.as_json(issued)
        return
    output.line(f"{issued.uri}: {issued.certificate}" + (f", key in {issued.key}" if issued.key else ""))


@app.command(epilog=example("caroni pki install g1.crt --config /var/lib/caroni/g1"))
def install(
    certificate: Annotated[Path, typer.Argument(help="The certificate the CA's operator sent.")],
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Put this identity's certificate in place, if it fits the key and the site's CA."""
    from caroni.config import load_config
    from caroni.services import trusting
    from caroni.services.control import daemon_runs

    loaded = load_config(config)
    uri = trusting.install_certificate(loaded, certificate)
    target = loaded.config.security.certificate_file
    if json:
        output.as_json({"uri": uri, "certificate": str(target)})
        return
    output.line(f"{uri}: certificate is in {target}")
    if loaded.config.role != "submitter" and daemon_runs(loaded.lock_file):
        output.note(f"the {loaded.config.role} runs, and signs with it once it is started again")


@app.command(epilog=example("caroni pki show identity.csr"))
def show(
    file: Annotated[Path, typer.Argument(help="A certificate, request, revocation list or bundle.")],
    json: Json = False,
) -> None:
    """Say in plain words what a file holds."""
    from caroni.services import authority

    lines = authority.describe(file)
    if json:
        output.as_json({"file": str(file), "lines": lines})
        return
    for text in lines:
        output.line(text)


@app.command(epilog=example("caroni pki export --ca ca -o a.example.bundle"))
def export(
    ca: Ca,
    target: Output,
    roles: Annotated[
        str, typer.Option(help="What partners may believe us for.")
    ] = "manager,agent,submitter,operator",
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Write the text file with which partners come to trust this site."""
    from caroni.services import authority
    from caroni.trust.keys import write_atomically

    passphrase = ca_passphrase(ca, passphrase_file)
    text, fingerprint = authority.export(ca, passphrase, _roles(roles))
    write_atomically(target, text.encode("ascii"))
    if json:
        output.as_json({"bundle": str(target), "fingerprint": fingerprint})
        return
    output.line(f"{target}; partners import it with this fingerprint, told another way:")
    output.line(f"SHA-256 {fingerprint}")


@app.command(epilog=example("caroni pki revoke caroni://a.example/agent/g1 --ca ca --reason key-compromise"))
def revoke(
    subject: Annotated[str, typer.Argument(help="A URI (all its certificates), or a serial.")],
    ca: Ca,
    reason: Annotated[
        str,
        typer.Option(
            help="unspecified, key-compromise, superseded, cessation-of-operation or privilege-withdrawn."
        ),
    ] = "unspecified",
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Revoke certificates; it takes effect with the next list (caroni pki crl)."""
    from caroni.services import authority

    revoked = authority.revoke(ca, ca_passphrase(ca, passphrase_file), subject, reason)
    if json:
        output.as_json(revoked)
        return
    output.line(f"revoked {', '.join(revoked.serials)}; now: caroni pki crl --ca {ca} -o FILE")


@app.command(epilog=example("caroni pki crl --ca ca --days 30 -o a.example.crl"))
def crl(
    ca: Ca,
    target: Output,
    days: Annotated[int, typer.Option(help="When the next list is due.")] = 30,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Write the next revocation list, for partners to import (caroni trust update)."""
    from caroni.services import authority
    from caroni.trust.keys import write_atomically

    text = authority.revocation_list(ca, ca_passphrase(ca, passphrase_file), days=days)
    write_atomically(target, text.encode("ascii"))
    if json:
        output.as_json({"list": str(target), "days": days})
        return
    output.line(f"{target}; on every host that trusts this site: caroni trust update {target.name}")


def _roles(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
