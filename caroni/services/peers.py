"""What a manager or an agent knows of those it has heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from caroni.core.peers import role_of
from caroni.core.rows import Peer
from caroni.services.explain import presence_of
from caroni.services.jobs import rows
from caroni.services.testimony import unsent

if TYPE_CHECKING:
    from caroni.model.store import Store


class PeerShown(msgspec.Struct, frozen=True, kw_only=True):
    """One peer. Instants in wall microseconds, 0 = never.

    ``gaps`` counts sequence numbers that have not come; ``put_back_at`` is when it was last noticed that its
    database is older than what it has said; ``unsent`` counts envelopes for it that have not left, the
    oldest since ``unsent_since``; ``jobs`` counts live jobs between us by state.
    """

    uri: str
    role: str
    presence: str
    away_until: int
    first_contact: int
    last_contact: int
    boot: str
    stream: int
    sequence: int
    gaps: int
    put_back_at: int
    reported_at: int
    unsent: int
    unsent_since: int
    jobs: dict[str, int]


async def peers(store: Store, now: int) -> list[PeerShown]:
    """Everybody who was ever heard, and everybody something waits for, by identity."""
    from caroni.model.mapping import unescape

    known = {peer.uri: peer for peer in await rows(store, Peer, "1 = 1")}
    waiting = await unsent(store)
    column, table, live = (
        ("agent", "job", "state IN ('pending', 'queued', 'running', 'paused')")
        if store.role == "manager"
        else ("manager", "agent_job", "NOT released")
    )
    counts: dict[str, dict[str, int]] = {}
    query = f"SELECT {column}, state, COUNT(*) FROM {table} WHERE {live} GROUP BY {column}, state"  # noqa: S608
    for uri, state, count in await store.database.fetch(query):
        counts.setdefault(unescape(uri), {})[str(state)] = int(count)
    everybody = sorted(known.keys() | {uri for uri in waiting if "*" not in uri} | counts.keys())
    return [_shown(known.get(uri) or Peer(uri=uri), waiting, counts, now) for uri in everybody]


def _shown(
    peer: Peer, waiting: dict[str, tuple[int, int]], counts: dict[str, dict[str, int]], now: int
) -> PeerShown:
    count, since = waiting.get(peer.uri, (0, 0))
    role = role_of(peer.uri)
    return PeerShown(
        uri=peer.uri,
        role=role or "unsigned",
        presence=presence_of(peer, now) if role == "agent" else "",
        away_until=peer.away_until,
        first_contact=peer.first_contact,
        last_contact=peer.last_contact,
        boot=peer.boot_id.hex(),
        stream=peer.stream_id,
        sequence=peer.sequence,
        gaps=peer.gaps,
        put_back_at=peer.rolled_back_at,
        reported_at=peer.reported_at,
        unsent=count,
        unsent_since=since,
        jobs=counts.get(peer.uri, {}),
    )
