"""What only a real broker does: it is killed, frozen, starved, reconfigured and refuses."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex
from typing import Any

import aio_pika
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from caroni.daemon.bus.amqp import AmqpBus
from caroni.daemon.bus.broker_url import BrokerOptions
from caroni.daemon.bus.topology import agent_queues, base_queues, topic
from caroni.daemon.ports import Delivery, Outcome, Publish
from caroni.errors import ConfigError, NotSent, TransientError
from tests.contract.test_bus import Client, message, name, sent
from tests.services import eventually
from tests.services.proxy import Proxy
from tests.services.rabbitmq import RabbitNode

FAST = {"reconnect_min": 0.05, "reconnect_max": 0.3}
#: many pings, and a busy machine may answer late
PINGING = {"ping_interval": 0.02, "ping_misses": 1000}
Connect = Callable[..., Client]


@pytest.fixture
async def connect(rabbit_node: RabbitNode) -> AsyncIterator[Connect]:
    clients: list[Client] = []

    def make(url: str = "", **options: object) -> Client:
        settings = {"url": url or rabbit_node.url(), **FAST, **options}
        clients.append(Client(AmqpBus(BrokerOptions(**settings))))  # type: ignore[arg-type]
        return clients[-1]

    yield make
    for client in clients:
        await client.bus.close()


async def admin(url: str, action: Callable[[aio_pika.abc.AbstractChannel], Awaitable[object]]) -> None:
    connection = await aio_pika.connect(url)
    try:
        await action(await connection.channel())
    finally:
        await connection.close()


class Load:
    """Publishes with many messages in flight and counts what must not be lost."""

    def __init__(self, sender: Client, agent: str) -> None:
        self.sender = sender
        self.agent = agent
        self.confirmed: set[bytes] = set()
        self.running = True

    async def produce(self, prefix: int) -> None:
        number = 0
        while self.running:
            number += 1
            body = b"%d.%d" % (prefix, number)
            one = message(topic("agent", self.agent), body)
            while True:
                try:
                    if await self.sender.bus.publish(one) is Outcome.CONFIRMED:
                        self.confirmed.add(body)
                        break
                except TransientError:
                    pass
                if not self.running:
                    return
                await asyncio.sleep(0.02)


async def acknowledge_half(client: Client, pending: list[Delivery]) -> None:
    while True:
        batch = pending.copy()
        pending.clear()
        await client.bus.ack(batch)
        await asyncio.sleep(0.01)


async def under_load(
    connect: Connect, fault: Callable[[Load, Client], Awaitable[None]], **options: object
) -> tuple[Client, Client]:
    """Run a fault under load; everything confirmed must have been received in the end."""
    agent = name()
    sender = await (await connect(**options).start()).online()
    reader = connect(prefetch=60_000, **options)
    pending: list[Delivery] = []

    def take(delivery: Delivery) -> None:
        reader.got.append(delivery)
        if len(reader.got) % 2:
            pending.append(delivery)

    await reader.bus.start(agent_queues(agent, []), take, reader._connected)
    await reader.online()
    load = Load(sender, agent)
    producers = [asyncio.create_task(load.produce(n)) for n in range(20)]
    acks = asyncio.create_task(acknowledge_half(reader, pending))
    try:
        await eventually(lambda: len(load.confirmed) > 100, 20)
        await fault(load, reader)
        after = len(load.confirmed)
        await eventually(lambda: len(load.confirmed) > after + 100, 30, "publishing does not go on")
        load.running = False
        await asyncio.gather(*producers)
        await eventually(
            lambda: load.confirmed <= set(reader.bodies()),
            20,
            lambda: f"confirmed and lost: {len(load.confirmed - set(reader.bodies()))}",
        )
    finally:
        load.running = False
        for task in (*producers, acks):
            task.cancel()
        await asyncio.gather(*producers, acks, return_exceptions=True)
    return sender, reader


async def test_nothing_confirmed_is_lost_when_the_broker_is_killed(
    rabbit_node: RabbitNode, connect: Connect
) -> None:
    async def fault(load: Load, _: Client) -> None:
        await asyncio.to_thread(rabbit_node.kill9)
        await eventually(lambda: not load.sender.bus.connected)
        await asyncio.to_thread(rabbit_node.start)

    with capture_logs() as lines:
        sender, reader = await under_load(connect, fault)
    assert sender.connections == reader.connections == 2
    # One line per change of state and cause, however many attempts there were.
    assert len([line for line in lines if line["event"] == "broker_lost"]) == 2
    assert len([line for line in lines if line["event"] == "broker_away"]) <= 6, lines


async def test_nothing_confirmed_is_lost_when_the_operator_closes_all_connections(
    rabbit_node: RabbitNode, connect: Connect
) -> None:
    async def fault(load: Load, reader: Client) -> None:
        await asyncio.to_thread(rabbit_node.close_all_connections)
        await load.sender.online(2)
        await reader.online(2)

    await under_load(connect, fault)


async def test_a_deleted_queue_is_declared_again(rabbit_node: RabbitNode, connect: Connect) -> None:
    agent = name()
    reader = await (await connect().start(*agent_queues(agent, []))).online()
    await admin(rabbit_node.url(), lambda channel: channel.queue_delete(f"caroni.agent.{agent}.ctl"))
    await reader.online(2)
    assert await sent(reader.bus, message(topic("agent", agent), b"1")) is Outcome.CONFIRMED
    await reader.receives(1)


async def test_a_deleted_exchange_is_declared_again(rabbit_node: RabbitNode, connect: Connect) -> None:
    agent, exchange = name(), f"caroni-{name()}"
    reader = await (await connect(exchange=exchange).start(*agent_queues(agent, []))).online()
    await admin(rabbit_node.url(), lambda channel: channel.exchange_delete(exchange))
    with pytest.raises(TransientError):
        await reader.bus.publish(message(topic("agent", agent)))
    await reader.online(2)
    assert await sent(reader.bus, message(topic("agent", agent), b"1")) is Outcome.CONFIRMED
    await reader.receives(1)


async def test_a_frozen_broker(rabbit_node: RabbitNode, connect: Connect) -> None:
    agent = name()
    client = connect(publish_timeout=0.5, ping_interval=0.4, unhealthy_after=1.0, connect_timeout=2.0)
    bus = client.bus
    assert isinstance(bus, AmqpBus)
    await (await client.start(*agent_queues(agent, []))).online()
    one = message(topic("agent", agent), b"1")
    rabbit_node.freeze()
    try:
        # One call times out; the other is still in flight when the watchdog gives the connection up.
        for call in (bus.publish(one), bus.publish(message(topic("agent", agent), b"2"))):
            with pytest.raises(TransientError):
                await asyncio.wait_for(call, 5.0)
        await eventually(lambda: not bus.connected, 10, "the watchdog does not give up the connection")
        await eventually(lambda: not bus.healthy, 10, "a silent broker is not reported")
    finally:
        rabbit_node.thaw()
    await client.online(2)
    assert await sent(bus, one) is Outcome.CONFIRMED
    await eventually(lambda: b"1" in client.bodies())
    await eventually(lambda: bus.healthy)


async def test_no_cancellation_escapes_when_a_connection_dies_under_publishes(
    rabbit_node: RabbitNode, connect: Connect
) -> None:
    agent = name()
    client = connect(publish_timeout=20.0, ping_interval=0.3, connect_timeout=2.0)
    await (await client.start(*agent_queues(agent, []))).online()
    rabbit_node.freeze()
    try:
        results = await asyncio.wait_for(
            asyncio.gather(
                *(client.bus.publish(message(topic("agent", agent))) for _ in range(20)),
                return_exceptions=True,
            ),
            15,
        )
    finally:
        rabbit_node.thaw()
    assert {type(one) for one in results} == {TransientError}
    await client.online(2)


async def test_a_network_that_swallows_everything(
    rabbit_node: RabbitNode, rabbit_proxy: Proxy, connect: Connect
) -> None:
    agent = name()
    url = f"amqp://guest:guest@127.0.0.1:{rabbit_proxy.port}/%2F"
    # Heartbeats alone find it here: the watchdog's first ping is a minute away.
    client = connect(url, heartbeat=1, publish_timeout=0.5, connect_timeout=1.0)
    await (await client.start(*agent_queues(agent, []))).online()
    rabbit_proxy.blackhole()
    with pytest.raises(TransientError):
        await client.bus.publish(message(topic("agent", agent)))
    await eventually(lambda: not client.bus.connected, 15, "heartbeats do not give up the connection")
    rabbit_proxy.through()
    await client.online(2)
    assert await sent(client.bus, message(topic("agent", agent), b"1")) is Outcome.CONFIRMED
    await eventually(lambda: b"1" in client.bodies())


async def test_a_broker_short_of_memory_still_delivers_and_gets_nothing_twice(
    rabbit_node: RabbitNode, connect: Connect
) -> None:
    agent = name()
    client = connect(publish_timeout=0.3, prefetch=1)
    await (await client.start(*agent_queues(agent, []))).online()
    for body in (b"1", b"2"):
        await client.bus.publish(message(topic("agent", agent), body))
    await client.receives(1)
    one = message(topic("agent", agent), b"3")
    await asyncio.to_thread(rabbit_node.memory_alarm, True)
    try:
        for _ in range(3):
            with pytest.raises(TransientError):
                await client.bus.publish(one)
        await client.bus.ack(client.got)
        await client.receives(2)
    finally:
        await asyncio.to_thread(rabbit_node.memory_alarm, False)
    assert await sent(client.bus, one) is Outcome.CONFIRMED
    await client.bus.ack(client.got[1:])
    await client.receives(3)
    assert client.connections == 1
    await client.bus.publish(message(topic("agent", agent), b"4"))
    await client.bus.ack(client.got[2:])
    await client.receives(4)
    assert client.bodies() == [b"1", b"2", b"3", b"4"]


async def test_one_id_is_never_in_flight_twice(connect: Connect) -> None:
    agent = name()
    client = await (await connect().start(*agent_queues(agent, []))).online()
    one = message(topic("agent", agent), b"once")
    assert set(await asyncio.gather(*(client.bus.publish(one) for _ in range(10)))) == {Outcome.CONFIRMED}
    assert await client.bus.publish(message(topic("agent", agent), b"after")) is Outcome.CONFIRMED
    await client.receives(2)
    assert client.bodies() == [b"once", b"after"]


async def test_too_many_unconfirmed_messages_are_refused(connect: Connect) -> None:
    agent = name()
    client = await (await connect(max_in_flight=5).start(*agent_queues(agent, []))).online()
    results = await asyncio.gather(
        *(client.bus.publish(message(topic("agent", agent))) for _ in range(8)), return_exceptions=True
    )
    assert [type(one) for one in results] == [Outcome] * 5 + [NotSent] * 3


async def test_self_pings_come_back_and_are_nobodys_business(connect: Connect) -> None:
    client = connect(**PINGING)
    bus = client.bus
    assert isinstance(bus, AmqpBus)
    await (await client.start(*agent_queues(name(), []))).online()
    await eventually(lambda: bus.pings_answered >= 5, 10)
    assert client.connections == 1
    assert bus.healthy
    assert not client.got


async def test_a_refused_login_is_one_line_and_tried_again(rabbit_node: RabbitNode, connect: Connect) -> None:
    user = f"agent-{token_hex(3)}"
    with capture_logs() as lines:
        client = await connect(rabbit_node.url().replace("guest:guest", f"{user}:secret")).start(
            *agent_queues(name(), [])
        )
        await eventually(lambda: [line for line in lines if line["event"] == "broker_away"], 10)
        await asyncio.to_thread(rabbit_node.control, "add_user", user, "secret")
        await eventually(lambda: [line for line in lines if "vhost" in line.get("detail", "")], 10)
        await asyncio.to_thread(rabbit_node.control, "set_permissions", "-p", "/", user, ".*", ".*", ".*")
        await client.online()
    away = [str(line["detail"]) for line in lines if line["event"] == "broker_away"]
    assert f"login of user {user} refused" in away[0]
    assert "no such vhost, or user" in away[1]
    assert len(away) == 2
    assert "secret" not in str(lines)


async def test_a_user_that_may_not_configure(rabbit_node: RabbitNode, connect: Connect) -> None:
    user, agent = f"agent-{token_hex(3)}", name()
    # The operator declares, the agent only uses.
    operator = await (await connect().start(*agent_queues(agent, []))).online()
    await operator.bus.close()
    await asyncio.to_thread(rabbit_node.control, "add_user", user, "secret")
    await asyncio.to_thread(rabbit_node.control, "set_permissions", "-p", "/", user, "^$", ".*", ".*")
    with capture_logs() as lines:
        client = connect(rabbit_node.url().replace("guest:guest", f"{user}:secret"), **PINGING)
        bus = client.bus
        assert isinstance(bus, AmqpBus)
        await (await client.start(*agent_queues(agent, []))).online()
        assert await bus.publish(message(topic("agent", agent), b"1")) is Outcome.CONFIRMED
        await client.receives(1)
        await eventually(lambda: bus.pings_answered >= 3)
    assert client.connections == 1
    assert [line["event"] for line in lines] == ["watchdog_limited", "broker_connected"]


async def test_a_binding_that_is_refused_leaves_the_others(rabbit_node: RabbitNode, connect: Connect) -> None:
    user, agent, job_type = f"agent-{token_hex(3)}", name(), f"align{name()}"
    control = rabbit_node.control
    await asyncio.to_thread(control, "add_user", user, "secret")
    await asyncio.to_thread(control, "set_permissions", "-p", "/", user, ".*", ".*", ".*")
    readable = rf"^(wf\.agent\.({agent}|fulfillment)|caroni\..*)$"
    await asyncio.to_thread(control, "set_topic_permissions", "-p", "/", user, "caroni", ".*", readable)
    with capture_logs() as lines:
        client = connect(rabbit_node.url().replace("guest:guest", f"{user}:secret"))
        await (await client.start(*agent_queues(agent, [job_type], plain=True))).online()
        for key, outcome in (
            (topic("agent", agent), Outcome.CONFIRMED),
            ("wf.agent.fulfillment", Outcome.CONFIRMED),
            (f"wf.agent.fulfillment.{job_type}", Outcome.UNROUTABLE),
        ):
            assert await client.bus.publish(message(key)) is outcome
    refused = [line["binding"] for line in lines if line["event"] == "binding_refused"]
    assert refused == [f"wf.agent.fulfillment.{job_type}"]


async def test_the_exchange_of_base_protocol_peers(rabbit_node: RabbitNode, connect: Connect) -> None:
    agent, exchange = name(), f"base-{name()}"
    options = {"exchange": exchange, "exchange_durable": False}
    client = await (await connect(**options).start(*agent_queues(agent, [], plain=True))).online()

    # A base-protocol peer declares it so, and ends when it finds anything else.
    await admin(rabbit_node.url(), lambda channel: channel.declare_exchange(exchange, "topic", durable=False))
    assert await client.bus.publish(message("wf.agent.fulfillment", b"1")) is Outcome.CONFIRMED
    await client.receives(1)


async def test_an_existing_queue_is_used_as_it_is(rabbit_node: RabbitNode, connect: Connect) -> None:
    agent = name()
    queue = f"caroni.agent.{agent}.ctl"
    await admin(
        rabbit_node.url(),
        lambda channel: channel.declare_queue(queue, durable=True, arguments={"x-max-length": 7}),
    )
    with capture_logs() as lines:
        client = await (await connect().start(*agent_queues(agent, []))).online()
        assert await client.bus.publish(message(topic("agent", agent), b"1")) is Outcome.CONFIRMED
        await client.receives(1)
    assert [line["object"] for line in lines if line["event"] == "broker_object_differs"] == [
        f"queue {queue}"
    ]


async def test_quorum_queues_keep_messages_through_many_lost_connections(
    rabbit_proxy: Proxy, connect: Connect
) -> None:
    agent = name()
    url = f"amqp://guest:guest@127.0.0.1:{rabbit_proxy.port}/%2F"
    client = await (await connect(url, queue_type="quorum").start(*agent_queues(agent, []))).online()
    for number in range(5):
        await client.bus.publish(message(topic("agent", agent), b"%d" % number))
    for drop in range(6):
        await eventually(lambda: len(set(client.bodies())) == 5, 10)
        client.got.clear()
        rabbit_proxy.cut()
        await client.online(drop + 2)
    await eventually(lambda: set(client.bodies()) == {b"%d" % n for n in range(5)}, 10)


async def test_messages_carry_properties_for_people(rabbit_node: RabbitNode, connect: Connect) -> None:
    key = f"t.{name()}"
    client = await (await connect().start()).online()
    connection = await aio_pika.connect(rabbit_node.url())
    try:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind("caroni", key)
        await client.bus.publish(
            Publish(
                routing_key=key,
                body=b"1",
                message_id="m1",
                type="JobKill",
                reply_to="wf.x",
                correlation_id="c",
            )
        )
        got = await queue.get(no_ack=True)
    finally:
        await connection.close()
    assert (got.message_id, got.type, got.reply_to, got.correlation_id) == ("m1", "JobKill", "wf.x", "c")
    assert got.content_type == "application/x-protobuf"
    assert got.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert str(got.app_id).startswith("caroni/")
    assert got.timestamp is not None


def certificate_authority(directory: Path, label: str) -> tuple[Path, ssl.SSLContext]:
    """A CA file and the server context of a certificate that it issued to 127.0.0.1."""
    now = datetime.now(UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{label} CA")])
    made = []
    for key, subject, is_ca in ((keys[0], issuer, True), (keys[1], x509.Name([]), False)):
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if not is_ca:
            alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
            builder = builder.add_extension(alternative, critical=True)
        made.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    ca_file, server_file = directory / f"{label}-ca.pem", directory / f"{label}-server.pem"
    ca_file.write_bytes(made[0])
    server_file.write_bytes(
        made[1]
        + keys[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_file)
    return ca_file, context


async def test_tls_with_the_right_and_the_wrong_authority(
    rabbit_node: RabbitNode, connect: Connect, tmp_path: Path
) -> None:
    right, context = certificate_authority(tmp_path, "right")
    wrong, _ = certificate_authority(tmp_path, "wrong")
    proxy = Proxy(rabbit_node.port, tls=context)
    await proxy.start()
    url = f"amqps://guest:guest@127.0.0.1:{proxy.port}/%2F"
    try:
        agent = name()
        client = await (await connect(url, ca_file=str(right)).start(*agent_queues(agent, []))).online()
        assert await client.bus.publish(message(topic("agent", agent), b"1")) is Outcome.CONFIRMED
        await client.receives(1)
        with capture_logs() as lines:
            refused = await connect(url, ca_file=str(wrong)).start()
            await eventually(lambda: [line for line in lines if line["event"] == "broker_away"], 10)
        assert not refused.bus.connected
        assert "check amqp.ca_file" in str(lines[0]["detail"])
        for each in (client, refused):
            await each.bus.close()
    finally:
        await proxy.close()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"url": "amqp://u:p@broker.example/"}, "unencrypted"),
        ({"url": "http://localhost/"}, "must begin with amqps://"),
        ({"url": "amqp:///"}, "names no host"),
        ({"url": "amqp://localhost:99999999/"}, "cannot be read"),
        ({"url": "amqp://localhost/", "queue_type": "stream"}, "classic or quorum"),
        ({"url": "amqps://h/", "cert_file": "/x"}, "belong together"),
        ({"url": "amqps://h/", "ca_file": "/nowhere/ca.pem"}, "there is no file"),
        ({"url": "amqps://h/", "ca_file": __file__}, "must be PEM"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        AmqpBus(BrokerOptions(**options))


def test_an_open_network_must_be_asked_for() -> None:
    AmqpBus(BrokerOptions(url="amqp://u:p@broker.example/", allow_plain=True))
    for host in ("localhost", "127.0.0.1", "127.3.4.5", "[::1]"):
        AmqpBus(BrokerOptions(url=f"amqp://u:p@{host}/"))


async def test_the_exchange_of_base_peers_is_made_again_with_its_bindings(
    connect: Connect, rabbit_node: RabbitNode
) -> None:
    """It is not durable, so a broker that starts again has lost it."""
    manager, exchange = name(), f"base-{name()}"
    proxy = Proxy(rabbit_node.port)
    await proxy.start()
    try:
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/%2F"
        here = connect(url, base_exchange=exchange)
        await (await here.start(*base_queues("manager", manager))).online()
        proxy.cut(refuse=True)
        await eventually(lambda: not here.bus.connected, 10)
        await admin(rabbit_node.url(), lambda channel: channel.exchange_delete(exchange))
        proxy.through()
        await here.online(2)

        async def say(channel: aio_pika.abc.AbstractChannel) -> None:
            made = await channel.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, durable=False)
            await made.publish(aio_pika.Message(b"hello", reply_to="wf.agent.x"), topic("manager", manager))

        await admin(rabbit_node.url(), say)
        assert [(one.body, one.reply_to) for one in await here.receives(1)] == [(b"hello", "wf.agent.x")]
        one = message(topic("manager", manager), b"self", base=True, reply_to="wf.agent.y")
        assert await here.bus.publish(one) is Outcome.CONFIRMED
        await here.receives(2)
    finally:
        await proxy.close()
