"""In-process topic exchange: the embedded default, and the tests' playground.

It carries the same sealed bytes as a broker and keeps the same promises: durable queues, confirms after
the message is in its queues, manual acknowledgement, redelivery after a lost connection. ``Faults`` makes
it break them the way a network does. Everything runs in one event loop and one process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import structlog

from caroni.daemon.bus.faults import Faults
from caroni.daemon.ports import Delivery, Outcome, Publish, QueueSpec
from caroni.errors import NotSent, TransientError

log = structlog.get_logger()

#: routing keys whose routes are remembered; a hostile sender must not fill the memory with them
_ROUTES = 4096


def topic_matches(pattern: str, key: str) -> bool:
    """Whether a binding takes a routing key: ``*`` is one word, ``#`` any number (AMQP 0-9-1, 3.1.3.3)."""
    return _words_match(pattern.split("."), key.split("."))


def _words_match(pattern: list[str], words: list[str]) -> bool:
    # One row of the usual dynamic programme: linear in memory, no exponential pattern like #.#.#.# .
    reached = [True, *([False] * len(words))]
    for part in pattern:
        if part == "#":
            for index in range(1, len(reached)):
                reached[index] = reached[index] or reached[index - 1]
        else:
            for index in range(len(words), 0, -1):
                reached[index] = reached[index - 1] and part in ("*", words[index - 1])
            reached[0] = False
    return reached[-1]


class _Entry:
    __slots__ = ("body", "expires", "redelivered", "reply_to", "routing_key")

    def __init__(self, message: Publish, expires: float | None) -> None:
        self.body = message.body
        self.routing_key = message.routing_key
        self.reply_to = message.reply_to
        self.expires = expires
        self.redelivered = False


class _Queue:
    """One queue with one active consumer at a time; the others stand by."""

    __slots__ = ("bindings", "consumers", "outstanding", "ready", "scheduled", "spec")

    def __init__(self, spec: QueueSpec) -> None:
        self.spec = spec
        self.bindings: set[str] = set(spec.bindings)
        self.ready: deque[_Entry] = deque()
        self.consumers: list[MemoryBus] = []
        self.outstanding = 0
        self.scheduled = False

    def put(self, message: Publish, faults: Faults | None) -> None:
        ttl = self.spec.ttl
        loop = asyncio.get_running_loop()
        entry = _Entry(message, None if ttl is None else loop.time() + ttl / 1000)
        if faults is not None and faults.hits(faults.reorder):
            self.ready.insert(faults.position(len(self.ready)), entry)
        else:
            self.ready.append(entry)
        limit = self.spec.max_length
        if limit is not None and len(self.ready) > limit:
            self.ready.popleft()
        self.schedule(loop)

    def schedule(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        if not self.scheduled and self.ready and self.consumers:
            self.scheduled = True
            (loop or asyncio.get_running_loop()).call_soon(self.pump)

    def pump(self) -> None:
        self.scheduled = False
        ready = self.ready
        while ready and self.consumers:
            consumer = self.consumers[0]
            if self.outstanding >= consumer.prefetch:
                return
            entry = ready.popleft()
            if entry.expires is not None and entry.expires <= asyncio.get_running_loop().time():
                continue
            self.outstanding += 1
            consumer.deliver(self, entry)

    def requeue(self, entries: Iterable[_Entry]) -> None:
        """Put unacknowledged messages back in front, in their old order, marked as redelivered."""
        back = list(entries)
        for entry in back:
            entry.redelivered = True
        self.ready.extendleft(reversed(back))
        self.outstanding -= len(back)


class MemoryBroker:
    """The broker that several :class:`MemoryBus` clients of one process share.

    ``reconnect_delay`` is how many seconds a client that lost its connection waits before it is back.
    """

    def __init__(self, *, faults: Faults | None = None, reconnect_delay: float = 0.0) -> None:
        self.faults = faults
        self.reconnect_delay = reconnect_delay
        self.running = True
        self._queues: dict[str, _Queue] = {}
        self._clients: list[MemoryBus] = []
        self._routes: dict[tuple[str, bool], tuple[_Queue, ...]] = {}

    # --- what an operator can do to a broker ---------------------------------------------------------

    def stop(self) -> None:
        """Vanish as after ``kill -9``: connections and exclusive queues are gone, durable queues stay."""
        self.running = False
        self.drop_connections()

    def start(self) -> None:
        """Come back; clients reconnect by themselves."""
        self.running = True
        for client in list(self._clients):
            client.reconnect()

    def drop_connections(self) -> None:
        """Cut every client's connection; each comes back after ``reconnect_delay``."""
        for client in list(self._clients):
            client.lose_connection()

    def delete_queue(self, name: str) -> None:
        """Delete a queue with its messages; its consumers declare it again."""
        queue = self._queues.pop(name, None)
        self._routes.clear()
        if queue is not None:
            for client in list(queue.consumers):
                client.lose_connection()

    def depth(self, name: str) -> int:
        """How many messages wait in a queue or are delivered and not acknowledged; 0 without such a queue."""
        queue = self._queues.get(name)
        return 0 if queue is None else len(queue.ready) + queue.outstanding

    # --- what clients do -------------------------------------------------------------------------------

    def attach(self, client: MemoryBus) -> None:
        """Know a client, connected or not."""
        self._clients.append(client)

    def detach(self, client: MemoryBus) -> None:
        """Forget a closed client."""
        if client in self._clients:
            self._clients.remove(client)

    def declare(self, spec: QueueSpec) -> _Queue:
        """The queue of this name, made if there is none; an existing one is used as it is."""
        queue = self._queues.get(spec.name)
        if queue is None:
            queue = self._queues[spec.name] = _Queue(spec)
            self._routes.clear()
        return queue

    def bind(self, queue: _Queue, keys: Iterable[str]) -> None:
        """Make exactly these the queue's bindings."""
        queue.bindings = set(keys)
        self._routes.clear()

    def discard(self, queue: _Queue) -> None:
        """Delete an exclusive queue together with its connection."""
        if self._queues.get(queue.spec.name) is queue:
            del self._queues[queue.spec.name]
        self._routes.clear()

    def route(self, message: Publish) -> bool:
        """Put a message into every queue that is bound to its key; whether there is one."""
        queues = self._routes.get((message.routing_key, message.base))
        if queues is None:
            queues = self._find(message.routing_key, message.base)
        faults = self.faults
        for queue in queues:
            if faults is None:
                queue.put(message, None)
                continue
            for _ in range(2 if faults.hits(faults.duplicate) else 1):
                if faults.hits(faults.delay):
                    loop = asyncio.get_running_loop()
                    loop.call_later(faults.lateness(), queue.put, message, faults)
                else:
                    queue.put(message, faults)
        return bool(queues)

    def _find(self, key: str, base: bool) -> tuple[_Queue, ...]:
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        words = key.split(".")
        found = tuple(
            queue
            for queue in self._queues.values()
            if queue.spec.base is base
            and any(_words_match(pattern.split("."), words) for pattern in queue.bindings)
        )
        self._routes[key, base] = found
        return found


class MemoryBus:
    """One daemon's connection to a :class:`MemoryBroker`; implements :class:`caroni.daemon.ports.Bus`.

    ``prefetch`` bounds the unacknowledged deliveries of each queue.
    """

    def __init__(self, broker: MemoryBroker, *, prefetch: int = 1000) -> None:
        self.prefetch = prefetch
        self._broker = broker
        self._specs: dict[str, QueueSpec] = {}
        self._bindings: dict[str, tuple[str, ...]] = {}
        self._queues: dict[str, _Queue] = {}
        self._unacked: dict[int, tuple[_Queue, _Entry]] = {}
        self._next_tag = 0
        #: rises with each lost connection: what was delivered before is not ours to acknowledge any more
        self._epoch = 0
        self._connected = False
        self._paused = False
        self._closed = False
        self._on_delivery: Callable[[Delivery], None] = lambda _: None
        self._on_connected: Callable[[], None] = lambda: None

    @property
    def connected(self) -> bool:
        """Whether publishing can be tried now."""
        return self._connected

    async def start(
        self,
        queues: Sequence[QueueSpec],
        on_delivery: Callable[[Delivery], None],
        on_connected: Callable[[], None],
    ) -> None:
        """See :meth:`caroni.daemon.ports.Bus.start`."""
        self._specs = {spec.name: spec for spec in queues}
        self._bindings = {spec.name: spec.bindings for spec in queues}
        self._on_delivery = on_delivery
        self._on_connected = on_connected
        self._broker.attach(self)
        self.reconnect()

    async def bind(self, queue: str, routing_keys: Sequence[str]) -> None:
        """See :meth:`caroni.daemon.ports.Bus.bind`."""
        self._bindings[queue] = tuple(routing_keys)
        if (bound := self._queues.get(queue)) is not None:
            self._broker.bind(bound, routing_keys)

    async def publish(self, message: Publish) -> Outcome:
        """See :meth:`caroni.daemon.ports.Bus.publish`."""
        if not self._connected:
            raise NotSent("the in-process broker is away; the message is sent when it is back")
        faults = self._broker.faults
        if faults is not None and faults.hits(faults.lose_publish):
            await asyncio.sleep(0)
            raise TransientError("the message was lost on the way to the broker")
        epoch = self._epoch
        routed = self._broker.route(message)
        # A confirm is never part of the call: others run first, as with a real broker.
        await asyncio.sleep(0)
        if faults is not None:
            if faults.hits(faults.drop_connection):
                self.lose_connection()
            if faults.hits(faults.lose_confirm):
                raise TransientError("the confirm was lost; the outcome of the publish is not known")
        if epoch != self._epoch:
            raise TransientError("the connection was lost before the confirm; the outcome is not known")
        return Outcome.CONFIRMED if routed else Outcome.UNROUTABLE

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See :meth:`caroni.daemon.ports.Bus.ack`."""
        touched: set[_Queue] = set()
        for delivery in deliveries:
            found = self._unacked.pop(delivery.token, None) if isinstance(delivery.token, int) else None
            if found is not None:
                found[0].outstanding -= 1
                touched.add(found[0])
        for queue in touched:
            queue.schedule()

    async def pause(self) -> None:
        """See :meth:`caroni.daemon.ports.Bus.pause`."""
        self._paused = True
        self._stop_consuming()

    async def resume(self) -> None:
        """See :meth:`caroni.daemon.ports.Bus.resume`."""
        self._paused = False
        if self._connected:
            self._consume()

    async def close(self) -> None:
        """See :meth:`caroni.daemon.ports.Bus.close`."""
        self._closed = True
        self._broker.detach(self)
        self._disconnect()

    # --- the broker's side of the connection -----------------------------------------------------------

    def deliver(self, queue: _Queue, entry: _Entry) -> None:
        """Hand one message to the daemon."""
        # Tags are never used twice, so an acknowledgement from before a lost connection finds nothing.
        self._next_tag += 1
        self._unacked[self._next_tag] = (queue, entry)
        delivery = Delivery(
            body=entry.body,
            routing_key=entry.routing_key,
            queue=queue.spec.name,
            reply_to=entry.reply_to,
            redelivered=entry.redelivered,
            token=self._next_tag,
        )
        try:
            self._on_delivery(delivery)
        except Exception:
            log.exception("delivery_callback_failed", queue=queue.spec.name)
        faults = self._broker.faults
        if faults is not None and faults.hits(faults.drop_connection):
            self.lose_connection()

    def lose_connection(self) -> None:
        """The connection is cut; it comes back by itself."""
        if self._connected:
            self._disconnect()
            asyncio.get_running_loop().call_later(self._broker.reconnect_delay, self.reconnect)

    def reconnect(self) -> None:
        """Connect if the broker runs; declares, binds and consumes again."""
        if self._connected or self._closed or not self._broker.running:
            return
        self._connected = True
        for name, spec in self._specs.items():
            queue = self._queues[name] = self._broker.declare(spec)
            self._broker.bind(queue, self._bindings[name])
        if not self._paused:
            self._consume()
        asyncio.get_running_loop().call_soon(self._announce, self._epoch)

    def _announce(self, epoch: int) -> None:
        if self._connected and epoch == self._epoch:
            self._on_connected()

    def _consume(self) -> None:
        for queue in self._queues.values():
            if self not in queue.consumers:
                queue.consumers.append(self)
            queue.schedule()

    def _stop_consuming(self) -> None:
        back: dict[_Queue, list[_Entry]] = {}
        for queue, entry in self._unacked.values():
            back.setdefault(queue, []).append(entry)
        self._unacked.clear()
        for queue in self._queues.values():
            if self in queue.consumers:
                queue.consumers.remove(self)
            queue.requeue(back.get(queue, ()))
            queue.schedule()

    def _disconnect(self) -> None:
        self._epoch += 1
        self._connected = False
        self._stop_consuming()
        for queue in self._queues.values():
            if queue.spec.exclusive:
                self._broker.discard(queue)
        self._queues = {}
