"""A text editor: Textual's text area with indentation, highlighting where it is there, drawn harmlessly."""

from __future__ import annotations

import re
from importlib import import_module
from typing import cast

from rich.style import Style
from rich.text import Text
from textual import events
from textual._text_area_theme import TextAreaTheme
from textual.binding import Binding
from textual.document._document import Document
from textual.timer import Timer
from textual.widgets import TextArea

from caroni.text import safe_line
from caroni.tui.glyphs import ascii_only

_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_INDENT = 2
#: lines beyond which colours come when the typing rests, and beyond which there are none: every key reads all
_MANY_LINES, _TOO_MANY_LINES = 200, 1500
_REST = 0.2


_DEFAULT = Style(color="default", bgcolor="default")
#: colours of the terminal's own palette, for the ``ansi`` themes
_PALETTE = {
    "comment": Style(dim=True),
    "string": Style(color="green"),
    "string.documentation": Style(color="green"),
    "number": Style(color="cyan"),
    "float": Style(color="cyan"),
    "boolean": Style(color="cyan"),
    "keyword": Style(color="magenta"),
    "conditional": Style(color="magenta"),
    "repeat": Style(color="magenta"),
    "function": Style(color="yellow"),
    "function.call": Style(color="yellow"),
    "yaml.field": Style(color="blue", bold=True),
}


class _Colours(TextAreaTheme):
    """Textual's own, but for the ``ansi`` themes, whose names of colours it cannot mix."""

    def apply_css(self, text_area: TextArea) -> None:
        if not text_area.app.current_theme.name.startswith("ansi"):
            super().apply_css(text_area)
            return
        self.base_style = _DEFAULT
        self.gutter_style = _DEFAULT + Style(dim=True)
        self.cursor_style = _DEFAULT + Style(reverse=True)
        self.cursor_line_style = _DEFAULT
        self.cursor_line_gutter_style = _DEFAULT + Style(bold=True)
        self.bracket_matching_style = Style(underline=True)
        self.selection_style = Style(reverse=True)
        self.syntax_styles = _PALETTE


def _colours() -> _Colours:
    usual = TextAreaTheme.get_builtin_theme("css")
    return _Colours(name="caroni", syntax_styles=dict(usual.syntax_styles) if usual else {})


class Editor(TextArea):
    """Lines that are typed in. All plain letters type; tab indents, shift+tab leaves.

    What would act on the terminal is drawn as one sign each, so that the cursor stays where the text is.
    """

    BINDINGS = [
        Binding("ctrl+home", "document_start", "Start of the text", show=False),
        Binding("ctrl+end", "document_end", "End of the text", show=False),
    ]

    DEFAULT_CSS = """
    Editor { border: none; padding: 0; height: 1fr; }
    Editor { scrollbar-size-vertical: 1; scrollbar-size-horizontal: 1; }
    Editor:focus { border: none; }
    """

    def __init__(
        self, language: str = "", *, numbers: bool = True, id: str | None = None, classes: str | None = None
    ) -> None:
        """``language`` is ``yaml`` or ``bash``; :attr:`plain_because` says why nothing is highlighted."""
        super().__init__(
            "", soft_wrap=False, show_line_numbers=numbers, tab_behavior="focus", id=id, classes=classes
        )
        self.indent_width = _INDENT
        self.register_theme(_colours())
        self.theme = "caroni"
        self._wanted = language
        self._later: Timer | None = None
        #: why there is no highlighting; empty if there is
        self.plain_because = ""
        self._missing = _missing(language) if language else ""
        self._choose_language("")

    def _choose_language(self, text: str) -> None:
        """Highlight where that is possible and does not make keys wait."""
        large = text.count("\n") >= _TOO_MANY_LINES
        self.plain_because = self._missing or (
            f"no highlighting: more than {_TOO_MANY_LINES:,} lines" if large and self._wanted else ""
        )
        language = None if self.plain_because or not self._wanted else self._wanted
        if language != self.language:
            self.language = language

    def _build_highlight_map(self) -> None:
        if self.document.line_count <= _MANY_LINES or not self.is_attached:
            super()._build_highlight_map()
            return
        if self._later is not None:
            self._later.stop()
        self._later = self.set_timer(_REST, self._colour)

    def _colour(self) -> None:
        super()._build_highlight_map()
        self._line_cache.clear()
        self.refresh()

    def load_text(self, text: str) -> None:
        """Show another text that has nothing in common with this one: nothing can be undone."""
        self._choose_language(text)
        super().load_text(text)

    def get_line(self, line_index: int) -> Text:
        """A line as it is drawn."""
        line = super().get_line(line_index)
        plain = line.plain
        if plain.isascii() and plain.isprintable():
            return line
        sign = "?" if ascii_only() else "·"
        drawn = "".join(char if char == "\t" or safe_line(char) == char else sign for char in plain)
        if ascii_only():
            drawn = _BEYOND_ASCII.sub("?", drawn)
        return Text(drawn, end="", no_wrap=True) if drawn != plain else line

    def check_consume_key(self, key: str, character: str | None = None) -> bool:
        """Tab is ours too."""
        return (key == "tab" and not self.read_only) or super().check_consume_key(key, character)

    async def _on_key(self, event: events.Key) -> None:
        if not self.read_only and event.key in ("enter", "tab"):
            event.stop()
            event.prevent_default()
            start, end = self.selection
            if event.key == "tab":
                text = " " * self._find_columns_to_next_tab_stop()
            else:
                text = "\n" + self._indentation()
            self._replace_via_keyboard(text, start, end)
            return
        await super()._on_key(event)

    def action_document_start(self) -> None:
        """To the first sign."""
        self.move_cursor(self.document.start)

    def action_document_end(self) -> None:
        """Behind the last one."""
        self.move_cursor(self.document.end)

    def _indentation(self) -> str:
        """What the next line begins with: as this one, further in behind a colon of YAML."""
        row, column = self.cursor_location
        before = self.document[row][:column]
        indent = before[: len(before) - len(before.lstrip(" "))]
        deeper = self.language == "yaml" and re.search(r"(:|:\s*[|>][+-]?\d?)\s*$", before)
        return indent + " " * _INDENT if deeper else indent

    def show_text(self, text: str) -> None:
        """Show another text; the cursor stays as near to its place as can be. It can be undone."""
        if text == self.text:
            return
        self._choose_language(text)
        row, column = self.cursor_location
        self.replace(text, self.document.start, self.document.end)
        self.move_to(row + 1, column + 1)

    def move_to(self, line: int, column: int = 1) -> None:
        """Put the cursor on a place, counted from 1."""
        row = min(max(line - 1, 0), self.document.line_count - 1)
        self.move_cursor((row, min(max(column - 1, 0), len(self.document[row]))), center=True)

    def seek(self, text: str, *, forward: bool = True, here: bool = False) -> bool:
        """Go to where a text is, around the end if need be; False if it is nowhere.

        Args:
            text: small and capital letters are the same.
            forward: the next one, else the one before.
            here: the place of the cursor counts too, e.g. while the text is still typed.
        """
        if not text:
            return False
        document = cast("Document", self.document)
        whole, wanted = self.text.lower(), text.lower()
        at = document.get_index_from_location(min(self.selection))
        if forward:
            place = whole.find(wanted, at if here else at + 1)
            place = whole.find(wanted) if place < 0 else place
        else:
            place = whole.rfind(wanted, 0, max(at + len(wanted) - 1, 0))
            place = whole.rfind(wanted) if place < 0 else place
        if place < 0 or len(whole) != len(self.text):
            return False
        start = document.get_location_from_index(place)
        end = document.get_location_from_index(place + len(wanted))
        self.selection = type(self.selection)(start, end)
        self.scroll_cursor_visible(center=True)
        return True


def _missing(language: str) -> str:
    """Why a language cannot be highlighted here; empty if it can."""
    try:
        import_module("tree_sitter")
        import_module(f"tree_sitter_{language}")
    except Exception as error:  # a wheel of another machine fails in its own ways
        return f"no highlighting: {safe_line(str(error), 80)}"
    return ""
