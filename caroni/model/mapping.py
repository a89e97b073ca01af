"""Row structs to database columns and back, compiled once per row class and dialect.

Ids become lower-case hexadecimal text, enums their value, tuples and dicts JSON text. Text that a
database cannot hold as it is (PostgreSQL refuses U+0000, neither takes a lone surrogate) is escaped:
U+0001 and four hexadecimal digits stand for such a character, and for U+0001 itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from enum import Enum
from functools import lru_cache
from types import UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from caroni.core.rows import Row
from caroni.model.sql import Dialect, DialectName

R = TypeVar("R", bound=Row)

_UNSAFE = re.compile("[\x00\x01\ud800-\udfff]")
_ESCAPED = re.compile("\x01([0-9a-f]{4})")
_encode_json = msgspec.json.Encoder().encode


def escape(text: str) -> str:
    """Text that both databases hold; ``unescape`` gives the original back."""
    return _UNSAFE.sub(lambda found: f"\x01{ord(found[0]):04x}", text)


def unescape(text: str) -> str:
    """The inverse of :func:`escape`."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)


def _json(value: object) -> str:
    try:
        return _encode_json(value).decode()
    except UnicodeEncodeError:
        # JSON text has no place for a lone surrogate; peers' text is UTF-8 and never holds one
        return _encode_json(_without_surrogates(msgspec.to_builtins(value))).decode()


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(v) for v in value]
    return value


def table_name(row_type: type[Row]) -> str:
    """``JobOutput`` is kept in ``job_output``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", row_type.__name__).lower()


def _unwrap(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in (Union, UnionType) and type(None) in get_args(hint):
        (inner,) = (arg for arg in get_args(hint) if arg is not type(None))
        return inner, True
    return hint, False


def _encode_expression(name: str, hint: Any, dialect: Dialect) -> str:
    """Source of the expression that turns field ``name`` of ``r`` into a parameter."""
    kind, optional = _unwrap(hint)
    value = f"r.{name}"
    if kind is str:
        text = f"v if (v := {value}).isascii() and '\\0' not in v and '\\1' not in v else escape(v)"
        return f"({text})"
    if kind is bytes:
        return f"{value}.hex()"
    if kind is bool and dialect.sqlite:
        return f"(1 if {value} else 0)"
    if kind is float:
        # SQLite stores NaN as NULL
        return f"(v if (v := {value}) == v else 0.0)"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"{value}._value_"
    if kind in (int, bool):
        return value
    if optional:
        raise TypeError(f"{name}: an optional {kind} has no column")
    empty = "{}" if get_origin(kind) is dict else "[]"
    return f"(json(v) if (v := {value}) else '{empty}')"


def _decode_expression(name: str, hint: Any, scope: dict[str, Any]) -> str:
    kind, _ = _unwrap(hint)
    if kind is str:
        return f"({name} if '\\1' not in {name} else unescape({name}))"
    if kind is bytes:
        return f"fromhex({name})"
    if kind is bool:
        return f"({name} != 0)"
    if isinstance(kind, type) and issubclass(kind, Enum):
        scope[f"enum_{name}"] = {member.value: member for member in kind}
        return f"enum_{name}[{name}]"
    if kind in (int, float):
        return name
    scope[f"decode_{name}"] = msgspec.json.Decoder(kind).decode
    return f"decode_{name}({name})"


class Mapping(Generic[R]):
    """One row class in one dialect.

    ``columns`` are the struct's fields, in order; ``encode`` gives their parameters and a rising
    ``rev`` behind them, ``decode`` takes a record of exactly ``columns``.
    """

    def __init__(self, row_type: type[R], dialect: Dialect) -> None:
        self.row_type = row_type
        self.dialect = dialect
        self.table = table_name(row_type)
        hints = get_type_hints(row_type)
        self.columns = tuple(field.name for field in msgspec.structs.fields(row_type))
        self.key_columns = row_type.KEY
        self.key_kinds = tuple(hints[name] for name in row_type.KEY)
        self.upsert = dialect.upsert(self.table, (*self.columns, "rev"), row_type.KEY)
        self.encode: Callable[[Iterable[R], int], tuple[list[tuple[Any, ...]], int]]
        self.decode: Callable[[Sequence[Any]], R]
        self.encode, self.decode = self._compile(hints)

    def _compile(self, hints: dict[str, Any]) -> tuple[Any, Any]:
        scope: dict[str, Any] = {
            "escape": escape,
            "unescape": unescape,
            "json": _json,
            "fromhex": bytes.fromhex,
            "row_type": self.row_type,
        }
        values = ", ".join(_encode_expression(name, hints[name], self.dialect) for name in self.columns)
        fields = ", ".join(f"{name}={_decode_expression(name, hints[name], scope)}" for name in self.columns)
        source = (
            "def encode(rows, rev):\n"
            "    encoded = []\n"
            "    add = encoded.append\n"
            "    for r in rows:\n"
            "        rev += 1\n"
            f"        add(({values}, rev))\n"
            "    return encoded, rev\n"
            "def decode(record):\n"
            f"    {', '.join(self.columns)}, = record\n"
            f"    return row_type({fields})\n"
        )
        # straight-line code is several times faster than a loop over fields; its text comes from the
        # field names of our own row classes alone
        exec(compile(source, f"<mapping of {self.table}>", "exec"), scope)  # noqa: S102
        return scope["encode"], scope["decode"]

    def key_parameters(self, key: Hashable) -> tuple[Any, ...]:
        """A natural key as parameters, in the order of ``key_columns``."""
        parts = key if len(self.key_columns) > 1 else (key,)
        return tuple(
            part.hex() if isinstance(part, bytes) else escape(part) if isinstance(part, str) else part
            for part in parts  # type: ignore[attr-defined]
        )

    def key_text(self, key: Hashable) -> str:
        """A natural key as one text, as tombstones name it."""
        return " ".join(map(str, self.key_parameters(key)))


@lru_cache(maxsize=256)
def _mapping(row_type: type[Any], name: DialectName) -> Mapping[Any]:
    return Mapping(row_type, Dialect(name))


def mapping(row_type: type[R], dialect: Dialect) -> Mapping[R]:
    """The mapping of a row class, compiled at its first use."""
    return _mapping(row_type, dialect.name)
