"""A list with the details of the row under the cursor beside it, or below it where there is little room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

from textual.app import ComposeResult
from textual.containers import Container
from textual.widgets import Static

from caroni.tui.acts import Act
from caroni.tui.paint import said
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.screens.detail import DetailScreen
from caroni.tui.widgets.lines import Lines, Styled
from caroni.tui.widgets.table import Column, Key, Line, LineTable


class ListScreen(ConsoleScreen):
    """Subclasses give ``COLUMNS``, ``fetch``, and of its snapshot ``rows``, ``detail`` and ``caption``.

    ``/`` leaves the rows that hold a text; enter shows the details on a screen of their own.
    """

    COLUMNS: ClassVar[tuple[Column, ...]] = ()
    #: what is said where there is nothing
    EMPTY: ClassVar[str] = ""
    #: whether rows can be marked
    MARKS: ClassVar[bool] = False

    ACTS: ClassVar[tuple[Act, ...]] = ()

    def __init__(self, site: Any) -> None:
        super().__init__(site)
        self._rows: Sequence[Line] = ()
        self._filter = ""
        self._detail_of: Key | None = None
        #: what is on the screen; a newer snapshot may be there while it is frozen
        self._painted: Any = None

    # --- for subclasses --------------------------------------------------------------------------

    def rows(self, snapshot: Any) -> Sequence[Line]:
        """The rows of what ``fetch`` found."""
        raise NotImplementedError  # pragma: no cover

    def detail(self, snapshot: Any, key: Key) -> list[Styled]:
        """All that is known of one row."""
        raise NotImplementedError  # pragma: no cover

    def caption(self, snapshot: Any) -> str:
        """A line above the list; empty: none."""
        del snapshot
        return ""

    async def in_full(self, key: Key) -> list[Styled]:
        """The same for a screen of its own, read anew."""
        return self.detail(await self.fetch(), key)

    def title_of(self, key: Key) -> str:
        """A row's word in the crumbs of its own screen."""
        return str(key)

    # --- painting --------------------------------------------------------------------------------

    def body(self) -> ComposeResult:
        yield Static("", classes="caption", markup=False)
        with Container(classes="split"):
            yield LineTable(self.COLUMNS, empty="Looking ...", marks=self.MARKS, classes="main")
            yield Lines(wrap=True, classes="beside")

    @property
    def table(self) -> LineTable:
        """The list."""
        return self.query_one(LineTable)

    def paint(self, snapshot: Any) -> None:
        self._painted = snapshot
        self._rows = self.rows(snapshot)
        self._show_rows()

    def _show_rows(self) -> None:
        table, rows = self.table, self._rows
        needle = self._filter.casefold()
        if needle:
            rows = [line for line in rows if any(needle in _text(cell).casefold() for cell in line.cells)]
        table.empty = (
            f"Nothing here has {self._filter!r}. / changes it, esc ends it." if needle else self.EMPTY
        )
        table.set_rows(rows)
        caption = self.caption(self._painted)
        if needle:
            caption = f"only with {self._filter!r} ({len(rows)} of {len(self._rows)}), esc: all" + (
                f" · {caption}" if caption else ""
            )
        shown = self.query_one(".caption", Static)
        shown.update(said(caption))
        shown.display = bool(caption)
        self.show_detail()

    def show_detail(self) -> None:
        """Show what is known of the row under the cursor."""
        key, beside = self.table.key, self.query_one(".beside", Lines)
        beside.set_lines(self.detail(self._painted, key) if key is not None else [])
        if key != self._detail_of:
            self._detail_of = key
            beside.scroll_to(y=0, animate=False, force=True)

    def on_line_table_moved(self, event: LineTable.Moved) -> None:
        """Another row."""
        event.stop()
        if self._painted is not None:
            self.show_detail()

    def on_line_table_chosen(self, event: LineTable.Chosen) -> None:
        """The row on a screen of its own."""
        event.stop()
        key = event.key

        async def source() -> list[Styled]:
            return await self.in_full(key)

        self.host.open(DetailScreen(self.site, self.title_of(key), source))

    # --- filtering -------------------------------------------------------------------------------

    def find(self, text: str, final: bool) -> None:
        self._filter = text
        if self._painted is not None:
            self._show_rows()

    def leave(self) -> bool:
        if self._filter:
            self._sought = ""
            self.find("", True)
            return False
        return True


def _text(cell: object) -> str:
    return cell if isinstance(cell, str) else cast("str", cast("tuple[Any, ...]", cell)[0])
