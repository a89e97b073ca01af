"""Job definitions: strict reading, places of faults, canonical form."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caroni.core.plan import HOUR, SECOND
from caroni.errors import DocumentError
from caroni.execution.definition import (
    Limits,
    decode_definition,
    inspect_definition,
    load_definition,
)

GOOD = """\
name: upper-case
version: "1"
description: one line
inputs:
  message: string
  times: int?
outputs:
  shouted: string[]
script: |
  echo hello
timeout: 1h
environment: {KEY: value, COUNT: 3}
success_codes: [2, 0]
outputs_from: stdout
limits: {stdout: 64KiB}
"""


def test_a_definition(tmp_path: Path) -> None:
    path = tmp_path / "upper.yaml"
    path.write_text(GOOD)
    definition = load_definition(path)
    assert definition == load_definition(GOOD)
    assert (definition.name, definition.version) == ("upper-case", "1")
    assert definition.inputs == {"message": "string", "times": ["null", "int"]}
    assert definition.outputs == {"shouted": {"type": "array", "items": "string"}}
    assert definition.timeout == HOUR
    assert definition.environment == {"KEY": "value", "COUNT": "3"}
    assert definition.success_codes == (0, 2)
    assert definition.limits == Limits(stdout=64 << 10)
    assert definition.executor == "local"
    assert definition.required_inputs == ("message",)
    assert definition.optional_inputs == ("times",)


def test_canonical_form_and_digest() -> None:
    definition = load_definition(GOOD)
    assert decode_definition(definition.canonical) == definition
    moved = load_definition("outputs_from: stdout\n" + GOOD.replace("outputs_from: stdout\n", ""))
    assert moved.digest == definition.digest
    assert len(definition.digest) == 64
    assert load_definition(GOOD.replace("1h", "2h")).digest != definition.digest
    with pytest.raises(DocumentError):
        decode_definition("{")


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 0, 0, "empty"),
        ("- a", 1, 1, "must be a mapping"),
        ("version: '1'\nscript: x", 1, 1, "'name' is missing"),
        ("name: x\nscrpt: y", 2, 1, "unknown key 'scrpt' in a job definition; did you mean 'script'?"),
        ("name: x\nzzz: y", 2, 1, "known are name, version"),
        ("name: x\nscript: y\ncommand: [z]", 1, 1, "exactly one of 'script'"),
        ("name: x", 1, 1, "exactly one of 'script'"),
        ("name: x\nname: y\nscript: z", 2, 1, "'name' is given twice"),
        ("name: a b\nscript: z", 1, 7, "letters, digits"),
        ("name: x\nscript: z\ninputs:\n  a-b: int", 4, 8, "'a-b' in inputs"),
        ("name: x\nscript: z\ninputs:\n  a: strin", 4, 6, "type of 'a': unknown type"),
        ("name: x\nscript: z\ninputs: [a]", 3, 9, "must be a mapping"),
        ("name: x\nscript: z\ntimeout: soon", 3, 10, "not a duration"),
        ("name: x\nscript: z\nlimits: {stdout: big}", 3, 18, "not a size"),
        ("name: x\nscript: z\nlimits: {stdot: 1}", 3, 10, "did you mean 'stdout'?"),
        ("name: x\nscript: z\nsuccess_codes: [256]", 3, 17, "no exit code"),
        ("name: x\nscript: z\nsuccess_codes: []", 3, 16, "could never succeed"),
        ("name: x\nscript: z\nenvironment: {BASH_ENV: x}", 3, 25, "not set by a definition"),
        ("name: x\nscript: z\nenvironment: {A=B: x}", 3, 20, "cannot be the name"),
        ("name: x\nscript: z\noutputs_from: fil", 3, 15, "'file' (outputs.json) or 'stdout'"),
        ("name: x\nscript: z\non_lost_contact: stop", 3, 18, "is 'keep' or {stop_after: DURATION}"),
        ("name: x\nscript: z\non_lost_contact: {}", 3, 18, "is 'keep' or {stop_after: DURATION}"),
        ("name: x\nscript: z\non_lost_contact: {stop_afer: 1h}", 3, 19, "did you mean 'stop_after'?"),
        ("name: x\nscript: z\non_lost_contact: {stop_after: 0s}", 3, 31, "longer than nothing"),
        ("name: x\nscript: z\non_lost_contact: {stop_after: soon}", 3, 31, "not a duration"),
        ("name: x\nscript: z\non_lost_contact: [keep]", 3, 18, "must be a mapping"),
        ("name: x\ncommand: ls", 2, 10, "must be a list"),
        ("name: x\ncommand: []", 2, 10, "command is empty"),
        ("name: x\nscript: ' '", 2, 9, "script is empty"),
        ("name: x\nscript:", 2, 8, "must be text"),
        ("name: &a x\nscript: *a", 1, 7, "anchors and aliases"),
        ("name: !!python/object:os.system x\nscript: y", 1, 7, "tags"),
        ("name: x\nscript: [", 2, 10, "not YAML"),
        ("name: x\nscript: y\n---\nname: z", 3, 1, "not YAML"),
        ('name: x\nscript: "a\\0b"', 2, 9, "NUL"),
        ("x: " + "[" * 5000, 1, 35, "nested too deeply"),
    ],
)
def test_faults_are_named_with_their_place(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load_definition(text)
    assert message in caught.value.message
    assert "\n" not in str(caught.value)
    if line:
        assert (caught.value.line, caught.value.column) == (line, column)


def test_faults_of_files(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    with pytest.raises(DocumentError, match=r"job\.yaml: cannot be read: No such file"):
        load_definition(path)
    path.write_bytes(b"name: \xff")
    with pytest.raises(DocumentError, match="not UTF-8"):
        load_definition(path)
    path.write_bytes(b"#" * (1 << 20) + b"#")
    with pytest.raises(DocumentError, match="larger than 1 MiB"):
        load_definition(path)
    path.write_text("name: x\nscrpt: y")
    with pytest.raises(DocumentError, match=r"job\.yaml:2:1: unknown key"):
        load_definition(path)


def test_durations_and_sizes() -> None:
    text = "name: x\nscript: 'true'\ntimeout: 1m30s\nlimits: {stdout: 2KiB}\n"
    read = load_definition(text)
    assert (read.timeout, read.limits.stdout) == (90 * SECOND, 2048)
    for bad in ("timeout: soon", "limits: {stdout: 1.5MiB}"):
        with pytest.raises(DocumentError, match="is not a"):
            load_definition(f"name: x\nscript: 'true'\n{bad}\n")


def test_what_happens_when_the_manager_is_silent() -> None:
    assert load_definition(GOOD).stop_after == 0
    assert load_definition(GOOD + "on_lost_contact: keep\n") == load_definition(GOOD)
    stopping = load_definition(GOOD + "on_lost_contact: {stop_after: 2h}\n")
    assert stopping.stop_after == 2 * HOUR
    assert decode_definition(stopping.canonical) == stopping


def test_a_definition_kept_before_there_was_that_key() -> None:
    old = load_definition(GOOD).canonical.replace('"stop_after":0,', "")
    assert "stop_after" not in old
    assert decode_definition(old) == load_definition(GOOD)


LIKELY = st.from_regex(r"(name|script|inputs|timeout): [\[{a-z:\]}!&*'\"\n ]{0,30}")


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=80) | LIKELY)
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(DocumentError):
        load_definition(text)


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = (
        "name: a b\nversion: [1]\nscritp: x\ninputs:\n  n: itn\n  d: 2024-13-45\n  m: {[1]: 2}\n"
        "timeout: soon\nscript: ' '\n"
    )
    read, faults = inspect_definition(text)
    assert read is None
    assert [fault.line for fault in faults] == [1, 2, 3, 5, 6, 7, 8, 9]
    assert "did you mean 'script'" in faults[2].message
    assert inspect_definition("name: a\nscript: 'true'\n") == (
        load_definition("name: a\nscript: 'true'\n"),
        [],
    )
    assert [f.message for f in inspect_definition("")[1]] == [
        "the document is empty; a job definition begins with 'name:'"
    ]
    assert inspect_definition("a: [")[1][0].message.startswith("not YAML")
