"""The form of a job definition and its text: there and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from caroni.errors import DocumentError
from caroni.execution.definition import decode_definition, load_definition
from caroni.services.definitionform import (
    DefinitionForm,
    apply_form,
    field_at,
    read_form,
    written,
)

JOBS = sorted((Path(__file__).parents[2] / "samples").glob("*/jobs/*/*.yml"))

COMMENTED = """\
# who cares for this: the lab
name: greet  # what workflows ask for
version: "1.0"   # text

inputs:
  # the person
  who: string
  times: int   # how often

# one line
outputs: {greeting: string, more: int}
script: |
  set -euo pipefail
  echo hello   # greets
timeout: 5m
limits: {stdout: 1MiB}
"""


def change(text: str, **fields: str) -> str:
    return apply_form(text, msgspec.structs.replace(read_form(text), **fields)).text


def test_the_form_shows_what_is_there() -> None:
    form = read_form(COMMENTED)
    assert form == DefinitionForm(
        name="greet",
        version="1.0",
        timeout="5m",
        inputs="# the person\nwho: string\ntimes: int   # how often\n",
        outputs="greeting: string\nmore: int\n",
        script="set -euo pipefail\necho hello   # greets\n",
    )
    assert apply_form(COMMENTED, form).text == COMMENTED


def test_only_what_changes_is_touched() -> None:
    changed = change(COMMENTED, version="1.1", timeout="", description="Greets: somebody")
    assert changed == COMMENTED.replace('version: "1.0"   # text', "version: '1.1'   # text").replace(
        "timeout: 5m\n", ""
    ).replace("# text\n", "# text\ndescription: 'Greets: somebody'\n")
    more = change(COMMENTED, inputs=read_form(COMMENTED).inputs + "tone: string?\n")
    assert more == COMMENTED.replace("# how often\n", "# how often\n  tone: string?\n")
    other = change(COMMENTED, outputs="greeting: string\n")
    assert other == COMMENTED.replace(
        "outputs: {greeting: string, more: int}", "outputs:\n  greeting: string"
    )
    body = change(COMMENTED, script="\n  indented\n\tend")
    assert load_definition(body).script == "\n  indented\n\tend\n"
    assert body.startswith(COMMENTED.partition("script:")[0])
    assert body.endswith("timeout: 5m\nlimits: {stdout: 1MiB}\n")
    assert field_at(COMMENTED, 7) == ("inputs", 2)
    assert field_at(COMMENTED, 13) == ("script", 1)
    assert field_at(COMMENTED, 1) == ("", 0)


def test_what_is_wrong_in_a_field_is_wrong_in_the_text() -> None:
    changed = change(COMMENTED, inputs="n: int: x", outputs="[", version="2", timeout="")
    assert "inputs:\n  n: int: x\n" in changed
    assert "outputs:\n  [\n" in changed
    assert "version: '2'   # text" in changed
    assert "timeout" not in changed
    assert apply_form("name: a", msgspec.structs.replace(read_form("name: a"), version="2")).text == (
        "name: a\nversion: '2'"
    )


def test_a_text_on_one_line_is_written_anew_and_that_is_said() -> None:
    text = '{"name": "a", "script": "true\\nfalse\\n", "inputs": {"n": "int"}}'
    assert not apply_form(text, read_form(text)).rewritten
    applied = apply_form(text, msgspec.structs.replace(read_form(text), version="2"))
    assert applied.rewritten
    read = load_definition(applied.text)
    assert (read.name, read.version, read.inputs, read.script) == ("a", "2", {"n": "int"}, "true\nfalse\n")


@pytest.mark.parametrize("text", ["a: [", "- a", "x: &a 1", "name: [a]"])
def test_what_no_form_can_show(text: str) -> None:
    with pytest.raises(DocumentError):
        read_form(text)


@pytest.mark.parametrize("path", JOBS, ids=lambda p: p.stem)
def test_the_samples(path: Path) -> None:
    text = path.read_text("utf-8")
    form = read_form(text)
    assert apply_form(text, form).text == text
    changed = load_definition(change(text, name="other", timeout="3s"))
    assert changed == msgspec.structs.replace(load_definition(text), name="other", timeout=3_000_000)
    assert load_definition(apply_form("", form).text).script == load_definition(text).script
    read = load_definition(text)
    again = load_definition(written(decode_definition(read.canonical)))
    assert again == read


line = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=20).map(str.strip)
word = st.text(st.sampled_from("abcXYZ019 _-.:#'\"{}[]&*!|>%@`éñ\u00a0"), max_size=12).map(str.strip)
entries = st.dictionaries(
    st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True),
    st.sampled_from(["int", "string?", "File[]", "[int, string]"]),
).map(lambda d: "".join(f"{k}: {v}\n" for k, v in d.items()))
script = st.lists(
    st.text(st.sampled_from("ab \t#:|'\"\\$-\x85\u2028\x1b\x07é{}\n"), max_size=30), max_size=6
).map("\n".join)


@settings(max_examples=60, deadline=None, phases=(Phase.explicit, Phase.generate, Phase.shrink))
@given(name=word.filter(bool), version=word, description=line, inputs=entries, outputs=entries, body=script)
def test_what_is_filled_in_is_what_is_read(
    name: str, version: str, description: str, inputs: str, outputs: str, body: str
) -> None:
    fields: dict[str, Any] = {
        "name": name, "version": version, "description": description, "inputs": inputs, "outputs": outputs,
        "script": body.rstrip("\n") + "\n" if body.strip() else "",
    }  # fmt: skip
    form = DefinitionForm(**fields)
    assert read_form(apply_form("", form).text) == form
    changed = change(COMMENTED, **fields)
    assert read_form(changed) == msgspec.structs.replace(form, timeout="5m")
    assert changed.count("limits: {stdout: 1MiB}") == 1
    assert "# who cares for this: the lab" in changed
