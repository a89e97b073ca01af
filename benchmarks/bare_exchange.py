"""Reference: the protocol's nine messages of one job with aio-pika alone, in two processes.

No signature, no database, no decision: persistent messages through classic durable queues, 50 jobs in
flight, each publish awaited with its confirm, three messages from manager to agent and six back. What the
whole service does per second is compared with this figure on the same machine and broker.

    python -m benchmarks.bare_exchange [--jobs 1500] [--in-flight 50] [--url amqp://...]

prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import time
from secrets import token_hex

import aio_pika

from benchmarks.broker import broker

#: who sends each message of a job, in order: request, offer, accept, accepted, inputs, queued, running,
#: outputs, completed
SCRIPT = "MAMAMAAAA"
BODY = b"\x00" * 600
PREFETCH = 1000


async def _open(
    url: str, exchange_name: str, queue_name: str
) -> tuple[aio_pika.abc.AbstractConnection, aio_pika.abc.AbstractExchange, aio_pika.abc.AbstractQueue]:
    connection = await aio_pika.connect(url)
    channel = await connection.channel(on_return_raises=True)
    await channel.set_qos(prefetch_count=PREFETCH)
    exchange = await channel.declare_exchange(exchange_name, aio_pika.ExchangeType.TOPIC, durable=True)
    queue = await channel.declare_queue(queue_name, durable=True)
    await queue.bind(exchange, queue_name)
    return connection, exchange, queue


def _message(job: str, step: int) -> aio_pika.Message:
    return aio_pika.Message(
        BODY,
        message_id=f"{job}.{step}",
        correlation_id=f"{job}.{step}",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


async def _agent(url: str, name: str, ready: multiprocessing.synchronize.Event) -> None:
    connection, exchange, queue = await _open(url, name, f"{name}.agent")
    stopped = asyncio.Event()

    async def handle(incoming: aio_pika.abc.AbstractIncomingMessage) -> None:
        job, _, number = (incoming.correlation_id or "").rpartition(".")
        if job == "stop":
            await incoming.ack()
            stopped.set()
            return
        step = int(number) + 1
        while step < len(SCRIPT) and SCRIPT[step] == "A":
            await exchange.publish(_message(job, step), f"{name}.manager", mandatory=True)
            step += 1
        await incoming.ack()

    consumer = await queue.consume(handle)
    ready.set()
    await stopped.wait()
    await queue.cancel(consumer)
    await queue.delete(if_unused=False, if_empty=False)
    await connection.close()


def _agent_process(url: str, name: str, ready: multiprocessing.synchronize.Event) -> None:
    asyncio.run(_agent(url, name, ready))


async def _manager(url: str, name: str, jobs: int, in_flight: int) -> float:
    connection, exchange, queue = await _open(url, name, f"{name}.manager")
    waiting: dict[str, asyncio.Future[None]] = {}

    async def handle(incoming: aio_pika.abc.AbstractIncomingMessage) -> None:
        job, _, number = (incoming.correlation_id or "").rpartition(".")
        step = int(number) + 1
        if step == len(SCRIPT):
            waiting.pop(job).set_result(None)
        elif SCRIPT[step] == "M":
            await exchange.publish(_message(job, step), f"{name}.agent", mandatory=True)
        await incoming.ack()

    consumer = await queue.consume(handle)
    left = iter(range(jobs))

    async def run() -> None:
        for number in left:
            job = f"job{number}"
            waiting[job] = asyncio.get_running_loop().create_future()
            done = waiting[job]
            await exchange.publish(_message(job, 0), f"{name}.agent", mandatory=True)
            await done

    started = time.perf_counter()
    await asyncio.gather(*(run() for _ in range(in_flight)))
    elapsed = time.perf_counter() - started
    await exchange.publish(_message("stop", 0), f"{name}.agent")
    await queue.cancel(consumer)
    await queue.delete(if_unused=False, if_empty=False)
    await connection.close()
    return jobs / elapsed


def bare_exchange(url: str, *, jobs: int = 1500, in_flight: int = 50) -> float:
    """Jobs a second of the bare exchange on the broker at ``url``; starts the agent's process itself."""
    name = f"bare-{token_hex(4)}"
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    agent = context.Process(target=_agent_process, args=(url, name, ready), daemon=True)
    agent.start()
    try:
        if not ready.wait(30):
            raise RuntimeError("the agent's process does not come up")
        return asyncio.run(_manager(url, name, jobs, in_flight))
    finally:
        agent.join(10)
        if agent.is_alive():
            agent.kill()
            agent.join()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1500)
    parser.add_argument("--in-flight", type=int, default=50)
    parser.add_argument("--url", default="", help="broker to use; without it a private node is started")
    arguments = parser.parse_args()
    with broker(arguments.url) as url:
        rate = bare_exchange(url, jobs=arguments.jobs, in_flight=arguments.in_flight)
    print(json.dumps({"benchmark": "bare_exchange", "value": round(rate, 1), "unit": "jobs/s"}))


if __name__ == "__main__":
    main()
