"""A line or two of our own words under or beside something bigger."""

from __future__ import annotations

from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from caroni.tui.paint import DIM, PLAIN, blank, fit, said, seg, strip


class Note(Widget):
    """One line of text, cut where there is no room; whatever it holds is made safe."""

    DEFAULT_CSS = "Note { height: 1; }"

    def __init__(self, text: str = "", *, dim: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = text
        self._style = DIM if dim else PLAIN

    @property
    def text(self) -> str:
        """What it says."""
        return self._text

    def say(self, text: str, style: Style | None = None) -> None:
        """Say something else."""
        if text != self._text or style is not None:
            self._text = text
            self._style = style if style is not None else self._style
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """The line."""
        width = self.size.width
        if y:
            return blank(width, self.rich_style)
        return strip([seg(fit(said(self._text), width), self._style)], width, self.rich_style)
