"""One unit of work in memory: the rows, what a decision changes in them, and what it wants done.

A :class:`State` holds rows by type and key. Decisions write through a :class:`Draft`, which keeps a
journal: the daemon commits the draft's changes to the database and then drops the draft; if the commit
fails, or a single message's decision raises, the journal undoes the rows, so that memory always equals
what is durable (save before send, see ``docs/tour.md``).
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Protocol, TypeVar, cast

import msgspec

from caroni.core.messages import Message
from caroni.core.rows import Row

R = TypeVar("R", bound=Row)

#: The audiences of broadcasts.
ALL_AGENTS = "caroni://*/agent/*"
ALL_MANAGERS = "caroni://*/manager/*"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who said something: the verified sender, never what a message claims."""

    uri: str
    stream_id: int = 0
    #: what the message said it belongs to; a hint that is used where nothing else is known
    conversation_id: bytes = b""


class Dice(Protocol):
    """The random source that is passed in (``random.Random`` and ``random.SystemRandom`` fit)."""

    def getrandbits(self, k: int, /) -> int:
        """``k`` random bits."""
        ...

    def random(self) -> float:
        """A float in [0, 1)."""
        ...


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message to send: to a peer's URI, or to an audience (``caroni://*/agent/*``)."""

    to: str
    message: Message
    conversation_id: bytes = b""
    in_reply_to: bytes = b""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """Something to do after the commit. Every action can be derived from the rows again at a start."""


class RenewStream(Action, frozen=True, kw_only=True):
    """This database was put back: number what leaves from now on in a new stream.

    The stream's id is in the unit's settings, so it is durable before anything leaves in it.
    """

    stream_id: int


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something an operator may want to hear of (logs, notification plugins). Never a condition."""

    kind: str
    fields: dict[str, Any]
    #: id of the message that caused it; empty for timers and local happenings
    cause: bytes = b""


class Timers:
    """The earliest ``due`` of each row, as a heap with lazy deletion."""

    def __init__(self) -> None:
        self._due: dict[tuple[type[Row], Hashable], int] = {}
        self._heap: list[tuple[int, int, tuple[type[Row], Hashable]]] = []
        self._count = 0

    def set(self, row_type: type[Row], key: Hashable, due: int) -> None:
        """Arm (or with 0 disarm) a row's timer."""
        timer = (row_type, key)
        if due == 0:
            self._due.pop(timer, None)
            return
        if self._due.get(timer) == due:
            return
        self._due[timer] = due
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, timer))
        if len(self._heap) > 2 * len(self._due) + 1024:
            self._heap = [e for e in self._heap if self._due.get(e[2]) == e[0]]
            heapq.heapify(self._heap)

    def next_due(self) -> int:
        """The earliest instant at which something is due, 0 if nothing is armed."""
        while self._heap:
            due, _, timer = self._heap[0]
            if self._due.get(timer) == due:
                return due
            heapq.heappop(self._heap)
        return 0

    def take(self, now: int, limit: int) -> list[tuple[type[Row], Hashable]]:
        """Up to ``limit`` timers that are due. Each is disarmed: its row's next change arms it again."""
        taken: list[tuple[type[Row], Hashable]] = []
        while len(taken) < limit and (due := self.next_due()) and due <= now:
            timer = heapq.heappop(self._heap)[2]
            del self._due[timer]
            taken.append(timer)
        return taken


class State:
    """Rows in memory. Subclasses add the indexes their role decides on."""

    def __init__(self, row_types: Iterable[type[Row]]) -> None:
        #: set by the shell when its host or its broker cannot take more: nothing new is begun
        self.short_of = ""
        #: our stream, and the next sequence number in it by recipient (the outbox's own, only read here)
        self.own_stream = 0
        self.next_sequence: Mapping[str, int] = {}
        self.tables: dict[type[Row], dict[Hashable, Row]] = {t: {} for t in row_types}
        self.timers = Timers()

    def get(self, row_type: type[R], key: Hashable) -> R | None:
        """The row under its natural key."""
        return cast("R | None", self.tables[row_type].get(key))

    def replace(self, row_type: type[Row], key: Hashable, new: Row | None) -> None:
        """Put or remove a row, and keep timers and indexes in step."""
        table = self.tables[row_type]
        old = table.get(key)
        if new is None:
            table.pop(key, None)
        else:
            table[key] = new
        due = getattr(new, "due", 0)
        if due or getattr(old, "due", 0):
            self.timers.set(row_type, key, due)
        self.index(row_type, old, new)

    def index(self, row_type: type[Row], old: Row | None, new: Row | None) -> None:
        """Keep the role's indexes; must be its own inverse with ``old`` and ``new`` exchanged."""

    def load(self, rows: Iterable[Row]) -> None:
        """Take rows that came from the database."""
        for row in rows:
            self.replace(type(row), row.key, row)

    def evict(self, row_type: type[Row], key: Hashable) -> None:
        """Forget a row that only the database needs to keep."""
        if key in self.tables[row_type]:
            self.replace(row_type, key, None)


class Mark(msgspec.Struct, frozen=True):
    """A point to roll back to."""

    journal: int
    messages: int
    actions: int
    events: int
    facts: int = 0


class Draft:
    """What one unit of work decides. ``now`` is wall time in microseconds."""

    def __init__(self, state: State, now: int, dice: Dice) -> None:
        self.state = state
        self.now = now
        self.dice = dice
        self.messages: list[Outgoing] = []
        self.actions: list[Action] = []
        self.events: list[Event] = []
        #: facts about this database that change with the unit (name, value)
        self.facts: list[tuple[str, str]] = []
        #: id of the message that is being decided on, for ``in_reply_to`` and logs
        self.cause: bytes = b""
        self._tables = state.tables
        self._journal: list[tuple[type[Row], Hashable, Row | None]] = []

    def get(self, row_type: type[R], key: Hashable) -> R | None:
        """The row as this unit of work sees it."""
        return self._tables[row_type].get(key)  # type: ignore[return-value]

    def put(self, row: R) -> R:
        """Write a row (the last write of a key is what is stored)."""
        row_type, key = type(row), row.key
        # first the journal: whatever an index may raise, the row can be undone
        self._journal.append((row_type, key, self._tables[row_type].get(key)))
        self.state.replace(row_type, key, row)
        return row

    def send(self, to: str, message: Message, conversation_id: bytes = b"") -> None:
        """Have a message sent after the commit."""
        self.messages.append(
            Outgoing(
                to=to,
                message=message,
                conversation_id=conversation_id,
                in_reply_to=self.cause,
            )
        )

    def act(self, action: Action) -> None:
        """Have an action done after the commit."""
        self.actions.append(action)

    def note(self, kind: str, **fields: Any) -> None:
        """Tell operators of something."""
        self.events.append(Event(kind=kind, fields=fields, cause=self.cause))

    def new_id(self) -> bytes:
        """A fresh id of 16 bytes."""
        return self.dice.getrandbits(128).to_bytes(16, "big")

    def mark(self) -> Mark:
        """Remember this point; ``rollback`` to it undoes everything after."""
        return Mark(
            len(self._journal), len(self.messages), len(self.actions), len(self.events), len(self.facts)
        )

    def rollback(self, mark: Mark | None = None) -> None:
        """Undo everything since ``mark`` (or all)."""
        mark = mark or Mark(0, 0, 0, 0)
        while len(self._journal) > mark.journal:
            row_type, key, old = self._journal.pop()
            self.state.replace(row_type, key, old)
        del self.messages[mark.messages :]
        del self.actions[mark.actions :]
        del self.events[mark.events :]
        del self.facts[mark.facts :]

    def changes(self) -> dict[type[Row], list[Row]]:
        """The rows to write, by type: each changed key once, with its last value."""
        changed: dict[type[Row], dict[Hashable, None]] = {}
        for row_type, key, _ in self._journal:
            changed.setdefault(row_type, {})[key] = None
        return {
            row_type: [self.state.tables[row_type][key] for key in keys] for row_type, keys in changed.items()
        }
