"""The outbox never forgets an envelope, whatever becomes of the publish, the pass, or the unit it is in."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from caroni.core.base_peers import BASE_AGENTS, is_base
from caroni.core.draft import ALL_AGENTS, Outgoing
from caroni.core.messages import (
    JobFulfillmentRequest,
    JobFulfillmentRequestWithdrawn,
    JobKill,
    JobStatusRequest,
    Message,
)
from caroni.daemon.bus.memory import MemoryBroker, MemoryBus
from caroni.daemon.outbox import IN_MEMORY, RETRY_FIRST, Outbox
from caroni.daemon.ports import Delivery, Outcome, Publish, QueueSpec
from caroni.errors import NotSent, TransientError
from caroni.model.store import Store
from caroni.model.unit import Unit
from caroni.trust.authority import throwaway
from caroni.wire.codec import encode
from caroni.wire.envelope import Sealer, seal_unsigned
from caroni.wire.topics import topic_of
from tests.daemon.waiting import until

SITE = "local.example"
MANAGER = f"caroni://{SITE}/manager/m"
GONE, HERE = f"caroni://{SITE}/agent/gone", f"caroni://{SITE}/agent/here"
BASE = "unsigned:wf.agent.AAAAAAAAAAAAAAAAAAAAAA"
BASE_GONE = "unsigned:wf.agent.BBBBBBBBBBBBBBBBBBBBBB"
Open = Callable[..., Any]


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.instant = 1_800_000_000_000_000

    def now(self) -> int:
        return self.instant


class BrittleBus(MemoryBus):
    """A bus whose connection can break before a publish, or before its confirm."""

    #: errors for the next publishes, None: it goes well
    breaks: list[TransientError | None]

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.breaks = []

    async def publish(self, message: Publish) -> Outcome:
        error = self.breaks.pop(0) if self.breaks else None
        if isinstance(error, NotSent):
            raise error
        outcome = await super().publish(message)
        if error is not None:
            raise error
        return outcome


class Seat:
    """An outbox, its store, and a recipient that counts."""

    def __init__(self, store: Store, *, base: bool = True) -> None:
        self.store = store
        self.clock = Time()
        self.broker = MemoryBroker()
        self.bus = BrittleBus(self.broker)
        self.gone: list[str] = []
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
            base=base,
            on_gone=self.gone.append,
        )

    async def start(self) -> Seat:
        await self.outbox.load()
        await self.bus.start([], self.got.append, self.outbox.look_again)
        await until(lambda: self.bus.connected)
        return self

    async def listen(self, uri: str) -> None:
        """A recipient comes into being."""
        bus = MemoryBus(self.broker, prefetch=100_000)
        queue = QueueSpec(name=uri, bindings=(topic_of(uri),), base=is_base(uri))
        await bus.start([queue], self.got.append, lambda: None)

    async def unit(self, *to: str, message: Message | None = None) -> None:
        """One unit of work, as the engine does it: one envelope for each name."""
        message = message or JobStatusRequest(job_uuid=b"j" * 16)
        unit = Unit(now=self.clock.now())
        rows = []
        try:
            for peer in to:
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
        await until(lambda: not self.outbox._publishing and self.outbox._base_post._task is None)

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


async def test_a_clock_that_is_set_back_holds_no_message_up(open_store: Open) -> None:
    seat = await Seat(await open_store("manager")).start()
    await seat.unit(GONE)
    await seat.settle()
    await seat.listen(GONE)
    assert not seat.outbox.wants_to_drain
    seat.clock.instant -= 2 * 86_400_000_000
    assert seat.outbox.wants_to_drain
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


# --- base peers: at most once -------------------------------------------------------------------------


def request(number: int) -> JobStatusRequest:
    return JobStatusRequest(job_uuid=number.to_bytes(16, "big"))


async def test_a_base_peer_gets_unsigned_envelopes_in_order_and_by_its_own_exchange(open_store: Open) -> None:
    seat = await Seat(await open_store("manager")).start()
    await seat.listen(BASE)
    bodies = []
    for number in range(5):
        bodies.append(seal_unsigned(*encode(request(number), base=True)))
        await seat.unit(BASE, message=request(number))
    await seat.settle()
    assert [one.body for one in seat.got] == bodies
    assert {one.reply_to for one in seat.got} == {topic_of(MANAGER)}
    assert await seat.store.count_outbox() == seat.outbox.unsent == 0


async def test_what_base_peers_do_not_know_is_left_out(open_store: Open) -> None:
    seat = await Seat(await open_store("manager")).start()
    await seat.listen(BASE)
    await seat.unit(BASE, message=JobKill(job_uuid=b"j" * 16))
    await seat.settle()
    assert (seat.got, await seat.store.count_outbox()) == ([], 0)


async def test_a_call_for_proposals_goes_to_base_agents_as_well_and_a_withdrawal_does_not(
    open_store: Open,
) -> None:
    seat = await Seat(await open_store("manager")).start()
    await seat.listen(BASE_AGENTS)
    call = JobFulfillmentRequest(request_uuid=b"r" * 16, job_type_name="t", parameters=("a",), round=3)
    await seat.unit(ALL_AGENTS, message=call)
    await seat.unit(
        ALL_AGENTS, message=JobFulfillmentRequestWithdrawn(request_uuid=b"r" * 16, job_type_name="t")
    )
    await seat.settle()
    assert [one.body for one in seat.got] == [seal_unsigned(*encode(call, base=True))]
    assert seat.gone == []


async def test_an_unknown_outcome_is_not_tried_again_with_a_base_peer(open_store: Open) -> None:
    seat = await Seat(await open_store("manager")).start()
    await seat.listen(BASE)
    seat.bus.breaks = [TransientError("the confirm was lost")]
    await seat.unit(BASE)
    await seat.settle()
    seat.outbox.look_again()
    await seat.settle()
    assert len(seat.got) == 1
    assert await seat.store.count_outbox() == 0


async def test_what_has_not_left_keeps_its_place(open_store: Open) -> None:
    seat = await Seat(await open_store("manager")).start()
    await seat.listen(BASE)
    seat.bus.breaks = [NotSent("not connected"), None, NotSent("not connected")]
    await seat.unit(BASE, BASE, message=request(1))
    await seat.unit(BASE, message=request(2))
    await seat.settle()
    assert [one.body for one in seat.got] == [
        seal_unsigned(*encode(request(number), base=True)) for number in (1, 1, 2)
    ]


async def test_it_waits_for_the_broker_across_a_restart(open_store: Open) -> None:
    store = await open_store("manager")
    seat = await Seat(store).start()
    seat.broker.stop()
    await seat.unit(BASE)
    again = await Seat(store).start()
    await again.listen(BASE)
    await again.settle()
    assert len(again.got) == 1


async def test_it_is_marked_before_it_leaves_and_a_failed_unit_sends_nothing(open_store: Open) -> None:
    """A crash after the commit loses it at worst: nothing is there to be sent a second time."""
    failing = [False]

    def before(sql: str) -> None:
        if failing[0] and sql == "COMMIT":
            raise RuntimeError("no")

    store = await open_store("manager", before_statement=before)
    seat = await Seat(store).start()
    await seat.listen(BASE)
    await seat.unit(BASE)
    failing[0] = True
    with suppress(RuntimeError):
        await seat.unit()
    failing[0] = False
    assert (seat.got, await store.count_outbox()) == ([], 1)
    seat.bus.breaks = [TransientError("the process ended here")]
    await seat.unit()
    again = await Seat(store).start()
    await again.settle()
    assert (len(seat.got), again.got) == (1, [])


async def test_a_base_peer_without_a_queue_has_gone(open_store: Open) -> None:
    seat = await Seat(await open_store("manager")).start()
    await seat.unit(BASE_GONE)
    await seat.settle()
    assert seat.gone == [BASE_GONE]
    assert await seat.store.count_outbox() == 0
    assert not seat.outbox.next_drain


async def test_nothing_leaves_for_base_peers_when_lab_mode_is_over(open_store: Open) -> None:
    store = await open_store("manager")
    seat = await Seat(store).start()
    await seat.unit(BASE)
    again = await Seat(store, base=False).start()
    await again.listen(BASE)
    await again.unit(BASE)
    await again.settle()
    assert (again.got, await store.count_outbox()) == ([], 0)
