"""What both sides keep of those they have heard, and how a database that was put back is noticed.

A stream numbers what one database says to one recipient. A number that comes twice under different
message ids was given by a database that has forgotten what it said: it was put back from a backup. The
peer notices first; it says how much it has heard, and the owner compares (``was_put_back``).
"""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core.draft import Draft, Origin, RenewStream
from caroni.core.messages import JobReport, JobReportRequest
from caroni.core.plan import DAY, MINUTE
from caroni.core.rows import Peer

#: a peer that was put back is told so at most this often
_TELL_EVERY = 10 * MINUTE


def role_of(uri: str) -> str:
    """``agent`` of ``caroni://site/agent/name``; empty for anything else."""
    parts = uri.split("/")
    return parts[3] if len(parts) > 3 else ""


def contact(d: Draft, origin: Origin, sequence: int = 0) -> bool:
    """Somebody was heard: the leases of his jobs count from here.

    A gap in ``sequence`` only reports what a broker lost; it never rejects or orders. True: he should be
    asked (or told) how we stand, because he speaks from a new stream or from an old database.
    """
    peer = d.get(Peer, origin.uri)
    if peer is None:
        peer = Peer(uri=origin.uri, first_contact=d.now)
    stream, highest, gaps, rolled_back_at = peer.stream_id, peer.sequence, peer.gaps, peer.rolled_back_at
    differs = False
    if origin.stream_id > stream:
        differs = stream > 0
        stream, highest, gaps = origin.stream_id, 0, 0
    if sequence and origin.stream_id == stream:
        if sequence > highest:
            gaps += sequence - highest - 1
            highest = sequence
        elif gaps:
            gaps -= 1  # a late one
        elif d.now - rolled_back_at >= _TELL_EVERY:
            differs, rolled_back_at = True, d.now
            d.note("peer_was_put_back", peer=origin.uri, sequence=sequence, highest=highest)
    d.put(
        replace(
            peer,
            last_contact=d.now,
            stream_id=stream,
            sequence=highest,
            gaps=gaps,
            rolled_back_at=rolled_back_at,
        )
    )
    return differs


def heard_of(d: Draft, uri: str) -> tuple[int, int]:
    """The stream and the highest sequence heard of a peer, to tell him."""
    peer = d.get(Peer, uri)
    return (peer.stream_id, peer.sequence) if peer is not None else (0, 0)


def was_put_back(d: Draft, origin: Origin, m: JobReport | JobReportRequest) -> bool:
    """Whether this peer has heard more of us than we remember to have said: of our stream, or a later one."""
    state = d.state
    if any(isinstance(action, RenewStream) for action in d.actions):
        return False  # that is known, and this unit of work begins anew already
    if m.seen_stream == state.own_stream:
        return m.seen_sequence >= max(state.next_sequence.get(origin.uri, 1), 1)
    return state.own_stream < m.seen_stream <= _latest_stream(d)


def _latest_stream(d: Draft) -> int:
    """A peer that names a later one is wrong or worse: our numbers are not his to use up."""
    return (d.now + 2 * DAY) // 1000


def renew_stream(d: Draft, heard: int = 0) -> None:
    """Number from now on in a stream that nobody has heard: unix milliseconds, always rising.

    ``heard``: the stream that the peer has heard who told us; we may not remember it.
    """
    if heard > _latest_stream(d):
        heard = 0
    stream_id = max(d.state.own_stream + 1, heard + 1, d.now // 1000)
    d.facts += [("stream_id", str(stream_id)), ("put_back", "")]
    d.act(RenewStream(stream_id=stream_id))
