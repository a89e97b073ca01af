"""A tap on the exchange: every envelope that passes, for a console that only looks.

It has a queue of its own (exclusive, gone with its connection, bounded, the oldest dropped first), reads
without acknowledging and declares nothing else. What comes is kept raw in a bounded buffer and taken apart
by whoever shows it, so that a burst costs two appends a message.

While a tap is open the broker routes every message somewhere: a sender is not told then that a recipient
has no queue. So it is open only while somebody looks.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from random import uniform
from secrets import token_hex
from typing import Any

from aiormq import Channel
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from caroni.daemon.bus.amqp_connection import (
    BROKER_ERRORS,
    BrokerConnection,
    explain,
    in_words,
    quiet_libraries,
)
from caroni.daemon.bus.broker_url import BrokerOptions, check_options, place, tls_context, user
from caroni.services.tapping import AWAY, CLOSED, LIVE, NOT_PERMITTED, Tapped, TapState

#: messages that wait in the broker's queue, and here, before the oldest are dropped
QUEUE_LENGTH = 2000
BUFFER = 2000
#: every envelope's key; self-pings of daemons have others
BINDING = "wf.#"
#: permissions change rarely: seconds until it is tried again
ASK_AGAIN = 60.0
#: a connection that lived so long (seconds) was a good one
_SETTLED = 10.0


class AmqpTap:
    """Implements :class:`caroni.tui.tap.Tap` on RabbitMQ.

    Args:
        options: of the connection; the exchange is only looked at, never declared.
        owner: what this identity's queues are called after (``caroni.agent.TOPIC``): its own permissions
            cover such a queue. A user who may not have one gets a queue that the server names.

    Raises:
        ConfigError: the options can never work.
    """

    def __init__(self, options: BrokerOptions, owner: str, *, buffer: int = BUFFER) -> None:
        check_options(options)
        self._options = options
        self._context = tls_context(options)
        self._owner = owner
        self._kept: deque[Tapped] = deque()
        self._room = buffer
        self._task: asyncio.Task[None] | None = None
        self._connection: BrokerConnection | None = None
        self._ended = asyncio.Event()
        self._end = ""
        self.state: TapState = CLOSED
        #: why it is not live, in words
        self.reason = ""
        #: messages since the start; and those that nobody drained in time
        self.received = 0
        self.dropped = 0

    async def start(self) -> None:
        """Begin to connect; returns at once."""
        if self._task is None:
            quiet_libraries()
            self.state, self.reason = AWAY, f"connecting to {place(self._options.url)}"
            self._task = asyncio.create_task(self._run(), name="amqp-tap")

    def drain(self, limit: int = BUFFER) -> list[Tapped]:
        """The oldest messages that have not been drained, at most ``limit``."""
        return [self._kept.popleft() for _ in range(min(limit, len(self._kept)))]

    async def close(self) -> None:
        """Close the connection, and with it the queue."""
        task, self._task = self._task, None
        # the library can swallow a cancellation that meets its own clean-up: ask until it is heard
        while task is not None and not task.done():
            task.cancel()
            await asyncio.wait((task,), timeout=1.0)
        await self._drop(graceful=True)
        self._kept.clear()
        self.state, self.reason = CLOSED, ""

    async def _drop(self, *, graceful: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close(graceful=graceful)

    # --- one connection after the other ----------------------------------------------------------

    async def _run(self) -> None:
        options = self._options
        loop = asyncio.get_running_loop()
        delay = options.reconnect_min
        while True:
            self._ended.clear()
            wait = delay
            opened = loop.time()
            try:
                async with asyncio.timeout(options.connect_timeout):
                    await self._open()
            except BROKER_ERRORS as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                wait = max(self._refused(error), delay)
            else:
                self.state, self.reason = LIVE, ""
                opened = loop.time()
                await self._ended.wait()
                self.state, self.reason = AWAY, self._end
                if loop.time() - opened >= _SETTLED:
                    wait = delay = options.reconnect_min
            await self._drop(graceful=self.state == NOT_PERMITTED)
            # spread, so that a restarted broker does not meet all its clients at once
            await asyncio.sleep(wait * uniform(0.5, 1.0))  # noqa: S311
            delay = min(delay * 2, options.reconnect_max)

    def _refused(self, error: BaseException) -> float:
        """Note why it is not live; seconds until the next try, 0 for the usual back-off."""
        if isinstance(error, ChannelAccessRefused):
            who = user(self._options.url)
            said = " ".join(str(error).split())
            self.state = NOT_PERMITTED
            self.reason = f"user {who} may not read all of {self._options.exchange} (403: {said})"
            return ASK_AGAIN
        if isinstance(error, ChannelNotFoundEntity):
            self.reason = f"{place(self._options.url)} has no exchange {self._options.exchange} yet"
        else:
            self.reason = explain(error, self._options)
        self.state = AWAY
        return 0.0

    async def _open(self) -> None:
        options = self._options
        connection = self._connection = BrokerConnection(options, self._context, "tap")
        await connection.open(lambda error: self._over(f"connection closed ({in_words(error)})"))
        await self._with_channel(self._look)
        try:
            await self._with_channel(lambda channel: self._consume(channel, self._own_name()), keep=True)
        except ChannelAccessRefused:
            await self._with_channel(lambda channel: self._consume(channel, ""), keep=True)

    async def _with_channel(self, action: Any, *, keep: bool = False) -> None:
        """On a channel of its own, since the broker closes the channel of what it refuses."""
        assert self._connection is not None
        channel, under = await self._connection.channel(confirms=False)
        await action(under)
        if keep:
            self._channel = channel  # the library keeps weak references only
            channel.close_callbacks.add(lambda _, error: self._over(f"channel closed ({in_words(error)})"))
            under.on_consumer_cancel_callbacks.add(lambda _: self._over("the broker ended the tap's queue"))
        elif not channel.is_closed:
            await channel.close()

    async def _look(self, channel: Channel) -> None:
        await channel.exchange_declare(self._options.exchange, exchange_type="topic", passive=True)

    def _own_name(self) -> str:
        return f"{self._owner}.tap.{token_hex(8)}"

    async def _consume(self, channel: Channel, name: str) -> None:
        declared = await channel.queue_declare(
            name,
            exclusive=True,
            auto_delete=True,
            arguments={"x-max-length": QUEUE_LENGTH, "x-overflow": "drop-head"},
        )
        queue = str(declared.queue)
        await channel.queue_bind(queue, self._options.exchange, BINDING)
        await channel.basic_consume(queue, self._receive, no_ack=True)

    async def _receive(self, message: Any) -> None:
        self.received += 1
        kept = self._kept
        if len(kept) >= self._room:
            kept.popleft()
            self.dropped += 1
        kept.append(
            Tapped(
                at=time.time_ns() // 1000,
                routing_key=message.delivery.routing_key or "",
                body=message.body,
            )
        )

    def _over(self, reason: str) -> None:
        if not self._ended.is_set():
            self._end = reason
            self._ended.set()
