"""The first steps of the straight line: what has killed us is set aside, the rest is verified, repeats go.

Verify before anything is parsed. A refusal is a verdict: counted and acknowledged; what a proven sender said
and cannot be read is quarantined. Nothing here decides about rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import structlog

from caroni.core.draft import Dice
from caroni.core.messages import AgentPresence, JobLogChunk
from caroni.daemon.ports import Delivery
from caroni.daemon.suspects import MAX_TRIES, Suspects
from caroni.model.store import Store
from caroni.model.unit import QuarantineRow, RejectRow, Unit
from caroni.trust.certificates import urn_of
from caroni.wire.envelope import Opened, Opener, Parked, Refused
from caroni.wire.parking import ParkingLot, Waiting

log = structlog.get_logger()

#: messages in one unit of work; the envelopes behind them wait for the next
MAX_MESSAGES = 4000
#: verified, but kept neither in the inbox nor in the ledger
TRANSIENT = frozenset({AgentPresence.__name__, JobLogChunk.__name__})
#: verdicts on a proven sender's envelope that an operator should look at
CONTENT_CODES = frozenset({"E_PARSE", "E_TYPE", "E_LIMIT", "E_DECRYPT"})


class Taken(msgspec.Struct, kw_only=True):
    """What came of the deliveries of one unit of work."""

    #: verified, and without effect so far
    opened: list[tuple[Delivery, Opened]] = []
    #: the last of the deliveries, to be taken later
    left: list[Delivery] = []
    #: so many of the next deliveries are to be taken one by one
    alone: int = 0
    #: parked ones whose certificate has been shown
    shown: list[Delivery] = []


class Intake:
    """Opens deliveries for the engine, its only user."""

    def __init__(
        self,
        store: Store,
        opener: Opener,
        suspects: Suspects,
        dice: Dice,
        base_queues: frozenset[str] = frozenset(),
    ) -> None:
        self._store = store
        self._opener = opener
        self._suspects = suspects
        self._dice = dice
        #: where base peers' messages come from; unsigned ones from elsewhere are refused
        self._base_queues = base_queues
        self._parked = ParkingLot()
        self._logged: dict[str, int] = {}

    def next_due(self) -> int:
        """When something that is parked may be opened, 0 for never."""
        return self._parked.next_due()

    def due(self, now: int) -> Iterable[Delivery]:
        """What was parked and may be opened now."""
        return [_again(one) for one in self._parked.due(now)] if self._parked else ()

    async def open(self, deliveries: Sequence[Delivery], unit: Unit) -> Taken:
        """Verify, and leave out what has had its effect; verdicts go into ``unit``."""
        taken = Taken()
        if any(delivery.redelivered for delivery in deliveries):
            tries = await self._suspects.tries(deliveries)
            if len(deliveries) > 1 and max(tries) > 0:
                taken.alone = len(deliveries)
                deliveries, taken.left = deliveries[:1], list(deliveries[1:])
            if tries[0] >= MAX_TRIES:
                self._condemn(deliveries[0], tries[0], unit)
                return taken
        self._verify(deliveries, unit, taken)
        await self._drop_repeats(taken)
        return taken

    def _condemn(self, delivery: Delivery, tries: int, unit: Unit) -> None:
        log.error("message ended this daemon before: set aside", tries=tries, see="caroni quarantine list")
        error = f"the daemon ended {tries} times while it was working on this message"
        self._quarantine(delivery, unit, reason="POISON", error=error)

    def _verify(self, deliveries: Sequence[Delivery], unit: Unit, taken: Taken) -> None:
        messages = 0
        for position, delivery in enumerate(deliveries):
            try:
                one = self._opener.open(delivery.body, unit.now, delivery.reply_to)
                if one.unsigned and delivery.queue not in self._base_queues:
                    raise Refused("E_UNSIGNED", "unsigned, and not by amqp.base_exchange")
            except Refused as verdict:
                self._refuse(delivery, verdict, unit)
                continue
            except Parked as parked:
                # in memory: what a stop loses, the sender's timers bring again
                if not self._parked.park(parked, delivery.body, delivery.reply_to):
                    self._refuse(delivery, Refused("E_PARKED", "too much is parked already"), unit)
                continue
            if self._parked and one.fingerprint:
                taken.shown += [_again(w) for w in self._parked.shown(urn_of(one.fingerprint))]
            taken.opened.append((delivery, one))
            messages += len(one.items)
            if messages >= MAX_MESSAGES:
                taken.left = [*deliveries[position + 1 :], *taken.left]
                break

    def _refuse(self, delivery: Delivery, verdict: Refused, unit: Unit) -> None:
        if self._logged.get(verdict.code, 0) < unit.now - 1_000_000:
            self._logged[verdict.code] = unit.now
            log.warning("message refused", code=verdict.code, detail=verdict.detail, sender=verdict.sender)
        if verdict.sender and verdict.code in CONTENT_CODES:
            self._quarantine(delivery, unit, reason=verdict.code, error=verdict.detail, sender=verdict.sender)
            return
        unit.rejects.append(
            RejectRow(
                at=unit.now,
                reason=verdict.code,
                detail=f"{verdict.sender} {verdict.detail}".strip()[:300],
                routing_key=delivery.routing_key,
                size=len(delivery.body),
                head=delivery.body[:256],
            )
        )

    def _quarantine(
        self, delivery: Delivery, unit: Unit, *, reason: str, error: str, sender: str = ""
    ) -> None:
        unit.quarantine.append(
            QuarantineRow(
                key=self._dice.getrandbits(128).to_bytes(16, "big"),
                kind="envelope",
                body=delivery.body,
                sender=sender,
                reason=reason,
                error=error,
                first_at=unit.now,
                last_at=unit.now,
            )
        )

    async def _drop_repeats(self, taken: Taken) -> None:
        """Leave out what has had its effect already: the inbox is the replay cache."""
        ids = [(one.sender, one.message_id) for _, one in taken.opened if is_kept(one)]
        seen = await self._store.seen(ids)
        fresh: list[tuple[Delivery, Opened]] = []
        for delivery, one in taken.opened:
            if is_kept(one):
                key = (one.sender, one.message_id)
                if key in seen:
                    if not one.unsigned or delivery.redelivered:
                        continue
                    # the id is made of the content, and a base peer may say the same again
                    one = msgspec.structs.replace(one, message_id=b"")
                seen.add(key)
            fresh.append((delivery, one))
        taken.opened = fresh


def _again(waiting: Waiting) -> Delivery:
    """A parked body, as if it had just come; its delivery is acknowledged already."""
    return Delivery(body=waiting.body, routing_key="", queue="", reply_to=waiting.reply_to)


def is_kept(one: Opened) -> bool:
    """Whether this envelope goes into inbox and ledger."""
    return bool(one.message_id) and one.payload_type not in TRANSIENT
