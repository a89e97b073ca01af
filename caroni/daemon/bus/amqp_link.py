"""One generation of connections to RabbitMQ; only this module and ``amqp_connection`` know aio-pika.

A link is opened once, breaks once and is never repaired: :class:`caroni.daemon.bus.amqp.AmqpBus` throws it
away and opens the next. So there is no half-restored state, and a delivery tag can never be acknowledged on
a channel it does not belong to. Publishing and consuming use separate connections because a broker short of
memory or disk blocks the connections that publish.

The hot path uses the channel below aio-pika's: one task and two objects fewer per delivery.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex
from typing import Any, TypeVar

import aio_pika
import structlog
from aiormq import Channel
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)
from pamqp.commands import Basic

from caroni import __version__
from caroni.daemon.bus.amqp_connection import (
    BROKER_ERRORS,
    CLOSE_TIMEOUT,
    BrokerConnection,
    explain,
    in_words,
)
from caroni.daemon.bus.broker_url import BrokerOptions
from caroni.daemon.ports import Delivery, Outcome, Publish, QueueSpec
from caroni.errors import NotSent, TransientError

log = structlog.get_logger()
T = TypeVar("T")

_PING = "caroni.ping"


class Link:
    """Both connections with all channels, from :meth:`open` to the first fault.

    ``broken`` is set with ``reason`` at the first fault; after that the link is only good for :meth:`close`.
    """

    def __init__(
        self,
        options: BrokerOptions,
        context: ssl.SSLContext | None,
        on_delivery: Callable[[Delivery], None],
        warned: set[str],
    ) -> None:
        self._options = options
        self._on_delivery = on_delivery
        #: what was warned of already, shared by all generations: no line twice
        self._warned = warned
        self._publishing = BrokerConnection(options, context, "publish")
        self._consuming = BrokerConnection(options, context, "consume")
        # Strong references: the library itself keeps weak ones.
        self._channels: list[object] = []
        self._publish_channel: Channel | None = None
        self._consume_channel: Channel | None = None
        self._ping_channel: Channel | None = None
        self._ping_queue = ""
        self._pong: asyncio.Future[None] | None = None
        self._unacked: dict[int, None] = {}
        #: queues that are bound to another exchange than ours
        self._exchange_of: dict[str, str] = {}
        self.broken = asyncio.Event()
        self.reason = ""
        self.version = ""

    # --- opening ------------------------------------------------------------------------------------------

    async def open(
        self, specs: Iterable[QueueSpec], bindings: dict[str, tuple[str, ...]], stale: dict[str, set[str]]
    ) -> None:
        """Connect and declare everything; :meth:`consume` comes after.

        ``bindings`` are those each queue must have, ``stale`` those that an earlier generation made.
        """
        await self._consuming.open(self._connection_closed)
        await self._publishing.open(self._connection_closed)
        self.version = self._consuming.version
        await self._declare_exchange(self._options.exchange, self._options.exchange_durable)
        if self._options.base_exchange:
            await self._declare_exchange(self._options.base_exchange, durable=False)
        for spec in specs:
            if spec.base:
                self._exchange_of[spec.name] = self._options.base_exchange
            await self._declare_queue(spec)
            wanted = bindings[spec.name]
            await self.bind(spec.name, wanted, stale.get(spec.name, set()) - set(wanted))
        channel, self._publish_channel = await self._publishing.channel(confirms=True)
        channel.close_callbacks.add(lambda _, error: self._channel_closed("publish", error))
        self._channels.append(channel)
        await self._open_ping(next(iter(bindings), f"caroni.{token_hex(8)}"))

    async def consume(self, specs: Iterable[QueueSpec]) -> None:
        """Start the deliveries of these queues."""
        channel, under = await self._consuming.channel(confirms=False)
        self._channels.append(channel)
        await under.basic_qos(prefetch_count=self._options.prefetch)
        channel.close_callbacks.add(lambda _, error: self._consume_closed(under, error))
        under.on_consumer_cancel_callbacks.add(self._consumer_cancelled)
        self._consume_channel = under
        for spec in specs:
            await under.basic_consume(spec.name, self._receiver(spec.name, under))

    def _receiver(
        self, queue: str, channel: Channel
    ) -> Callable[[DeliveredMessage], Coroutine[Any, Any, None]]:
        async def receive(message: DeliveredMessage) -> None:
            frame = message.delivery
            if self._consume_channel is not channel or self.broken.is_set():
                return
            if not isinstance(frame, Basic.Deliver) or frame.delivery_tag is None:
                return
            self._unacked[frame.delivery_tag] = None
            self._on_delivery(
                Delivery(
                    body=message.body,
                    routing_key=frame.routing_key or "",
                    queue=queue,
                    reply_to=message.header.properties.reply_to or "",
                    redelivered=bool(frame.redelivered),
                    token=(self, channel, frame.delivery_tag),
                )
            )

        return receive

    @property
    def consuming(self) -> bool:
        """Whether deliveries are on."""
        return self._consume_channel is not None

    async def _scratch(self, action: Callable[[Channel], Awaitable[T]]) -> T:
        """Run an action on a channel of its own, since the broker closes the channel of what it refuses."""
        channel, under = await self._consuming.channel(confirms=False)
        try:
            return await action(under)
        finally:
            if not channel.is_closed:
                await channel.close()

    async def _declare_exchange(self, name: str, durable: bool) -> None:
        await self._passive_first(
            f"exchange {name}",
            lambda channel: channel.exchange_declare(name, exchange_type="topic", passive=True),
            lambda channel: channel.exchange_declare(name, exchange_type="topic", durable=durable),
        )

    async def _declare_queue(self, spec: QueueSpec) -> None:
        arguments = self._arguments(spec)
        exclusive = spec.exclusive

        def declare(channel: Channel) -> Awaitable[object]:
            return channel.queue_declare(
                spec.name,
                durable=not exclusive,
                exclusive=exclusive,
                auto_delete=exclusive,
                arguments=arguments,
            )

        if exclusive:
            await self._scratch(declare)
            return
        await self._passive_first(
            f"queue {spec.name}", lambda channel: channel.queue_declare(spec.name, passive=True), declare
        )

    async def _passive_first(
        self,
        what: str,
        look: Callable[[Channel], Awaitable[object]],
        declare: Callable[[Channel], Awaitable[object]],
    ) -> None:
        """Use what is there, whoever made it and however; make it only where it is missing."""
        try:
            await self._scratch(look)
        except ChannelNotFoundEntity:
            await self._scratch(declare)
            return
        try:
            await self._scratch(declare)
        except ChannelPreconditionFailed as error:
            detail = f"{error}; it is used as it is"
            self._warn(f"differs {what}", "broker_object_differs", object=what, detail=detail)
        except ChannelAccessRefused:
            pass  # the user may not configure, and does not need to: it exists

    def _arguments(self, spec: QueueSpec) -> dict[str, Any]:
        if spec.exclusive:
            return {}
        arguments: dict[str, Any] = {}
        if spec.ttl is not None:
            arguments["x-message-ttl"] = spec.ttl
        if spec.max_length is not None:
            arguments["x-max-length"] = spec.max_length
            arguments["x-overflow"] = "drop-head"
        if spec.ttl is None and spec.max_length is None:
            arguments["x-single-active-consumer"] = True
            if self._options.queue_type == "quorum":
                arguments["x-queue-type"] = "quorum"
                # From 4.0 on the default limit destroys good messages of sites whose link flaps; before, the
                # same argument destroys them at the first lost connection.
                if _major(self.version) >= 4:
                    arguments["x-delivery-limit"] = -1
        return arguments

    async def bind(self, queue: str, add: Iterable[str], remove: Iterable[str]) -> None:
        """Add and remove bindings of a queue; what the broker refuses is warned of once."""
        exchange = self._exchange_of.get(queue, self._options.exchange)
        add, remove = list(add), list(remove)
        if not add and not remove:
            return

        async def all_at_once(channel: Channel) -> None:
            for key in add:
                await channel.queue_bind(queue, exchange, key, nowait=True)
            for key in remove:
                await channel.queue_unbind(queue, exchange, key)
            # An answer at last: what was refused before it has closed the channel.
            await channel.queue_declare(queue, passive=True)

        try:
            await self._scratch(all_at_once)
        except ChannelAccessRefused:
            for key in add:
                bind = partial(Channel.queue_bind, queue=queue, exchange=exchange, routing_key=key)
                await self._try(key, bind)
            for key in remove:
                unbind = partial(Channel.queue_unbind, queue=queue, exchange=exchange, routing_key=key)
                await self._try(key, unbind)

    async def _try(self, key: str, change: Callable[[Channel], Awaitable[object]]) -> None:
        try:
            await self._scratch(change)
        except ChannelAccessRefused as error:
            self._warn(f"binding {key}", "binding_refused", binding=key, detail=explain(error, self._options))

    def _warn(self, once: str, event: str, **details: str) -> None:
        if once not in self._warned:
            self._warned.add(once)
            log.warning(event, **details)

    # --- self-ping ----------------------------------------------------------------------------------------

    async def _open_ping(self, owner: str) -> None:
        """A private exclusive queue, bound to its own name: pings meet no envelope and no other consumer."""
        name = f"{owner}.ping.{token_hex(8)}"

        async def declare(channel: Channel) -> None:
            await channel.queue_declare(name, exclusive=True, auto_delete=True)
            await channel.queue_bind(name, self._options.exchange, name)

        try:
            await self._scratch(declare)
        except ChannelAccessRefused as error:
            self._warn("ping", "watchdog_limited", detail=explain(error, self._options))
            return
        consume_channel, consuming = await self._consuming.channel(confirms=False)
        publish_channel, publishing = await self._publishing.channel(confirms=False)
        self._channels += [consume_channel, publish_channel]
        await consuming.basic_consume(name, self._receive_ping, no_ack=True)
        consume_channel.close_callbacks.add(lambda _, error: self._channel_closed("ping", error))
        publish_channel.close_callbacks.add(lambda _, error: self._ping_closed(error))
        self._ping_queue, self._ping_channel = name, publishing

    def _ping_closed(self, error: BaseException | None) -> None:
        if isinstance(error, ChannelAccessRefused):
            self._ping_channel = None
            self._warn("ping", "watchdog_limited", detail=explain(error, self._options))
        else:
            self._channel_closed("ping", error)

    async def _receive_ping(self, _: DeliveredMessage) -> None:
        if self._pong is not None and not self._pong.done():
            self._pong.set_result(None)

    async def ping(self, timeout: float) -> bool:  # noqa: ASYNC109 (the bound is the answer)
        """Whether a message makes it through both connections within ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                if self._ping_channel is None:
                    # No permission for a private queue: at least both connections must answer a request.
                    for connection in (self._consuming, self._publishing):
                        channel, _ = await connection.channel(confirms=False)
                        await channel.close()
                    return True
                self._pong = asyncio.get_running_loop().create_future()
                await self._ping_channel.basic_publish(
                    b"",
                    exchange=self._options.exchange,
                    routing_key=self._ping_queue,
                    properties=Basic.Properties(message_type=_PING, delivery_mode=1),
                    wait=False,
                )
                await self._pong
        except BROKER_ERRORS:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return False
        return True

    # --- traffic ------------------------------------------------------------------------------------------

    async def publish(self, message: Publish) -> Outcome:
        """Publish and wait for the broker's word, for as long as the link lives.

        Raises:
            TransientError: the broker refused the message, or the link broke.
        """
        channel = self._publish_channel
        if channel is None or self.broken.is_set():
            raise NotSent(self.reason or "the connection to the broker is being opened")
        if message.base:
            exchange, properties = self._options.base_exchange, Basic.Properties(reply_to=message.reply_to)
        else:
            exchange = self._options.exchange
            properties = Basic.Properties(
                content_type="application/x-protobuf",
                delivery_mode=2,
                reply_to=message.reply_to or None,
                correlation_id=message.correlation_id or None,
                message_id=message.message_id,
                timestamp=datetime.now(UTC),
                message_type=message.type,
                app_id=f"caroni/{__version__}",
            )
        try:
            answer = await channel.basic_publish(
                message.body,
                exchange=exchange,
                routing_key=message.routing_key,
                properties=properties,
                mandatory=True,
                wait=False,
            )
        except aio_pika.exceptions.DeliveryError as error:
            raise TransientError(f"the broker refused the message ({error}): a queue is full") from error
        return Outcome.CONFIRMED if isinstance(answer, Basic.Ack) else Outcome.UNROUTABLE

    async def ack(self, channel: Channel, tags: Iterable[int]) -> None:
        """Acknowledge exactly these deliveries of a channel, in one frame where they are the oldest ones."""
        given = set(tags)
        # Another channel counts its deliveries anew: the same tags are other messages there.
        if channel is not self._consume_channel or self.broken.is_set():
            return
        last = 0
        count = 0
        # Tags rise, so the dictionary's order is that of the broker's unacknowledged list.
        for tag in self._unacked:
            if tag not in given:
                break
            last = tag
            count += 1
        try:
            # Bounded: a dead connection's queue takes no more frames, and says nothing.
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if count:
                    await channel.basic_ack(last, multiple=count > 1, wait=False)
                if count < len(given):
                    for tag in given:
                        if tag > last and tag in self._unacked:
                            await channel.basic_ack(tag, wait=False)
        except BROKER_ERRORS:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # The link is breaking: the deliveries come again and the inbox knows them.
        finally:
            for tag in given:
                self._unacked.pop(tag, None)

    async def stop_consuming(self) -> None:
        """Close the channel of the deliveries; the broker puts the unacknowledged ones back."""
        channel, self._consume_channel = self._consume_channel, None
        self._unacked.clear()
        if channel is not None:
            with contextlib.suppress(*BROKER_ERRORS):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await channel.close()

    # --- the end ------------------------------------------------------------------------------------------

    def fail(self, reason: str) -> None:
        """Declare the link broken; the first reason counts."""
        if not self.broken.is_set():
            self.reason = reason
            self.broken.set()

    def _connection_closed(self, error: BaseException | None) -> None:
        self.fail(f"connection closed ({in_words(error)})")

    def _channel_closed(self, what: str, error: BaseException | None) -> None:
        self.fail(f"{what} channel closed ({in_words(error)})")

    def _consume_closed(self, channel: Channel, error: BaseException | None) -> None:
        if self._consume_channel is channel:
            self._channel_closed("consume", error)

    def _consumer_cancelled(self, frame: Basic.Cancel) -> None:
        self.fail(f"the broker ended consumer {frame.consumer_tag}: its queue was deleted or moved")

    async def close(self, *, graceful: bool) -> None:
        """Close both connections; a broken link's sockets are aborted, nobody answers there."""
        self.fail("closed")
        await asyncio.gather(
            self._publishing.close(graceful=graceful), self._consuming.close(graceful=graceful)
        )
        self._channels.clear()


def _major(version: str) -> int:
    head = version.split(".", 1)[0]
    return int(head) if head.isdigit() else 0
