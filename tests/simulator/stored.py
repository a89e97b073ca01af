"""Simulated nodes whose durable state is a real store, and what must be equal at every instant.

The simulator's own rows, inbox and outbox stay as the model of what is durable: a unit of work changes
model and database, or neither. Deaths come between any two statements, during a commit and after it.
What a death leaves must be the model; what a start loads must be what memory was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

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
from caroni.model.store import Store
from caroni.model.unit import CommandDone, LedgerRow, OutboxRetry, OutboxRow, Sealed, Unit
from tests.simulator.compared import Compared, Key, StoredWorld, command_row, letter_row
from tests.simulator.node import Durable
from tests.simulator.words import name as short
from tests.simulator.world import AgentNode, Crash, ManagerNode, Posted

#: What has become of letters since the last unit: None if they have left.
Marks = dict[bytes, Posted | None]


class Killed(Exception):
    """The process is dead; raised so that the store's code stops, and never seen by the core."""


class Stored(Compared):
    """Mixed in before a node: commits through a store, dies in it, loads from it."""

    def __init__(self, world: StoredWorld, *args: Any, **more: Any) -> None:
        super().__init__(world, *args, **more)
        self.disk = world.room.disk(len(world.nodes) - 1)
        self.letters = {}
        self.ledger = 0
        self.command_ids = {}
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
            unit.outbox.append(outbox_row(posted, posted.value, self.now))
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

    # -- commands ------------------------------------------------------------------------------

    def command(self, command: Command) -> None:
        super().command(command)
        if self.up:
            self._add_commands()

    def _add_commands(self) -> None:
        """What an operator has asked for is in the command table, whoever wrote it there."""
        for number, command in self.commands.items():
            if number not in self.command_ids:
                kind, args = command_row(command)
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
        else:  # nobody will ever see its letters
            for posted in self._composed[0]:
                self.world.committed.pop(posted.id, None)
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
            unit.outbox.append(outbox_row(posted, posted.value if at_once else None, now))
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
        after.outbox = {id_: letter_row(posted) for id_, posted in self._letters_after(marks).items()}
        for number, _ in self._in_hand:
            del after.commands[self.command_ids[number]]
        after.ledger["rows"] += len(fresh) + len(self._composed[0])
        self._tell("after a commit of unknown outcome", found.differences(after))
        return True

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


def outbox_row(posted: Posted, sealed: bytes | None, now: int) -> OutboxRow:
    """A letter as the outbox keeps it; ``sealed`` None: as if the broker were away."""
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
        created_at=now,
        sealed=sealed,
        stream_id=posted.stream if sealed is not None else 0,
        sequence=posted.sequence if sealed is not None else 0,
        tries=posted.tries,
        next_try=posted.next_try,
    )


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
        facts = self.disk.run(self.disk.store.settings())
        state.hold_until = int(facts.get("hold_until") or 0)
        state.restored_at = int(facts.get("restored_at") or 0)
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
