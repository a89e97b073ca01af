"""The in-process bus misbehaves only when asked to, repeatably, and still loses nothing it confirmed."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caroni.daemon.bus.faults import Faults
from caroni.daemon.bus.memory import MemoryBroker, MemoryBus, topic_matches
from caroni.daemon.bus.topology import agent_queues, topic
from caroni.daemon.ports import Outcome
from caroni.errors import TransientError
from tests.contract.test_bus import Client, message, sent
from tests.services import eventually


async def client_of(broker: MemoryBroker, agent: str) -> Client:
    return await (await Client(MemoryBus(broker)).start(*agent_queues(agent, []))).online()


async def test_every_fault_happens_and_nothing_confirmed_is_lost() -> None:
    faults = Faults(
        7,
        reorder=0.2,
        duplicate=0.2,
        delay=0.2,
        max_delay=0.005,
        lose_confirm=0.1,
        lose_publish=0.1,
        drop_connection=0.02,
    )
    broker = MemoryBroker(faults=faults)
    reader, sender = await client_of(broker, "r"), await client_of(broker, "s")
    bodies = [b"%d" % number for number in range(300)]
    unknown = 0
    for body in bodies:
        one = message(topic("agent", "r"), body)
        while True:
            try:
                assert await sender.bus.publish(one) is Outcome.CONFIRMED
                break
            except TransientError:
                unknown += 1
                await asyncio.sleep(0)
    faults.active = False
    await eventually(lambda: set(reader.bodies()) == set(bodies), 10, "a confirmed message is missing")
    seen = Counter(reader.bodies())
    assert unknown > 10
    assert max(seen.values()) > 1
    assert list(dict.fromkeys(reader.bodies())) != bodies
    assert any(one.redelivered for one in reader.got)
    assert reader.connections > 1
    # Acknowledging everything empties the queue, duplicates included.
    await reader.bus.ack(reader.got)
    await sent(sender.bus, message(topic("agent", "r"), b"end"))
    await eventually(lambda: reader.got[-1].body == b"end")
    await reader.bus.ack(reader.got[-1:])
    assert broker.depth("caroni.agent.r.ctl") == 0


async def test_the_same_seed_makes_the_same_faults() -> None:
    async def run(seed: int) -> list[bytes]:
        broker = MemoryBroker(faults=Faults(seed, reorder=0.3, duplicate=0.3))
        reader = await client_of(broker, "r")
        for number in range(50):
            await reader.bus.publish(message(topic("agent", "r"), b"%d" % number))
        await eventually(lambda: len(set(reader.bodies())) == 50)
        await reader.bus.close()
        return reader.bodies()

    assert await run(1) == await run(1)
    assert await run(1) != await run(2)


async def test_a_lost_confirm_is_a_delivery_and_a_lost_publish_is_none() -> None:
    broker = MemoryBroker(faults=Faults(1, lose_confirm=1.0))
    reader = await client_of(broker, "r")
    with pytest.raises(TransientError):
        await reader.bus.publish(message(topic("agent", "r"), b"1"))
    await reader.receives(1)
    broker.faults = Faults(1, lose_publish=1.0)
    with pytest.raises(TransientError):
        await reader.bus.publish(message(topic("agent", "r"), b"2"))
    broker.faults = None
    await reader.bus.publish(message(topic("agent", "r"), b"3"))
    await reader.receives(2)
    assert reader.bodies() == [b"1", b"3"]


async def test_a_deleted_queue_comes_back_empty() -> None:
    broker = MemoryBroker()
    reader = await client_of(broker, "r")
    await reader.bus.publish(message(topic("agent", "r"), b"1"))
    await reader.receives(1)
    broker.delete_queue("caroni.agent.r.ctl")
    await reader.online(2)
    assert broker.depth("caroni.agent.r.ctl") == 0
    await reader.bus.publish(message(topic("agent", "r"), b"2"))
    await reader.receives(2)


def naive_match(pattern: list[str], words: list[str]) -> bool:
    """The definition, by recursion."""
    if not pattern:
        return not words
    head, rest = pattern[0], pattern[1:]
    if head == "#":
        return any(naive_match(rest, words[skip:]) for skip in range(len(words) + 1))
    return bool(words) and head in ("*", words[0]) and naive_match(rest, words[1:])


@given(
    st.lists(st.sampled_from(["a", "b", "*", "#"]), min_size=1, max_size=5),
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6),
)
def test_patterns_match_as_defined(pattern: list[str], words: list[str]) -> None:
    assert topic_matches(".".join(pattern), ".".join(words)) is naive_match(pattern, words)
