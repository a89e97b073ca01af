"""The manager behind the engine: its memory, its templates, and its answers to submitters."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Hashable, Iterable, Sequence
from typing import Any, cast

import msgspec
import structlog

from caroni.core.commands import ManagerCommand, SubmitWorkflow
from caroni.core.draft import Action, Dice, Draft, Event, Origin
from caroni.core.manager import routes
from caroni.core.manager.state import (
    AnswerStatus,
    ManagerDraft,
    ManagerPolicy,
    ManagerSettings,
    ManagerState,
    StatusChanged,
    evictable,
)
from caroni.core.messages import JobFulfillmentOffer, JobFulfillmentRequest, Message, WorkFlowCreate
from caroni.core.rows import Offer, Request, Row, Step, Workflow
from caroni.cwl import plan_from_json
from caroni.daemon.ports import Clock
from caroni.daemon.role import Need, Say, decode_command, log_event, quarantine_broken, readable
from caroni.daemon.status import status_update
from caroni.errors import CaroniError, CommandRefused, TransientError
from caroni.model.store import Store
from caroni.plugins.hookspecs import OfferView
from caroni.plugins.manager import Plugins

log = structlog.get_logger()

_COMMANDS: msgspec.json.Decoder[Any] = msgspec.json.Decoder(ManagerCommand)

#: plans kept although no live workflow pins them
SPARE_PLANS = 100
#: seconds between two pushes of a workflow that goes on; its end is pushed at once
PUSH_PAUSE = 0.2
#: answers that wait for their turn; a flood of questions beyond it is not answered
MAX_ANSWERS = 500


class WorkflowFailed(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow whose rows cannot be read any more: shown, and left alone."""

    workflow_uuid: bytes
    error: str


def _decoded(args: str) -> ManagerCommand | None:
    """A command; None for what cannot be read, of which the operator hears when it is carried out."""
    try:
        return cast("ManagerCommand", _COMMANDS.decode(args))
    except msgspec.MsgspecError:
        return None


class ManagerRole:
    """See :class:`caroni.daemon.role.Role`."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        settings: ManagerSettings,
        policy: ManagerPolicy,
        plugins: Plugins,
        say: Say,
        uri: str = "",
    ) -> None:
        self._uri = uri
        self._store = store
        self._clock = clock
        self._settings = settings
        self._plugins = plugins
        self._policy = msgspec.structs.replace(policy, rank=self._rank)
        self._say = say
        self._ranks: dict[bytes, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        #: an answer may hold megabytes: a few at a time, whatever is asked
        self._answering = asyncio.Semaphore(4)
        self._dirty: dict[bytes, str] = {}
        self._pusher: asyncio.Task[None] | None = None
        self._state = self._new_state()

    @property
    def state(self) -> ManagerState:
        return self._state

    # --- memory ------------------------------------------------------------------------------

    def _new_state(self) -> ManagerState:
        state = ManagerState(self._settings, self._policy, self._clock.now())
        state.uri = self._uri
        return state

    async def load(self) -> None:
        live = await self._store.load_live_manager()
        await quarantine_broken(self._store, "workflow", live.broken, self._clock.now())
        state = self._new_state()
        state.plans = self._state.plans
        facts = await self._store.settings()
        state.hold_until = int(facts.get("hold_until") or 0)
        state.restored_at = int(facts.get("restored_at") or 0)
        order = {row_type: place for place, row_type in enumerate(state.tables)}
        rows = sorted(live.rows, key=lambda row: order[type(row)])
        lost = await self._load_plans(state, [row for row in rows if isinstance(row, Workflow)])
        state.load(row for row in rows if getattr(row, "workflow_uuid", None) not in lost)
        self._state = state

    async def take_up(self, owner: bytes) -> list[Row]:
        rows = readable(await self._store.load_live_manager(owner), self._state)
        workflows = [row for row in rows if isinstance(row, Workflow)]
        if await self._load_plans(self._state, workflows):
            raise CommandRefused("its template is gone")
        self._state.load(rows)
        return rows

    async def prepare(self, messages: Sequence[tuple[str, Message]]) -> None:
        names = {m.template_name for _, m in messages if isinstance(m, WorkFlowCreate)}
        for name in names:
            await self._load_newest(name)
        await self._load_missing_plans()
        if self._settings.offer_window and self._plugins.asks("rank_offer"):
            await self._ask_ranks(messages)

    async def prepare_commands(self, commands: Sequence[str]) -> None:
        for args in commands:
            command = _decoded(args)
            if isinstance(command, SubmitWorkflow):
                await self._load_newest(command.template)
                await self._load_revision(command.template, command.revision)
        await self._load_missing_plans()

    async def _load_missing_plans(self) -> None:
        state = self._state
        missing = [
            row
            for row in cast("Iterable[Workflow]", state.tables[Workflow].values())
            if (row.template, row.revision) not in state.plans
        ]
        if missing and await self._load_plans(state, missing):
            raise CaroniError("a message is about a workflow whose template is gone")

    async def _load_newest(self, name: str) -> None:
        row = await self._store.template(name)
        state = self._state
        if row is None:
            state.revisions.pop(name, None)
            return
        if (name, row.revision) not in state.plans:
            state.plans[name, row.revision] = await asyncio.to_thread(plan_from_json, row.plan)
        state.revisions[name] = row.revision

    async def _load_revision(self, name: str, revision: int) -> None:
        plans = self._state.plans
        if not revision or (name, revision) in plans:
            return
        row = await self._store.template(name, revision)
        if row is not None:
            plans[name, revision] = await asyncio.to_thread(plan_from_json, row.plan)

    async def _load_plans(self, state: ManagerState, workflows: Sequence[Workflow]) -> set[bytes]:
        """Fetch the plans that these workflows pin; gives those whose plan is gone (left alone)."""
        for key in {(w.template, w.revision) for w in workflows}:
            if key in state.plans:
                continue
            row = await self._store.template(*key)
            if row is None:
                log.error("template is gone: its workflows are left alone", template=key[0], revision=key[1])
                continue
            state.plans[key] = await asyncio.to_thread(plan_from_json, row.plan)
        if len(state.plans) > SPARE_PLANS:
            pinned = {
                (w.template, w.revision) for w in cast("Iterable[Workflow]", state.tables[Workflow].values())
            }
            pinned.update(state.revisions.items())
            for key in [k for k in state.plans if k not in pinned]:
                del state.plans[key]
        return {w.workflow_uuid for w in workflows if (w.template, w.revision) not in state.plans}

    def draft(self, now: int, dice: Dice) -> ManagerDraft:
        return ManagerDraft(self._state, now, dice)

    def evictable(self, touched: Iterable[Row]) -> list[tuple[type[Row], object]]:
        return evictable(self._state, touched)

    def locate(self, draft: Draft, conversation_id: bytes) -> tuple[bytes, int | None]:
        request = draft.get(Request, conversation_id) if conversation_id else None
        return (request.workflow_uuid, request.step_index) if request is not None else (b"", None)

    # --- decisions ---------------------------------------------------------------------------

    def needs(self, sender: str, message: Message) -> list[Need]:
        return routes.needs(self._state, sender, message)

    def command_needs(self, args: str) -> list[Need]:
        command = _decoded(args)
        return routes.command_needs(self._state, command) if command is not None else []

    def contact(self, draft: Draft, origin: Origin, sequence: int) -> None:
        routes.contact(cast("ManagerDraft", draft), origin, sequence)

    def operate(self, draft: Draft, args: str) -> dict[str, Any]:
        return routes.operate(cast("ManagerDraft", draft), decode_command(args, _COMMANDS))

    def handle(self, draft: Draft, origin: Origin, message: Message) -> bool:
        return routes.handle(cast("ManagerDraft", draft), origin, message)

    def happened(self, draft: Draft, event: Any) -> None:
        routes.happened(cast("ManagerDraft", draft), event)

    def fire(self, draft: Draft, row_type: type[Row], key: Hashable) -> None:
        routes.fire(cast("ManagerDraft", draft), row_type, key)

    def settle(self, draft: Draft) -> bool:
        more = routes.settle(cast("ManagerDraft", draft))
        self._ranks.clear()
        return more

    def _rank(self, request: Request, offer: Offer) -> float:
        rank = self._ranks.get(offer.offer_uuid)
        return rank if rank is not None else -float(offer.queue_depth)

    async def _ask_ranks(self, messages: Sequence[tuple[str, Message]]) -> None:
        """Installed plugins are asked before the unit of work that needs their answers."""
        for sender, m in messages:
            if not isinstance(m, JobFulfillmentOffer):
                continue
            request = self._state.get(Request, m.request_uuid)
            step = self._state.get(Step, (request.workflow_uuid, request.step_index)) if request else None
            if request is None or step is None:
                continue
            ask = JobFulfillmentRequest(
                request_uuid=m.request_uuid, job_type_name=step.job_type, attempt=request.attempt
            )
            rank = await self._plugins.rank_offer(ask, OfferView(agent=sender, offer=m))
            if rank is not None:
                self._ranks[m.offer_uuid] = rank

    # --- what is told ------------------------------------------------------------------------

    def act(self, actions: Sequence[Action]) -> None:
        changed: dict[bytes, str] = {}
        for action in actions:
            if isinstance(action, AnswerStatus):
                if len(self._tasks) < MAX_ANSWERS:  # whoever is not answered asks again
                    self._spawn(self._answer(action))
            elif isinstance(action, StatusChanged):
                changed[action.workflow_uuid] = action.to
        for workflow_uuid, to in changed.items():
            workflow = self._state.get(Workflow, workflow_uuid)
            if workflow is None or workflow.ended_at:
                self._dirty.pop(workflow_uuid, None)
                self._spawn(self._push(to, workflow_uuid))
            else:
                self._dirty[workflow_uuid] = to
        if self._dirty and self._pusher is None:
            self._pusher = asyncio.create_task(self._push_all())

    def tell(self, events: Sequence[Event]) -> None:
        for event in events:
            log_event(event)
            self._plugins.notify(event)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, action: AnswerStatus, *, steps: bool = True) -> None:
        async with self._answering:
            try:
                update = await status_update(
                    self._store,
                    action,
                    steps=steps,
                    settings=self._settings,
                    now=self._clock.now(),
                    short_of=self._state.short_of,
                    plans=self._state.plans,
                )
            except TransientError as error:
                log.warning("status not answered: the asker tries again", error=str(error))
                return
            await self._say(action.to, update, action.request_uuid or action.workflow_uuid)

    async def _push(self, to: str, workflow_uuid: bytes) -> None:
        update = AnswerStatus(to=to, request_uuid=b"", workflow_uuid=workflow_uuid)
        await self._answer(update, steps=False)

    async def _push_all(self) -> None:
        """Push what goes on, newest state only, in rounds."""
        try:
            while self._dirty:
                dirty, self._dirty = self._dirty, {}
                for workflow_uuid, to in dirty.items():
                    await self._push(to, workflow_uuid)
                await asyncio.sleep(PUSH_PAUSE)
        finally:
            self._pusher = None

    async def close(self) -> None:
        """End the tasks that answer submitters."""
        tasks = [*self._tasks, *([self._pusher] if self._pusher else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
