"""``caroni submit``: a workflow to a manager, over the broker or on its own host."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, ManagerUri, example
from caroni.errors import CaroniError, TransientError, UsageError
from caroni.text import safe_line

if TYPE_CHECKING:
    from caroni.config import Loaded
    from caroni.core.messages import WorkFlowCreated
    from caroni.services.unsent import Unsent

app = group()

_ANSWER = 30.0


class OnFailure(StrEnum):
    """What becomes of running steps when another has failed for good."""

    DRAIN = "drain"
    KILL = "kill"


class Reserve(StrEnum):
    """Which steps agents are asked for."""

    READY = "ready"
    ALL = "all"


@app.command(
    epilog=example(
        "caroni submit text-chain --input message=hello --wait --config s1",
        "caroni submit align --inputs inputs.yml --file reads=r1.fastq --manager caroni://a.example/manager/m1",
        "caroni submit text-chain --input message=hello --config m1",
        "caroni submit --flush",
    )
)
def submit(
    template: Annotated[
        str | None, typer.Argument(help="The template's name at the manager.", show_default=False)
    ] = None,
    manager: ManagerUri = None,
    input_: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", help="One input, name=value; JSON if it is, else text. Repeatable."),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option("--file", help="One input that is a file, name=path. Repeatable."),
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option("--inputs", help="File of inputs (YAML or JSON).", show_default=False)
    ] = None,
    name: Annotated[
        str, typer.Option(help="A name for this workflow (default: the template's).", show_default=False)
    ] = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it, and print its outputs at the end.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds to wait: for the manager's answer (30 if not given), with --wait for the end.",
            min=0.1,
            show_default=False,
        ),
    ] = None,
    on_failure: Annotated[
        OnFailure, typer.Option(help="When a step fails for good: let running ones end, or kill them.")
    ] = OnFailure.DRAIN,
    reserve: Annotated[
        Reserve, typer.Option(help="Ask agents for steps that are ready, or for all at once.")
    ] = Reserve.READY,
    flush: Annotated[bool, typer.Option("--flush", help="Only send what could not be sent earlier.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Send a workflow to a manager and print its id.

    With a submitter's configuration it goes over the broker; where that is not in reach the request is kept,
    and the next submit (or submit --flush) sends it first. With a manager's own configuration its operator
    starts it on that host. With --wait the end decides: outputs on stdout and exit code 0, or 1.
    """
    from caroni.cli import remote
    from caroni.config import load_config
    from caroni.services import unsent

    if flush == (template is not None):
        raise UsageError("give a template, or --flush alone (see: caroni submit --help)")
    loaded = load_config(config)
    if template is None:
        remote.require_submitter(loaded)
        patience = min(timeout or remote.PATIENCE, remote.PATIENCE)
        sent, left = asyncio.run(_flush(loaded, unsent.waiting(loaded), patience))
        if json:
            output.as_json({"sent": sent, "waiting": left})
        else:
            output.note(f"sent: {len(sent)}, still waiting: {left}")
        if left:
            raise CaroniError(f"{left} not sent; they stay in {unsent.directory(loaded)}")
        return
    values = _values(inputs, input_ or (), file or ())
    if loaded.config.role == "manager":
        if manager not in (None, loaded.config.uri):
            raise UsageError(f"--manager: {loaded.path} is the configuration of {loaded.config.uri} itself")
        wish = _Wish(template, values, name, on_failure is OnFailure.KILL, reserve is Reserve.ALL)
        asyncio.run(_submit_here(loaded, wish, wait, timeout, quiet, json))
        return
    uri = remote.manager_of(loaded, manager)
    one = _new(uri, template, values, name, wait, on_failure, reserve)
    try:
        asyncio.run(_submit(loaded, one, wait, timeout, quiet, json))
    except TransientError as error:
        path = unsent.directory(loaded)
        if json:
            output.as_json({"workflow": None, "waiting": str(path), "reason": str(error)})
        output.note(
            f"not sent: {safe_line(str(error), 300)}; the request is kept in {path},"
            " and goes out first with the next caroni submit (or: caroni submit --flush)"
        )


def _values(inputs: Path | None, pairs: Iterable[str], files: Iterable[str]) -> dict[str, str]:
    from caroni.cwl import load_untyped_inputs
    from caroni.errors import DocumentError
    from caroni.services.arguments import file_arguments, untyped_arguments

    try:
        found = load_untyped_inputs(inputs) if inputs is not None else {}
    except DocumentError as error:
        raise UsageError(str(error)) from None
    found.update(untyped_arguments(pairs))
    found.update(file_arguments(files))
    return found


def _new(
    manager: str,
    template: str,
    values: dict[str, str],
    name: str,
    wait: bool,
    on_failure: OnFailure,
    reserve: Reserve,
) -> Unsent:
    import secrets

    from caroni.core import messages
    from caroni.services.stores import now
    from caroni.services.unsent import Unsent

    create = messages.WorkFlowCreate(
        template_name=template,
        wf_name=name or template,
        inputs=values,
        submit_uuid=secrets.token_bytes(16),
        watch=wait,
        on_failure=messages.OnFailure.KILL if on_failure is OnFailure.KILL else messages.OnFailure.DRAIN,
        reserve=messages.Reserve.ALL if reserve is Reserve.ALL else messages.Reserve.READY,
    )
    return Unsent(manager=manager, create=create, saved_at=now())


class _Wish(NamedTuple):
    template: str
    values: dict[str, str]
    name: str
    kill_on_failure: bool
    reserve_all: bool


async def _submit_here(
    loaded: Loaded, wish: _Wish, wait: bool, seconds: float | None, quiet: bool, json: bool
) -> None:
    """By the manager's own operator: a command in its database."""
    from caroni.cli import remote
    from caroni.cli.progress import progress
    from caroni.cli.run import fail_unless_completed
    from caroni.cli.watch import in_the_database
    from caroni.services import workflows
    from caroni.services.control import to_daemon
    from caroni.services.submitting import submit

    async with to_daemon(loaded) as store:
        begun = await submit(
            loaded,
            store,
            wish.template,
            wish.values,
            name=wish.name,
            kill_on_failure=wish.kill_on_failure,
            reserve_all=wish.reserve_all,
            patience=seconds or _ANSWER,
        )
    if not wait:
        if json:
            output.as_json(begun)
        else:
            output.line(begun.workflow)
        return
    if not quiet:
        output.note(f"workflow {begun.workflow}")
    with progress(begun.name, quiet=quiet) as display:
        late = f"workflow {begun.workflow} goes on: not at its end after {seconds} s; see: caroni watch"
        work = in_the_database(loaded, begun.workflow, display)
        state, failure, steps = await remote.within(seconds, work, late)
    outputs = await workflows.outputs(loaded, begun.workflow, partial=True)
    if json:
        output.as_json({"workflow": begun.workflow, "state": state, "failure": failure,
                        "steps": steps, "outputs": outputs})  # fmt: skip
    elif state == "completed":
        output.as_json(outputs)
    fail_unless_completed(begun.name, state, failure, steps)


async def _flush(
    loaded: Loaded, waiting: Iterable[tuple[Path, Unsent]], patience: float
) -> tuple[list[dict[str, Any]], int]:
    """Send what waits, oldest first; gives what the managers said, and how many still wait."""
    from caroni.cli import remote
    from caroni.daemon.submitter import NoAnswer, Rejected

    sent: list[dict[str, Any]] = []
    left = 0
    for path, one in waiting:
        name = safe_line(one.create.wf_name, 80)
        try:
            async with remote.seat(loaded, one.manager, patience) as submitter:
                created = await submitter.submit(one.create)
        except Rejected as error:
            output.note(f"kept request {name} was rejected: {safe_line(str(error), 500)}")
            sent.append({"name": one.create.wf_name, "workflow": None, "rejected": str(error)})
        except (NoAnswer, TransientError) as error:
            output.note(f"kept request {name} still waits: {safe_line(str(error), 300)}")
            left += 1
            continue
        else:
            output.note(f"kept request {name} was sent: workflow {created.workflow_uuid.hex()}")
            sent.append({"name": one.create.wf_name, "workflow": created.workflow_uuid})
        path.unlink(missing_ok=True)
    return sent, left


async def _submit(
    loaded: Loaded,
    one: Unsent,
    wait: bool,
    seconds: float | None,
    quiet: bool,
    json: bool,
) -> None:
    from caroni.cli import remote
    from caroni.cli.progress import progress
    from caroni.cli.run import fail_unless_completed
    from caroni.daemon.submitter import NoQueue, Rejected
    from caroni.services import unsent
    from caroni.services.arguments import decoded_values

    patience = min(seconds or remote.PATIENCE, remote.PATIENCE)
    before = unsent.waiting(loaded)
    path = unsent.save(loaded, one)
    async with remote.seat(loaded, one.manager, patience) as submitter:
        if before:
            await _flush(loaded, before, patience)
        try:
            created: WorkFlowCreated = await submitter.submit(one.create, seconds or _ANSWER)
        except (Rejected, NoQueue):
            path.unlink(missing_ok=True)
            raise
        path.unlink(missing_ok=True)
        uuid = created.workflow_uuid
        if not wait:
            if json:
                revision = created.template_revision
                output.as_json({"workflow": uuid, "name": one.create.wf_name, "revision": revision})
            else:
                output.line(uuid.hex())
            return
        if not quiet:
            output.note(f"workflow {uuid.hex()}")
        with progress(one.create.wf_name, quiet=quiet) as display:
            late = f"workflow {uuid.hex()} goes on: not at its end after {seconds} s; see: caroni watch"
            last, steps = await remote.within(
                seconds, remote.follow(submitter, uuid, display, ask=False), late
            )
    summary = last.workflows[0]
    outputs = decoded_values(last.outputs)
    if json:
        output.as_json({"workflow": uuid, "state": summary.state, "failure": summary.failure,
                        "steps": steps, "outputs": outputs})  # fmt: skip
    elif summary.state == "completed":
        if last.error:
            raise CaroniError(safe_line(last.error, 500))
        output.as_json(outputs)
    fail_unless_completed(summary.wf_name, summary.state, summary.failure, steps)
