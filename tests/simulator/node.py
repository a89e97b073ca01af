"""A simulated daemon: durable rows, inbox and outbox; what is volatile is lost in a crash.

``unit`` does in one thread what the engine does: take, load, decide, commit, acknowledge, publish, act.
What is durable is behind ``commit``, ``load`` and ``load_for``, so that a real store can stand there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from caroni.core.clockjump import ClockJumped, newest_instant
from caroni.core.commands import Command
from caroni.core.draft import Draft, Origin, RenewStream
from caroni.core.messages import Message
from caroni.core.plan import MINUTE, SECOND
from caroni.core.rows import Row
from caroni.errors import CommandRefused
from tests.simulator import words
from tests.simulator.faults import Crash
from tests.simulator.network import Posted
from tests.simulator.post import Post

if TYPE_CHECKING:
    from tests.simulator.world import World

#: a clock that is set by less is not noticed (as in ``caroni.daemon.clock``)
NOTICED = MINUTE
#: how long a unit of work waits that the full disk did not take
DISK_PAUSE = 30 * SECOND


@dataclass
class Durable:
    """All that a node's database holds at one instant."""

    rows: dict[tuple[type[Row], Hashable], Row]
    inbox: set[tuple[str, bytes]]
    outbox: dict[bytes, Posted]
    commands: dict[int, Command]
    facts: dict[str, str]
    sequences: dict[str, int]
    stream: int


class Node(Post):
    """Base of manager and agent."""

    role = "node"

    def __init__(self, world: World, uri: str) -> None:
        super().__init__(world)
        self.uri = uri
        self.rows: dict[tuple[type[Row], Hashable], Row] = {}
        self.inbox: set[tuple[str, bytes]] = set()
        #: the operator's commands that are not done
        self.commands: dict[int, Command] = {}
        self.facts: dict[str, str] = {}
        self.up = False
        self.epoch = 0
        self.local: list[Any] = []
        #: the wall clock here minus true time, and what of it the daemon has not noticed
        self.skew = 0
        self.unnoticed = 0
        self.disk_full = False
        #: never comes back
        self.gone = False
        #: how often its database was put back or lost, and when it last was
        self.put_back_count = 0
        self.put_back_at = 0
        #: each time its operator said so
        self.put_back_told = True
        self.started_true = 0
        #: when its clock was last set without anybody noticing
        self.blind_at = 0
        #: has a backup made while something is asked or offered: what comes of it will be forgotten
        self.before_agreement: Callable[[], None] = lambda: None
        self._wake_at = 0
        self._busy_until = 0
        self._booting = False
        self._command_count = 0
        #: the commands that the present unit of work carries out
        self._in_hand: list[tuple[int, Command]] = []
        world.nodes[uri] = self

    # -- life ----------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """The wall clock here."""
        return self.world.now + self.skew

    def start(self) -> None:
        """A new process: load, then say what has happened, then listen."""
        if self.gone or self.up:
            return
        self.up = True
        self.epoch += 1
        self._wake_at = self._busy_until = 0
        self.local = []
        if self.unnoticed:
            self.blind_at = self.world.now
        self.unnoticed = 0
        self.started_true = self.world.now
        self._booting = True
        self.world.network.bound.add(self.uri)
        self._expire_broadcasts()
        self.load()
        self.fill_disk(self.disk_full)
        newest = newest_instant(self.state)
        if newest > self.now + NOTICED:
            self.local.append(ClockJumped(by=self.now - newest))
        self.local.append(self.started(put_back=bool(self.facts.get("put_back"))))
        self.when_started()
        self.wake(self.world.now)

    def when_started(self) -> None:
        """What a role does once its rows are loaded."""

    def stop(self, back_after: int) -> None:
        """The process ends and comes back."""
        if not self.up:
            return
        self._down()
        self.world.trace.add(self.world.now, f"{words.name(self.uri)} stops for {back_after / SECOND:.0f} s")
        self.world.at(self.world.now + back_after, self.start)

    def kill_process(self) -> None:
        """The process dies; nobody has it started again by this alone."""
        if self.up:
            self._down()

    def _down(self) -> None:
        self.up = False
        self.epoch += 1
        self._wake_at = 0

    def crash_here(self, where: str) -> None:
        """Perhaps the process dies at this point."""
        if self.world.dice.random() < self.world.faults.crash:
            self.world.saw(f"crash {where}")
            self.world.trace.add(self.world.now, f"{words.name(self.uri)} crashes {where}")
            raise Crash(where)

    def wake(self, when: int) -> None:
        """Have a unit of work at this (true) instant, or earlier."""
        when = max(when, self.world.now)
        if self._wake_at and self._wake_at <= when:
            return
        self._wake_at = when
        epoch = self.epoch

        def run() -> None:
            if self.up and self.epoch == epoch and self._wake_at == when:
                self._wake_at = 0
                self.unit()

        self.world.at(when, run)

    # -- what comes ----------------------------------------------------------------------------

    def happen(self, event: Any) -> None:
        """Something local; a crash loses it."""
        self.local.append(event)
        if self.up:
            self.wake(self.world.now)

    def command(self, command: Command) -> None:
        """The operator writes into the command table."""
        self._command_count += 1
        self.commands[self._command_count] = command
        self.world.tell(words.command, self.uri, command)
        if self.up:
            self.wake(self.world.now)

    # -- trouble -------------------------------------------------------------------------------

    def set_clock(self, by: int) -> None:
        """Somebody sets the wall clock."""
        self.skew += by
        self.unnoticed += by
        if not self.up:
            self.blind_at = self.world.now
        self._wake_at = 0
        if self.up:
            self.wake(self.world.now)

    def fill_disk(self, full: bool) -> None:
        """The disk has no room (again some): nothing new is begun, commits may fail."""
        self.disk_full = full
        self.state.short_of = "the disk is full" if full else ""
        if self.up:
            self.wake(self.world.now)

    def snapshot(self) -> Durable:
        """A backup of the database."""
        return Durable(
            dict(self.rows),
            set(self.inbox),
            {id_: replace(posted) for id_, posted in self.outbox.items()},
            dict(self.commands),
            dict(self.facts),
            dict(self.sequences),
            self.stream,
        )

    def put_back(self, backup: Durable) -> None:
        """Replace the database (the process is down)."""
        self.rows = dict(backup.rows)
        self.inbox = set(backup.inbox)
        self.outbox = {id_: replace(posted) for id_, posted in backup.outbox.items()}
        self.commands = dict(backup.commands)
        self.facts = dict(backup.facts)
        self.sequences = dict(backup.sequences)
        self.stream = backup.stream

    # -- one unit of work ----------------------------------------------------------------------

    def unit(self) -> None:
        """From what has arrived to what leaves."""
        world = self.world
        if world.now < self._busy_until:
            self.wake(self._busy_until)
            return
        if abs(self.unnoticed) > NOTICED:
            self.local.insert(0, ClockJumped(by=self.unnoticed))
            self.unnoticed = 0
        alone = bool(self.local) and isinstance(self.local[0], ClockJumped)
        taken: list[tuple[str, Posted]] = []
        if not (alone or self.deaf or self._booting):
            taken = self.queue[: world.dice.randint(1, 8)]
        local, self.local = (self.local[:1], self.local[1:]) if alone else (self.local, [])
        self._booting = self._booting and alone
        self.oracle.begin()
        draft = self.draft()
        draft.state.own_stream, draft.state.next_sequence = self.stream, self.sequences
        fresh: list[tuple[str, bytes]] = []
        timers = [] if alone else draft.state.timers.take(self.now, 100)
        self._in_hand = [] if alone else list(self.commands.items())
        try:
            for sender, posted in taken:
                self._receive(draft, sender, posted, fresh)
            draft.cause = b""
            for event in local:
                self.happened(draft, event)
            for _, command in self._in_hand:
                self._carry_out(draft, command)
            for row_type, key in timers:
                self.fire(draft, row_type, key)
            more = self.settle(draft)
        except Exception as error:
            world.violate(f"I11 {words.name(self.uri)}: handler raised {error!r}")
            raise
        if self.disk_full and world.dice.random() < 0.5:
            self._refused(draft, local, timers)
            return
        try:
            self.crash_here("before commit")
            self.commit(draft, fresh)
            self._told(draft)
            self.crash_here("after commit, before ack")
            self._acknowledge(taken)
            self.after_commit(draft)
            self.pump()
        except Crash:
            self._down()
            world.at(world.now + int(world.dice.random() * 60 * SECOND), self.start)
            return
        if world.dice.random() < world.faults.slow_handler:
            world.saw("slow handler")
            self._busy_until = world.now + int(world.dice.random() * 120 * SECOND)
        if more or alone or (self.queue and not self.deaf) or self.local:
            self.wake(world.now)
        self._wake_for_timers()

    def _wake_for_timers(self) -> None:
        due = self.state.timers.next_due()
        if due:
            self.wake(due - self.skew)
        if not self.mute and self.outbox:
            self.wake(min(posted.next_try for posted in self.outbox.values()) - self.skew)

    def _receive(self, draft: Any, sender: str, posted: Posted, fresh: list[tuple[str, bytes]]) -> None:
        mid = (sender, posted.id)
        message = posted.outgoing.message
        kept = self.is_kept(message)
        if kept:
            if self.is_repeat(mid, fresh):
                return
            fresh.append(mid)
            if posted.id not in self.world.committed:
                self.world.violate(f"I16 {words.name(self.uri)} heard what was in no committed outbox")
        origin = Origin(uri=sender, stream_id=posted.stream, conversation_id=posted.outgoing.conversation_id)
        self.load_for(sender, message)
        draft.cause = posted.id
        self.contact(draft, origin, posted.sequence)
        self.handle(draft, origin, message)

    def is_kept(self, message: Message) -> bool:
        """Whether the inbox remembers this kind of message."""
        return type(message).__name__ != "AgentPresence"

    def is_repeat(self, mid: tuple[str, bytes], fresh: list[tuple[str, bytes]]) -> bool:
        """The guard ``inbox``: what had its effect is not looked at again."""
        return mid in self.inbox or mid in fresh

    def _carry_out(self, draft: Draft, command: Command) -> None:
        mark = draft.mark()
        try:
            result = self.operate(draft, command)
            if result.get("affected"):
                self.world.saw(f"command {command.__struct_config__.tag}")
        except CommandRefused as refusal:
            draft.rollback(mark)
            self.world.trace.add(self.world.now, f"{words.name(self.uri)} refuses: {refusal}")

    def _refused(self, draft: Draft, local: list[Any], timers: list[tuple[type[Row], Hashable]]) -> None:
        """The disk is full: memory goes back, and the same is tried again."""
        self.world.saw("commit refused")
        draft.rollback()
        self.local = [*local, *self.local]
        for row_type, key in timers:
            due = getattr(draft.state.tables[row_type].get(key), "due", 0)
            if due:
                draft.state.timers.set(row_type, key, due)
        self._busy_until = self.world.now + DISK_PAUSE
        self.wake(self._busy_until)

    def _acknowledge(self, taken: list[tuple[str, Posted]]) -> None:
        for sender, posted in taken:
            if self.is_kept(posted.outgoing.message) and (sender, posted.id) not in self.inbox:
                self.world.violate(f"I15 {words.name(self.uri)} acknowledged what it has not committed")
        del self.queue[: len(taken)]

    def commit(self, draft: Any, fresh: list[tuple[str, bytes]]) -> None:
        """Everything of one unit of work becomes durable, or nothing."""
        for rows in draft.changes().values():
            for row in rows:
                old = self.rows.get((type(row), row.key))
                self.check_row(old, row)
                self.rows[type(row), row.key] = row
        for id_, _ in self._in_hand:
            self.commands.pop(id_, None)
        self.facts.update(draft.facts)
        for action in draft.actions:
            if isinstance(action, RenewStream):
                self.stream = action.stream_id
                self.sequences = dict.fromkeys(self.sequences, 1)
                self.world.saw("stream renewed")
        for key in fresh:
            if key in self.inbox:
                self.world.violate(f"I9 {words.name(self.uri)} counted one message twice")
        self.inbox.update(fresh)
        for posted in self.compose(draft):
            self.outbox[posted.id] = posted

    def _told(self, draft: Draft) -> None:
        for event in draft.events:
            self.world.saw(f"event {event.kind}")
            self.world.tell(words.event, self.uri, event)

    def check_row(self, old: Row | None, row: Row) -> None:
        """Invariants of one row's change."""

    def of(self, row_type: type[Any]) -> list[Any]:
        """The durable rows of a type."""
        return [row for (kind, _), row in self.rows.items() if kind is row_type]

    # -- what differs between the roles ---------------------------------------------------------

    state: Any
    oracle: Any

    def draft(self) -> Any:
        raise NotImplementedError

    def load(self) -> None:
        """Memory from what is durable, at a start."""
        raise NotImplementedError

    def load_for(self, sender: str, m: Message) -> None:
        """Bring in what the decision on this message reads."""
        raise NotImplementedError

    def started(self, put_back: bool) -> Any:
        raise NotImplementedError

    def contact(self, draft: Any, origin: Origin, sequence: int) -> None:
        raise NotImplementedError

    def handle(self, draft: Any, origin: Origin, m: Message) -> None:
        raise NotImplementedError

    def happened(self, draft: Any, event: Any) -> None:
        raise NotImplementedError

    def operate(self, draft: Any, command: Command) -> dict[str, Any]:
        raise NotImplementedError

    def fire(self, draft: Any, row_type: type[Row], key: Hashable) -> None:
        raise NotImplementedError

    def settle(self, draft: Any) -> bool:
        raise NotImplementedError

    def after_commit(self, draft: Any) -> None:
        raise NotImplementedError
