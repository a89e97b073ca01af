"""What must be equal at every instant: the model, the database, and what is in memory."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, cast

import msgspec

from caroni.core.commands import Command
from caroni.core.draft import State
from caroni.core.messages import Message
from caroni.core.rows import Row
from caroni.model.live import Live
from caroni.model.store import Role, Store
from caroni.model.unit import Unit
from tests.simulator.disk import Disk, Room
from tests.simulator.equal import Held, held, unlike
from tests.simulator.faults import Profile
from tests.simulator.words import name as short
from tests.simulator.world import Node, Posted, World

Key = tuple[type[Row], Hashable]

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


class StoredWorld(World):
    """A world whose nodes have databases."""

    def __init__(self, seed: int, profile: Profile, room: Room) -> None:
        super().__init__(seed, profile)
        self.room = room
        # dice of its own: the simulator's are thrown as if there were no store
        self.chance = random.Random(seed ^ 0x5EED)
        #: how often a unit of work meets a fault of the store, and how often all is compared
        self.store_faults = self.chance.choice([0.03, 0.1, 0.3])
        self.compare = self.chance.choice([0.1, 0.3, 1.0])
        self.figures: Counter[str] = Counter()


class Compared(Node):
    """Mixed in before a node that has a database."""

    world: StoredWorld
    state: Any
    role: Role
    row_types: tuple[type[Row], ...]
    disk: Disk
    #: what the database's outbox must hold: also what has left and is not marked yet
    letters: dict[bytes, Posted]
    #: rows of the ledger
    ledger: int
    #: our numbers of commands -> those of the command table
    command_ids: dict[int, int]

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

    # -- memory --------------------------------------------------------------------------------

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
            outbox={id_: letter_row(posted) for id_, posted in self.letters.items()},
            sequences=dict(self.sequences),
            facts=dict(self.facts),
            commands={self.command_ids[number]: command_row(c) for number, c in self.commands.items()},
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


def _in_order(name: str, index: Any) -> Any:
    """An index as it is compared: only an agent's queue is one of those whose order decides."""
    return {manager: list(jobs) for manager, jobs in index.items()} if name == "queue" else index


def letter_row(posted: Posted) -> Any:
    """A letter as it is compared."""
    outgoing = posted.outgoing
    return outgoing.to, outgoing.message, posted.stream, posted.sequence, posted.tries, posted.next_try


def command_row(command: Command) -> tuple[str, str]:
    """A command as the command table has it."""
    return cast("str", command.__struct_config__.tag), msgspec.json.encode(command).decode()
