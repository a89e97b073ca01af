"""The way out to peers of the base protocol (lab mode): one message after the other, each at most once.

A base peer ends when it is told something twice. So a message is marked as sent in a unit of work before
it leaves: what is lost by our end between that commit and the publish, or because the broker's answer did
not come, stays lost, and the job's lease restores the work. Only a message that certainly has not left
waits for the connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec
import structlog

from caroni.core.base_peers import BASE_AGENTS
from caroni.core.draft import Outgoing
from caroni.daemon.ports import Bus, Outcome, Publish
from caroni.errors import NotSent, TransientError
from caroni.model.unit import LedgerItem, LedgerRow, OutboxRow, Unit
from caroni.wire.codec import encode
from caroni.wire.sealing import seal_unsigned
from caroni.wire.topics import topic_of

log = structlog.get_logger()

#: seconds until a look whether the broker is back
AGAIN = 0.5


def row_for_base(to: str, outgoing: Outgoing, id: bytes, now: int) -> OutboxRow:
    """A message to a base peer, in the form that it reads.

    Raises:
        MessageRejected: a value cannot be sent.
        ValueError: base peers do not know the message, or a field is out of its bounds.
    """
    message = outgoing.message
    type_url, value = encode(message, base=True)
    return OutboxRow(
        id=id,
        peer=to,
        routing_key=topic_of(to),
        type=type(message).__name__,
        payload_type=type_url,
        payload=value,
        conversation_id=outgoing.conversation_id,
        created_at=now,
    )


def sealed_for_base(row: OutboxRow, unit: Unit) -> OutboxRow:
    """The same with its unsigned envelope, noted in the ledger."""
    sealed = seal_unsigned(row.payload_type, row.payload)
    unit.ledger.append(
        LedgerRow(
            direction="out",
            peer=row.peer,
            message_id=row.id,
            payload_type=row.type,
            fingerprint="",
            envelope=sealed,
            at=unit.now,
            items=(LedgerItem(type=row.type, conversation_id=row.conversation_id),),
        )
    )
    return msgspec.structs.replace(row, sealed=sealed)


class BasePost:
    """Publishes what :class:`caroni.daemon.outbox.Outbox` has marked as sent, in its order."""

    def __init__(self, bus: Bus, reply_to: str, on_gone: Callable[[str], None]) -> None:
        self._bus = bus
        self._reply_to = reply_to
        self._on_gone = on_gone
        self._rows: deque[OutboxRow] = deque()
        self._task: asyncio.Task[None] | None = None

    def send(self, row: OutboxRow) -> None:
        """Have a sealed row published after those that were given before."""
        self._rows.append(row)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="base peers")

    async def _run(self) -> None:
        try:
            while self._rows:
                try:
                    await self._publish(self._rows[0])
                except NotSent:
                    await asyncio.sleep(AGAIN)
                    continue
                except TransientError as error:
                    log.warning(
                        "message to a base peer may be lost: it is not repeated",
                        type=self._rows[0].type,
                        to=self._rows[0].peer,
                        error=str(error),
                    )
                except Exception:
                    log.exception("publish failed: please report this", type=self._rows[0].type)
                self._rows.popleft()
        finally:
            self._task = None

    async def _publish(self, row: OutboxRow) -> None:
        assert row.sealed is not None
        outcome = await self._bus.publish(
            Publish(
                routing_key=row.routing_key,
                body=row.sealed,
                message_id=row.id.hex(),
                type=row.type,
                reply_to=self._reply_to,
                base=True,
            )
        )
        if outcome is Outcome.UNROUTABLE and row.peer != BASE_AGENTS:
            log.info("base peer has gone", peer=row.peer, type=row.type)
            self._on_gone(row.peer)

    async def flush(self, seconds: float) -> None:
        """Wait for what is on its way, at most so long."""
        task = self._task
        if task is None:
            return
        await asyncio.wait((task,), timeout=seconds)
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
