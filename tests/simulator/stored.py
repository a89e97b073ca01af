"""Simulated nodes whose durable state is a real store, and what must be equal at every instant.

The simulator's own rows, inbox and outbox stay as the model of what is durable: a unit of work changes
model and database, or neither. Deaths come between any two statements, during a commit and after it.
What a death leaves must be the model; what a start loads must be what memory was.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from caroni.core.agent import routes as agent_routes
from caroni.core.agent.state import AgentState
from caroni.core.agent.state import evictable as agent_evictable
from caroni.core.draft import Draft, State
from caroni.core.manager import routes as manager_routes
from caroni.core.manager.state import ManagerState
from caroni.core.manager.state import evictable as manager_evictable
from caroni.core.messages import Message
from caroni.core.plan import DAY
from caroni.core.rows import AGENT_ROWS, MANAGER_ROWS, Row
from caroni.daemon.outbox import ledger_item, routing_key
from caroni.errors import TransientError
from caroni.model.live import Live
from caroni.model.mapping import mapping
from caroni.model.store import Role, Store
from caroni.model.unit import LedgerRow, OutboxRow, Sealed, Unit
from caroni.wire.codec import decode, encode
from tests.simulator.disk import Disk, Room
from tests.simulator.world import AgentNode, Crash, ManagerNode, Node, Posted, World

Key = tuple[type[Row], Hashable]

#: What memory holds beside its rows and does not read back at a start: settings and what belongs to
#: them, the shell's own, and hints whose loss costs a question. Everything else is an index of rows.
NOT_OF_ROWS = frozenset(
    {
        # set by the shell
        "settings",
        "policy",
        "plans",
        "revisions",
        "job_types",
        "boot_id",
        "started_at",
        "short_of",
        "own_stream",
        "next_sequence",
        "hold_until",
        # the rows themselves, and their timers
        "tables",
        "timers",
        # hints
        "declined_busy",
        "report_asked",
        "reported",
    }
)


class Killed(Exception):
    """The process is dead; raised so that the store's code stops, and never seen by the core."""


class StoredWorld(World):
    """A world whose nodes have databases."""

    def __init__(self, seed: int, room: Room) -> None:
        super().__init__(seed)
        self.room = room
        # of its own, so that a history goes the same way on every database
        self.chance = random.Random(seed ^ 0x5EED)
        #: how often a unit of work meets a fault of the store, and how often all is compared
        self.store_faults = self.chance.choice([0.03, 0.1, 0.3])
        self.compare = self.chance.choice([0.1, 0.3, 1.0])
        self.figures: Counter[str] = Counter()


@dataclass
class Durable:
    """What the database must hold, as far as the simulator's node does not know it already."""

    letters: dict[bytes, Posted] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    ledger: int = 0


def _short(row: Any) -> str:
    return f"{type(row).__name__} {row.key}"


def unlike(what: str, found: dict[Any, Any], expected: dict[Any, Any]) -> list[str]:
    """How two mappings differ, in words."""
    told = [f"{what}: {key} is missing" for key in expected.keys() - found.keys()]
    told += [f"{what}: {key} is there and should not be" for key in found.keys() - expected.keys()]
    for key in found.keys() & expected.keys():
        if found[key] != expected[key]:
            told.append(f"{what}: {key} is {found[key]}, should be {expected[key]}")
    return told


class Stored(Node):
    """Mixed in before a node: commits through a store, dies in it, loads from it."""

    world: StoredWorld
    state: Any
    role: Role
    row_types: tuple[type[Row], ...]

    def __init__(self, world: StoredWorld, *args: Any, **more: Any) -> None:
        super().__init__(world, *args, **more)
        self.disk: Disk = world.room.disk(len(world.nodes) - 1)
        self.durable = Durable()
        self._in_order = True
        #: how the commit that is under way shall end
        self._fate = ""
        self._where = ""
        self._draft: Any = None
        self._heard: dict[tuple[str, bytes], Posted] = {}
        self._brought: list[Row] = []
        #: confirmed by the broker, and not yet marked in the database
        self._sent: list[bytes] = []
        #: left out of what is written, to see that it is noticed
        self.tamper: Callable[[Unit], None] = lambda unit: None

    # -- what differs between the roles --------------------------------------------------------

    def blank(self) -> State:
        """A memory without rows."""
        raise NotImplementedError

    def needs(self, sender: str, m: Message) -> list[Key]:
        """See ``caroni.daemon.role.Role``."""
        raise NotImplementedError

    def evictable(self, touched: Iterable[Row]) -> list[tuple[type[Row], Any]]:
        """See ``caroni.daemon.role.Role``; of the present memory."""
        raise NotImplementedError

    async def load_live(self, store: Store) -> Live:
        """The store's own query."""
        raise NotImplementedError

    # -- a start, a stop -----------------------------------------------------------------------

    def load(self) -> None:
        """Begin as a daemon does: open what the last process left, and read what lives."""
        if self.disk.is_open:
            self._last_breath()
            if not self._in_order:
                self.disk.kill()
            self.world.figures["restarts"] += 1
        before = self.state
        self._in_order = False
        self.disk.open(self.role, self._before_statement)
        live = self._read_live()
        self._compare_all("after a start")
        super().load()
        self._refill(self.state, live)
        if self.world.figures["restarts"]:
            self._compare_memory("at a start", before, live)
        self.outbox = {id_: replace(posted, sent=False) for id_, posted in self.durable.letters.items()}
        self._sent = []

    def stop(self, back_after: int) -> None:
        if self.up:
            self._in_order = True
        super().stop(back_after)

    def _last_breath(self) -> None:
        """What memory was at the last commit: undo what was not, forget what may be forgotten."""
        if self._draft is not None:
            self._draft.rollback()
            self._draft = None
        self._rearm()
        self._evict_all(self.state)

    def _rearm(self) -> None:
        for row_type, table in self.state.tables.items():
            for key, row in table.items():
                if due := getattr(row, "due", 0):
                    self.state.timers.set(row_type, key, due)

    def _evict_all(self, state: Any) -> None:
        mine, self.state = self.state, state
        rows = [row for table in state.tables.values() for row in table.values()]
        for row_type, key in self.evictable(rows):
            state.evict(row_type, key)
        self.state = mine

    def _read_live(self) -> list[Row]:
        live = self.disk.run(self.load_live(self.disk.store))
        for owner, error in live.broken:
            self.world.violate(f"{self.uri}: rows of {owner.hex()} cannot be read: {error}")
        return live.rows

    def _refill(self, state: State, rows: Sequence[Row]) -> None:
        for row_type, table in state.tables.items():
            for key in list(table):
                state.evict(row_type, key)
        order = {row_type: place for place, row_type in enumerate(state.tables)}
        state.load(sorted(rows, key=lambda row: order[type(row)]))

    # -- one unit of work ----------------------------------------------------------------------

    def draft(self) -> Any:
        """A unit begins: as the engine does, ask for repeats and bring in rows before any decision."""
        waiting = {(sender, posted.id): posted for sender, posted in self.queue[:8]}
        self._heard = waiting
        if waiting:
            seen = self.disk.run(self.disk.store.seen(list(waiting)))
            if seen != self.inbox & waiting.keys():
                self.world.violate(f"{self.uri}: the store takes other messages for repeats than the model")
            keys: dict[Key, None] = {}
            for (sender, id_), posted in waiting.items():
                if (sender, id_) not in seen:
                    keys.update(dict.fromkeys(self.needs(sender, posted.outgoing.message)))
            if keys:
                rows = self.disk.run(self.disk.store.load_slice(list(keys)))
                new = [row for row in rows if row.key not in self.state.tables[type(row)]]
                self._brought += new
                self.state.load(new)
        self._draft = super().draft()
        return self._draft

    def load_for(self, sender: str, m: Message) -> None:
        """Nothing: the whole unit's rows are in memory."""

    def commit(self, draft: Draft, fresh: list[tuple[str, bytes]]) -> None:
        rows, inbox, outbox = dict(self.rows), set(self.inbox), dict(self.outbox)
        super().commit(draft, fresh)
        new = [posted for id_, posted in self.outbox.items() if id_ not in outbox]
        durable = self.durable
        unit, self.durable = self._unit(draft, fresh, new)
        self.tamper(unit)
        self._fate = self._draw_fate()
        lived = self._write(unit)
        if lived is None:  # nobody was told: it is in the database or not
            lived = self._is_there(unit)
            self.world.figures["in flight: " + ("durable" if lived else "not durable")] += 1
        if not lived:
            self.rows, self.inbox, self.outbox, self.durable = rows, inbox, outbox, durable
        if self._where:
            where, self._where = self._where, ""
            if lived:
                self._draft = None
            self.world.trace.add(self.world.now, f"{self.uri} dies {where}; durable: {lived}")
            raise Crash(where)
        self._draft = None
        self._sent = []
        self._compare_slice(unit)

    def _draw_fate(self) -> str:
        chance = self.world.chance
        if chance.random() >= self.world.store_faults:
            return ""
        return chance.choice(["statement", "statement", "commit", "cut", "busy", "after"])

    def _before_statement(self, sql: str) -> None:
        """The store's hook."""
        figures, chance = self.world.figures, self.world.chance
        figures["statements"] += 1
        last = sql == "COMMIT"
        if self._fate == "statement" and (last or chance.random() < 0.25):
            self._die(f"before {sql.split('(')[0].strip()[:40]}")
        elif self._fate == "commit" and last:
            self._die("before COMMIT")
        elif self._fate == "busy" and (last or chance.random() < 0.5):
            raise self.disk.busy()
        elif self._fate == "cut" and last:
            self._where = "during COMMIT"
            self.disk.cut(chance)

    def _die(self, where: str) -> None:
        self._where = where
        self.disk.kill()
        raise Killed(where)

    def _write(self, unit: Unit) -> bool | None:
        """Commit; whether it is durable, None if that is to be looked up."""
        store, figures = self.disk.store, self.world.figures
        try:
            self.disk.run(store.commit(unit))
        except Killed:
            figures["deaths between statements"] += 1
            return False
        except TransientError:
            if self._fate == "busy":
                return self._refused(unit)
            if self._fate != "cut":
                raise
        fate, self._fate = self._fate, ""
        if self._where:
            figures["deaths during a commit"] += 1
            self.disk.after_cut(self.world.chance)
            self.disk.open(self.role, self._before_statement)
            self._read_live()  # which waits for the outcome
            return None
        if fate == "after":
            figures["deaths after a commit"] += 1
            self._where = "after COMMIT"
        return True

    def _refused(self, unit: Unit) -> bool:
        """The database is locked: as the engine does, undo the decision; or write the same unit again."""
        self.world.figures["refused"] += 1
        self._fate = ""
        if self.world.chance.random() < 0.5:
            return self._write(unit) or False
        self._where = "after a unit that was refused"
        self._draft.rollback()
        self._last_breath()
        return False

    def _is_there(self, unit: Unit) -> bool:
        """Whether an unknown outcome was a commit: the change of any row, or any key, tells."""
        store = self.disk.store
        if unit.inbox:
            id_ = unit.inbox[0][:2]
            return bool(self.disk.run(store.seen([id_])))
        found = self._found()
        return not self._unlike_model(found)

    def after_commit(self, draft: Any) -> None:
        super().after_commit(draft)
        brought, self._brought = self._brought, []
        now = [row for old in brought if (row := self.state.get(type(old), old.key)) is not None]
        for row_type, key in self.evictable(now):
            self.state.evict(row_type, key)
        if self.world.chance.random() < self.world.compare:
            self._compare_memory("after a commit", self.state, self._read_live())

    def pump(self) -> None:
        waiting = dict(self.outbox)
        try:
            super().pump()
        finally:
            self._sent += [id_ for id_, posted in waiting.items() if posted.sent and id_ not in self._sent]

    def _unit(
        self, draft: Any, fresh: Sequence[tuple[str, bytes]], new: Sequence[Posted]
    ) -> tuple[Unit, Durable]:
        now = self.world.now
        unit = Unit(now=now, rows=draft.changes(), outbox_sent=list(self._sent))
        durable = Durable(
            {id_: posted for id_, posted in self.durable.letters.items() if id_ not in self._sent},
            dict(self.durable.numbers),
            {**self.durable.facts, **dict(draft.facts)},
            self.durable.ledger,
        )
        unit.settings.update(draft.facts)
        for sender, id_ in fresh:
            unit.inbox.append((sender, id_, now + DAY))
            unit.ledger.append(_entry("in", sender, id_, self._heard[sender, id_].outgoing, now))
        for posted in new:
            outgoing = posted.outgoing
            type_url, value = encode(outgoing.message)
            sequence = 0
            if "*" not in outgoing.to:
                sequence = durable.numbers.get(outgoing.to, 1)
                durable.numbers[outgoing.to] = unit.sequences[outgoing.to] = sequence + 1
            row = OutboxRow(
                id=posted.id,
                peer=outgoing.to,
                routing_key=routing_key(outgoing.to, outgoing.message),
                type=type(outgoing.message).__name__,
                payload_type=type_url,
                payload=value,
                conversation_id=outgoing.conversation_id,
                in_reply_to=outgoing.in_reply_to,
                created_at=now,
            )
            if self.world.chance.random() < 0.5:
                row = OutboxRow(
                    **{name: getattr(row, name) for name in row.__struct_fields__}
                    | {"sealed": value, "stream_id": 1, "sequence": sequence}
                )
            else:  # as if the broker were away: sealed in this unit, after its insertion
                unit.sealed.append(Sealed(id=posted.id, sealed=value, stream_id=1, sequence=sequence))
            unit.outbox.append(row)
            unit.ledger.append(_entry("out", outgoing.to, posted.id, outgoing, now))
            durable.letters[posted.id] = posted
        durable.ledger += len(unit.ledger)
        return unit, durable

    # -- what must be equal --------------------------------------------------------------------

    def _tell(self, when: str, differences: Sequence[str]) -> None:
        for text in differences[:5]:
            self.world.violate(f"{self.uri} {when}: {text}"[:1500])

    def _found(self) -> tuple[dict[Any, Any], ...]:
        """All that the database holds of what the model knows."""
        return self.disk.run(_dump(self.disk.store, self.row_types))

    def _unlike_model(self, found: tuple[dict[Any, Any], ...]) -> list[str]:
        rows, inbox, letters, numbers, facts, ledger = found
        told = unlike("row", rows, {(kind.__name__, key): row for (kind, key), row in self.rows.items()})
        told += unlike("inbox", inbox, dict.fromkeys(self.inbox))
        expected = {id_: (p.outgoing.to, p.outgoing.message) for id_, p in self.durable.letters.items()}
        told += unlike("outbox", letters, expected)
        told += unlike("sequence", numbers, self.durable.numbers)
        told += unlike("setting", {name: facts.get(name) for name in self.durable.facts}, self.durable.facts)
        return told + unlike("ledger", ledger, {"rows": self.durable.ledger})

    def _compare_all(self, when: str) -> None:
        """The whole database is the model."""
        self.world.figures["whole databases compared"] += 1
        self._tell(when, self._unlike_model(self._found()))

    def _compare_slice(self, unit: Unit) -> None:
        """Every row that was decided is the row that is stored, and the inbox has what was handled."""
        if self.world.chance.random() >= self.world.compare:
            return
        store, figures = self.disk.store, self.world.figures
        decided = {(kind, row.key): row for kind, rows in unit.rows.items() for row in rows}
        found = {(type(r), r.key): r for r in self.disk.run(store.load_slice(list(decided)))}
        figures["rows compared"] += len(decided)
        self._tell("after a commit", unlike("slice", {k: found.get(k) for k in decided}, decided))
        for key, row in found.items():
            if self.rows.get(key) != row:
                self.world.violate(f"{self.uri}: slice gave {row}, the model has {self.rows.get(key)}")
        ids = [(sender, id_) for sender, id_, _ in unit.inbox]
        if self.disk.run(store.seen(ids)) != set(ids):
            self.world.violate(f"{self.uri}: a message that was handled is not in the inbox")

    def _compare_memory(self, when: str, memory: Any, live: Sequence[Row]) -> None:
        """Memory is what the database says lives: the rows, their indexes and timers.

        It may still have what lives and need not be kept, until whoever it belongs to ends.
        """
        self.world.figures["memories compared"] += 1
        fresh = self.blank()
        self._refill(fresh, live)
        living = {kind: dict(table) for kind, table in fresh.tables.items()}
        self._evict_all(fresh)
        for kind, table in memory.tables.items():
            optional = {
                k: row for k, row in living[kind].items() if k not in fresh.tables[kind] and k in table
            }
            self._tell(when, unlike(f"memory, {kind.__name__}", table, {**fresh.tables[kind], **optional}))
        for name, index in vars(fresh).items():
            if name not in NOT_OF_ROWS and _in_order(name, getattr(memory, name)) != _in_order(name, index):
                text = f"index {name} is {getattr(memory, name)}, a new process has {index}"
                self._tell(when, [text])
        if memory.timers.next_due() != fresh.timers.next_due():
            text = f"next timer is {memory.timers.next_due()}, a new process has {fresh.timers.next_due()}"
            self._tell(when, [text])

    def finish(self) -> None:
        """At the end: mark what has left, and compare everything once more."""
        if not self.up:
            return
        unit = Unit(now=self.world.now, outbox_sent=list(self._sent))
        for id_ in self._sent:
            self.durable.letters.pop(id_, None)
        self._fate, self._sent = "", []
        self.disk.run(self.disk.store.commit(unit))
        self._compare_all("at the end")
        self._last_breath()
        self._compare_memory("at the end", self.state, self._read_live())
        # what is checked at rest is what the database holds
        self.rows = {(type(row), row.key): row for row in self._found()[0].values()}
        self.outbox = dict(self.durable.letters)


def _in_order(name: str, index: Any) -> Any:
    """An index as it is compared: only an agent's queue is one of those whose order decides."""
    return {manager: list(jobs) for manager, jobs in index.items()} if name == "queue" else index


def _entry(direction: Any, peer: str, id_: bytes, outgoing: Any, now: int) -> LedgerRow:
    return LedgerRow(
        direction=direction,
        peer=peer,
        message_id=id_,
        payload_type=type(outgoing.message).__name__,
        fingerprint="",
        envelope=b"",
        at=now,
        items=(ledger_item(outgoing.message, outgoing.conversation_id, b"", None),),
    )


async def _dump(store: Store, row_types: Iterable[type[Row]]) -> tuple[dict[Any, Any], ...]:
    """The whole database: rows, inbox, outbox, sequences, facts, the ledger's length."""
    rows: dict[Any, Any] = {}
    for row_type in row_types:
        table = mapping(row_type, store.database.dialect)
        columns = ", ".join(f'"{name}"' for name in table.columns)
        for record in await store.database.fetch(f'SELECT {columns} FROM "{table.table}"'):  # noqa: S608
            row = table.decode(record)
            rows[row_type.__name__, row.key] = row
    inbox = await store.database.fetch("SELECT sender, message_id FROM inbox")
    pending = [row for _, row in await store.pending_outbox(100_000)]
    letters = {row.id: (row.peer, decode(row.payload_type, row.payload)) for row in pending}
    if len(pending) != await store.count_outbox() or any(row.sealed != row.payload for row in pending):
        letters[b""] = ("", "an envelope is not sealed, or not counted")  # type: ignore[assignment]
    ((ledger,),) = await store.database.fetch("SELECT COUNT(*) FROM ledger")
    return (
        rows,
        {(sender, bytes.fromhex(id_)): None for sender, id_ in inbox},
        letters,
        await store.sequences(),
        await store.settings(),
        {"rows": int(ledger)},
    )


class StoredManagerNode(Stored, ManagerNode):
    """A manager with a database."""

    role = "manager"
    row_types = MANAGER_ROWS

    def blank(self) -> State:
        state = ManagerState(self.state.settings, self.state.policy, self.state.started_at)
        state.plans, state.revisions = self.state.plans, self.state.revisions
        return state

    def needs(self, sender: str, m: Message) -> list[Key]:
        return manager_routes.needs(self.state, sender, m)

    def evictable(self, touched: Iterable[Row]) -> list[tuple[type[Row], Any]]:
        return manager_evictable(self.state, touched)

    async def load_live(self, store: Store) -> Live:
        return await store.load_live_manager()


class StoredAgentNode(Stored, AgentNode):
    """An agent with a database."""

    role = "agent"
    row_types = AGENT_ROWS

    def blank(self) -> State:
        state = AgentState(self.state.settings, self.state.policy)
        state.job_types = self.state.job_types
        return state

    def needs(self, sender: str, m: Message) -> list[Key]:
        return agent_routes.needs(self.state, sender, m)

    def evictable(self, touched: Iterable[Row]) -> list[tuple[type[Row], Any]]:
        return agent_evictable(self.state, touched)

    async def load_live(self, store: Store) -> Live:
        return await store.load_live_agent()
