from __future__ import annotations

import os
from pathlib import Path

import pytest

from caroni.cwl import Bundle, load
from caroni.cwl.yamldoc import MAX_BYTES
from caroni.errors import DocumentError

MAIN = """cwlVersion: v1.2
class: Workflow
inputs: {message: string}
outputs: []
steps:
  a:
    run: %s
    in: {text: message}
    out: [out]
"""

TOOL = """cwlVersion: v1.2
class: Operation
hints: [{class: CaroniRequirement, CaroniJobName: echo}]
inputs: {text: string}
outputs: {out: string}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "work flow"
    (inner / "tools").mkdir(parents=True)
    (inner / "tools" / "echo.cwl").write_text(TOOL)
    (tmp_path / "outside.cwl").write_text(TOOL)
    return inner


def write(folder: Path, run: str) -> Path:
    path = folder / "main.cwl"
    path.write_text(MAIN % run)
    return path


def test_the_files_that_steps_run_come_along(folder: Path) -> None:
    (folder / "unused.cwl").write_text("not: used")
    bundle = Bundle.from_path(write(folder, "tools/echo.cwl"))
    assert bundle.main == "main.cwl"
    assert set(bundle.documents) == {"main.cwl", "tools/echo.cwl"}
    assert bundle.origin == folder.as_uri()
    assert load(bundle).steps[0].job_type == "echo"


def test_a_relative_path_of_the_main_document_will_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "./tools/../tools/echo.cwl#main")
    monkeypatch.chdir(folder)
    bundle = Bundle.from_path("main.cwl")
    assert set(bundle.documents) == {"main.cwl", "tools/echo.cwl"}
    assert bundle.origin == folder.as_uri()


def test_imports_and_includes_come_along_from_where_they_are_named(folder: Path) -> None:
    (folder / "tools" / "echo.cwl").write_text(
        TOOL.replace("{text: string}", "{text: {type: {$import: types/text.yml}}}")
        + "doc: {$include: words.txt}\n"
    )
    (folder / "tools" / "types").mkdir()
    (folder / "tools" / "types" / "text.yml").write_text(
        "type: array\nitems: string\ndoc: {$include: more.txt}\n"
    )
    (folder / "tools" / "types" / "more.txt").write_text("plain words")
    (folder / "tools" / "words.txt").write_text("{ not: [yaml")
    main = write(folder, "tools/echo.cwl")
    main.write_text(main.read_text().replace("message: string", "message: 'string[]'"))
    bundle = Bundle.from_path(main)
    assert set(bundle.documents) == {
        "main.cwl",
        "tools/echo.cwl",
        "tools/types/text.yml",
        "tools/types/more.txt",
        "tools/words.txt",
    }
    assert load(bundle).steps[0].inputs[0].type == {"type": "array", "items": "string"}


@pytest.mark.parametrize(
    "run", ["../outside.cwl", "tools/../../outside.cwl", "/etc/passwd", "'%2e%2e/outside.cwl'"]
)
def test_nothing_outside_of_the_folder_is_read(folder: Path, run: str) -> None:
    with pytest.raises(DocumentError, match=r"main\.cwl:7:5: .* is outside of the workflow's folder"):
        Bundle.from_path(write(folder, run))


def test_a_link_that_leads_out_is_not_followed(folder: Path) -> None:
    (folder / "tools" / "link.cwl").symlink_to("../../outside.cwl")
    with pytest.raises(DocumentError, match="a link that leads out of the workflow's folder"):
        Bundle.from_path(write(folder, "tools/link.cwl"))


@pytest.mark.parametrize("run", ["http://example.org/x.cwl", "file:///etc/passwd"])
def test_addresses_are_left_out_and_refused_when_the_plan_is_made(folder: Path, run: str) -> None:
    bundle = Bundle.from_path(write(folder, run))
    assert set(bundle.documents) == {"main.cwl"}
    with pytest.raises(DocumentError, match="only files of the workflow's own folder are used"):
        load(bundle)


def test_a_missing_file_is_named_with_the_line_that_names_it(folder: Path) -> None:
    with pytest.raises(DocumentError, match=r'main\.cwl:7:5: "tools/eco.cwl": No such file'):
        Bundle.from_path(write(folder, "tools/eco.cwl"))
    with pytest.raises(DocumentError, match=r"nothing\.cwl: No such file"):
        Bundle.from_path(folder / "nothing.cwl")


def test_what_is_no_regular_file_is_not_opened(folder: Path) -> None:
    os.mkfifo(folder / "tools" / "pipe.cwl")
    with pytest.raises(DocumentError, match="not a regular file"):
        Bundle.from_path(write(folder, "tools/pipe.cwl"))
    with pytest.raises(DocumentError, match="not a regular file"):
        Bundle.from_path(folder)


def test_size_and_encoding_have_limits(folder: Path) -> None:
    path = write(folder, "tools/echo.cwl")
    (folder / "tools" / "echo.cwl").write_bytes(b"\xff\xfe")
    with pytest.raises(DocumentError, match=r"not UTF-8 \(byte 0\)"):
        Bundle.from_path(path)
    with (folder / "tools" / "echo.cwl").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(DocumentError, match="larger than 16 MiB"):
        Bundle.from_path(path)


def test_files_that_name_each_other_are_read_once(folder: Path) -> None:
    other = MAIN % "main.cwl"
    (folder / "other.cwl").write_text(other)
    bundle = Bundle.from_path(write(folder, "other.cwl"))
    assert set(bundle.documents) == {"main.cwl", "other.cwl"}
    with pytest.raises(DocumentError, match="a subworkflow is not supported yet"):
        load(bundle)
