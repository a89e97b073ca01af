"""The console's ear at the broker: made when it is first wanted, because what it needs is slow to import."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from caroni.errors import ConfigError
from caroni.services.tapping import AWAY, CLOSED, Tapped, TapState

if TYPE_CHECKING:
    from caroni.config import Loaded
    from caroni.daemon.bus.amqp_tap import AmqpTap


class ConsoleTap:
    """A :class:`caroni.tui.tap.Tap` on the broker that a configuration names."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._tap: AmqpTap | None = None
        #: why there is none, or that it is being made
        self._trouble = ""

    @property
    def state(self) -> TapState:
        """See :class:`caroni.tui.tap.Tap`."""
        if self._tap is not None:
            return self._tap.state
        return AWAY if self._trouble else CLOSED

    @property
    def reason(self) -> str:
        """See :class:`caroni.tui.tap.Tap`."""
        return self._tap.reason if self._tap is not None else self._trouble

    @property
    def received(self) -> int:
        """See :class:`caroni.tui.tap.Tap`."""
        return self._tap.received if self._tap is not None else 0

    @property
    def dropped(self) -> int:
        """See :class:`caroni.tui.tap.Tap`."""
        return self._tap.dropped if self._tap is not None else 0

    async def start(self) -> None:
        """See :class:`caroni.tui.tap.Tap`."""
        if self._tap is None:
            self._trouble = "connecting"
            try:
                tap = await asyncio.to_thread(broker_tap, self._loaded)
            except ConfigError as error:
                self._trouble = str(error)
                return
            if not self._trouble:
                return  # closed meanwhile
            self._tap = tap
        await self._tap.start()

    def drain(self, limit: int = 2000) -> list[Tapped]:
        """See :class:`caroni.tui.tap.Tap`."""
        return self._tap.drain(limit) if self._tap is not None else []

    async def close(self) -> None:
        """See :class:`caroni.tui.tap.Tap`."""
        self._trouble = ""
        if self._tap is not None:
            await self._tap.close()


def broker_tap(loaded: Loaded) -> AmqpTap:
    """A tap on the broker that a configuration names.

    Raises:
        ConfigError: its options can never work.
    """
    from caroni.daemon.bus.amqp_tap import AmqpTap
    from caroni.daemon.service import broker_options
    from caroni.wire.topics import short_id

    config = loaded.config
    return AmqpTap(broker_options(loaded), f"caroni.{config.role}.{short_id(config.uri)}")
