"""What a manager or an agent knows of those it has heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from caroni.config import Loaded
from caroni.core.messages import PresenceState
from caroni.core.peers import role_of
from caroni.core.plan import MINUTE, SECOND
from caroni.core.rows import Peer
from caroni.errors import ConfigError
from caroni.services.answers import Answers, answers
from caroni.services.clocks import delays
from caroni.services.explain import presence_of
from caroni.services.jobs import rows
from caroni.services.testimony import unsent
from caroni.services.words import span

if TYPE_CHECKING:
    from caroni.model.store import Store
    from caroni.services.standing import Standing

#: an agent that says nothing for this long is silent, where the configuration says nothing else
SILENCE = 15 * MINUTE
#: clocks that differ by no more than this agree
AGREES = 30 * SECOND


class PeerShown(msgspec.Struct, frozen=True, kw_only=True):
    """One peer. Instants in wall microseconds, 0 = never.

    ``gaps`` counts sequence numbers that have not come; ``put_back_at`` is when it was last noticed that its
    database is older than what it has said; ``unsent`` counts envelopes for it that have not left, the
    oldest since ``unsent_since``; ``jobs`` counts live jobs between us by state.

    ``state`` is an agent's presence in a word: ``online``, ``offline``, ``draining``, ``silent`` (it said
    that it is here, and has not been heard for long) or ``unknown``; ``presence`` is what it last said.

    Known only where :class:`Facts` were gathered: ``allowed`` (whether anything is taken from it, by which
    ``rule``, and ``standing`` in words), ``clock`` (microseconds that its fastest recent message took by both
    clocks: negative, its clock is ahead; see :func:`caroni.services.clocks.delays`) and ``answers``, of
    agents only.
    """

    uri: str
    role: str
    state: str
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
    allowed: bool | None = None
    rule: str = ""
    standing: str = ""
    clock: int | None = None
    answers: Answers | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What takes longer to find out of peers, and changes seldom."""

    standing: Callable[[str], Standing] | None
    clocks: dict[str, int]
    answers: dict[str, Answers]
    #: why nothing is known of their standing
    trouble: str = ""


async def facts_of(loaded: Loaded, store: Store) -> Facts:
    """Whom we believe, how far clocks are off, how agents answer.

    Raises:
        TransientError: the database is away.
    """
    standing, trouble = None, ""
    try:
        standing = await asyncio.to_thread(_standing_of, loaded)
    except ConfigError as error:
        trouble = str(error)
    return Facts(
        standing=standing,
        clocks=await delays(store),
        answers=await answers(store) if store.role == "manager" else {},
        trouble=trouble,
    )


def _standing_of(loaded: Loaded) -> Callable[[str], Standing]:
    from caroni.services.standing import standing_of  # certificates are slow to import

    return standing_of(loaded)


def with_facts(found: Sequence[PeerShown], facts: Facts) -> list[PeerShown]:
    """The same peers with what is known besides."""
    shown = []
    for peer in found:
        standing = facts.standing(peer.uri) if facts.standing is not None else None
        shown.append(
            replace(
                peer,
                allowed=standing.allowed if standing is not None else None,
                rule=standing.rule if standing is not None else "",
                standing=standing.text if standing is not None else facts.trouble,
                clock=facts.clocks.get(peer.uri),
                answers=facts.answers.get(peer.uri),
            )
        )
    return shown


def clock_in_words(delay: int | None) -> str:
    """How far a peer's clock is off, as far as that can be told; empty if nothing is known."""
    if delay is None:
        return ""
    if delay < -AGREES:
        return f"ahead by {span(-delay)}"
    return f"behind, or slow, by {span(delay)}" if delay > AGREES else "agrees"


async def peers(store: Store, now: int, *, silence: int = SILENCE) -> list[PeerShown]:
    """Everybody who was ever heard, and everybody something waits for, by identity.

    Args:
        store: a manager's or an agent's, open for reading.
        now: wall microseconds.
        silence: an agent that has not been heard for so long is silent, unless it said until when it is away.
    """
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
    return [_shown(known.get(uri) or Peer(uri=uri), waiting, counts, now, silence) for uri in everybody]


def _state(peer: Peer, now: int, silence: int) -> str:
    if peer.presence is PresenceState.UNSPECIFIED:
        return "unknown"
    if peer.presence is PresenceState.OFFLINE and (peer.away_until > now or not peer.away_until):
        return "offline"
    if peer.last_contact < now - silence:
        return "silent"
    return peer.presence.name.lower()


def _shown(
    peer: Peer,
    waiting: dict[str, tuple[int, int]],
    counts: dict[str, dict[str, int]],
    now: int,
    silence: int,
) -> PeerShown:
    count, since = waiting.get(peer.uri, (0, 0))
    role = role_of(peer.uri)
    return PeerShown(
        uri=peer.uri,
        role=role or "unsigned",
        state=_state(peer, now, silence) if role == "agent" else "",
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
