"""A whole visit, on a real terminal, with real daemons on a real RabbitMQ: nothing is known but the keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.site import Site, definition, steps
from tests.conftest import missing
from tests.services import ServiceMissing
from tests.services.rabbitmq import RabbitNode
from tests.tui.terminal import Terminal, caroni, terminal


@pytest.fixture
def site(tmp_path: Path, rabbit_node: RabbitNode) -> Iterator[Site]:
    """A manager and two agents that run."""
    tmp_path.chmod(0o700)
    made = Site(tmp_path, rabbit_node.url(rabbit_node.vhost()))
    try:
        made.make_usual("a1", "a2")
        made.sample("text-chain", ("a1", "a2"))
        made.define("a1", [definition("wait", "echo it begins\nsleep 600")])
        made.template("m", "wait", steps(["wait"]))
        made.spawn("m", "a1", "a2")
        yield made
    finally:
        made.close()


def test_a_visit(site: Site, tmp_path: Path, rabbit_node: RabbitNode) -> None:
    command = caroni("tui", "--config", site.directory("m"), "--config", site.directory("a1"))
    try:
        with terminal(tmp_path, *command, size=(100, 30)) as shown:
            shown.sees("caroni › workflows", "daemon ✔", "db ✔", "No workflows yet")
            edit_and_try(shown)
            submit(shown, "text-chain")
            shown.sees("1 input to be looked at: message")
            shown.type("good day")
            shown.sees("good day")
            shown.press("C-s")
            shown.sees("done 3/3", "*append", "✔ done")
            read_the_trace(shown)
            kill(shown)
            outlive_the_broker(shown, rabbit_node)
            shown.press("C-q")
            shown.left(0)
    except ServiceMissing as error:
        missing(error)
    assert site.bugs() == []


def edit_and_try(shown: Terminal) -> None:
    """Change a job definition, keep it, and run it once."""
    shown.type("7")
    shown.sees("caroni › jobdefs", "append", "upper-case")
    shown.type("e")
    shown.sees("script (bash)", "revision 1 · unchanged")
    shown.type("echo said by hand")
    shown.press("Enter")
    shown.sees("revision 1 · changed", "echo said by hand")
    shown.press("C-s")
    shown.sees("It becomes revision 2", "+  echo said by hand")
    shown.type("y")
    shown.sees("revision 2 · unchanged")
    shown.press("F5")
    shown.sees("test run", "not run yet")
    shown.caret_on("suffix")
    shown.type(" to you")
    shown.press("Enter")
    shown.caret_on("text")
    shown.type("good day")
    shown.sees("good day", "to you")
    shown.press("F5")
    shown.sees("done · exit 0", '"suffixed": "good day to you"', "said by hand")
    shown.press("Escape")
    shown.sees("script (bash)")
    shown.press("Escape")
    shown.sees("caroni › jobdefs", not_=("script (bash)",))


def submit(shown: Terminal, template: str) -> None:
    """Open the form of a template."""
    shown.type("1")
    shown.sees("caroni › workflows", "enter open", not_=("jobdefs",))
    shown.type("a")
    shown.sees("TEMPLATE", "text-chain", "wait")
    if template == "wait":
        shown.type("j")
    shown.press("Enter")
    shown.sees(f"{template}, revision 1", "ctrl+s: submit")


def read_the_trace(shown: Terminal) -> None:
    """The conversation of the step under the cursor, each message with its verdict."""
    shown.type("t")
    # the cursor is on the step that was at work when it was last moved: which one, time decides
    found = re.search(r"· step (append|upper|prepend)", shown.sees("› trace", "· step "))
    assert found
    step = found[1]
    screen = shown.sees(f"Request {step}", f"Accepted {step}", f"Release {step}", "signature good")
    assert "✘" not in screen
    assert re.search(rf"Offer {step}.*a[12] .*✔", screen)
    shown.press("Escape")
    shown.sees("[Rail]")


def kill(shown: Terminal) -> None:
    """Begin a job that would run for long, and end it."""
    submit(shown, "wait")
    shown.press("C-s")
    shown.sees("▶ running", "s0", "[Rail]")
    shown.type("2")
    screen = shown.sees("caroni › jobs", "▶ running", "s0")
    job = re.search(r"▶ running +([0-9a-f]{8}) +s0", screen)
    assert job, screen
    shown.type("K")
    confirm(shown, f"Kill job {job[1]}")
    # it is gone, and its step is tried again, until nobody wants it any more
    shown.sees("▶ running", "2 a1", not_=(job[1],))
    shown.type("1")
    shown.sees("caroni › workflows", "▶ running", "wait")
    shown.type("c")
    confirm(shown, "Cancel")
    shown.sees("⊘ cancelled", "wait")


def confirm(shown: Terminal, title: str) -> None:
    """Type what a dialogue asks for."""
    phrase = re.search(r"[Tt]ype (\w+)", shown.sees(title, "enter; esc leaves it"))
    assert phrase
    shown.type(phrase[1])
    shown.press("Enter")


def outlive_the_broker(shown: Terminal, node: RabbitNode) -> None:
    """The broker goes and comes back; what is there stays usable, and work goes on."""
    shown.type("9")
    shown.sees("caroni › health", "broker version")
    node.kill9()
    try:
        shown.type("r")
        shown.sees("✘ problem", "cannot reach")
        shown.type("1")
        shown.sees("text-chain", "✔ done", "db ✔")
    finally:
        node.start()
    submit(shown, "text-chain")
    shown.sees("1 input to be looked at: message")
    shown.type("again")
    shown.sees("again")
    shown.press("C-s")
    shown.sees("done 3/3", seconds=60)
