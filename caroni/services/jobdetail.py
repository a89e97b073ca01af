"""One job with everything that its agent, or its manager, knows of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from caroni.config import Loaded
from caroni.core.messages import Json
from caroni.core.plan import PlanStep
from caroni.core.rows import AgentInput, AgentJob, AgentOutput, Flow, Job, JobOutput, Orphan, Step, Workflow
from caroni.core.states import AgentJobState, JobState, is_terminal
from caroni.errors import UsageError
from caroni.services.jobs import kill_of, rows

if TYPE_CHECKING:
    from caroni.model.store import Store

#: the most of one value that is given, characters, and the most values of one kind
MAX_VALUE, MAX_VALUES = 4096, 200


class ShownValue(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output. ``value`` is JSON text, None where it is not there (yet).

    ``size`` is its whole length in characters; ``value`` may be only the beginning of it (``cut``), and is
    no JSON then. ``source`` is what an input is taken from, as its workflow names it.
    """

    name: str
    value: Json | None
    size: int = 0
    cut: bool = False
    source: str = ""


class JobShown(msgspec.Struct, frozen=True, kw_only=True):
    """A job on its agent, or an attempt as its manager knows it. What a side does not know is empty or 0.

    Instants are wall microseconds, durations microseconds, ``max_rss`` bytes; 0 = not yet. ``peer`` is the
    other side. ``kill`` and ``pause`` as in :class:`~caroni.services.jobs.JobOfManager`. ``position`` is the
    place in the agent's queue, 1 = next. ``released``: the manager has the result.
    """

    job: str
    #: whose knowledge this is: ``manager`` or ``agent``
    role: str
    peer: str
    state: str
    ended: bool
    attempt: int = 0
    # a manager's
    workflow: str = ""
    workflow_name: str = ""
    step: str = ""
    suspect: bool = False
    accepted_at: int = 0
    # an agent's
    position: int = 0
    missing: int = 0
    released: bool = False
    created_at: int = 0
    queued_at: int = 0
    # both sides'
    job_type: str = ""
    version: str = ""
    definition_revision: int = 0
    request: str = ""
    offer: str = ""
    exit_code: int | None = None
    failure: str = ""
    info: str = ""
    progress: float = 0.0
    wall: int = 0
    cpu: int = 0
    max_rss: int = 0
    started_at: int = 0
    ended_at: int = 0
    kill: str = ""
    kill_asked_at: int = 0
    kill_info: str = ""
    pause: str = ""
    inputs: list[ShownValue] = []
    outputs: list[ShownValue] = []
    stdout_tail: str = ""
    stderr_tail: str = ""


async def job_shown(
    loaded: Loaded, store: Store, peer: str, job_uuid: bytes, *, values: bool = True
) -> JobShown:
    """Everything of one job.

    Args:
        loaded: the configuration of its agent or its manager.
        store: that one's database.
        peer: the other side of the job.
        job_uuid: the job.
        values: also its inputs and outputs, at most 200 of each and 4,096 characters of each.

    Raises:
        UsageError: the job is not known (any more).
        TransientError: the database is away.
    """
    from caroni.model.mapping import escape

    if store.role == "manager":
        key = ("agent = ? AND job_uuid = ?", escape(peer), job_uuid.hex())
        if jobs := await rows(store, Job, *key):
            return await _of_manager(store, jobs[0], values)
        if orphans := await rows(store, Orphan, *key):
            return _of_orphan(orphans[0])
    else:
        here = await rows(store, AgentJob, "manager = ? AND job_uuid = ?", escape(peer), job_uuid.hex())
        if here:
            return await _of_agent(store, here[0], values)
    raise UsageError(f"job {job_uuid.hex()} is not known any more; see: caroni jobs --all")


def shown_value(name: str, value: Json | None, source: str = "") -> ShownValue:
    """A value of bounded length."""
    if value is None:
        return ShownValue(name=name, value=None, source=source)
    return ShownValue(
        name=name, value=value[:MAX_VALUE], size=len(value), cut=len(value) > MAX_VALUE, source=source
    )


# --- a manager's -----------------------------------------------------------------------------------


async def _of_manager(store: Store, job: Job, values: bool) -> JobShown:
    flow = job.workflow_uuid.hex()
    steps = await rows(store, Step, 'workflow_uuid = ? AND "index" = ?', flow, job.step_index)
    workflows = await rows(store, Workflow, "workflow_uuid = ?", flow)
    inputs: list[ShownValue] = []
    outputs: list[ShownValue] = []
    if values:
        outputs = [
            shown_value(row.name, row.value)
            for row in await rows(
                store,
                JobOutput,
                f"agent = ? AND job_uuid = ? ORDER BY name LIMIT {MAX_VALUES}",
                _escape(job.agent),
                job.job_uuid.hex(),
            )
        ]
        if workflows:
            plan_step = await _plan_step(store, workflows[0], job.step_index)
            inputs = await _inputs(store, job.workflow_uuid, plan_step) if plan_step is not None else []
    kill = kill_of(job)
    paused = job.state is JobState.PAUSED
    return JobShown(
        job=job.job_uuid.hex(),
        role="manager",
        peer=job.agent,
        state=job.state.value,
        ended=is_terminal(job.state),
        attempt=job.attempt,
        workflow=flow,
        workflow_name=workflows[0].name if workflows else "",
        step=steps[0].name if steps else "",
        suspect=job.suspect and not job.ended_at,
        accepted_at=job.accepted_at,
        job_type=steps[0].job_type if steps else "",
        request=job.request_uuid.hex(),
        offer=job.offer_uuid.hex(),
        exit_code=job.exit_code,
        failure=job.failure_class.name.lower() if job.failure_class else "",
        info=job.info,
        progress=job.progress,
        wall=job.wall,
        cpu=job.cpu,
        max_rss=job.max_rss,
        started_at=job.started_at,
        ended_at=job.ended_at,
        kill="" if kill == "over" and not job.kill_wanted else kill,
        kill_asked_at=job.kill_asked_at,
        kill_info=job.kill_info,
        pause="confirmed" if paused else "wanted" if job.pause_wanted and not job.ended_at else "",
        inputs=inputs,
        outputs=outputs,
        stdout_tail=job.stdout_tail,
        stderr_tail=job.stderr_tail,
    )


async def _plan_step(store: Store, workflow: Workflow, index: int) -> PlanStep | None:
    from caroni.cwl import plan_from_json

    template = await store.template(workflow.template, workflow.revision)
    if template is None:
        return None
    plan = await asyncio.to_thread(plan_from_json, template.plan)
    return plan.steps[index] if index < len(plan.steps) else None


async def _inputs(store: Store, workflow_uuid: bytes, step: PlanStep) -> list[ShownValue]:
    """What the step is given: a value of its source or, for none, the default (CWL v1.2)."""
    wanted = step.inputs[:MAX_VALUES]
    keys = [(Flow, (workflow_uuid, item.source)) for item in wanted if item.source is not None]
    found = {row.key: row for row in await store.load_slice(list(dict.fromkeys(keys)))} if keys else {}
    shown = []
    for item in wanted:
        flow = found.get((workflow_uuid, item.source))
        value = flow.value if isinstance(flow, Flow) else None
        if item.source is None or value == "null":
            value = item.default if item.default is not None else "null"
        shown.append(shown_value(item.name, value, item.source or ""))
    return shown


def _of_orphan(row: Orphan) -> JobShown:
    return JobShown(
        job=row.job_uuid.hex(),
        role="manager",
        peer=row.agent,
        state="orphan",
        ended=not row.due,
        request=row.request_uuid.hex(),
        info=row.info or f"its agent says: {row.status.name.lower()}",
        accepted_at=row.first_at,
        kill="" if row.due else "over",
    )


# --- an agent's ------------------------------------------------------------------------------------


async def _of_agent(store: Store, job: AgentJob, values: bool) -> JobShown:
    inputs: list[ShownValue] = []
    outputs: list[ShownValue] = []
    if values:
        of_job = f"manager = ? AND job_uuid = ? ORDER BY name LIMIT {MAX_VALUES}"
        key = (_escape(job.manager), job.job_uuid.hex())
        given = {row.name: row.value for row in await rows(store, AgentInput, of_job, *key)}
        inputs = [shown_value(name, given.get(name)) for name in job.parameters[:MAX_VALUES]]
        outputs = [shown_value(r.name, r.value) for r in await rows(store, AgentOutput, of_job, *key)]
    position = 0
    if job.state is AgentJobState.QUEUED:
        ((before,),) = await store.database.fetch(
            "SELECT COUNT(*) FROM agent_job WHERE state = 'queued'"
            " AND (queued_at < ? OR (queued_at = ? AND created_at < ?))",
            job.queued_at,
            job.queued_at,
            job.created_at,
        )
        position = int(before) + 1
    state = job.state
    killed = state is AgentJobState.KILLED
    return JobShown(
        job=job.job_uuid.hex(),
        role="agent",
        peer=job.manager,
        state=state.value,
        ended=is_terminal(state),
        attempt=job.attempt,
        position=position,
        missing=job.missing,
        released=job.released,
        created_at=job.created_at,
        queued_at=job.queued_at,
        job_type=job.job_type,
        version=job.job_type_version,
        definition_revision=job.definition_revision,
        request=job.request_uuid.hex(),
        offer=job.offer_uuid.hex(),
        exit_code=job.exit_code,
        failure=job.failure_class.name.lower() if job.failure_class else "",
        info=job.info,
        progress=job.progress,
        wall=job.wall,
        cpu=job.cpu,
        max_rss=job.max_rss,
        started_at=job.started_at,
        ended_at=job.ended_at,
        kill="confirmed" if killed else "asked" if state is AgentJobState.KILLING else "",
        kill_info=job.kill_info,
        pause="confirmed" if state is AgentJobState.PAUSED else "",
        inputs=inputs,
        outputs=outputs,
        stdout_tail=job.stdout_tail,
        stderr_tail=job.stderr_tail,
    )


def _escape(text: str) -> str:
    from caroni.model.mapping import escape

    return escape(text)
