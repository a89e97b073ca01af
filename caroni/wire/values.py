"""How a value (JSON text) travels in a parameter: a plain string as it is, everything else as JSON.

The JSON text that arrives is the JSON text that was sent, so its SHA-256 means the same at both ends.
What comes from a peer is strict JSON: no NaN, no number that no float can hold, no duplicate key, no
half a surrogate, at most 64 levels deep.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from caroni.errors import MessageRejected

#: Largest JSON text of one value, in bytes of UTF-8.
MAX_VALUE = 3 * 1024 * 1024
MAX_DEPTH = 64

_decode = msgspec.json.decode
_encode = msgspec.json.encode
_STRINGS_AND_REST = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[^\[\]{}"]++', re.DOTALL)


def to_wire(text: str) -> tuple[str, str | None]:
    """Split a value into ``value`` and ``json_value`` (None: not sent).

    Raises:
        MessageRejected: ``E_PARSE`` not JSON, ``E_LIMIT`` too large (the remedy: pass a File).
    """
    _check_size(text)
    if text[:1] == '"':
        try:
            plain: str = _decode(text, type=str)
        except (msgspec.DecodeError, ValueError) as error:
            raise MessageRejected("E_PARSE", f"value is not JSON: {error}") from None
        # another spelling of the same string ("\u0041") keeps its own text, for its digest's sake
        return plain, None if _encode(plain).decode() == text else text
    check_json(text)
    return (text if text[0] not in "[{n \t\r\n" else ""), text


def to_base(text: str) -> str:
    """The one field a base peer reads: the string, the text of a scalar, or the JSON text of the rest."""
    value, json_value = to_wire(text)
    return value if value or json_value is None or json_value == "null" else json_value


def from_wire(value: str, json_value: str | None) -> str:
    """The value's JSON text; a plain string is given in its shortest JSON spelling.

    Raises:
        MessageRejected: ``E_PARSE`` not strict JSON, ``E_LIMIT`` too large or too deep.
    """
    if json_value is None:
        text = _encode(value).decode()
        _check_size(text)
        return text
    check_json(json_value)
    return json_value


def check_json(text: str) -> None:
    """Refuse what is not strict JSON within our bounds.

    Raises:
        MessageRejected: ``E_PARSE`` not strict JSON, ``E_LIMIT`` too large or too deep.
    """
    _check_size(text)
    try:
        _decode(text)
    except RecursionError:
        raise MessageRejected("E_LIMIT", f"value is nested deeper than {MAX_DEPTH}") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise MessageRejected("E_PARSE", f"value is not JSON: {error}") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _deeper_than(text, MAX_DEPTH):
        raise MessageRejected("E_LIMIT", f"value is nested deeper than {MAX_DEPTH}")
    if "{" in text:
        json.loads(text, object_pairs_hook=_no_duplicates)


def _check_size(text: str) -> None:
    length = len(text)
    # a character is at most four bytes, so that most texts need no encoding to be measured
    if length * 4 > MAX_VALUE and (length > MAX_VALUE or len(text.encode("utf-8", "replace")) > MAX_VALUE):
        raise MessageRejected("E_LIMIT", "value is larger than 3 MiB: pass a File instead")


def _deeper_than(text: str, depth: int) -> bool:
    """Whether valid JSON is nested deeper than ``depth``: peel off the innermost level, at C speed."""
    brackets = _STRINGS_AND_REST.sub("", text).replace("{", "[").replace("}", "]")
    for _ in range(depth):
        if not brackets:
            return False
        brackets = brackets.replace("[]", "")
    return bool(brackets)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise MessageRejected("E_PARSE", "value has an object with a duplicate key")
