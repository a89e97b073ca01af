"""``caroni db``: create, update and check the database."""

from __future__ import annotations

import asyncio

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example

app = group()


@app.callback()
def _db() -> None:
    """Create, update and check the database."""


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
