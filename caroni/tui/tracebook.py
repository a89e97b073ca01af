"""The messages that a trace screen holds: a window of the ledger, and what passed the broker beside it.

Plain Python, no widget. Both are put in one order; what the ledger has told is no longer shown as seen
passing. The window is bounded at both ends: looking back drops the newest, going on drops the oldest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from caroni.services.roundtrips import round_trips
from caroni.services.traced import TraceEntry, TraceFilter

#: messages of the ledger that are held, and messages and bytes that were seen passing
WINDOW = 3000
SEEN = 1000
SEEN_BYTES = 16 * 1024 * 1024

Key = tuple[int, int]
#: what a message is known by, wherever it was seen
_Name = tuple[str, str]


class Shown(msgspec.Struct, frozen=True):
    """What is to be painted: entries in order, and how long replies took."""

    entries: tuple[TraceEntry, ...] = ()
    took: dict[Key, int] = {}
    #: nothing older, nothing newer is there
    whole_start: bool = False
    whole_end: bool = True


class TraceBook:
    """Holds the window."""

    def __init__(self) -> None:
        self._ledger: list[TraceEntry] = []
        self._seen: dict[Key, TraceEntry] = {}
        self._bodies: dict[int, bytes] = {}
        self._bytes = 0
        #: how many messages of an envelope are held
        self._parts: dict[int, int] = {}
        #: what the ledger has told
        self._told: set[_Name] = set()
        self._start = False
        self._end = True
        self._shown: Shown | None = None

    # --- the ledger ------------------------------------------------------------------------------

    @property
    def last(self) -> int:
        """The highest number held, 0 for an empty window."""
        return self._ledger[-1].rev if self._ledger else 0

    @property
    def first(self) -> int | None:
        """The lowest number held."""
        return self._ledger[0].rev if self._ledger else None

    @property
    def at_start(self) -> bool:
        """Whether nothing older is known to be there."""
        return self._start

    @property
    def at_end(self) -> bool:
        """Whether the window goes to the newest message."""
        return self._end

    def begin(self, page: Sequence[TraceEntry], whole: bool) -> None:
        """Begin anew with the newest page; ``whole``: there is nothing before it."""
        self._ledger = list(page)
        self._start, self._end = whole, True
        self._told.clear()
        self._remember_told(page)
        self._shown = None

    def later(self, page: Sequence[TraceEntry]) -> None:
        """What came after :attr:`last`."""
        if not page:
            return
        self._ledger += page
        if len(self._ledger) > WINDOW:
            del self._ledger[: len(self._ledger) - WINDOW]
            self._start = False
        self._remember_told(page)
        self._shown = None

    def earlier(self, page: Sequence[TraceEntry]) -> None:
        """What came before :attr:`first`; nothing: that was the first of all."""
        if not page:
            self._start = True
        else:
            self._ledger = [*page, *self._ledger]
            self._remember_told(page)
            if len(self._ledger) > WINDOW:
                del self._ledger[WINDOW:]
                self._end = False
        self._shown = None

    # --- what passes -----------------------------------------------------------------------------

    def seen(self, entries: Iterable[TraceEntry], bodies: dict[int, bytes]) -> None:
        """What was tapped: its messages, and the envelopes by their numbers."""
        for entry in entries:
            if _name(entry) not in self._told:
                rev = entry.rev
                self._seen[entry.key] = entry
                self._parts[rev] = self._parts.get(rev, 0) + 1
                if rev not in self._bodies:
                    self._bodies[rev] = bodies[rev]
                    self._bytes += len(bodies[rev])
                self._shown = None
        while len(self._seen) > SEEN or (self._bytes > SEEN_BYTES and self._seen):
            self._drop(next(iter(self._seen)))

    def verified(self, entries: Iterable[TraceEntry]) -> None:
        """The same messages with their verdicts."""
        for entry in entries:
            if entry.key in self._seen:
                self._seen[entry.key] = entry
                self._shown = None

    def body(self, rev: int) -> bytes | None:
        """The envelope of a message that was seen passing."""
        return self._bodies.get(rev)

    def _drop(self, key: Key) -> None:
        del self._seen[key]
        rev = key[0]
        self._parts[rev] -= 1
        if not self._parts[rev]:
            del self._parts[rev]
            self._bytes -= len(self._bodies.pop(rev))

    def _remember_told(self, page: Iterable[TraceEntry]) -> None:
        told = {_name(entry) for entry in page}
        if len(self._told) > 2 * WINDOW:
            self._told = {_name(entry) for entry in self._ledger}
        self._told |= told
        for key in [k for k, e in self._seen.items() if _name(e) in told] if told else ():
            self._drop(key)

    # --- what is shown ---------------------------------------------------------------------------

    def shown(self, filter: TraceFilter, words: str = "") -> Shown:
        """Everything in order: the ledger by its numbers, the rest by the clock.

        Args:
            filter: what of the messages that were seen passing is wanted; the ledger was asked for no others.
            words: only entries that hold this text anywhere.
        """
        if self._shown is None:
            self._shown = Shown(
                tuple(_merged(self._ledger, [e for e in self._seen.values() if filter.passes(e)])),
                whole_start=self._start,
                whole_end=self._end,
            )
            self._shown = msgspec.structs.replace(self._shown, took=round_trips(self._shown.entries))
        if not words:
            return self._shown
        needle = words.casefold()
        found = tuple(entry for entry in self._shown.entries if needle in _text(entry))
        return msgspec.structs.replace(self._shown, entries=found)

    def changed(self) -> None:
        """Another filter."""
        self._shown = None


def _name(entry: TraceEntry) -> _Name:
    return (entry.message_id, entry.type)


def _merged(told: Sequence[TraceEntry], seen: Sequence[TraceEntry]) -> list[TraceEntry]:
    merged: list[TraceEntry] = []
    place = 0
    for entry in told:
        while place < len(seen) and seen[place].at < entry.at:
            merged.append(seen[place])
            place += 1
        merged.append(entry)
    return [*merged, *seen[place:]]


def _text(entry: TraceEntry) -> str:
    parts = (
        entry.type, entry.sender, entry.receiver, entry.summary, entry.workflow_name, entry.step,
        entry.job_type, entry.verdict, entry.job, entry.conversation, entry.message_id,
    )  # fmt: skip
    return "\n".join(parts).casefold()
