"""What a daemon needs of the world, as protocols. The contract tests run on every implementation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

import msgspec


class QueueSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A queue that a daemon (or, exclusive, a submitter) reads.

    ``ttl`` is milliseconds and with ``max_length`` only for broadcasts: control queues keep everything.
    """

    name: str
    bindings: tuple[str, ...]
    ttl: int | None = None
    max_length: int | None = None
    #: exclusive, auto-deleted and not durable: submitters and consoles only
    exclusive: bool = False
    #: bound to the exchange of the base protocol's peers instead of ours (lab mode)
    base: bool = False


class Delivery(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One message from the bus. It stays unacknowledged until :meth:`Bus.ack`."""

    body: bytes
    routing_key: str
    queue: str
    #: AMQP ``reply_to``: used only as the identity of unsigned peers in lab mode
    reply_to: str = ""
    redelivered: bool = False
    #: implementation's handle (channel generation and delivery tag)
    token: object = None


class Publish(msgspec.Struct, frozen=True, kw_only=True):
    """One envelope to publish, mandatory and persistent. Properties serve people and tools only."""

    routing_key: str
    body: bytes
    message_id: str
    type: str
    reply_to: str = ""
    correlation_id: str = ""
    #: by the exchange of the base protocol's peers, with no other property than ``reply_to``
    base: bool = False


class Outcome(Enum):
    """What the broker said of a publish."""

    CONFIRMED = "confirmed"
    UNROUTABLE = "unroutable"


class Bus(Protocol):
    """Topic exchange with durable queues, confirms and manual acknowledgement (``docs/protocol.md``).

    ``start`` returns at once, with or without a broker in reach: connecting goes on in the background
    for ever. Deliveries arrive by a plain callback that must not block; after a lost connection they
    arrive again (``redelivered``), and acks for the old ones are silently dropped.
    """

    @property
    def connected(self) -> bool:
        """Whether publishing can be tried now."""
        ...

    async def start(
        self,
        queues: Sequence[QueueSpec],
        on_delivery: Callable[[Delivery], None],
        on_connected: Callable[[], None],
    ) -> None:
        """Declare the queues, consume them, and call ``on_connected`` at every (re)connection."""
        ...

    async def bind(self, queue: str, routing_keys: Sequence[str]) -> None:
        """Make exactly ``routing_keys`` the bindings of a queue, now and after every reconnection."""
        ...

    async def publish(self, message: Publish) -> Outcome:
        """Publish and wait for the confirm.

        Raises:
            NotSent: not connected; publish the same bytes later.
            TransientError: the outcome is unknown; publish the same bytes again.
        """
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge deliveries whose effect is committed. Never raises for a lost connection."""
        ...

    async def pause(self) -> None:
        """Stop consuming (clean stop, full disk); unacknowledged deliveries go back to the queue."""
        ...

    async def resume(self) -> None:
        """Consume again after :meth:`pause`."""
        ...

    async def close(self) -> None:
        """Close the connection; no callback is called afterwards."""
        ...


class Clock(Protocol):
    """Wall time in integer microseconds since the epoch."""

    def now(self) -> int:
        """Now."""
        ...
