"""A small form: a few lines to be typed before something is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from caroni.tui.glyphs import drawn
from caroni.tui.paint import said


class Field(msgspec.Struct, frozen=True):
    """A line that is asked for. ``hint`` stands in it while it is empty."""

    name: str
    label: str
    hint: str = ""
    value: str = ""


class AskScreen(ModalScreen[dict[str, str] | None]):
    """Gives what was typed, by the fields' names; None: escape.

    Args:
        title: what is to be done.
        lines: what to know before.
        fields: what is asked for, in order.
        check: says what is wrong with what was typed, or nothing.
    """

    AUTO_FOCUS = "Input"

    def __init__(
        self,
        title: str,
        lines: Sequence[str],
        fields: Sequence[Field],
        check: Callable[[dict[str, str]], str] = lambda typed: "",
    ) -> None:
        super().__init__(classes="-dialogue")
        self._title = title
        self._lines = tuple(lines)
        self._fields = tuple(fields)
        self._check = check

    def compose(self) -> ComposeResult:
        with Vertical(id="dialogue"):
            yield Static(said(self._title, 200), id="title", markup=False)
            with VerticalScroll(id="lines", can_focus=False):
                for line in self._lines:
                    yield Static(said(line, 500), markup=False)
                for field in self._fields:
                    yield Static(said(field.label, 200), classes="label", markup=False)
                    yield Input(
                        field.value, placeholder=said(field.hint, 200), id=f"ask-{field.name}", compact=True
                    )
            yield Static(self._keys, id="how", markup=False)

    @property
    def _keys(self) -> str:
        more = "enter next · ctrl+s " if len(self._fields) > 1 else "enter "
        return drawn(f"{more}go on · esc leaves it")

    @property
    def typed(self) -> dict[str, str]:
        """What stands in the fields."""
        return {
            field.name: self.query_one(f"#ask-{field.name}", Input).value.strip() for field in self._fields
        }

    def on_key(self, event: events.Key) -> None:
        """Leave, or go on."""
        if event.key == "escape":
            event.stop()
            self.dismiss(None)
        elif event.key == "ctrl+s":
            event.stop()
            self._go_on()
        elif event.key in ("down", "up"):
            event.stop()
            (self.focus_next if event.key == "down" else self.focus_previous)("Input")

    def on_input_changed(self, event: Input.Changed) -> None:
        """What was wrong may be right now."""
        event.stop()
        self.query_one("#how", Static).update(self._keys)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The next field; after the last one, go on."""
        event.stop()
        if event.input.id == f"ask-{self._fields[-1].name}":
            self._go_on()
        else:
            self.focus_next("Input")

    def _go_on(self) -> None:
        typed = self.typed
        if wrong := self._check(typed):
            self.query_one("#how", Static).update(said(wrong, 300))
        else:
            self.dismiss(typed)


def not_a_file(path: Path) -> str:
    """Why a file that was named cannot be read; empty if it can be tried.

    A pipe or a device would hold whoever reads it: here that is the whole console.
    """
    if path.is_file():
        return ""
    return f"{path} is not a regular file" if path.exists() else f"there is no file {str(path)!r}"
