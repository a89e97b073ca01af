"""The agent behind the engine: its memory, its job definitions, and its executors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import structlog

from caroni.core.agent import routes
from caroni.core.agent.availability import presence
from caroni.core.agent.state import (
    STARTED,
    AgentDraft,
    AgentPolicy,
    AgentSettings,
    AgentState,
    Announce,
    FoundJob,
    JobExited,
    JobsFound,
    JobStarted,
    JobType,
    Load,
    RecoverJob,
    Refusal,
    SendLog,
    SignalJob,
    SignalKind,
    StartJob,
    Terms,
    evictable,
)
from caroni.core.commands import AgentCommand
from caroni.core.cwltypes import is_optional
from caroni.core.draft import ALL_MANAGERS, Action, Dice, Draft, Event, Origin
from caroni.core.messages import (
    FailureClass,
    JobFulfillmentRequest,
    JobLogChunk,
    Message,
    PresenceState,
)
from caroni.core.rows import AgentInput, AgentJob, AgentOffer, JobKey, Row
from caroni.core.states import AgentJobState
from caroni.daemon.ports import Clock
from caroni.daemon.role import Need, Say, decode_command, log_event, quarantine_broken, readable
from caroni.errors import CaroniError
from caroni.execution.definition import JobDefinition, decode_definition
from caroni.execution.executor import (
    Executor,
    JobOutcome,
    JobSpec,
    KeepsFiles,
    SpooledJob,
    Stream,
    StreamPart,
)
from caroni.model.store import Store
from caroni.model.unit import Unit
from caroni.plugins.hookspecs import AgentLoad, Decline, OfferDecision
from caroni.plugins.manager import Plugins, StagingFailed
from caroni.services.definitions import definition_files, definition_row
from caroni.services.prune import sweep_files

log = structlog.get_logger()

_COMMANDS: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AgentCommand)

#: numbers of presences that one process may use up
PRESENCES = 1 << 20
#: the most of a log that one message carries, bytes
LOG_CHUNK = 64 * 1024
#: work beside the engine; a flood of questions for logs beyond it is not answered
MAX_TASKS = 500
#: revisions of job definitions kept in memory beside the active ones
SPARE_DEFINITIONS = 200

_WISH = {
    AgentJobState.KILLING: SignalKind.KILL,
    AgentJobState.PAUSED: SignalKind.PAUSE,
    AgentJobState.RUNNING: SignalKind.RESUME,
}


def boot_id() -> bytes:
    """16 bytes that change when the host is started anew; empty where the kernel does not say."""
    try:
        return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))
    except (OSError, ValueError):
        return b""


class DefinitionsChanged(msgspec.Struct, frozen=True):
    """Other job definitions are active; they are in memory already."""


class AgentRole:
    """See :class:`caroni.daemon.role.Role`; also the callbacks of its executors."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        settings: AgentSettings,
        policy: AgentPolicy,
        plugins: Plugins,
        executors: Mapping[str, Executor],
        stage_dir: Path,
        say: Say,
        uri: str = "",
        log_tail: bool = False,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._policy = msgspec.structs.replace(policy, decide=self._decide_offer)
        self._plugins = plugins
        self._executors = executors
        self._stage_dir = stage_dir
        self._say = say
        self._uri = uri
        self._log_tail = log_tail
        self._state = AgentState(settings, self._policy)
        self._active: dict[str, JobDefinition] = {}
        self._definitions: dict[tuple[str, int], JobDefinition] = {}
        self._opinions: dict[tuple[str, bytes], OfferDecision | Decline | None] = {}
        self._actions: asyncio.Queue[list[Action]] = asyncio.Queue()
        self._worker: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._happen: Callable[[Any], None] = lambda event: None
        self._on_announce: Callable[[], None] = lambda: None
        self._boot_id = boot_id()
        self._number = 0

    @property
    def state(self) -> AgentState:
        return self._state

    @property
    def job_types(self) -> list[str]:
        """The job types that this agent offers."""
        return sorted(self._active)

    # --- memory ------------------------------------------------------------------------------

    async def load(self) -> None:
        live = await self._store.load_live_agent()
        await quarantine_broken(self._store, "job", live.broken, self._clock.now())
        state = AgentState(self._settings, self._policy)
        state.boot_id = self._boot_id
        order = {row_type: place for place, row_type in enumerate(state.tables)}
        state.load(sorted(live.rows, key=lambda row: order[type(row)]))
        self._state = state
        await self.load_definitions()
        if self._worker is not None:
            # an unknown outcome: what was decided may be durable and was not begun; both may be asked twice
            jobs = list(cast("Iterable[AgentJob]", state.tables[AgentJob].values()))
            self.act([RecoverJob(key=job.key) for job in jobs if job.state is AgentJobState.STARTING])
            self.act([SignalJob(key=j.key, kind=_WISH[j.state]) for j in jobs if j.state in _WISH])

    async def load_definitions(self) -> bool:
        """Read the active definitions again; whether the set of job types has changed."""
        rows = await self._store.active_job_definitions()
        active: dict[str, JobDefinition] = {}
        types: dict[str, JobType] = {}
        for row in rows:
            try:
                definition = decode_definition(row.body)
            except CaroniError as error:
                log.error("job definition cannot be read: left out", name=row.name, error=str(error))
                continue
            active[row.name] = self._definitions[row.name, row.revision] = definition
            types[row.name] = JobType(
                name=row.name,
                version=row.version,
                revision=row.revision,
                inputs=dict(definition.inputs),
                required=frozenset(n for n, t in definition.inputs.items() if not is_optional(t)),
                stop_after=definition.stop_after,
            )
        changed = active.keys() != self._active.keys()
        self._active = active
        self._state.job_types = types
        return changed

    @staticmethod
    async def take_files(store: Store, directory: Path, now: int) -> None:
        """Make the files of a directory the active definitions, and no others."""
        found = definition_files(directory)
        names = set()
        for one in found:
            definition = one.definition
            names.add(definition.name)
            revision = await store.add_job_definition(definition_row(definition, now, one.source))
            await store.set_active(definition.name, revision, True)
        for row in await store.job_definitions():
            if row.active and row.name not in names:
                await store.set_active(row.name, row.revision, False)

    async def take_up(self, owner: bytes) -> list[Row]:
        rows = readable(await self._store.load_live_agent(owner), self._state)
        self._state.load(rows)
        jobs = [row for row in rows if isinstance(row, AgentJob) and row.state in STARTED]
        await self._recover([job.key for job in jobs])
        self.act([SignalJob(key=job.key, kind=_WISH[job.state]) for job in jobs if job.state in _WISH])
        return rows

    async def prepare(self, messages: Sequence[tuple[str, Message]]) -> None:
        if not self._plugins.asks("decide_offer"):
            return
        for sender, m in messages:
            definition = self._active.get(getattr(m, "job_type_name", ""))
            if isinstance(m, JobFulfillmentRequest) and definition is not None:
                opinion = await self._plugins.decide_offer(m, definition, self._load_for(sender))
                self._opinions[sender, m.request_uuid] = opinion

    async def prepare_commands(self, commands: Sequence[str]) -> None:
        pass

    def draft(self, now: int, dice: Dice) -> AgentDraft:
        return AgentDraft(self._state, now, dice)

    def evictable(self, touched: Iterable[Row]) -> list[tuple[type[Row], object]]:
        return evictable(self._state, touched)

    def locate(self, draft: Draft, conversation_id: bytes) -> tuple[bytes, int | None]:
        return b"", None

    # --- decisions ---------------------------------------------------------------------------

    def needs(self, sender: str, message: Message) -> list[Need]:
        return routes.needs(self._state, sender, message)

    def command_needs(self, args: str) -> list[Need]:
        return []

    def contact(self, draft: Draft, origin: Origin, sequence: int) -> None:
        routes.contact(cast("AgentDraft", draft), origin, sequence)

    def operate(self, draft: Draft, args: str) -> dict[str, Any]:
        return routes.operate(cast("AgentDraft", draft), decode_command(args, _COMMANDS))

    def handle(self, draft: Draft, origin: Origin, message: Message) -> bool:
        return routes.handle(cast("AgentDraft", draft), origin, message)

    def happened(self, draft: Draft, event: Any) -> None:
        if not isinstance(event, DefinitionsChanged):
            routes.happened(cast("AgentDraft", draft), event)

    def fire(self, draft: Draft, row_type: type[Row], key: Hashable) -> None:
        routes.fire(cast("AgentDraft", draft), row_type, key)

    def settle(self, draft: Draft) -> bool:
        more = routes.settle(cast("AgentDraft", draft))
        self._opinions.clear()
        return more

    def _load_for(self, manager: str) -> AgentLoad:
        state = self._state
        return AgentLoad(
            slots=self._settings.slots,
            running=state.running,
            queued=sum(len(queue) for queue in state.queue.values()),
            reserved=sum(state.open_offers.values()),
            of_manager=state.waiting_of.get(manager, 0) + state.open_offers.get(manager, 0),
            manager=manager,
        )

    def _decide_offer(
        self, manager: str, request: JobFulfillmentRequest, job_type: JobType, load: Load
    ) -> Refusal | Terms | None:
        key = (manager, request.request_uuid)
        if key in self._opinions:
            opinion = self._opinions[key]
        else:
            opinion = self._plugins.decide_offer_now(
                request, self._active[job_type.name], self._load_for(manager)
            )
        if isinstance(opinion, Decline):
            return Refusal(
                reason=opinion.reason, message=opinion.message[:500], retry_after=opinion.retry_after
            )
        if isinstance(opinion, OfferDecision) and opinion.ttl:
            return Terms(ttl=opinion.ttl)
        return None

    # --- actions -----------------------------------------------------------------------------

    async def start(self, happen: Callable[[Any], None], announce: Callable[[], None]) -> None:
        """Start the executors and take up the jobs that may still run (their rows are loaded).

        ``happen`` takes what the executors report, ``announce`` has :meth:`announce` called soon.
        """
        self._happen = happen
        self._on_announce = announce
        await self._number_presences()
        for executor in self._executors.values():
            await executor.start(self)
        await self._look_into_spool()
        jobs = [
            job
            for job in cast("Iterable[AgentJob]", self._state.tables[AgentJob].values())
            if job.state in STARTED
        ]
        await self._recover([job.key for job in jobs])
        for job in jobs:
            # a wish may have been committed and not carried out
            kind = _WISH.get(job.state)
            if kind is not None:
                await self._attempt(self._signal(SignalJob(key=job.key, kind=kind)))
        self._worker = asyncio.create_task(self._work())

    async def _recover(self, keys: Sequence[JobKey]) -> None:
        for name, specs in (await self._specs(keys)).items():
            await self._executors[name].recover(specs)

    async def _look_into_spool(self) -> None:
        """Find jobs that were begun after this database was copied, or before it was lost."""
        jobs: list[FoundJob] = []
        for executor in self._executors.values():
            if not isinstance(executor, KeepsFiles):
                continue
            stored = await executor.stored()
            rows = await self._store.agent_jobs(stored)
            unknown = [uuid for uuid in stored if rows.get(uuid, "queued") in ("pending", "queued")]
            found = await executor.identify(unknown, self._uri) if unknown else []
            jobs += [await self._found(job) for job in found]
            left = {uuid for uuid in unknown if uuid not in rows} - {job.spec.job_uuid for job in found}
            if left:
                log.warning(
                    "jobs in the spool cannot be identified: left alone",
                    count=len(left),
                    some=[uuid.hex() for uuid in sorted(left)[:5]],
                )
        if jobs:
            offers = await self._store.load_slice([(AgentOffer, (j.key[0], j.offer_uuid)) for j in jobs])
            tables = self._state.tables
            self._state.load(row for row in offers if row.key not in tables[type(row)])
            self._happen(JobsFound(jobs=tuple(jobs)))

    async def _found(self, job: SpooledJob) -> FoundJob:
        """Have the definition kept under some revision: another one may have its number by now."""
        spec, definition = job.spec, job.spec.definition
        revision = spec.definition_revision
        row = await self._store.job_definition(definition.name, revision)
        if row is None or decode_definition(row.body) != definition:
            revision = await self._store.add_job_definition(definition_row(definition, self._clock.now()))
        return FoundJob(
            key=(spec.manager, spec.job_uuid),
            offer_uuid=spec.offer_uuid,
            request_uuid=spec.request_uuid,
            job_type=definition.name,
            job_type_version=definition.version,
            definition_revision=revision,
            parameters=spec.parameters,
            attempt=spec.attempt,
            max_runtime=spec.max_runtime,
            inputs=spec.inputs,
            paused=job.paused,
        )

    def act(self, actions: Sequence[Action]) -> None:
        if actions:
            self._actions.put_nowait(list(actions))

    async def _work(self) -> None:
        """Do what was decided, in order: a kill never overtakes the start it is for."""
        while True:
            actions = await self._actions.get()
            while not self._actions.empty():
                actions += self._actions.get_nowait()
            starts: list[JobKey] = []
            found = [action.key for action in actions if isinstance(action, RecoverJob)]
            if found:
                await self._attempt(self._recover(found))
            for action in actions:
                if isinstance(action, StartJob):
                    starts.append(action.key)
                    continue
                if starts:
                    await self._attempt(self._launch(starts))
                    starts = []
                if isinstance(action, SignalJob):
                    await self._attempt(self._signal(action))
                elif isinstance(action, SendLog):
                    if len(self._tasks) < MAX_TASKS:  # whoever is not answered asks again
                        self._spawn(self._send_log(action))
                elif isinstance(action, Announce):
                    self._on_announce()
                # ForgetJob: the files stay for their retention; ``sweep`` removes them
            if starts:
                await self._attempt(self._launch(starts))

    async def _attempt(self, work: Any) -> None:
        try:
            await work
        except Exception:
            log.exception("executor failed: please report this")

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(self._attempt(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _launch(self, keys: Sequence[JobKey]) -> None:
        for name, specs in (await self._specs(keys)).items():
            try:
                await self._executors[name].launch(specs)
            except Exception as error:
                log.exception("executor failed: please report this", executor=name)
                for spec in specs:  # it may have started some of them: nothing of these may run on
                    await self._attempt(self._executors[name].signal(spec.job_uuid, SignalKind.KILL.value))
                    job = self._state.get(AgentJob, (spec.manager, spec.job_uuid))
                    if job is not None:
                        self._fail(job, FailureClass.AGENT, f"executor {name}: {error}")

    async def _specs(self, keys: Sequence[JobKey], *, stage: bool = True) -> dict[str, list[JobSpec]]:
        """What each executor needs of these jobs; a job that cannot be described fails by itself."""
        found: dict[str, list[JobSpec]] = {}
        for key in keys:
            job = self._state.get(AgentJob, key)
            if job is None:
                continue
            try:
                definition = await self._definition(job.job_type, job.definition_revision)
                executor = definition.executor
                if executor not in self._executors:
                    raise StagingFailed(f"there is no executor {executor!r} here")
                spec = JobSpec(
                    manager=job.manager,
                    job_uuid=job.job_uuid,
                    request_uuid=job.request_uuid,
                    definition=definition,
                    inputs=self._inputs(job),
                    attempt=job.attempt,
                    max_runtime=job.max_runtime,
                    agent=self._uri,
                    offer_uuid=job.offer_uuid,
                    definition_revision=job.definition_revision,
                    parameters=job.parameters,
                )
                if stage and self._plugins.asks("stage_in"):
                    spec = await self._stage_in(spec)
            except (StagingFailed, OSError) as error:
                self._fail(job, FailureClass.AGENT, str(error))
                continue
            found.setdefault(executor, []).append(spec)
        return found

    def _inputs(self, job: AgentJob) -> dict[str, str]:
        values = {}
        for name in job.parameters:
            row = self._state.get(AgentInput, (*job.key, name))
            if row is not None:
                values[name] = row.value
        return values

    async def _definition(self, name: str, revision: int) -> JobDefinition:
        """The revision that a job was accepted with, whatever is active now."""
        key = (name, revision)
        definition = self._definitions.get(key)
        if definition is None:
            row = await self._store.job_definition(*key)
            if row is None:
                raise StagingFailed(f"job definition {key[0]} revision {key[1]} is gone")
            definition = self._definitions[key] = decode_definition(row.body)
            if len(self._definitions) > SPARE_DEFINITIONS + len(self._active):
                self._definitions.pop(next(iter(self._definitions)))
        return definition

    def _fail(self, job: AgentJob, failure_class: FailureClass, text: str) -> None:
        self._happen(
            JobExited(
                key=job.key,
                state=AgentJobState.FAILED,
                failure_class=failure_class,
                info=text[:500],
                ended_at=self._clock.now(),
            )
        )

    async def _stage_in(self, spec: JobSpec) -> JobSpec:
        inputs = dict(spec.inputs)
        directory = self._stage_dir / spec.job_uuid.hex()
        for name, value in inputs.items():
            if '"class"' in value:
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                inputs[name] = await self._plugins.stage_in(spec, name, value, directory)
        return msgspec.structs.replace(spec, inputs=inputs)

    async def _signal(self, action: SignalJob) -> None:
        job = self._state.get(AgentJob, action.key)
        if job is None:
            return
        definition = await self._definition(job.job_type, job.definition_revision)
        executor = self._executors.get(definition.executor)
        if executor is not None:
            await executor.signal(job.job_uuid, action.kind.value)

    async def _send_log(self, action: SendLog) -> None:
        part, refusal = await self._log_part(action)
        chunk = JobLogChunk(
            job_uuid=action.key[1],
            stream=action.stream,
            offset=part.offset,
            data=part.data,
            total_bytes=part.total,
            end=part.end,
            refusal=refusal,
        )
        await self._say(action.to, chunk, action.request_uuid)

    async def _log_part(self, action: SendLog) -> tuple[StreamPart, str]:
        """A part of a job's stream, or an empty one and why."""
        nothing = StreamPart(offset=0, data=b"", total=0, end=False)
        if not self._log_tail:
            return nothing, "this agent lets no manager read logs (its setting agent.log_tail)"
        if not action.job_type:
            return nothing, "this agent does not know the job"
        stream: Stream = "stdout" if action.stream == "stdout" else "stderr"
        if stream != action.stream:
            return nothing, "a job has stdout and stderr"
        n = min(action.max_bytes or LOG_CHUNK, LOG_CHUNK)
        try:
            definition = await self._definition(action.job_type, action.definition_revision)
            executor = self._executors[definition.executor]
            part = await executor.tail(action.key[1], stream, action.offset or -n, n)
        except (StagingFailed, KeyError, OSError) as error:
            log.warning("log not sent", job=action.key[1].hex(), stream=stream, error=str(error))
            return nothing, "the log cannot be read there: see the agent's own log"
        if action.ended and action.wrote and not part.total:
            return nothing, "the job's files are gone there"
        return msgspec.structs.replace(part, end=part.end and action.ended), ""

    # --- what executors tell -----------------------------------------------------------------

    def on_started(self, manager: str, job_uuid: bytes, at: int) -> None:
        self._happen(JobStarted(key=(manager, job_uuid), at=at))

    def on_exit(self, manager: str, job_uuid: bytes, outcome: JobOutcome) -> None:
        if outcome.outputs and self._plugins.asks("stage_out"):
            self._spawn(self._stage_out(manager, job_uuid, outcome))
        else:
            self._exited(manager, job_uuid, outcome)

    def _exited(self, manager: str, job_uuid: bytes, outcome: JobOutcome) -> None:
        self._happen(
            JobExited(
                key=(manager, job_uuid),
                state=AgentJobState(outcome.state),
                exit_code=outcome.exit_code,
                failure_class=outcome.failure_class,
                info=outcome.info,
                outputs=outcome.outputs,
                stdout_tail=outcome.stdout_tail,
                stderr_tail=outcome.stderr_tail,
                wall=outcome.wall,
                cpu=outcome.cpu,
                max_rss=outcome.max_rss,
                started_at=outcome.started_at,
                ended_at=outcome.ended_at,
            )
        )

    async def _stage_out(self, manager: str, job_uuid: bytes, outcome: JobOutcome) -> None:
        specs = await self._specs([(manager, job_uuid)], stage=False)
        spec = next((one for many in specs.values() for one in many), None)
        if spec is None:
            return
        outputs = dict(outcome.outputs)
        directory = self._stage_dir / job_uuid.hex()
        try:
            for name, value in outputs.items():
                if '"class"' in value:
                    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                    outputs[name] = await self._plugins.stage_out(spec, name, value, directory)
        except (StagingFailed, OSError) as error:
            outcome = msgspec.structs.replace(
                outcome, state="failed", failure_class=FailureClass.AGENT, info=str(error)[:500], outputs={}
            )
        else:
            outcome = msgspec.structs.replace(outcome, outputs=outputs)
        self._exited(manager, job_uuid, outcome)

    # --- presence, logs, end -----------------------------------------------------------------

    async def _number_presences(self) -> None:
        """Begin above whatever an earlier process has used, also if the clock was set back meanwhile."""
        now = self._clock.now()
        used = int((await self._store.settings()).get("presence") or 0)
        self._number = max(used + PRESENCES, now // 1000)
        await self._store.commit(Unit(now=now, settings={"presence": str(self._number)}))

    async def announce(self, *, leaving: bool = False) -> None:
        """Tell the managers that are listening whether this agent takes work, and what it can run.

        ``leaving``: the daemon is about to stop; an absence that was announced stays announced.
        """
        now = self._clock.now()
        self._number += 1
        said = presence(self._state, now, self._boot_id, self._number)
        if leaving and said.state is not PresenceState.OFFLINE:
            said = msgspec.structs.replace(said, state=PresenceState.OFFLINE, draining_for=0)
        await self._say(ALL_MANAGERS, said, b"")

    def tell(self, events: Sequence[Event]) -> None:
        for event in events:
            log_event(event)
            self._plugins.notify(event)

    async def sweep(self, older_than: int) -> dict[str, int]:
        """Remove the files of jobs that were released before ``older_than`` (wall microseconds).

        Files that belong to no job of this database go when they have not changed since then.
        """
        gone = await sweep_files(self._store, self._executors.values(), self._stage_dir, older_than)
        if gone["files_of_nobody"]:
            log.info("files of jobs that nobody knows are removed", count=gone["files_of_nobody"])
        return gone

    async def close(self) -> None:
        """Stop working; jobs run on."""
        tasks = [*self._tasks, *([self._worker] if self._worker else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for executor in self._executors.values():
            await executor.close()
