"""The keys that work now, each of which can be run from here."""

from __future__ import annotations

import inspect
from typing import ClassVar, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from caroni.tui.acts import Act, Acting
from caroni.tui.glyphs import drawn
from caroni.tui.widgets.frame import key_name, reachable
from caroni.tui.widgets.table import Column, Line, LineTable


class HelpScreen(Acting, ModalScreen[None]):
    """Keys of the focused widget first, then of the screen, then of everywhere; enter runs one."""

    AUTO_FOCUS = "LineTable"

    ACTS: ClassVar[tuple[Act, ...]] = (Act("help.close", "escape,question_mark,f1,q", "close", "Close this"),)

    def __init__(self, of: Screen[object]) -> None:
        super().__init__(classes="-dialogue")
        # what works is asked while the other screen is still on top
        self._keys = {found.binding.action: found for found in reachable(of)}

    def compose(self) -> ComposeResult:
        with Vertical(id="dialogue", classes="-wide-dialogue"):
            yield Static(drawn("Keys that work here · enter runs one · esc closes"), id="title", markup=False)
            yield LineTable(
                [Column("KEY", 10), Column("WHAT IT DOES", 30, grow=1), Column("NOW", 10, grow=1, least=76)]
            )

    def on_mount(self) -> None:
        """List them."""
        lines = []
        for action, (node, binding, act, keys) in self._keys.items():
            refusal = node.refusal(act) if act is not None and isinstance(node, Acting) else ""
            what = act.sentence if act is not None else binding.tooltip or binding.description
            if what:
                cells = (" ".join(key_name(self.host, key) for key in keys), what, refusal)
                lines.append(Line(action, cells, dim=bool(refusal)))
        self.query_one(LineTable).set_rows(lines)

    async def on_line_table_chosen(self, event: LineTable.Chosen) -> None:
        """Close, then run it where it belongs."""
        event.stop()
        node, _, act, _ = self._keys[cast("str", event.key)]
        host = self.host
        action = cast("str", event.key)

        async def run() -> None:
            if act is not None and isinstance(node, Acting):
                done = node.action_act(act.id)
                if inspect.isawaitable(done):
                    await done
            else:
                await host.run_action(action, default_namespace=node)

        self.dismiss()
        host.call_later(run)

    def do_close(self) -> None:
        """Close."""
        self.dismiss()
