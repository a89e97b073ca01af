"""Job definitions of an agent: from its database, or from the files of its directory."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from caroni.config import Loaded
from caroni.core import cwltypes
from caroni.core.plan import CwlType
from caroni.errors import ConfigError, UsageError
from caroni.execution.definition import JobDefinition, decode_definition, load_definition
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


async def add(loaded: Loaded, paths: Sequence[Path], *, active: bool = True) -> list[DefinitionAdded]:
    """Keep definitions as next revisions, and make them the active ones; all are checked first.

    Raises:
        DocumentError: with file, line and column; nothing has been kept then.
        UsageError: another role's configuration, or an agent that takes definitions from files only.
    """
    require_role(loaded, "agent", _WHAT)
    if loaded.config.agent.definitions == "files":
        raise UsageError(
            f"this agent takes job definitions from files only: put them into"
            f" {loaded.config.agent.definitions_dir} and restart it"
        )
    read = [from_file(path) for path in paths]
    names = [one.definition.name for one in read]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"{sorted(twice)[0]} is defined by more than one of these files")
    added = []
    async with opened(loaded, "agent", _WHAT, read_only=False) as store:
        for one in read:
            definition = one.definition
            before = await store.job_definition(definition.name)
            revision = await store.add_job_definition(definition_row(definition, now(), one.source))
            if active:
                await store.set_active(definition.name, revision, True)
            added.append(
                DefinitionAdded(
                    name=definition.name,
                    version=definition.version,
                    revision=revision,
                    digest=definition.digest,
                    active=active,
                    changed=before is None or before.revision != revision,
                )
            )
        await store.add_command("reload-definitions", "{}", now())
    return added


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


async def definition(loaded: Loaded, name: str) -> Definition:
    """One definition of an agent by its name.

    Raises:
        UsageError: there is none; names the nearest.
    """
    found = {one.definition.name: one for one in await definitions(loaded)}
    if name in found:
        return found[name]
    near = difflib.get_close_matches(name, found, 1)
    hint = f"did you mean {near[0]!r}?" if near else "see: caroni job list"
    raise UsageError(f"there is no job definition {safe_line(name, 60)!r}; {hint}")


def names_a_file(text: str) -> bool:
    """Whether an argument ``FILE|NAME`` means a file."""
    return "/" in text or text.endswith((".yaml", ".yml"))
