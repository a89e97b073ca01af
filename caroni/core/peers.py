"""What both sides keep of those they have heard."""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core.draft import Draft, Origin
from caroni.core.rows import Peer


def contact(d: Draft, origin: Origin, sequence: int = 0) -> None:
    """Somebody was heard: the leases of his jobs count from here.

    A gap in ``sequence`` only reports what a broker lost; it never rejects or orders.
    """
    peer = d.get(Peer, origin.uri)
    if peer is None:
        peer = Peer(uri=origin.uri, first_contact=d.now)
    if origin.stream_id == peer.stream_id:
        sequence = max(sequence, peer.sequence)
    d.put(
        replace(
            peer,
            last_contact=d.now,
            stream_id=max(peer.stream_id, origin.stream_id),
            sequence=sequence,
        )
    )
