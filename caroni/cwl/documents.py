"""The members of a bundle as parsed CWL processes, through cwl-utils with a closed fetcher."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urldefrag

from cwl_utils.parser import LoadingOptions, load_document_by_yaml

from caroni.core.valuewords import quoted, show
from caroni.cwl.bundle import Bundle
from caroni.cwl.fetcher import BASE, ClosedFetcher, member_name, member_uri
from caroni.cwl.places import Path, Places, Spot
from caroni.cwl.yamldoc import read
from caroni.errors import CaroniError, DocumentError

VERSIONS = ("v1.0", "v1.1", "v1.2")


class Process:
    """A parsed process (an object of cwl-utils, whose classes differ by CWL version) and where it stands."""

    __slots__ = ("node", "spot")

    def __init__(self, node: Any, spot: Spot) -> None:
        self.node = node
        self.spot = spot

    @property
    def kind(self) -> str:
        """Its ``class``: Workflow, CommandLineTool, Operation, ..."""
        return type(self.node).__name__


class Documents:
    """Parses each member once."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.places = Places(bundle.documents)
        self._fetcher = ClosedFetcher(bundle.documents)
        self._parsed: dict[str, dict[str, Process]] = {}
        self._version = VERSIONS[-1]

    def entry(self, name: str | None) -> Process:
        """The process to run: ``name`` in the main document, its ``#main``, or its only one.

        Raises:
            DocumentError: there is none (CWL v1.2, Packed documents).
        """
        document = self.bundle.main
        wanted = (name or "").rpartition("#")[2]
        found = self._document(document)
        if "" in found and wanted in ("", _short(found[""].node)):
            return found[""]
        process = found.get(wanted or "main")
        if process is None:
            known = ", ".join(f"#{key}" for key in sorted(k for k in found if k)[:20])
            what = f"no process #{wanted}" if wanted else "several processes and no #main"
            raise Spot(self.places, document, ("$graph",)).error(
                f"the document has {what}; name one of {known or 'its processes'}"
            )
        return process

    def run(self, reference: str, spot: Spot) -> Process:
        """The process that a step's ``run`` names by an absolute URI.

        Raises:
            DocumentError: it is not in the bundle.
        """
        name = member_name(reference)
        if name is None:
            raise spot.error(
                f"run: {quoted(reference)} is refused: only files of the workflow's own folder are used"
            )
        if name not in self.bundle.documents:
            raise spot.error(f"run: {quoted(name)} is not among the workflow's files")
        found = self._document(name)
        fragment = urldefrag(reference).fragment
        process = found.get(fragment) or (found.get("main") if not fragment else None)
        if process is None and fragment and "" in found and _short(found[""].node) == fragment:
            process = found[""]
        if process is None:
            near = difflib.get_close_matches(fragment, [k for k in found if k], n=1)
            hint = f"; did you mean #{near[0]}?" if near else ""
            raise spot.error(f"run: {quoted(name)} has no process #{fragment or 'main'}{hint}")
        return process

    def _document(self, name: str) -> dict[str, Process]:
        """The processes of a member by fragment; "" is the one of a document without ``$graph``."""
        found = self._parsed.get(name)
        if found is None:
            found = self._parsed[name] = self._parse(name)
        return found

    def _parse(self, name: str) -> dict[str, Process]:
        if name not in self.bundle.documents:
            raise DocumentError("the document is not in the bundle", file=name)
        data = read(self.bundle.documents[name], name)
        top = Spot(self.places, name)
        if not isinstance(data, dict):
            raise top.error("not a CWL document: it must be a mapping with cwlVersion and class")
        self._check_top(data, top)
        if "$include" in self.bundle.documents[name]:
            self._include(name, data, ())
        parsed = self._load(name, data)
        if not isinstance(parsed, list):
            return {"": Process(parsed, top)}
        found: dict[str, Process] = {}
        for node in parsed:
            fragment = urldefrag(str(getattr(node, "id", ""))).fragment
            if fragment in found:
                raise top.at("$graph", fragment).error(f"the id #{fragment} is there twice")
            found[fragment] = Process(node, top.at("$graph", fragment))
        return found

    def _check_top(self, data: dict[str, Any], top: Spot) -> None:
        version = data.get("cwlVersion")
        if version is None and self.bundle.main != top.document:
            # a file that a step names may leave it out; the first document's version then holds
            version = data["cwlVersion"] = self._version
        if version is None:
            raise top.error(f"cwlVersion is missing: write cwlVersion: {VERSIONS[-1]} at the top")
        if version not in VERSIONS:
            raise top.at("cwlVersion").unsupported(
                f"cwlVersion {show(version)} is not supported; known are {', '.join(VERSIONS)}"
            )
        if top.document == self.bundle.main:
            self._version = version
        if "class" not in data and "$graph" not in data:
            raise top.error("class is missing: a workflow has class: Workflow")
        if "$base" in data:
            raise top.at("$base").unsupported("$base is not supported")
        schemas = data.get("$schemas") or []
        for index, address in enumerate(schemas if isinstance(schemas, list) else [schemas]):
            if not isinstance(address, str) or ":" in address or address.startswith("/") or ".." in address:
                raise top.at("$schemas", index).unsupported(
                    f"$schemas {quoted(str(address))} is refused: nothing is fetched; remove $schemas"
                )
        data.pop("$schemas", None)
        namespaces = data.get("$namespaces")
        if namespaces is not None and not (
            isinstance(namespaces, dict) and all(isinstance(v, str) for v in namespaces.values())
        ):
            raise top.at("$namespaces").error("$namespaces is a mapping of prefix to IRI")

    def _include(self, name: str, node: Any, way: Path) -> None:
        """Put the texts in that ``$include`` names (CWL: Document preprocessing)."""
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in list(items):
            if isinstance(value, dict) and isinstance(value.get("$include"), str):
                member = member_name(self._fetcher.urljoin(member_uri(name), value["$include"]))
                text = None if member is None else self.bundle.documents.get(member)
                if text is None:
                    raise Spot(self.places, name, (*way, key, "$include")).error(
                        f"$include: {quoted(value['$include'])} is not among the workflow's files"
                    )
                node[key] = text
            elif isinstance(value, dict | list):
                self._include(name, value, (*way, key))

    def _load(self, name: str, data: dict[str, Any]) -> Any:
        try:
            return self._cwl_utils(name, data)
        except CaroniError:
            raise
        except Exception as first:
            return self._locate(name, first)

    def _cwl_utils(self, name: str, data: Any) -> Any:
        uri = member_uri(name)
        options = LoadingOptions(fetcher=self._fetcher, fileuri=uri, baseuri=BASE)
        return load_document_by_yaml(data, uri, options, load_all=True)

    def _locate(self, name: str, first: Exception) -> Any:
        """Parse once more with places, for an error that names line and column."""
        top = Spot(self.places, name)
        way = _misplaced_hint(self.places.tree(name), ())
        if way is not None:
            raise top.at(*way).error("CaroniRequirement belongs under hints, not under requirements")
        if isinstance(first, RecursionError):
            raise top.error("the document includes itself, or is nested too deeply") from None
        data = _as_document(self.places.tree(name), self._version)
        self._include(name, data, ())
        problem: Exception = first
        try:
            self._cwl_utils(name, data)
        except CaroniError:
            raise
        except Exception as second:
            problem = second
        raise _explain(problem, top) from None


def _as_document(tree: Any, version: str) -> Any:
    """A tree with places as the parser wants it."""
    tree = copy.deepcopy(tree)
    tree.setdefault("cwlVersion", version)
    tree.pop("$schemas", None)
    return tree


def _short(node: Any) -> str:
    return urldefrag(str(getattr(node, "id", ""))).fragment


def _misplaced_hint(node: Any, way: Path) -> Path | None:
    """Where a CaroniRequirement stands under ``requirements`` (the parser's words do not help there)."""
    if isinstance(node, Mapping):
        wanted = node.get("requirements")
        items = list(wanted) if isinstance(wanted, Mapping) else []
        if isinstance(wanted, list):
            items = [w.get("class") for w in wanted if isinstance(w, Mapping)]
        for item in items:
            if isinstance(item, str) and item.endswith("CaroniRequirement"):
                return (*way, "requirements", item)
        for key, value in node.items():
            if (found := _misplaced_hint(value, (*way, key))) is not None:
                return found
    elif isinstance(node, list):
        for index, value in enumerate(node):
            if (found := _misplaced_hint(value, (*way, index))) is not None:
                return found
    return None


def _explain(problem: Exception, top: Spot) -> DocumentError:
    """The innermost cause that has a place, in one bounded line."""
    leaves = list(problem.leaves()) if hasattr(problem, "leaves") else []
    located = [leaf for leaf in leaves if getattr(leaf, "start", None) is not None] or leaves
    # a missing field and the unknown one beside it belong together: show the first two
    message = "; ".join(dict.fromkeys(str(getattr(leaf, "message", "") or leaf) for leaf in located[:2]))
    line, column = (getattr(located[0], "start", None) or (0, 0)) if located else (0, 0)
    if not message:
        message = str(problem) if leaves else f"not valid CWL ({type(problem).__name__}: {problem})"
    message = re.sub(re.escape(BASE), "", " ".join(message.split()))
    if not line:
        line, column = top.places.find(top.document, ())
    if len(message) > 300:
        message = message[:297] + "..."
    return DocumentError(message, file=top.document, line=line, column=column)
