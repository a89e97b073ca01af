"""A table that draws the lines that are seen, so that ten thousand rows cost what twenty do."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import ClassVar

import msgspec
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from caroni.tui.acts import Act, Acting
from caroni.tui.paint import BOLD, CURSOR, DIM, PLAIN, blank, fit, over, said, seg, strip

Key = Hashable
#: a cell: a text (of whomever; it is made safe), or a text with its style
Cell = str | tuple[str, Style]


class Column(msgspec.Struct, frozen=True):
    """A column.

    Args:
        title: its heading.
        width: cells; of a column that grows, the least.
        grow: its share of the room that is left, 0 = none.
        right: numbers stand at the right.
        least: it is left out on a table that is narrower than this.
    """

    title: str
    width: int
    grow: int = 0
    right: bool = False
    least: int = 0


class Line(msgspec.Struct, frozen=True):
    """A row: its key, its cells, and what it is sorted by (the cells' texts if not given)."""

    key: Key
    cells: tuple[Cell, ...]
    sort: tuple[object, ...] = ()
    dim: bool = False


class LineTable(Acting, ScrollView, can_focus=True):
    """Rows with a cursor, marks and sorting.

    Messages: :class:`Moved` when the cursor comes to another row, :class:`Chosen` on enter.
    """

    DEFAULT_CSS = "LineTable { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }"

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("table.down", "j,down", "down", "One row down", show=False),
        Act("table.up", "k,up", "up", "One row up", show=False),
        Act("table.top", "g,home", "top", "The first row", show=False),
        Act("table.bottom", "G,end", "bottom", "The last row", show=False),
        Act("table.page-down", "pagedown,ctrl+f", "page down", "A page down", show=False),
        Act("table.page-up", "pageup,ctrl+b", "page up", "A page up", show=False),
        Act("table.choose", "enter", "open", "Open the row under the cursor"),
        Act("table.mark", "space", "mark", "Mark the row; acts apply to marked rows", show=False),
        Act("table.sort", "s", "sort", "Sort by the next column", show=False),
        Act("table.reverse", "S", "reverse", "Sort the other way round", show=False),
    )

    class Moved(Message):
        """The cursor is on another row; None: there are no rows."""

        def __init__(self, table: LineTable, key: Key | None) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> LineTable:
            """The table."""
            return self.table

    class Chosen(Message):
        """A row was opened."""

        def __init__(self, table: LineTable, key: Key) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> LineTable:
            """The table."""
            return self.table

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        empty: str = "",
        marks: bool = False,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """Without rows ``empty`` is shown: a sentence, and the key that helps."""
        super().__init__(id=id, classes=classes)
        self.columns = tuple(columns)
        self.empty = empty
        self.marks = marks
        self.marked: set[Key] = set()
        self.lines: list[Line] = []
        self._given: Sequence[Line] = ()
        self._place: dict[Key, int] = {}
        self._row = 0
        self._sort: int | None = None
        self._reverse = False

    # --- what is shown ---------------------------------------------------------------------------

    @property
    def key(self) -> Key | None:
        """The row under the cursor."""
        return self.lines[self._row].key if self.lines else None

    @property
    def row(self) -> int:
        """Its place."""
        return self._row

    def chosen(self) -> list[Key]:
        """The marked rows, else the one under the cursor."""
        marked = [line.key for line in self.lines if line.key in self.marked]
        return marked or ([self.key] if self.key is not None else [])

    def set_rows(self, lines: Sequence[Line]) -> None:
        """Show these rows; the cursor stays on its row, or where it was if that has gone."""
        self._given = lines
        self._order()

    def _order(self) -> None:
        before, had, old, row = self.key, bool(self.lines), self.lines, self._row
        top = int(self.scroll_offset.y)
        lines = list(self._given)
        if self._sort is not None:
            lines.sort(key=self._sorted_by(self._sort), reverse=self._reverse)
        self.lines = lines
        self._place = {line.key: place for place, line in enumerate(lines)}
        self.marked &= self._place.keys()
        self._row = self._place.get(before, min(self._row, max(len(lines) - 1, 0))) if had else 0
        self.virtual_size = Size(self.size.width, len(lines) + 1)
        if self.key != before:
            self.post_message(self.Moved(self, self.key))
        self._follow()
        if len(lines) != len(old) or self._row != row or not lines:
            self.refresh()
            return
        # only lines that are seen and look different cost anything on the way to the terminal
        for place in range(top, min(top + self.size.height - 1, len(lines))):
            if lines[place] != old[place]:
                self.refresh(Region(0, place - top + 1, self.size.width, 1))

    @staticmethod
    def _sorted_by(column: int) -> Callable[[Line], tuple[bool, str, float, str]]:
        def value(line: Line) -> tuple[bool, str, float, str]:
            one: object = line.sort[column] if column < len(line.sort) else None
            if one is None and column < len(line.cells):
                cell = line.cells[column]
                one = cell if isinstance(cell, str) else cell[0]
            if isinstance(one, int | float):
                return (one is None, "", float(one), "")
            return (one is None, str(one).casefold(), 0.0, str(one))

        return value

    def move_to(self, key: Key) -> bool:
        """Put the cursor on a row; False if there is none of this key."""
        if key not in self._place:
            return False
        self._go(self._place[key])
        return True

    def _go(self, row: int) -> None:
        row = min(max(row, 0), max(len(self.lines) - 1, 0))
        if row != self._row and self.lines:
            self._row = row
            self.post_message(self.Moved(self, self.key))
        self._follow()
        self.refresh()

    def _follow(self) -> None:
        height = max(self.size.height - 1, 1)  # the heading stays
        top = int(self.scroll_offset.y)
        if self._row < top:
            top = self._row
        elif self._row >= top + height:
            top = self._row - height + 1
        self.scroll_to(y=max(min(top, max(len(self.lines) - height, 0)), 0), animate=False, force=True)

    def on_resize(self) -> None:
        """Keep the cursor in sight."""
        self.virtual_size = Size(self.size.width, len(self.lines) + 1)
        self._follow()

    # --- painting --------------------------------------------------------------------------------

    def _widths(self, room: int) -> list[tuple[int, Column, int]]:
        """The columns there is room for, with their widths."""
        shown = [(place, column) for place, column in enumerate(self.columns) if column.least <= room]
        left = room - sum(column.width + 1 for _, column in shown) - (2 if self.marks else 1)
        total = sum(column.grow for _, column in shown)
        widths = []
        for place, column in shown:
            share = max(left, 0) * column.grow // total if total else 0
            widths.append((place, column, column.width + share))
        return widths

    def render_line(self, y: int) -> Strip:
        """The heading, or a row."""
        width = self.size.width
        if y == 0:
            return self._heading(width)
        place = y - 1 + int(self.scroll_offset.y)
        if place >= len(self.lines):
            if not self.lines and y == 2 and self.empty:
                return strip([seg(f"  {self.empty}", DIM)], width, self.rich_style)
            return blank(width, self.rich_style)
        line = self.lines[place]
        pieces: list[Segment] = []
        if self.marks:
            pieces.append(seg("*" if line.key in self.marked else " ", BOLD))
        for column_place, column, size in self._widths(width):
            cell: Cell = line.cells[column_place] if column_place < len(line.cells) else ""
            text, style = (cell, PLAIN) if isinstance(cell, str) else cell
            if line.dim:
                style = style + DIM
            text = text if text.isascii() and text.isprintable() else said(text)
            pieces += [
                Segment(" ", PLAIN),
                Segment(fit(text, size, "right" if column.right else "left"), style),
            ]
        painted = strip(pieces, width, self.rich_style)
        return over(painted, CURSOR if self.has_focus else BOLD) if place == self._row else painted

    def _heading(self, width: int) -> Strip:
        pieces: list[Segment] = [seg(" ", DIM)] if self.marks else []
        for place, column, size in self._widths(width):
            sign = ("▼" if self._reverse else "▲") if place == self._sort else ""
            title = f"{column.title}{sign}" if cell_len(column.title) < size else column.title
            pieces.append(seg(f" {fit(title, size, 'right' if column.right else 'left')}", DIM + BOLD))
        return strip(pieces, width, self.rich_style)

    def on_focus(self) -> None:
        """The cursor looks different."""
        self.refresh()

    def on_blur(self) -> None:
        """The cursor looks different."""
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where it was clicked; a second click opens."""
        if event.y == 0:
            return
        place = event.y - 1 + int(self.scroll_offset.y)
        if place < len(self.lines):
            self._go(place)
            if event.chain == 2:
                self.do_choose()

    # --- acts ------------------------------------------------------------------------------------

    def do_down(self) -> None:
        """Down."""
        self._go(self._row + 1)

    def do_up(self) -> None:
        """Up."""
        self._go(self._row - 1)

    def do_top(self) -> None:
        """First."""
        self._go(0)

    def do_bottom(self) -> None:
        """Last."""
        self._go(len(self.lines) - 1)

    def do_page_down(self) -> None:
        """Down by what is seen."""
        self._go(self._row + max(self.size.height - 2, 1))

    def do_page_up(self) -> None:
        """Up by what is seen."""
        self._go(self._row - max(self.size.height - 2, 1))

    def do_choose(self) -> None:
        """Open."""
        if self.key is not None:
            self.post_message(self.Chosen(self, self.key))

    def do_mark(self) -> None:
        """Mark or unmark, and go on."""
        if self.marks and self.key is not None:
            self.marked ^= {self.key}
            self._go(self._row + 1)

    def do_sort(self) -> None:
        """By the next column; after the last, as the rows were given."""
        place = 0 if self._sort is None else self._sort + 1
        self._sort = place if place < len(self.columns) else None
        self._order()
        self.refresh()

    def do_reverse(self) -> None:
        """The other way round."""
        self._reverse = not self._reverse
        self._order()
        self.refresh()

    def reason(self, act: Act) -> str:
        """Nothing can be opened or marked where there is nothing."""
        if act.id == "table.choose" and not self.lines:
            return "there is no row"
        if act.id == "table.mark" and not self.marks:
            return "rows cannot be marked here"
        return ""
