"""Log lines: their form, their cause, and nothing in them that acts on a terminal."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest
import structlog

from caroni import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def written(**options: str) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(stream=stream, **options)  # type: ignore[arg-type]
    return stream


def test_json_lines_carry_their_cause():
    stream = written(format="auto")
    log = logs.get_logger("pump")
    with logs.caused_by(b"\x01" * 16):
        log.info("sent", peer="caroni://a/agent/b", n=3, id=b"\xff")
    log.warning("later")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["event"] == "sent"
    assert first["cause"] == "01" * 16
    assert first["id"] == "ff"
    assert first["part"] == "pump"
    assert first["level"] == "info"
    assert "cause" not in second


def test_hostile_text_stays_on_its_line():
    for options in ({"format": "json"}, {"format": "human"}):
        stream = written(**options)
        logs.get_logger("x").info("from peer", text="a\n\x1b[2J\u202eb", deep={"k\x1b": ["\x1b"] * 99})
        assert stream.getvalue().count("\n") == 1
        assert "\x1b" not in stream.getvalue()
        assert "\u202e" not in stream.getvalue()


def test_human_on_a_terminal():
    stream = Terminal()
    logs.configure(stream=stream)
    logs.get_logger("bus").warning("no broker", url="amqp://h/")
    assert "bus: no broker  url=amqp://h/" in stream.getvalue()


def test_levels_and_library_lines():
    stream = written(level="warning", format="json")
    logs.get_logger("x").info("no")
    logging.getLogger("some.library").warning("hello %s", "there")
    logging.getLogger("some.library").info("no")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "hello there"
    assert json.loads(line)["part"] == "some.library"


def test_an_exception_is_one_line_without_values():
    stream = written(format="json")

    def fails(password: str) -> None:
        raise ValueError("bad\nthing")

    try:
        fails("hunter2")
    except ValueError:
        logs.get_logger("x").error("failed", exc_info=True)
    line = json.loads(stream.getvalue())
    assert line["error"] == "ValueError: bad\\x0athing"
    assert "fails" in line["where"]
    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_stderr_is_the_default(capsys):
    logs.configure(format="json", stream=sys.stderr)
    logs.get_logger("x").info("here")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "here"
