"""Simulated nodes whose durable state is a real store, and what must be equal at every instant.

The simulator's own rows, inbox and outbox stay as the model of what is durable: a unit of work changes
model and database, or neither. Deaths come between any two statements, during a commit and after it.
What a death leaves must be the model; what a start loads must be what memory was.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import msgspec

from caroni.core.agent import routes as agent_routes
from caroni.core.agent.state import AgentState
from caroni.core.agent.state import evictable as agent_evictable
from caroni.core.commands import Command
from caroni.core.draft import Draft, RenewStream, State
from caroni.core.manager import routes as manager_routes
from caroni.core.manager.state import ManagerDraft, ManagerState
from caroni.core.manager.state import evictable as manager_evictable
from caroni.core.messages import Message
from caroni.core.plan import DAY
from caroni.core.rows import AGENT_ROWS, MANAGER_ROWS, Row
from caroni.daemon.outbox import ledger_item, routing_key
from caroni.errors import TransientError
from caroni.model.live import Live
from caroni.model.store import Role, Store
from caroni.model.unit import CommandDone, LedgerRow, OutboxRetry, OutboxRow, Sealed, Unit
from tests.simulator.disk import Disk, Room
from tests.simulator.equal import Held, held, unlike
from tests.simulator.faults import Profile
from tests.simulator.node import Durable
from tests.simulator.words import name as short
from tests.simulator.world import AgentNode, Crash, ManagerNode, Node, Posted, World

Key = tuple[type[Row], Hashable]
#: What has become of letters since the last unit: None if they have left.
Marks = dict[bytes, Posted | None]

#: What memory holds beside its rows and does not read back at a start: settings and what belongs to
#: them, what the shell sets, and hints whose loss costs a question. Everything else is made of rows.
NOT_OF_ROWS = frozenset(
    {
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
        # the rows themselves and their timers are compared by their own
        "tables",
        "timers",
        "declined_busy",
    }
)


class Killed(Exception):
    """The process is dead; raised so that the store's code stops, and never seen by the core."""


class StoredWorld(World):
    """A world whose nodes have databases."""

    def __init__(self, seed: int, profile: Profile, room: Room) -> None:
        super().__init__(seed, profile)
        self.room = room
        # of its own, so that a history goes the same way on every database
        self.chance = random.Random(seed ^ 0x5EED)
        #: how often a unit of work meets a fault of the store, and how often all is compared
        self.store_faults = self.chance.choice([0.03, 0.1, 0.3])
        self.compare = self.chance.choice([0.1, 0.3, 1.0])
        self.figures: Counter[str] = Counter()


class Stored(Node):
    """Mixed in before a node: commits through a store, dies in it, loads from it."""

    world: StoredWorld
    state: Any
    role: Role
    row_types: tuple[type[Row], ...]

    def __init__(self, world: StoredWorld, *args: Any, **more: Any) -> None:
        super().__init__(world, *args, **more)
        self.disk: Disk = world.room.disk(len(world.nodes) - 1)
        #: what the database's outbox must hold: also what has left and is not marked yet
        self.letters: dict[bytes, Posted] = {}
        #: rows of the ledger
        self.ledger = 0
        #: our numbers of commands -> those of the command table
        self.command_ids: dict[int, int] = {}
        #: left out of what is written, to see that it is noticed
        self.tamper: Callable[[Unit], None] = lambda unit: None
        self._in_order = True
        self._was_put_back = False
        #: how the commit that is under way shall end
        self._fate = ""
        self._where = ""
        self._draft: Any = None
        self._composed: tuple[list[Posted], dict[str, int]] = ([], {})
        self._brought: list[Row] = []

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

    # -- a start, a stop, a backup -------------------------------------------------------------

    def load(self) -> None:
        """Begin as a daemon does: open what the last process left, and read what lives."""
        figures, before = self.world.figures, self.state
        again = self.disk.is_open and not self._was_put_back
        if self.disk.is_open:
            self._last_breath()
            if not self._in_order:
                self.disk.kill()
            figures["restarts"] += 1
        self._in_order = False
        if self._was_put_back:
            self._rebuild()
        else:
            self.disk.open(self.role, self._before_statement)
        live = self._read_live()
        self._add_commands()
        self._compare_all("after a start")
        super().load()
        self._refill(self.state, live)
        if again:
            self._compare_memory("at a start", before, live)
        self.outbox = {id_: replace(posted, sent=False) for id_, posted in self.letters.items()}

    def stop(self, back_after: int) -> None:
        if self.up:
            self._in_order = self.world.chance.random() < 0.7
        super().stop(back_after)

    def snapshot(self) -> Durable:
        durable = super().snapshot()
        durable.outbox = {id_: replace(posted, sent=False) for id_, posted in self.letters.items()}
        return durable

    def put_back(self, backup: Durable) -> None:
        super().put_back(backup)
        self.letters = {id_: replace(posted) for id_, posted in self.outbox.items()}
        self._was_put_back = True

    def _rebuild(self) -> None:
        """The database that was put back, in the place of the other."""
        self.world.figures["databases put back"] += 1
        self._was_put_back = False
        self.disk.erase()
        self.disk.open(self.role, self._before_statement)
        unit = Unit(
            now=self.now,
            inbox=[(sender, id_, self.now + DAY) for sender, id_ in self.inbox],
            sequences=dict(self.sequences),
            settings=dict(self.facts),
        )
        for row in self.rows.values():
            unit.rows.setdefault(type(row), []).append(row)
        for posted in self.letters.values():
            unit.outbox.append(self._outbox_row(posted, posted.value))
        self._fate = ""
        self.disk.run(self.disk.store.commit(unit))
        self.ledger = 0
        self.command_ids = {}

    def _last_breath(self) -> None:
        """What memory was at the last commit: undo what was not, forget what may be forgotten."""
        if self._draft is not None:
            self._draft.rollback()
            self._draft = None
        for row_type, table in self.state.tables.items():
            for key, row in table.items():
                if due := getattr(row, "due", 0):
                    self.state.timers.set(row_type, key, due)
        self._evict_all(self.state)

    def _evict_all(self, state: Any) -> None:
        mine, self.state = self.state, state
        rows = [row for table in state.tables.values() for row in table.values()]
        for row_type, key in self.evictable(rows):
            state.evict(row_type, key)
        self.state = mine

    def _read_live(self) -> list[Row]:
        live = self.disk.run(self.load_live(self.disk.store))
        for owner, error in live.broken:
            self.world.violate(f"{short(self.uri)}: rows of {owner.hex()} cannot be read: {error}")
        return live.rows

    def _refill(self, state: State, rows: Sequence[Row]) -> None:
        for row_type, table in state.tables.items():
            for key in list(table):
                state.evict(row_type, key)
        order = {row_type: place for place, row_type in enumerate(state.tables)}
        state.load(sorted(rows, key=lambda row: order[type(row)]))

    # -- commands ------------------------------------------------------------------------------

    def command(self, command: Command) -> None:
        super().command(command)
        if self.up:
            self._add_commands()

    def _add_commands(self) -> None:
        """What an operator has asked for is in the command table, whoever wrote it there."""
        for number, command in self.commands.items():
            if number not in self.command_ids:
                kind, args = _command(command)
                work = self.disk.store.add_command(kind, args, self.now)
                self.command_ids[number] = self.disk.run(work)

    # -- one unit of work ----------------------------------------------------------------------

    def draft(self) -> Any:
        """A unit begins: as the engine does, ask for repeats and bring in rows before any decision."""
        waiting = {(sender, posted.id): posted for sender, posted in self.queue[:8]}
        if waiting:
            store, run = self.disk.store, self.disk.run
            seen = run(store.seen(list(waiting)))
            if seen != self.inbox & waiting.keys():
                self._tell("at a unit", ["the store takes other messages for repeats than the model"])
            keys: dict[Key, None] = {}
            for (sender, id_), posted in waiting.items():
                if (sender, id_) not in seen:
                    keys.update(dict.fromkeys(self.needs(sender, posted.outgoing.message)))
            if keys:
                rows = run(store.load_slice(list(keys)))
                new = [row for row in rows if row.key not in self.state.tables[type(row)]]
                self._brought += new
                self.state.load(new)
        self._draft = super().draft()
        return self._draft

    def load_for(self, sender: str, m: Message) -> None:
        """Nothing: the whole unit's rows are in memory."""

    def compose(self, draft: Any) -> list[Posted]:
        """The letters that were written already."""
        letters, self.sequences = self._composed
        return letters

    def commit(self, draft: Draft, fresh: list[tuple[str, bytes]]) -> None:
        self._composed = self._compose(draft)
        marks = self._marks()
        unit = self._unit(draft, fresh, marks)
        self.tamper(unit)
        self._fate = self._draw_fate()
        lived = self._write(unit)
        if lived is None:  # nobody was told: it is in the database or not
            lived = self._is_there(draft, fresh, marks)
            self.world.figures["in flight: " + ("durable" if lived else "not durable")] += 1
        if lived:
            super().commit(draft, fresh)
            self._draft = None
            self.ledger += len(unit.ledger)
            self.letters = self._letters_after(marks)
        where, self._where = self._where, ""
        if where:
            self.world.trace.add(self.world.now, f"{short(self.uri)} dies {where}; durable: {lived}")
            raise Crash(where)
        self._compare_slice(unit)

    def _compose(self, draft: Any) -> tuple[list[Posted], dict[str, int]]:
        """The unit's letters and the numbers after it; nothing is changed yet."""
        before = self.stream, self.sequences
        self.sequences = dict(self.sequences)
        for action in draft.actions:
            if isinstance(action, RenewStream):
                self.stream, self.sequences = action.stream_id, dict.fromkeys(self.sequences, 1)
        letters = super().compose(draft)
        composed = letters, self.sequences
        self.stream, self.sequences = before
        return composed

    def _marks(self) -> Marks:
        """What has become of letters since the last unit: gone, or to be tried again."""
        marks: Marks = {}
        for id_, posted in self.letters.items():
            now = self.outbox.get(id_)
            if now is None or now.sent:
                marks[id_] = None
            elif now.tries != posted.tries:
                marks[id_] = replace(now)
        return marks

    def _letters_after(self, marks: Marks) -> dict[bytes, Posted]:
        """The database's outbox after the unit."""
        letters = {id_: marks.get(id_, posted) for id_, posted in self.letters.items()}
        letters.update({posted.id: replace(posted) for posted in self._composed[0]})
        return {id_: posted for id_, posted in letters.items() if posted is not None}

    def _unit(
        self, draft: Any, fresh: Sequence[tuple[str, bytes]], marks: dict[bytes, Posted | None]
    ) -> Unit:
        now, (letters, sequences) = self.now, self._composed
        unit = Unit(now=now, rows=draft.changes())
        unit.settings.update(draft.facts)
        unit.sequences = {peer: n for peer, n in sequences.items() if self.sequences.get(peer) != n}
        heard = {(sender, posted.id): posted for sender, posted in self.queue}
        for sender, id_ in fresh:
            unit.inbox.append((sender, id_, now + DAY))
            unit.ledger.append(_entry("in", sender, heard[sender, id_], now))
        for posted in letters:
            # half of them as if the broker were away: sealed in the same unit, after the insertion
            at_once = self.world.chance.random() < 0.5
            unit.outbox.append(self._outbox_row(posted, posted.value if at_once else None))
            if not at_once:
                one = Sealed(
                    id=posted.id, sealed=posted.value, stream_id=posted.stream, sequence=posted.sequence
                )
                unit.sealed.append(one)
            unit.ledger.append(_entry("out", posted.outgoing.to, posted, now))
        for id_, mark in marks.items():
            if mark is None:
                unit.outbox_sent.append(id_)
            else:
                unit.outbox_retry.append(OutboxRetry(id=id_, tries=mark.tries, next_try=mark.next_try))
        for number, _ in self._in_hand:
            done = CommandDone(id=self.command_ids[number], state="done", result="{}", at=now)
            unit.commands.append(done)
        return unit

    def _outbox_row(self, posted: Posted, sealed: bytes | None) -> OutboxRow:
        outgoing = posted.outgoing
        return OutboxRow(
            id=posted.id,
            peer=outgoing.to,
            routing_key=routing_key(outgoing.to, outgoing.message),
            type=type(outgoing.message).__name__,
            payload_type=posted.type_url,
            payload=posted.value,
            conversation_id=outgoing.conversation_id,
            in_reply_to=outgoing.in_reply_to,
            created_at=self.now,
            sealed=sealed,
            stream_id=posted.stream if sealed is not None else 0,
            sequence=posted.sequence if sealed is not None else 0,
            tries=posted.tries,
            next_try=posted.next_try,
        )

    def after_commit(self, draft: Any) -> None:
        super().after_commit(draft)
        brought, self._brought = self._brought, []
        now = [row for old in brought if (row := self.state.get(type(old), old.key)) is not None]
        for row_type, key in self.evictable(now):
            self.state.evict(row_type, key)
        if self.world.chance.random() < self.world.compare:
            self._compare_memory("after a commit", self.state, self._read_live())

    # -- deaths --------------------------------------------------------------------------------

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
        self._where, self._fate = where, ""
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
                return self._refused_by_store(unit)
            if not self._where:
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

    def _refused_by_store(self, unit: Unit) -> bool | None:
        """The database is locked: the same unit again, or another process after this one."""
        self.world.figures["refused"] += 1
        self._fate = ""
        if self.world.chance.random() < 0.5:
            return self._write(unit)
        self._where = "after a unit that was refused"
        return False

    def _is_there(
        self, draft: Any, fresh: list[tuple[str, bytes]], marks: dict[bytes, Posted | None]
    ) -> bool:
        """Whether an unknown outcome was a commit; it must be all of it or nothing."""
        found = self._held()
        before = self._expected()
        if not found.differences(before):
            return False
        after = self._expected()
        changed = (row for rows in draft.changes().values() for row in rows)
        after.rows.update({(type(row).__name__, row.key): row for row in changed})
        after.inbox.update(dict.fromkeys(fresh))
        after.facts.update(draft.facts)
        after.sequences = self._composed[1]
        after.outbox = {id_: _letter(posted) for id_, posted in self._letters_after(marks).items()}
        for number, _ in self._in_hand:
            del after.commands[self.command_ids[number]]
        after.ledger["rows"] += len(fresh) + len(self._composed[0])
        self._tell("after a commit of unknown outcome", found.differences(after))
        return True

    # -- what must be equal --------------------------------------------------------------------

    def _tell(self, when: str, differences: Sequence[str]) -> None:
        for text in differences[:5]:
            self.world.violate(f"{short(self.uri)} {when}: {text}"[:1500])

    def _held(self) -> Held:
        return self.disk.run(held(self.disk.store, self.row_types))

    def _expected(self) -> Held:
        """The model, as the database must hold it."""
        return Held(
            rows={(kind.__name__, key): row for (kind, key), row in self.rows.items()},
            inbox=dict.fromkeys(self.inbox),
            outbox={id_: _letter(posted) for id_, posted in self.letters.items()},
            sequences=dict(self.sequences),
            facts=dict(self.facts),
            commands={self.command_ids[number]: _command(c) for number, c in self.commands.items()},
            ledger={"rows": self.ledger},
        )

    def _compare_all(self, when: str) -> None:
        """The whole database is the model."""
        self.world.figures["whole databases compared"] += 1
        self._tell(when, self._held().differences(self._expected()))

    def _compare_slice(self, unit: Unit) -> None:
        """Every row that was decided is the row that is stored, and the inbox has what was handled."""
        if self.world.chance.random() >= self.world.compare:
            return
        store, run = self.disk.store, self.disk.run
        decided = {(kind, row.key): row for kind, rows in unit.rows.items() for row in rows}
        found = {(type(r), r.key): r for r in run(store.load_slice(list(decided)))}
        self.world.figures["rows compared"] += len(decided)
        expected: dict[Any, Any] = {key: self.rows.get(key) for key in {**found, **decided}}
        self._tell("after a commit", unlike("slice", found, expected))
        ids = [(sender, id_) for sender, id_, _ in unit.inbox]
        if run(store.seen(ids)) != set(ids):
            self._tell("after a commit", ["a message that was handled is not in the inbox"])

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
        self._composed = ([], self.sequences)
        self._in_hand = []
        marks = self._marks()
        self._fate = ""
        self.disk.run(
            self.disk.store.commit(self._unit(Draft(self.state, self.now, self.world.dice), [], marks))
        )
        self.letters = self._letters_after(marks)
        self._compare_all("at the end")
        self._last_breath()
        self._compare_memory("at the end", self.state, self._read_live())
        # what is checked at rest is what the database holds
        self.rows = {(type(row), row.key): row for row in self._held().rows.values()}
        self.outbox = {id_: replace(posted) for id_, posted in self.letters.items()}


def _in_order(name: str, index: Any) -> Any:
    """An index as it is compared: only an agent's queue is one of those whose order decides."""
    return {manager: list(jobs) for manager, jobs in index.items()} if name == "queue" else index


def _letter(posted: Posted) -> Any:
    outgoing = posted.outgoing
    return outgoing.to, outgoing.message, posted.stream, posted.sequence, posted.tries, posted.next_try


def _command(command: Command) -> tuple[str, str]:
    return cast("str", command.__struct_config__.tag), msgspec.json.encode(command).decode()


def _entry(direction: Any, peer: str, posted: Posted, now: int) -> LedgerRow:
    outgoing = posted.outgoing
    return LedgerRow(
        direction=direction,
        peer=peer,
        message_id=posted.id,
        payload_type=posted.type_url,
        fingerprint="",
        envelope=posted.value,
        at=now,
        items=(ledger_item(outgoing.message, outgoing.conversation_id, b"", None),),
    )


class StoredManagerNode(Stored, ManagerNode):
    """A manager with a database."""

    role = "manager"
    row_types = MANAGER_ROWS

    def blank(self) -> State:
        state = ManagerState(self.state.settings, self.state.policy, self.state.started_at)
        state.plans, state.revisions = self.state.plans, self.state.revisions
        state.hold_until = int(self.disk.run(self.disk.store.settings()).get("hold_until") or 0)
        return state

    def needs(self, sender: str, m: Message) -> list[Key]:
        return manager_routes.needs(self.state, sender, m)

    def evictable(self, touched: Iterable[Row]) -> list[tuple[type[Row], Any]]:
        return manager_evictable(self.state, touched)

    async def load_live(self, store: Store) -> Live:
        return await store.load_live_manager()

    def operate(self, draft: ManagerDraft, command: Command) -> dict[str, Any]:
        """As the daemon has it: what is not in memory has ended."""
        return manager_routes.operate(draft, command)  # type: ignore[arg-type]


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
