"""A simulated manager, with a plan for each of its templates."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from caroni.core.commands import Command
from caroni.core.draft import Origin
from caroni.core.manager import routes
from caroni.core.manager.state import (
    ManagerDraft,
    ManagerPolicy,
    ManagerSettings,
    ManagerState,
    Started,
    Unheard,
    evictable,
)
from caroni.core.messages import AgentPresence, JobFulfillmentRequest, Message
from caroni.core.plan import Plan
from caroni.core.rows import (
    Flow,
    Job,
    JobOutput,
    Offer,
    Orphan,
    Peer,
    Request,
    Row,
    Step,
    Workflow,
)
from caroni.core.states import JobState, RequestState, is_terminal
from tests.simulator import oracle
from tests.simulator.network import Posted
from tests.simulator.node import Node

if TYPE_CHECKING:
    from tests.simulator.world import World

POLICY = ManagerPolicy(
    may_serve=lambda agent, job_type, data_class: True,
    may_submit=lambda sender, template: True,
    may_control=lambda sender, workflow: True,
    rank=lambda request, offer: -float(offer.queue_depth),
)
SUBMITTER = "caroni://s/submitter/u"


class ManagerNode(Node):
    """See :class:`tests.simulator.node.Node`."""

    role = "manager"
    state: ManagerState

    def __init__(self, world: World, uri: str, plans: dict[str, Plan], window: int = 0) -> None:
        super().__init__(world, uri)
        self.plans = plans
        dice, profile = world.dice, world.profile
        self.settings = ManagerSettings(
            max_open_requests=dice.choice([2, 5, 500]),
            requests_per_unit=dice.choice([1, 200]),
            offer_window=window,
            poll_cap=dice.choice(profile.poll_caps),
            abandon_after=profile.abandon_after,
        )
        self.state = ManagerState(self.settings, POLICY, world.now)
        self.oracle = oracle.ManagerOracle(self)

    # -- memory --------------------------------------------------------------------------------

    def load(self) -> None:
        self.state = ManagerState(self.settings, POLICY, self.now)
        self.state.hold_until = int(self.facts.get("hold_until") or 0)
        self.state.restored_at = int(self.facts.get("restored_at") or 0)
        for name, plan in self.plans.items():
            self.state.plans[name, 1] = plan
            self.state.revisions[name] = 1
        order = list(self.state.tables)
        self.state.load(sorted(self._live(), key=lambda row: order.index(type(row))))

    def _live(self) -> list[Row]:
        """What the store gives at a start (``caroni.model.live``)."""
        jobs = self.of(Job)
        unsettled = {(j.workflow_uuid, j.step_index) for j in jobs if _unsettled(j)}
        running = {w.workflow_uuid for w in self.of(Workflow) if not is_terminal(w.state)}
        live = running | {workflow_uuid for workflow_uuid, _ in unsettled}
        steps = {s.key: s for s in self.of(Step) if s.workflow_uuid in running or s.key in unsettled}
        open_steps = {key for key, s in steps.items() if not is_terminal(s.state)}
        requests = {
            r.request_uuid: r
            for r in self.of(Request)
            if r.workflow_uuid in live
            and (
                r.state in (RequestState.OPEN, RequestState.ACCEPTING)
                or (r.workflow_uuid, r.step_index) in open_steps
            )
        }
        kept = {
            j.key: j
            for j in jobs
            if j.workflow_uuid in live and (_unsettled(j) or (j.workflow_uuid, j.step_index) in open_steps)
        }
        rows: list[Row] = [*self.of(Peer), *steps.values(), *requests.values(), *kept.values()]
        rows += [w for w in self.of(Workflow) if w.workflow_uuid in live]
        rows += [o for o in self.of(Offer) if o.request_uuid in requests]
        rows += [o for o in self.of(JobOutput) if (o.agent, o.job_uuid) in kept]
        rows += [f for f in self.of(Flow) if f.workflow_uuid in running]
        rows += [o for o in self.of(Orphan) if o.due]
        return rows

    def load_for(self, sender: str, m: Message) -> None:
        for row_type, key in routes.needs(self.state, sender, m):
            row = self.rows.get((row_type, key))
            if row is None and row_type is Workflow:
                row = next((w for w in self.of(Workflow) if (w.submitter, w.submit_uuid) == key), None)
            if row is not None:
                self._load_with_owners(row)

    def _load_with_owners(self, row: Row) -> None:
        request: Any = row if isinstance(row, Request) else None
        if isinstance(row, Offer | Job):
            request = self.rows.get((Request, row.request_uuid))
        owner: Any = row if isinstance(row, Job) else request
        found: list[Row | None] = []
        if owner is not None:
            found.append(self.rows.get((Workflow, owner.workflow_uuid)))
            found.append(self.rows.get((Step, (owner.workflow_uuid, owner.step_index))))
        found += [request, row]
        if isinstance(row, Job):
            found += [o for o in self.of(JobOutput) if (o.agent, o.job_uuid) == row.key]
        for one in found:
            if one is not None and self.state.get(type(one), one.key) is None:
                self.state.load([one])

    # -- decisions -----------------------------------------------------------------------------

    def draft(self) -> ManagerDraft:
        return ManagerDraft(self.state, self.now, self.world.dice)

    def started(self, put_back: bool) -> Started:
        return Started(put_back=put_back)

    def contact(self, draft: ManagerDraft, origin: Origin, sequence: int) -> None:
        routes.contact(draft, origin, sequence)

    def handle(self, draft: ManagerDraft, origin: Origin, m: Message) -> None:
        self.oracle.heard(origin, m)
        routes.handle(draft, origin, m)

    def happened(self, draft: ManagerDraft, event: Any) -> None:
        if isinstance(event, Message):  # as if a submitter had sent it
            routes.handle(draft, Origin(uri=SUBMITTER), event)
        else:
            routes.happened(draft, event)

    def operate(self, draft: ManagerDraft, command: Command) -> dict[str, Any]:
        about = getattr(command, "workflow_uuid", b"")
        if about and self.state.get(Workflow, about) is None and (row := self.rows.get((Workflow, about))):
            self.state.load([row])
        return routes.operate(draft, command)  # type: ignore[arg-type]

    def fire(self, draft: ManagerDraft, row_type: type[Row], key: Hashable) -> None:
        routes.fire(draft, row_type, key)

    def settle(self, draft: ManagerDraft) -> bool:
        return routes.settle(draft)

    def unheard(self, posted: Posted) -> None:
        message = posted.outgoing.message
        if isinstance(message, JobFulfillmentRequest):
            self.world.saw("nobody listened")
            self.happen(Unheard(requests=(message.request_uuid,)))

    # -- after the commit ----------------------------------------------------------------------

    def commit(self, draft: Any, fresh: list[tuple[str, bytes]]) -> None:
        self.oracle.before_commit(draft)
        super().commit(draft, fresh)
        self.oracle.after_commit(draft)
        if self.world.dice.random() < self.world.faults.restore and _has_asked(draft):
            self.before_agreement()

    def after_commit(self, draft: Any) -> None:
        touched = [row for rows in draft.changes().values() for row in rows]
        for row_type, key in evictable(self.state, touched):
            self.state.evict(row_type, key)

    def check_row(self, old: Row | None, row: Row) -> None:
        self.oracle.row(old, row)

    def is_kept(self, message: Message) -> bool:
        return not isinstance(message, AgentPresence)


def _has_asked(draft: ManagerDraft) -> bool:
    return any(isinstance(outgoing.message, JobFulfillmentRequest) for outgoing in draft.messages)


def _unsettled(job: Job) -> bool:
    return job.due > 0 or not (is_terminal(job.state) or job.state is JobState.LOST)
