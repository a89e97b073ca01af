"""``caroni list``, ``show``, ``outputs``: from a manager's database, or asked for by a submitter."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, ManagerUri, Which, example
from caroni.errors import UsageError

if TYPE_CHECKING:
    from caroni.config import Loaded

list_app = group()
show_app = group()
outputs_app = group()


@list_app.command(epilog=example("caroni list --state running --config m1"))
def list_(
    state: Annotated[str | None, typer.Option(help="Only those in this state.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="At most this many.", min=1, max=10_000)] = 50,
    manager: ManagerUri = None,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """List workflows, the last changed first: a manager's, or with a submitter's configuration its own."""
    from caroni.config import load_config
    from caroni.services import workflows

    loaded = load_config(config)
    if loaded.config.role == "submitter":
        from caroni.cli import remote

        uri = remote.manager_of(loaded, manager)
        found = asyncio.run(remote.workflows(loaded, uri, limit=limit, state=state))
    else:
        found = asyncio.run(workflows.workflows(loaded, limit=limit, state=state))
    if json:
        output.as_json(found)
        return
    output.table(
        ("workflow", "name", "template", "state", "steps", "created", "took"),
        [
            (
                w.workflow[:12],
                w.name,
                f"{w.template}@{w.revision}",
                w.state + (" (paused)" if w.paused else ""),
                f"{w.steps_total - w.steps_left}/{w.steps_total}",
                output.instant(w.created_at),
                output.took(w.created_at, w.ended_at),
            )
            for w in found
        ],
        empty="no workflows",
    )


@show_app.command(epilog=example("caroni show 3f2a --config m1", "caroni show 3f2a --events --config m1"))
def show(
    which: Which,
    events: Annotated[
        bool, typer.Option("--events", help="What happened to it and when, instead of its steps.")
    ] = False,
    manager: ManagerUri = None,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Show a workflow and its steps."""
    from caroni.config import load_config
    from caroni.services import workflows

    loaded = load_config(config)
    if events:
        _events(loaded, which, json)
        return
    if loaded.config.role == "submitter":
        from caroni.cli import remote

        found, steps = asyncio.run(remote.workflow(loaded, remote.manager_of(loaded, manager), which))
    else:
        found, steps = asyncio.run(workflows.workflow(loaded, which))
    if json:
        output.as_json({**output.plain(found), "step_list": steps})
        return
    paused = " (paused)" if found.paused else ""
    output.line(f"workflow {found.workflow} {found.name}")
    output.line(f"  template   {found.template}, revision {found.revision}")
    output.line(f"  state      {found.state}{paused}" + (f": {found.failure}" if found.failure else ""))
    output.line(f"  submitter  {found.submitter}")
    output.line(f"  created    {output.instant(found.created_at)}")
    if found.ended_at:
        output.line(
            f"  ended      {output.instant(found.ended_at)} ({output.took(found.created_at, found.ended_at)})"
        )
    output.table(
        ("step", "state", "job type", "agent", "attempt", "took", "info"),
        [
            (s.name, s.state, s.job_type, s.agent, s.attempt, output.took(s.started_at, s.ended_at), s.info)
            for s in steps
        ],
    )


def _events(loaded: Loaded, which: str, json: bool) -> None:
    """The newest of what happened, oldest first."""
    from caroni.services.happenings import Happening, happenings
    from caroni.services.stores import opened
    from caroni.services.workflows import find_workflow

    async def read() -> list[Happening]:
        async with opened(loaded, "manager", "events", read_only=True) as store:
            return await happenings(store, await find_workflow(store, which))

    found = asyncio.run(read())
    if json:
        output.as_json(found)
        return
    output.table(
        ("at", "of", "step", "what", "attempt", "agent", "more"),
        [(output.instant(e.at), e.of, e.step, e.what, e.attempt or "", e.agent, e.more) for e in found],
    )


@outputs_app.command(epilog=example("caroni outputs 3f2a --config m1 | jq .result"))
def outputs(
    which: Which,
    partial: Annotated[
        bool, typer.Option("--partial", help="Also of a workflow that has not completed: what there is.")
    ] = False,
    manager: ManagerUri = None,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Print a workflow's outputs as JSON."""
    from caroni.config import load_config
    from caroni.services import workflows

    del json  # outputs are JSON already
    loaded = load_config(config)
    if loaded.config.role == "submitter":
        from caroni.cli import remote

        if partial:
            raise UsageError("--partial is for a manager's configuration: only it knows what there is so far")
        output.as_json(asyncio.run(remote.outputs(loaded, remote.manager_of(loaded, manager), which)))
    else:
        output.as_json(asyncio.run(workflows.outputs(loaded, which, partial=partial)))
