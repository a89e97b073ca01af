"""Workflows as a screen follows them: each look reads what has changed since the one before."""

# Names in statements are those of our own classes and tables; values are always parameters.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from caroni.core.messages import Json
from caroni.core.plan import Plan, PlanStep
from caroni.core.rows import NO_JOB, JobKey, Step, Workflow
from caroni.errors import UsageError
from caroni.services.jobdetail import ShownValue, shown_value
from caroni.services.jobs import rows
from caroni.services.workflows import StepOfWorkflow, WorkflowShown, shown_of, step_of

if TYPE_CHECKING:
    from caroni.model.store import Store

#: workflows on a page
PAGE = 200
#: steps that one look reads at most; a first look reads them all
CHANGES = 2000
#: characters of a reason that are read
_REASON = 500
#: names of values in one question
_NAMES = 1000

_STEP = (
    '"index", state, agent, winner_agent, attempt, started_at, ended_at, exit_code,'
    f" SUBSTR(CASE WHEN failure <> '' THEN failure ELSE cause END, 1, {_REASON}), rev"
)


class StepNow(msgspec.Struct, frozen=True, kw_only=True):
    """What changes of a step. Instants in wall microseconds, 0 = not yet."""

    index: int
    state: str
    agent: str
    attempt: int
    started_at: int
    ended_at: int
    exit_code: int | None
    info: str


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow, and those of its steps that have changed.

    ``rev`` is where the next look goes on; ``more`` says that it should not wait.
    """

    workflow: WorkflowShown
    steps: tuple[StepNow, ...]
    rev: int
    more: bool = False


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """Workflows, the last begun first, and whether there are more that fit."""

    workflows: tuple[WorkflowShown, ...]
    more: bool


async def steps_since(store: Store, workflow_uuid: bytes, rev: int = 0, limit: int = CHANGES) -> Look:
    """A workflow and the steps that have changed since ``rev``; all of them for 0.

    ``steps`` of the workflow (the counts by state) stays empty: who follows the steps can count them.

    Raises:
        UsageError: there is no such workflow.
        TransientError: the database is away.
    """
    # Before the rows: what changes while they are read is read again at the next look.
    ((last,),) = await store.database.fetch("SELECT COALESCE(MAX(rev), 0) FROM step")
    found = await rows(store, Workflow, "workflow_uuid = ?", workflow_uuid.hex())
    if not found:
        raise UsageError(f"there is no workflow {workflow_uuid.hex()}; see: caroni list")
    if not rev:
        query = f'SELECT {_STEP} FROM step WHERE workflow_uuid = ? ORDER BY "index"'
        records = await store.database.fetch(query, workflow_uuid.hex())
    else:
        # by change number: the index by workflow would bring all its steps to be sorted
        query = f"SELECT {_STEP} FROM step WHERE rev > ? AND workflow_uuid || '' = ? ORDER BY rev LIMIT ?"
        records = await store.database.fetch(query, rev, workflow_uuid.hex(), limit)
    more = bool(rev) and len(records) == limit
    return Look(
        workflow=shown_of(found[0], {}),
        steps=tuple(_now(record) for record in records),
        rev=int(records[-1][9]) if more else max(int(last), rev),
        more=more,
    )


def _now(record: Any) -> StepNow:
    from caroni.model.mapping import unescape

    index, state, agent, winner, attempt, started_at, ended_at, exit_code, info, _ = record
    return StepNow(
        index=int(index),
        state=state,
        agent=unescape(winner or agent),
        attempt=int(attempt),
        started_at=int(started_at),
        ended_at=int(ended_at),
        exit_code=exit_code,
        info=unescape(info),
    )


class Workflows:
    """A manager's workflows, looked at again and again: steps are counted anew where some have changed."""

    def __init__(self) -> None:
        self._rev = 0
        self._counts: dict[str, dict[str, int]] = {}

    async def look(self, store: Store, *, limit: int = PAGE, text: str = "", failed: bool = False) -> Listed:
        """The workflows that changed last, the last begun first.

        Args:
            store: always the same manager's.
            limit: at most so many.
            text: in their names or templates, or the beginning of their ids; whatever case.
            failed: only those that failed or are about to.

        Raises:
            TransientError: the database is away.
        """
        from caroni.model.mapping import escape

        conditions, parameters = ["1 = 1"], list[object]()
        if failed:
            conditions.append("state IN ('failed', 'failing')")
        if text:
            like = escape(text.lower()).replace("!", "!!").replace("%", "!%").replace("_", "!_")
            conditions.append(
                "(LOWER(name) LIKE ? ESCAPE '!' OR LOWER(template) LIKE ? ESCAPE '!'"
                " OR workflow_uuid LIKE ? ESCAPE '!')"
            )
            parameters += [f"%{like}%", f"%{like}%", f"{like.replace('-', '')}%"]
        condition = f"{' AND '.join(conditions)} ORDER BY rev DESC LIMIT ?"
        found = await rows(store, Workflow, condition, *parameters, limit + 1)
        more, found = len(found) > limit, found[:limit]
        await self._count(store, found)
        found.sort(key=lambda row: (-row.created_at, row.workflow_uuid))
        return Listed(
            workflows=tuple(shown_of(row, self._counts[row.workflow_uuid.hex()]) for row in found),
            more=more,
        )

    async def _count(self, store: Store, found: list[Workflow]) -> None:
        ((last,),) = await store.database.fetch("SELECT COALESCE(MAX(rev), 0) FROM step")
        changed: set[str] = set()
        if int(last) > self._rev and self._rev:
            query = "SELECT DISTINCT workflow_uuid FROM step WHERE rev > ?"
            changed = {str(row[0]) for row in await store.database.fetch(query, self._rev)}
        wanted = [row.workflow_uuid.hex() for row in found]
        stale = [uuid for uuid in wanted if uuid not in self._counts or uuid in changed]
        counted: dict[str, dict[str, int]] = {uuid: {} for uuid in stale}
        if stale:
            dialect = store.database.dialect
            groups = await store.database.fetch(
                "SELECT workflow_uuid, state, COUNT(*) FROM step"
                f" WHERE {dialect.any_of('workflow_uuid')} GROUP BY workflow_uuid, state",
                dialect.texts(stale),
            )
            for uuid, state, count in groups:
                counted[uuid][state] = int(count)
        self._counts = {uuid: counted[uuid] if uuid in counted else self._counts[uuid] for uuid in wanted}
        self._rev = int(last)


async def failed_steps(store: Store, workflow_uuid: bytes, limit: int = 20) -> list[StepOfWorkflow]:
    """The steps of a workflow that have failed, by their place in it."""
    found: Any = await store.steps(workflow_uuid, limit=limit, state="failed")
    return [step_of(step) for step in found]


async def step_names(store: Store, workflow_uuid: bytes) -> list[tuple[str, str]]:
    """Name and job type of a workflow's steps by index, also where its template is gone."""
    from caroni.model.mapping import unescape

    query = 'SELECT name, job_type FROM step WHERE workflow_uuid = ? ORDER BY "index"'
    records = await store.database.fetch(query, workflow_uuid.hex())
    return [(unescape(name), unescape(job_type)) for name, job_type in records]


async def template_plan(store: Store, template: str, revision: int) -> str | None:
    """The plan of a revision as JSON text (:func:`caroni.cwl.plan_from_json` reads it), if there is one."""
    row = await store.template(template, revision)
    return row.plan if row is not None else None


class StepHere(msgspec.Struct, frozen=True, kw_only=True):
    """One step with the values that it reads and gives, and its latest job (``peer`` and id, or empty)."""

    step: StepOfWorkflow
    index: int
    peer: str
    job: bytes
    inputs: tuple[ShownValue, ...]
    outputs: tuple[ShownValue, ...]


async def step_here(store: Store, workflow_uuid: bytes, index: int, plan: PlanStep) -> StepHere:
    """One step as its row and its workflow's values tell.

    Raises:
        UsageError: there is no such step.
        TransientError: the database is away.
    """
    found = await rows(store, Step, 'workflow_uuid = ? AND "index" = ?', workflow_uuid.hex(), index)
    if not found:
        raise UsageError(f"workflow {workflow_uuid.hex()[:12]} has no step {index}")
    row = found[0]
    latest = _latest(row)
    wanted = {given.source for given in plan.inputs if given.source}
    names = {f"{row.name}/{output}": output for output in plan.outputs}
    values = await _flows(store, workflow_uuid, [*wanted, *names])
    return StepHere(
        step=step_of(row),
        index=index,
        peer=latest[0],
        job=latest[1],
        inputs=tuple(
            shown_value(given.name, values.get(given.source or "", given.default), given.source or "")
            for given in plan.inputs
        ),
        outputs=tuple(shown_value(output, values.get(flow)) for flow, output in names.items()),
    )


def _latest(row: Step) -> JobKey:
    if row.winner_job_uuid:
        return row.winner
    if row.job_uuid:
        return row.current
    return row.jobs[-1] if row.jobs else NO_JOB


async def latest_job(store: Store, workflow_uuid: bytes, index: int) -> JobKey:
    """The job whose outputs are a step's, else the one that fulfils it, else its last; ``NO_JOB``: none yet.

    Raises:
        UsageError: there is no such step.
        TransientError: the database is away.
    """
    found = await rows(store, Step, 'workflow_uuid = ? AND "index" = ?', workflow_uuid.hex(), index)
    if not found:
        raise UsageError(f"workflow {workflow_uuid.hex()[:12]} has no step {index}")
    return _latest(found[0])


async def values_of(
    store: Store, workflow_uuid: bytes, plan: Plan
) -> tuple[tuple[ShownValue, ...], tuple[ShownValue, ...]]:
    """The inputs and the outputs of a workflow; outputs without a value are not there yet.

    Raises:
        TransientError: the database is away.
    """
    wanted = [given.name for given in plan.inputs] + [output.source for output in plan.outputs]
    values = await _flows(store, workflow_uuid, wanted)
    return (
        tuple(shown_value(given.name, values.get(given.name)) for given in plan.inputs),
        tuple(shown_value(o.name, values.get(o.source), o.source) for o in plan.outputs),
    )


async def inputs_of(store: Store, workflow_uuid: bytes) -> dict[str, Json]:
    """The values that a workflow was begun with, whole, defaults included.

    Raises:
        TransientError: the database is away.
    """
    from caroni.model.mapping import unescape

    query = "SELECT name, value FROM flow WHERE workflow_uuid = ? AND job_uuid = ''"
    records = await store.database.fetch(query, workflow_uuid.hex())
    return {unescape(name): unescape(value) for name, value in records}


async def _flows(store: Store, workflow_uuid: bytes, names: Sequence[str]) -> dict[str, Json]:
    from caroni.model.mapping import escape, unescape

    dialect, found = store.database.dialect, dict[str, Json]()
    for start in range(0, len(names), _NAMES):
        records = await store.database.fetch(
            f"SELECT name, value FROM flow WHERE workflow_uuid = ? AND {dialect.any_of('name')}",
            workflow_uuid.hex(),
            dialect.texts(escape(name) for name in names[start : start + _NAMES]),
        )
        found.update((unescape(name), unescape(value)) for name, value in records)
    return found
