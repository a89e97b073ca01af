"""The console: which daemons it is attached to, which screen is shown, and what works everywhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import msgspec
from textual.app import App, SystemCommand
from textual.filter import LineFilter
from textual.screen import Screen

from caroni.config import Loaded
from caroni.errors import CaroniError
from caroni.services.checks import Check
from caroni.text import safe_line
from caroni.tui import keymap
from caroni.tui.acts import Act, Acting
from caroni.tui.asciifilter import AsciiOnly
from caroni.tui.commandlog import CommandLog
from caroni.tui.glyphs import ascii_only
from caroni.tui.screens import PLACES, Place, find_place
from caroni.tui.screens.base import ConsoleScreen, cause
from caroni.tui.site import Site
from caroni.tui.tap import Tap

_ASCII = AsciiOnly()
#: seconds between looks at whether a daemon runs
_LOOK = 2.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a console behaves."""

    readonly: bool = False
    #: for a slow line: less often, without movement
    slow: bool = False
    theme: str = "textual-dark"
    #: the first screen; empty: by the roles that are attached
    start: str = ""
    keymap: Path | None = None


class ConsoleApp(Acting, App[None]):
    """The app. It is told whom it is attached to and who listens to the broker; it reads no file itself."""

    CSS_PATH = Path(__file__).with_name("caroni.tcss")
    TITLE = "caroni"
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    SUSPENDED_SCREEN_CLASS = "-covered"

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("app.help", "question_mark,f1", "keys", "All keys that work here; enter runs one", show=False),
        Act("app.goto", "colon", "go to", "Go to a screen by its name", show=False),
        Act("app.log", "at", "log", "What this console did, as commands for a shell", show=False),
        Act("app.quit", "ctrl+q", "quit", "Leave; asks if something is not saved", show=False, priority=True),
        *(
            Act(f"app.go-{place.name}", place.key, place.name, place.about, show=False)
            for place in PLACES
        ),
    )  # fmt: skip

    def __init__(
        self,
        sites: Sequence[Site],
        settings: Settings | None = None,
        *,
        tap: Tap | None = None,
        probe: Callable[[Loaded], Awaitable[list[Check]]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or Settings()
        self.sites = tuple(sites)
        #: opened by the trace while it is shown: it changes what the broker tells senders
        self.tap = tap
        #: looks at a site's broker, for the health screen; nobody does where it is None
        self.probe = probe
        self.clock = clock
        self.log_of_commands = CommandLog(clock)
        self._daemons: dict[Site, bool] = {}
        super().__init__()

    # --- what screens ask ------------------------------------------------------------------------

    @property
    def readonly(self) -> bool:
        """Whether this console only looks."""
        return self.settings.readonly

    @property
    def slow(self) -> bool:
        """Whether the line to the terminal is slow."""
        return self.settings.slow

    def now(self) -> int:
        """Wall time in microseconds."""
        return int(self.clock() * 1_000_000)

    def say(self, text: str, severity: str = "information") -> None:
        """A toast; the text may hold words of others."""
        seconds = {"error": 8, "warning": 4}.get(severity, 3)
        self.notify(safe_line(text, 500), severity=cast("Any", severity), markup=False, timeout=seconds)

    def daemon_runs(self, site: Site) -> bool | None:
        """Whether a site's daemon runs, as it was last looked at; None: not looked at yet."""
        return self._daemons.get(site)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """What changes lines after they were drawn; Textual's own signs become ASCII where that is wanted."""
        filters = super().get_line_filters()
        return [*filters, _ASCII] if ascii_only() else filters

    def crumbs(self) -> list[str]:
        """The screens that lie on each other."""
        return [screen.crumb() for screen in self.screen_stack if isinstance(screen, ConsoleScreen)]

    # --- start and end ---------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Show the first screen."""
        if self.settings.theme in self.available_themes:
            self.theme = self.settings.theme
        if self.settings.keymap is not None:
            try:
                self.set_keymap(keymap.load(self.settings.keymap))
            except CaroniError as error:
                self.say(str(error), "error")
        first = find_place(self.settings.start) if self.settings.start else None
        roles = {site.role for site in self.sites}
        self.go(first or next(place for place in PLACES if place.roles & roles))
        self.run_worker(self._watch_daemons(), group="daemons", exit_on_error=True)

    async def _watch_daemons(self) -> None:
        import asyncio

        while True:
            for site in self.sites:
                self._daemons[site] = await site.runs()
            await asyncio.sleep(_LOOK)

    async def on_unmount(self) -> None:
        """Close what is open."""
        if self.tap is not None:
            await self.tap.close()
        for site in self.sites:
            await site.close()

    # --- where to --------------------------------------------------------------------------------

    def site_for(self, place: Place) -> Site | None:
        """The site that a screen is shown of: the one at hand if it can be, else the first that can."""
        here = self.screen.site if isinstance(self.screen, ConsoleScreen) else None
        if here is not None and here.role in place.roles:
            return here
        return next((site for site in self.sites if site.role in place.roles), None)

    def go(self, place: Place, site: Site | None = None) -> None:
        """Show a screen in place of all that are open."""
        site = site or self.site_for(place)
        if site is None:
            needed = " or ".join(sorted(place.roles))
            self.say(f"{place.name} are a matter of the {needed}: start with --config of one", "warning")
            return
        self._when_saved(lambda: self._show(place.load()(site)))

    def _show(self, screen: ConsoleScreen) -> None:
        while len(self.screen_stack) > 2:
            self.pop_screen()
        if len(self.screen_stack) == 2:
            self.switch_screen(screen)
        else:
            self.push_screen(screen)

    def open(self, screen: ConsoleScreen) -> None:
        """Lay a screen on top; escape comes back."""
        self.push_screen(screen)

    def back(self) -> None:
        """Close the screen on top; the first one stays."""
        if len(self.screen_stack) > 2:
            self.pop_screen()

    def next_site(self) -> None:
        """The same screen, of the next site that can have it."""
        screen = self.screen
        if not isinstance(screen, ConsoleScreen):
            return
        place = find_place(screen.NAME)
        root = next((one for one in self.screen_stack if isinstance(one, ConsoleScreen)), screen)
        place = place or find_place(root.NAME)
        if place is None:
            return
        able = [site for site in self.sites if site.role in place.roles]
        if len(able) < 2:
            self.say(f"only {able[0].name} is attached here" if able else "no other is attached", "warning")
            return
        after = able[(able.index(screen.site) + 1) % len(able)] if screen.site in able else able[0]
        self.go(place, after)

    def unsaved(self) -> list[str]:
        """What would be lost, in words; of screens that have ``unsaved``."""
        return [
            what
            for screen in self.screen_stack
            if (what := getattr(screen, "unsaved", "")) and isinstance(what, str)
        ]

    def _when_saved(self, then: Callable[[], object]) -> None:
        unsaved = self.unsaved()
        if not unsaved:
            then()
            return

        async def dialogue() -> None:
            from caroni.tui.screens.confirm import ConfirmScreen

            lines = [*unsaved, "A draft is kept and offered the next time."]
            if await self.push_screen_wait(ConfirmScreen("Leave without saving?", lines)):
                then()

        self.run_worker(dialogue(), group="dialogue", exclusive=True)

    # --- acts ------------------------------------------------------------------------------------

    async def action_act(self, id: str) -> None:
        """Digits go to screens; the rest as everywhere."""
        name = id.removeprefix("app.go-")
        if name != id:
            place = find_place(name)
            if place is not None and not self.screen.is_modal:
                self.go(place)
            return
        await super().action_act(id)

    def _fatal_error(self) -> None:
        """A crash is one line for the operator; ``CARONI_DEBUG=1`` shows where, without anybody's values."""
        self.bell()
        error = sys.exc_info()[1] or self._exception
        if isinstance(error, Exception):
            error = cause(error)
        debug = os.environ.get("CARONI_DEBUG", "") not in ("", "0")
        if debug and error is not None:
            from rich.traceback import Traceback

            told: Any = Traceback.from_exception(type(error), error, error.__traceback__, show_locals=False)
        else:
            what = safe_line(f"{type(error).__name__}: {error}", 500)
            told = f"caroni: internal error: {what} (CARONI_DEBUG=1 shows where; please report it)"
        self._exit_renderables.append(told)
        self._close_messages_no_wait()

    def do_help(self) -> None:
        """The keys."""
        from caroni.tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    async def do_goto(self) -> None:
        """The name of a screen."""
        from textual.widgets import Input

        from caroni.tui.screens.goto import GoToScreen

        screen = GoToScreen()
        await self.push_screen(screen, lambda place: self.go(place) if place is not None else None)
        # at once: what is typed now is the name, not keys of what lies below
        screen.set_focus(screen.query_one(Input))

    def do_log(self) -> None:
        """What was done."""
        from caroni.tui.screens.log import CommandLogScreen

        if not isinstance(self.screen, CommandLogScreen):
            self.open(CommandLogScreen(self._site_here()))

    def do_quit(self) -> None:
        """Leave."""
        self._when_saved(self.exit)

    async def action_quit(self) -> None:
        """Textual's own way to leave asks too."""
        self.do_quit()

    def _site_here(self) -> Site:
        for screen in reversed(self.screen_stack):
            if isinstance(screen, ConsoleScreen):
                return screen.site
        return self.sites[0]

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: where one can go, and what works on this screen."""
        from caroni.tui.widgets.frame import reachable

        for place in PLACES:
            if self.site_for(place) is not None:
                yield SystemCommand(f"Go to {place.name}", place.about, lambda place=place: self.go(place))
        for node, _, act, _ in reachable(screen):
            if (
                act is None
                or act.id.startswith(("app.go-", "table.", "lines."))
                or not isinstance(node, Acting)
            ):
                continue
            if not node.refusal(act):
                yield SystemCommand(
                    act.label.capitalize(),
                    act.sentence,
                    lambda node=node, id=act.id: self.run_worker(node.action_act(id)),
                )
        for theme in sorted(self.available_themes):
            yield SystemCommand(
                f"Theme {theme}", "Change the colours", lambda theme=theme: self._theme(theme)
            )

    def _theme(self, name: str) -> None:
        self.theme = name
