"""One look at a broker, as a daemon would meet it: login, version, permissions, and a message's way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from secrets import token_hex
from typing import Any

from caroni.daemon.bus.amqp_connection import BROKER_ERRORS, BrokerConnection, explain, quiet_libraries
from caroni.daemon.bus.broker_url import BrokerOptions, check_options, place, tls_context
from caroni.errors import ConfigError
from caroni.services.broker import BrokerSeen


async def probe(options: BrokerOptions, owner: str, queues: tuple[str, ...], seconds: float) -> BrokerSeen:
    """Look, and leave nothing behind.

    Args:
        options: of the connection.
        owner: what this identity's queues are called after (``caroni.agent.TOPIC``).
        queues: those that its daemon reads; they are only looked at.
        seconds: for each question.
    """
    quiet_libraries()
    where = place(options.url)
    try:
        check_options(options)
        connection = BrokerConnection(options, tls_context(options), "doctor")
    except ConfigError as error:
        return BrokerSeen(place=where, error=str(error))
    look = _Look(connection, options, seconds)
    try:
        failure = await look.ask(lambda: connection.open(lambda _: None))
        if failure is not None:
            return BrokerSeen(place=where, error=failure)
        return BrokerSeen(
            place=where,
            version=connection.version,
            exchange=await look.exchange(),
            way=await look.way(f"{owner}.ping.{token_hex(8)}"),
            queues={name: await look.count(name) for name in queues},
        )
    finally:
        await connection.close(graceful=True)


class _Look:
    def __init__(self, connection: BrokerConnection, options: BrokerOptions, seconds: float) -> None:
        self._connection = connection
        self._options = options
        self._seconds = seconds

    async def ask(self, question: Callable[[], Awaitable[object]]) -> str | None:
        """None if it went well, else what is wrong."""
        try:
            async with asyncio.timeout(self._seconds):
                await question()
        except BROKER_ERRORS as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return explain(error, self._options)
        return None

    async def _scratch(self, action: Callable[[Any], Awaitable[object]]) -> None:
        """On a channel of its own, since the broker closes the channel of what it refuses."""
        channel, under = await self._connection.channel(confirms=False)
        try:
            await action(under)
        finally:
            if not channel.is_closed:
                with contextlib.suppress(*BROKER_ERRORS):
                    await channel.close()

    async def exchange(self) -> str:
        """Whether the exchange is there; what is wrong, or nothing."""
        name = self._options.exchange
        declare = lambda channel: channel.exchange_declare(name, exchange_type="topic", passive=True)  # noqa: E731
        return await self.ask(lambda: self._scratch(declare)) or ""

    async def way(self, name: str) -> str:
        """Whether a message comes through an own queue and the exchange; what is wrong, or nothing."""
        arrived = asyncio.Event()

        async def arrive(_: Any) -> None:
            arrived.set()

        async def send(channel: Any) -> None:
            await channel.queue_declare(name, exclusive=True, auto_delete=True)
            await channel.queue_bind(name, self._options.exchange, name)
            await channel.basic_consume(name, arrive, no_ack=True)
            await channel.basic_publish(b"", exchange=self._options.exchange, routing_key=name, wait=False)
            await arrived.wait()

        return await self.ask(lambda: self._scratch(send)) or ""

    async def count(self, name: str) -> int:
        """Messages that wait in a queue; -1 if it is not there, or may not be looked at."""
        found: list[int] = []

        async def declare(channel: Any) -> None:
            found.append(int((await channel.queue_declare(name, passive=True)).message_count))

        await self.ask(lambda: self._scratch(declare))
        return found[0] if found else -1
