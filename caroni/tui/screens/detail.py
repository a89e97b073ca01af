"""One thing with all that is known of it, as text that can be scrolled, searched and copied."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual.app import ComposeResult

from caroni.tui.acts import Act
from caroni.tui.paint import said
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.site import Site
from caroni.tui.widgets.lines import Lines, Styled


class DetailScreen(ConsoleScreen):
    """What ``source`` gives, again and again."""

    NAME = "detail"
    PERIOD = 2.0

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("detail.close", "q", "close", "Go back", show=False),
        Act("detail.copy", "y", "copy", "Copy the text to the terminal's clipboard (OSC 52)"),
    )

    def __init__(self, site: Site, title: str, source: Callable[[], Awaitable[list[Styled]]]) -> None:
        super().__init__(site)
        self._title = said(title, 60)
        self._source = source

    def crumb(self) -> str:
        return self._title

    def body(self) -> ComposeResult:
        yield Lines(wrap=True, empty="Looking ...", classes="main")

    async def fetch(self) -> list[Styled]:
        return await self._source()

    def paint(self, snapshot: list[Styled]) -> None:
        self.query_one(Lines).set_lines(snapshot)

    def find(self, text: str, final: bool) -> None:
        found = self.query_one(Lines).seek(text)
        if final and text:
            self.host.say(f"{found} lines have it; n and N go on" if found else "no line has it")

    def find_next(self, direction: int) -> None:
        self.query_one(Lines).seek_next(direction)

    def do_close(self) -> None:
        """Back."""
        self.host.back()

    def do_copy(self) -> None:
        """To the clipboard, where the terminal lets us."""
        self.host.copy_to_clipboard(self.query_one(Lines).plain)
        self.host.say("copied, if the terminal allows it")
