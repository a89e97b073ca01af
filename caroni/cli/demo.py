"""``caroni demo``: a sample on the embedded system, with every message of the handshake."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Json, example

if TYPE_CHECKING:
    from caroni.cli.handshake import Handshake
    from caroni.cli.local import Ended, Task
    from caroni.daemon.embedded import Embedded

app = group()

_MORE = ("second-chance", "genomics", "diamond", "text-chain")


@app.command(epilog=example("caroni demo", "caroni demo --sample second-chance", "caroni demo --keep"))
def demo(
    sample: Annotated[str, typer.Option(help="Which sample to run.")] = "text-chain",
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it running at the end, to look around, until Ctrl-C.")
    ] = False,
    serve: Annotated[bool, typer.Option("--serve", hidden=True)] = False,
    json: Json = False,
) -> None:
    """Run a sample across a manager and two agents, and show every message they exchange.

    Everything is real and nothing is needed: signed messages, a bus and databases, all in this process and
    in a temporary directory.
    """
    if serve:  # for `caroni tui --demo`
        from caroni.cli import demoserver

        return demoserver.run()
    from caroni.cli import local
    from caroni.cli.handshake import Handshake
    from caroni.cli.run import fail_unless_completed
    from caroni.services.samples import sample as find

    directory = find(sample)
    task = local.read_task(directory / "workflow.cwl", directory / "inputs.yml", (), None)

    async def work(place: Path) -> Ended:
        async with local.embedded(place, task.agents, None) as system:
            shown = Handshake(system, silent=json)
            if not json:
                _introduce(task)
            ended = await local.run_task(system, task, shown, shown.seen)
            shown.end()
            if json:
                output.as_json({**output.plain(ended), "messages": shown.messages})
            else:
                _conclude(task, ended, shown, keep)
            if keep:
                await _stay(system, place, ended, quiet=json)
            return ended

    with local.work_directory(None) as place:
        ended = local.run_to_end(work(place))
    fail_unless_completed(task.name, ended.state, ended.failure, ended.steps)


def _introduce(task: Task) -> None:
    names = sorted(task.agents)
    output.line(f"Sample {task.name}: {len(task.plan.steps)} steps. Set up in this process, just now:")
    output.line("  site     local.example, with a throw-away CA that certified everybody")
    output.line("  manager  main: knows the workflow, holds no job definition")
    for name in names:
        held = [d.name for d in task.agents[name]]
        some = ", ".join(held[:4]) + (f" and {len(held) - 4} more" if len(held) > 4 else "")
        output.line(f"  agent    {name}: can run {some}")
    output.line("  between  an in-process bus with signed messages; a SQLite database each")
    output.line()


def _conclude(task: Task, ended: Ended, shown: Handshake, keep: bool) -> None:
    from caroni.cli.local import near, program
    from caroni.cli.progress import agent_name, seconds
    from caroni.services.samples import samples_directory

    now = time.time_ns() // 1000
    output.line()
    output.line(f"{len(shown.messages)} messages, {shown.signed} with a good signature. Steps:")
    output.table(
        ("step", "job type", "agent", "attempts", "time", "state"),
        [(s.name, s.job_type, agent_name(s.agent), s.attempt, seconds(s, now), s.state) for s in ended.steps],
    )
    output.line("Outputs:")
    output.as_json(ended.outputs)
    if keep:
        return
    caroni = program()
    samples = samples_directory()
    output.line()
    output.line("Next:")
    for name in [n for n in _MORE if n != task.name][:2]:
        folder = near(samples / name)
        output.line(f"  {caroni} run {folder}/workflow.cwl {folder}/inputs.yml")
    output.line(f"  {caroni} tui --demo        the operator's console, on a system with more to see")


async def _stay(system: Embedded, place: Path, ended: Ended, *, quiet: bool) -> None:
    """Leave everything running until a signal."""
    from caroni.cli.local import program

    manager, *agents = (path.parent for path in system.write_configurations())
    if not quiet:
        caroni = program()
        output.line()
        output.line(f"Running on in {place} (removed at the end). In another terminal:")
        output.line(f"  {caroni} list --config {manager}")
        output.line(f"  {caroni} show {ended.workflow[:8]} --config {manager}")
        for agent in agents:
            output.line(f"  {caroni} job list --config {agent}")
        output.line("Ctrl-C ends it.")
    output.flush()
    stop: Any = asyncio.Event()
    await stop.wait()
