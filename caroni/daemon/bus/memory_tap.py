"""A tap on the in-process exchange: what :mod:`caroni.daemon.bus.amqp_tap` is on RabbitMQ."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from secrets import token_hex

from caroni.daemon.bus.memory import MemoryBroker, MemoryBus
from caroni.daemon.ports import Delivery, QueueSpec
from caroni.services.tapping import AWAY, CLOSED, LIVE, Tapped, TapState

#: messages that are kept before the oldest are dropped
BUFFER = 2000


class MemoryTap:
    """Implements :class:`caroni.tui.tap.Tap` on a :class:`MemoryBroker`."""

    def __init__(self, broker: MemoryBroker, *, buffer: int = BUFFER) -> None:
        self._broker = broker
        self._bus: MemoryBus | None = None
        self._kept: deque[Tapped] = deque()
        self._room = buffer
        self._unacked: list[Delivery] = []
        self._acking: asyncio.Task[None] | None = None
        self.received = 0
        self.dropped = 0

    @property
    def state(self) -> TapState:
        """``live``, ``away`` or ``closed``."""
        if self._bus is None:
            return CLOSED
        return LIVE if self._bus.connected else AWAY

    @property
    def reason(self) -> str:
        """Why it is not live, in words."""
        return "the in-process broker is away" if self.state == AWAY else ""

    async def start(self) -> None:
        """Begin to listen."""
        if self._bus is None:
            self._bus = MemoryBus(self._broker, prefetch=self._room)
            spec = QueueSpec(
                name=f"caroni.tap.{token_hex(8)}", bindings=("wf.#",), max_length=self._room, exclusive=True
            )
            await self._bus.start((spec,), self._receive, lambda: None)

    def _receive(self, delivery: Delivery) -> None:
        self.received += 1
        if len(self._kept) >= self._room:
            self._kept.popleft()
            self.dropped += 1
        self._kept.append(
            Tapped(at=time.time_ns() // 1000, routing_key=delivery.routing_key, body=delivery.body)
        )
        self._unacked.append(delivery)
        if self._acking is None:
            self._acking = asyncio.create_task(self._ack())

    async def _ack(self) -> None:
        self._acking = None
        done, self._unacked = self._unacked, []
        if self._bus is not None:
            await self._bus.ack(done)

    def drain(self, limit: int = BUFFER) -> list[Tapped]:
        """The oldest messages that have not been drained, at most ``limit``."""
        return [self._kept.popleft() for _ in range(min(limit, len(self._kept)))]

    async def close(self) -> None:
        """Listen no more."""
        bus, self._bus = self._bus, None
        if self._acking is not None:
            await self._acking
        self._unacked.clear()
        self._kept.clear()
        if bus is not None:
            await bus.close()
