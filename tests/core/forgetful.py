"""Managers and agents that forget whatever may be forgotten, and load what ``needs`` names from a store."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

from caroni.core.agent.state import evictable as agent_evictable
from caroni.core.draft import Draft
from caroni.core.manager.state import evictable as manager_evictable
from caroni.core.messages import Message
from caroni.core.rows import (
    AgentInput,
    AgentJob,
    AgentOffer,
    AgentOutput,
    Job,
    JobOutput,
    Offer,
    Request,
    Row,
    Step,
    Workflow,
)
from caroni.core.states import is_terminal
from tests.core.build import AgentSide, ManagerSide, Said, Side

Key = tuple[type[Row], Hashable]


class Store:
    """What a database would hold, and the slices it gives (as ``caroni.model.live`` cuts them)."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}

    def write(self, draft: Draft) -> None:
        for row_type, rows in draft.changes().items():
            for row in rows:
                old: Any = self.rows.get((row_type, row.key))
                if old is not None and hasattr(old, "state") and is_terminal(old.state):
                    assert row.state is old.state, f"{row_type.__name__} left {old.state}"  # type: ignore[attr-defined]
                self.rows[row_type, row.key] = row

    def of(self, row_type: type[Any]) -> list[Any]:
        return [row for (kind, _), row in self.rows.items() if kind is row_type]

    def slice(self, needs: Iterable[Key]) -> list[Row]:
        found: dict[Key, Row] = {}

        def take(row_type: type[Row], key: Hashable) -> None:
            if (row_type, key) in self.rows:
                found[row_type, key] = self.rows[row_type, key]

        for row_type, key in needs:
            take(row_type, key)
            if row_type is Workflow:
                for w in self.of(Workflow):
                    if (w.submitter, w.submit_uuid) == key:
                        take(Workflow, w.key)
            if row_type is AgentOffer:
                for o in self.of(AgentOffer):
                    if (o.manager, o.request_uuid) == key:
                        take(AgentOffer, o.key)
        for row in list(found.values()):
            if isinstance(row, Offer | Job):
                take(Request, row.request_uuid)
            if isinstance(row, AgentOffer):
                for job in self.of(AgentJob):
                    if (job.manager, job.offer_uuid) == row.key:
                        take(AgentJob, job.key)
        for row in list(found.values()):
            if isinstance(row, Job | Request):
                take(Step, (row.workflow_uuid, row.step_index))
                take(Workflow, row.workflow_uuid)
            if isinstance(row, AgentJob):
                take(AgentOffer, (row.manager, row.offer_uuid))
        for part, owner in ((JobOutput, Job), (AgentInput, AgentJob), (AgentOutput, AgentJob)):
            for row in self.of(part):
                if (owner, row.key[:2]) in found:
                    take(part, row.key)
        return list(found.values())


class Forgetful(Side):
    """Mixed in before a role."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.store = Store()
        self.loaded: list[Row] = []

    def evictable(self, rows: list[Row]) -> list[tuple[type[Row], Any]]:
        raise NotImplementedError

    def say(
        self, m: Message, by: str, *, stream: int = 1, conversation: bytes = b"", sequence: int = 0
    ) -> Said:
        order = list(self.state.tables)
        rows = self.store.slice(self.routes().needs(self.state, by, m))
        rows.sort(key=lambda row: order.index(type(row)))
        self.loaded = [row for row in rows if row.key not in self.state.tables[type(row)]]
        self.state.load(self.loaded)
        return super().say(m, by, stream=stream, conversation=conversation, sequence=sequence)

    def unit(self, decide: Callable[[Any], None]) -> Said:
        said = super().unit(decide)
        loaded, self.loaded = self.loaded, []
        now = [self.state.get(type(row), row.key) for row in loaded]
        for row_type, key in self.evictable([*said.changed, *now]):
            self.state.evict(row_type, key)
        self.check_indexes()
        return said

    def check(self, before: Any, draft: Draft) -> None:
        super().check(before, draft)
        self.store.write(draft)


class ForgetfulManager(Forgetful, ManagerSide):
    """A manager that evicts."""

    def evictable(self, rows: list[Row]) -> list[tuple[type[Row], Any]]:
        return manager_evictable(self.state, rows)


class ForgetfulAgent(Forgetful, AgentSide):
    """An agent that evicts."""

    def evictable(self, rows: list[Row]) -> list[tuple[type[Row], Any]]:
        return agent_evictable(self.state, rows)
