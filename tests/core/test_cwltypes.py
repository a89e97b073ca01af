from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caroni.core.cwltypes import (
    BadType,
    ValueMismatch,
    assignable,
    check,
    check_json,
    decode_json,
    describe,
    encode_json,
    fits,
    is_optional,
    parse,
    text_to_value,
)
from caroni.core.plan import CwlType

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
scalars = st.sampled_from(["null", "boolean", "int", "long", "float", "double", "string", "File", "Any"])


def records(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields = st.dictionaries(names, inner, max_size=3)
    return fields.map(lambda f: {"type": "record", "fields": [{"name": n, "type": t} for n, t in f.items()]})


def compound(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        inner.map(lambda t: {"type": "array", "items": t}),
        st.lists(inner, min_size=1, max_size=3),
        st.lists(names, min_size=1, max_size=3, unique=True).map(lambda s: {"type": "enum", "symbols": s}),
        records(inner),
    )


types = st.recursive(scalars, compound, max_leaves=6).map(parse)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)

SCALAR_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-100, 100),
    "double": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-100, 100),
    "string": texts,
    "File": st.builds(lambda n: {"class": "File", "location": f"file:///{n}"}, texts),
    "Any": json_values.filter(lambda v: v is not None),
}


def values(type_: CwlType) -> st.SearchStrategy[Any]:
    """Values that fit, written independently of the code under test."""
    if isinstance(type_, str):
        return SCALAR_VALUES[type_]
    if isinstance(type_, list):
        return st.one_of([values(member) for member in type_])
    kind: Any = type_
    if kind["type"] == "array":
        return st.lists(values(kind["items"]), max_size=3)
    if kind["type"] == "enum":
        return st.sampled_from(kind["symbols"])
    return st.fixed_dictionaries({f["name"]: values(f["type"]) for f in kind["fields"]})


@st.composite
def typed(draw: st.DrawFn) -> tuple[CwlType, Any]:
    type_ = draw(types)
    return type_, draw(values(type_))


@given(typed())
def test_what_is_made_for_a_type_fits_it_as_value_and_as_text(pair: tuple[CwlType, Any]) -> None:
    type_, value = pair
    check(value, type_)
    text = encode_json(value)
    check_json(text, type_)
    assert decode_json(text) == value


@given(types, json_values)
def test_value_and_text_are_judged_alike(type_: CwlType, value: object) -> None:
    text = encode_json(value)
    if fits(value, type_):
        check_json(text, type_)
        return
    with pytest.raises(ValueMismatch) as caught:
        check_json(text, type_)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


@given(types)
def test_parse_leaves_what_is_expanded_alone(type_: CwlType) -> None:
    assert parse(type_) == type_
    assert len(describe(type_)) < 120
    assert is_optional(type_) == fits(None, type_)


@given(types)
def test_a_type_can_be_linked_to_itself(type_: CwlType) -> None:
    assert assignable(type_, type_)
    assert assignable(type_, type_, strict=True) or "Any" in json.dumps(type_)


@given(types, types, st.data())
def test_a_strict_link_never_brings_a_value_that_does_not_fit(
    source: CwlType, sink: CwlType, data: st.DataObject
) -> None:
    if assignable(source, sink, strict=True):
        assert assignable(source, sink) or source == "null" or sink == "null"
        value = data.draw(values(source))
        if "record" not in json.dumps([source, sink]):  # a record sink is closed, a link may narrow it
            assert fits(value, sink)


@pytest.mark.parametrize(
    ("written", "expanded", "shown"),
    [
        ("string", "string", "string"),
        ("string?", ["null", "string"], "string?"),
        ("int[]", {"type": "array", "items": "int"}, "int[]"),
        ("File[]?", ["null", {"type": "array", "items": "File"}], "File[]?"),
        ("int[][]", {"type": "array", "items": {"type": "array", "items": "int"}}, "int[][]"),
        (["int", "string"], ["int", "string"], "int | string"),
        (["null", "int", "string"], ["null", "int", "string"], "(int | string)?"),
        (["string?", "int"], ["null", "string", "int"], "(string | int)?"),
        (["int", "int"], "int", "int"),
        ({"type": "string?"}, ["null", "string"], "string?"),
        ({"type": "array", "items": ["int", "string"]}, None, "(int | string)[]"),
        ({"type": "enum", "symbols": ["red", "green"]}, None, "enum (red, green)"),
        (
            {"type": "record", "fields": {"a": "int", "b": {"type": "string?"}}},
            {
                "type": "record",
                "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": ["null", "string"]}],
            },
            "record {a: int, b: string?}",
        ),
    ],
)
def test_parse_and_describe(written: object, expanded: CwlType | None, shown: str) -> None:
    parsed = parse(written)
    assert expanded is None or parsed == expanded
    assert describe(parsed) == shown


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("str", "did you mean string?"),
        ("integer", "did you mean int?"),
        ("file", "did you mean File?"),
        ("thing", "known are Any"),
        ("", "unknown type"),
        (None, "missing"),
        (3, "not a type"),
        ([], "1 to"),
        ({}, "needs 'type'"),
        ({"type": "array"}, "needs 'items'"),
        ({"type": "enum", "symbols": [1]}, "list of strings"),
        ({"type": "record", "fields": [{"type": "int"}]}, "no name"),
        (
            {"type": "record", "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}]},
            "twice",
        ),
        ("int" + "[]" * 100, "deep"),
    ],
)
def test_what_is_not_a_type_says_why(written: object, says: str) -> None:
    with pytest.raises(BadType) as caught:
        parse(written)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "type_", "says"),
    [
        ("true", "int", "expected int, got true (a boolean)"),
        ("1.0", "int", "expected int, got 1.0 (a float)"),
        ("2147483648", "int", "expected int, got 2147483648 (a long)"),
        ("9223372036854775808", "long", "expected long"),
        ("null", "Any", "expected Any, got null"),
        ('"x"', "int[]", 'expected int[], got the string "x"'),
        ('[1, "x"]', "int[]", '[1]: expected int, got the string "x"'),
        ('{"a": [{"b": null}]}', {"a": "Rec[]"}, 'a[0].b: expected int, got null'),
        ('{"a": [], "c": 1}', {"a": "Rec[]"}, 'unknown field "c"'),
        ("{}", {"a": "Rec[]"}, "a: expected record {b: int}[], got nothing (the field is missing)"),
        ('{"class": "File"}', "File", "a File without location or contents"),
        ('{"class": "Directory", "location": "x"}', "File", "expected File, got a Directory"),
        ('{"class": "File", "location": 3}', "File", "location: expected string"),
        (
            '{"class": "File", "path": "x", "secondaryFiles": [3]}',
            "File",
            "secondaryFiles[0]: expected File | Directory",
        ),
        ('"blue"', {"type": "enum", "symbols": ["red"]}, 'expected enum (red), got the string "blue"'),
        ("NaN", "float", "not JSON"),
        ("Infinity", "Any", "not JSON"),
        ("[1e999]", "Any", "not JSON"),
        ('{"a": 1, "a": 1}', "Any", 'the name "a" is there twice'),
        ('[{"a": {"b": 1, "b": 2}}]', "Any", 'the name "b" is there twice'),
        ('"\\ud800"', "string", "not JSON"),
        ("[" * 100_000, "Any", "nested too deeply"),
        ('{"a":' * 100_000, "Any", "nested too deeply"),
        ("'x'", "string", "not JSON"),
        ("", "string", "not JSON"),
        ("1 2", "int", "not JSON"),
        ("9" * 10_000, "int", "not JSON"),
    ],
)  # fmt: skip
def test_a_mismatch_says_where_what_and_got(text: str, type_: Any, says: str) -> None:
    if isinstance(type_, dict) and "a" in type_:
        rec = {"type": "record", "fields": {"b": "int"}}
        type_ = {"type": "record", "fields": {"a": {"type": "array", "items": rec}}}
    with pytest.raises(ValueMismatch) as caught:
        check_json(text, parse(type_))
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_huge_value_is_shown_short() -> None:
    for value in ("x" * 10**6, list(range(10**6)), {str(i): "y" * 1000 for i in range(1000)}, 10**5000):
        with pytest.raises(ValueMismatch) as caught:
            check(value, "boolean")
        assert len(str(caught.value)) < 200


def test_infinity_is_no_number() -> None:
    assert not fits(math.inf, "double")
    assert not fits(math.nan, "float")
    with pytest.raises(ValueMismatch):
        encode_json([math.nan])
    with pytest.raises(ValueMismatch):
        encode_json("\ud800")


@pytest.mark.parametrize(
    ("source", "sink", "can", "always"),
    [
        ("int", "long", True, True),
        ("int", "double", True, True),
        ("double", "int", False, False),
        ("string", "int", False, False),
        ("string", "File", False, False),
        ("string?", "string", True, False),
        ("string", "string?", True, True),
        ("null", "string", False, False),
        ("null", "string?", True, True),
        ("Any", "string", True, False),
        ("string", "Any", True, True),
        ("string?", "Any", True, False),
        (["int", "string"], "int", True, False),
        ("int", ["string", "int"], True, True),
        ("int[]", "long[]", True, True),
        ("int[]", "string[]", False, False),
        ("int", "int[]", False, False),
        ("string", {"type": "enum", "symbols": ["a"]}, True, False),
        ({"type": "enum", "symbols": ["a"]}, "string", True, True),
        ({"type": "enum", "symbols": ["a", "b"]}, {"type": "enum", "symbols": ["a"]}, True, False),
        ({"type": "enum", "symbols": ["b"]}, {"type": "enum", "symbols": ["a"]}, False, False),
        (
            {"type": "record", "fields": {"a": "int"}},
            {"type": "record", "fields": {"a": "long", "b": "string?"}},
            True,
            True,
        ),
        (
            {"type": "record", "fields": {"a": "int"}},
            {"type": "record", "fields": {"b": "string"}},
            False,
            False,
        ),
    ],
)
def test_links(source: object, sink: object, can: bool, always: bool) -> None:
    assert assignable(parse(source), parse(sink)) is can
    assert assignable(parse(source), parse(sink), strict=True) is always


@pytest.mark.parametrize(
    ("text", "type_", "value"),
    [
        ("5", "int", 5),
        ("5", "string", "5"),
        ("5", ["int", "string"], 5),
        ("five", ["int", "string"], "five"),
        ("5", "double", 5),
        ("1e3", "double", 1000.0),
        ("true", "boolean", True),
        ("null", "int?", None),
        ("null", "string?", "null"),
        ("", "string", ""),
        ("[1, 2]", "int[]", [1, 2]),
        ('{"a": 1}', {"type": "record", "fields": {"a": "int"}}, {"a": 1}),
        ("red", {"type": "enum", "symbols": ["red"]}, "red"),
        ("hello there", "Any", "hello there"),
        ('{"a": 1}', "Any", {"a": 1}),
        (
            "a b#.txt",
            "File",
            {"class": "File", "location": "file:///home/me/a%20b%23.txt", "basename": "a b#.txt"},
        ),
        ("../x", "File", {"class": "File", "location": "file:///home/x", "basename": "x"}),
        ("/etc/x", "File?", {"class": "File", "location": "file:///etc/x", "basename": "x"}),
        (
            "https://h/p/x.gz",
            "File",
            {"class": "File", "location": "https://h/p/x.gz", "basename": "x.gz"},
        ),
        ("d/", "Directory", {"class": "Directory", "location": "file:///home/me/d", "basename": "d"}),
        (
            '{"class": "File", "contents": "x"}',
            "File",
            {"class": "File", "contents": "x"},
        ),
    ],
)
def test_values_on_a_command_line(text: str, type_: object, value: object) -> None:
    assert json.loads(text_to_value(text, parse(type_), "/home/me")) == value


@pytest.mark.parametrize(
    ("text", "type_", "says"),
    [
        ("five", "int", 'expected int, got "five"'),
        ("", "int", 'expected int, got ""'),
        ("yes", "boolean", 'expected boolean, got "yes"'),
        ("5.5", "int?", 'expected int?, got "5.5"'),
        ('[1, "x"]', "int[]", "[1]: expected int"),
        ("1,2", "int[]", 'expected int[] as JSON, got "1,2"'),
        ("blue", {"type": "enum", "symbols": ["red"]}, "expected enum (red)"),
        ("", "File", "expected File"),
    ],
)
def test_a_wrong_value_on_a_command_line(text: str, type_: object, says: str) -> None:
    with pytest.raises(ValueMismatch) as caught:
        text_to_value(text, parse(type_))
    assert says in str(caught.value)


@given(st.text(), types)
def test_any_text_gives_a_value_that_fits_or_a_mismatch(text: str, type_: CwlType) -> None:
    try:
        value = text_to_value(text, type_, "/base")
    except ValueMismatch:
        return
    check_json(value, type_)
