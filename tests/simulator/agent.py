"""A simulated agent: its daemon; the processes are the host's."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from caroni.core.agent import routes
from caroni.core.agent.availability import presence
from caroni.core.agent.state import (
    STARTED,
    AgentDraft,
    AgentPolicy,
    AgentSettings,
    AgentState,
    Allowance,
    Announce,
    Connected,
    JobsFound,
    JobType,
    RecoverJob,
    SignalJob,
    SignalKind,
    Started,
    StartJob,
    evictable,
)
from caroni.core.commands import Command
from caroni.core.draft import ALL_MANAGERS, Origin, Outgoing
from caroni.core.messages import (
    AgentPresence,
    JobFulfillmentOffer,
    JobFulfillmentRequest,
    JobFulfillmentRequestWithdrawn,
    Message,
)
from caroni.core.plan import HOUR, MINUTE, SECOND
from caroni.core.rows import (
    AgentInput,
    AgentJob,
    AgentOffer,
    AgentOutput,
    Availability,
    JobKey,
    Peer,
    Row,
)
from caroni.core.states import AgentJobState, AgentOfferState
from tests.simulator import oracle
from tests.simulator.host import Host, Process
from tests.simulator.node import Node

if TYPE_CHECKING:
    from tests.simulator.world import World

_WISH = {
    AgentJobState.KILLING: SignalKind.KILL,
    AgentJobState.PAUSED: SignalKind.PAUSE,
    AgentJobState.RUNNING: SignalKind.RESUME,
}


def plain_policy(allowance: Allowance) -> AgentPolicy:
    """Everybody may have this, and the agent is never closed."""
    return AgentPolicy(
        allow=lambda manager, job_type: allowance, decide=lambda manager, request, kind, load: None
    )


class AgentNode(Node):
    """See :class:`tests.simulator.node.Node`."""

    role = "agent"
    state: AgentState

    def __init__(self, world: World, uri: str, job_types: dict[str, JobType]) -> None:
        super().__init__(world, uri)
        dice = world.dice
        self.job_types = job_types
        self.settings = AgentSettings(
            slots=dice.choice([1, 2, 4]),
            offer_ttl=dice.choice([2 * MINUTE, HOUR]),
            max_offline=dice.choice([0, HOUR]),
            input_timeout=world.profile.input_timeout,
        )
        self.policy = plain_policy(
            Allowance(max_queued=dice.choice([1, 3, 1000]), offers_outstanding=dice.choice([2, 1000]))
        )
        self.state = AgentState(self.settings, self.policy)
        self.host = Host(self)
        self.oracle = oracle.AgentOracle(self)
        self.number = 0

    @property
    def spool(self) -> dict[bytes, Process]:
        """The host's directories of jobs."""
        return self.host.spool

    # -- memory --------------------------------------------------------------------------------

    def load(self) -> None:
        self.state = AgentState(self.settings, self.policy)
        self.state.job_types = self.job_types
        self.state.boot_id = self.host.boot.to_bytes(16, "big")
        jobs = [j for j in self.of(AgentJob) if not j.released or not j.offer_uuid]
        keys = {j.key for j in jobs if not j.released}
        reserved = {(j.manager, j.offer_uuid) for j in jobs if not j.released}
        offers = [
            o
            for o in self.of(AgentOffer)
            if o.state is AgentOfferState.OPEN or (o.state is AgentOfferState.ACCEPTED and o.key in reserved)
        ]
        parts = [r for t in (AgentInput, AgentOutput) for r in self.of(t) if (r.manager, r.job_uuid) in keys]
        self.state.load([*self.of(Peer), *self.of(Availability), *offers, *jobs, *parts])

    def load_for(self, sender: str, m: Message) -> None:
        for row_type, key in routes.needs(self.state, sender, m):
            row = self.rows.get((row_type, key))
            if (
                row is None
                and row_type is AgentOffer
                and isinstance(m, JobFulfillmentRequest | JobFulfillmentRequestWithdrawn)
            ):
                self._load(o for o in self.of(AgentOffer) if (o.manager, o.request_uuid) == key)
            elif row is not None:
                self._load([row])

    def _load(self, rows: Any) -> None:
        """Rows with what hangs on them: an offer's job, a job's offer, inputs and outputs."""
        found: dict[tuple[type[Row], Hashable], Row] = {}
        for row in rows:
            if isinstance(row, AgentOffer):
                job = next((j for j in self.of(AgentJob) if (j.manager, j.offer_uuid) == row.key), None)
                offer: Row | None = row
            else:
                job, offer = row, self.rows.get((AgentOffer, (row.manager, row.offer_uuid)))
            parts: list[Any] = [offer, job]
            if job is not None:
                parts += [
                    r
                    for t in (AgentInput, AgentOutput)
                    for r in self.of(t)
                    if (r.manager, r.job_uuid) == job.key
                ]
            found.update({(type(part), part.key): part for part in parts if part is not None})
        self.state.load(row for (kind, key), row in found.items() if self.state.get(kind, key) is None)

    def inputs_of(self, key: JobKey) -> dict[str, str]:
        """What the job was given."""
        return {r.name: r.value for r in self.of(AgentInput) if (r.manager, r.job_uuid) == key}

    # -- presence ------------------------------------------------------------------------------

    def when_started(self) -> None:
        for job in sorted(self.state.tables[AgentJob].values(), key=lambda j: j.key):  # type: ignore[arg-type, return-value]
            assert isinstance(job, AgentJob)
            if job.state not in STARTED:
                continue
            self.host.launch(job)
            if job.state in _WISH:
                self.host.signal(job.key, _WISH[job.state])
        if found := self.host.forgotten():
            self.world.saw("jobs found in the spool", len(found))
            keys = [(job.key[0], job.offer_uuid) for job in found]
            self._load(row for key in keys if (row := self.rows.get((AgentOffer, key))) is not None)
            self.happen(JobsFound(jobs=tuple(found)))
        self.happen(Connected())
        self.presence()
        if interval := self.world.dice.choice(self.world.profile.presences):
            self._again(interval * SECOND, self.epoch)

    def _again(self, interval: int, epoch: int) -> None:
        def say() -> None:
            if self.up and self.epoch == epoch and not self.world.at_peace:
                self.presence()
                self._again(interval, epoch)

        self.world.at(self.world.now + interval, say)

    def presence(self) -> None:
        """Tell the managers who listen how things are here."""
        self.number = max(self.number + 1, self.now // 1000)
        said = presence(self.state, self.now, self.state.boot_id, self.number)
        self.say(Outgoing(to=ALL_MANAGERS, message=said))

    def connected(self) -> None:
        super().connected()
        self.happen(Connected())
        self.presence()

    def listens_to(self, job_type: str) -> bool:
        return not job_type or job_type in self.job_types

    def reboot(self, back_after: int) -> None:
        """The host goes down and comes back."""
        if self.up:
            self.world.saw("reboot")
            self.host.reboot()
            self.stop(back_after)

    # -- decisions -----------------------------------------------------------------------------

    def draft(self) -> AgentDraft:
        return AgentDraft(self.state, self.now, self.world.dice)

    def started(self, put_back: bool) -> Started:
        return Started(put_back=put_back)

    def contact(self, draft: AgentDraft, origin: Origin, sequence: int) -> None:
        routes.contact(draft, origin, sequence)

    def handle(self, draft: AgentDraft, origin: Origin, m: Message) -> None:
        self.oracle.heard(draft, origin, m)
        routes.handle(draft, origin, m)

    def happened(self, draft: AgentDraft, event: Any) -> None:
        routes.happened(draft, event)

    def operate(self, draft: AgentDraft, command: Command) -> dict[str, Any]:
        return routes.operate(draft, command)  # type: ignore[arg-type]

    def fire(self, draft: AgentDraft, row_type: type[Row], key: Hashable) -> None:
        routes.fire(draft, row_type, key)

    def settle(self, draft: AgentDraft) -> bool:
        return routes.settle(draft)

    def is_kept(self, message: Message) -> bool:
        return not isinstance(message, AgentPresence)

    # -- after the commit ----------------------------------------------------------------------

    def commit(self, draft: Any, fresh: list[tuple[str, bytes]]) -> None:
        super().commit(draft, fresh)
        self.oracle.after_commit()
        if self.world.dice.random() < self.world.faults.restore and _has_offered(draft):
            self.before_agreement()

    def after_commit(self, draft: AgentDraft) -> None:
        for action in draft.actions:
            if isinstance(action, StartJob):
                self.crash_here("between starting and spawn")
                job = draft.get(AgentJob, action.key)
                if job is not None:
                    self.host.launch(job)
                    self.crash_here("after spawn")
            elif isinstance(action, RecoverJob):
                job = draft.get(AgentJob, action.key)
                if job is not None:
                    self.host.launch(job)
            elif isinstance(action, SignalJob):
                self.host.signal(action.key, action.kind)
            elif isinstance(action, Announce):
                self.presence()
        touched = [row for rows in draft.changes().values() for row in rows]
        for row_type, key in evictable(self.state, touched):
            self.state.evict(row_type, key)

    def check_row(self, old: Row | None, row: Row) -> None:
        self.oracle.row(old, row)


def _has_offered(draft: AgentDraft) -> bool:
    return any(isinstance(outgoing.message, JobFulfillmentOffer) for outgoing in draft.messages)
