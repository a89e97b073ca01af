"""Workflow templates of a manager: immutable revisions, checked whole before they are kept."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import msgspec

from caroni.config import Loaded
from caroni.core import cwltypes
from caroni.core.plan import Plan
from caroni.cwl import Bundle, load, plan_from_json, plan_to_json
from caroni.errors import UsageError
from caroni.services.stores import now, opened
from caroni.text import safe_line

_WHAT = "templates"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output: its name, its type as people write it, and a default as JSON text."""

    name: str
    type: str
    default: str | None = None


class StepShown(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a template: which job type it asks for and what it waits for."""

    name: str
    job_type: str
    sources: list[str]


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """What a template is, as people see it. ``revision`` is 0 for a file that is not added."""

    name: str
    revision: int
    digest: str
    created_at: int
    inputs: list[Parameter]
    steps: list[StepShown]
    outputs: list[Parameter]
    job_types: list[str]


class TemplateListed(msgspec.Struct, frozen=True, kw_only=True):
    """A template's newest revision in a list. ``created_at`` is wall microseconds."""

    name: str
    revision: int
    digest: str
    created_at: int


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """A revision that is kept now; ``changed`` is False where the newest one was the same."""

    name: str
    revision: int
    digest: str
    changed: bool


def template_name(path: Path) -> str:
    """The name a file's template gets: the file's without its ending, or its folder's.

    ``text-chain/workflow.cwl`` and ``text-chain/main.cwl`` are called ``text-chain``.

    Raises:
        UsageError: it cannot be a template's name.
    """
    stem = path.name.removesuffix(path.suffix)
    folder = Path(os.path.abspath(path)).parent.name
    return _checked_name(folder if stem in ("workflow", "main") and folder else stem)


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{safe_line(name, 60)!r} cannot name a template (letters, digits, '.', '_', '-'): give --name"
        )
    return name


def validate(path: Path) -> Template:
    """Check a CWL workflow completely, without keeping it.

    Raises:
        DocumentError: with file, line and column.
        UnsupportedFeature: valid CWL that this version cannot run.
    """
    plan, _, digest = _read(path)
    return _shown(path.name, 0, digest, 0, plan)


async def add(loaded: Loaded, path: Path, name: str | None = None) -> Added:
    """Keep a workflow as the next revision of a template; running workflows keep theirs.

    Raises:
        DocumentError: with file, line and column.
        UsageError: the name, or another role's configuration.
    """
    name = template_name(path) if name is None else _checked_name(name)
    plan, documents, digest = _read(path)
    async with opened(loaded, "manager", _WHAT, read_only=False) as store:
        before = await store.template(name)
        revision = await store.add_template(name, digest, documents, plan_to_json(plan), now())
    changed = before is None or before.revision != revision
    return Added(name=name, revision=revision, digest=digest, changed=changed)


def _read(path: Path) -> tuple[Plan, str, str]:
    """Plan, documents as JSON text, and the digest of both."""
    bundle = Bundle.from_path(path)
    plan = load(bundle)
    documents = msgspec.json.encode(bundle, order="deterministic").decode()
    digest = hashlib.sha256(f"{documents}\n{plan_to_json(plan)}".encode()).hexdigest()
    return plan, documents, digest


async def templates(loaded: Loaded) -> list[TemplateListed]:
    """The newest revision of each template, by name."""
    async with opened(loaded, "manager", _WHAT, read_only=True) as store:
        return [
            TemplateListed(name=r.name, revision=r.revision, digest=r.digest, created_at=r.created_at)
            for r in await store.templates()
        ]


async def template(loaded: Loaded, name: str, revision: int | None = None) -> tuple[Template, dict[str, str]]:
    """One revision (the newest by default), and its documents by name.

    Raises:
        UsageError: there is none; names the nearest.
    """
    import difflib

    async with opened(loaded, "manager", _WHAT, read_only=True) as store:
        row = await store.template(name, revision)
        if row is None:
            known = [r.name for r in await store.templates()]
            if name in known:
                raise UsageError(f"template {name!r} has no revision {revision}")
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else "see: caroni template list"
            raise UsageError(f"there is no template {safe_line(name, 60)!r}; {hint}")
    bundle: Any = msgspec.json.decode(row.documents)
    documents = dict(bundle["documents"])
    main = bundle["main"]
    ordered = {main: documents.pop(main), **documents}
    plan = plan_from_json(row.plan)
    return _shown(row.name, row.revision, row.digest, row.created_at, plan), ordered


def _shown(name: str, revision: int, digest: str, created_at: int, plan: Plan) -> Template:
    return Template(
        name=name,
        revision=revision,
        digest=digest,
        created_at=created_at,
        inputs=[
            Parameter(name=i.name, type=cwltypes.describe(i.type), default=i.default) for i in plan.inputs
        ],
        steps=[StepShown(name=s.name, job_type=s.job_type, sources=sorted(s.sources)) for s in plan.steps],
        outputs=[Parameter(name=o.name, type=cwltypes.describe(o.type)) for o in plan.outputs],
        job_types=sorted({s.job_type for s in plan.steps}),
    )
