"""Kinds of field: how one attribute of a message is read from and written to Protobuf, within bounds.

A :class:`Field` reads hostile input (and refuses it with ``MessageRejected``) and writes our own (where
a breach is our own bug: ``ValueError``, except that text for people is cut to its bound, because a long
error text must never make a message undeliverable). Counts are looked at before anything is iterated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

import msgspec
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from caroni.errors import MessageRejected
from caroni.wire import values
from caroni.wire.caroni_pb2 import JobParameter

#: Longest names (keys, job types, templates) and text for people, in characters.
MAX_NAME = 256
MAX_TEXT = 4096
MAX_TAIL = 16 * 1024
MAX_EXPLANATION = 128 * 1024
#: A log chunk, a revocation list: bytes.
MAX_BLOB = 1024 * 1024
#: Largest number of repeated things of one field.
MAX_COUNT = 4096

_MAX_INT = 2**63 - 1
_MAX_SECONDS = 100 * 366 * 86400
_MAX_INSTANT = 253_402_300_799

#: Enum values of newer peers that were taken as unspecified, by enum name.
unknown_enums: Counter[str] = Counter()


class Field(NamedTuple):
    """One attribute. ``read`` takes the Protobuf field's value, ``write`` gives what its constructor takes.

    ``always``: read and written even when it is empty, as base peers do. ``addition``: unknown to base
    peers. ``optional``: a message, or a scalar whose absence means something; read only when present.
    """

    name: str
    read: Callable[[Any], Any]
    write: Callable[[Any], Any]
    default: Any = None
    always: bool = False
    addition: bool = False
    optional: bool = False
    write_base: Callable[[Any], Any] | None = None


def _same(value: Any) -> Any:
    return value


def _limit(detail: str) -> MessageRejected:
    return MessageRejected("E_LIMIT", detail)


def uuid(name: str, *, required: bool = True, addition: bool = False) -> Field:
    """Exactly 16 bytes, or (where not required) none."""

    def read(value: bytes) -> bytes:
        if len(value) == 16 or (not required and not value):
            return value
        raise _limit(f"{name} has {len(value)} bytes instead of 16")

    def write(value: bytes) -> bytes:
        if len(value) == 16 or (not required and not value):
            return value
        raise ValueError(f"{name} has {len(value)} bytes instead of 16")

    return Field(name, read, write, b"", always=required, addition=addition)


def name(field: str, *, always: bool = False, addition: bool = False) -> Field:
    """A name: bounded, no NUL (no database keeps it)."""

    def read(value: str) -> str:
        if len(value) > MAX_NAME or "\0" in value:
            raise _limit(f"{field} is longer than {MAX_NAME} characters or holds a NUL")
        return value

    def write(value: str) -> str:
        if len(value) > MAX_NAME or "\0" in value:
            raise ValueError(f"{field} is longer than {MAX_NAME} characters or holds a NUL")
        return value

    return Field(field, read, write, "", always=always, addition=addition)


def clean_text(value: str, limit: int) -> str:
    """Text for people as it goes over the wire: cut, without NUL, half surrogates spelled out."""
    if "\0" in value:
        value = value.replace("\0", "\ufffd")
    if not value.isascii():
        value = value[:limit].encode("utf-8", "backslashreplace").decode()
    return value[:limit]


def text(field: str, limit: int = MAX_TEXT, *, always: bool = False, addition: bool = False) -> Field:
    """Text for people: cut when written, refused when too long."""

    def read(value: str) -> str:
        if len(value) > limit:
            raise _limit(f"{field} is longer than {limit} characters")
        return value.replace("\0", "\ufffd") if "\0" in value else value

    def write(value: str) -> str:
        return clean_text(value, limit)

    return Field(field, read, write, "", always=always, addition=addition)


def blob(field: str, limit: int = MAX_BLOB, *, always: bool = False) -> Field:
    """Bytes up to a bound."""

    def read(value: bytes) -> bytes:
        if len(value) > limit:
            raise _limit(f"{field} is longer than {limit} bytes")
        return value

    def write(value: bytes) -> bytes:
        if len(value) > limit:
            raise ValueError(f"{field} is longer than {limit} bytes")
        return value

    return Field(field, read, write, b"", always=always)


def number(field: str, *, addition: bool = False) -> Field:
    """A whole number from 0 that a 64-bit column can hold."""

    def read(value: int) -> int:
        if value > _MAX_INT:
            raise _limit(f"{field} does not fit 63 bits")
        return value

    return Field(field, read, _same, 0, addition=addition)


def flag(field: str, *, addition: bool = False) -> Field:
    """True or false."""
    return Field(field, _same, _same, False, addition=addition)


def fraction(field: str, *, addition: bool = False) -> Field:
    """0 to 1."""

    def read(value: float) -> float:
        if 0.0 <= value <= 1.0:
            return value
        raise _limit(f"{field} is not between 0 and 1")

    def write(value: float) -> float:
        return min(max(value, 0.0), 1.0)

    return Field(field, read, write, 0.0, addition=addition)


def optional_int(field: str) -> Field:
    """A number whose absence means something."""
    return Field(field, _same, _same, None, addition=True, optional=True)


def _micros(seconds: int, nanos: int, largest: int, field: str) -> int:
    if not (0 <= seconds <= largest and 0 <= nanos <= 999_999_999):
        raise _limit(f"{field} is out of range")
    return seconds * 1_000_000 + nanos // 1000


def duration(field: str, *, addition: bool = False) -> Field:
    """Microseconds, from 0 to about a century."""

    def read(value: Duration) -> int:
        return _micros(value.seconds, value.nanos, _MAX_SECONDS, field)

    def write(value: int) -> Duration:
        return Duration(seconds=value // 1_000_000, nanos=value % 1_000_000 * 1000)

    return Field(field, read, write, 0, addition=addition, optional=True)


def instant(field: str, *, addition: bool = False) -> Field:
    """Microseconds since the epoch."""

    def read(value: Timestamp) -> int:
        return _micros(value.seconds, value.nanos, _MAX_INSTANT, field)

    return Field(field, read, to_timestamp, 0, addition=addition, optional=True)


def to_timestamp(micros: int) -> Timestamp:
    """A Protobuf instant from microseconds since the epoch."""
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def from_timestamp(value: Timestamp) -> int:
    """Microseconds since the epoch; ``E_LIMIT`` outside 1970 to 9999."""
    return _micros(value.seconds, value.nanos, _MAX_INSTANT, "timestamp")


def enum(field: str, kind: type[IntEnum], *, always: bool = False, addition: bool = False) -> Field:
    """A member; a value of a newer peer is taken as unspecified and counted."""
    members = {int(member): member for member in kind}

    def read(value: int) -> IntEnum:
        member = members.get(value)
        if member is None:
            unknown_enums[kind.__name__] += 1
            member = members[0]
        return member

    return Field(field, read, int, members[0], always=always, addition=addition)


def names(field: str, limit: int = MAX_COUNT) -> Field:
    """A list of names."""
    one = name(field)

    def read(value: Any) -> tuple[str, ...]:
        if len(value) > limit:
            raise _limit(f"{field} has more than {limit} items")
        return tuple(map(one.read, value))

    def write(value: tuple[str, ...]) -> list[str]:
        if len(value) > limit:
            raise ValueError(f"{field} has more than {limit} items")
        return list(map(one.write, value))

    return Field(field, read, write, ())


def parameter_names(field: str) -> Field:
    """``JobParameter`` with the key alone; the value is present and empty, as base peers send it."""
    one = name(field)

    def read(value: Any) -> tuple[str, ...]:
        if len(value) > MAX_COUNT:
            raise _limit(f"{field} has more than {MAX_COUNT} items")
        return tuple([one.read(parameter.key) for parameter in value])

    def write(value: tuple[str, ...]) -> list[JobParameter]:
        if len(value) > MAX_COUNT:
            raise ValueError(f"{field} has more than {MAX_COUNT} items")
        return [JobParameter(key=one.write(key), value="") for key in value]

    return Field(field, read, write, ())


def parameters(field: str, part: Any) -> Field:
    """Named values, as ``part`` (``JobParameter`` or ``WorkFlowInput``); a name stands at most once."""
    key = name(field)

    def read(value: Any) -> dict[str, str]:
        if len(value) > MAX_COUNT:
            raise _limit(f"{field} has more than {MAX_COUNT} items")
        found = {
            key.read(p.key): values.from_wire(p.value, p.json_value if p.HasField("json_value") else None)
            for p in value
        }
        if len(found) != len(value):
            raise _limit(f"{field} names something twice")
        return found

    def write(value: dict[str, str]) -> list[Any]:
        if len(value) > MAX_COUNT:
            raise ValueError(f"{field} has more than {MAX_COUNT} items")
        made = []
        for one, content in value.items():
            plain, json_value = values.to_wire(content)
            made.append(part(key=key.write(one), value=plain, json_value=json_value))
        return made

    def write_base(value: dict[str, str]) -> list[Any]:
        return [part(key=key.write(k), value=values.to_base(v)) for k, v in value.items()]

    return Field(field, read, write, {}, write_base=write_base)


def mapping(field: str, item: Field, limit: int = MAX_COUNT, *, addition: bool = False) -> Field:
    """A map from names to what ``item`` reads."""
    key = name(field)

    def read(value: Any) -> dict[str, Any]:
        if len(value) > limit:
            raise _limit(f"{field} has more than {limit} items")
        return {key.read(k): item.read(v) for k, v in value.items()}

    def write(value: dict[str, Any]) -> dict[str, Any]:
        if len(value) > limit:
            raise ValueError(f"{field} has more than {limit} items")
        return {key.write(k): item.write(v) for k, v in value.items()}

    return Field(field, read, write, {}, addition=addition)


def digest(field: str) -> Field:
    """A SHA-256: 32 bytes."""

    def read(value: bytes) -> bytes:
        if len(value) != 32:
            raise _limit(f"{field} is no SHA-256")
        return value

    return Field(field, read, read, b"")


class Layout:
    """The fields of one structure: reads and builds it.

    A field that is absent or empty and need not be there costs one look: the structure's own default
    stands for it, in both directions.
    """

    def __init__(self, struct: type[msgspec.Struct], proto: Any, *fields: Field) -> None:
        self.struct = struct
        self.proto = proto
        self.fields = fields
        self._reads = tuple((f.name, f.read, f.always) for f in fields if not f.optional)
        self._optional_reads = tuple((f.name, f.read) for f in fields if f.optional)
        self._writes = tuple((f.name, f.write, f.always) for f in fields)
        self._base_writes = tuple(
            (f.name, f.write_base or f.write, f.always) for f in fields if not f.addition
        )
        self._presence = frozenset(f.name for f in fields if f.default is None and f.optional)

    def read(self, proto: Any) -> Any:
        """The structure from its Protobuf message.

        Raises:
            MessageRejected: ``E_LIMIT`` or ``E_PARSE``: a field is out of bounds.
        """
        found = {}
        for field, read, always in self._reads:
            value = getattr(proto, field)
            if value or always:
                found[field] = read(value)
        for field, read in self._optional_reads:
            if proto.HasField(field):
                found[field] = read(getattr(proto, field))
        return self.struct(**found)

    def build(self, struct: Any, *, base: bool = False) -> Any:
        """The Protobuf message; ``base`` leaves out what base peers do not know.

        Raises:
            ValueError: a field is out of bounds: our own bug.
            MessageRejected: a value is no JSON or too large.
        """
        made = {}
        for field, write, always in self._base_writes if base else self._writes:
            value = getattr(struct, field)
            if value or always or (value is not None and field in self._presence):
                made[field] = write(value)
        return self.proto(**made)

    def check(self) -> None:
        """Refuse a table that forgot a field, or whose default is not the structure's (once, at import)."""
        info = {field.name: field for field in msgspec.structs.fields(self.struct)}
        if (named := {f.name for f in self.fields}) != set(info):
            raise TypeError(f"{self.struct.__name__}: fields differ: {sorted(named ^ set(info))}")
        for f in self.fields:
            default = info[f.name].default
            if default is msgspec.NODEFAULT and info[f.name].default_factory is not msgspec.NODEFAULT:
                default = info[f.name].default_factory()
            if not f.always and default != f.default:
                raise TypeError(f"{self.struct.__name__}.{f.name}: the default is not {f.default!r}")


def part(field: str, layout: Layout, *, always: bool = False, addition: bool = False) -> Field:
    """A structure within a message; unless it is always there, None stands for its absence."""
    return Field(field, layout.read, layout.build, None, always, addition, optional=not always)


def parts(field: str, layout: Layout, limit: int = MAX_COUNT) -> Field:
    """A list of structures."""

    def read(value: Any) -> tuple[Any, ...]:
        if len(value) > limit:
            raise _limit(f"{field} has more than {limit} items")
        return tuple(map(layout.read, value))

    def write(value: tuple[Any, ...]) -> list[Any]:
        if len(value) > limit:
            raise ValueError(f"{field} has more than {limit} items")
        return list(map(layout.build, value))

    return Field(field, read, write, ())
