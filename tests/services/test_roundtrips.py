"""Which message answers which, and how long it took."""

from __future__ import annotations

from caroni.services.roundtrips import RoundTrips, round_trips
from caroni.services.traced import TraceEntry

M, A, B, ALL = "caroni://a/manager/m", "caroni://b/agent/a", "caroni://b/agent/b", "caroni://*/agent/*"
F = "JobFulfillment"


def entries(*told: tuple[int, str, str, str], conversation: str = "c1") -> list[TraceEntry]:
    return [
        TraceEntry(
            rev=n + 1, at=at, direction="out", sender=sender, receiver=receiver, type=type_,
            conversation=conversation,
        )
        for n, (at, sender, receiver, type_) in enumerate(told)
    ]  # fmt: skip


def took(*told: tuple[int, str, str, str]) -> list[int | None]:
    found = round_trips(entries(*told))
    return [found.get((n + 1, 0)) for n in range(len(told))]


def test_a_whole_handshake() -> None:
    assert took(
        (100, M, ALL, F + "Request"),
        (150, A, M, F + "Offer"),
        (170, B, M, F + "Decline"),
        (180, M, A, F + "OfferAccept"),
        (195, A, M, "JobAccepted"),
        (200, M, A, "JobDataAvailable"),
        (230, A, M, "JobStatusUpdate"),
        (900, A, M, "JobDataAvailable"),
        (901, A, M, "JobStatusUpdate"),
        (950, M, A, "JobRelease"),
    ) == [None, 50, 70, 30, 15, 5, 30, None, None, 49]


def test_a_repeated_question_counts_from_its_last_time() -> None:
    assert took(
        (100, M, ALL, F + "Request"),
        (5100, M, ALL, F + "Request"),
        (5130, A, M, F + "Offer"),
        (5140, A, M, F + "Offer"),
        (9000, M, ALL, F + "Request"),
        (9007, A, M, F + "Offer"),
    ) == [None, None, 30, None, None, 7]


def test_each_question_is_answered_once_and_by_whom_it_was_put_to() -> None:
    assert took(
        (10, M, A, "JobStatusRequest"),
        (15, B, M, "JobStatusUpdate"),
        (20, A, M, "JobStatusUpdate"),
        (30, A, M, "JobStatusUpdate"),
        (40, M, A, "JobKill"),
        (55, A, M, "JobStatusUpdate"),
    ) == [None, None, 10, None, None, 15]


def test_conversations_are_kept_apart_and_clocks_set_back_are_no_answer() -> None:
    pairs = RoundTrips()
    (asked,) = entries((100, M, A, "JobStatusRequest"))
    (other,) = entries((120, A, M, "JobStatusUpdate"), conversation="c2")
    (early,) = entries((90, A, M, "JobStatusUpdate"))
    (answer,) = entries((130, A, M, "JobStatusUpdate"))
    assert [pairs.add(e) for e in (asked, other, early, answer)] == [None, None, None, 30]


def test_what_failed_answers_nothing() -> None:
    import msgspec

    asked, answer = entries((100, M, A, "JobStatusRequest"), (120, A, M, "JobStatusUpdate"))
    assert round_trips([asked, msgspec.structs.replace(answer, verdict="E_SIG")]) == {}


def test_memory_is_bounded() -> None:
    from caroni.services import roundtrips

    pairs = RoundTrips()
    for n in range(roundtrips.MOST + 50):
        pairs.add(entries((n, M, A, "JobStatusRequest"), conversation=str(n))[0])
    assert len(pairs._open) == roundtrips.MOST
