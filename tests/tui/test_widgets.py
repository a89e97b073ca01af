"""Tables and texts: what is cut, kept, found and sorted; no text of others reaches the terminal raw."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widget import Widget

from caroni.tui import glyphs
from caroni.tui.paint import fit, said
from caroni.tui.widgets.lines import MAX_LINE, MAX_LINES, Lines, _wrapped
from caroni.tui.widgets.table import Column, Line, LineTable
from tests.tui.harness import press, text

HOSTILE = "\x1b[2J\x1b]52;c;aGk=\x07[@click=app.quit]x[/nonsense]\u202eevil\u2066\x9b31m\r\n\x00"


class Bare(App[None]):
    """As much of the console as a widget asks for."""

    readonly = False

    def __init__(self, widget: Widget) -> None:
        super().__init__()
        self._widget = widget

    def compose(self) -> ComposeResult:
        yield self._widget

    def on_mount(self) -> None:
        self._widget.focus()


@asynccontextmanager
async def around(widget: Widget, size: tuple[int, int] = (40, 10)) -> AsyncIterator[Pilot[None]]:
    async with Bare(widget).run_test(size=size) as pilot:
        await pilot.pause()
        yield pilot


def rows(count: int) -> list[Line]:
    return [Line(n, (f"name-{n:05}", str(count - n)), sort=(f"name-{n:05}", count - n)) for n in range(count)]


def table() -> LineTable:
    return LineTable([Column("NAME", 12, grow=1), Column("N", 6, right=True)], marks=True, empty="Nothing.")


async def test_an_empty_table_says_so() -> None:
    async with around(table()) as pilot:
        assert "Nothing." in text(pilot)


async def test_the_cursor_stays_on_its_row_when_rows_come_and_go() -> None:
    widget = table()
    async with around(widget) as pilot:
        widget.set_rows(rows(100))
        await press(pilot, "j", "j", "j")
        assert widget.key == 3
        widget.set_rows([line for line in rows(100) if line.key not in (0, 1)])
        assert (widget.key, widget.row) == (3, 1)
        widget.set_rows([line for line in rows(100) if line.key != 3])
        assert widget.row == 1
        await press(pilot, "G")
        assert widget.key == 99
        await pilot.pause()
        assert "name-00099" in text(pilot)
        await press(pilot, "g")
        await pilot.pause()
        assert "name-00000" in text(pilot)


async def test_rows_are_sorted_by_value_and_back_to_their_own_order() -> None:
    widget = table()
    async with around(widget) as pilot:
        widget.set_rows(rows(12))
        await press(pilot, "s", "s")
        assert widget.lines[0].key == 11  # by the number, which falls: 1 before 10
        await press(pilot, "S")
        assert widget.lines[0].key == 0
        assert "▼" in text(pilot)
        await press(pilot, "s", "S")
        assert [line.key for line in widget.lines] == list(range(12))


async def test_marked_rows_are_what_acts_apply_to() -> None:
    widget = table()
    async with around(widget) as pilot:
        widget.set_rows(rows(5))
        assert widget.chosen() == [0]
        await press(pilot, "space", "j", "space")
        assert widget.chosen() == [0, 2]
        widget.set_rows(rows(1))
        assert widget.chosen() == [0]


@pytest.mark.parametrize("width", [60, 40, 20, 5])
async def test_hostile_cells_are_drawn_as_what_they_are(width: int) -> None:
    widget = table()
    async with around(widget, (width, 10)) as pilot:
        widget.set_rows([Line(1, (HOSTILE, "x" * 1_000_000))])
        await pilot.pause()
        drawn = text(pilot)
        assert not any(ord(sign) < 32 and sign != "\n" for sign in drawn)
        assert not set("\x1b\x9b\u202e\u2066\r") & set(drawn)


async def test_lines_are_bounded_and_harmless() -> None:
    widget = Lines()
    async with around(widget, (60, 10)) as pilot:
        widget.set_lines([HOSTILE, "y" * 1_000_000, *map(str, range(MAX_LINES + 10))])
        assert widget.count == MAX_LINES
        assert widget.dropped == 12
        widget.set_lines([HOSTILE, "y" * 1_000_000])
        await pilot.pause()
        assert max(map(len, widget.plain.splitlines())) <= MAX_LINE
        assert not set("\x1b\x9b\u202e\u2066\r\x00") & set(text(pilot))
        assert "[@click=app.quit]" in text(pilot)


async def test_following_shows_the_end_and_moving_up_is_told() -> None:
    widget = Lines(follow=True)
    async with around(widget) as pilot:
        widget.append([f"line {n}" for n in range(50)])
        await pilot.pause()
        assert "line 49" in text(pilot)
        assert widget.at_end
        await press(pilot, "k")
        assert not widget.at_end


async def test_text_is_found_forward_and_round() -> None:
    widget = Lines()
    async with around(widget) as pilot:
        widget.set_lines([f"line {n}" for n in range(100)])
        assert widget.seek("LINE 9") == 11  # 9, and 90 to 99
        widget.seek_next(1)
        await pilot.pause()
        assert "line 90" in text(pilot)
        widget.seek_next(-1)
        widget.seek_next(-1)
        await pilot.pause()
        assert "line 99" in text(pilot)
        assert widget.seek("nowhere") == 0


async def test_without_colours_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from textual.filter import Monochrome

    widget = Lines()
    async with around(widget) as pilot:
        pilot.app._filters.append(Monochrome())
        widget.set_lines(["one", "two"])
        pilot.app.refresh()
        await pilot.pause()
        assert "two" in text(pilot)


@given(st.text(max_size=60), st.integers(0, 20))
def test_what_is_fitted_has_exactly_the_width(words: str, width: int) -> None:
    assert cell_len(fit(said(words), width)) == width


@given(st.text(max_size=200), st.integers(2, 30))
def test_a_wrapped_line_has_every_word_and_no_part_too_wide(words: str, width: int) -> None:
    line = said(words)
    parts = _wrapped(line, width)
    assert "".join("".join(parts).split()) == "".join(line.split())
    assert all(cell_len(part) <= width for part in parts)


def test_ascii_signs_stand_for_every_sign_of_ours() -> None:
    glyphs.use_ascii(True)
    try:
        for kind, states in glyphs._STATES.items():
            for state in states:
                assert glyphs.mark(kind, state).text.isascii()
        assert (glyphs.bar(0.5, 10) + glyphs.drawn("› ● … ▼ ↵")).isascii()
        assert said("é\x1b").isascii()
    finally:
        glyphs.use_ascii(False)


def test_a_bar_is_full_only_at_the_end() -> None:
    assert glyphs.bar(0.999, 10).count("█") == 9
    assert glyphs.bar(1.0, 10) == "█" * 10
    assert glyphs.bar(-1, 4) == "░" * 4
