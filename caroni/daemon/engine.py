"""The straight line from the broker to the rows and back, shared by manager and agent.

A unit of work takes everything that has arrived and goes: open, dedupe, load, permit and decide,
compose, commit, acknowledge, publish, act. There is one unit at a time and no fixed delay: what arrives
during a commit is the next unit. Memory changes with the decision and is undone if the commit fails, so
it always equals what is durable. ``docs/tour.md`` follows one message through it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import msgspec
import structlog

from caroni.core.clockjump import ClockJumped
from caroni.core.draft import Dice, Draft, Origin, RenewStream
from caroni.core.messages import Message
from caroni.core.rows import AgentJob, JobKey, Row
from caroni.daemon.clock import JumpWatch
from caroni.daemon.intake import Intake, is_kept
from caroni.daemon.outbox import Outbox, ledger_item
from caroni.daemon.ports import Bus, Clock, Delivery
from caroni.daemon.quarantine import KINDS, Quarantine, Replaying
from caroni.daemon.role import Role
from caroni.daemon.suspects import Suspects
from caroni.errors import CommandRefused, MessageRejected, TransientError
from caroni.model.database import OutcomeUnknown
from caroni.model.store import Store
from caroni.model.unit import CommandDone, CommandState, LedgerRow, OutboxRow, QuarantineRow, Unit
from caroni.wire.envelope import Item, Opened, Opener, permit
from caroni.wire.kept import keep

log = structlog.get_logger()

#: envelopes and timers in one unit of work; more wait for the next
MAX_ENVELOPES = 128
MAX_TIMERS = 500
#: microseconds until a timer whose decision failed (our own bug) is tried again
FAULTY_TIMER = 60_000_000


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was taken in, for those who watch the handshake."""

    at: int
    sender: str
    receiver: str
    message: Message
    conversation_id: bytes
    unsigned: bool
    workflow_uuid: bytes = b""
    step_index: int | None = None


class Commanded(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's command from the database: decided, and recorded as done, in one unit of work."""

    id: int
    kind: str
    args: str


class _Taken(msgspec.Struct, kw_only=True):
    """What one unit of work has in hand."""

    deliveries: list[Delivery]
    local: list[Any]
    timers: list[tuple[type[Row], Hashable]] = []
    drain: bool = False


class Engine:
    """Runs units of work for one role until it is stopped."""

    def __init__(
        self,
        *,
        role: Role,
        store: Store,
        bus: Bus,
        opener: Opener,
        outbox: Outbox,
        clock: Clock,
        dice: Dice,
        wake: asyncio.Event,
        jumps: JumpWatch | None = None,
        base_queues: frozenset[str] = frozenset(),
    ) -> None:
        self.role = role
        self.observers: list[Callable[[Seen], None]] = []
        self._store = store
        self._bus = bus
        self._opener = opener
        self._outbox = outbox
        self._clock = clock
        self._dice = dice
        self._wake = wake
        self._arrived: deque[Delivery] = deque()
        self._local: deque[Any] = deque()
        self._stopping = False
        self._more = False
        #: rows that were brought in for a decision and may have to leave memory after it
        self._loaded: list[Row] = []
        #: jobs that the retention took
        self._forgotten: list[JobKey] = []
        self._one_by_one = 0
        self._trouble = 0.0
        self._jumps = jumps
        self._suspects = Suspects(store)
        self._intake = Intake(store, opener, self._suspects, dice, base_queues)

    # --- in ----------------------------------------------------------------------------------

    def deliver(self, delivery: Delivery) -> None:
        """The bus has a message (its callback)."""
        self._arrived.append(delivery)
        self._wake.set()

    def happen(self, event: Any) -> None:
        """Something local has happened."""
        self._local.append(event)
        self._wake.set()

    def connected(self) -> None:
        """The bus is connected (again): what was delivered before comes again, what waits may leave."""
        self._outbox.look_again()

    def settle(self) -> None:
        """What held new work back is gone: decide again what can be begun."""
        self._more = True
        self._wake.set()

    def forget(self, jobs: list[JobKey]) -> None:
        """These released jobs have left the database: let memory follow after the next unit of work."""
        self._forgotten += jobs

    def stop(self) -> None:
        """End after the current unit of work."""
        self._stopping = True
        self._wake.set()

    # --- the loop ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until stopped. Only a bug of our own ends it with an exception."""
        while not self._stopping:
            if not self._has_work():
                await self._rest()
                continue
            await self.unit()
            # a busy engine must leave room for the sockets' callbacks
            await asyncio.sleep(0)

    def _has_work(self) -> bool:
        due = _earliest(self.role.state.timers.next_due(), self._intake.next_due())
        return bool(
            self._arrived
            or self._local
            or self._more
            or (due and due <= self._clock.now())
            or self._outbox.has_marks
            or self._outbox.wants_to_drain
        )

    async def _rest(self) -> None:
        self._wake.clear()
        if self._has_work() or self._stopping:
            return
        due = _earliest(self.role.state.timers.next_due(), self._intake.next_due(), self._outbox.next_drain)
        seconds = max((due - self._clock.now()) / 1e6, 0.0) if due else 60.0
        try:
            async with asyncio.timeout(min(seconds + 0.001, 60.0)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def unit(self) -> None:
        """One unit of work, from what has arrived to what leaves."""
        taken = self._take()
        self._more = False
        now = self._clock.now()
        unit = Unit(now=now)
        draft = self.role.draft(now, self._dice)
        rows: list[OutboxRow] = []
        state = self.role.state
        self._outbox.begin()
        state.own_stream, state.next_sequence = self._outbox.stream_id, self._outbox.sequences
        try:
            opened = await self._open(taken, unit)
            work = await self._take_up(taken, unit)
            await self._load([*opened, *work.opened], taken)
            seen = self._decide(draft, [*opened, *work.opened], taken, unit, work)
            work.end(unit)

            def locate(conversation_id: bytes) -> tuple[bytes, int | None]:
                return self.role.locate(draft, conversation_id)

            unit.rows = draft.changes()
            unit.settings.update(draft.facts)
            for action in draft.actions:
                if isinstance(action, RenewStream):
                    self._outbox.renew(action.stream_id, unit)
            rows = self._outbox.compose(draft.messages, unit, locate)
            if taken.drain:
                rows += await self._outbox.drain(unit)
            self._outbox.ride_along(unit)
            self._suspects.clear([*taken.deliveries, *work.deliveries], unit)
            await self._store.commit(unit)
        except Exception as error:
            draft.rollback()
            self._outbox.undo()
            self._rearm(taken)
            await self._failed(taken, error)
            return
        self._trouble = 0.0
        self._one_by_one = max(0, self._one_by_one - 1)
        self._outbox.rode_along(unit)
        self._suspects.cleared(unit)
        self._evict(unit)
        self._outbox.publish(rows)
        if taken.deliveries:
            await self._bus.ack(taken.deliveries)
        self.role.act(draft.actions)
        self.role.tell(draft.events)
        for one in seen:
            for observer in self.observers:
                observer(one)

    def _evict(self, unit: Unit) -> None:
        state = self.role.state
        touched = [row for many in unit.rows.values() for row in many]
        touched += [now for row in self._loaded if (now := state.get(type(row), row.key)) is not None]
        self._loaded.clear()
        for row_type, key in self.role.evictable(touched):
            state.evict(row_type, key)
        if self._forgotten:
            written = {(type(row), row.key) for row in touched}
            for job in self._forgotten:
                row = state.get(AgentJob, job)
                if row is not None and row.released and (AgentJob, job) not in written:
                    state.evict(AgentJob, job)
            self._forgotten.clear()

    def _take(self) -> _Taken:
        limit = 1 if self._one_by_one else MAX_ENVELOPES
        by = self._jumps.jumped(self._clock.now()) if self._jumps is not None else 0
        if by:  # before any timer fires by the new time
            self._local.appendleft(ClockJumped(by=by))
            return _Taken(deliveries=[], local=[self._local.popleft()])
        self._arrived.extend(self._intake.due(self._clock.now()))
        deliveries = [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]
        local: list[Any] = []
        timers: list[tuple[type[Row], Hashable]] = []
        # one by one means one thing of any kind: what is at fault must be alone to be known
        if not (self._one_by_one and deliveries):
            most = 1 if self._one_by_one else MAX_ENVELOPES * 16
            local = [self._local.popleft() for _ in range(min(most, len(self._local)))]
        if not (self._one_by_one and (deliveries or local)):
            most = 1 if self._one_by_one else MAX_TIMERS
            timers = self.role.state.timers.take(self._clock.now(), most)
        return _Taken(deliveries=deliveries, local=local, timers=timers, drain=self._outbox.wants_to_drain)

    # --- the steps ---------------------------------------------------------------------------

    async def _open(self, taken: _Taken, unit: Unit) -> list[tuple[Delivery, Opened]]:
        intake = await self._intake.open(taken.deliveries, unit)
        if intake.left:
            self._arrived.extendleft(reversed(intake.left))
            del taken.deliveries[-len(intake.left) :]
        self._one_by_one = max(self._one_by_one, intake.alone)
        self._arrived.extend(intake.shown)
        return intake.opened

    async def _load(self, opened: list[tuple[Delivery, Opened]], taken: _Taken) -> None:
        """Bring in the rows that these decisions read and that memory does not have."""
        commands = [c.args for c in taken.local if isinstance(c, Commanded) and c.kind not in KINDS]
        keys: dict[tuple[type[Row], Hashable], None] = {}
        messages: list[tuple[str, Message]] = []
        for _, one in opened:
            for item in one.items:
                if item.message is not None:
                    messages.append((one.sender, item.message))
                    for need in self.role.needs(one.sender, item.message):
                        keys[need] = None
        for args in commands:
            for need in self.role.command_needs(args):
                keys[need] = None
        if keys:
            state = self.role.state
            rows = await self._store.load_slice(list(keys))
            new = [row for row in rows if row.key not in state.tables[type(row)]]
            self._loaded += new
            state.load(new)
        if messages:
            await self.role.prepare(messages)
        if commands:
            await self.role.prepare_commands(commands)

    async def _take_up(self, taken: _Taken, unit: Unit) -> Replaying:
        """What an operator wants tried again or dropped."""
        commands = [(c.id, c.args) for c in taken.local if isinstance(c, Commanded) and c.kind in KINDS]
        if not commands:
            return Replaying()
        work = await Quarantine(self._store, self._opener, self.role, self._suspects).begin(commands, unit)
        self._loaded += work.loaded
        return work

    def _decide(
        self,
        draft: Draft,
        opened: list[tuple[Delivery, Opened]],
        taken: _Taken,
        unit: Unit,
        work: Replaying,
    ) -> list[Seen]:
        seen: list[Seen] = []
        for delivery, one in opened:
            origin = Origin(uri=one.sender, stream_id=one.stream_id)
            if not one.replayed:
                contact = partial(self.role.contact, draft, origin, one.sequence)
                self._guarded(draft, "contact", contact)
            ledger = []
            for item in one.items:
                draft.cause = item.message_id
                if not self._decide_one(draft, origin, one, item, unit, work):
                    continue
                assert item.message is not None
                workflow_uuid, step_index = self.role.locate(draft, item.conversation_id)
                ledger.append(ledger_item(item.message, item.conversation_id, workflow_uuid, step_index))
                if self.observers:
                    seen.append(
                        Seen(
                            at=unit.now,
                            sender=one.sender,
                            receiver=self._opener.own_uri,
                            message=item.message,
                            conversation_id=item.conversation_id,
                            unsigned=one.unsigned,
                            workflow_uuid=workflow_uuid,
                            step_index=step_index,
                        )
                    )
            if is_kept(one):
                unit.inbox.append((one.sender, one.message_id, one.deadline))
                self._keep(delivery, one, ledger, unit)
        draft.cause = b""
        for event in taken.local:
            if isinstance(event, Commanded):
                unit.commands.append(self._carry_out(draft, event, unit.now, work))
            else:
                self._guarded(draft, type(event).__name__, partial(self.role.happened, draft, event))
        for row_type, key in taken.timers:
            fire = partial(self.role.fire, draft, row_type, key)
            if not self._guarded(draft, f"timer of {row_type.__name__}", fire):
                self.role.state.timers.set(row_type, key, unit.now + FAULTY_TIMER)
        self._guarded(draft, "settle", partial(self._settle, draft))
        return seen

    def _carry_out(self, draft: Draft, command: Commanded, now: int, work: Replaying) -> CommandDone:
        mark = draft.mark()
        try:
            if command.kind in KINDS:
                result: Any = work.answer(command.id)
            else:
                result = self.role.operate(draft, command.args)
            state: CommandState = "done"
        except CommandRefused as refusal:
            draft.rollback(mark)
            result, state = str(refusal), "failed"
        except Exception as bug:
            draft.rollback(mark)
            log.exception("command failed: please report this", command=command.kind)
            result, state = f"internal error: {type(bug).__name__}: {bug}", "failed"
        return CommandDone(id=command.id, state=state, result=msgspec.json.encode(result).decode(), at=now)

    def _settle(self, draft: Draft) -> None:
        self._more = self.role.settle(draft)

    def _decide_one(
        self, draft: Draft, origin: Origin, one: Opened, item: Item, unit: Unit, work: Replaying
    ) -> bool:
        """One message's decision; a bad message, or a bug that it finds, costs only itself."""
        mark = draft.mark()
        try:
            if item.error is not None:
                raise item.error
            assert item.message is not None
            permit(one.role, item.message)
            if item.conversation_id:
                origin = Origin(
                    uri=origin.uri, stream_id=origin.stream_id, conversation_id=item.conversation_id
                )
            if not self.role.handle(draft, origin, item.message):
                raise MessageRejected("E_ROLE", "this role has no use for it")
            return True
        except MessageRejected as verdict:
            draft.rollback(mark)
            reason, error = verdict.code, verdict.detail
        except Exception as bug:
            draft.rollback(mark)
            log.exception("decision failed: please report this", type=item.type_name, sender=one.sender)
            reason, error = "BUG", f"{type(bug).__name__}: {bug}"
        row = QuarantineRow(
            key=item.message_id or self._dice.getrandbits(128).to_bytes(16, "big"),
            kind=item.type_name or "message",
            body=keep(item, one),
            sender=one.sender,
            reason=reason,
            error=error[:1000],
            first_at=unit.now,
            last_at=unit.now,
        )
        unit.quarantine.append(work.again(row))
        return False

    def _guarded(self, draft: Draft, what: str, decide: Callable[[], None]) -> bool:
        mark = draft.mark()
        try:
            decide()
        except Exception:
            draft.rollback(mark)
            log.exception("decision failed: please report this", about=what)
            return False
        return True

    def _keep(self, delivery: Delivery, one: Opened, ledger: list[Any], unit: Unit) -> None:
        fingerprint = one.fingerprint.hex()
        text = self._opener.certificate(one.fingerprint) if one.fingerprint else None
        if text is not None:
            unit.certificates[fingerprint] = text
        unit.ledger.append(
            LedgerRow(
                direction="in",
                peer=one.sender,
                message_id=one.message_id,
                payload_type=one.payload_type,
                fingerprint=fingerprint,
                envelope=delivery.body,
                at=unit.now,
                items=tuple(ledger),
            )
        )

    # --- when a unit fails -------------------------------------------------------------------

    def _rearm(self, taken: _Taken) -> None:
        """Timers that were taken are due again."""
        state = self.role.state
        for row_type, key in taken.timers:
            due = getattr(state.tables[row_type].get(key), "due", 0)
            if due:
                state.timers.set(row_type, key, due)

    async def _failed(self, taken: _Taken, error: Exception) -> None:
        self._arrived.extendleft(reversed(taken.deliveries))
        self._local.extendleft(reversed(taken.local))
        self._more = True  # what this unit would have begun is still to be begun
        if isinstance(error, OutcomeUnknown):
            log.warning("commit outcome unknown: reading the database again", error=str(error))
            await self._reload()
        elif isinstance(error, TransientError):
            self._trouble = min(max(self._trouble * 2, 0.5), 30.0)
            log.warning("database trouble: retrying", error=str(error), seconds=self._trouble)
        elif (count := len(taken.deliveries) + len(taken.local) + len(taken.timers)) > 1:
            log.exception("unit of work failed: taking what is in it one by one")
            self._one_by_one = count
            return
        elif taken.deliveries:
            log.exception("message cannot be worked on: quarantined")
            await self._set_aside(taken, error)
            return
        else:
            log.exception("unit of work failed: please report this")
            for event in taken.local:
                self._local.popleft()
                if isinstance(event, Commanded):
                    await self._give_up(event, error)
            for row_type, key in taken.timers:
                self.role.state.timers.set(row_type, key, self._clock.now() + FAULTY_TIMER)
            self._trouble = 1.0
        if self._trouble:
            try:
                async with asyncio.timeout(self._trouble):
                    while not self._stopping:
                        self._wake.clear()
                        await self._wake.wait()
            except TimeoutError:
                pass

    async def _reload(self) -> None:
        while not self._stopping:
            try:
                await self.role.load()
                await self._outbox.load()
                return
            except TransientError as error:
                log.warning("database away: retrying", error=str(error))
                await asyncio.sleep(1.0)

    async def _give_up(self, command: Commanded, error: Exception) -> None:
        """A command that cannot be committed: its operator hears so, and it is not tried for ever."""
        text = f"internal error: {type(error).__name__}: {error}"[:1000]
        now = self._clock.now()
        done = CommandDone(id=command.id, state="failed", result=msgspec.json.encode(text).decode(), at=now)
        with contextlib.suppress(TransientError):
            await self._store.commit(Unit(now=now, commands=[done]))

    async def _set_aside(self, taken: _Taken, error: Exception) -> None:
        """A single delivery that cannot be committed: quarantine it as it is, and go on."""
        delivery = self._arrived.popleft()
        now = self._clock.now()
        row = QuarantineRow(
            key=self._dice.getrandbits(128).to_bytes(16, "big"),
            kind="envelope",
            body=delivery.body,
            reason="BUG",
            error=f"{type(error).__name__}: {error}"[:1000],
            first_at=now,
            last_at=now,
        )
        try:
            await self._store.commit(Unit(now=now, quarantine=[row]))
        except TransientError:
            self._arrived.appendleft(delivery)
            return
        await self._bus.ack([delivery])


def _earliest(*instants: int) -> int:
    """The earliest of those that are set, 0 if none is."""
    return min((instant for instant in instants if instant), default=0)
