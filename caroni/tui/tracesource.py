"""Where a trace screen's messages come from: the ledger and the broker's tap, or a file."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection
from importlib import import_module
from typing import TYPE_CHECKING

import msgspec

from caroni.services.belonging import Belonging
from caroni.services.tapping import FIRST_TAPPED, LIVE, Tapped, TapReader, verified
from caroni.services.traced import UNVERIFIED, Decoded, TraceEntry, TraceFilter
from caroni.tui.site import Site
from caroni.tui.tap import Tap
from caroni.tui.tracebook import WINDOW, Key, TraceBook

if TYPE_CHECKING:
    from caroni.model.store import Store
    from caroni.services.tracefile import Exported
    from caroni.wire.audit import Auditor

#: messages on a page, and envelopes that one look takes from the tap
PAGE, DRAIN = 300, 1000
#: seconds for which the trust store is not read again
TRUST_KEPT = 20.0
#: seconds over which messages are counted
_COUNTED = 5.0


class TraceSource:
    """Fills a :class:`TraceBook`, in a worker; one look at a time."""

    def __init__(self, site: Site, tap: Tap | None, exported: Exported | None = None) -> None:
        self.book = TraceBook()
        self._site = site
        self._tap = tap
        self._exported = exported
        self._reader = TapReader()
        self._belonging: tuple[Store, Belonging] | None = None
        self._auditor: tuple[float, Auditor] | None = None
        self._counts: deque[tuple[float, int]] = deque()
        self._ledger_count = 0

    # --- looks -----------------------------------------------------------------------------------

    async def begin(self, filter: TraceFilter) -> None:
        """The newest page for a filter."""
        # what takes envelopes apart is slow to import, and the console's loop has better to do
        await asyncio.to_thread(import_module, "caroni.services.opening")
        page = await self._page(filter, limit=PAGE)
        self.book.begin(page, whole=len(page) < PAGE)

    async def earlier(self, filter: TraceFilter) -> None:
        """A page further back."""
        self.book.earlier(await self._page(filter, before=self.book.first, limit=PAGE))

    async def go_on(self, filter: TraceFilter) -> None:
        """What has come since, from both."""
        if self._exported is not None:
            return
        while self.book.at_end:
            after = self.book.last
            if after:
                page = await self._page(filter, after=after, limit=PAGE)
                self.book.later(page)
            else:
                page = await self._page(filter, limit=PAGE)
                self.book.begin(page, whole=len(page) < PAGE)
            self._ledger_count += len(page)
            if len(page) < PAGE or not after:
                break
        await self._listen(filter)

    async def _page(
        self, filter: TraceFilter, *, after: int = 0, before: int | None = None, limit: int
    ) -> list[TraceEntry]:
        if self._exported is not None:
            return self._exported.trace(filter, after=after, before=before, limit=WINDOW)
        from caroni.services.ledger import trace

        uri = self._site.uri
        return await self._site.read(
            lambda store: trace(store, uri, filter, after=after, before=before, limit=limit)
        )

    async def _listen(self, filter: TraceFilter) -> None:
        tap = self._tap
        tapped = tap.drain(DRAIN) if tap is not None else []
        if not tapped:
            return
        self._reader.auditor = await self.auditor() if filter.failed else None
        entries, bodies = await asyncio.to_thread(self._take_apart, tapped)
        entries = await self._site.read(lambda store: self._named(store, entries))
        self.book.seen(entries, bodies)

    def _take_apart(self, tapped: list[Tapped]) -> tuple[list[TraceEntry], dict[int, bytes]]:
        entries: list[TraceEntry] = []
        bodies: dict[int, bytes] = {}
        for one in tapped:
            found = self._reader.of(one)
            entries += found
            bodies[found[0].rev] = one.body
        return entries, bodies

    async def _named(self, store: Store, entries: list[TraceEntry]) -> list[TraceEntry]:
        if self._belonging is None or self._belonging[0] is not store:
            self._belonging = (store, Belonging(store))
        return await self._belonging[1].fill(entries)

    # --- verification ----------------------------------------------------------------------------

    async def auditor(self) -> Auditor:
        """Verifies against the trust store, which is read again from time to time."""
        if self._auditor is None or time.monotonic() - self._auditor[0] > TRUST_KEPT:
            from caroni.services.opening import auditor_of
            from caroni.services.tracefile import auditor_for

            if self._exported is not None:
                made = await auditor_for(self._site.loaded.config.security.trust_dir, self._exported)
            else:
                made = await self._site.read(lambda store: auditor_of(self._site.loaded, store))
            self._auditor = (time.monotonic(), made)
        return self._auditor[1]

    async def verify(self, entries: Collection[TraceEntry]) -> None:
        """Look closely at those that were only seen passing, and are looked at now."""
        wanted = [
            (entry, body)
            for entry in entries
            if entry.verdict == UNVERIFIED and (body := self.book.body(entry.rev)) is not None
        ]
        if wanted:
            auditor = await self.auditor()
            self.book.verified(
                await asyncio.to_thread(lambda: [verified(entry, body, auditor) for entry, body in wanted])
            )

    async def message(self, key: Key, entry: TraceEntry | None) -> Decoded:
        """One message in full.

        Raises:
            UsageError: it is not there any more.
        """
        auditor = await self.auditor()
        rev, position = key
        if self._exported is not None:
            return self._exported.message(auditor, rev, position)
        if rev > FIRST_TAPPED and entry is not None:
            from caroni.services.opening import decoded

            body = self.book.body(rev) or b""
            return await asyncio.to_thread(decoded, entry, body, auditor)
        from caroni.services.ledger import message

        return await self._site.read(lambda store: message(self._site.loaded, store, rev, position, auditor))

    # --- how it stands -----------------------------------------------------------------------------

    def state(self) -> State:
        """Whether it is live, and how much comes."""
        tap = self._tap if self._exported is None else None
        live = tap is not None and tap.state == LIVE
        count = tap.received if live and tap is not None else self._ledger_count
        now = time.monotonic()
        if self._counts and count < self._counts[-1][1]:
            self._counts.clear()
        self._counts.append((now, count))
        while now - self._counts[0][0] > _COUNTED:
            self._counts.popleft()
        then, before = self._counts[0]
        rate = (count - before) / (now - then) if now - then >= 0.5 else 0.0
        if self._exported is not None:
            return State(live=False, reason="file", rate=0.0, dropped=0)
        if tap is None:
            return State(live=False, reason="this console does not listen to a broker", rate=rate, dropped=0)
        return State(
            live=live, reason="" if live else tap.reason or tap.state, rate=rate, dropped=tap.dropped
        )


class State(msgspec.Struct, frozen=True, kw_only=True):
    """``reason`` says why it is not live; ``rate`` is messages a second."""

    live: bool
    reason: str
    rate: float
    dropped: int
