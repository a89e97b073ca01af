"""``caroni template``: a manager's workflow templates."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example, text_from_stdin
from caroni.errors import UsageError

if TYPE_CHECKING:
    from caroni.services.templates import Template

app = group()


@app.callback()
def _template() -> None:
    """A manager's workflow templates."""


@app.command(epilog=example("caroni template add samples/text-chain/workflow.cwl --config m1"))
def add(
    file: Annotated[
        Path,
        typer.Argument(
            help="A CWL workflow; what it names must lie beside or below it. - reads one document from stdin."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="The template's name (default: the file's).", show_default=False)
    ] = None,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Check a workflow and keep it as the template's next revision."""
    from caroni.config import load_config
    from caroni.cwl import Bundle
    from caroni.services import templates

    loaded = load_config(config)
    if str(file) == "-":
        added = asyncio.run(templates.add_bundle(loaded, Bundle.from_text(text_from_stdin()), _named(name)))
    else:
        added = asyncio.run(templates.add(loaded, file, name))
    if json:
        output.as_json(added)
        return
    known = "" if added.changed else " (nothing has changed)"
    output.line(f"template {added.name}, revision {added.revision}{known}")


def _named(name: str | None) -> str:
    if name is None:
        raise UsageError("a document from stdin has no name: give --name")
    return name


@app.command(epilog=example("caroni template revisions chain --config m1"))
def revisions(
    name: Annotated[str, typer.Argument(help="The template's name.")],
    config: Configuration = None,
    json: Json = False,
) -> None:
    """List the revisions of a template, the newest first."""
    from caroni.config import load_config
    from caroni.services import templates

    found = asyncio.run(templates.revisions(load_config(config), name))
    if json:
        output.as_json(found)
        return
    output.table(
        ("revision", "added", "digest"),
        [(t.revision, output.instant(t.created_at), t.digest[:12]) for t in found],
    )


@app.command(epilog=example("caroni template diff chain 1 --config m1", "caroni template diff chain 1 3"))
def diff(
    name: Annotated[str, typer.Argument(help="The template's name.")],
    before: Annotated[int, typer.Argument(help="The older revision.", min=1)],
    after: Annotated[
        int | None, typer.Argument(help="The newer one (default: the newest).", show_default=False, min=1)
    ] = None,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Show what has changed between two revisions of a template."""
    from caroni.config import load_config
    from caroni.services import templates

    found = asyncio.run(templates.compared(load_config(config), name, before, after))
    if json:
        output.as_json(found)
        return
    for line in found.lines:
        output.line(line)
    if not found.lines:
        output.note("no difference")


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
    from caroni.cwl import Bundle
    from caroni.services import templates
    from caroni.services.checking import check_documents

    checked = check_documents(Bundle.from_path(file))
    # the first error is the command's own, as everywhere; the others are beside it
    for finding in checked.findings[1:] if checked.errors else ():
        output.note(f"{finding.file}:{finding.line}:{finding.column}: {finding.message}")
    found = templates.validate(file)
    if json:
        output.as_json(found)
        return
    output.line(f"{file}: valid")
    for finding in checked.findings:
        output.note(f"{finding.file}:{finding.line}:{finding.column}: {finding.message}")
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
