"""``caroni db``: create, update, check, copy and restore the database."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example

app = group()


@app.callback()
def _db() -> None:
    """Create, update, check, copy and restore the database."""


@app.command(epilog=example("caroni db migrate --config m1"))
def migrate(config: Configuration = None, json: Json = False) -> None:
    """Create the database or bring it up to date; its daemon must be stopped."""
    from caroni.config import load_config
    from caroni.services import databases

    done = asyncio.run(databases.migrate(load_config(config)))
    if json:
        output.as_json(done)
        return
    for name in done.applied:
        output.line(f"applied {name}")
    output.line(f"{done.database} is up to date")


@app.command(epilog=example("caroni db backup /backup/m1-$(date +%F).db --config m1"))
def backup(
    file: Annotated[Path, typer.Argument(help="A new file.", metavar="FILE")],
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Copy the database into a new file (mode 0600), while its daemon runs or not.

    SQLite: a database that can take the place of the original. PostgreSQL: an archive for pg_restore.
    """
    from caroni.config import load_config
    from caroni.services import databases

    done = asyncio.run(databases.backup(load_config(config), file))
    if json:
        output.as_json(done)
        return
    output.line(f"{done.database} is copied to {done.file} ({done.size} bytes)")


@app.command(epilog=example("caroni db restored --config m1"))
def restored(config: Configuration = None, json: Json = False) -> None:
    """Say that the database was put back from a copy, before its daemon starts again.

    It must be stopped. Without this the daemon would use numbers again that its peers have seen.
    """
    from caroni.config import load_config
    from caroni.config.units import format_duration
    from caroni.services import databases

    done = asyncio.run(databases.restored(load_config(config)))
    if json:
        output.as_json(done)
        return
    output.line(f"{done.database}: recorded. When the {done.role} starts,")
    output.line("  it numbers its messages in a new stream, so that its peers take them")
    if done.role == "manager":
        output.line(f"  it asks every agent what runs; {done.live_jobs} jobs are live by this copy")
        output.line(
            f"  for {format_duration(done.hold)} it stops no job that it does not know: what a step of the"
        )
        output.line(
            f"  {done.live_workflows} live workflows waits for is taken up, the rest is kept as orphans"
        )
        output.line("  steps that must run at most once, and may have run since, are held for you")
        output.line("see then: caroni doctor, caroni list --state held, caroni jobs --state orphan")
    else:
        output.line(
            f"  it tells its managers how its {done.live_jobs} jobs stand, and takes up jobs that it finds"
        )
        output.line("  in its spool and has forgotten")
        output.line("see then: caroni doctor, caroni jobs")


@app.command(epilog=example("caroni db check --config m1"))
def check(config: Configuration = None, json: Json = False) -> None:
    """Look whether the database is there, up to date and undamaged."""
    from caroni.config import load_config
    from caroni.services import databases

    found = asyncio.run(databases.check(load_config(config)))
    if json:
        output.as_json(found)
        return
    output.line(f"{found.database}: good ({found.dialect}, role {found.role})")
