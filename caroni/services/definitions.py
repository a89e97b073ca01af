"""Job definitions of an agent: from its database, or from the files of its directory."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from caroni.config import Loaded
from caroni.core import cwltypes
from caroni.core.plan import CwlType
from caroni.errors import ConfigError, DocumentError, UsageError
from caroni.execution.definition import JobDefinition, decode_definition, load_definition
from caroni.services.checking import look_over
from caroni.services.definitionform import written
from caroni.services.editing import Diff, diff
from caroni.services.stores import now, opened, require_role
from caroni.text import safe_line

if TYPE_CHECKING:
    from caroni.model.store import Store
    from caroni.model.unit import JobDefinitionRow

_WHAT = "job definitions"


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A job definition and where it is from. ``revision`` is 0 for files, ``source`` its YAML."""

    definition: JobDefinition
    revision: int
    active: bool
    source: str
    created_at: int = 0
    path: str = ""

    @property
    def inputs(self) -> str:
        """Inputs with their types, on one line."""
        return _types(self.definition.inputs)

    @property
    def outputs(self) -> str:
        """Outputs with their types, on one line."""
        return _types(self.definition.outputs)


class DefinitionAdded(msgspec.Struct, frozen=True, kw_only=True):
    """A revision that is kept now; ``changed`` is False where the newest one was the same."""

    name: str
    version: str
    revision: int
    digest: str
    active: bool
    changed: bool


def _types(declared: dict[str, CwlType]) -> str:
    return ", ".join(f"{name}: {cwltypes.describe(type_)}" for name, type_ in declared.items())


def definition_files(directory: Path) -> list[Definition]:
    """The definitions of a directory (``*.yaml``, ``*.yml``), by name.

    Raises:
        DocumentError: with file, line and column.
        ConfigError: there is no such directory, or two files define the same name.
    """
    if not directory.is_dir():
        raise ConfigError(f"{safe_line(str(directory))} is no directory of job definitions")
    found: dict[str, Definition] = {}
    for path in sorted(p for p in directory.iterdir() if p.suffix in (".yaml", ".yml")):
        one = from_file(path)
        name = one.definition.name
        if name in found:
            raise ConfigError(f"{path} and {found[name].path} both define {name}: remove one")
        found[name] = one
    return [found[name] for name in sorted(found)]


def from_file(path: Path) -> Definition:
    """A definition from a file.

    Raises:
        DocumentError: with file, line and column.
    """
    definition = load_definition(path)
    return Definition(
        definition=definition, revision=0, active=True, source=path.read_text("utf-8"), path=str(path)
    )


def from_text(text: str) -> Definition:
    """A definition from YAML text.

    Raises:
        DocumentError: with line and column.
    """
    return Definition(definition=load_definition(text), revision=0, active=True, source=text)


def definition_row(definition: JobDefinition, at: int, source: str = "") -> JobDefinitionRow:
    """A definition as the store keeps it; the store numbers its revision."""
    from caroni.model.unit import JobDefinitionRow

    return JobDefinitionRow(
        name=definition.name,
        version=definition.version,
        revision=0,
        digest=definition.digest,
        body=definition.canonical,
        yaml=source,
        active=False,
        created_at=at,
    )


class EditableDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of a definition with its YAML, as an editor wants it. Revision 0: a file, or none."""

    name: str
    revision: int
    source: str
    active: bool = False
    created_at: int = 0
    path: str = ""


class DefinitionConflict(msgspec.Struct, frozen=True, kw_only=True):
    """Not saved: somebody has saved ``newest`` since revision ``expected`` was read."""

    expected: int
    newest: EditableDefinition

    @property
    def text(self) -> str:
        """What has happened, in a sentence."""
        if not self.newest.revision:
            return f"{self.newest.name} has no revision {self.expected} any more"
        began = (
            f"this text began with revision {self.expected}" if self.expected else "this text is a new one"
        )
        return f"somebody has saved {self.newest.name} revision {self.newest.revision} meanwhile; {began}"


def refusal(loaded: Loaded) -> str:
    """Why definitions cannot be changed through this agent's database; "" if they can."""
    if loaded.config.agent.definitions != "files":
        return ""
    return (
        f"this agent takes job definitions from files only: put them into"
        f" {loaded.config.agent.definitions_dir} and restart it"
    )


def require_database(loaded: Loaded) -> None:
    """Refuse what changes definitions, or asks for their revisions, where they are files.

    Raises:
        UsageError: says so; or another role's configuration.
    """
    require_role(loaded, "agent", _WHAT)
    if reason := refusal(loaded):
        raise UsageError(reason)


async def add(loaded: Loaded, paths: Sequence[Path], *, active: bool = True) -> list[DefinitionAdded]:
    """Keep definitions as next revisions, and make them the active ones; all are checked first.

    Raises:
        DocumentError: with file, line and column; nothing has been kept then.
        UsageError: another role's configuration, or an agent that takes definitions from files only.
    """
    require_database(loaded)
    return await add_sources(loaded, [from_file(path) for path in paths], active=active)


async def add_sources(
    loaded: Loaded, read: Sequence[Definition], *, active: bool = True
) -> list[DefinitionAdded]:
    """As :func:`add`, of definitions that are read already."""
    require_database(loaded)
    names = [one.definition.name for one in read]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"{sorted(twice)[0]} is defined by more than one of these files")
    for one in read:
        await _require_grammar(one.definition, one.source, one.path)
    added = []
    async with opened(loaded, "agent", _WHAT, read_only=False) as store:
        for one in read:
            kept = await _keep(store, one.definition, one.source, None, active)
            if isinstance(kept, DefinitionConflict):
                raise UsageError(kept.text)
            added.append(kept)
        await store.add_command("reload-definitions", "{}", now())
    return added


async def save_definition(
    loaded: Loaded, store: Store, text: str, expected_revision: int | None, *, active: bool = True
) -> DefinitionAdded | DefinitionConflict:
    """Keep a definition's YAML as its next revision, and tell the agent.

    Args:
        loaded: the agent's configuration.
        store: its database, to be written.
        text: the YAML; its ``name`` says which definition it is.
        expected_revision: the revision that the text began with (0: none); None keeps it in any case.
        active: whether it is offered from now on. False keeps it aside: the active revision stays what it is.

    Raises:
        DocumentError: with line and column.
        UsageError: another role's configuration, or an agent that takes definitions from files only.
    """
    require_database(loaded)
    definition = load_definition(text)
    await _require_grammar(definition, text)
    kept = await _keep(store, definition, text, expected_revision, active)
    if isinstance(kept, DefinitionAdded):
        await store.add_command("reload-definitions", "{}", now())
    return kept


async def _require_grammar(definition: JobDefinition, source: str, file: str = "") -> None:
    """Refuse a script that bash cannot read: it could never run."""
    for finding in await asyncio.to_thread(look_over, definition, source):
        if finding.severity == "error":
            raise DocumentError(finding.message, file=file, line=finding.line, column=finding.column)


async def _keep(
    store: Store, definition: JobDefinition, source: str, expected: int | None, active: bool
) -> DefinitionAdded | DefinitionConflict:
    name = definition.name
    before = await store.job_definition(name)
    revision = await store.add_job_definition(definition_row(definition, now(), source), expected=expected)
    if not revision:
        newest = await editable(store, name)
        return DefinitionConflict(
            expected=expected or 0,
            newest=newest or EditableDefinition(name=name, revision=0, source=""),
        )
    if active:
        await store.set_active(name, revision, True)
    return DefinitionAdded(
        name=name,
        version=definition.version,
        revision=revision,
        digest=definition.digest,
        active=active,
        changed=before is None or before.revision != revision,
    )


async def editable(store: Store, name: str, revision: int | None = None) -> EditableDefinition | None:
    """A revision's YAML (the newest by default), or None if there is none."""
    row = await store.job_definition(name, revision)
    if row is None:
        return None
    return EditableDefinition(
        name=row.name,
        revision=row.revision,
        source=row.yaml or written(decode_definition(row.body)),
        active=row.active,
        created_at=row.created_at,
    )


async def set_active(
    loaded: Loaded, store: Store, name: str, active: bool, revision: int | None = None
) -> int:
    """Offer a revision of a definition (the newest by default) from now on, or none of it.

    Jobs that run, and offers that are out, are not touched.

    Returns:
        the revision that is active now, or was.

    Raises:
        UsageError: there is none, or an agent that takes definitions from files only.
    """
    require_database(loaded)
    row = await store.job_definition(name, revision)
    if row is None:
        raise await _unknown_revision(store, name, revision)
    if active:
        read = decode_definition(row.body)
        if read.digest != row.digest or read.name != row.name:
            raise UsageError(f"{name} revision {row.revision} was changed by hand: save it again")
    await store.set_active(name, row.revision, active)
    await store.add_command("reload-definitions", "{}", now())
    return row.revision


async def activate(loaded: Loaded, name: str, active: bool, revision: int | None = None) -> int:
    """As :func:`set_active`, opening the agent's database."""
    require_database(loaded)
    async with opened(loaded, "agent", _WHAT, read_only=False) as store:
        return await set_active(loaded, store, name, active, revision)


class DefinitionRevision(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of a definition in a list."""

    name: str
    version: str
    revision: int
    digest: str
    active: bool
    created_at: int


async def revisions_of(store: Store, name: str) -> list[DefinitionRevision]:
    """The revisions of a definition in an agent's database, newest first (at most 1,000).

    Raises:
        UsageError: there is none of this name.
    """
    found = await store.job_definition_revisions(name)
    if not found:
        raise await _unknown_revision(store, name, None)
    return [
        DefinitionRevision(
            name=row.name,
            version=row.version,
            revision=row.revision,
            digest=row.digest,
            active=row.active,
            created_at=row.created_at,
        )
        for row in found
    ]


async def revisions(loaded: Loaded, name: str) -> list[DefinitionRevision]:
    """As :func:`revisions_of`, opening the agent's database.

    Raises:
        UsageError: files have no revisions; or as there.
    """
    require_database(loaded)
    async with opened(loaded, "agent", _WHAT, read_only=True) as store:
        return await revisions_of(store, name)


async def compared_of(store: Store, name: str, before: int, after: int | None = None) -> Diff:
    """What has changed between two revisions of a definition's text; ``after`` is the newest by default.

    Raises:
        UsageError: there is no such definition or revision.
    """
    old, new = [await editable(store, name, revision) for revision in (before, after)]
    if old is None or new is None:
        raise await _unknown_revision(store, name, before if old is None else after)
    return diff(old.source, new.source, f"{name} revision {old.revision}", f"{name} revision {new.revision}")


async def compared(loaded: Loaded, name: str, before: int, after: int | None = None) -> Diff:
    """As :func:`compared_of`, opening the agent's database."""
    require_database(loaded)
    async with opened(loaded, "agent", _WHAT, read_only=True) as store:
        return await compared_of(store, name, before, after)


async def _unknown_revision(store: Store, name: str, revision: int | None) -> UsageError:
    known = [row.name for row in await store.job_definitions()]
    if name in known:
        return UsageError(f"job definition {name!r} has no revision {revision}")
    return _unknown(name, known)


def _unknown(name: str, known: Collection[str]) -> UsageError:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else "see: caroni job list"
    return UsageError(f"there is no job definition {safe_line(name, 60)!r}; {hint}")


async def definitions(loaded: Loaded) -> list[Definition]:
    """All definitions of an agent, by name: the newest revision of each.

    Raises:
        DocumentError: a file is wrong.
        UsageError: another role's configuration.
    """
    require_role(loaded, "agent", _WHAT)
    if loaded.config.agent.definitions == "files":
        return definition_files(loaded.config.agent.definitions_dir)
    async with opened(loaded, "agent", _WHAT, read_only=True) as store:
        return await stored(store)


async def stored(store: Store) -> list[Definition]:
    """The newest revision of each definition in an agent's database, by name.

    One whose body is not what its digest says is never active: somebody has changed it by hand.
    """
    found = []
    for row in await store.job_definitions():
        read = decode_definition(row.body)
        found.append(
            Definition(
                definition=read,
                revision=row.revision,
                active=row.active and read.digest == row.digest and read.name == row.name,
                source=row.yaml,
                created_at=row.created_at,
            )
        )
    return found


async def active_revisions(store: Store) -> dict[str, int]:
    """Which revision of each definition in an agent's database is offered; others are not in it."""
    return {row.name: row.revision for row in await store.active_job_definitions()}


async def definition(loaded: Loaded, name: str) -> Definition:
    """One definition of an agent by its name.

    Raises:
        UsageError: there is none; names the nearest.
    """
    found = {one.definition.name: one for one in await definitions(loaded)}
    if name in found:
        return found[name]
    raise _unknown(name, found)


def names_a_file(text: str) -> bool:
    """Whether an argument ``FILE|NAME`` means a file."""
    return "/" in text or text.endswith((".yaml", ".yml"))
