"""The frame of every screen: header, banner, body, find line, footer; and the loop that reads for it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.css.query import NoMatches
from textual.screen import Screen
from textual.widgets import Input
from textual.worker import Worker

from caroni.errors import CaroniError, TransientError
from caroni.services.control import LeftForLater
from caroni.text import safe_line
from caroni.tui.acts import Act, Acting
from caroni.tui.commandlog import cli
from caroni.tui.site import Site
from caroni.tui.widgets.frame import Banner, Foot, Head, TooSmall

#: seconds between tries while the database is away
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
#: the smallest terminal that is drawn on
MIN_COLUMNS, MIN_ROWS = 60, 15


def cause(error: Exception) -> Exception:
    """What went wrong where several things were under way at once and one of them failed."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def unforeseen(error: Exception) -> str:
    """What is said of an error that we have not thought of: it must not end a console that somebody works on.

    Raises:
        Exception: the error, where ``CARONI_DEBUG`` asks for it, and of a widget that has gone.
    """
    if isinstance(error, NoMatches) or os.environ.get("CARONI_DEBUG", "") not in ("", "0"):
        raise error
    error = cause(error)
    return f"internal error: {type(error).__name__}: {error} (please report it)"


class ConsoleScreen(Acting, Screen[None]):
    """A screen that shows what ``fetch`` found.

    Subclasses give ``NAME`` (its word in crumbs and after ``:``), ``body`` and,
    if they show live data, ``fetch`` and ``paint``.
    """

    NAME: ClassVar[str] = ""
    #: seconds between the end of one look at the data and the next
    PERIOD: ClassVar[float] = 1.0
    #: whether ``/`` has something to find
    FINDS: ClassVar[bool] = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (140, "-wide")]
    AUTO_FOCUS = ".main"

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("screen.back", "escape", "back", "Close what is on top, else go back one screen", show=False),
        Act("screen.find", "slash", "find", "Find or filter; n and N go to the next and previous one"),
        Act("screen.next-found", "n", "next", "The next one that was found", show=False),
        Act("screen.previous-found", "N", "previous", "The previous one that was found", show=False),
        Act("screen.refresh", "ctrl+r", "refresh", "Look at the data now", show=False),
        Act("screen.freeze", "f2", "freeze", "Hold the picture still; again to go on", show=False),
        Act("screen.site", "w", "whose", "The next of the managers and agents that are attached", show=False),
    )

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site
        self.frozen = False
        #: what is wrong with the data on the screen, for the banner; empty if it is fresh
        self.trouble = ""
        self.fetched_at = 0.0
        #: when it is tried again, in the time of ``time.monotonic``; 0 if it is not waited for
        self.retry_at = 0.0
        self._fetched = False
        self._snapshot: Any = None
        self._wanted = asyncio.Event()
        self._reader: Worker[None] | None = None
        self._sought = ""

    # --- for subclasses --------------------------------------------------------------------------

    def body(self) -> ComposeResult:
        """The widgets between banner and footer; the one of class ``main`` gets the focus."""
        return iter(())

    async def fetch(self) -> Any:
        """Read what is shown; runs in a worker, again and again. None: there is nothing to read."""
        return None

    def paint(self, snapshot: Any) -> None:
        """Show what ``fetch`` found."""

    def find(self, text: str, final: bool) -> None:
        """Filter or look for ``text``, which may still be typed; empty ends it."""

    def find_next(self, direction: int) -> None:
        """Go to the next (1) or previous (-1) one that was found."""

    def crumb(self) -> str:
        """The screen's word in the header."""
        return self.NAME

    def leave(self) -> bool:
        """Whether escape may close this screen; a subclass with something inside closes that first."""
        return True

    @property
    def period(self) -> float:
        """Seconds between two looks here."""
        return self.PERIOD * (3 if self.host.slow else 1)

    # --- the frame -------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield Head()
        yield Banner()
        with Vertical(id="body"):
            yield from self.body()
        yield TooSmall()
        yield Input(id="find", placeholder="find", classes="-hidden", compact=True)
        yield Foot()

    def on_mount(self) -> None:
        """Start to read."""
        self._start_reading()

    def on_screen_resume(self) -> None:
        """Shown again."""
        self._start_reading()
        for head in self.query(Head):
            head.refresh()

    def on_screen_suspend(self) -> None:
        """Something lies on top: nothing is read for it."""
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def on_resize(self) -> None:
        """Say so where the terminal is too small to be drawn on."""
        small = self.size.width < MIN_COLUMNS or self.size.height < MIN_ROWS
        self.set_class(small, "-small")

    def _start_reading(self) -> None:
        if type(self).fetch is ConsoleScreen.fetch or not self.is_current:
            return
        if self._reader is None or self._reader.is_finished:
            self._reader = self.run_worker(
                self._read, group="fetch", exclusive=True, exit_on_error=True, name=f"fetch {self.NAME}"
            )

    async def _read(self) -> None:
        try:
            await self._keep_reading()
        except NoMatches:
            # widgets go before the screen does, and what was under way may still look for them
            if not self._is_going:
                raise

    @property
    def _is_going(self) -> bool:
        return self._pruning or self._closing or not self.is_attached or not self.host.is_running

    async def _keep_reading(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            self._wanted.clear()
            try:
                found = await self.fetch()
            except CaroniError as error:
                later = pause if isinstance(error, TransientError) else _LONGEST_PAUSE / 6
                self._went_wrong(str(error), later)
            except Exception as error:
                later = pause
                self._went_wrong(unforeseen(error), later)
            else:
                pause = _FIRST_PAUSE
                self._went_well(found)
                await self._wait(self.period)
                continue
            await self._wait(later)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            pass

    def _went_wrong(self, why: str, later: float) -> None:
        self.trouble, self.retry_at = safe_line(why, 500), time.monotonic() + later
        self.set_class(self._fetched, "-stale")
        self.query_one(Banner).show_trouble()

    def _went_well(self, found: Any) -> None:
        self.fetched_at, self._fetched = time.monotonic(), True
        if self.trouble:
            self.trouble, self.retry_at = "", 0.0
            self.remove_class("-stale")
            self.query_one(Banner).show_trouble()
        self._snapshot = found
        if not self.frozen:
            self._repaint()

    def _repaint(self) -> None:
        if self._fetched and self.is_attached:
            with self.host.batch_update():
                self.paint(self._snapshot)
            for foot in self.query(Foot):
                foot.show_changes()

    def so_far(self, found: Any) -> None:
        """Show what ``fetch`` has found while it goes on; only from within it."""
        self.fetched_at, self._fetched, self._snapshot = time.monotonic(), True, found
        if not self.frozen and self.is_current:
            self._repaint()

    def refetch(self) -> None:
        """Look at the data as soon as possible."""
        self._wanted.set()

    # --- doing -----------------------------------------------------------------------------------

    def cli(self, *words: str) -> str:
        """The command line that does the same on this screen's site."""
        return cli(self.site, *words)

    def do(self, label: str, line: str, action: Callable[[], Awaitable[str]]) -> None:
        """Carry something out without waiting: its answer or error becomes a toast and is written down.

        Args:
            label: what it is, for the toast.
            line: the command line that does the same.
            action: gives its answer in a few words.
        """

        async def doing() -> None:
            entry = self.host.log_of_commands.begin(line)
            try:
                answer = await action()
            except LeftForLater as error:
                entry.outcome = str(error)
                self.host.say(f"{label}: {error}", "warning")
            except CaroniError as error:
                entry.outcome, entry.failed = str(error), True
                self.host.say(f"{label}: {error}", "error")
            except Exception as error:
                entry.outcome, entry.failed = unforeseen(error), True
                self.host.say(f"{label}: {entry.outcome}", "error")
            else:
                entry.outcome = answer or "done"
                self.host.say(f"{label}: {answer or 'done'}")
            self.refetch()

        # on the app: going to another screen must not end it
        self.host.run_worker(doing(), group="action", exit_on_error=True, name=label)

    async def confirm(self, title: str, lines: list[str], phrase: str = "") -> bool:
        """Ask before something is done; only from a worker (:meth:`ask`).

        Args:
            title: what is to be done.
            lines: what it affects.
            phrase: must be typed, for what destroys something.
        """
        from caroni.tui.screens.confirm import ConfirmScreen

        answer: bool | None = await self.host.push_screen_wait(ConfirmScreen(title, lines, phrase))
        return answer is True

    def ask(self, dialogue: Callable[[], Awaitable[None]]) -> None:
        """Run something that asks (:meth:`confirm`) before it goes on; errors become toasts."""

        async def asking() -> None:
            try:
                await dialogue()
            except CaroniError as error:
                self.host.say(str(error), "error")
            except Exception as error:
                self.host.say(unforeseen(error), "error")

        self.run_worker(asking(), group="dialogue", exclusive=True, exit_on_error=True)

    # --- acts ------------------------------------------------------------------------------------

    def do_back(self) -> None:
        """Close the find line, then whatever the screen has open, then the screen."""
        bar = self.query_one("#find", Input)
        if not bar.has_class("-hidden"):
            self._close_find("")
        elif self.leave():
            self.host.back()

    def do_find(self) -> None:
        """Open the find line."""
        if not self.FINDS:
            return
        bar = self.query_one("#find", Input)
        bar.remove_class("-hidden")
        bar.value = self._sought
        bar.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Find while it is typed."""
        if event.input.id == "find" and not event.input.has_class("-hidden"):
            event.stop()
            self._sought = event.value
            self.find(event.value, False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep what was found, and go back to the body."""
        if event.input.id == "find":
            event.stop()
            self._close_find(event.value)

    def _close_find(self, text: str) -> None:
        bar = self.query_one("#find", Input)
        bar.add_class("-hidden")
        self._sought = text
        self.find(text, True)
        for main in self.query(self.AUTO_FOCUS or "*"):
            main.focus()
            break

    def do_next_found(self) -> None:
        """Forward."""
        self.find_next(1)

    def do_previous_found(self) -> None:
        """Backward."""
        self.find_next(-1)

    def do_refresh(self) -> None:
        """Now."""
        self.refetch()

    def do_freeze(self) -> None:
        """Stop or go on painting."""
        self.frozen = not self.frozen
        self.query_one(Head).refresh()
        if not self.frozen:
            self._repaint()

    def do_site(self) -> None:
        """Show the same of the next site."""
        self.host.next_site()
