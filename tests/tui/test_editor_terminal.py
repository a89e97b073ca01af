"""The editors on a real terminal: ``$EDITOR`` gets it and gives it back; a job under test cannot reach it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from caroni.config import load_config
from caroni.services import templates
from caroni.services.setup import make_directory
from tests.conftest import missing
from tests.services import ServiceMissing
from tests.tui.terminal import ROOT, Terminal, caroni, terminal

CHAIN = ROOT / "samples" / "text-chain" / "workflow.cwl"

#: an editor that asks on the terminal, line by line, the way ``ed`` does; it tells what it was given
EDITOR = """\
#!/bin/sh
printf 'editor of %s\\n' "${1##*.}"
stat -c 'mode %a' "$1"
read -r answer
case $answer in
  change) sed -i 's/"prepend "/"outside "/' "$1" ;;
  break) printf 'class: [' > "$1" ;;
  fail) exit 3 ;;
  interrupt) kill -INT $PPID; sleep 1 ;;
esac
"""


@pytest.fixture
def editor(tmp_path: Path) -> str:
    path = tmp_path / "asks"
    path.write_text(EDITOR)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@contextmanager
def console(directory: Path, where: Path, screen: str, **environment: Any) -> Iterator[Terminal]:
    command = caroni("tui", "--config", where, "--screen", screen)
    try:
        with terminal(directory, *command, **environment) as made:
            yield made
    except ServiceMissing as error:
        missing(error)


async def test_the_operators_editor_has_the_terminal_meanwhile(tmp_path: Path, editor: str) -> None:
    await make_directory("manager", tmp_path / "m1", site="a.example", name="m1")
    await templates.add(load_config(tmp_path / "m1"), CHAIN, "text-chain")
    with console(tmp_path, tmp_path / "m1", "templates", EDITOR=editor, VISUAL="") as shown:
        shown.sees("text-chain")
        shown.type("E")
        shown.sees("editor of cwl", "mode 600", not_=("text-chain",))
        # ctrl+c in an editor reaches all of the terminal's processes, the console too
        shown.type("interrupt")
        shown.press("Enter")
        shown.sees("cwlVersion", "valid · revision 1 · unchanged")
        shown.press("F4")
        shown.sees("editor of cwl")
        shown.type("change")
        shown.press("Enter")
        shown.sees("caroni › templates › text-chain *", "outside", "valid · revision 1 · changed")
        shown.press("C-s")
        shown.sees('+    default: "outside "', "becomes revision 2")
        shown.type("y")
        shown.sees("template text-chain, revision 2")
        shown.press("F4")
        shown.sees("editor of cwl")
        shown.type("fail")
        shown.press("Enter")
        shown.sees("ended with 3", "revision 2 · unchanged")
        shown.press("F4")
        shown.sees("editor of cwl")
        shown.type("break")
        shown.press("Enter")
        shown.sees("not YAML", "1 error")
        shown.press("C-q")
        shown.sees("Leave without saving?")
        shown.type("y")
        shown.left(0)


async def test_a_definition_is_written_tested_and_saved_by_keys_alone(tmp_path: Path) -> None:
    await make_directory("agent", tmp_path / "g1", site="a.example", name="g1")
    with console(tmp_path, tmp_path / "g1", "jobdefs") as shown:
        shown.sees("No job definitions yet")
        shown.type("a")
        shown.sees("my-job", "valid · new")
        shown.press("F3")
        shown.sees("name: my-job")
        shown.press("C-End")
        shown.type("environment: {A: b}")
        shown.sees("valid", "changed")
        shown.press("F3")
        shown.sees("script (bash)")
        # a job must not reach the operator's terminal
        shown.press("C-Home")
        shown.type("{ echo PWNED > /dev/tty; } || echo no terminal")
        shown.press("Enter")
        shown.press("F5")
        shown.sees("text: string", "not run yet")
        shown.type("hello")
        shown.press("F5")
        screen = shown.sees("done · exit 0", '"result": "HELLO"', "no terminal")
        assert "PWNED" not in screen.replace("PWNED > /dev/tty", "")
        shown.press("Escape")
        shown.sees("script (bash)")
        shown.press("C-s")
        shown.sees("becomes revision 1", "+name: my-job")
        shown.type("y")
        shown.sees("my-job 1, revision 1")
        shown.press("Escape")
        shown.sees("OFFERED", "my-job")
        shown.press("C-q")
        shown.left(0)


async def test_a_lost_terminal_leaves_a_draft(tmp_path: Path) -> None:
    await make_directory("agent", tmp_path / "g1", site="a.example", name="g1")
    with console(tmp_path, tmp_path / "g1", "jobdefs") as shown:
        shown.sees("No job definitions yet")
        shown.type("a")
        shown.sees("script (bash)", "valid · new")
        shown.press("C-Home")
        shown.type("# half a thought")
        shown.sees("draft ")
        shown.hang_up()
    with console(tmp_path, tmp_path / "g1", "jobdefs") as shown:
        shown.sees("No job definitions yet")
        shown.type("a")
        shown.sees("A draft is there", "half a thought")
        shown.type("y")
        shown.sees("# half a thought", "changed")
        shown.press("C-q")
        shown.sees("Leave without saving?")
        shown.type("y")
        shown.left(0)
