"""``caroni list``, ``show``, ``outputs``: a manager's workflows, read from its database."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example

list_app = group()
show_app = group()
outputs_app = group()

Which = Annotated[
    str,
    typer.Argument(help="A workflow's id, its first characters, or its name.", metavar="WORKFLOW"),
]


@list_app.command(epilog=example("caroni list --state running --config m1"))
def list_(
    state: Annotated[str | None, typer.Option(help="Only those in this state.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="At most this many.", min=1, max=10_000)] = 50,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """List a manager's workflows, the last changed first."""
    from caroni.config import load_config
    from caroni.services import workflows

    found = asyncio.run(workflows.workflows(load_config(config), limit=limit, state=state))
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


@show_app.command(epilog=example("caroni show 3f2a --config m1"))
def show(which: Which, config: Configuration = None, json: Json = False) -> None:
    """Show a workflow and its steps."""
    from caroni.config import load_config
    from caroni.services import workflows

    found, steps = asyncio.run(workflows.workflow(load_config(config), which))
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


@outputs_app.command(epilog=example("caroni outputs 3f2a --config m1 | jq .result"))
def outputs(
    which: Which,
    partial: Annotated[
        bool, typer.Option("--partial", help="Also of a workflow that has not completed: what there is.")
    ] = False,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Print a workflow's outputs as JSON."""
    from caroni.config import load_config
    from caroni.services import workflows

    del json  # outputs are JSON already
    output.as_json(asyncio.run(workflows.outputs(load_config(config), which, partial=partial)))
