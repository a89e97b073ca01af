"""The outbox: messages become envelopes in the unit of work that decided them, and leave after its commit.

Envelopes are sealed in the unit of work while the bus is connected, because they leave at once; written
while it is not, they are sealed when it is back, so that their lifetime counts from there. Sealed bytes
are stored before they leave and never change. What the broker confirmed rides along in the next unit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence

import msgspec
import structlog

from caroni.core.base_peers import BASE_AGENTS, is_base, may_hear
from caroni.core.draft import ALL_AGENTS, ALL_MANAGERS, Dice, Outgoing
from caroni.core.messages import (
    JobFulfillmentRequest,
    JobFulfillmentRequestWithdrawn,
    Message,
)
from caroni.core.plan import MINUTE, SECOND
from caroni.daemon.base_post import BasePost, row_for_base, sealed_for_base
from caroni.daemon.ports import Bus, Clock, Outcome, Publish
from caroni.errors import MessageRejected, TransientError
from caroni.model.store import Store
from caroni.model.unit import LedgerItem, LedgerRow, OutboxRetry, OutboxRow, QuarantineRow, Sealed, Unit
from caroni.wire.bundle import Part, Payload, batches, pack, unpack
from caroni.wire.codec import decode, encode, message_name
from caroni.wire.envelope import Sealer
from caroni.wire.rules import MAX_LIFETIME, lifetime
from caroni.wire.topics import FULFILLMENT, PRESENCE, broadcast_key, topic_of

log = structlog.get_logger()

#: unsent envelopes kept in memory; more wait in the database
IN_MEMORY = 1000
RETRY_FIRST = 5 * SECOND
RETRY_CAP = 10 * MINUTE
#: how long confirmed rows may wait for a unit of work to ride along in, seconds
MARK_DELAY = 0.25

#: Finds the workflow and step of a conversation, for the ledger.
Locate = Callable[[bytes], tuple[bytes, int | None]]


def routing_key(to: str, message: Message) -> str:
    """Where a message goes: one participant's topic, or the broadcast key of a job type."""
    if to == ALL_AGENTS:
        if isinstance(message, JobFulfillmentRequest | JobFulfillmentRequestWithdrawn):
            return broadcast_key(message.job_type_name) if message.job_type_name else FULFILLMENT
        return FULFILLMENT
    if to == ALL_MANAGERS:
        return PRESENCE
    return topic_of(to)


def ledger_item(
    message: Message, conversation_id: bytes, workflow_uuid: bytes, step_index: int | None
) -> LedgerItem:
    """What the ledger says of one message."""
    return LedgerItem(
        type=type(message).__name__,
        conversation_id=conversation_id,
        request_uuid=getattr(message, "request_uuid", b""),
        offer_uuid=getattr(message, "offer_uuid", b""),
        job_uuid=getattr(message, "job_uuid", b""),
        workflow_uuid=workflow_uuid or getattr(message, "workflow_uuid", b""),
        step_index=step_index,
    )


class Outbox:
    """Composes, seals and publishes for one identity. The engine is its only user."""

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        sealer: Sealer,
        clock: Clock,
        dice: Dice,
        stream_id: int,
        wake: Callable[[], None],
        in_flight: int = 64,
        on_unheard: Callable[[tuple[bytes, ...]], None] = lambda requests: None,
        base: bool = False,
        on_gone: Callable[[str], None] = lambda peer: None,
    ) -> None:
        self._store = store
        self._bus = bus
        self._sealer = sealer
        self._clock = clock
        self._dice = dice
        self.stream_id = stream_id
        self._wake = wake
        self._on_unheard = on_unheard
        #: whether there may be peers of the base protocol
        self._base = base
        #: envelopes that have not left, in memory or in the database
        self.unsent = 0
        self._slots = asyncio.Semaphore(in_flight)
        self._fingerprint = sealer.signer.fingerprint.hex()
        self._reply_to = topic_of(sealer.own_uri)
        self._base_post = BasePost(bus, self._reply_to, on_gone)
        #: marked as sent in this unit of work, before they leave
        self._leaving: list[bytes] = []
        #: the next number in our stream, by recipient
        self.sequences: dict[str, int] = {}
        self._before: tuple[int, dict[str, int]] = (stream_id, {})
        self._publishing: dict[bytes, asyncio.Task[None]] = {}
        self._sent: list[bytes] = []
        self._retries: list[OutboxRetry] = []
        #: unsent rows may be in the database only; ``_after`` is how far they have been read
        self._backlog = False
        self._after = 0
        #: the earliest next try of the rows that this pass over the database has left behind
        self._waiting = 0
        self._retry_at = 0
        self._marks_due: asyncio.TimerHandle | None = None
        self._closing = False

    async def load(self) -> None:
        """Take up where the last process ended."""
        self.sequences = await self._store.sequences()
        known = (await self._store.settings()).get("stream_id")
        if known:  # what an unanswered commit has renewed is in force
            self.stream_id = int(known)
        self.unsent = await self._store.count_outbox()
        self.look_again()

    # --- in the unit of work ---------------------------------------------------------------------

    def begin(self) -> None:
        """A unit of work begins; ``undo`` goes back to here."""
        self._before = (self.stream_id, dict(self.sequences))
        self._leaving.clear()

    def renew(self, stream_id: int, unit: Unit) -> None:
        """Number what is sealed from this unit on in a new stream, from one for everybody."""
        self.stream_id = stream_id
        self.sequences = dict.fromkeys(self.sequences, 1)
        unit.sequences.update(self.sequences)

    def compose(self, messages: Sequence[Outgoing], unit: Unit, locate: Locate) -> list[OutboxRow]:
        """Group the messages of a unit by audience and routing key into envelopes; add them to ``unit``."""
        groups: dict[tuple[str, str], list[tuple[Part, LedgerItem]]] = {}
        for outgoing in messages:
            message = outgoing.message
            if is_base(outgoing.to):
                self._compose_for_base(outgoing.to, outgoing, unit)
                continue
            if self._base and outgoing.to == ALL_AGENTS:
                self._compose_for_base(BASE_AGENTS, outgoing, unit)
            try:
                group = (outgoing.to, routing_key(outgoing.to, message))
                type_url, value = encode(message)
            except (MessageRejected, ValueError) as error:
                unit.quarantine.append(self._unsendable(outgoing, unit.now, error))
                continue
            part = Part(self._id(), outgoing.conversation_id, outgoing.in_reply_to, type_url, value)
            item = ledger_item(message, outgoing.conversation_id, *locate(outgoing.conversation_id))
            groups.setdefault(group, []).append((part, item))
        rows = []
        for (to, key), entries in groups.items():
            start = 0
            for parts in batches([part for part, _ in entries]):
                items = tuple(item for _, item in entries[start : start + len(parts)])
                start += len(parts)
                rows.append(self._envelope(to, key, parts, items, unit))
        return rows

    def _compose_for_base(self, to: str, outgoing: Outgoing, unit: Unit) -> None:
        """Nothing that base peers do not know; it is sealed when it leaves."""
        if not self._base or not may_hear(outgoing.message):
            return
        try:
            unit.outbox.append(row_for_base(to, outgoing, self._id(), unit.now))
        except (MessageRejected, ValueError) as error:
            unit.quarantine.append(self._unsendable(outgoing, unit.now, error))
        else:
            self._backlog = True
            self._retry_at = 0

    def undo(self) -> None:
        """The unit was not committed: its sequence numbers are unused, what it drained has not left."""
        if self._leaving:
            self._sent = [id for id in self._sent if id not in self._leaving]
        self.stream_id, self.sequences = self._before
        self.look_again()

    def _id(self) -> bytes:
        return self._dice.getrandbits(128).to_bytes(16, "big")

    def _unsendable(self, outgoing: Outgoing, now: int, error: Exception) -> QuarantineRow:
        log.error(
            "message cannot be sent", type=type(outgoing.message).__name__, to=outgoing.to, error=str(error)
        )
        return QuarantineRow(
            key=self._id(),
            kind="outgoing",
            sender=self._sealer.own_uri,
            reason=type(outgoing.message).__name__,
            error=str(error)[:1000],
            first_at=now,
            last_at=now,
        )

    def _envelope(
        self, to: str, key: str, parts: Sequence[Part], items: tuple[LedgerItem, ...], unit: Unit
    ) -> OutboxRow:
        payload = pack(parts)
        first = parts[0]
        row = OutboxRow(
            id=first.message_id if len(parts) == 1 else self._id(),
            peer=to,
            routing_key=key,
            type=message_name(payload.type_url),
            payload_type=payload.type_url,
            payload=payload.value,
            conversation_id=first.conversation_id if len(parts) == 1 else b"",
            in_reply_to=first.in_reply_to if len(parts) == 1 else b"",
            created_at=unit.now,
        )
        if self._bus.connected:
            row = self._seal(row, payload, unit, items)
        else:
            self._backlog = True
        unit.outbox.append(row)
        return row

    def _seal(self, row: OutboxRow, payload: Payload, unit: Unit, items: tuple[LedgerItem, ...]) -> OutboxRow:
        sequence = 0
        if row.peer not in (ALL_AGENTS, ALL_MANAGERS):
            sequence = self.sequences.get(row.peer, 1)
            self.sequences[row.peer] = sequence + 1
            unit.sequences[row.peer] = sequence + 1
        sealed = self._sealer.seal(
            payload,
            row.peer,
            row.id,
            row.conversation_id,
            row.in_reply_to,
            unit.now,
            self.stream_id,
            sequence,
        )
        unit.ledger.append(
            LedgerRow(
                direction="out",
                peer=row.peer,
                message_id=row.id,
                payload_type=row.type,
                fingerprint=self._fingerprint,
                envelope=sealed,
                at=unit.now,
                items=items,
            )
        )
        return msgspec.structs.replace(row, sealed=sealed, stream_id=self.stream_id, sequence=sequence)

    def ride_along(self, unit: Unit) -> None:
        """Add what became of earlier envelopes to this unit."""
        unit.outbox_sent.extend(self._sent)
        unit.outbox_retry.extend(self._retries)

    def rode_along(self, unit: Unit) -> None:
        """The unit is durable: forget what it carried."""
        self.unsent += len(unit.outbox) - len(unit.outbox_sent)
        del self._sent[: len(unit.outbox_sent)]
        del self._retries[: len(unit.outbox_retry)]

    @property
    def has_marks(self) -> bool:
        """Whether something waits to ride along (and has waited long enough, see ``MARK_DELAY``)."""
        return self._marks_due is None and bool(self._sent or self._retries)

    # --- after the commit ------------------------------------------------------------------------

    def publish(self, rows: Iterable[OutboxRow]) -> None:
        """Send what is sealed; what does not fit into memory is read from the database later."""
        for row in rows:
            if row.sealed is None or row.id in self._publishing:
                continue
            if is_base(row.peer):
                self._base_post.send(row)
                continue
            if len(self._publishing) >= IN_MEMORY or not self._bus.connected:
                self.look_again()
                continue
            task = asyncio.create_task(self._publish(row))
            self._publishing[row.id] = task

    def look_again(self) -> None:
        """There may be unsent rows in the database (a start, a reconnection): read all of them, now."""
        self._backlog = True
        self._after = 0
        self._retry_at = 0
        self._wake()

    async def _publish(self, row: OutboxRow) -> None:
        assert row.sealed is not None
        try:
            async with self._slots:
                outcome = await self._bus.publish(
                    Publish(
                        routing_key=row.routing_key,
                        body=row.sealed,
                        message_id=row.id.hex(),
                        type=row.type,
                        reply_to=self._reply_to,
                        correlation_id=row.conversation_id.hex(),
                    )
                )
        except TransientError as error:
            log.debug("publish failed", error=str(error), type=row.type)
            self._try_again_at(self._clock.now() + RETRY_FIRST)
        except Exception:
            log.exception("publish failed: please report this", type=row.type)
            self._try_again_at(self._clock.now() + RETRY_FIRST)
        else:
            if outcome is Outcome.CONFIRMED or _best_effort(row.peer):
                if outcome is not Outcome.CONFIRMED:
                    log.debug("nobody listens", type=row.type, to=row.peer, key=row.routing_key)
                    if row.peer == ALL_AGENTS:
                        self._on_unheard(_requests(row))
                self._sent.append(row.id)
            else:
                wait = min(RETRY_FIRST * 2 ** min(row.tries, 12), RETRY_CAP)
                next_try = self._clock.now() + wait
                self._retries.append(OutboxRetry(id=row.id, tries=row.tries + 1, next_try=next_try))
                say = log.debug if row.tries else log.warning
                say("recipient has no queue", to=row.peer, type=row.type, retry_in=wait // SECOND)
                self._try_again_at(next_try)
            self._mark_soon()
        finally:
            del self._publishing[row.id]
            if self._backlog:
                self._wake()

    def _try_again_at(self, instant: int) -> None:
        self._backlog = True
        # a pass that goes on has read beyond this row: its end must not forget it
        self._waiting = min(self._waiting or instant, instant)
        self._retry_at = min(self._retry_at or instant, instant)

    def _mark_soon(self) -> None:
        if self._marks_due is None and not self._closing:
            loop = asyncio.get_running_loop()
            self._marks_due = loop.call_later(MARK_DELAY, self._marks_are_due)

    def _marks_are_due(self) -> None:
        self._marks_due = None
        self._wake()

    async def say(self, to: str, message: Message, conversation_id: bytes = b"") -> None:
        """Send something that nothing keeps: presence, status for a submitter. Lost is lost."""
        if not self._bus.connected or is_base(to):
            return
        type_url, value = encode(message)
        message_id = self._id()
        payload = pack([Part(message_id, conversation_id, b"", type_url, value)])
        sealed = self._sealer.seal(
            payload, to, message_id, conversation_id, b"", self._clock.now(), self.stream_id, 0
        )
        with contextlib.suppress(TransientError):
            await self._bus.publish(
                Publish(
                    routing_key=routing_key(to, message),
                    body=sealed,
                    message_id=message_id.hex(),
                    type=type(message).__name__,
                    reply_to=self._reply_to,
                    correlation_id=conversation_id.hex(),
                )
            )

    # --- the backlog -----------------------------------------------------------------------------

    @property
    def wants_to_drain(self) -> bool:
        """Whether unsent rows should be read from the database now."""
        return (
            self._backlog
            and self._bus.connected
            and not self._sent
            and not self._retries
            and len(self._publishing) < IN_MEMORY // 2
            and not _waits(self._retry_at, self._clock.now())
        )

    @property
    def next_drain(self) -> int:
        """When to look again although nothing happens (0: no need)."""
        return self._retry_at if self._backlog and self._bus.connected else 0

    async def drain(self, unit: Unit) -> list[OutboxRow]:
        """A page of unsent rows, sealed within ``unit`` where they never were; publish them after it."""
        now = self._clock.now()
        if not self._after:
            self._waiting = 0
        self._retry_at = 0
        page = await self._store.pending_outbox(IN_MEMORY // 2, self._after)
        ready: list[OutboxRow] = []
        for _, row in page:
            if row.id in self._publishing:
                continue
            if _waits(row.next_try, now):
                self._waiting = min(self._waiting or row.next_try, row.next_try)
                continue
            if row.sealed is None and is_base(row.peer):
                self._sent.append(row.id)  # marked before it leaves: it must not leave twice
                self._leaving.append(row.id)
                if not self._base:
                    continue  # written in lab mode, which is over: there is no way to them any more
                row = sealed_for_base(row, unit)
            elif row.sealed is None:
                items = _items(row)
                end = MAX_LIFETIME if row.type == "Bundle" else lifetime(row.type)
                payload = Payload(type_url=row.payload_type, value=row.payload, lifetime=end)
                row = self._seal(row, payload, unit, items)
                assert row.sealed is not None
                unit.sealed.append(
                    Sealed(id=row.id, sealed=row.sealed, stream_id=row.stream_id, sequence=row.sequence)
                )
            ready.append(row)
        if len(page) < IN_MEMORY // 2:
            self._after = 0
            fresh = any(row.sealed is None for row in unit.outbox)
            self._backlog = fresh or bool(self._waiting)
            self._retry_at = 0 if fresh else self._waiting
        else:
            self._after = page[-1][0]
        return ready

    # --- the end ---------------------------------------------------------------------------------

    async def flush(self, seconds: float) -> None:
        """Wait for what is on its way, at most so long."""
        self._closing = True
        await self._base_post.flush(seconds)
        tasks = list(self._publishing.values())
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for task in self._publishing.values():
            task.cancel()
        if self._marks_due is not None:
            self._marks_due.cancel()
            self._marks_due = None


def _waits(next_try: int, now: int) -> bool:
    """Whether it is too early; nothing waits longer than the cap, unless the clock was set back."""
    return now < next_try <= now + RETRY_CAP


def _contents(row: OutboxRow) -> list[tuple[Message, bytes]]:
    """The messages in an envelope, each with its conversation."""
    if row.type == "Bundle":
        return [(decode(part.type_url, part.value), part.conversation_id) for part in unpack(row.payload)]
    return [(decode(row.payload_type, row.payload), row.conversation_id)]


def _requests(row: OutboxRow) -> tuple[bytes, ...]:
    """The calls for proposals in an envelope."""
    return tuple(m.request_uuid for m, _ in _contents(row) if isinstance(m, JobFulfillmentRequest))


def _items(row: OutboxRow) -> tuple[LedgerItem, ...]:
    """What the ledger says of an envelope that was written while the broker was away."""
    try:
        contents = _contents(row)
    except MessageRejected:  # another version wrote it
        return (LedgerItem(type=row.type, conversation_id=row.conversation_id),)
    return tuple(ledger_item(message, conversation, b"", None) for message, conversation in contents)


def _best_effort(peer: str) -> bool:
    """Broadcasts and submitters: no route means done; timers and status requests restore the content."""
    return peer in (ALL_AGENTS, ALL_MANAGERS) or "/submitter/" in peer or "/operator/" in peer
