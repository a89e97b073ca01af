"""How long a silent agent keeps its jobs: the latest of every promise that was made.

Used by the decision to give a job up, and by whoever tells an operator when that will be.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from caroni.core.plan import MINUTE
from caroni.core.rows import Job, Peer

#: an agent that comes back from an announced absence has so long to say so
AFTER_ABSENCE = 15 * MINUTE

#: The step's own patience; the absence that the agent's offer asked for; an absence that it announced;
#: the same patience counted from the manager's own start (silence while it was down proves nothing).
Promise = Literal["lost_after", "max_offline", "announced", "started"]


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Until when an agent without contact keeps a job. Instants in wall microseconds."""

    last_contact: int
    lost_at: int
    because: Promise


def lease(job: Job, peer: Peer | None, lost_after: int, started_at: int) -> Lease:
    """The lease of a job.

    Args:
        job: as the manager knows it.
        peer: what is known of its agent.
        lost_after: the step's patience, microseconds.
        started_at: when the manager began to listen.
    """
    last_contact = max(peer.last_contact if peer is not None else 0, job.accepted_at)
    promises: tuple[tuple[int, Promise], ...] = (
        (last_contact + lost_after, "lost_after"),
        (last_contact + job.max_offline, "max_offline"),
        ((peer.away_until if peer is not None else 0) + AFTER_ABSENCE, "announced"),
        # silence before that proves nothing: we were not there, or a restore has forgotten what we heard
        (started_at + max(lost_after, job.max_offline), "started"),
    )
    lost_at, because = max(promises, key=lambda promise: promise[0])
    return Lease(last_contact=last_contact, lost_at=lost_at, because=because)
