"""What the structs of :mod:`caroni.config.schema` say of themselves, for the loader and the reference."""

from __future__ import annotations

import types
import typing
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from caroni.config import schema
from caroni.config.units import format_duration, format_size


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a table. ``struct`` is set where the value is a table or a list of tables."""

    name: str
    kind: Literal[
        "text", "integer", "boolean", "duration", "size", "path", "choice", "names", "table", "tables"
    ]
    optional: bool = False
    required: bool = False
    default: Any = None
    default_text: str = ""
    description: str = ""
    limits: str = ""
    choices: tuple[str, ...] = ()
    #: the role that an identity pattern must have
    pattern: str = ""
    struct: type[schema.Section] | None = None


@cache
def keys(struct: type[schema.Section]) -> dict[str, Key]:
    """The keys of a table, in the order of its declaration."""
    hints = typing.get_type_hints(struct, include_extras=True)
    return {f.name: _key(f, hints[f.name]) for f in msgspec.structs.fields(struct)}


def _key(field: msgspec.structs.FieldInfo, hint: Any) -> Key:
    metas: list[msgspec.Meta] = []
    hint, optional = _unwrap(hint, metas)
    extra: dict[str, Any] = {}
    for meta in metas:
        extra.update(meta.extra or {})
    kind, struct, choices = _kind(hint, extra)
    default: Any = None
    required = False
    if field.default is not msgspec.NODEFAULT:
        default = field.default
    elif field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    else:
        required = True
    return Key(
        name=field.name,
        kind=kind,
        optional=optional,
        required=required,
        default=default,
        default_text=extra.get("default", "") or show_value(kind, default),
        description=next((m.description for m in metas if m.description), ""),
        limits=_limits(kind, metas),
        choices=choices,
        pattern=extra.get("pattern", ""),
        struct=struct,
    )


def _unwrap(hint: Any, metas: list[msgspec.Meta]) -> tuple[Any, bool]:
    """Take off ``Annotated`` and ``| None``."""
    optional = False
    while True:
        if get_origin(hint) is typing.Annotated:
            metas.extend(m for m in hint.__metadata__ if isinstance(m, msgspec.Meta))
            hint = hint.__origin__
        elif isinstance(hint, types.UnionType) or get_origin(hint) is typing.Union:
            (hint,) = [a for a in get_args(hint) if a is not type(None)]
            optional = True
        else:
            return hint, optional


def _kind(hint: Any, extra: dict[str, Any]) -> tuple[Any, type[schema.Section] | None, tuple[str, ...]]:
    if get_origin(hint) is Literal:
        return "choice", None, get_args(hint)
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        return ("names", None, ()) if item is str else ("tables", item, ())
    if hint is bool:
        return "boolean", None, ()
    if hint is int:
        return extra.get("unit", "integer"), None, ()
    if hint is Path:
        return "path", None, ()
    if hint is str:
        return "text", None, ()
    return "table", hint, ()


def show_value(kind: str, value: Any) -> str:
    """A value as the file spells it; empty for None and for tables."""
    if value is None or kind in ("table", "tables"):
        return ""
    if kind == "duration":
        return f'"{format_duration(value)}"'
    if kind == "size":
        return f'"{format_size(value)}"'
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "integer":
        return str(value)
    if kind == "names":
        return "[" + ", ".join(f'"{v}"' for v in value) + "]"
    return msgspec.json.encode(str(value)).decode()


def _limits(kind: str, metas: list[msgspec.Meta]) -> str:
    shown = {"duration": format_duration, "size": format_size}.get(kind, str)
    found = []
    for meta in metas:
        low, high = meta.ge, meta.le
        if low is not None and high is not None:
            found.append(f"{shown(int(low))} to {shown(int(high))}")
        elif low is not None:
            found.append(f"at least {shown(int(low))}")
        elif high is not None:
            found.append(f"at most {shown(int(high))}")
        if meta.max_length is not None:
            found.append(f"at most {meta.max_length} characters")
        if meta.pattern is not None:
            found.append(f"`{meta.pattern}`")
    return ", ".join(found)
