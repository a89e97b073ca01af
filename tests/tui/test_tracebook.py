"""The window of messages: two sources in one order, nothing twice, bounded at both ends."""

from __future__ import annotations

import pytest

from caroni.services.tapping import FIRST_TAPPED
from caroni.services.traced import EVERYTHING, TraceEntry, TraceFilter
from caroni.tui import tracebook
from caroni.tui.tracebook import TraceBook
from caroni.tui.tracefilter import cli_words, described, parsed

M, A = "caroni://a/manager/m", "caroni://b/agent/a"


def told(rev: int, at: int = 0, **more: object) -> TraceEntry:
    values = {"sender": M, "receiver": A, "type": "JobKill", "message_id": f"{rev:032x}", **more}
    return TraceEntry(rev=rev, at=at or rev * 10, direction="out", **values)  # type: ignore[arg-type]


def seen(number: int, at: int, **more: object) -> TraceEntry:
    return told(FIRST_TAPPED + number, at, verdict="", **more)


def revs(book: TraceBook, **wanted: object) -> list[int]:
    shown = book.shown(EVERYTHING, **wanted)  # type: ignore[arg-type]
    return [e.rev - FIRST_TAPPED if e.rev > FIRST_TAPPED else -e.rev for e in shown.entries]


def bodies(*entries: TraceEntry) -> dict[int, bytes]:
    return {entry.rev: b"x" * 10 for entry in entries}


def test_both_stand_in_one_order_and_nothing_stands_twice() -> None:
    book = TraceBook()
    book.begin([told(1), told(2), told(3)], whole=True)
    some = [seen(1, 15), seen(2, 15), seen(3, 99), seen(4, 5, message_id=f"{2:032x}")]
    book.seen(some, bodies(*some))
    assert revs(book) == [-1, 1, 2, -2, -3, 3]
    book.later([told(4, 120, message_id=some[0].message_id)])
    assert revs(book) == [-1, 2, -2, -3, 3, -4]
    assert book.body(some[0].rev) is None
    assert book.body(some[1].rev) == b"x" * 10
    book.verified([seen(2, 15, summary="looked at")])
    assert [e.summary for e in book.shown(EVERYTHING).entries if e.summary] == ["looked at"]
    assert revs(book, words="LOOKED") == [2]


def test_the_ledger_keeps_its_order_when_its_clock_was_set_back() -> None:
    book = TraceBook()
    book.begin([told(1, 100), told(2, 50), told(3, 60)], whole=True)
    book.seen([seen(1, 55)], bodies(seen(1, 55)))
    assert revs(book) == [1, -1, -2, -3]


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracebook, "WINDOW", 10)
    monkeypatch.setattr(tracebook, "SEEN", 5)
    book = TraceBook()
    book.begin([told(n) for n in range(100, 108)], whole=True)
    assert book.at_start
    book.later([told(n) for n in range(108, 114)])
    assert (book.first, book.last, book.at_start, book.at_end) == (104, 113, False, True)
    book.earlier([told(n) for n in range(100, 104)])
    assert (book.first, book.last, book.at_end) == (100, 109, False)
    assert not book.shown(EVERYTHING).whole_end
    book.earlier([])
    assert book.at_start
    many = [seen(n, n) for n in range(20)]
    book.seen(many, bodies(*many))
    assert len(book._seen) == len(book._bodies) == 5
    assert book._bytes == 50


def test_messages_of_one_envelope_share_its_bytes() -> None:
    book = TraceBook()
    parts = [seen(1, 5, position=n, message_id=f"{n:032x}") for n in range(3)]
    book.seen(parts, bodies(parts[0]))
    assert book._bytes == 10
    book.begin([told(1, message_id=f"{0:032x}"), told(2, message_id=f"{1:032x}")], whole=True)
    assert book.body(parts[2].rev) is not None
    book.later([told(3, message_id=f"{2:032x}")])
    assert (book._bytes, book._parts) == (0, {})


def test_what_was_seen_is_filtered_here() -> None:
    book = TraceBook()
    some = [seen(1, 1, type="JobKill"), seen(2, 2, type="JobPause")]
    book.seen(some, bodies(*some))
    assert [e.type for e in book.shown(TraceFilter(type="pause")).entries] == ["JobPause"]


def test_what_is_typed() -> None:
    base = TraceFilter(workflow=b"\x01" * 16)
    filter, words = parsed("peer:g1 some type:offer failed words type: x:y", base)
    assert (filter.peer, filter.type, filter.failed, filter.workflow) == ("g1", "offer", True, base.workflow)
    assert words == "some words type: x:y"
    assert cli_words(filter) == ["01" * 16, "--peer", "g1", "--type", "offer", "--failed"]
    assert described(filter, words, told(1, workflow_name="nightly")) == (
        "workflow nightly · with g1 · type offer · failed only · with 'some words type: x:y'"
    )
    assert described(EVERYTHING, "", None) == ""
