"""The configuration as people ask for it: what is in effect, and what could be set."""

from __future__ import annotations

from typing import Any

import msgspec

from caroni.config.describe import Key, keys, show_value
from caroni.config.load import Loaded
from caroni.config.schema import Config, Section


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One key in effect. ``text`` is the value as the file spells it, ``origin`` where it came from."""

    key: str
    value: Any
    text: str
    origin: str


def effective(loaded: Loaded) -> list[Setting]:
    """Every key of this role, in the order of the reference; rules come as ``agent.allow[0].manager``."""
    found: list[Setting] = []
    other = {"manager", "agent", "submitter"} - {loaded.config.role}
    for name, key in keys(Config).items():
        if name not in other:
            _collect(loaded.config, key, "", loaded.origins, found)
    return found


def _collect(table: Section, key: Key, prefix: str, origins: dict[str, str], found: list[Setting]) -> None:
    dotted = f"{prefix}{key.name}"
    value = getattr(table, key.name)
    if key.kind == "table":
        for sub in keys(_struct(key)).values():
            _collect(value, sub, f"{dotted}.", origins, found)
    elif key.kind == "tables" and value:
        for number, item in enumerate(value):
            for sub in keys(_struct(key)).values():
                _collect(item, sub, f"{dotted}[{number}].", origins, found)
    else:
        text = show_value(key.kind, value) or (
            "(none: nobody is allowed)" if key.kind == "tables" else "(none)"
        )
        origin = origins.get(dotted, "default")
        plain = str(value) if key.kind == "path" and value is not None else value
        found.append(Setting(key=dotted, value=plain, text=text, origin=origin))


def all_keys() -> list[dict[str, Any]]:
    """Every key that exists: name, kind, default, limits, meaning."""
    found: list[dict[str, Any]] = []

    def walk(struct: type[Section], prefix: str) -> None:
        for key in keys(struct).values():
            if key.struct is not None:
                walk(key.struct, f"{prefix}{key.name}{'[]' if key.kind == 'tables' else ''}.")
                continue
            found.append(
                {
                    "key": f"{prefix}{key.name}",
                    "kind": key.kind,
                    "required": key.required,
                    "default": key.default_text,
                    "choices": key.choices,
                    "limits": key.limits,
                    "meaning": key.description,
                }
            )

    walk(Config, "")
    return found


def _struct(key: Key) -> type[Section]:
    assert key.struct is not None
    return key.struct
