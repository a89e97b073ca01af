"""Where things stand in a document: ``file:line:column`` for errors, found only once one is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from caroni.cwl.yamldoc import read_with_places
from caroni.errors import DocumentError, UnsupportedFeature

#: A way into a document by names: keys of mappings, and ids (or indexes) of list items.
Path = tuple[str | int, ...]


class Spot:
    """A place in a bundle member, by name. Line and column are looked up when an error is made."""

    __slots__ = ("document", "path", "places")

    def __init__(self, places: Places, document: str, path: Path = ()) -> None:
        self.places = places
        self.document = document
        self.path = path

    def at(self, *names: str | int) -> Spot:
        """A place below this one."""
        return Spot(self.places, self.document, (*self.path, *names))

    def error(self, message: str) -> DocumentError:
        """What is wrong here."""
        line, column = self.places.find(self.document, self.path)
        return DocumentError(message, file=self.document, line=line, column=column)

    def unsupported(self, message: str) -> UnsupportedFeature:
        """What is valid here, but cannot be run by this version."""
        line, column = self.places.find(self.document, self.path)
        return UnsupportedFeature(message, file=self.document, line=line, column=column)


class Places:
    """Finds places in the members of a bundle."""

    def __init__(self, documents: Mapping[str, str]) -> None:
        self._documents = documents
        self._trees: dict[str, Any] = {}

    def tree(self, document: str) -> Any:
        """A member with places, read once. Its text has been read before, so this does not fail."""
        if document not in self._trees:
            self._trees[document] = read_with_places(self._documents[document], document)
        return self._trees[document]

    def find(self, document: str, path: Path) -> tuple[int, int]:
        """Line and column from 1 of the deepest part of ``path`` that is in the document."""
        if document not in self._documents:
            return 0, 0
        node = self.tree(document)
        line, column = (node.lc.line, node.lc.col) if hasattr(node, "lc") else (0, 0)
        for name in path:
            found = _child(node, name)
            if found is None:
                # a default field is left out by its writer: what follows may still be there
                continue
            node, line, column = found
        return line + 1, column + 1


def _child(node: Any, name: str | int) -> tuple[Any, int, int] | None:
    places = getattr(getattr(node, "lc", None), "data", None)
    if places is None:
        return None
    if isinstance(node, dict):
        for key in (name, f"#{name}"):
            if key in node and key in places:
                return node[key], places[key][0], places[key][1]
    elif isinstance(node, list):
        for index, item in enumerate(node):
            if index == name or (isinstance(item, dict) and _called(item, name)) or item == name:
                return item, places[index][0], places[index][1]
    return None


def _called(item: Mapping[str, Any], name: str | int) -> bool:
    for field in ("id", "name", "class"):
        label = item.get(field)
        if isinstance(label, str) and (label == name or label.rpartition("#")[2].rpartition("/")[2] == name):
            return True
    return False
