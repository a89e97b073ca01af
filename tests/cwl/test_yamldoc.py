from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caroni.cwl import yamldoc
from caroni.cwl.yamldoc import MAX_DEPTH, read, read_with_places
from caroni.errors import DocumentError

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="ascii", min_codepoint=32), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(codec="ascii", min_codepoint=97), max_size=5), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(values)
def test_json_is_yaml(value: object) -> None:
    text = json.dumps(value, indent=1)
    assert read(text) == value
    assert read_with_places(text) == value


@given(st.text(max_size=60) | st.text("{}[]:,-&*!<>|?#'\"\n ab1", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    results = []
    for reader in (read, read_with_places):
        try:
            results.append(json.dumps(reader(text)))
        except DocumentError as error:
            results.append(str(error))
    assert results[0] == results[1]
    assert "\n" not in results[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("+3", 3),
        ("-", None),
        ("~", None),
        ("", None),
        ("True", True),
        ("tRue", "tRue"),
        ("'3'", "3"),
        ("=", "="),
        ("<<", "<<"),
        ("1.2.3", "1.2.3"),
        ("v1.2", "v1.2"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    expected: Any = [None] if text == "-" else value
    assert read(text) == expected


def test_keys_are_text() -> None:
    assert read("1: a\ntrue: b\n~: c\n1.5: d") == {"1": "a", "true": "b", "null": "c", "1.5": "d"}


def test_anchors_and_merges() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {y: 4, <<: [*a, {z: 5}]}\nd: [*a, *a]\n"
    expected = {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": {"x": 1, "y": 4, "z": 5},
        "d": [{"x": 1, "y": 2}, {"x": 1, "y": 2}],
    }
    assert read(text) == expected
    assert read_with_places(text) == expected


def test_places() -> None:
    tree = read_with_places("a: 1\nbb:\n  - x\n  - y: [3]\n")
    assert tree.lc.data == {"a": [0, 0, 0, 3], "bb": [1, 0, 2, 2]}
    assert tree["bb"].lc.data == {0: [2, 4], 1: [3, 4]}
    assert (tree["bb"][1].lc.line, tree["bb"][1].lc.col) == (3, 4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3", "f:3:1: the key \"a\" is there twice"),
        ('{"a": 1, "a": 2}', "the key \"a\" is there twice"),
        ("1: a\n'1': b", "the key \"1\" is there twice"),
        ("a: &x [*x]", "f:1:8: the alias *x stands inside of itself"),
        ("a: *x", "f:1:4: unknown alias *x"),
        ("a: !!str 3", "f:1:4: the tag \"tag:yaml.org,2002:str\" is refused"),
        ("a: !x 3", "tags are not allowed"),
        ("--- 1\n--- 2", "f:2:1: only one YAML document"),
        ("? [a]\n: 1", "a key must be a plain value"),
        ("a: &k {b: 1}\n? *k\n: 1", "a key must be a plain value"),
        ("<<: 3", "'<<' needs a mapping"),
        ("a: [1", "not YAML: did not find expected ',' or ']'"),
        ("a: .nan", "JSON has no infinities and no NaN"),
        ("a: 1e999", "is too large"),
        ("a\tb: \x07", "control characters are not allowed"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read(text, "f")
    assert says in str(caught.value)


def test_depth_counts_what_an_alias_stands_for() -> None:
    assert read("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(DocumentError, match="nested more than 64 deep"):
        read("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    half = MAX_DEPTH // 2
    deep = "a: &a " + "[" * half + "]" * half + "\n"
    assert read(deep + "b: " + "[" * (half - 1) + "*a" + "]" * (half - 1))
    with pytest.raises(DocumentError, match="nested more than 64 deep"):
        read(deep + "b: " + "[" * half + "*a" + "]" * half)
    chained = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 80))
    with pytest.raises(DocumentError, match="nested more than 64 deep"):
        read(chained)


def test_nodes_count_what_an_alias_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamldoc, "MAX_NODES", 100)
    assert len(read("[" + "1," * 98 + "1]")) == 99
    with pytest.raises(DocumentError, match="more than 100 nodes"):
        read("[" + "1," * 100 + "1]")
    listed = "a: &a [" + "1," * 29 + "1]\n"
    assert read(listed + "b: [*a, *a]")
    with pytest.raises(DocumentError, match="aliases counted"):
        read(listed + "b: [*a, *a, *a]")
