"""Whether the daemon is well: the checks of ``caroni doctor`` as they come, and this console itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Any, ClassVar, cast

import msgspec

from caroni.errors import CaroniError
from caroni.services.checks import Check, ok, problem, warning
from caroni.services.doctor import examine
from caroni.services.words import plural, size
from caroni.tui.acts import Act
from caroni.tui.glyphs import mark
from caroni.tui.paint import BOLD, DIM
from caroni.tui.screens.listing import ListScreen
from caroni.tui.widgets.lines import Styled
from caroni.tui.widgets.table import Column, Key, Line

#: seconds after which everything is looked at again; a look may take this share of the time
_PERIOD, _SHARE = 15.0, 0.05
#: how late the console's loop may be, and how much memory it may take, before that is worth a warning
_LATE, _HEAVY = 0.1, 200 * 1024 * 1024

_ORDER = {"problem": 0, "warning": 1, "ok": 2}


class _Seen(msgspec.Struct, frozen=True):
    """The checks so far; ``looking`` while more are under way."""

    checks: tuple[tuple[tuple[str, int], Check], ...]
    looking: bool


class HealthScreen(ListScreen):
    """One line a check; what to do about it is beside it, or below."""

    NAME = "health"
    EMPTY = "Looking ..."
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("STATE", 10),
        Column("CHECK", 14, grow=1),
        Column("WHAT IS SO", 26, grow=4),
    )

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("health.again", "r", "look again", "Look at everything again, now"),
    )

    def __init__(self, site: Any) -> None:
        super().__init__(site)
        self._took = 0.0
        #: the answers of the last round, which stay until there are newer ones
        self._known: dict[tuple[str, int], Check] = {}

    @property
    def period(self) -> float:
        return max(_PERIOD * (2 if self.host.slow else 1), self._took / _SHARE)

    async def fetch(self) -> _Seen:
        begun = time.monotonic()
        answered: asyncio.Queue[list[Check] | None] = asyncio.Queue()
        fresh: dict[tuple[str, int], Check] = {}

        async def of_daemon() -> None:
            async for check in examine(self.site.loaded):
                answered.put_nowait([check])
            answered.put_nowait(await self._itself())

        async def of_broker() -> None:
            if self.host.probe is not None:
                answered.put_nowait(await self.host.probe(self.site.loaded))

        async def ended(one: Awaitable[None]) -> None:
            try:
                await one
            except CaroniError as error:
                answered.put_nowait([problem("look", str(error))])
            finally:
                answered.put_nowait(None)

        async with asyncio.TaskGroup() as group:
            left = 0
            for one in (of_broker(), of_daemon()):
                group.create_task(ended(one))
                left += 1
            while left:
                found = await answered.get()
                if found is None:
                    left -= 1
                    continue
                for check in found:
                    key = (check.name, sum(name == check.name for name, _ in fresh))
                    fresh[key] = self._known[key] = check
                if left:
                    self.so_far(_Seen(tuple(self._known.items()), True))
        self._known = {key: check for key, check in self._known.items() if key in fresh}
        self._took = time.monotonic() - begun
        return _Seen(tuple(self._known.items()), False)

    async def in_full(self, key: Key) -> list[Styled]:
        if self._snapshot is not None and time.monotonic() - self.fetched_at < self.period:
            return self.detail(self._snapshot, key)
        self._snapshot = await self.fetch()
        self.fetched_at = time.monotonic()
        return self.detail(self._snapshot, key)

    async def _itself(self) -> list[Check]:
        late = 0.0
        for _ in range(5):
            begun = time.monotonic()
            await asyncio.sleep(0.02)
            late = max(late, time.monotonic() - begun - 0.02)
        text = f"its loop is {late * 1000:.0f} ms late at most"
        found = [
            ok("console", text)
            if late < _LATE
            else warning("console", text, "this host is busy, or the terminal is slow: try --slow")
        ]
        memory = _memory()
        text = f"takes {size(memory)} of memory"
        found.append(ok("console", text) if memory < _HEAVY else warning("console", text, "start it again"))
        return [*found, self._tap()]

    def _tap(self) -> Check:
        tap = self.host.tap
        if tap is None:
            return ok("live trace", "not listened to: the trace shows the ledger")
        if tap.dropped:
            text = f"{plural(tap.received, 'message')} heard, {tap.dropped} dropped: they came too fast"
            return warning(
                "live trace", text, "the ledger has those of this daemon: scroll back in the trace"
            )
        if tap.state == "live":
            return ok("live trace", f"{plural(tap.received, 'message')} heard, none dropped")
        if tap.state == "closed":
            return ok("live trace", "messages are listened to while a trace is shown")
        return warning("live trace", f"{tap.state}: {tap.reason}", "the trace shows the ledger alone")

    # --- painting --------------------------------------------------------------------------------

    def paint(self, snapshot: _Seen) -> None:
        at_top = self.table.row == 0
        super().paint(snapshot)
        if at_top and self.table.lines:  # whoever looks at the worst goes on to look at the worst
            self.table.move_to(self.table.lines[0].key)

    def rows(self, snapshot: _Seen) -> Sequence[Line]:
        lines = []
        for key, check in sorted(snapshot.checks, key=lambda one: _ORDER[one[1].state]):
            state = mark("check", check.state)
            lines.append(Line(key, ((state.text, state.style), check.name, check.text)))
        return lines

    def caption(self, snapshot: _Seen) -> str:
        states = [check.state for _, check in snapshot.checks]
        counts = [
            f"{mark('check', 'problem').glyph} {plural(states.count('problem'), 'problem')}",
            f"{mark('check', 'warning').glyph} {plural(states.count('warning'), 'warning')}",
            f"{mark('check', 'ok').glyph} {states.count('ok')} ok",
        ]
        return " · ".join([*counts, "looking ..." if snapshot.looking else ""]).removesuffix(" · ")

    def detail(self, snapshot: _Seen, key: Key) -> list[Styled]:
        check = dict(snapshot.checks).get(cast("tuple[str, int]", key))
        if check is None:
            return ["This is not so any more."]
        state = mark("check", check.state)
        lines: list[Styled] = [(f"{state.text}: {check.name}", BOLD + state.style), check.text]
        if check.remedy and check.state != "ok":
            lines += ["", ("what to do", DIM), check.remedy]
        return lines

    def title_of(self, key: Key) -> str:
        return cast("tuple[str, int]", key)[0]

    # --- acts ------------------------------------------------------------------------------------

    def do_again(self) -> None:
        """Now."""
        self.refetch()


def _memory() -> int:
    """Bytes of this process that are in memory; 0 where that cannot be told."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096
    except (OSError, ValueError, IndexError):
        return 0
