"""How long replies took: each is paired with the message of its conversation that asked for it.

Both instants are of one clock, the one whose ledger or tap it is, so no host's clock matters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from caroni.services.traced import TraceEntry

#: reply -> the messages that it may answer
_ANSWERS: dict[str, tuple[str, ...]] = {
    "JobFulfillmentOffer": ("JobFulfillmentRequest",),
    "JobFulfillmentDecline": ("JobFulfillmentRequest",),
    "JobFulfillmentOfferAccept": ("JobFulfillmentOffer",),
    "JobFulfillmentOfferReject": ("JobFulfillmentOffer",),
    "JobAccepted": ("JobFulfillmentOfferAccept",),
    "JobFulfillmentOfferWithdrawn": ("JobFulfillmentOfferAccept",),
    "JobDataAvailable": ("JobAccepted",),
    "JobStatusUpdate": ("JobDataAvailable", "JobStatusRequest", "JobKill", "JobPause", "JobResume"),
    "JobRelease": ("JobStatusUpdate",),
    "JobLogChunk": ("JobLogRequest",),
    "JobReport": ("JobReportRequest",),
    "WorkFlowCreated": ("WorkFlowCreate",),
    "WorkFlowRejected": ("WorkFlowCreate",),
    "WorkFlowStatusUpdate": (
        "WorkFlowStatusRequest",
        "WorkFlowCancel",
        "WorkFlowPause",
        "WorkFlowResume",
        "WorkFlowRetry",
    ),
}
_ASKS = frozenset(question for questions in _ANSWERS.values() for question in questions)
#: questions that are answered by everybody who heard them, each once
_BROADCAST = frozenset({"JobFulfillmentRequest"})
#: conversations whose questions are remembered
MOST = 10_000

#: type of a question, who asked, whom
_Asked = dict[tuple[str, str, str], int]


class RoundTrips:
    """Pairs messages as they come, in the order in which they were met."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, _Asked] = OrderedDict()

    def add(self, entry: TraceEntry) -> int | None:
        """Take one message; the microseconds since what it answers, None if it answers nothing known."""
        if entry.kind != "message" or entry.failed:
            return None
        conversation = entry.conversation or entry.request or entry.job
        if not conversation:
            return None
        asked = self._open.get(conversation)
        took = self._answer(entry, asked) if asked else None
        if entry.type in _ASKS:
            if asked is None:
                asked = self._open[conversation] = {}
                if len(self._open) > MOST:
                    self._open.popitem(last=False)
            # a question that is repeated counts from its last time: that one was heard, as far as is known
            asked[entry.type, entry.sender, entry.receiver] = entry.at
            if entry.type in _BROADCAST:
                # whoever has answered the last round may answer this one, too
                for answered in [key for key in asked if key[0] == "answered"]:
                    del asked[answered]
        return took

    def _answer(self, entry: TraceEntry, asked: _Asked) -> int | None:
        best: tuple[str, str, str] | None = None
        for question in _ANSWERS.get(entry.type, ()):
            for key, at in asked.items():
                if key[0] != question or not _meets(key, entry):
                    continue
                if best is None or at >= asked[best]:
                    best = key
        if best is None or entry.at < asked[best]:
            return None
        if best[0] in _BROADCAST:
            mark = ("answered", entry.sender, "")
            if mark in asked:
                return None
            took = entry.at - asked[best]
            asked[mark] = entry.at
            return took
        return entry.at - asked.pop(best)


def _meets(key: tuple[str, str, str], entry: TraceEntry) -> bool:
    """Whether a question went from this reply's receiver to its sender; broadcasts went to all."""
    _, asker, asked = key
    return asker == entry.receiver and ("*" in asked or asked == entry.sender)


def round_trips(entries: Iterable[TraceEntry]) -> dict[tuple[int, int], int]:
    """Microseconds that each reply took, by the reply's ``key``; entries in the order of their ``rev``."""
    pairs = RoundTrips()
    return {entry.key: took for entry in entries if (took := pairs.add(entry)) is not None}


def elapsed(microseconds: int) -> str:
    """How long something took, for a narrow column: ``850 us``, ``12 ms``, ``3.2 s``, ``5 min``.

    ``at once``: in the same unit of work.
    """
    if microseconds <= 0:
        return "at once"
    if microseconds < 1000:
        return f"{microseconds} us"
    if microseconds < 999_500:
        return f"{(microseconds + 500) // 1000} ms"
    seconds = microseconds / 1_000_000
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5940 else f"{seconds / 3600:.1f} h"
