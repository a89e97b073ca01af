"""The console on a real terminal (tmux): what it leaves behind, what it draws where, and how it ends."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from caroni.services.setup import make_directory
from tests.conftest import missing
from tests.services import ServiceMissing, wait_until
from tests.tui.terminal import Terminal, caroni, terminal

Open = Callable[..., AbstractContextManager[Terminal]]


@pytest.fixture
async def m1(tmp_path: Path) -> Path:
    await make_directory("manager", tmp_path / "m1", site="a.example", name="m1")
    return tmp_path / "m1"


@pytest.fixture
def console(m1: Path, tmp_path: Path) -> Open:
    """A function that opens ``caroni tui`` on a manager's directory, in a terminal."""

    @contextmanager
    def open_(*arguments: str, **options: Any) -> Iterator[Terminal]:
        command = caroni("tui", "--config", m1, "--screen", "health", *arguments)
        try:
            with terminal(tmp_path, *command, **options) as made:
                yield made
        except ServiceMissing as error:
            missing(error)

    return open_


def test_the_terminal_is_as_it_was_afterwards(console: Open) -> None:
    with console() as shown:
        screen = shown.sees("caroni › health", "✔ ok", "database", "? all keys")
        assert "manager m1" in screen.splitlines()[0]
        assert shown.shows("alternate_on") == "1"
        shown.press("?")
        shown.sees("Keys that work here")
        shown.press("Escape")
        shown.sees("database", not_=("Keys that work here",))
        shown.type(":")
        shown.sees("where to")
        shown.type("quar")
        shown.press("Enter")
        shown.sees("caroni › quarantine")
        shown.press("C-q")
        shown.left(0)


def test_it_follows_the_size_of_the_terminal(console: Open) -> None:
    with console() as shown:
        shown.sees("WHAT IS SO", "database")
        shown.resize(60, 15)
        shown.sees("STATE", "all keys")
        shown.resize(40, 10)
        shown.sees("too small: 60 columns", not_=("STATE",))
        shown.resize(120, 40)
        screen = shown.sees("WHAT IS SO", "database", "all keys")
        assert len(screen.splitlines()) == 40
        shown.press("C-q")
        shown.left(0)


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "LANG": "C"},
        {"LC_ALL": "", "LANG": "C"},
        {"LC_ALL": "", "LANG": "en_US.ISO-8859-1"},
        {"TERM": "linux"},
    ],
    ids=["LC_ALL=C", "LANG=C", "latin 1", "linux console"],
)
def test_without_utf_8_it_draws_ascii(console: Open, environment: dict[str, str]) -> None:
    with console(**environment) as shown:
        screen = shown.sees("caroni > health", "ok", "database")
        assert screen.isascii(), sorted({c for c in screen if not c.isascii()})
        shown.press("C-q")
        shown.left(0)


@pytest.mark.parametrize("kind", ["xterm", "vt220", "dumb"])
def test_other_terminals(console: Open, kind: str) -> None:
    with console(TERM=kind) as shown:
        screen = shown.sees("health", "ok", "database")
        assert screen.isascii() is (kind == "dumb")
        shown.press("F2")
        shown.sees("FROZEN")
        shown.press("C-q")
        shown.left(0)


def test_no_color_means_none(console: Open) -> None:
    with console(NO_COLOR="1") as shown:
        shown.sees("✘ problem", "certificate")
        # grey levels are what the filter makes of colours; a hue has parts that differ
        colours = re.findall(r"[34]8;2;(\d+);(\d+);(\d+)", shown.styled())
        assert all(len(set(parts)) == 1 for parts in colours), set(colours)
        assert not re.findall(r"\x1b\[(?:\d+;)*3[1-6]m", shown.styled())
        shown.press("?")
        shown.sees("Keys that work here")
        shown.press("C-q")
        shown.left(0)


def test_a_lost_terminal_ends_it(console: Open) -> None:
    with console() as shown:
        shown.sees("database")
        processes = shown.processes()
        assert processes
        shown.hang_up()
        wait_until(
            lambda: not any(one.is_running() for one in processes), 10, "it runs on without a terminal"
        )


def test_a_demo_ends_with_its_terminal(tmp_path: Path) -> None:
    try:
        with terminal(tmp_path, *caroni("tui", "--demo", "--screen", "health"), size=(100, 30)) as shown:
            shown.sees("caroni › health", "the manager runs", "manager main", seconds=60)
            processes = shown.processes()
            assert len(processes) > 2
            shown.hang_up()
            wait_until(lambda: not any(one.is_running() for one in processes), 20, "the demo system runs on")
    except ServiceMissing as error:
        missing(error)


def broken(directory: Path, code: str) -> str:
    """A bug of ours, for a real process: ``sitecustomize`` is imported by every Python."""
    (directory / "sitecustomize.py").write_text(code)
    return str(directory)


def test_a_fault_in_what_a_screen_reads_is_a_line_on_it(console: Open, tmp_path: Path) -> None:
    code = (
        "from caroni.services import doctor\n"
        "async def examine(loaded):\n"
        "    raise RuntimeError('no such thing')\n"
        "    yield\n"
        "doctor.examine = examine\n"
    )
    with console(PYTHONPATH=broken(tmp_path, code), CARONI_DEBUG="", size=(120, 30)) as shown:
        shown.sees("caroni › health", "RuntimeError", "no such thing")
        shown.press("C-q")
        shown.left(0)


def test_a_crash_is_one_line_and_a_status(console: Open, tmp_path: Path) -> None:
    code = (
        "from caroni.tui.screens.health import HealthScreen\n"
        "def body(self):\n"
        "    raise RuntimeError('no such thing')\n"
        "HealthScreen.body = body\n"
    )
    with console(PYTHONPATH=broken(tmp_path, code), CARONI_DEBUG="") as shown:
        screen = shown.left(1)
        assert "caroni: internal error: RuntimeError: no such thing" in screen.replace("\n", " ")
        assert "Traceback" not in screen


def test_without_a_terminal_it_says_so(m1: Path) -> None:
    ran = subprocess.run(
        caroni("tui", "--config", m1),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CARONI_DEBUG": ""},
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "caroni: the console needs a terminal (programs use the commands with --json)\n"
