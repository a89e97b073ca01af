"""One fully filled message of every type, and a Hypothesis strategy for each."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from caroni.core import messages as m
from caroni.wire.rules import RULES

KINDS = tuple(RULES)

_AT = 1_795_500_000_123_456
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
).map(lambda value: msgspec.json.encode(value).decode())
_NAME = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_DICT_VALUES = {
    "parameters": _JSON,
    "inputs": _JSON,
    "outputs": _JSON,
    "manifest": st.binary(min_size=32, max_size=32),
    "step_counts": st.integers(0, 2**32 - 1),
    "hints": _NAME,
}
_SMALL = {
    "round",
    "attempt",
    "queue_depth",
    "template_revision",
    "line",
    "column",
    "page",
    "page_size",
    "pages",
}
_DURATIONS = {"max_runtime", "lost_after", "retry_after", "ttl", "max_offline", "offline_for", "draining_for"}
_DURATIONS |= {"wall", "cpu"}
_MAYBE_EMPTY = {"site_uuid", "boot_id", "submit_uuid", "request_uuid", "workflow_uuid"}


def strategy(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Any message of a kind that the wire can carry."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: _field(kind, name, hints[name]) for name in kind.__struct_fields__})


def _field(kind: type, name: str, hint: Any) -> st.SearchStrategy[Any]:
    if name in ("data", "crl_der"):
        return st.binary(max_size=50)
    if hint is bytes:
        uuid = st.binary(min_size=16, max_size=16)
        optional = name in _MAYBE_EMPTY and (
            kind in (m.WorkFlowStatusRequest, m.WorkFlowStatusUpdate, m.WorkFlowCreate)
            or name in ("site_uuid", "boot_id")
        )
        return uuid | st.just(b"") if optional else uuid
    if hint is str:
        return _NAME
    if hint is bool:
        return st.booleans()
    if hint is float:
        return st.floats(0.0, 1.0)
    if hint is int:
        largest = 2**63 - 1
        if name in _SMALL or (name == "max_bytes"):
            largest = 2**32 - 1
        elif name in _DURATIONS:
            largest = 100 * 366 * 86400 * 1_000_000
        elif name.endswith("_at") or name == "expiration":
            largest = 253_402_300_799 * 1_000_000
        return st.integers(0, largest)
    if hint == int | None:
        return st.none() | st.integers(-(2**31), 2**31 - 1)
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return st.sampled_from(list(hint))
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return strategy(hint)
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        return st.lists(_NAME if item is str else strategy(item), max_size=3).map(tuple)
    if get_origin(hint) is dict:
        return st.dictionaries(_NAME, _DICT_VALUES[name], max_size=3)
    return st.none() | strategy(next(a for a in get_args(hint) if a is not type(None)))


def filled(kind: type[msgspec.Struct]) -> Any:
    """A message of a kind with something in every field; single-entry maps, so that bytes are fixed."""
    hints = get_type_hints(kind)
    return kind(**{name: _sample(name, hints[name], i) for i, name in enumerate(kind.__struct_fields__)})


def _sample(name: str, hint: Any, index: int) -> Any:
    if name in ("data", "crl_der"):
        return b"some bytes"
    if hint is bytes:
        return bytes(range(index, index + 16))
    if hint is str:
        return f"{name} é"
    if hint is bool:
        return True
    if hint is float:
        return 0.25
    if hint is int:
        return _AT if name.endswith("_at") or name == "expiration" else 1_000_001 + index
    if hint == int | None:
        return -9
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return list(hint)[-1]
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return filled(hint)
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        return ("first", "second") if item is str else (filled(item),)
    if get_origin(hint) is dict:
        values = {"manifest": bytes(range(32)), "step_counts": 7, "hints": "4"}
        if name in values:
            return {"key": values[name]}
        return {"text": '"plain"', "number": "12.50", "nothing": "null", "list": "[1, 2]", "odd": '"\\u0041"'}
    return filled(next(a for a in get_args(hint) if a is not type(None)))
