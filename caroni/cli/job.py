"""``caroni job``: an agent's job definitions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example, text_from_stdin

if TYPE_CHECKING:
    from caroni.services.definitions import Definition
    from caroni.services.tryout import TryOut

app = group()

Which = Annotated[
    str, typer.Argument(help="A file (*.yaml, or with a / in it), or a name.", metavar="FILE|NAME")
]


@app.callback()
def _job() -> None:
    """An agent's job definitions."""


@app.command(epilog=example("caroni job add samples/text-chain/jobs/north/*.yml --config a1"))
def add(
    files: Annotated[list[Path], typer.Argument(help="Job definition files (YAML); - reads stdin.")],
    inactive: Annotated[
        bool, typer.Option("--inactive", help="Keep them, but do not offer to run them yet.")
    ] = False,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Check job definitions and keep them; all of them or none."""
    from caroni.config import load_config
    from caroni.services import definitions

    loaded = load_config(config)
    definitions.require_database(loaded)
    read = [
        definitions.from_text(text_from_stdin()) if str(file) == "-" else definitions.from_file(file)
        for file in files
    ]
    added = asyncio.run(definitions.add_sources(loaded, read, active=not inactive))
    if json:
        output.as_json(added)
        return
    for one in added:
        known = "" if one.changed else " (nothing has changed)"
        state = "" if one.active else ", inactive"
        output.line(f"job {one.name} {one.version}, revision {one.revision}{state}{known}")


Name = Annotated[str, typer.Argument(help="The definition's name.")]
Revision = Annotated[
    int | None, typer.Option(help="Which revision (default: the newest).", show_default=False, min=1)
]


@app.command(epilog=example("caroni job activate upper --config g1"))
def activate(name: Name, revision: Revision = None, config: Configuration = None, json: Json = False) -> None:
    """Offer to run a job from now on."""
    _activate(name, True, revision, config, json)


@app.command(epilog=example("caroni job deactivate upper --config g1"))
def deactivate(name: Name, config: Configuration = None, json: Json = False) -> None:
    """Offer to run a job no more; what runs, or was promised, is not touched."""
    _activate(name, False, None, config, json)


def _activate(name: str, active: bool, revision: int | None, config: Path | None, json: bool) -> None:
    from caroni.config import load_config
    from caroni.services import definitions

    given = asyncio.run(definitions.activate(load_config(config), name, active, revision))
    if json:
        output.as_json({"name": name, "revision": given, "active": active})
    else:
        output.line(f"job {name}: " + (f"revision {given} is active" if active else "no revision is active"))


@app.command(epilog=example("caroni job revisions upper --config g1"))
def revisions(name: Name, config: Configuration = None, json: Json = False) -> None:
    """List the revisions of a job definition, the newest first."""
    from caroni.config import load_config
    from caroni.services import definitions

    found = asyncio.run(definitions.revisions(load_config(config), name))
    if json:
        output.as_json(found)
        return
    output.table(
        ("revision", "version", "active", "added", "digest"),
        [
            (r.revision, r.version, "yes" if r.active else "no", output.instant(r.created_at), r.digest[:12])
            for r in found
        ],
    )


@app.command(epilog=example("caroni job diff upper 1 --config g1"))
def diff(
    name: Name,
    before: Annotated[int, typer.Argument(help="The older revision.", min=1)],
    after: Annotated[
        int | None, typer.Argument(help="The newer one (default: the newest).", show_default=False, min=1)
    ] = None,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Show what has changed between two revisions of a job definition."""
    from caroni.config import load_config
    from caroni.services import definitions

    found = asyncio.run(definitions.compared(load_config(config), name, before, after))
    if json:
        output.as_json(found)
        return
    for line in found.lines:
        output.line(line)
    if not found.lines:
        output.note("no difference")


@app.command("list", epilog=example("caroni job list --config g1"))
def list_(config: Configuration = None, json: Json = False) -> None:
    """List job definitions."""
    from caroni.config import load_config
    from caroni.services import definitions

    found = asyncio.run(definitions.definitions(load_config(config)))
    if json:
        output.as_json([_plain(one) for one in found])
        return
    output.table(
        ("name", "version", "revision", "active", "inputs", "outputs", "description"),
        [
            (
                one.definition.name,
                one.definition.version,
                one.revision or "file",
                "yes" if one.active else "no",
                one.inputs,
                one.outputs,
                one.definition.description.split("\n")[0],
            )
            for one in found
        ],
        empty="no job definitions; add one with: caroni job add JOB.yaml",
    )


@app.command(epilog=example("caroni job show upper --config g1"))
def show(which: Which, config: Configuration = None, json: Json = False) -> None:
    """Show a job definition as it was written."""
    found = _find(which, config)
    if json:
        output.as_json(_plain(found))
        return
    output.line(found.source.rstrip("\n"))


@app.command(
    "test",
    epilog=example(
        "caroni job test upper.yaml --input text=hello",
        "caroni job test upper --input text=hello --config g1",
    ),
)
def run_once(
    which: Which,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="name=value; repeatable.", metavar="NAME=VALUE")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the job's directory and say where.")] = False,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Run a job definition once, here, as an agent would; exits with 1 if it fails."""
    from caroni.services.arguments import decoded_values, typed_arguments
    from caroni.services.tryout import try_out

    definition = _find(which, config).definition
    values = typed_arguments(inputs or (), definition.inputs)
    ran = asyncio.run(try_out(definition, values, keep=keep))
    outcome = ran.outcome
    if json:
        document = output.plain(outcome)
        document["outputs"] = decoded_values(outcome.outputs)
        document.update(job=definition.name, stdout=ran.stdout, stderr=ran.stderr, directory=ran.directory)
        output.as_json(document)
    else:
        _report(ran)
    if outcome.state != "completed":
        raise typer.Exit(1)


def _report(ran: TryOut) -> None:
    from caroni.services.arguments import decoded_values

    outcome = ran.outcome
    for title, text in (("stdout", ran.stdout), ("stderr", ran.stderr)):
        if text:
            output.note(f"--- {title}")
            output.note(text.rstrip("\n"))
    code = "" if outcome.exit_code is None else f", exit code {outcome.exit_code}"
    why = f": {outcome.info}" if outcome.info else ""
    output.note(f"--- {outcome.state}{why}{code}, {outcome.wall / 1_000_000:.2f} s")
    if ran.directory:
        output.note(f"--- kept in {ran.directory}")
    if outcome.state == "completed":
        output.as_json(decoded_values(outcome.outputs))


@app.command(epilog=example("caroni job lint upper.yaml"))
def lint(which: Which, config: Configuration = None, json: Json = False) -> None:
    """Look for ways in which a script lets its inputs become code, and for faults of its grammar.

    Exits with 1 if there are any.
    """
    from caroni.services.checking import look_over

    found = _find(which, config)
    findings = look_over(found.definition)
    if json:
        output.as_json([{"line": f.script_line, "rule": f.rule, "text": f.message} for f in findings])
    for one in () if json else findings:
        where = f"script line {one.script_line}: " if one.script_line else ""
        output.line(f"{found.definition.name}: {where}{one.message}")
    if findings:
        raise typer.Exit(1)
    if not json:
        output.line(f"{found.definition.name}: nothing found")


def _find(which: str, config: Path | None) -> Definition:
    from caroni.services import definitions

    if definitions.names_a_file(which):
        return definitions.from_file(Path(which))
    from caroni.config import load_config

    return asyncio.run(definitions.definition(load_config(config), which))


def _plain(found: Definition) -> dict[str, object]:
    definition = output.plain(found.definition)
    return {
        **definition,
        "revision": found.revision,
        "active": found.active,
        "digest": found.definition.digest,
    }
