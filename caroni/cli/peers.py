"""``caroni peers``: what is known of each peer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example

if TYPE_CHECKING:
    from caroni.services.peers import PeerShown

app = group()


@app.command(epilog=example("caroni peers --config m1", "caroni peers --json --config m1 | jq '.[].answers'"))
def peers(config: Configuration = None, json: Json = False) -> None:
    """Show whom a manager or an agent has heard, how they stand, and what waits for them."""
    from caroni.config import load_config
    from caroni.services import peers as knowing
    from caroni.services.control import to_daemon
    from caroni.services.stores import now
    from caroni.services.words import ago

    loaded, at = load_config(config), now()

    async def look() -> list[PeerShown]:
        async with to_daemon(loaded, read_only=True) as store:
            found = await knowing.peers(store, at, silence=loaded.config.manager.suspect_after)
            return knowing.with_facts(found, await knowing.facts_of(loaded, store))

    found = asyncio.run(look())
    if json:
        output.as_json(found)
        return
    manager = loaded.config.role == "manager"
    output.table(
        (
            "peer", "presence", "last heard", "jobs", "trust", "clock", *(["answers"] if manager else []),
            "unsent", "gaps", "put back", "stream", "boot",
        ),
        [
            (
                peer.uri,
                "silent" if peer.state == "silent" else peer.presence,
                ago(peer.last_contact, at),
                ", ".join(f"{count} {state}" for state, count in sorted(peer.jobs.items())),
                peer.rule if peer.allowed else peer.standing,
                knowing.clock_in_words(peer.clock),
                *([_answers(peer)] if manager else []),
                peer.unsent or "",
                peer.gaps or "",
                ago(peer.put_back_at, at) if peer.put_back_at else "",
                f"{peer.stream}:{peer.sequence}" if peer.stream else "",
                peer.boot[:8],
            )
            for peer in found
        ],
        empty="nobody was ever heard",
    )  # fmt: skip


def _answers(peer: PeerShown) -> str:
    one = peer.answers
    return f"{one.answered} of {one.asked}, {one.declined} declined" if one is not None else ""
