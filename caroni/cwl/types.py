"""Type declarations of a parsed document in the expanded form of :mod:`caroni.core.cwltypes`."""

from __future__ import annotations

from typing import Any

from caroni.core.cwltypes import MAX_TYPE_DEPTH, SIMPLE, BadType, parse
from caroni.core.plan import CwlType
from caroni.core.valuewords import quoted
from caroni.cwl.fetcher import BASE

#: shortcuts that only a CommandLineTool has; as an interface they are Files
_STREAMS = frozenset({"stdin", "stdout", "stderr"})


class NamedTypes:
    """Records and enums that a document names, for parameters that use the name (SchemaDefRequirement)."""

    def __init__(self, outer: NamedTypes | None = None) -> None:
        self._named: dict[str, Any] = dict(outer._named) if outer is not None else {}

    def add(self, declared: Any) -> None:
        """Remember the named types in a declaration (any depth)."""
        if isinstance(declared, list):
            for member in declared:
                self.add(member)
            return
        name = getattr(declared, "name", None)
        if isinstance(name, str):
            self._named.setdefault(name, declared)
        for part in ("items", "type_"):
            inner = getattr(declared, part, None)
            if inner is not None and not isinstance(inner, str):
                self.add(inner)
        for field in getattr(declared, "fields", None) or ():
            self.add(field.type_)

    def expand(self, declared: Any) -> CwlType:
        """The expanded form of a declaration.

        Raises:
            BadType: a name that is neither CWL's nor declared, or a type that contains itself.
        """
        return parse(self._plain(declared, 0))

    def _plain(self, declared: Any, depth: int) -> object:
        if depth > MAX_TYPE_DEPTH:
            raise BadType("the type contains itself or is nested too deeply")
        if isinstance(declared, str):
            if declared in SIMPLE:
                return declared
            if declared in _STREAMS:
                return "File"
            if declared in self._named:
                return self._plain(self._named[declared], depth + 1)
            return last_name(declared)
        if isinstance(declared, list):
            return [self._plain(member, depth + 1) for member in declared]
        kind = getattr(declared, "type_", None)
        if kind == "array":
            return {"type": "array", "items": self._plain(declared.items, depth + 1)}
        if kind == "enum":
            return {"type": "enum", "symbols": [last_name(s) for s in declared.symbols]}
        if kind == "record":
            fields = [
                {"name": last_name(f.name), "type": self._plain(f.type_, depth + 1)}
                for f in declared.fields or ()
            ]
            return {"type": "record", "fields": fields}
        raise BadType(f"{quoted(type(declared).__name__)} is not a type")


def last_name(identifier: str) -> str:
    """The name at the end of an absolute identifier (``mem://bundle/wf.cwl#main/step/input``)."""
    if identifier.startswith(BASE) and "#" not in identifier:
        return ""  # an empty name leaves only the document
    return identifier.rpartition("#")[2].rpartition("/")[2]
