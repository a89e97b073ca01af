"""The closed set of documents that a workflow is read from."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from caroni.core.valuewords import quoted
from caroni.cwl.places import Path as Way
from caroni.cwl.places import Places, Spot
from caroni.cwl.yamldoc import MAX_BYTES, read
from caroni.errors import DocumentError

MAX_MEMBERS = 1000


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """Documents by name. Whatever is not in here does not exist for the workflow.

    A name is a path relative to the main document's folder (``tools/align.cwl``).
    """

    main: str
    documents: dict[str, str]
    #: ``file://`` URI of the main document's folder, against which default Files are resolved; "" = unknown
    origin: str = ""

    @classmethod
    def from_text(cls, text: str, name: str = "workflow.cwl") -> Bundle:
        """A bundle of one document."""
        return cls(main=name, documents={name: text})

    @classmethod
    def from_path(cls, path: str | os.PathLike[str]) -> Bundle:
        """Collect a document and the local files that it names by ``run``, ``$import`` and ``$include``.

        Addresses with a scheme are left for :func:`~caroni.cwl.load` to refuse.

        Raises:
            DocumentError: a file is missing, too large, not a regular file, or outside of the main
                document's folder (symbolic links followed).
        """
        main = Path(path)
        root = Path(os.path.realpath(main.parent))
        documents: dict[str, str] = {}
        total = 0
        wanted: list[tuple[str, bool, Spot | None]] = [(main.name, True, None)]
        while wanted:
            name, is_yaml, spot = wanted.pop()
            if name in documents:
                continue
            if len(documents) >= MAX_MEMBERS:
                raise DocumentError(f"the workflow has more than {MAX_MEMBERS} files", file=main.name)
            text = _read_file(root, name, spot)
            documents[name] = text
            total += len(text)
            if total > MAX_BYTES:
                raise DocumentError(
                    f"the workflow's files are larger than {MAX_BYTES >> 20} MiB", file=main.name
                )
            if is_yaml:
                places = Places({name: text})
                for reference, parsed, way in _references(read(text, name), ()):
                    here = Spot(places, name, way)
                    target = _target(name, reference, here)
                    if target is not None:
                        wanted.append((target, parsed, here))
        return cls(main=main.name, documents=documents, origin=root.as_uri())

    def without_unused(self) -> Bundle:
        """Only the documents that the main one names, directly or through others.

        Raises:
            DocumentError: a document is not YAML, or names one outside of the bundle's folder.
        """
        kept: dict[str, str] = {}
        wanted = [(self.main, True)]
        while wanted:
            name, is_yaml = wanted.pop()
            if name in kept or name not in self.documents:
                continue
            text = kept[name] = self.documents[name]
            if is_yaml:
                places = Places({name: text})
                for reference, parsed, way in _references(read(text, name), ()):
                    target = _target(name, reference, Spot(places, name, way))
                    if target is not None:
                        wanted.append((target, parsed))
        return msgspec.structs.replace(self, documents={n: t for n, t in self.documents.items() if n in kept})


def _read_file(root: Path, name: str, spot: Spot | None) -> str:
    def wrong(reason: str) -> DocumentError:
        if spot is None:
            return DocumentError(reason, file=name)
        return spot.error(f"{quoted(name)}: {reason}")

    path = root / name
    real = Path(os.path.realpath(path))
    if spot is not None and not real.is_relative_to(root):
        raise wrong("a link that leads out of the workflow's folder")
    try:
        # a FIFO must not block, so look before reading
        mode = real.stat().st_mode
        if not stat.S_ISREG(mode):
            raise wrong("not a regular file")
        with real.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise wrong(error.strerror or "cannot be read") from None
    if len(data) > MAX_BYTES:
        raise wrong(f"the file is larger than {MAX_BYTES >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise wrong(f"not UTF-8 (byte {error.start})") from None


def _target(document: str, reference: str, spot: Spot) -> str | None:
    """The member that a reference in ``document`` means, or None if it is not a local file."""
    path = unquote(reference.partition("#")[0])
    head, colon, _ = path.partition(":")
    if not path or (colon and "/" not in head):
        return None
    name = posixpath.normpath(posixpath.join(posixpath.dirname(document), path))
    if path.startswith("/") or name.split("/")[0] == "..":
        raise spot.error(
            f"{quoted(reference)} is outside of the workflow's folder: move it below the main document"
        )
    return name


def _references(node: Any, way: Way) -> Iterator[tuple[str, bool, Way]]:
    """(reference, whether it is YAML, where) of every file a document names."""
    pending: list[tuple[Any, Way]] = [(node, way)]
    while pending:
        node, way = pending.pop()
        if isinstance(node, Mapping):
            for key, is_yaml in (("$import", True), ("$include", False)):
                if isinstance(node.get(key), str):
                    yield node[key], is_yaml, (*way, key)
            for step, here in _steps(node.get("steps"), (*way, "steps")):
                if isinstance(step, Mapping) and isinstance(step.get("run"), str):
                    yield step["run"], True, (*here, "run")
            pending.extend((v, (*way, k)) for k, v in node.items() if isinstance(v, Mapping | list))
        elif isinstance(node, list):
            pending.extend((v, (*way, i)) for i, v in enumerate(node) if isinstance(v, Mapping | list))


def _steps(steps: Any, way: Way) -> Iterator[tuple[Any, Way]]:
    if isinstance(steps, Mapping):
        yield from ((step, (*way, name)) for name, step in steps.items())
    elif isinstance(steps, list):
        yield from ((step, (*way, index)) for index, step in enumerate(steps))
