"""``@``: what this console did, as commands that can be pasted into a shell."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from textual.app import ComposeResult

from caroni.tui.acts import Act
from caroni.tui.commandlog import Done
from caroni.tui.glyphs import look
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.widgets.table import Column, Line, LineTable


class CommandLogScreen(ConsoleScreen):
    """The last thousand, newest first."""

    NAME = "log"
    FINDS = False

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("log.copy", "y", "copy", "Copy the command to the terminal's clipboard (OSC 52)"),
    )

    def body(self) -> ComposeResult:
        yield LineTable(
            [Column("TIME", 8), Column("", 1), Column("COMMAND", 30, grow=2), Column("OUTCOME", 12, grow=1)],
            empty="Nothing has been done from here yet.",
            classes="main",
        )

    async def fetch(self) -> Any:
        return list(reversed(self.host.log_of_commands.entries))

    def paint(self, snapshot: list[Done]) -> None:
        lines = []
        for number, done in enumerate(snapshot):
            state = look("failed" if done.failed else "done" if done.outcome else "running")
            at = time.strftime("%H:%M:%S", time.localtime(done.at))
            key = (len(snapshot) - number, done.line)
            lines.append(Line(key, (at, (state.glyph, state.style), done.line, done.outcome)))
        self.query_one(LineTable).set_rows(lines)

    def do_copy(self) -> None:
        """To the clipboard, where the terminal lets us."""
        key = self.query_one(LineTable).key
        if isinstance(key, tuple):
            self.host.copy_to_clipboard(str(key[1]))
            self.host.say("copied, if the terminal allows it")
