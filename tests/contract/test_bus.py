"""What a daemon may rely on, on every implementation of the bus.

The AMQP cases run through a proxy in front of a private node, so that losing the broker costs
milliseconds; what only a real broker can do wrong is in ``test_bus_amqp.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from secrets import token_hex
from typing import Any, Protocol

import pytest

from caroni.daemon.bus.amqp import AmqpBus
from caroni.daemon.bus.broker_url import BrokerOptions
from caroni.daemon.bus.memory import MemoryBroker, MemoryBus
from caroni.daemon.bus.topology import (
    FULFILLMENT,
    agent_queues,
    base_queues,
    manager_queues,
    submitter_queues,
    topic,
)
from caroni.daemon.ports import Bus, Delivery, Outcome, Publish, QueueSpec
from caroni.errors import TransientError
from tests.services import eventually
from tests.services.proxy import Proxy
from tests.services.rabbitmq import RabbitNode


class World(Protocol):
    """A broker, and what can be done to it."""

    def bus(self, prefetch: int = 128) -> Bus: ...

    def drop(self) -> None: ...

    def stop(self) -> None: ...

    def start(self) -> None: ...


class MemoryWorld:
    def __init__(self) -> None:
        self.broker = MemoryBroker()

    def bus(self, prefetch: int = 128) -> Bus:
        return MemoryBus(self.broker, prefetch=prefetch)

    def drop(self) -> None:
        self.broker.drop_connections()

    def stop(self) -> None:
        self.broker.stop()

    def start(self) -> None:
        self.broker.start()


class AmqpWorld:
    def __init__(self, proxy: Proxy, vhost: str) -> None:
        self.proxy = proxy
        self.url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/{vhost}"

    def bus(self, prefetch: int = 128) -> Bus:
        return AmqpBus(
            BrokerOptions(
                url=self.url,
                base_exchange="caroni_base",
                prefetch=prefetch,
                reconnect_min=0.05,
                reconnect_max=0.2,
                heartbeat=5,
            )
        )

    def drop(self) -> None:
        self.proxy.cut()

    def stop(self) -> None:
        self.proxy.cut(refuse=True)

    def start(self) -> None:
        self.proxy.through()


class Client:
    """A bus with what it has received."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.got: list[Delivery] = []
        self.connections = 0

    async def start(self, *queues: QueueSpec) -> Client:
        await self.bus.start(queues, self.got.append, self._connected)
        return self

    def _connected(self) -> None:
        self.connections += 1

    async def online(self, connections: int = 1) -> Client:
        await eventually(
            lambda: self.connections >= connections and self.bus.connected, 20, "the bus does not connect"
        )
        return self

    def bodies(self) -> list[bytes]:
        return [one.body for one in self.got]

    async def receives(self, count: int) -> list[Delivery]:
        await eventually(
            lambda: len(self.got) >= count, 10, lambda: f"{len(self.got)} of {count} messages came"
        )
        assert len(self.got) == count
        return list(self.got)


def message(key: str, body: bytes = b"x", **more: Any) -> Publish:
    return Publish(routing_key=key, body=body, message_id=token_hex(8), type="Test", **more)


async def sent(bus: Bus, one: Publish) -> Outcome:
    """Publish like the outbox pump: again and again under the same id until the outcome is known."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 20
    while True:
        try:
            return await bus.publish(one)
        except TransientError:
            assert loop.time() < deadline, "the broker did not come back"
            await asyncio.sleep(0.02)


@pytest.fixture(params=["memory", "amqp"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    node: RabbitNode = request.getfixturevalue("rabbit_node")
    proxy = Proxy(node.port)
    await proxy.start()
    # One vhost for all: the names are fresh in each test.
    yield AmqpWorld(proxy, "%2F")
    await proxy.close()


@pytest.fixture
async def connect(world: World) -> AsyncIterator[Callable[..., Client]]:
    clients: list[Client] = []

    def make(prefetch: int = 128) -> Client:
        clients.append(Client(world.bus(prefetch)))
        return clients[-1]

    yield make
    for client in clients:
        await client.bus.close()


Connect = Callable[..., Client]


def name() -> str:
    return token_hex(11)


async def test_each_identity_gets_its_own_messages(connect: Connect) -> None:
    manager, agent = name(), name()
    one = await (await connect().start(*manager_queues(manager))).online()
    two = await (await connect().start(*agent_queues(agent, []))).online()
    assert await one.bus.publish(message(topic("agent", agent), b"offer?")) is Outcome.CONFIRMED
    assert (
        await two.bus.publish(message(topic("manager", manager), b"offer", reply_to="wf.agent.x"))
        is Outcome.CONFIRMED
    )
    (at_agent,) = await two.receives(1)
    (at_manager,) = await one.receives(1)
    assert (at_agent.body, at_agent.routing_key) == (b"offer?", topic("agent", agent))
    assert at_agent.queue == f"caroni.agent.{agent}.ctl"
    assert (at_manager.body, at_manager.reply_to) == (b"offer", "wf.agent.x")
    assert not at_manager.redelivered


async def test_a_broadcast_reaches_those_that_have_the_job_type(connect: Connect) -> None:
    align, sort = f"align{name()}", f"sort{name()}"
    sender = await (await connect().start()).online()
    both = await (await connect().start(*agent_queues(name(), [align, sort]))).online()
    one = await (await connect().start(*agent_queues(name(), [sort]))).online()
    assert await sender.bus.publish(message(f"wf.agent.fulfillment.{align}", b"a")) is Outcome.CONFIRMED
    assert await sender.bus.publish(message(f"wf.agent.fulfillment.{sort}", b"s")) is Outcome.CONFIRMED
    await both.receives(2)
    await one.receives(1)
    assert both.bodies() == [b"a", b"s"]
    assert one.bodies() == [b"s"]
    assert one.got[0].queue.endswith(".cfp")


async def test_base_peers_and_others_hear_nothing_of_each_other(connect: Connect, world: World) -> None:
    agent = name()
    here = await (await connect().start(*agent_queues(agent, []), *base_queues("agent", agent))).online()
    sender = await (await connect().start()).online()
    key = topic("agent", agent)
    for base, body in ((False, b"ours"), (True, b"base")):
        one = message(key, body, base=base, reply_to="wf.agent.x")
        assert await sender.bus.publish(one) is Outcome.CONFIRMED
    assert await sender.bus.publish(message(FULFILLMENT, b"call", base=True)) is Outcome.CONFIRMED
    assert await sender.bus.publish(message(topic("agent", name()), base=True)) is Outcome.UNROUTABLE
    got = {one.queue: (one.body, one.reply_to) for one in await here.receives(3)}
    assert got == {
        f"caroni.agent.{agent}.ctl": (b"ours", "wf.agent.x"),
        f"caroni.agent.{agent}.base": (b"base", "wf.agent.x"),
        f"caroni.agent.{agent}.base-cfp": (b"call", ""),
    }
    world.drop()
    await here.online(2)
    await sent(sender.bus, message(key, b"again", base=True))
    await eventually(lambda: b"again" in here.bodies(), 10)


async def test_topics_have_wildcards(connect: Connect) -> None:
    root = f"t{name()}"
    queue = f"caroni.test.{root}.ctl"
    reader = await (
        await connect().start(QueueSpec(name=queue, bindings=(f"{root}.*.end", f"{root}.all.#")))
    ).online()
    for key, outcome in (
        (f"{root}.one.end", Outcome.CONFIRMED),
        (f"{root}.one.two.end", Outcome.UNROUTABLE),
        (f"{root}.end", Outcome.UNROUTABLE),
        (f"{root}.all", Outcome.CONFIRMED),
        (f"{root}.all.a.b.c", Outcome.CONFIRMED),
        (f"{root}.allx", Outcome.UNROUTABLE),
    ):
        assert await reader.bus.publish(message(key, key.encode())) is outcome, key
    await reader.receives(3)


async def test_two_bindings_that_match_give_one_delivery(connect: Connect) -> None:
    root = f"t{name()}"
    reader = await (
        await connect().start(QueueSpec(name=f"caroni.test.{root}.ctl", bindings=(f"{root}.#", f"{root}.a")))
    ).online()
    await reader.bus.publish(message(f"{root}.a", b"1"))
    await reader.bus.publish(message(f"{root}.b", b"2"))
    await reader.receives(2)
    assert reader.bodies() == [b"1", b"2"]


async def test_a_message_without_a_queue_is_reported(connect: Connect) -> None:
    sender = await (await connect().start()).online()
    assert await sender.bus.publish(message(f"wf.agent.{name()}")) is Outcome.UNROUTABLE


async def test_an_unacknowledged_message_comes_again_after_a_lost_connection(
    world: World, connect: Connect
) -> None:
    agent = name()
    reader = await (await connect(prefetch=4).start(*agent_queues(agent, []))).online()
    for number in range(4):
        await reader.bus.publish(message(topic("agent", agent), b"%d" % number))
    first = await reader.receives(4)
    await reader.bus.ack([first[0], first[2]])
    # Acks have no answer; that a fifth message comes shows that they arrived.
    await reader.bus.publish(message(topic("agent", agent), b"4"))
    await reader.receives(5)
    reader.got.clear()
    world.drop()
    await reader.online(2)
    again = await reader.receives(3)
    assert sorted(reader.bodies()) == [b"1", b"3", b"4"]
    assert all(one.redelivered for one in again)
    # Acknowledging what an older connection delivered does nothing and never raises.
    await reader.bus.ack([first[1], first[3]])
    await reader.bus.ack(again)


async def test_acknowledged_messages_are_gone_whatever_the_order_of_acks(connect: Connect) -> None:
    agent = name()
    reader = await (await connect().start(*agent_queues(agent, []))).online()
    await asyncio.gather(*(reader.bus.publish(message(topic("agent", agent), b"%d" % n)) for n in range(30)))
    got = {one.body: one for one in await reader.receives(30)}
    in_order = sorted(got, key=int)
    # An island in the middle, the tail, the head, then everything but one.
    for part in (range(10, 15), range(25, 30), range(0, 5), [n for n in range(30) if n != 17]):
        await reader.bus.ack([got[in_order[n]] for n in part])
    reader.got.clear()
    await reader.bus.pause()
    await reader.bus.resume()
    await reader.receives(1)
    assert reader.bodies() == [b"17"]


async def test_prefetch_bounds_what_waits_for_an_ack(connect: Connect) -> None:
    agent = name()
    reader = await (await connect(prefetch=3).start(*agent_queues(agent, []))).online()
    for number in range(7):
        await reader.bus.publish(message(topic("agent", agent), b"%d" % number))
    await reader.receives(3)
    await reader.bus.ack(reader.got[:2])
    await reader.receives(5)
    await reader.bus.ack(reader.got[2:])
    await reader.receives(7)
    assert sorted(reader.bodies()) == [b"%d" % n for n in range(7)]


async def test_bindings_change_and_stay_changed(world: World, connect: Connect) -> None:
    agent, old, new = name(), f"old{name()}", f"new{name()}"
    reader = await (await connect().start(*agent_queues(agent, [old]))).online()
    cfp = f"caroni.agent.{agent}.cfp"
    await reader.bus.bind(cfp, [f"wf.agent.fulfillment.{new}"])
    assert await reader.bus.publish(message(f"wf.agent.fulfillment.{old}")) is Outcome.UNROUTABLE
    assert await reader.bus.publish(message(f"wf.agent.fulfillment.{new}")) is Outcome.CONFIRMED
    world.drop()
    await reader.online(2)
    assert await sent(reader.bus, message(f"wf.agent.fulfillment.{old}")) is Outcome.UNROUTABLE
    assert await sent(reader.bus, message(f"wf.agent.fulfillment.{new}")) is Outcome.CONFIRMED


async def test_bindings_asked_for_while_offline_hold_after_the_reconnection(
    world: World, connect: Connect
) -> None:
    agent, old, new = name(), f"old{name()}", f"new{name()}"
    reader = await (await connect().start(*agent_queues(agent, [old]))).online()
    world.stop()
    await eventually(lambda: not reader.bus.connected)
    await reader.bus.bind(f"caroni.agent.{agent}.cfp", [f"wf.agent.fulfillment.{new}"])
    world.start()
    await reader.online(2)
    assert await sent(reader.bus, message(f"wf.agent.fulfillment.{old}")) is Outcome.UNROUTABLE
    assert await sent(reader.bus, message(f"wf.agent.fulfillment.{new}")) is Outcome.CONFIRMED


async def test_starts_without_a_broker(world: World, connect: Connect) -> None:
    world.stop()
    agent = name()
    reader = connect()
    await asyncio.wait_for(reader.start(*agent_queues(agent, [])), 1.0)
    assert not reader.bus.connected
    with pytest.raises(TransientError):
        await reader.bus.publish(message(topic("agent", agent)))
    assert reader.connections == 0
    world.start()
    await reader.online()
    assert await sent(reader.bus, message(topic("agent", agent), b"late")) is Outcome.CONFIRMED
    await reader.receives(1)


async def test_publishing_while_the_broker_is_away_raises(world: World, connect: Connect) -> None:
    agent = name()
    reader = await (await connect().start(*agent_queues(agent, []))).online()
    world.stop()
    results = await asyncio.gather(
        *(asyncio.wait_for(reader.bus.publish(message(topic("agent", agent))), 5.0) for _ in range(3)),
        return_exceptions=True,
    )
    assert all(isinstance(one, TransientError) for one in results), results
    await eventually(lambda: not reader.bus.connected)


async def test_a_durable_queue_keeps_messages_for_a_reader_that_is_away(connect: Connect) -> None:
    agent = name()
    reader = await (await connect().start(*agent_queues(agent, []))).online()
    await reader.bus.close()
    sender = await (await connect().start()).online()
    for number in range(3):
        assert await sender.bus.publish(message(topic("agent", agent), b"%d" % number)) is Outcome.CONFIRMED
    again = await (await connect().start(*agent_queues(agent, []))).online()
    await again.receives(3)
    assert again.bodies() == [b"0", b"1", b"2"]
    assert not reader.got


async def test_a_submitters_queue_goes_with_it(connect: Connect) -> None:
    who = name()
    console = await (await connect().start(*submitter_queues(who, "c1"))).online()
    sender = await (await connect().start()).online()
    assert await sender.bus.publish(message(topic("submitter", who), b"1")) is Outcome.CONFIRMED
    await console.receives(1)
    await console.bus.close()

    async def gone() -> bool:
        return await sender.bus.publish(message(topic("submitter", who), b"2")) is Outcome.UNROUTABLE

    await eventually(gone)


async def test_one_reader_of_a_control_queue_at_a_time(connect: Connect) -> None:
    agent = name()
    active = await (await connect().start(*agent_queues(agent, []))).online()
    standby = await (await connect().start(*agent_queues(agent, []))).online()
    for number in range(3):
        await standby.bus.publish(message(topic("agent", agent), b"%d" % number))
    await active.receives(3)
    assert not standby.got
    await active.bus.close()
    await standby.receives(3)
    assert standby.bodies() == [b"0", b"1", b"2"]


async def test_pause_gives_back_and_resume_takes_again(world: World, connect: Connect) -> None:
    agent = name()
    reader = await (await connect().start(*agent_queues(agent, []))).online()
    for number in range(3):
        await reader.bus.publish(message(topic("agent", agent), b"%d" % number))
    before = await reader.receives(3)
    await reader.bus.ack(before[:1])
    await reader.bus.pause()
    reader.got.clear()
    assert await reader.bus.publish(message(topic("agent", agent), b"3")) is Outcome.CONFIRMED
    assert not reader.got
    await reader.bus.resume()
    await reader.receives(3)
    assert sorted(reader.bodies()) == [b"1", b"2", b"3"]
    # What was delivered before the pause is not ours any more: these acks mean nothing now.
    await reader.bus.ack(before)
    await reader.bus.pause()
    reader.got.clear()
    await reader.bus.resume()
    await reader.receives(3)
    # A pause holds over a lost connection.
    await reader.bus.pause()
    reader.got.clear()
    world.drop()
    await reader.online(2)
    assert await sent(reader.bus, message(topic("agent", agent), b"4")) is Outcome.CONFIRMED
    assert not reader.got
    await reader.bus.resume()
    await reader.receives(4)


async def test_the_oldest_broadcasts_are_dropped(connect: Connect) -> None:
    agent = name()
    spec = QueueSpec(name=f"caroni.test.{agent}.cfp", bindings=(f"t.{agent}",), ttl=60_000, max_length=4)
    reader = await (await connect().start(spec)).online()
    await reader.bus.pause()
    for number in range(10):
        assert await reader.bus.publish(message(f"t.{agent}", b"%d" % number)) is Outcome.CONFIRMED
    await reader.bus.resume()
    await reader.receives(4)
    assert reader.bodies() == [b"6", b"7", b"8", b"9"]


async def test_old_broadcasts_expire(connect: Connect) -> None:
    agent = name()
    spec = QueueSpec(name=f"caroni.test.{agent}.cfp", bindings=(f"t.{agent}",), ttl=1, max_length=4)
    reader = await (await connect().start(spec)).online()
    await reader.bus.pause()
    await reader.bus.publish(message(f"t.{agent}", b"old"))
    published = asyncio.get_running_loop().time()
    await eventually(lambda: asyncio.get_running_loop().time() > published + 0.05)
    await reader.bus.resume()
    # Whatever was older would come before this one.
    for _ in range(20):
        await reader.bus.publish(message(f"t.{agent}", b"new"))
        if reader.got:
            break
    assert b"old" not in reader.bodies()


async def test_a_callback_that_fails_does_not_stop_the_bus(connect: Connect) -> None:
    agent = name()
    seen: list[bytes] = []

    def fragile(delivery: Delivery) -> None:
        seen.append(delivery.body)
        if delivery.body == b"bad":
            raise ValueError("a bug")

    client = connect()
    await client.bus.start(agent_queues(agent, []), fragile, client._connected)
    await client.online()
    for body in (b"bad", b"good"):
        await client.bus.publish(message(topic("agent", agent), body))
    await eventually(lambda: seen == [b"bad", b"good"])


async def test_large_and_empty_bodies_pass_unchanged(connect: Connect) -> None:
    agent = name()
    reader = await (await connect().start(*agent_queues(agent, []))).online()
    large = bytes(range(256)) * 4096  # 1 MiB: many AMQP frames
    for body in (large, b"", b"\x00"):
        assert await reader.bus.publish(message(topic("agent", agent), body)) is Outcome.CONFIRMED
    await reader.receives(3)
    assert reader.bodies() == [large, b"", b"\x00"]


async def test_many_publishes_in_flight_are_all_confirmed(connect: Connect) -> None:
    agent = name()
    reader = connect()
    taken: list[Delivery] = []

    async def consume() -> None:
        while len(taken) < 500:
            batch, reader.got = reader.got, []
            taken.extend(batch)
            await reader.bus.ack(batch)
            await asyncio.sleep(0.005)

    await reader.bus.start(agent_queues(agent, []), lambda d: reader.got.append(d), reader._connected)
    await reader.online()
    outcomes, _ = await asyncio.wait_for(
        asyncio.gather(
            asyncio.gather(
                *(sent(reader.bus, message(topic("agent", agent), b"%d" % n)) for n in range(500))
            ),
            consume(),
        ),
        30,
    )
    assert set(outcomes) == {Outcome.CONFIRMED}
    assert sorted(int(one.body) for one in taken) == list(range(500))


async def test_nothing_is_lost_or_left_over_while_connections_keep_breaking(
    world: World, connect: Connect
) -> None:
    agent = name()
    sender = await (await connect().start()).online()
    reader = await (await connect().start(*agent_queues(agent, []))).online()
    confirmed: set[bytes] = set()

    async def produce(start: int) -> None:
        for number in range(start, start + 40):
            body = b"%d" % number
            if await sent(sender.bus, message(topic("agent", agent), body)) is Outcome.CONFIRMED:
                confirmed.add(body)
            await asyncio.sleep(0.002)

    async def fault() -> None:
        for goal in (5, 25, 45):
            await eventually(lambda goal=goal: len(set(reader.bodies())) > goal, 20)  # type: ignore[misc]
            world.drop()

    await asyncio.gather(produce(0), produce(100), fault())
    assert len(confirmed) == 80
    await eventually(
        lambda: set(reader.bodies()) >= confirmed, 20, lambda: f"lost: {confirmed - set(reader.bodies())}"
    )


async def test_no_callback_after_close(world: World, connect: Connect) -> None:
    agent = name()
    reader = await (await connect().start(*agent_queues(agent, []))).online()
    sender = await (await connect().start()).online()
    await reader.bus.close()
    await reader.bus.close()
    assert await sender.bus.publish(message(topic("agent", agent))) is Outcome.CONFIRMED
    with pytest.raises(TransientError):
        await reader.bus.publish(message(topic("agent", agent)))
    assert not reader.bus.connected
    assert not reader.got
