"""Messages between lifelines: managers at the left, agents and submitters at the right, the exchange between.

A row is a message: an arrow in its direction, what it says on it, at the end who it was with, how long the
answer took, and whether its signature is good.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import cast

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from caroni.services.messagewords import brief, short_name
from caroni.services.roundtrips import elapsed
from caroni.services.traced import OK, UNVERIFIED, TraceEntry
from caroni.services.tracewords import step_words
from caroni.tui.acts import Act
from caroni.tui.glyphs import Mark, drawn, look
from caroni.tui.paint import BOLD, CURSOR, DIM, PLAIN, blank, fit, over, said, seg, strip
from caroni.tui.widgets.table import Line, LineTable

_TYPES = {
    "JobFulfillmentRequest": Style(color="magenta"),
    "JobFulfillmentDecline": Style(color="yellow"),
    "JobFulfillmentOfferReject": Style(color="yellow"),
    "JobFulfillmentOffer": Style(color="blue"),
    "JobFulfillmentOfferAccept": Style(color="blue"),
    "JobAccepted": Style(color="cyan"),
    "JobStatusUpdate": Style(color="cyan"),
    "JobDataAvailable": Style(color="green"),
    "JobKill": Style(color="red"),
}
_FAILED = Style(color="red", bold=True)


def signature(entry: TraceEntry) -> Mark:
    """Whether a message's signature is good: a glyph and a word."""
    if entry.verdict == OK:
        found = look("done")
        return Mark(found.glyph, "good", found.style)
    if entry.verdict == UNVERIFIED:
        return Mark(drawn("·"), "not verified", DIM)
    if entry.verdict == "E_UNSIGNED":
        found = look("warning")
        return Mark(found.glyph, "unsigned", found.style)
    found = look("failed")
    return Mark(found.glyph, entry.verdict, found.style)


def type_style(entry: TraceEntry) -> Style:
    """The colour of a message's type; words say the same."""
    return _FAILED if entry.failed else _TYPES.get(entry.type, PLAIN)


def label(entry: TraceEntry) -> str:
    """What stands on an arrow: the type, the step, and what matters of it."""
    if entry.kind != "message":
        name = f"{brief(entry.type)} {entry.kind}" if entry.type else entry.kind
        return f"{name}: {entry.verdict} {entry.summary}"
    parts = (brief(entry.type), step_words(entry), entry.summary)
    return " ".join(part for part in parts if part)


def at_manager(uri: str) -> bool:
    """Whether a participant stands at the left."""
    return "/manager/" in uri


class SequenceView(LineTable):
    """The sequence view; its rows are the same as the list's, by the same keys."""

    DEFAULT_CSS = "SequenceView { height: 1fr; overflow-x: hidden; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__((), id=id, classes=classes)
        self._entries: Mapping[object, TraceEntry] = {}
        self._took: Mapping[tuple[int, int], int] = {}
        self._managers: tuple[str, ...] = ()

    def set_messages(
        self, rows: Sequence[Line], entries: Mapping[object, TraceEntry], took: Mapping[tuple[int, int], int]
    ) -> None:
        """Show these messages, in their order."""
        self._entries, self._took = entries, took
        found = dict.fromkeys(
            uri for entry in entries.values() for uri in (entry.sender, entry.receiver) if at_manager(uri)
        )
        self._managers = tuple(uri for uri in found if "*" not in uri)
        self.set_rows(rows)

    def reason(self, act: Act) -> str:
        """Time goes down here."""
        if act.id in ("table.sort", "table.reverse"):
            return "a sequence is in the order of time; v shows a list"
        return super().reason(act)

    # --- painting --------------------------------------------------------------------------------

    def _places(self, width: int) -> tuple[int, int, int, int, int]:
        """Cells: of the time, of the manager's name, of the way between, of the peer's name, of the rest."""
        wide = width >= 100
        at = 13 if width >= 72 else 9
        manager = (12 if wide else 8) if len(self._managers) > 1 else 0
        peer = 16 if wide else 11
        tail = 11
        return at, manager, max(width - at - manager - peer - tail - 2, 12), peer, tail

    def _heading(self, width: int) -> Strip:
        at, manager, way, peer, tail = self._places(width)
        only = said(short_name(self._managers[0])) if len(self._managers) == 1 else "manager"
        middle = (way - 2) // 2 - len("exchange") // 2 + 1
        # the left name stands over its lifeline, or over its own column
        left = fit("time", at) + (fit(only, manager) if manager else "")
        over_way = fit("" if manager else only, middle) + "exchange"
        pieces = [
            Segment(left, DIM + BOLD),
            Segment(fit(over_way, way + 1), DIM + BOLD),
            seg(fit("with", peer + 1), DIM + BOLD),
            seg(fit("took sig", tail, "right"), DIM + BOLD),
        ]
        return strip(pieces, width, self.rich_style)

    def render_line(self, y: int) -> Strip:
        """The names, or a message."""
        width = self.size.width
        if y == 0:
            return self._heading(width)
        place = y - 1 + int(self.scroll_offset.y)
        if place >= len(self.lines):
            if not self.lines and y == 2 and self.empty:
                return strip([seg(f"  {self.empty}", DIM)], width, self.rich_style)
            return self._lifelines(width)
        entry = self._entries.get(self.lines[place].key)
        if entry is None:
            return blank(width, self.rich_style)
        painted = strip(self._row_of(entry, width), width, self.rich_style)
        if place == self._row:
            return over(painted, CURSOR if self.has_focus else BOLD)
        return painted

    def _lifelines(self, width: int) -> Strip:
        at, manager, way, _, _ = self._places(width)
        half = (way - 2) // 2
        text = f"{' ' * (at + manager)}│{' ' * half}│{' ' * (way - 2 - half)}│"
        return strip([seg(text, DIM)], width, self.rich_style)

    def _row_of(self, entry: TraceEntry, width: int) -> list[Segment]:
        at, manager, way, peer, tail = self._places(width)
        to_right = at_manager(entry.sender) or not at_manager(entry.receiver)
        left, right = (entry.sender, entry.receiver) if to_right else (entry.receiver, entry.sender)
        style = type_style(entry)
        mine = self._chosen_conversation()
        strong = BOLD if mine and entry.conversation == mine else PLAIN
        took = self._took.get(entry.key)
        sign = signature(entry)
        pieces = [seg(f"{_clock(entry.at)[: at - 1]:<{at}}", DIM)]
        if manager:
            pieces.append(Segment(f"{fit(said(short_name(left)), manager - 1)} ", strong))
        pieces += self._arrow(entry, way, to_right, style + strong)
        pieces.append(Segment(f" {fit(said(short_name(right)), peer)} ", strong))
        pieces.append(seg(f"{fit(elapsed(took) if took is not None else '', tail - 3, 'right')} ", PLAIN))
        pieces.append(seg(sign.glyph, sign.style))
        return pieces

    @staticmethod
    def _arrow(entry: TraceEntry, way: int, to_right: bool, style: Style) -> list[Segment]:
        """From lifeline to lifeline, with the exchange's where the text leaves room for it."""
        inner = way - 2
        text = said(label(entry), 200)
        room = max(inner - 6, 1)
        text = fit(text, room).rstrip() if cell_len(text) > room else text
        fill = inner - cell_len(text) - 5
        middle = inner // 2
        line = "┄" if entry.kind != "message" else "─"
        if to_right:
            before, after = f"{line * 2} ", f" {line * fill}▶"
            start = 3 + cell_len(text)
            if start < middle < inner - 1:
                after = _crossed(after, middle - start)
            return [seg(f"├{before}"), Segment(text, style), seg(f"{after}│")]
        before, after = f"◀{line * fill} ", f" {line * 2}"
        if 0 < middle < fill:
            before = _crossed(before, middle)
        return [seg(f"│{before}"), Segment(text, style), seg(f"{after}┤")]

    def _chosen_conversation(self) -> str:
        entry = self._entries.get(self.key) if self.key is not None else None
        return entry.conversation if entry is not None else ""


def _crossed(line: str, place: int) -> str:
    return f"{line[:place]}┼{line[place + 1 :]}" if line[place : place + 1] in ("─", "┄") else line


def _clock(at: int) -> str:
    """Local time of day to the millisecond."""
    return time.strftime("%H:%M:%S", time.localtime(at / 1e6)) + f".{at // 1000 % 1000:03}"


def entry_key(key: object) -> tuple[int, int]:
    """A row's key as a message's."""
    return cast("tuple[int, int]", key)
