"""``caroni watch``: follow a workflow to its end, from the manager's database or over the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, ManagerUri, Which, example

if TYPE_CHECKING:
    from caroni.cli.progress import Progress
    from caroni.config import Loaded
    from caroni.services.workflows import StepOfWorkflow

app = group()

#: seconds between two looks at a manager's database
_PAUSE = 0.5
_ENDED = ("completed", "failed", "cancelled")


@app.command(
    epilog=example("caroni watch 3f2a --config m1", "caroni watch nightly --json --config s1 | jq .state")
)
def watch(
    which: Which,
    manager: ManagerUri = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only wait for the end.")] = False,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Follow a workflow until it ends; exit code 0 if it completed, else 1.

    With --json one line for each change, on stdout. A submitter's configuration asks the manager over the
    broker; a manager's reads its database.
    """
    from caroni.cli.progress import progress
    from caroni.cli.run import fail_unless_completed
    from caroni.config import load_config

    loaded = load_config(config)
    display = _JsonLines() if json else progress(which, quiet=quiet)
    with display as shown:
        if loaded.config.role == "submitter":
            state, failure, steps = asyncio.run(_over_the_broker(loaded, manager, which, shown))
        else:
            state, failure, steps = asyncio.run(in_the_database(loaded, which, shown))
    fail_unless_completed(which, state, failure, steps)


async def _over_the_broker(
    loaded: Loaded, manager: str | None, which: str, display: Progress
) -> tuple[str, str, list[StepOfWorkflow]]:
    from caroni.cli import remote

    async with remote.seat(loaded, remote.manager_of(loaded, manager)) as submitter:
        uuid = await remote.find(submitter, which)
        last, steps = await remote.follow(submitter, uuid, display, ask=True)
    return last.workflows[0].state, last.workflows[0].failure, steps


async def in_the_database(
    loaded: Loaded, which: str, display: Progress
) -> tuple[str, str, list[StepOfWorkflow]]:
    """Show a workflow of a manager's database until its end; gives state, failure and steps."""
    from caroni.services import workflows

    while True:
        found, steps = await workflows.workflow(loaded, which)
        which = found.workflow  # a name may be given to another one meanwhile
        display.show(found.state, steps)
        if found.state in _ENDED:
            return found.state, found.failure, steps
        await asyncio.sleep(_PAUSE)


class _JsonLines:
    """A line for each change of a state."""

    def __init__(self) -> None:
        self._before: object = None

    def __enter__(self) -> _JsonLines:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def show(self, state: str, steps: Sequence[StepOfWorkflow]) -> None:
        now = {
            "state": state,
            "steps": {s.name: {"state": s.state, "agent": s.agent, "attempt": s.attempt} for s in steps},
        }
        if now != self._before:
            self._before = now
            output.json_line(now)
