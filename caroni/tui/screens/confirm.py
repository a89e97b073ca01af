"""Asking before something is done."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from caroni.tui.glyphs import drawn
from caroni.tui.paint import said


class ConfirmScreen(ModalScreen[bool]):
    """``y`` does it, everything else but the arrows leaves it; what destroys wants a word to be typed."""

    AUTO_FOCUS = "Input"

    def __init__(self, title: str, lines: list[str], phrase: str = "") -> None:
        super().__init__(classes="-dialogue")
        self._title = title
        self._lines = lines
        self._phrase = phrase

    def compose(self) -> ComposeResult:
        with Vertical(id="dialogue"):
            yield Static(said(self._title, 200), id="title", markup=False)
            with VerticalScroll(id="lines"):
                for line in self._lines:
                    yield Static(said(line, 500), markup=False)
            if self._phrase:
                yield Static(
                    f"Type {said(self._phrase, 80)} and press enter; esc leaves it.", id="how", markup=False
                )
                yield Input(id="phrase", compact=True)
            else:
                yield Static(drawn("y yes · n no"), id="how", markup=False)

    def on_key(self, event: events.Key) -> None:
        """Yes, no, or nothing."""
        if event.key == "escape":
            event.stop()
            self.dismiss(False)
        elif not self._phrase and event.key in ("y", "Y"):
            event.stop()
            self.dismiss(True)
        elif not self._phrase and event.key in ("n", "N", "q", "enter"):
            event.stop()
            self.dismiss(False)
        elif not self._phrase and event.is_printable:
            event.stop()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Only the very word does it."""
        event.stop()
        if event.value.strip() == self._phrase:
            self.dismiss(True)
        else:
            self.query_one("#how", Static).update(
                f"That was not {said(self._phrase, 80)}: type it, or press esc to leave it."
            )
