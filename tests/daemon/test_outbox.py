"""The outbox never forgets an envelope, whatever becomes of the publish, the pass, or the unit it is in."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from caroni.core.draft import Outgoing
from caroni.core.messages import JobStatusRequest
from caroni.daemon.bus.memory import MemoryBroker, MemoryBus
from caroni.daemon.outbox import IN_MEMORY, RETRY_FIRST, Outbox
from caroni.daemon.ports import Delivery, Outcome, Publish, QueueSpec
from caroni.model.store import Store
from caroni.model.unit import Unit
from caroni.trust.authority import throwaway
from caroni.wire.envelope import Sealer
from caroni.wire.topics import topic_of
from tests.daemon.waiting import until

SITE = "local.example"
MANAGER = f"caroni://{SITE}/manager/m"
GONE, HERE = f"caroni://{SITE}/agent/gone", f"caroni://{SITE}/agent/here"
Open = Callable[..., Any]


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.instant = 1_800_000_000_000_000

    def now(self) -> int:
        return self.instant


class Seat:
    """An outbox, its store, and a recipient that counts."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = Time()
        self.broker = MemoryBroker()
        self.bus = MemoryBus(self.broker)
        self.got: list[Delivery] = []
        _, signers = throwaway(SITE, [("manager", "m")], now=self.clock.now())
        self.outbox = Outbox(
            store=store,
            bus=self.bus,
            sealer=Sealer(signers[MANAGER], MANAGER, "default"),
            clock=self.clock,
            dice=random.Random(1),
            stream_id=1,
            wake=lambda: None,
        )

    async def start(self) -> Seat:
        await self.outbox.load()
        await self.bus.start([], self.got.append, self.outbox.look_again)
        await until(lambda: self.bus.connected)
        return self

    async def listen(self, uri: str) -> None:
        """A recipient comes into being."""
        bus = MemoryBus(self.broker, prefetch=100_000)
        await bus.start([QueueSpec(name=uri, bindings=(topic_of(uri),))], self.got.append, lambda: None)

    async def unit(self, *to: str) -> None:
        """One unit of work, as the engine does it: one envelope for each name."""
        unit = Unit(now=self.clock.now())
        rows = []
        try:
            for peer in to:
                message = JobStatusRequest(job_uuid=b"j" * 16)
                rows += self.outbox.compose([Outgoing(to=peer, message=message)], unit, lambda c: (b"", None))
            if self.outbox.wants_to_drain:
                rows += await self.outbox.drain(unit)
            self.outbox.ride_along(unit)
            await self.store.commit(unit)
        except Exception:
            self.outbox.undo()
            raise
        self.outbox.rode_along(unit)
        self.outbox.publish(rows)
        await until(lambda: not self.outbox._publishing)

    async def settle(self) -> None:
        """Units until nothing is to be done now."""
        while self.outbox.wants_to_drain or self.outbox._sent or self.outbox._retries:
            await self.unit()


async def test_a_reconnection_does_not_wait_for_the_next_try_of_an_unroutable_message(
    open_store: Open,
) -> None:
    seat = await Seat(await open_store("manager")).start()
    await seat.listen(HERE)
    await seat.unit(GONE)
    for _ in range(6):  # its next try is minutes away
        await seat.settle()
        seat.clock.instant = max(seat.clock.instant, seat.outbox.next_drain)
    await seat.settle()
    assert seat.outbox.next_drain > seat.clock.now() + 10 * RETRY_FIRST
    seat.broker.stop()
    await seat.unit(HERE)
    assert not seat.got
    seat.broker.start()
    await until(lambda: seat.bus.connected)
    await until(lambda: seat.outbox.wants_to_drain)
    await seat.settle()
    assert len(seat.got) == 1


async def test_unroutable_messages_of_more_than_one_page_are_all_tried_again(open_store: Open) -> None:
    seat = await Seat(await open_store("manager")).start()
    await seat.listen(HERE)
    count = IN_MEMORY // 2 + 10
    await seat.unit(*[GONE] * (count - 10))
    await seat.settle()
    await seat.unit(*[GONE] * 10)
    await seat.settle()
    await seat.listen(GONE)
    seat.clock.instant += 2 * RETRY_FIRST
    await seat.settle()
    assert len(seat.got) == count
    assert await seat.store.count_outbox() == 0


async def test_a_page_whose_unit_fails_is_read_again(open_store: Open) -> None:
    failing = [False]

    def before(sql: str) -> None:
        if failing[0] and sql == "COMMIT":
            raise RuntimeError("no")

    seat = await Seat(await open_store("manager", before_statement=before)).start()
    await seat.listen(HERE)
    seat.broker.stop()
    await seat.unit(HERE)
    seat.broker.start()
    await until(lambda: seat.outbox.wants_to_drain)
    failing[0] = True
    try:
        await seat.unit()
    except RuntimeError:
        failing[0] = False
    assert seat.outbox.wants_to_drain
    await seat.settle()
    assert len(seat.got) == 1


class Stumbling(MemoryBus):
    """A bus with a bug that shows once."""

    stumbled = False

    async def publish(self, message: Publish) -> Outcome:
        if not self.stumbled:
            self.stumbled = True
            raise ValueError("a bug")
        return await super().publish(message)


async def test_a_bug_under_a_publish_does_not_lose_the_message(open_store: Open) -> None:
    seat = Seat(await open_store("manager"))
    seat.bus = seat.outbox._bus = Stumbling(seat.broker)
    await seat.start()
    await seat.listen(HERE)
    await seat.unit(HERE)
    assert not seat.got
    seat.clock.instant += 2 * RETRY_FIRST
    await seat.settle()
    assert len(seat.got) == 1
