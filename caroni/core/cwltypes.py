"""CWL types and the values that fit them (CWL v1.2, Process: data model, type checking).

A type is kept in its expanded JSON form (:data:`~caroni.core.plan.CwlType`); :func:`parse` makes it from
what people write (``string?``, ``int[]``, ``{type: array, items: File}``). A value travels as JSON text:
:func:`check_json` is on the path of every input and output, so scalars are decoded and checked in one step.

Three rules differ from Python's: a boolean is not a number, an int also fits ``long``, ``float`` and
``double``, and ``Any`` is everything but null.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, cast

import msgspec

from caroni.core.locations import file_value
from caroni.core.plan import CwlType
from caroni.core.valuewords import bounded, plain, quoted, show
from caroni.errors import CaroniError

#: Types that stand for themselves.
SIMPLE = frozenset(
    {"null", "boolean", "int", "long", "float", "double", "string", "File", "Directory", "Any"}
)

#: Deepest nesting of a type, and most members of a union, enum or record.
MAX_TYPE_DEPTH = 32
MAX_TYPE_MEMBERS = 10_000

_INT = (-(2**31), 2**31 - 1)
_LONG = (-(2**63), 2**63 - 1)
_WIDER = {
    "int": frozenset({"long", "float", "double"}),
    "long": frozenset({"float", "double"}),
    "float": frozenset({"double"}),
    "double": frozenset({"float"}),
}


class BadType(CaroniError):
    """What was written as a type is not a CWL type."""


class ValueMismatch(CaroniError):
    """A value does not fit its type. ``path`` is where in the value (``reads[2].name``), "" is its root."""

    def __init__(self, path: str, expected: str, got: str) -> None:
        self.path = path
        self.expected = expected
        self.got = got
        super().__init__(f"{bounded(path) + ': ' if path else ''}expected {expected}, got {got}")

    def under(self, name: str) -> ValueMismatch:
        """The same mismatch, seen from outside of the thing called ``name``."""
        joint = "" if not self.path or self.path.startswith("[") else "."
        return ValueMismatch(f"{name}{joint}{self.path}", self.expected, self.got)


# --- types ---------------------------------------------------------------------------------------


def parse(spec: object) -> CwlType:
    """Expand a type as people write it.

    Args:
        spec: ``"int"``, ``"string?"``, ``"File[]?"``, a list of alternatives, or a mapping with ``type``
            ``array`` (``items``), ``enum`` (``symbols``) or ``record`` (``fields``, as a list or by name).
            A mapping whose ``type`` is itself a type stands for that type.

    Raises:
        BadType: it is none of these; the text says what is wrong.
    """
    return _parse(spec, 0)


def _parse(spec: object, depth: int) -> CwlType:
    if depth > MAX_TYPE_DEPTH:
        raise BadType(f"the type is nested more than {MAX_TYPE_DEPTH} deep")
    if isinstance(spec, str):
        return _parse_word(spec, depth)
    if isinstance(spec, list | tuple):
        return _parse_union(list(spec), depth)
    if isinstance(spec, Mapping):
        return _parse_mapping(spec, depth)
    if spec is None:
        raise BadType("a type is missing (for no value write 'null' in quotes)")
    raise BadType(f"{show(spec)} is not a type")


def _parse_word(word: str, depth: int) -> CwlType:
    if word in SIMPLE:
        return word
    if word.endswith("?"):
        return _parse_union(["null", word[:-1]], depth)
    if word.endswith("[]"):
        return {"type": "array", "items": _parse(word[:-2], depth + 1)}
    raise BadType(f"unknown type {show(word)}{_nearest_type(word)}")


def _nearest_type(word: str) -> str:
    known = {
        "str": "string", "text": "string", "integer": "int", "bool": "boolean", "number": "double",
        "file": "File", "directory": "Directory", "dir": "Directory", "any": "Any", "none": "null",
    }  # fmt: skip
    found = known.get(word.lower()) or next((t for t in SIMPLE if t.lower() == word.lower()), None)
    return f"; did you mean {found}?" if found else f"; known are {', '.join(sorted(SIMPLE))}"


def _parse_union(specs: list[object], depth: int) -> CwlType:
    if not specs or len(specs) > MAX_TYPE_MEMBERS:
        raise BadType(f"a list of types needs 1 to {MAX_TYPE_MEMBERS} members")
    members: list[CwlType] = []
    for spec in specs:
        parsed = _parse(spec, depth + 1)
        for member in parsed if isinstance(parsed, list) else [parsed]:
            if member not in members:
                members.append(member)
    return members[0] if len(members) == 1 else members


def _parse_mapping(spec: Mapping[Any, Any], depth: int) -> CwlType:
    kind = spec.get("type")
    if kind == "array":
        if "items" not in spec:
            raise BadType("an array type needs 'items'")
        return {"type": "array", "items": _parse(spec["items"], depth + 1)}
    if kind == "enum":
        symbols = spec.get("symbols")
        if (
            not isinstance(symbols, list | tuple)
            or not 0 < len(symbols) <= MAX_TYPE_MEMBERS
            or not all(isinstance(s, str) for s in symbols)
        ):
            raise BadType("an enum type needs 'symbols', a list of strings")
        return {"type": "enum", "symbols": list(symbols)}
    if kind == "record":
        return {"type": "record", "fields": _parse_fields(spec.get("fields"), depth)}
    if "type" not in spec:
        raise BadType("a type written as a mapping needs 'type'")
    return _parse(kind, depth + 1)


def _parse_fields(fields: object, depth: int) -> list[dict[str, object]]:
    pairs: list[tuple[object, object]]
    if fields is None:
        pairs = []
    elif isinstance(fields, Mapping):
        pairs = list(fields.items())
    elif isinstance(fields, list | tuple) and all(isinstance(f, Mapping) for f in fields):
        pairs = [(f.get("name"), f) for f in fields]
    else:
        raise BadType("a record's 'fields' is a list of {name, type} or a mapping of name to type")
    if len(pairs) > MAX_TYPE_MEMBERS:
        raise BadType(f"a record has more than {MAX_TYPE_MEMBERS} fields")
    parsed: dict[str, dict[str, object]] = {}
    for name, spec in pairs:
        if not isinstance(name, str) or not name:
            raise BadType("a record's field has no name")
        if name in parsed:
            raise BadType(f"a record has the field {show(name)} twice")
        parsed[name] = {"name": name, "type": _parse(spec, depth + 1)}
    return list(parsed.values())


def is_optional(type_: CwlType) -> bool:
    """Whether null fits, so that a value may be absent."""
    return type_ == "null" or (isinstance(type_, list) and "null" in type_)


def describe(type_: CwlType) -> str:
    """The type as people write it, bounded: ``string?``, ``int[]``."""
    return bounded(_describe(type_, 0))


def _describe(type_: CwlType, depth: int) -> str:
    if isinstance(type_, str):
        return type_
    if depth > 4:
        return "..."
    if isinstance(type_, list):
        members = [m for m in type_ if m != "null"]
        text = " | ".join(_describe(m, depth + 1) for m in members[:8])
        if len(members) > 8:
            text += " | ..."
        if len(members) == len(type_):
            return text
        return f"({text})?" if len(members) > 1 else f"{text}?"
    kind = type_.get("type")
    if kind == "array":
        items = cast("CwlType", type_["items"])
        text = _describe(items, depth + 1)
        return f"({text})[]" if isinstance(items, list) and " | " in text else f"{text}[]"
    if kind == "enum":
        symbols = cast("list[str]", type_["symbols"])
        return f"enum ({', '.join(symbols[:8])}{', ...' if len(symbols) > 8 else ''})"
    fields = _fields(type_)
    inner = ", ".join(f"{name}: {_describe(t, depth + 1)}" for name, t in fields[:8])
    return f"record {{{inner}{', ...' if len(fields) > 8 else ''}}}"


def _fields(record: Mapping[str, object]) -> list[tuple[str, CwlType]]:
    fields = cast("list[dict[str, Any]]", record.get("fields") or [])
    return [(f["name"], f["type"]) for f in fields]


# --- links ---------------------------------------------------------------------------------------


def assignable(source: CwlType, sink: CwlType, *, strict: bool = False) -> bool:
    """Whether a link from ``source`` to ``sink`` can work.

    Args:
        source: what the upstream parameter declares.
        sink: what the downstream parameter declares.
        strict: every value of ``source`` must fit. Otherwise it is enough that some value other than
            null may fit, because a link whose values turn out not to fit fails when it is used.
    """
    if isinstance(source, list):
        if strict:
            return all(assignable(s, sink, strict=True) for s in source)
        return any(assignable(s, sink) for s in source if s != "null") or (
            all(s == "null" for s in source) and is_optional(sink)
        )
    if isinstance(sink, list):
        return any(assignable(source, s, strict=strict) for s in sink)
    if source == sink:
        return True
    if source == "Any":
        return not strict and sink != "null"
    if sink == "Any":
        return source != "null"
    if isinstance(source, str):
        if isinstance(sink, str):
            return sink in _WIDER.get(source, ())
        return source == "string" and sink.get("type") == "enum" and not strict
    kind = source.get("type")
    if isinstance(sink, str):
        return kind == "enum" and sink == "string"
    if kind != sink.get("type"):
        return False
    if kind == "array":
        items, wanted = cast("CwlType", source["items"]), cast("CwlType", sink["items"])
        return assignable(items, wanted, strict=strict)
    if kind == "enum":
        ours, theirs = (set(cast("list[str]", t["symbols"])) for t in (source, sink))
        return ours <= theirs if strict else bool(ours & theirs)
    has = dict(_fields(source))
    return all(
        assignable(has[name], wanted, strict=strict) if name in has else is_optional(wanted)
        for name, wanted in _fields(sink)
    )


# --- values --------------------------------------------------------------------------------------


def check(value: object, type_: CwlType) -> None:
    """Check a decoded value.

    Raises:
        ValueMismatch: it does not fit; ``path`` names the place inside the value.
    """
    try:
        _check(value, type_, "")
    except RecursionError:
        raise ValueMismatch("", describe(type_), "a value that is nested too deeply") from None


def fits(value: object, type_: CwlType) -> bool:
    """Whether :func:`check` passes."""
    try:
        check(value, type_)
    except ValueMismatch:
        return False
    return True


def _check(value: object, type_: CwlType, path: str) -> None:
    if isinstance(type_, str):
        test = _TESTS.get(type_)
        if test is None:
            raise BadType(f"unknown type {show(type_)}")
        if not test(value):
            raise ValueMismatch(path, type_, plain(value))
        if type_ in ("File", "Directory"):
            _check_file(cast("dict[str, object]", value), type_, path)
    elif isinstance(type_, list):
        _check_union(value, type_, path)
    else:
        kind = type_.get("type")
        if kind == "array":
            if not isinstance(value, list):
                raise ValueMismatch(path, describe(type_), plain(value))
            items = cast("CwlType", type_["items"])
            for index, item in enumerate(value):
                _check(item, items, f"{path}[{index}]")
        elif kind == "enum":
            if value not in cast("list[object]", type_["symbols"]) or not isinstance(value, str):
                raise ValueMismatch(path, describe(type_), plain(value))
        elif kind == "record":
            _check_record(value, type_, path)
        else:
            raise BadType(f"unknown type {show(type_)}")


def _check_union(value: object, members: list[CwlType], path: str) -> None:
    """The first member that fits is meant (CWL: data model, unions)."""
    deepest: ValueMismatch | None = None
    last: ValueMismatch | None = None
    for member in members:
        try:
            return _check(value, member, path)
        except ValueMismatch as error:
            last = error
            if len(error.path) > len(path) and (deepest is None or len(error.path) > len(deepest.path)):
                deepest = error
    # a fault inside of one alternative says more than "none of them"
    if deepest is not None:
        raise deepest
    optional = last is not None and len(members) == 2 and members[0] == "null"
    raise ValueMismatch(path, describe(members), last.got if last and optional else plain(value))


def _check_record(value: object, type_: dict[str, object], path: str) -> None:
    if not isinstance(value, dict):
        raise ValueMismatch(path, describe(type_), plain(value))
    known = _fields(type_)
    for name, wanted in known:
        where = f"{path}.{name}" if path else name
        if name not in value and not is_optional(wanted):
            raise ValueMismatch(where, describe(wanted), "nothing (the field is missing)")
        _check(value.get(name), wanted, where)
    if len(value) > len(known):
        names = {name for name, _ in known}
        extra = next((k for k in value if k not in names), None)
        if extra is not None:
            raise ValueMismatch(path, describe(type_), f"a record with the unknown field {show(extra)}")


_FILE_TEXTS = ("location", "path", "basename", "dirname", "nameroot", "nameext", "checksum", "contents")


def _check_file(value: dict[str, object], kind: str, path: str) -> None:
    """CWL: Process, File and Directory: a location, or a literal (``contents`` / ``listing``)."""
    literal = "contents" if kind == "File" else "listing"
    if not any(value.get(field) is not None for field in ("location", "path", literal)):
        raise ValueMismatch(path, kind, f"a {kind} without location or {literal}")
    for field in _FILE_TEXTS:
        text = value.get(field)
        if text is not None and not isinstance(text, str):
            raise ValueMismatch(f"{path}.{field}" if path else field, "string", plain(text))
    for field in ("secondaryFiles", "listing"):
        entries = value.get(field)
        if entries is not None:
            where = f"{path}.{field}" if path else field
            _check(entries, {"type": "array", "items": ["File", "Directory"]}, where)


def _integer(low: int, high: int) -> Callable[[object], bool]:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high


def _number(value: object) -> bool:
    # x - x is nan for infinities and nan: JSON has neither
    return not isinstance(value, bool) and (
        isinstance(value, int) or (isinstance(value, float) and value - value == 0)
    )


def _object_of(kind: str) -> Callable[[object], bool]:
    return lambda v: isinstance(v, dict) and v.get("class") == kind


_TESTS: dict[str, Callable[[object], bool]] = {
    "null": lambda v: v is None,
    "boolean": lambda v: isinstance(v, bool),
    "int": _integer(*_INT),
    "long": _integer(*_LONG),
    "float": _number,
    "double": _number,
    "string": lambda v: isinstance(v, str),
    "File": _object_of("File"),
    "Directory": _object_of("Directory"),
    "Any": lambda v: v is not None,
}


# --- JSON text -----------------------------------------------------------------------------------

_decode_any = msgspec.json.Decoder().decode
_SCALARS: dict[str, Callable[[str], object]] = {
    "null": msgspec.json.Decoder(None).decode,
    "boolean": msgspec.json.Decoder(bool).decode,
    "int": msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=_INT[0], le=_INT[1])]).decode,
    "long": msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=_LONG[0], le=_LONG[1])]).decode,
    "float": msgspec.json.Decoder(float).decode,
    "double": msgspec.json.Decoder(float).decode,
    "string": msgspec.json.Decoder(str).decode,
}


def check_json(text: str, type_: CwlType) -> None:
    """Check a value given as JSON text (RFC 8259, without NaN and without duplicate names).

    Raises:
        ValueMismatch: it is not JSON, or it does not fit.
    """
    scalar = type_
    if isinstance(scalar, list) and len(scalar) == 2 and scalar[0] == "null":
        if text == "null":
            return
        scalar = scalar[1]
    if isinstance(scalar, str):
        decode = _SCALARS.get(scalar)
        if decode is not None:
            try:
                decode(text)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                # fall through: the long way finds the words, and padded nulls
                pass
            else:
                return
    try:
        value = decode_json(text)
    except ValueError as error:
        raise ValueMismatch("", describe(type_), f"text that is not JSON ({error})") from None
    check(value, type_)


def decode_json(text: str) -> Any:
    """The value of strict JSON text.

    Raises:
        ValueError: malformed, NaN or infinite, too deep, a name twice in one object, a lone surrogate.
    """
    try:
        value = _decode_any(text)
        if "{" in text:
            # msgspec keeps the last of two equal names; two readers must not see two values
            json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise ValueError(str(error)) from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(n for n in found if names.count(n) > 1)
        raise ValueError(f"the name {show(twice)} is there twice")
    return found


def encode_json(value: object) -> str:
    """JSON text of a value, compact.

    Raises:
        ValueMismatch: it has no JSON form (NaN, infinity, a lone surrogate, too deep).
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (ValueError, TypeError, RecursionError):
        raise ValueMismatch("", "a value that JSON can hold", plain(value)) from None
    return text


# --- values on a command line --------------------------------------------------------------------


def text_to_value(text: str, type_: CwlType, base: str = "") -> str:
    """JSON text for a value written on a command line (``--input key=value``).

    Strings are taken as they are; numbers, booleans and enum symbols by their spelling; a File or Directory
    as a path or URI; arrays, records and (where it is JSON) ``Any`` as JSON. Of several alternatives the
    first that fits is meant, but ``string`` comes last. ``null`` is null where there is no string to mean.

    Args:
        text: what stands after ``=``.
        type_: the input's type.
        base: absolute directory against which relative paths are resolved.

    Raises:
        ValueMismatch: it does not fit.
    """
    members = type_ if isinstance(type_, list) else [type_]
    for member in sorted(members, key=_rank):
        if member == "null" and "string" in members:
            continue
        for value in _readings(text, member, base):
            if fits(value, member):
                return encode_json(value)
    if len(members) == 1 or (len(members) == 2 and members[0] == "null"):
        _explain(text, members[-1], type_, base)
    raise ValueMismatch("", describe(type_), quoted(text))


def _rank(member: CwlType) -> int:
    return {"null": 0, "Any": 3, "string": 4}.get(member, 1) if isinstance(member, str) else 2


def _readings(text: str, member: CwlType, base: str) -> Iterator[object]:
    """What ``text`` may mean as ``member``, the likeliest first."""
    if member == "string" or (isinstance(member, dict) and member.get("type") == "enum"):
        yield text
        return
    try:
        yield decode_json(text)
    except ValueError:
        if member in ("File", "Directory") and text:
            yield file_value(text, member, base)
        elif member == "Any":
            yield text


def _explain(text: str, member: CwlType, type_: CwlType, base: str) -> None:
    """Raise what is wrong inside of a structured value, where that says more."""
    if not isinstance(member, dict):
        return
    for value in _readings(text, member, base):
        _check(value, member, "")
    if member.get("type") != "enum":
        raise ValueMismatch("", f"{describe(type_)} as JSON", quoted(text))
