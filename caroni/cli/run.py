"""``caroni run``: one workflow on this host, from its CWL file to its outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Json, example
from caroni.errors import CaroniError
from caroni.text import safe_line, safe_text

if TYPE_CHECKING:
    from caroni.cli.local import Ended

app = group()

_STDERR_LINES = 10


class WorkflowFailed(CaroniError):
    """The workflow failed or was cancelled; the text names the step."""


@app.command(
    epilog=example(
        "caroni run samples/diamond/workflow.cwl samples/diamond/inputs.yml",
        "caroni run workflow.cwl --input message=hello --jobs my-jobs | jq .final_text",
    )
)
def run(
    workflow: Annotated[Path, typer.Argument(help="A CWL workflow.", metavar="WORKFLOW.cwl")],
    inputs: Annotated[
        Path | None,
        typer.Argument(help="Its inputs (YAML or JSON).", metavar="[INPUTS.yml]", show_default=False),
    ] = None,
    input_: Annotated[
        list[str] | None, typer.Option("--input", "-i", help="One input, name=value. Repeatable.")
    ] = None,
    jobs: Annotated[
        Path | None,
        typer.Option(
            help="Job definitions: each sub-directory is an agent, loose files belong to one called 'here'"
            " (default: jobs/ beside the workflow).",
            show_default=False,
        ),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            help="Jobs that each agent runs at once (default: cores).", min=1, max=1000, show_default=False
        ),
    ] = None,
    keep_files: Annotated[
        Path | None,
        typer.Option(
            help="A new directory for databases and jobs' files, kept; needed for outputs that are files.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    json: Json = False,
) -> None:
    """Run a workflow here: a manager and agents in this process, gone at its end.

    Outputs are JSON on stdout (with --json also the steps); progress goes to stderr. A failed step is tried
    again after half a second, doubling up to two. Exit codes: 1 the workflow failed, 2 wrong usage or
    inputs, 33 a CWL feature that is not supported, 130 interrupted.
    """
    from caroni.cli import local
    from caroni.cli.progress import progress

    task = local.read_task(workflow, inputs, input_ or (), jobs)

    async def work(directory: Path) -> Ended:
        with progress(task.name, quiet=quiet) as display:
            async with local.embedded(directory, task.agents, slots) as system:
                if keep_files is not None:
                    system.write_configurations()
                return await local.run_task(system, task, display)

    with local.work_directory(keep_files) as directory:
        ended = local.run_to_end(work(directory))
        lost = keep_files is None and str(directory) in str(ended.outputs)
    if json:
        output.as_json(ended)
    elif ended.state == "completed":
        output.as_json(ended.outputs)
    if lost:
        output.note("caroni: output files were in a temporary directory, now removed: give --keep-files DIR")
    fail_unless_completed(task.name, ended.state, ended.failure, ended.steps)


def fail_unless_completed(name: str, state: str, failure: str, steps: list[Any]) -> None:
    """End a command by what became of its workflow: show the failing step and what its job said last.

    Raises:
        WorkflowFailed: it did not complete.
    """
    if state == "completed":
        return
    from caroni.cli.progress import agent_name

    for step in steps:
        if step.state != "failed":
            continue
        if tail := safe_text(step.stderr_tail).rstrip().splitlines()[-_STDERR_LINES:]:
            output.note(f"stderr of step {safe_line(step.name, 80)}:")
            for text in tail:
                output.note(f"  {text}")
        code = f", exit code {step.exit_code}" if step.exit_code is not None else ""
        agent = f" on agent {agent_name(step.agent)}" if step.agent else ""
        what = f"step {step.name} (job {step.job_type}{agent}, attempt {step.attempt}{code})"
        raise WorkflowFailed(f"workflow {name} failed: {what}: {step.info or failure}")
    raise WorkflowFailed(f"workflow {name} {'was cancelled' if state == 'cancelled' else state}: {failure}")
