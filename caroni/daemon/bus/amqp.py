"""The bus over RabbitMQ: one link after the other, for as long as the daemon lives.

Start never waits for the broker. A lost link is replaced with back-off; each publish is one task on one
link and is never in flight twice; a watchdog sends itself a message to find a link that looks alive and is
not (``docs/reliability.md`` section 2.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import uniform
from typing import Any

import structlog

from caroni.daemon.bus.amqp_connection import BROKER_ERRORS, explain, quiet_libraries
from caroni.daemon.bus.amqp_link import Link
from caroni.daemon.bus.broker_url import BrokerOptions, check_options, place, tls_context
from caroni.daemon.ports import Delivery, Outcome, Publish, QueueSpec
from caroni.errors import NotSent, TransientError

log = structlog.get_logger()

#: a link that lived so long (seconds) was a good one: the next attempt comes without waiting
_SETTLED = 10.0
#: seconds after which a task that goes on in spite of it is cancelled again
CANCEL_AGAIN = 1.0
#: seconds that closing waits for what is being let go; a dead broker must not hold up a stop
LET_GO = 10.0


class AmqpBus:
    """Implements :class:`caroni.daemon.ports.Bus` on RabbitMQ 3.10 to 4.x.

    ``on_unhealthy`` is called once when the broker has swallowed every self-ping for
    ``options.unhealthy_after`` seconds; ``healthy`` is false from then until a ping comes back. A broker that
    cannot be reached at all is not unhealthy: being offline is normal, and a restart would not help.

    Raises:
        ConfigError: the options can never work, or the URL is unencrypted to another host.
    """

    def __init__(self, options: BrokerOptions, *, on_unhealthy: Callable[[], None] | None = None) -> None:
        check_options(options)
        self._options = options
        self._context = tls_context(options)
        self._on_unhealthy = on_unhealthy
        self._link: Link | None = None
        self._specs: tuple[QueueSpec, ...] = ()
        self._bindings: dict[str, tuple[str, ...]] = {}
        #: bindings that this process made, so that those no longer wanted can be removed
        self._made: dict[str, set[str]] = {}
        self._in_flight: dict[str, asyncio.Task[Outcome]] = {}
        #: in flight and not waited for any more; and what the broker said of such ones in the end
        self._abandoned: set[str] = set()
        self._late: dict[str, Outcome] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._discarding: set[asyncio.Task[None]] = set()
        self._binding = asyncio.Lock()
        self._warned: set[str] = set()
        self._paused = False
        self._closed = False
        self._silent_since: float | None = None
        self._on_delivery: Callable[[Delivery], None] = lambda _: None
        self._on_connected: Callable[[], None] = lambda: None
        self.healthy = True
        #: self-pings that came back since the start
        self.pings_answered = 0

    @property
    def connected(self) -> bool:
        """Whether publishing can be tried now."""
        return self._link is not None and not self._link.broken.is_set()

    async def start(
        self,
        queues: Sequence[QueueSpec],
        on_delivery: Callable[[Delivery], None],
        on_connected: Callable[[], None],
    ) -> None:
        """See :meth:`caroni.daemon.ports.Bus.start`."""
        quiet_libraries()
        self._specs = tuple(queues)
        self._bindings = {spec.name: spec.bindings for spec in queues}
        self._on_delivery = on_delivery
        self._on_connected = on_connected
        self._tasks = [
            asyncio.create_task(self._supervise(), name="amqp-supervise"),
            asyncio.create_task(self._watch(), name="amqp-watch"),
        ]

    async def bind(self, queue: str, routing_keys: Sequence[str]) -> None:
        """See :meth:`caroni.daemon.ports.Bus.bind`; never raises for a lost connection."""
        self._bindings[queue] = tuple(routing_keys)
        if self._link is None:
            return  # the next link opens with them
        async with self._binding:
            link = self._link
            if link is None:
                return
            wanted = set(self._bindings[queue])
            made = self._made.setdefault(queue, set())
            try:
                async with asyncio.timeout(self._options.connect_timeout):
                    await link.bind(queue, wanted - made, made - wanted)
            except BROKER_ERRORS as error:
                _reraise_own_cancellation()
                link.fail(f"bindings of {queue} could not be changed ({explain(error, self._options)})")
                made |= wanted
            else:
                self._made[queue] = wanted

    async def publish(self, message: Publish) -> Outcome:
        """See :meth:`caroni.daemon.ports.Bus.publish`."""
        if self._late and (outcome := self._late.pop(message.message_id, None)) is not None:
            return outcome
        task = self._in_flight.get(message.message_id)
        if task is None:
            link = self._link
            if link is None or link.broken.is_set():
                raise NotSent(f"not connected to the broker at {place(self._options.url)}")
            if len(self._in_flight) >= self._options.max_in_flight:
                raise NotSent(f"{len(self._in_flight)} messages wait for the broker's confirm already")
            # The publish outlives a caller that gives up: until its outcome is known, a repeat joins it.
            task = asyncio.create_task(link.publish(message))
            self._in_flight[message.message_id] = task
            task.add_done_callback(lambda done: self._landed(message.message_id, done))
        elif self._abandoned:
            self._abandoned.discard(message.message_id)
        await asyncio.wait((task,), timeout=self._options.publish_timeout)
        if not task.done():
            self._abandoned.add(message.message_id)
            raise TransientError(f"no confirm from the broker within {self._options.publish_timeout:g} s")
        # A dying connection cancels what waits on it, though nobody here cancelled anything.
        if task.cancelled():
            raise TransientError("the connection broke before the confirm; the outcome is not known")
        error = task.exception()
        if error is None:
            return task.result()
        if isinstance(error, TransientError):
            raise error
        raise TransientError(f"the outcome of the publish is not known ({error!r})") from error

    def _landed(self, message_id: str, task: asyncio.Task[Outcome]) -> None:
        self._in_flight.pop(message_id, None)
        abandoned = message_id in self._abandoned
        self._abandoned.discard(message_id)
        # Asking for the exception marks it as seen: the caller may have gone.
        if task.cancelled() or task.exception() is not None or not abandoned:
            return
        if task.result() is Outcome.CONFIRMED:
            self._late[message_id] = Outcome.CONFIRMED
            if len(self._late) > self._options.max_in_flight:
                del self._late[next(iter(self._late))]

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See :meth:`caroni.daemon.ports.Bus.ack`."""
        # By the delivery's own link: the first deliveries come while the bus still opens that link.
        tags: dict[tuple[Link, Any], list[int]] = {}
        for delivery in deliveries:
            if isinstance(delivery.token, tuple):
                link, channel, tag = delivery.token
                tags.setdefault((link, channel), []).append(tag)
        for (link, channel), given in tags.items():
            await link.ack(channel, given)

    async def pause(self) -> None:
        """See :meth:`caroni.daemon.ports.Bus.pause`."""
        self._paused = True
        if self._link is not None:
            await self._link.stop_consuming()

    async def resume(self) -> None:
        """See :meth:`caroni.daemon.ports.Bus.resume`."""
        self._paused = False
        link = self._link
        if link is not None and not link.consuming:
            try:
                async with asyncio.timeout(self._options.connect_timeout):
                    await link.consume(self._specs)
            except BROKER_ERRORS as error:
                _reraise_own_cancellation()
                link.fail(explain(error, self._options))

    async def close(self) -> None:
        """See :meth:`caroni.daemon.ports.Bus.close`."""
        self._closed = True
        # the library can swallow a cancellation that meets its own clean-up: ask until it is heard
        while pending := [task for task in self._tasks if not task.done()]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=CANCEL_AGAIN)
        link, self._link = self._link, None
        if link is not None:
            await link.close(graceful=not link.broken.is_set())
        for publish in list(self._in_flight.values()):
            publish.cancel()
        rest = [*self._in_flight.values(), *self._discarding]
        if rest:
            done, _ = await asyncio.wait(rest, timeout=LET_GO)
            for ended in done:
                if not ended.cancelled():
                    ended.exception()  # looked at, so that nobody complains that it was not

    # --- one link after the other ---------------------------------------------------------------------------

    async def _supervise(self) -> None:
        options = self._options
        where = place(options.url)
        loop = asyncio.get_running_loop()
        delay = options.reconnect_min
        last_reason = ""
        while True:
            link = Link(options, self._context, self._receive, self._warned)
            try:
                await self._open(link)
            except BROKER_ERRORS as error:
                self._link = None
                await self._discard(link)
                _reraise_own_cancellation()
                reason = explain(error, options)
                if reason != last_reason:
                    log.warning("broker_away", detail=reason, action="trying again until it answers")
                    last_reason = reason
            else:
                log.info("broker_connected", broker=where, version=link.version)
                last_reason = ""
                opened = loop.time()
                self._call(self._on_connected)
                await link.broken.wait()
                self._link = None
                # A publish that waits for room in a dead connection's queue would wait for ever.
                for publish in self._in_flight.values():
                    publish.cancel()
                log.warning("broker_lost", broker=where, detail=link.reason)
                await self._discard(link)
                if loop.time() - opened >= _SETTLED:
                    delay = options.reconnect_min
            # Spread, so that a restarted broker does not meet all its clients at once.
            await asyncio.sleep(delay * uniform(0.5, 1.0))  # noqa: S311
            delay = min(delay * 2, options.reconnect_max)

    async def _discard(self, link: Link) -> None:
        """Close a broken link; goes on in the background when the bus is closed meanwhile."""
        task = asyncio.create_task(link.close(graceful=False))
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)
        await asyncio.shield(task)

    async def _open(self, link: Link) -> None:
        async with asyncio.timeout(self._options.connect_timeout):
            wanted = dict(self._bindings)
            await link.open(self._specs, wanted, self._made)
            self._made = {queue: set(keys) for queue, keys in wanted.items()}
            if not self._paused:
                await link.consume(self._specs)
            self._link = link
            # What was asked for while the link was being opened.
            if self._paused:
                await link.stop_consuming()
            for queue, keys in self._bindings.items():
                if keys != wanted[queue]:
                    await self.bind(queue, keys)

    def _receive(self, delivery: Delivery) -> None:
        if self._closed:
            return
        try:
            self._on_delivery(delivery)
        except Exception:
            log.exception("delivery_callback_failed", queue=delivery.queue)

    def _call(self, callback: Callable[[], None]) -> None:
        if not self._closed:
            try:
                callback()
            except Exception:
                log.exception("bus_callback_failed")

    # --- watchdog -------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        options = self._options
        loop = asyncio.get_running_loop()
        missed = 0
        while not self._closed:
            started = loop.time()
            link = self._link
            if link is None or link.broken.is_set():
                missed = 0
            elif await link.ping(options.ping_interval):
                missed = 0
                self.pings_answered += 1
                self._silent_since = None
                self.healthy = True
            elif not link.broken.is_set():
                missed += 1
                if self._silent_since is None:
                    self._silent_since = started
                if missed >= options.ping_misses:
                    link.fail(f"{missed} self-pings in a row were not answered")
                    missed = 0
            now = loop.time()
            silent = self._silent_since
            if self.healthy and silent is not None and now - silent >= options.unhealthy_after:
                self.healthy = False
                log.error(
                    "broker_silent",
                    broker=place(options.url),
                    seconds=round(now - silent),
                    remedy="look at the broker; the daemon should be restarted by its supervisor",
                )
                if self._on_unhealthy is not None:
                    self._call(self._on_unhealthy)
            await asyncio.sleep(max(0.0, started + options.ping_interval - now))


def _reraise_own_cancellation() -> None:
    """Inside ``except BROKER_ERRORS``: a cancellation meant for this very task goes on."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
