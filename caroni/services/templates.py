"""Workflow templates of a manager: immutable revisions, checked whole before they are kept."""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from caroni.config import Loaded
from caroni.core import cwltypes
from caroni.core.plan import Plan
from caroni.cwl import Bundle, load, plan_from_json, plan_to_json
from caroni.errors import UsageError
from caroni.services.editing import Diff, diff_documents
from caroni.services.stores import now, opened, require_role
from caroni.text import safe_line

if TYPE_CHECKING:
    from caroni.model.store import Store
    from caroni.model.unit import TemplateRow

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


class Editable(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of a template with its documents, as an editor wants it. Revision 0: there is none."""

    name: str
    revision: int
    bundle: Bundle
    created_at: int = 0

    @property
    def documents(self) -> dict[str, str]:
        """The documents by name, the main one first."""
        others = dict(self.bundle.documents)
        return {self.bundle.main: others.pop(self.bundle.main), **others}


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """Not saved: somebody has saved ``newest`` since revision ``expected`` was read."""

    expected: int
    newest: Editable

    @property
    def text(self) -> str:
        """What has happened, in a sentence."""
        if not self.newest.revision:
            return f"{self.newest.name} has no revision {self.expected} any more"
        began = (
            f"this text began with revision {self.expected}" if self.expected else "this text is a new one"
        )
        return f"somebody has saved {self.newest.name} revision {self.newest.revision} meanwhile; {began}"


def template_name(path: Path) -> str:
    """The name a file's template gets: the file's without its ending, or its folder's.

    ``text-chain/workflow.cwl`` and ``text-chain/main.cwl`` are called ``text-chain``.

    Raises:
        UsageError: it cannot be a template's name.
    """
    stem = path.name.removesuffix(path.suffix)
    folder = Path(os.path.abspath(path)).parent.name
    return checked_name(folder if stem in ("workflow", "main") and folder else stem)


def checked_name(name: str) -> str:
    """``name``, if it can be a template's.

    Raises:
        UsageError: it cannot.
    """
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
    plan, _, digest = _prepared(Bundle.from_path(path))
    return _shown(path.name, 0, digest, 0, plan)


async def add(loaded: Loaded, path: Path, name: str | None = None) -> Added:
    """Keep a workflow as the next revision of a template; running workflows keep theirs.

    Raises:
        DocumentError: with file, line and column.
        UsageError: the name, or another role's configuration.
    """
    return await add_bundle(
        loaded, Bundle.from_path(path), template_name(path) if name is None else checked_name(name)
    )


async def add_bundle(loaded: Loaded, bundle: Bundle, name: str) -> Added:
    """As :func:`add`, of documents that are read already."""
    checked_name(name)
    _prepared(bundle)  # a wrong document is told even where the database is away
    async with opened(loaded, "manager", _WHAT, read_only=False) as store:
        saved = await save_template(loaded, store, name, bundle, None)
    if isinstance(saved, Conflict):
        raise UsageError(saved.text)
    return saved


async def save_template(
    loaded: Loaded, store: Store, name: str, bundle: Bundle, expected_revision: int | None
) -> Added | Conflict:
    """Keep documents as the next revision of a template.

    Args:
        loaded: the manager's configuration.
        store: its database, to be written.
        name: the template.
        bundle: its documents; what the main one does not name is left out.
        expected_revision: the revision that the text began with (0: none); None keeps it in any case.

    Raises:
        DocumentError: with file, line and column.
        UsageError: the name, or another role's configuration.
    """
    require_role(loaded, "manager", _WHAT)
    checked_name(name)
    bundle = bundle.without_unused()
    plan, documents, digest = _prepared(bundle)
    before = await store.template(name)
    revision = await store.add_template(
        name, digest, documents, plan_to_json(plan), now(), expected=expected_revision
    )
    if not revision:
        newest = await editable(store, name)
        return Conflict(
            expected=expected_revision or 0,
            newest=newest or Editable(name=name, revision=0, bundle=Bundle.from_text("")),
        )
    changed = before is None or before.revision != revision
    return Added(name=name, revision=revision, digest=digest, changed=changed)


async def editable(store: Store, name: str, revision: int | None = None) -> Editable | None:
    """A revision's documents (the newest by default), or None if there is none.

    Raises:
        UsageError: it was kept without its documents.
    """
    row = await store.template(name, revision)
    if row is None:
        return None
    try:
        bundle = msgspec.json.decode(row.documents, type=Bundle)
    except msgspec.MsgspecError:
        raise UsageError(
            f"template {name!r} revision {row.revision} was kept without its documents"
        ) from None
    return Editable(name=row.name, revision=row.revision, bundle=bundle, created_at=row.created_at)


def _prepared(bundle: Bundle) -> tuple[Plan, str, str]:
    """Plan, documents as JSON text, and the digest of both."""
    plan = load(bundle)
    documents = msgspec.json.encode(bundle, order="deterministic").decode()
    digest = hashlib.sha256(f"{documents}\n{plan_to_json(plan)}".encode()).hexdigest()
    return plan, documents, digest


async def templates(loaded: Loaded) -> list[TemplateListed]:
    """The newest revision of each template, by name."""
    async with opened(loaded, "manager", _WHAT, read_only=True) as store:
        return [_listed(row) for row in await store.templates()]


async def revisions(loaded: Loaded, name: str) -> list[TemplateListed]:
    """The revisions of a template, newest first (at most 1,000).

    Raises:
        UsageError: there is no such template; names the nearest.
    """
    async with opened(loaded, "manager", _WHAT, read_only=True) as store:
        return await revisions_of(store, name)


async def revisions_of(store: Store, name: str) -> list[TemplateListed]:
    """As :func:`revisions`, of an open store."""
    found = await store.template_revisions(name)
    if not found:
        raise await _unknown(store, name)
    return [_listed(row) for row in found]


def _listed(row: TemplateRow) -> TemplateListed:
    return TemplateListed(name=row.name, revision=row.revision, digest=row.digest, created_at=row.created_at)


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """A template in the console's list: its newest revision, and the workflows that run any of its."""

    name: str
    revision: int
    created_at: int
    steps: int
    job_types: list[str]
    running: int


async def overview(
    store: Store, known: Mapping[tuple[str, int], Overview] = MappingProxyType({})
) -> list[Overview]:
    """The templates with their size and use, by name.

    Args:
        store: a manager's.
        known: what a call before has given, by (name, revision): their plans are not read again.
    """
    uses = await store.template_uses()
    running: dict[str, int] = {}
    for (name, _), count in uses.items():
        running[name] = running.get(name, 0) + count
    found = []
    for row in await store.templates():
        one = known.get((row.name, row.revision))
        if one is None:
            whole = await store.template(row.name, row.revision)
            plan = plan_from_json(whole.plan) if whole else Plan(inputs=(), steps=())
            one = Overview(
                name=row.name,
                revision=row.revision,
                created_at=row.created_at,
                steps=len(plan.steps),
                job_types=sorted({step.job_type for step in plan.steps}),
                running=0,
            )
        found.append(msgspec.structs.replace(one, running=running.get(row.name, 0)))
    return found


async def running_by_revision(store: Store, name: str) -> dict[int, int]:
    """How many workflows that have not ended run which revision of a template."""
    uses = await store.template_uses()
    return {revision: count for (template, revision), count in sorted(uses.items()) if template == name}


async def template(loaded: Loaded, name: str, revision: int | None = None) -> tuple[Template, dict[str, str]]:
    """One revision (the newest by default), and its documents by name.

    Raises:
        UsageError: there is none; names the nearest.
    """
    async with opened(loaded, "manager", _WHAT, read_only=True) as store:
        return await template_of(store, name, revision)


async def template_of(
    store: Store, name: str, revision: int | None = None
) -> tuple[Template, dict[str, str]]:
    """As :func:`template`, of an open store."""
    row = await store.template(name, revision)
    if row is None:
        raise await _unknown(store, name, revision)
    bundle: Any = msgspec.json.decode(row.documents)
    documents = dict(bundle["documents"])
    main = bundle["main"]
    ordered = {main: documents.pop(main), **documents}
    plan = plan_from_json(row.plan)
    return _shown(row.name, row.revision, row.digest, row.created_at, plan), ordered


async def compared(loaded: Loaded, name: str, before: int, after: int | None = None) -> Diff:
    """What has changed between two revisions of a template; ``after`` is the newest by default.

    Raises:
        UsageError: there is no such template or revision.
    """
    async with opened(loaded, "manager", _WHAT, read_only=True) as store:
        return await compared_of(store, name, before, after)


async def compared_of(store: Store, name: str, before: int, after: int | None = None) -> Diff:
    """As :func:`compared`, of an open store."""
    old, new = [await editable(store, name, revision) for revision in (before, after)]
    if old is None or new is None:
        raise await _unknown(store, name, before if old is None else after)
    return await asyncio.to_thread(
        diff_documents,
        old.documents,
        new.documents,
        f"{name} revision {old.revision}",
        f"{name} revision {new.revision}",
    )


async def _unknown(store: Store, name: str, revision: int | None = None) -> UsageError:
    known = [row.name for row in await store.templates()]
    if name in known:
        return UsageError(f"template {name!r} has no revision {revision}")
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else "see: caroni template list"
    return UsageError(f"there is no template {safe_line(name, 60)!r}; {hint}")


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
