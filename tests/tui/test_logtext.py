"""Streams as lines: however they are cut into parts, and whatever is in them."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caroni.tui.logtext import Painted, StreamText
from caroni.tui.widgets.lines import MAX_LINE, MAX_LINES

BYTES = st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", "é".encode(), b"\xff", b"word", b"\x1b[2J"]))


def read(*parts: bytes) -> StreamText:
    text = StreamText()
    for part in parts:
        text.feed(part)
    return text


@given(BYTES, st.lists(st.integers(0, 60), max_size=6))
def test_parts_make_no_difference(pieces: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(pieces)
    places = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    parts = [whole[a:b] for a, b in itertools.pairwise(places)]
    cut, at_once = read(*parts), read(whole)
    assert (cut.lines, cut.count) == (at_once.lines, at_once.count)
    expected = re.split("\r\n|\r|\n", whole.decode(errors="replace"))
    if not expected[-1]:
        expected.pop()
    assert at_once.lines == expected


@given(st.lists(BYTES, max_size=6))
def test_what_is_painted_is_what_was_read(steps: list[list[bytes]]) -> None:
    text, painted = StreamText(), Painted()
    screen: list[object] = []
    for pieces in steps:
        text.feed(b"".join(pieces))
        fresh = painted.next(text)
        if fresh is None:
            screen = list(text.lines)
        else:
            lines, over = fresh
            del screen[len(screen) - over :]
            screen += lines
        assert screen == text.lines


def test_a_line_without_end_costs_no_more_than_a_long_one() -> None:
    text = StreamText()
    for _ in range(64):
        text.feed(b"x" * 65536)
    assert len(text.lines) == 1
    assert len(text.lines[0]) == MAX_LINE + 1
    text.feed(b"y\nnext")
    assert text.lines[1:] == ["next"]


def test_the_last_lines_are_kept() -> None:
    text, painted = StreamText(), Painted()
    painted.next(text)
    for n in range(10):
        text.feed(b"".join(b"%d\n" % (n * 10_000 + m) for m in range(10_000)))
    assert text.count == 100_000
    assert MAX_LINES <= len(text.lines) <= 2 * MAX_LINES
    assert text.lines[-1] == "99999"
    assert painted.next(text) is None, "more is new than is kept: all is shown anew"
    text.feed(b"one more\n")
    assert painted.next(text) == (["one more"], 0)


@pytest.mark.parametrize("begun", [b"begun", b"done\n", b"\xc3"])
def test_a_note_stands_on_a_line_of_its_own(begun: bytes) -> None:
    text = StreamText()
    text.feed(begun)
    text.note("... 3 B are not shown ...")
    text.feed(b"after\n")
    assert [line if isinstance(line, str) else line[0] for line in text.lines][-2:] == [
        "... 3 B are not shown ...",
        "after",
    ]
