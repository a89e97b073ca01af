"""Long text, drawn line by line: logs, details, differences. Whatever it holds, the terminal is safe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from caroni.text import safe_text
from caroni.tui.acts import Act, Acting
from caroni.tui.paint import DIM, PLAIN, blank, said, seg, strip

#: characters of a line that are kept, and lines
MAX_LINE, MAX_LINES = 1000, 5000
#: a line of text, or with a style
Styled = str | tuple[str, Style]

_FOUND = Style(reverse=True)


class Lines(Acting, ScrollView, can_focus=True):
    """Lines of text, scrolled both ways, with finding and following.

    The newest ``MAX_LINES`` are kept; of each at most ``MAX_LINE`` characters.
    """

    DEFAULT_CSS = "Lines { height: 1fr; }"

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("lines.down", "j,down", "down", "One line down", show=False),
        Act("lines.up", "k,up", "up", "One line up", show=False),
        Act("lines.top", "g,home", "top", "The first line", show=False),
        Act("lines.bottom", "G,end", "end", "The last line", show=False),
        Act("lines.page-down", "pagedown,ctrl+f", "page down", "A page down", show=False),
        Act("lines.page-up", "pageup,ctrl+b", "page up", "A page up", show=False),
        Act("lines.right", "right", "right", "To the right", show=False),
        Act("lines.left", "left", "left", "To the left", show=False),
    )

    class Scrolled(Message):
        """Somebody moved the text: following may end or begin."""

        def __init__(self, lines: Lines, at_end: bool) -> None:
            super().__init__()
            self.lines = lines
            self.at_end = at_end

        @property
        def control(self) -> Lines:
            """The text."""
            return self.lines

    def __init__(
        self, *, empty: str = "", follow: bool = False, wrap: bool = False, id: str | None = None,
        classes: str | None = None,
    ) -> None:  # fmt: skip
        """``wrap`` breaks long lines at the width instead of scrolling sideways."""
        super().__init__(id=id, classes=classes)
        self.empty = empty
        #: the end stays in sight when lines come
        self.follow = follow
        self.wrap = wrap
        self._given: list[tuple[str, Style]] = []
        self._shown: list[tuple[str, Style]] = []
        self._widest = 0
        self._sought = ""
        self._hits: list[int] = []
        self._hit = -1
        #: lines that were dropped at the top
        self.dropped = 0

    @property
    def count(self) -> int:
        """How many lines there are."""
        return len(self._given)

    @property
    def plain(self) -> str:
        """The text as it is shown."""
        return "\n".join(text for text, _ in self._given)

    @property
    def at_end(self) -> bool:
        """Whether the last line is in sight."""
        return int(self.scroll_offset.y) >= len(self._shown) - self.size.height

    def set_lines(self, lines: Iterable[Styled]) -> None:
        """Show this text; the place in it stays."""
        given = [_safe(line) for line in lines]
        self.dropped = max(len(given) - MAX_LINES, 0)
        given = given[-MAX_LINES:]
        if given == self._given:
            return
        self._given = given
        self._lay_out()

    def append(self, lines: Sequence[Styled], over: int = 0) -> None:
        """Add lines in place of the last ``over``; the oldest go when there are too many."""
        if not lines and not over:
            return
        if over:
            del self._given[-over:]
        self._given += [_safe(line) for line in lines]
        excess = len(self._given) - MAX_LINES
        if excess > 0:
            del self._given[:excess]
            self.dropped += excess
            if not self.follow and not self.wrap:  # what is read stays where it is
                self.scroll_to(y=max(self.scroll_offset.y - excess, 0), animate=False, force=True)
        self._lay_out()

    def _lay_out(self) -> None:
        width = max(self.size.width, 1)
        if self.wrap and self.size.width:
            self._shown = [(part, style) for text, style in self._given for part in _wrapped(text, width)]
        else:
            self._shown = self._given
        self._widest = max((cell_len(text) for text, _ in self._shown), default=0)
        self.virtual_size = Size(0 if self.wrap else self._widest, len(self._shown))
        self._hits = self._matches()
        if self.follow:
            self.call_after_refresh(self._to_end)
        self.refresh()

    def _to_end(self) -> None:
        self.scroll_to(y=max(len(self._shown) - self.size.height, 0), animate=False, force=True)

    def on_resize(self) -> None:
        """Break lines anew."""
        self._lay_out()

    def render_line(self, y: int) -> Strip:
        """One line, from where it is scrolled to."""
        width = self.size.width
        left, top = int(self.scroll_offset.x), int(self.scroll_offset.y)
        place = y + top
        if place >= len(self._shown):
            if not self._shown and y == 1 and self.empty:
                return strip([seg(f"  {self.empty}", DIM)], width, self.rich_style)
            return blank(width, self.rich_style)
        text, style = self._shown[place]
        painted = Strip(self._highlighted(text, style))
        if left:
            painted = painted.crop(left, left + width)
        return strip(painted, width, self.rich_style)

    def _highlighted(self, text: str, style: Style) -> list[Segment]:
        if not self._sought:
            return [Segment(text, style)]
        pieces: list[Segment] = []
        low, start = text.lower(), 0
        while (found := low.find(self._sought, start)) >= 0:
            end = found + len(self._sought)
            pieces += [Segment(text[start:found], style), Segment(text[found:end], style + _FOUND)]
            start = end
        return [*pieces, Segment(text[start:], style)]

    # --- finding ---------------------------------------------------------------------------------

    def seek(self, text: str) -> int:
        """Mark where a text is, go to the first place from here on; gives how many lines have it."""
        self._sought = text.lower()
        self._hits = self._matches()
        self._hit = -1
        if self._hits:
            top = int(self.scroll_offset.y)
            self._hit = next((n for n, place in enumerate(self._hits) if place >= top), 0)
            self._show(self._hits[self._hit])
        self.refresh()
        return len(self._hits)

    def seek_next(self, direction: int) -> None:
        """The next or previous line that has it."""
        if self._hits:
            self._hit = (self._hit + direction) % len(self._hits)
            self._show(self._hits[self._hit])

    def _matches(self) -> list[int]:
        if not self._sought:
            return []
        return [n for n, (text, _) in enumerate(self._shown) if self._sought in text.lower()]

    def _show(self, place: int) -> None:
        self.follow = False
        self.scroll_to(y=max(place - self.size.height // 2, 0), animate=False, force=True)

    # --- acts ------------------------------------------------------------------------------------

    def _move(self, down: int) -> None:
        most = max(len(self._shown) - self.size.height, 0)
        place = min(max(int(self.scroll_offset.y) + down, 0), most)
        self.scroll_to(y=place, animate=False, force=True)
        self.post_message(self.Scrolled(self, place >= most))

    def do_down(self) -> None:
        """Down."""
        self._move(1)

    def do_up(self) -> None:
        """Up."""
        self._move(-1)

    def do_top(self) -> None:
        """First."""
        self._move(-len(self._shown))

    def do_bottom(self) -> None:
        """Last."""
        self._move(len(self._shown))

    def do_page_down(self) -> None:
        """Down by what is seen."""
        self._move(max(self.size.height - 1, 1))

    def do_page_up(self) -> None:
        """Up by what is seen."""
        self._move(-max(self.size.height - 1, 1))

    def do_right(self) -> None:
        """Right."""
        self.scroll_to(x=self.scroll_offset.x + 8, animate=False, force=True)

    def do_left(self) -> None:
        """Left."""
        self.scroll_to(x=max(self.scroll_offset.x - 8, 0), animate=False, force=True)


def _safe(line: Styled) -> tuple[str, Style]:
    text, style = (line, PLAIN) if isinstance(line, str) else line
    return said(safe_text(text, MAX_LINE + 1).expandtabs(8), MAX_LINE), style


def _wrapped(text: str, width: int) -> list[str]:
    """Break at spaces where that is possible, with the indentation kept where there is room for it."""
    width = max(width, 2)  # of the widest sign
    indent = " " * min(len(text) - len(text.lstrip(" ")) + 2, width // 3)
    parts: list[str] = []
    rest, begun = text, 0
    while cell_len(rest) > width:
        cut = width
        while cell_len(rest[:cut]) > width:
            cut -= 1
        space = rest.rfind(" ", begun + 1, cut + 1)
        cut = space if space > begun else cut
        parts.append(rest[:cut].rstrip())
        rest, begun = indent + rest[cut:].lstrip(), len(indent)
    return [*parts, rest]
