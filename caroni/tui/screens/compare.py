"""Differences, and what is to be done about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from caroni.services.editing import Diff
from caroni.tui.acts import Act, Acting
from caroni.tui.glyphs import drawn
from caroni.tui.paint import BOLD, DIM, PLAIN, said
from caroni.tui.widgets.lines import Lines, Styled

_ADDED = Style(color="green")
_REMOVED = Style(color="red")
_HUNK = Style(color="cyan")
#: a key, what it answers, and what it says
Choice = tuple[str, str, str]


def painted(diff: Diff) -> list[Styled]:
    """A difference as lines: the sign at their beginning says what the colour says."""
    found: list[Styled] = []
    for line in diff.lines:
        if line.startswith(("+++", "---")):
            found.append((line, BOLD))
        elif line.startswith("@@"):
            found.append((line, _HUNK))
        else:
            style = {"+": _ADDED, "-": _REMOVED}.get(line[:1], PLAIN)
            found.append((line, style))
    return found or [("no difference", DIM)]


class CompareScreen(Acting, ModalScreen[str]):
    """Shows one difference or several (tab goes on to the next), and answers with what a key stands for.

    Escape answers "".
    """

    AUTO_FOCUS = "Lines"

    DEFAULT_CSS = """
    CompareScreen #compare { width: 96%; max-width: 130; height: 96%; }
    CompareScreen #compare { border: round $primary; padding: 0 1; background: $surface; }
    CompareScreen #title { text-style: bold; }
    CompareScreen #which { color: $text-muted; }
    CompareScreen #how { text-style: bold; }
    """

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("compare.leave", "escape", "back", "Leave everything as it is", show=False),
        Act("compare.other", "tab", "other", "The other difference", show=False),
    )

    def __init__(
        self, title: str, lines: Sequence[str], diffs: Sequence[tuple[str, Diff]], choices: Sequence[Choice]
    ) -> None:
        """``choices`` are letters, and what they answer and say."""
        super().__init__(classes="-dialogue")
        self._title = title
        self._lines = lines
        self._diffs = diffs
        self._choices = choices
        self._place = 0

    def compose(self) -> ComposeResult:
        with Vertical(id="compare"):
            yield Static(said(self._title, 200), id="title", markup=False)
            for line in self._lines:
                yield Static(said(line, 500), markup=False, classes="told")
            yield Static("", id="which", markup=False)
            yield Lines()
            words = [f"{key} {label}" for key, _, label in self._choices]
            if len(self._diffs) > 1:
                words.append("tab other difference")
            yield Static(drawn(" · ".join([*words, "esc back"])), id="how", markup=False)

    def on_mount(self) -> None:
        """The first difference."""
        self._show()

    def _show(self) -> None:
        title, diff = self._diffs[self._place]
        self.query_one("#which", Static).update(f"{said(title, 100)}: +{diff.added} -{diff.removed}")
        self.query_one(Lines).set_lines(painted(diff))

    def do_other(self) -> None:
        """The next one."""
        self._place = (self._place + 1) % len(self._diffs)
        self._show()

    def do_leave(self) -> None:
        """Nothing."""
        self.dismiss("")

    def on_key(self, event: events.Key) -> None:
        """A choice."""
        for key, answer, _ in self._choices:
            if event.key == key:
                event.stop()
                self.dismiss(answer)
                return
