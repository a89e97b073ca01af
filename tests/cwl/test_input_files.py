from __future__ import annotations

import json
from pathlib import Path

import pytest

from caroni.core.inputs import InputError, bind_inputs
from caroni.core.plan import Plan, WorkflowInput
from caroni.cwl import load_inputs
from caroni.errors import DocumentError

PLAN = Plan(
    inputs=(
        WorkflowInput(name="message", type="string"),
        WorkflowInput(name="count", type="int", default="3"),
        WorkflowInput(name="file", type=["null", "File"]),
        WorkflowInput(name="more", type=["null", {"type": "array", "items": ["File", "Directory"]}]),
    )
)


def written(folder: Path, text: str, name: str = "inputs.yml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("inputs.yml", "message: no\ncount: 5\nunknown: [1]\n"),
        ("inputs.json", '{"message": "no", "count": 5, "unknown": [1]}'),
    ],
)
def test_values_are_typed_and_unknown_names_ignored(tmp_path: Path, name: str, text: str) -> None:
    assert load_inputs(written(tmp_path, text, name), PLAN) == {"message": '"no"', "count": "5"}


def test_an_empty_file_gives_nothing(tmp_path: Path) -> None:
    assert load_inputs(written(tmp_path, "# nothing yet\n"), PLAN) == {}


def test_null_waits_for_the_default(tmp_path: Path) -> None:
    given = load_inputs(written(tmp_path, "message: hi\ncount: null\nfile: ~\n"), PLAN)
    assert bind_inputs(PLAN, given) == {"message": '"hi"', "count": "3", "file": "null", "more": "null"}


def test_what_is_missing_is_found_when_bound(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='"message" is missing'):
        bind_inputs(PLAN, load_inputs(written(tmp_path, "count: 3"), PLAN))


def test_locations_are_meant_from_the_file(tmp_path: Path) -> None:
    text = """
message: hi
file: {class: File, path: "data/a b#1.txt"}
more:
- {class: Directory, location: ../d/}
- {class: File, location: "https://example.org/x.gz", basename: y.gz}
- {class: File, location: /etc/hostname, secondaryFiles: [{class: File, location: sub/z}]}
"""
    given = load_inputs(written(tmp_path, text), PLAN)
    here = tmp_path.as_uri()
    assert json.loads(given["file"]) == {
        "class": "File",
        "location": f"{here}/data/a%20b%231.txt",
        "basename": "a b#1.txt",
    }
    assert [one["location"] for one in json.loads(given["more"])] == [
        f"{tmp_path.parent.as_uri()}/d",
        "https://example.org/x.gz",
        "file:///etc/hostname",
    ]
    assert json.loads(given["more"])[1]["basename"] == "y.gz"
    assert json.loads(given["more"])[2]["secondaryFiles"][0]["location"] == f"{here}/sub/z"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("message: hi\ncount: many\n", 'inputs.yml:2:1: input count: expected int, got the string "many"'),
        ("message: hi\ncount: yes\n", 'got the string "yes"'),
        ("message: [a]\n", "inputs.yml:1:1: input message: expected string, got an array of 1"),
        ("message: ~\n", "expected string, got null"),
        ("file: {class: File}\n", "a File without location or contents"),
        ("more: [{class: File, location: x}, 3]\n", "input more[1]: expected File | Directory, got 3"),
        ("- message: hi\n", "an input file is a mapping"),
        ("message: !!python/name:os.system\n", "tags are not allowed"),
        ("message: [\n", "not YAML"),
        ("cwl:requirements: []\n", "cwl:requirements in an input file is not supported yet"),
    ],
)
def test_what_is_wrong_has_a_place(
    tmp_path: Path, text: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DocumentError) as caught:
        load_inputs("inputs.yml", PLAN)
    assert says in str(caught.value)
    assert str(caught.value).startswith("inputs.yml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"message": "a", "message": "b"}', 'the name "message" is there twice'),
        ('{"message": NaN}', "not JSON"),
        ("message: hi", "not JSON"),
    ],
)
def test_json_files_are_strict(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DocumentError, match=says):
        load_inputs(written(tmp_path, text, "inputs.json"), PLAN)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="no such file"):
        load_inputs(tmp_path / "nothing.yml", PLAN)
    with pytest.raises(DocumentError, match="not a regular file"):
        load_inputs(tmp_path, PLAN)
