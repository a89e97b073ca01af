"""A look at the exchange: on the in-process bus and on RabbitMQ, where it may be forbidden or restarted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from secrets import token_hex

import aio_pika
import pytest

from caroni.daemon.bus.amqp import AmqpBus
from caroni.daemon.bus.amqp_tap import AmqpTap
from caroni.daemon.bus.broker_url import BrokerOptions
from caroni.daemon.bus.memory import MemoryBroker, MemoryBus
from caroni.daemon.bus.memory_tap import MemoryTap
from caroni.daemon.bus.topology import agent_queues, topic
from caroni.daemon.ports import Outcome
from caroni.services.tapping import AWAY, CLOSED, LIVE, NOT_PERMITTED
from caroni.tui.tap import Tap
from tests.contract.test_bus import Client, message, name
from tests.services import eventually
from tests.services.rabbitmq import RabbitNode

FAST = {"reconnect_min": 0.05, "reconnect_max": 0.3}
MakeTap = Callable[..., AmqpTap]


@pytest.fixture
async def tap_of() -> AsyncIterator[MakeTap]:
    made: list[AmqpTap] = []

    def make(url: str, owner: str = "caroni.agent.x", **more: int) -> AmqpTap:
        made.append(AmqpTap(BrokerOptions(url=url, **FAST), owner, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for tap in made:
        await tap.close()


async def test_what_passes_the_in_process_exchange_is_seen() -> None:
    broker = MemoryBroker()
    agent, tap = name(), MemoryTap(broker)
    client = Client(MemoryBus(broker))
    await client.start(*agent_queues(agent, []))
    assert tap.state == CLOSED
    await check_watching(tap, client, agent)
    broker.stop()
    assert (tap.state, tap.reason) == (AWAY, "the in-process broker is away")
    broker.start()
    await eventually(lambda: tap.state == LIVE)
    await check_bounded(MemoryTap(broker, buffer=10), client, agent)
    await tap.close()
    await client.bus.close()


async def test_what_passes_a_broker_is_seen(
    rabbit_node: RabbitNode, rabbit_url: str, tap_of: MakeTap
) -> None:
    agent, tap = name(), tap_of(rabbit_url)
    client = Client(AmqpBus(BrokerOptions(url=rabbit_url, **FAST)))  # type: ignore[arg-type]
    await (await client.start(*agent_queues(agent, []))).online()
    await check_watching(tap, client, agent)
    await check_bounded(tap_of(rabbit_url, buffer=10), client, agent)
    # it leaves nothing behind
    vhost = rabbit_url.rpartition("/")[2]
    await tap.close()
    listed = await asyncio.to_thread(rabbit_node.control, "list_queues", "-p", vhost, "name", "--silent")
    assert ".tap." not in listed
    await client.bus.close()


async def check_watching(tap: Tap, client: Client, agent: str) -> None:
    await tap.start()
    await eventually(lambda: tap.state == LIVE, 10, lambda: tap.reason)
    sent = [message(topic("agent", agent), b"%d" % number) for number in range(5)]
    for one in sent:
        assert await client.bus.publish(one) is Outcome.CONFIRMED
    # also what is for somebody else
    await client.bus.publish(message(topic("agent", name()), b"other"))
    await eventually(lambda: tap.received == 6)
    first, *rest = tap.drain(2) + tap.drain()
    assert (first.routing_key, first.body) == (topic("agent", agent), b"0")
    assert first.at > 1_700_000_000_000_000
    assert [one.body for one in rest] == [b"1", b"2", b"3", b"4", b"other"]
    assert tap.drain() == []
    # and whoever it is for still gets it
    await client.receives(5)


async def check_bounded(tap: Tap, client: Client, agent: str) -> None:
    await tap.start()
    await eventually(lambda: tap.state == LIVE, 10, lambda: tap.reason)
    for number in range(25):
        await client.bus.publish(message(topic("agent", agent), b"%d" % number))
    await eventually(lambda: tap.received == 25)
    assert tap.dropped == 15
    assert [one.body for one in tap.drain()] == [b"%d" % number for number in range(15, 25)]
    await tap.close()
    assert (tap.state, tap.drain()) == (CLOSED, [])


async def declare_exchange(url: str) -> None:
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        await channel.declare_exchange("caroni", aio_pika.ExchangeType.TOPIC, durable=True)


async def user_with(node: RabbitNode, configure: str, write: str, read: str) -> str:
    """The URL of a new user of the node's first vhost."""
    user = f"tap-{token_hex(3)}"
    await asyncio.to_thread(node.control, "add_user", user, "secret")
    await asyncio.to_thread(node.control, "set_permissions", "-p", "/", user, configure, write, read)
    return node.url().replace("guest:guest", f"{user}:secret")


async def test_a_user_who_may_not_read_is_told_so(rabbit_node: RabbitNode, tap_of: MakeTap) -> None:
    await declare_exchange(rabbit_node.url())
    url = await user_with(rabbit_node, ".*", ".*", r"^caroni\.agent\..*$")
    tap = tap_of(url)
    await tap.start()
    await eventually(lambda: tap.state == NOT_PERMITTED, 10, lambda: f"{tap.state}: {tap.reason}")
    assert "403" in tap.reason
    assert "may not read all of caroni" in tap.reason
    assert "secret" not in tap.reason


@pytest.mark.parametrize("mine", [True, False], ids=["a daemon's own", "an operator's"])
async def test_the_permissions_that_are_needed(rabbit_node: RabbitNode, tap_of: MakeTap, mine: bool) -> None:
    await declare_exchange(rabbit_node.url())
    queues = r"caroni\.agent\.x\..*" if mine else r"amq\.gen.*"
    url = await user_with(rabbit_node, f"^{queues}$", f"^{queues}$", f"^(caroni|{queues})$")
    tap = tap_of(url)
    await tap.start()
    await eventually(lambda: tap.state == LIVE, 10, lambda: f"{tap.state}: {tap.reason}")
    client = Client(AmqpBus(BrokerOptions(url=rabbit_node.url(), **FAST)))  # type: ignore[arg-type]
    await (await client.start()).online()
    await client.bus.publish(message(topic("agent", name()), b"seen"))
    await eventually(lambda: [one.body for one in tap.drain()] == [b"seen"])
    await client.bus.close()


async def test_without_an_exchange_it_waits_for_one(rabbit_url: str, tap_of: MakeTap) -> None:
    tap = tap_of(rabbit_url)
    await tap.start()
    await eventually(lambda: "has no exchange" in tap.reason)
    assert tap.state == AWAY
    await declare_exchange(rabbit_url)
    await eventually(lambda: tap.state == LIVE, 10)


async def test_it_comes_back_after_the_broker(rabbit_node: RabbitNode, tap_of: MakeTap) -> None:
    await declare_exchange(rabbit_node.url())
    tap = tap_of(rabbit_node.url())
    await tap.start()
    await eventually(lambda: tap.state == LIVE, 10)
    await asyncio.to_thread(rabbit_node.kill9)
    await eventually(lambda: tap.state == AWAY, 10)
    await eventually(lambda: "is the broker running" in tap.reason, 10, lambda: tap.reason)
    await asyncio.to_thread(rabbit_node.start)
    await eventually(lambda: tap.state == LIVE, 30, lambda: tap.reason)
    await asyncio.to_thread(rabbit_node.close_all_connections)
    await eventually(lambda: tap.received == 0 and tap.state == LIVE, 30)


async def test_it_can_be_closed_whatever_it_does(rabbit_node: RabbitNode, tap_of: MakeTap) -> None:
    nowhere = tap_of("amqp://guest:guest@127.0.0.1:1/")
    await nowhere.start()
    await eventually(lambda: "cannot reach" in nowhere.reason)
    await nowhere.close()
    at_once = tap_of(rabbit_node.url())
    await at_once.start()
    await at_once.close()
    await at_once.start()
    await declare_exchange(rabbit_node.url())
    await eventually(lambda: at_once.state == LIVE, 10, lambda: at_once.reason)
