"""How many messages a second each bus carries: published with 50 in flight, delivered and acknowledged.

    python -m benchmarks.bus [--messages 20000] [--url amqp://...]

prints one JSON line per figure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from secrets import token_hex

from benchmarks.broker import broker
from caroni.daemon.bus.amqp import AmqpBus
from caroni.daemon.bus.broker_url import BrokerOptions
from caroni.daemon.bus.memory import MemoryBroker, MemoryBus
from caroni.daemon.bus.topology import control_queue, topic
from caroni.daemon.ports import Bus, Delivery, Outcome, Publish

BODY = b"\x00" * 600


async def messages_per_second(bus: Bus, messages: int, in_flight: int = 50) -> tuple[float, float]:
    """Messages a second: published and confirmed, and from first publish to last acknowledgement."""
    who = token_hex(11)
    key = topic("agent", who)
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()
    connected = asyncio.Event()
    await bus.start([control_queue("agent", who)], arrived.put_nowait, connected.set)
    await connected.wait()

    async def publish(numbers: range) -> None:
        for number in numbers:
            message = Publish(routing_key=key, body=BODY, message_id=f"{who}{number}", type="Benchmark")
            assert await bus.publish(message) is Outcome.CONFIRMED

    async def acknowledge() -> None:
        taken = 0
        while taken < messages:
            batch = [await arrived.get()]
            while not arrived.empty():
                batch.append(arrived.get_nowait())
            taken += len(batch)
            await bus.ack(batch)

    reader = asyncio.create_task(acknowledge())
    started = time.perf_counter()
    await asyncio.gather(*(publish(range(first, messages, in_flight)) for first in range(in_flight)))
    published = time.perf_counter() - started
    await reader
    delivered = time.perf_counter() - started
    await bus.close()
    return messages / published, messages / delivered


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=20000)
    parser.add_argument("--url", default="", help="broker to use; without it a private node is started")
    arguments = parser.parse_args()

    async def memory() -> tuple[float, float]:
        return await messages_per_second(MemoryBus(MemoryBroker()), arguments.messages)

    async def amqp(url: str) -> tuple[float, float]:
        return await messages_per_second(AmqpBus(BrokerOptions(url=url)), arguments.messages)

    figures = {"memory": asyncio.run(memory())}
    with broker(arguments.url) as url:
        figures["amqp"] = asyncio.run(amqp(url))
    for name, (published, delivered) in figures.items():
        for what, value in (("publish", published), ("publish_to_ack", delivered)):
            print(
                json.dumps({"benchmark": f"bus_{name}_{what}", "value": round(value), "unit": "messages/s"})
            )


if __name__ == "__main__":
    main()
