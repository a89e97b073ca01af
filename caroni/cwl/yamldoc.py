"""A bounded YAML reader: the only way in which a document's text becomes data.

Text is hostile: size, depth and the number of nodes are limited while the events of libyaml
stream by, an alias counts as all that it stands for, tags and duplicate keys are refused. Scalars follow
the YAML 1.2 core schema, so ``no``, ``12:30`` and ``2024-01-01`` are strings.

:func:`read` gives plain data. :func:`read_with_places` gives the same data in ruamel's containers, which
know line and column; it is several times slower and is used once an error must be located.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

from caroni.core.valuewords import quoted
from caroni.errors import DocumentError

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 1_000_000

_INT = re.compile(r"[-+]?[0-9]+\Z")
_OCTAL = re.compile(r"0o[0-7]+\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMERIC_START = frozenset("0123456789-+.")
_MAX_DIGITS = 4000


def read(text: str, name: str = "") -> Any:
    """Read one YAML (or JSON) document as plain data.

    Args:
        text: the document.
        name: file name for errors.

    Raises:
        DocumentError: malformed, beyond a limit, or with a tag, a duplicate key or a second document.
    """
    return _Reader(text, name, places=False).document()


def read_with_places(text: str, name: str = "") -> Any:
    """Read as :func:`read` does; containers carry their places in ``lc`` (lines and columns from 0)."""
    return _Reader(text, name, places=True).document()


class _Open:
    """A container that is being read."""

    __slots__ = ("anchor", "count", "depth", "is_map", "key", "key_mark", "merged", "value")

    def __init__(self, value: Any, is_map: bool, anchor: str | None, count: int) -> None:
        self.value = value
        self.is_map = is_map
        self.anchor = anchor
        #: nodes before this one, and the deepest level below it
        self.count = count
        self.depth = 1
        #: for a mapping: the key that waits for its value
        self.key: Any = _NO_KEY
        self.key_mark: Any = None
        #: keys that came by ``<<`` and may still be overridden
        self.merged: set[Any] = set()


_NO_KEY = object()
_MERGE = object()


class _Reader:
    def __init__(self, text: str, name: str, places: bool) -> None:
        self._name = name
        self._places = places
        self._new_map: Callable[[], Any] = dict
        self._new_seq: Callable[[], Any] = list
        if places:
            from ruamel.yaml.comments import CommentedMap, CommentedSeq

            self._new_map, self._new_seq = CommentedMap, CommentedSeq
        if len(text) > MAX_BYTES or (len(text) * 4 > MAX_BYTES and len(_encoded(text)) > MAX_BYTES):
            raise DocumentError(f"the document is larger than {MAX_BYTES // 1024 // 1024} MiB", file=name)
        self._text = text
        self._count = 0
        #: anchor -> (value, nodes it stands for, depth)
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        self._stack: list[_Open] = []
        self._root: Any = None

    def document(self) -> Any:
        try:
            parser = yaml.CLoader(self._text)
        except UnicodeEncodeError as error:
            line = self._text.count("\n", 0, error.start) + 1
            raise DocumentError("not Unicode: a lone surrogate", file=self._name, line=line) from None
        except yaml.YAMLError as error:
            raise self._malformed(error) from None
        try:
            self._events(parser.get_event)
        except yaml.YAMLError as error:
            raise self._malformed(error) from None
        finally:
            parser.dispose()
        return self._root

    def _events(self, next_event: Callable[[], Any]) -> None:
        documents = 0
        while True:
            event = next_event()
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._count += 1
                if event.tag is not None:
                    raise self._tagged(event)
                value: Any = event.value
                if event.implicit[0]:
                    value = self._plain(event)
                self._add(value, event.start_mark)
                if event.anchor is not None:
                    self._anchors[event.anchor] = (value, 1, 1)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._start(event, kind is yaml.MappingStartEvent)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._end()
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    raise self._error("only one YAML document is allowed in a file", event.start_mark)
            elif kind is yaml.StreamEndEvent:
                return
            if self._count > MAX_NODES:
                raise self._error(
                    f"the document has more than {MAX_NODES} nodes (aliases counted)", event.start_mark
                )

    def _start(self, event: Any, is_map: bool) -> None:
        self._count += 1
        if event.tag is not None:
            raise self._tagged(event)
        if len(self._stack) >= MAX_DEPTH:
            raise self._too_deep(event.start_mark)
        value = self._new_map() if is_map else self._new_seq()
        if self._places:
            mark = event.start_mark
            value._yaml_set_line_col(mark.line, mark.column)
        if self._stack and self._stack[-1].is_map and self._stack[-1].key is _NO_KEY:
            raise self._error("a key must be a plain value", event.start_mark)
        self._stack.append(_Open(value, is_map, event.anchor, self._count - 1))
        if event.anchor is not None:
            # known from here on only so that an alias inside of it can be refused
            self._anchors[event.anchor] = (_NO_KEY, 0, 0)
        self._stack[-1].key_mark = event.start_mark

    def _end(self) -> None:
        done = self._stack.pop()
        if done.anchor is not None:
            self._anchors[done.anchor] = (done.value, self._count - done.count, done.depth)
        if self._stack:
            self._stack[-1].depth = max(self._stack[-1].depth, done.depth + 1)
        self._add(done.value, None)

    def _alias(self, event: Any) -> None:
        value, count, depth = self._anchors.get(event.anchor, (None, -1, 0))
        if count < 0:
            raise self._error(f"unknown alias *{event.anchor[:64]}", event.start_mark)
        if value is _NO_KEY:
            raise self._error(f"the alias *{event.anchor[:64]} stands inside of itself", event.start_mark)
        self._count += count
        if len(self._stack) + depth > MAX_DEPTH:
            raise self._too_deep(event.start_mark)
        if self._stack:
            self._stack[-1].depth = max(self._stack[-1].depth, depth + 1)
        self._add(value, event.start_mark)

    def _add(self, value: Any, mark: Any) -> None:
        """Put a finished node where it belongs."""
        if not self._stack:
            self._root = value
            return
        top = self._stack[-1]
        if not top.is_map:
            if self._places and mark is not None:
                top.value._yaml_set_idx_line_col(len(top.value), [mark.line, mark.column])
            elif self._places:
                top.value._yaml_set_idx_line_col(len(top.value), [value.lc.line, value.lc.col])
            top.value.append(value)
        elif top.key is _NO_KEY:
            self._set_key(top, value, mark)
        else:
            self._set_value(top, value, mark)

    def _set_key(self, top: _Open, key: Any, mark: Any) -> None:
        if key == "<<":
            key = _MERGE
        elif isinstance(key, dict | list):
            raise self._error("a key must be a plain value", mark)
        elif not isinstance(key, str):
            # JSON has text keys only, and 1, 1.0 and true would be one key
            key = _spelling(key)
        top.key, top.key_mark = key, mark

    def _set_value(self, top: _Open, value: Any, mark: Any) -> None:
        key, key_mark = top.key, top.key_mark
        top.key = _NO_KEY
        if key is _MERGE:
            self._merge(top, value, key_mark)
            return
        if key in top.value:
            if key not in top.merged:
                raise self._error(f"the key {quoted(key)} is there twice", key_mark)
            top.merged.discard(key)
        top.value[key] = value
        if self._places:
            line, col = (mark.line, mark.column) if mark is not None else (value.lc.line, value.lc.col)
            top.value._yaml_set_kv_line_col(key, [key_mark.line, key_mark.column, line, col])

    def _merge(self, top: _Open, value: Any, mark: Any) -> None:
        """``<<``: keys of other mappings that this one does not have itself; the first one wins."""
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            raise self._error("'<<' needs a mapping or a list of mappings", mark)
        for source in sources:
            for key, item in source.items():
                if key not in top.value:
                    top.value[key] = item
                    top.merged.add(key)
                    if self._places:
                        place = source.lc.data.get(key, [mark.line, mark.column] * 2)
                        top.value._yaml_set_kv_line_col(key, list(place))

    def _plain(self, event: Any) -> Any:
        """A plain scalar's value by the YAML 1.2 core schema (10.3.2)."""
        text: str = event.value
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in _NUMERIC_START:
            return text
        if len(text) > _MAX_DIGITS:
            return text
        if _INT.match(text):
            return int(text)
        if _FLOAT.match(text):
            number = float(text)
            if number - number != 0:
                raise self._error(f"the number {quoted(text)} is too large", event.start_mark)
            return number
        if _OCTAL.match(text):
            return int(text[2:], 8)
        if _HEX.match(text):
            return int(text[2:], 16)
        if text.lstrip("+-").lower() in (".inf", ".nan"):
            raise self._error(f"{text} is not a value: JSON has no infinities and no NaN", event.start_mark)
        return text

    def _tagged(self, event: Any) -> DocumentError:
        return self._error(f"the tag {quoted(event.tag)} is refused: tags are not allowed", event.start_mark)

    def _too_deep(self, mark: Any) -> DocumentError:
        return self._error(f"the document is nested more than {MAX_DEPTH} deep", mark)

    def _error(self, message: str, mark: Any) -> DocumentError:
        return DocumentError(message, file=self._name, line=mark.line + 1, column=mark.column + 1)

    def _malformed(self, error: yaml.YAMLError) -> DocumentError:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        problem = " ".join(str(problem).split())[:200]
        if mark is None:
            line = self._text.count("\n", 0, getattr(error, "position", 0) or 0) + 1
            return DocumentError(f"not YAML: {problem}", file=self._name, line=line, column=1)
        return self._error(f"not YAML: {problem}", mark)


def _spelling(key: Any) -> str:
    if key is None:
        return "null"
    return str(key).lower() if isinstance(key, bool) else str(key)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
