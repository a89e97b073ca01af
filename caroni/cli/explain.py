"""``caroni explain``: why a workflow is not running, from its manager's rows or asked for by a submitter."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, ManagerUri, Which, example
from caroni.errors import UsageError
from caroni.text import safe_line

if TYPE_CHECKING:
    from caroni.config import Loaded
    from caroni.services.explained import Explained

app = group()


@app.command(epilog=example("caroni explain 3f2a --config m1", "caroni explain 3f2a align --config m1"))
def explain(
    which: Which,
    step: Annotated[
        str | None,
        typer.Argument(help="One step, done or not, instead of all that are not done.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many steps.", min=1, max=1000)] = 50,
    manager: ManagerUri = None,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Say why a workflow is not running: what each step waits for, who was asked, and what happens next."""
    from caroni.config import load_config

    loaded = load_config(config)
    if loaded.config.role == "submitter":
        _asked(loaded, manager, which, step, json)
        return
    from caroni.services.explaintext import lines

    found = asyncio.run(_explained(loaded, which, step or "", limit))
    if json:
        output.as_json(found)
        return
    for line in lines(found):
        output.line(line)


async def _explained(loaded: Loaded, which: str, step: str, limit: int) -> Explained:
    from caroni.services.stores import opened
    from caroni.services.why import why
    from caroni.services.workflows import find_workflow

    async with opened(loaded, "manager", "workflows", read_only=True) as store:
        uuid = await find_workflow(store, which)
        return await why(loaded, store, uuid, step=step, limit=limit)


def _asked(loaded: Loaded, manager: str | None, which: str, step: str | None, json: bool) -> None:
    from caroni.cli import remote

    found, text = asyncio.run(remote.explanation(loaded, remote.manager_of(loaded, manager), which))
    told = text.split("\n")
    if step is not None:
        told = _of_step(told, step)
        if len(told) < 2:
            raise UsageError(
                f"the manager says nothing of a step {safe_line(step, 60)!r}: it is done, or there is none;"
                " see: caroni show"
            )
    if json:
        output.as_json({**output.plain(found), "explanation": told})
        return
    for line in told:
        output.line(line)


def _of_step(told: list[str], step: str) -> list[str]:
    """The first line, and those of one step."""
    kept, inside = told[:1], False
    for line in told[1:]:
        if not line.startswith(" "):
            inside = line.startswith(f"step {step} (")
        if inside:
            kept.append(line)
    return kept
