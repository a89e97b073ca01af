"""A participant played by a test: it has his key and his queues, and says whatever the test wants."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, TypeVar

from caroni.core.draft import ALL_AGENTS
from caroni.core.messages import JobFulfillmentRequest, Message
from caroni.daemon.bus.topology import agent_queues, manager_queues
from caroni.daemon.outbox import routing_key
from caroni.daemon.ports import Delivery, Publish
from caroni.daemon.service import load_identity, make_bus
from caroni.services.stores import now
from caroni.wire.bundle import Part, pack
from caroni.wire.codec import encode
from caroni.wire.envelope import Opener, Sealer
from caroni.wire.topics import broadcast_key, short_id, topic_of
from tests.acceptance.site import Site
from tests.services import eventually

M = TypeVar("M", bound=Message)


class Peer:
    """Use as an async context manager. ``got`` has everything that came, in order."""

    def __init__(self, site: Site, name: str, job_types: tuple[str, ...] = ()) -> None:
        loaded = site.loaded(name)
        identity = load_identity(loaded)
        self.uri = identity.uri
        self.got: list[Message] = []
        self._opener = Opener(identity.trust, self.uri, "default")
        self._sealer = Sealer(identity.signer, self.uri, "default")
        self._bus = make_bus(loaded)
        self._dice = random.SystemRandom()
        self._stream = now() // 1000
        self._number = 0
        self._acks: set[asyncio.Task[None]] = set()
        own = short_id(self.uri)
        keys = [broadcast_key(name).rpartition(".")[2] for name in job_types]
        self._queues = agent_queues(own, keys) if loaded.config.role == "agent" else manager_queues(own)

    async def __aenter__(self) -> Peer:
        connected = asyncio.Event()
        await self._bus.start(self._queues, self._deliver, connected.set)
        await asyncio.wait_for(connected.wait(), 10)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._bus.close()

    def _deliver(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._bus.ack([delivery]))
        self._acks.add(task)
        task.add_done_callback(self._acks.discard)
        for item in self._opener.open(delivery.body, now()).items:
            assert item.message is not None
            self.got.append(item.message)

    def id(self) -> bytes:
        return self._dice.randbytes(16)

    async def send(self, to: str, message: Message, *, reply_to: str = "") -> tuple[str, bytes]:
        """Seal and publish; gives what :meth:`again` takes."""
        message_id = self.id()
        payload = pack([Part(message_id, b"", b"", *encode(message))])
        self._number += 1
        audience = ALL_AGENTS if isinstance(message, JobFulfillmentRequest) else to
        body = self._sealer.seal(payload, audience, message_id, b"", b"", now(), self._stream, self._number)
        key = routing_key(audience, message)
        await self.again((key, body), reply_to=reply_to)
        return key, body

    async def again(self, sent: tuple[str, bytes], *, reply_to: str = "") -> None:
        """The very same bytes."""
        await self._bus.publish(
            Publish(
                routing_key=sent[0],
                body=sent[1],
                message_id=self.id().hex(),
                type="Message",
                reply_to=reply_to or topic_of(self.uri),
            )
        )

    def all(self, kind: type[M]) -> list[M]:
        return [one for one in self.got if isinstance(one, kind)]

    async def wait(self, kind: type[M], fits: Callable[[Any], bool] = lambda one: True) -> M:
        """The first message of a kind that fits, come or to come."""
        found = await eventually(
            lambda: [one for one in self.all(kind) if fits(one)],
            15,
            lambda: f"{self.uri} never got {kind.__name__}, only {self.got}",
        )
        first: M = found[0]
        return first
