"""``:`` and the name of a screen."""

from __future__ import annotations

from typing import ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from caroni.tui.acts import Act, Acting
from caroni.tui.screens import PLACES, Place, find_place
from caroni.tui.widgets.table import Column, Line, LineTable


class GoToScreen(Acting, ModalScreen[Place | None]):
    """Type a name, an alias or the beginning of one."""

    AUTO_FOCUS = "Input"

    ACTS: ClassVar[tuple[Act, ...]] = (Act("goto.close", "escape", "close", "Close this", show=False),)

    def __init__(self) -> None:
        super().__init__(classes="-dialogue")

    def compose(self) -> ComposeResult:
        with Vertical(id="dialogue", classes="-wide-dialogue"):
            yield Input(placeholder="where to", compact=True)
            yield LineTable([Column("KEY", 3), Column("NAME", 12), Column("WHAT IT SHOWS", 20, grow=1)])

    def on_mount(self) -> None:
        """All places."""
        self._list("")

    def _list(self, text: str) -> None:
        lines = [
            Line(place.name, (place.key, place.name, place.about))
            for place in PLACES
            if text.lower() in place.name or text.lower() in (place.key, *place.aliases)
        ]
        self.query_one(LineTable).set_rows(lines)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Those that fit."""
        event.stop()
        self._list(event.value.strip().lstrip(":"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The one that is meant, or the one under the cursor."""
        event.stop()
        key = self.query_one(LineTable).key
        self.dismiss(find_place(event.value) or (find_place(cast("str", key)) if key else None))

    def on_key(self, event: events.Key) -> None:
        """The arrows move in the list while the name is typed."""
        if event.key in ("up", "down"):
            event.stop()
            table = self.query_one(LineTable)
            if event.key == "up":
                table.do_up()
            else:
                table.do_down()

    def on_line_table_chosen(self, event: LineTable.Chosen) -> None:
        """This one."""
        event.stop()
        self.dismiss(find_place(cast("str", event.key)))

    def do_close(self) -> None:
        """Nowhere."""
        self.dismiss(None)
