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


@app.command(epilog=example("caroni peers --config m1"))
def peers(config: Configuration = None, json: Json = False) -> None:
    """Show whom a manager or an agent has heard, how they stand, and what waits for them."""
    from caroni.config import load_config
    from caroni.services.control import to_daemon
    from caroni.services.peers import peers as known
    from caroni.services.stores import now
    from caroni.services.words import ago

    loaded, at = load_config(config), now()

    async def look() -> list[PeerShown]:
        async with to_daemon(loaded, read_only=True) as store:
            return await known(store, at)

    found = asyncio.run(look())
    if json:
        output.as_json(found)
        return
    output.table(
        ("peer", "presence", "last heard", "jobs", "unsent", "gaps", "put back", "stream", "boot"),
        [
            (
                peer.uri,
                peer.presence,
                ago(peer.last_contact, at),
                ", ".join(f"{count} {state}" for state, count in sorted(peer.jobs.items())),
                peer.unsent or "",
                peer.gaps or "",
                ago(peer.put_back_at, at) if peer.put_back_at else "",
                f"{peer.stream}:{peer.sequence}" if peer.stream else "",
                peer.boot[:8],
            )
            for peer in found
        ],
        empty="nobody was ever heard",
    )
