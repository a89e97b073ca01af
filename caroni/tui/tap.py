"""What the console needs of somebody who listens to the broker; made by the composition root."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Tapped(msgspec.Struct, frozen=True, kw_only=True):
    """One envelope as it passed. ``at`` is wall microseconds."""

    at: int
    routing_key: str
    body: bytes


class Tap(Protocol):
    """Listens to the exchange, or says why not."""

    @property
    def state(self) -> str:
        """``live``, ``away`` (it is tried again) or ``refused`` (the broker user may not read)."""
        ...

    @property
    def reason(self) -> str:
        """Why it is not live; empty if it is."""
        ...

    @property
    def received(self) -> int:
        """Envelopes that came, all of them."""
        ...

    @property
    def dropped(self) -> int:
        """Envelopes that came and were not kept, because nobody had taken them in time."""
        ...

    async def start(self) -> None:
        """Connect and listen, in the background; returns at once."""
        ...

    def drain(self, limit: int) -> Sequence[Tapped]:
        """Take what has come, oldest first."""
        ...

    async def close(self) -> None:
        """Stop listening."""
        ...
