"""``caroni template``: a manager's workflow templates."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example

if TYPE_CHECKING:
    from caroni.services.templates import Template

app = group()


@app.callback()
def _template() -> None:
    """A manager's workflow templates."""


@app.command(epilog=example("caroni template add samples/text-chain/workflow.cwl --config m1"))
def add(
    file: Annotated[Path, typer.Argument(help="A CWL workflow; what it names must lie beside or below it.")],
    name: Annotated[
        str | None, typer.Option(help="The template's name (default: the file's).", show_default=False)
    ] = None,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Check a workflow and keep it as the template's next revision."""
    from caroni.config import load_config
    from caroni.services import templates

    added = asyncio.run(templates.add(load_config(config), file, name))
    if json:
        output.as_json(added)
        return
    known = "" if added.changed else " (nothing has changed)"
    output.line(f"template {added.name}, revision {added.revision}{known}")


@app.command("list", epilog=example("caroni template list --config m1"))
def list_(config: Configuration = None, json: Json = False) -> None:
    """List templates."""
    from caroni.config import load_config
    from caroni.services import templates

    found = asyncio.run(templates.templates(load_config(config)))
    if json:
        output.as_json(found)
        return
    output.table(
        ("name", "revision", "added", "digest"),
        [(t.name, t.revision, output.instant(t.created_at), t.digest[:12]) for t in found],
        empty="no templates; add one with: caroni template add WORKFLOW.cwl",
    )


@app.command(epilog=example("caroni template show chain --config m1", "caroni template show chain --source"))
def show(
    name: Annotated[str, typer.Argument(help="The template's name.")],
    revision: Annotated[
        int | None, typer.Option(help="An older revision.", show_default=False, min=1)
    ] = None,
    source: Annotated[bool, typer.Option("--source", help="Print its documents instead.")] = False,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Show a template's inputs, steps and outputs."""
    from caroni.config import load_config
    from caroni.services import templates

    found, documents = asyncio.run(templates.template(load_config(config), name, revision))
    if json:
        output.as_json({**output.plain(found), "documents": documents})
    elif source:
        for file, text in documents.items():
            if len(documents) > 1:
                output.line(f"# --- {file}")
            output.line(text.rstrip("\n"))
    else:
        output.line(f"template {found.name}, revision {found.revision}")
        _show(found)


@app.command(epilog=example("caroni template validate workflow.cwl"))
def validate(
    file: Annotated[Path, typer.Argument(help="A CWL workflow.")],
    json: Json = False,
) -> None:
    """Check a workflow completely without keeping it (no configuration needed)."""
    from caroni.services import templates

    found = templates.validate(file)
    if json:
        output.as_json(found)
        return
    output.line(f"{file}: valid")
    _show(found)


def _show(found: Template) -> None:
    for title, parameters in (("inputs", found.inputs), ("outputs", found.outputs)):
        output.line(f"{title}:" if parameters else f"{title}: none")
        for p in parameters:
            default = f" = {p.default}" if p.default is not None else ""
            output.line(f"  {p.name}: {p.type}{default}")
    output.line("steps:")
    output.table(
        ("step", "job type", "waits for"), [(s.name, s.job_type, ", ".join(s.sources)) for s in found.steps]
    )
