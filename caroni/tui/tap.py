"""What the console needs of a tap: messages as they pass the broker, raw, and whether they still do."""

from __future__ import annotations

from typing import Protocol

from caroni.services.tapping import AWAY, CLOSED, LIVE, NOT_PERMITTED, Tapped, TapState

__all__ = ["AWAY", "CLOSED", "LIVE", "NOT_PERMITTED", "Tap", "TapState", "Tapped"]


class Tap(Protocol):
    """A look at the exchange; ``caroni.daemon.bus`` has one for each broker.

    It is opened while somebody looks and closed after: as long as it is open, a sender is not told that a
    recipient has no queue. It may be started again after it was closed.
    """

    @property
    def state(self) -> TapState:
        """``live``; ``away`` (tried again); ``not permitted`` (the ledger is all there is); ``closed``."""
        ...

    @property
    def reason(self) -> str:
        """Why it is not live, in words; empty while it is."""
        ...

    @property
    def received(self) -> int:
        """Messages since it was made."""
        ...

    @property
    def dropped(self) -> int:
        """Of those, how many were dropped since nobody drained them in time."""
        ...

    async def start(self) -> None:
        """Begin to connect; returns at once, and goes on for ever."""
        ...

    def drain(self, limit: int = 2000) -> list[Tapped]:
        """The oldest messages that have not been drained, at most ``limit``."""
        ...

    async def close(self) -> None:
        """Stop listening; what was not drained is gone."""
        ...
