"""``caroni prune``: the hourly sweep, now."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example

app = group()

_WORDS = {
    "inbox": "ids of messages seen",
    "ledger": "sealed messages",
    "commands": "operators' commands that are done",
    "quarantine": "messages set aside",
    "tombstones": "notes of removed rows",
    "suspects": "counts of deliveries",
    "files": "released jobs' files",
    "files_of_nobody": "files of jobs that nobody knows",
    "staged": "staged data of jobs",
}


@app.command(epilog=example("caroni prune --dry-run --config m1", "caroni prune --config g1"))
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would go by its age.")] = False,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Remove what is past its [retention]: by the daemon if it runs, else here.

    The daemon does so every hour by itself. Jobs that no manager has released stay.
    """
    from caroni.config import load_config
    from caroni.services.prune import prune as run

    done = asyncio.run(run(load_config(config), dry_run=dry_run))
    if json:
        output.as_json(done)
        return
    shown = [(count, _WORDS.get(kind, kind)) for kind, count in sorted(done.counts.items()) if count]
    output.table(("would go" if dry_run else "gone", "what"), shown, empty="nothing is past its time")
