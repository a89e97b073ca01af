"""``--input name=value`` against types."""

from __future__ import annotations

import json

import pytest

from caroni.core import cwltypes
from caroni.errors import UsageError
from caroni.services.arguments import typed_arguments, untyped_arguments


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        ("string", "5", "5"),
        ("string", "", ""),
        ("string?", "null", "null"),
        ("int", "5", 5),
        ("int?", "null", None),
        ("double", "1e3", 1000.0),
        ("boolean", "true", True),
        ("string[]", '["a", "b"]', ["a", "b"]),
        ({"type": "enum", "symbols": ["yes", "no"]}, "yes", "yes"),
        ({"type": "record", "fields": {"a": "int"}}, '{"a": 1}', {"a": 1}),
        ("Any", "[1]", [1]),
        ("Any", "text", "text"),
    ],
)
def test_values(type_, text, value):
    given = typed_arguments([f"x={text}"], {"x": cwltypes.parse(type_)})
    assert json.loads(given["x"]) == value


def test_files(tmp_path):
    (tmp_path / "in.txt").write_text("abc")
    (value,) = typed_arguments(["x=in.txt"], {"x": "File"}, directory=tmp_path).values()
    assert json.loads(value) == {
        "class": "File", "location": (tmp_path / "in.txt").as_uri(), "basename": "in.txt", "size": 3,
    }  # fmt: skip
    with pytest.raises(UsageError, match="there is no file"):
        typed_arguments(["x=out.txt"], {"x": "File"}, directory=tmp_path)


@pytest.mark.parametrize(
    ("type_", "text"), [("int", "x"), ("int", "1.5"), ("boolean", "yes"), ("int[]", "1")]
)
def test_what_does_not_fit(type_, text):
    with pytest.raises(UsageError, match="expected"):
        typed_arguments([f"x={text}"], {"x": cwltypes.parse(type_)})


def test_untyped():
    given = untyped_arguments(["a=1", "b=text", "c=", 'd={"e": null}', "f=x=y"])
    assert {k: json.loads(v) for k, v in given.items()} == {
        "a": 1, "b": "text", "c": "", "d": {"e": None}, "f": "x=y",
    }  # fmt: skip
