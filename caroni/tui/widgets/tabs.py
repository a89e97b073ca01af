"""A line with a state at the left and tabs at the right."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from caroni.tui.glyphs import drawn
from caroni.tui.paint import BOLD, DIM, PLAIN, blank, fit, said, strip


class TabLine(Widget):
    """Which of several things is shown below; the chosen one stands in brackets, so no colour is needed."""

    DEFAULT_CSS = "TabLine { height: 1; }"

    class Picked(Message):
        """A tab was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, names: Sequence[str], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.names = tuple(names)
        self.chosen = self.names[0]
        self._left: list[tuple[str, Style]] = []

    def choose(self, name: str) -> None:
        """Show which one is chosen."""
        self.chosen = name
        self.refresh()

    def after(self, step: int) -> str:
        """The tab that is ``step`` further, round the end."""
        return self.names[(self.names.index(self.chosen) + step) % len(self.names)]

    def say(self, parts: list[tuple[str, Style]]) -> None:
        """What stands at the left."""
        if parts != self._left:
            self._left = parts
            self.refresh()

    def _tabs(self) -> list[tuple[str, Style]]:
        return [(f" [{name}]", BOLD) if name == self.chosen else (f"  {name} ", DIM) for name in self.names]

    def render_line(self, y: int) -> Strip:
        """The line."""
        width = self.size.width
        if y:
            return blank(width, self.rich_style)
        tabs = self._tabs()
        room = max(width - sum(cell_len(text) for text, _ in tabs), 0)
        pieces: list[Segment] = []
        for text, style in self._left:
            shown = drawn(said(text))
            if cell_len(shown) > room:
                shown = fit(shown, room)
            pieces.append(Segment(shown, style))
            room -= cell_len(shown)
        pieces.append(Segment(" " * room, PLAIN))
        return strip([*pieces, *(Segment(text, style) for text, style in tabs)], width, self.rich_style)

    def on_click(self, event: events.Click) -> None:
        """Choose what was clicked."""
        at = self.size.width
        for name, (text, _) in reversed(list(zip(self.names, self._tabs(), strict=True))):
            at -= cell_len(text)
            if event.x >= at:
                self.post_message(self.Picked(name))
                return
