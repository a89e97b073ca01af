"""What surrounds every screen: crumbs and state above, trouble below them, keys at the bottom."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, cast

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding
from textual.dom import DOMNode
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from caroni.tui.acts import REGISTRY, Act, Acting
from caroni.tui.glyphs import drawn, look
from caroni.tui.paint import BOLD, DIM, PLAIN, blank, fit, said, seg, strip

if TYPE_CHECKING:
    from caroni.tui.app import ConsoleApp
    from caroni.tui.screens.base import ConsoleScreen

_BAR = Style(reverse=True)


class _Line(Widget):
    """One line that is painted as segments."""

    DEFAULT_CSS = "_Line { height: 1; }"

    @property
    def host(self) -> ConsoleApp:
        """The app, with its own type."""
        return cast("ConsoleApp", self.app)

    @property
    def owner(self) -> ConsoleScreen:
        """The screen, with its own type."""
        return cast("ConsoleScreen", self.screen)

    def segments(self) -> list[Segment]:
        """What the line holds."""
        raise NotImplementedError  # pragma: no cover

    def render_line(self, y: int) -> Strip:
        """Paint it."""
        return strip(self.segments(), self.size.width) if y == 0 else blank(self.size.width)


class Head(_Line):
    """Where we are, whose data this is, and how it stands with daemon, database and broker."""

    def on_mount(self) -> None:
        """Let the clock go."""
        self.set_interval(10.0 if self.host.slow else 1.0, self.refresh)

    def segments(self) -> list[Segment]:
        """Crumbs at the left; site, states and flags at the right, as far as there is room."""
        host, owner = self.host, self.owner
        right = self._right(host, owner)
        width = self.size.width
        while right and sum(s.cell_length for part in right for s in part) > width * 2 // 3:
            right.pop(0)
        pieces = [s for part in right for s in part]
        room = width - sum(s.cell_length for s in pieces)
        crumbs = " › ".join(["caroni", *host.crumbs()])
        crumbs = said(crumbs)
        if cell_len(crumbs) > room - 2:  # the end says where we are
            crumbs = "…" + crumbs[-(max(room - 3, 1)) :]
        return [seg(fit(drawn(crumbs), room), BOLD), *pieces]

    def _right(self, host: ConsoleApp, owner: ConsoleScreen) -> list[list[Segment]]:
        """Pieces, the least important first."""
        parts = [
            [
                seg(
                    time.strftime(" %H:%M" if host.slow else " %H:%M:%S", time.localtime(host.clock())),
                    DIM,
                )
            ]
        ]
        daemon = host.daemon_runs(owner.site)
        if daemon is not None:
            state = look("done") if daemon else look("failed")
            parts.append([seg(f" daemon {state.glyph}", PLAIN if daemon else state.style)])
        parts.append([seg(f" db {look('failed' if owner.trouble else 'done').glyph}")])
        if host.tap is not None and host.tap.state != "closed":
            live = host.tap.state == "live"
            parts.append([seg(f" broker {look('done' if live else 'waiting').glyph}")])
        parts.append([seg(" "), Segment(said(owner.site.name, 40), BOLD)])
        flags = [
            flag
            for flag, on in (
                ("LAB", owner.site.lab),
                ("READ-ONLY", host.readonly),
                ("SLOW", host.slow),
                ("FROZEN", owner.frozen),
            )
            if on
        ]
        if flags:
            parts.append([seg(" "), *[seg(f" {flag} ", _BAR) for flag in flags]])
        return parts


class Banner(_Line):
    """What is wrong, since when, and when it is tried again; not there while all is well."""

    DEFAULT_CSS = "Banner { display: none; } Banner.-on { display: block; }"

    def on_mount(self) -> None:
        """Count down."""
        self.set_interval(1.0, self._tick)

    def _tick(self) -> None:
        if self.has_class("-on"):
            self.refresh()

    def show_trouble(self) -> None:
        """Appear or go, by what the screen says."""
        self.set_class(bool(self.owner.trouble), "-on")
        self.refresh()

    def segments(self) -> list[Segment]:
        """The trouble, the countdown and the age of what is shown; the numbers are never cut."""
        owner = self.owner
        again = f" again in {max(round(owner.retry_at - time.monotonic()), 0)} s" if owner.retry_at else ""
        age = ""
        if owner.fetched_at:
            age = f" · what you see is {round(time.monotonic() - owner.fetched_at)} s old"
        tail = f"{again}{age} "
        sign = f" {look('warning').glyph} "
        room = self.size.width - len(sign) - len(tail)
        return [seg(sign, _BAR), Segment(fit(said(owner.trouble), room), _BAR), seg(tail, _BAR)]


class TooSmall(Static):
    """Stands in for a screen that has no room."""

    def __init__(self) -> None:
        super().__init__("This terminal is too small: 60 columns and 15 rows are needed.", markup=False)


class Reachable(NamedTuple):
    """What keys do now: whose it is, a binding, the act if it is one of ours, and all keys that do it."""

    node: DOMNode
    binding: Binding
    act: Act | None
    keys: list[Binding]


def reachable(screen: DOMNode) -> list[Reachable]:
    """What works now, of the focused widget first, then of the screen, then of everywhere."""
    found: dict[str, Reachable] = {}
    for active in cast("ConsoleScreen", screen).active_bindings.values():
        binding = active.binding
        if binding.system:
            continue
        if binding.action in found:
            found[binding.action].keys.append(binding)
        else:
            act = REGISTRY.get(binding.id or "")
            found[binding.action] = Reachable(active.node, binding, act, [binding])
    return list(found.values())


def key_name(app: ConsoleApp, binding: Binding) -> str:
    """How a key is written for people."""
    shown = app.get_key_display(binding)
    return {"⏎": "enter", "⎋": "esc", "␛": "esc", "␣": "space"}.get(shown, shown)


class Foot(_Line):
    """The keys that work here, as many as there is room for; all of them are behind ``?``."""

    _painted: list[Segment] | None = None

    def on_mount(self) -> None:
        """Follow the focus."""
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.refresh())

    def show_changes(self) -> None:
        """Paint again if a key can be used now that could not, or the other way round."""
        segments = self.segments()
        if segments != self._painted:
            self._painted = segments
            self.refresh()

    def segments(self) -> list[Segment]:
        """Keys with their labels; those that cannot be used now are dimmed."""
        found: list[Segment] = []
        last = [seg(" ?", BOLD), seg(" all keys")]
        room = self.size.width - sum(s.cell_length for s in last)
        most = 6 if self.size.width < 100 else 14
        for node, binding, act, _ in reachable(self.screen):
            if act is None or not act.show or not binding.show or most == 0:
                continue
            refused = isinstance(node, Acting) and bool(node.refusal(act))
            piece = [
                seg(f" {key_name(self.host, binding)}", DIM if refused else BOLD),
                seg(f" {act.label} ", DIM if refused else PLAIN),
            ]
            size = sum(s.cell_length for s in piece)
            if size > room:
                break
            found += piece
            room -= size
            most -= 1
        return [*found, *last]
