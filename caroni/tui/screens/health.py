"""Whether the daemon is well: the checks of ``caroni doctor``."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult

from caroni.services.checks import Check
from caroni.services.doctor import examine
from caroni.tui.acts import Act
from caroni.tui.glyphs import mark
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.widgets.table import Column, Line, LineTable


class HealthScreen(ConsoleScreen):
    """One line a check; what to do about it is under the cursor."""

    NAME = "health"
    PERIOD = 5.0

    ACTS: ClassVar[tuple[Act, ...]] = ()

    def body(self) -> ComposeResult:
        yield LineTable(
            [Column("STATE", 11), Column("CHECK", 14), Column("WHAT IS SO", 30, grow=1)],
            empty="Looking ...",
            classes="main",
        )

    async def fetch(self) -> list[Check]:
        return [check async for check in examine(self.site.loaded)]

    def paint(self, snapshot: list[Check]) -> None:
        lines = []
        for number, check in enumerate(snapshot):
            state = mark("check", check.state)
            lines.append(Line((check.name, number), ((state.text, state.style), check.name, check.text)))
        self.query_one(LineTable).set_rows(lines)
