"""When the host's wall clock is set: every instant that a decision reads moves with it.

Deadlines are wall time, because they must survive a restart; durations are what they mean. The shell
compares the wall clock with one that nobody sets and reports the difference.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from caroni.core.draft import Draft, State
from caroni.core.rows import (
    AgentJob,
    AgentOffer,
    Availability,
    Job,
    Offer,
    Orphan,
    Peer,
    Request,
    Row,
    Step,
)

#: The instants in each row that decide something; the rest are for people and stay.
_INSTANTS: dict[type[Row], tuple[str, ...]] = {
    Peer: (
        "last_contact",
        "away_until",
        "asked_at",
        "report_asked_at",
        "reported_at",
        "rolled_back_at",
    ),
    Step: ("due",),
    Request: ("due", "created_at"),
    Offer: ("expires_at", "received_at"),
    Job: ("due", "accepted_at"),
    Orphan: ("due",),
    AgentOffer: ("due",),
    AgentJob: ("due",),
    Availability: ("due", "drain_deadline"),
}


class ClockJumped(msgspec.Struct, frozen=True):
    """The wall clock was set by so many microseconds (negative: back)."""

    by: int


def on_clock_jumped(d: Draft, event: ClockJumped) -> None:
    """Move what is armed. An announced absence of our own is an appointment and stays."""
    moved = 0
    for row_type, names in _INSTANTS.items():
        for row in list(d.state.tables.get(row_type, {}).values()):
            changes = {name: value + event.by for name in names if (value := getattr(row, name))}
            if changes:
                moved += 1
                d.put(replace(row, **{name: max(value, 1) for name, value in changes.items()}))
    d.note("clock_jumped", seconds=round(event.by / 1e6, 1), rows=moved)


def newest_instant(state: State) -> int:
    """The latest instant that this database says has been: a clock that is before it was set back."""
    peers = state.tables.get(Peer, {}).values()
    return max((peer.last_contact for peer in peers if isinstance(peer, Peer)), default=0)
