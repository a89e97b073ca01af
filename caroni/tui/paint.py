"""Segments and strips for widgets that draw lines themselves.

A segment always has a style: without colours (``NO_COLOR``) Textual's filter fails on one that has none,
also on the padding that a strip adds by itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from caroni.text import safe_line
from caroni.tui.glyphs import ascii_only, drawn

PLAIN = Style()
DIM = Style(dim=True)
BOLD = Style(bold=True)
#: the cursor is told from the rest without colour
CURSOR = Style(reverse=True)


def seg(text: str, style: Style | None = None) -> Segment:
    """A piece of our own text."""
    return Segment(drawn(text), style if style is not None else PLAIN)


def said(text: str, limit: int = 1000) -> str:
    """A text of others on one line, harmless on a terminal; ASCII only where that is wanted."""
    line = safe_line(text, limit)
    if ascii_only():
        return drawn(line).encode("ascii", "backslashreplace").decode()
    return line


def strip(segments: Iterable[Segment], width: int, style: Style | None = None) -> Strip:
    """A line of exactly ``width`` cells; ``style`` lies under the segments and fills the rest."""
    base = style if style is not None else PLAIN
    line = Strip(Segment(s.text, base + (s.style or PLAIN), s.control) for s in segments)
    return line.adjust_cell_length(width, base)


def over(line: Strip, style: Style) -> Strip:
    """The same line with ``style`` on top, e.g. of the cursor."""
    return Strip([Segment(s.text, (s.style or PLAIN) + style, s.control) for s in line], line.cell_length)


def blank(width: int, style: Style | None = None) -> Strip:
    """An empty line."""
    return Strip.blank(width, style if style is not None else PLAIN)


def fit(text: str, width: int, align: str = "left") -> str:
    """A text in exactly ``width`` cells, with an ellipsis where something is left out."""
    if width <= 0:
        return ""
    length = cell_len(text)
    if length > width:
        return drawn("…") if width == 1 else set_cell_size(text, width - 1) + drawn("…")
    room = " " * (width - length)
    return room + text if align == "right" else text + room
