"""What a manager says of its workflows to a submitter, read from the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from caroni.core.manager.state import AnswerStatus, ManagerSettings
from caroni.core.messages import Json, StepSummary, WorkFlowStatusUpdate, WorkFlowSummary
from caroni.core.plan import Plan
from caroni.core.rows import Step
from caroni.core.states import WorkflowState
from caroni.errors import UsageError
from caroni.model.queries import WorkflowSummary
from caroni.model.store import Store
from caroni.services.explain import explain
from caroni.services.explaintext import text
from caroni.services.workflows import workflow_outputs

#: steps in one answer, and workflows in one page
MAX_STEPS = 500
PAGE_SIZE = 50
MAX_PAGE_SIZE = 200
#: outputs in one answer, characters of JSON; larger ones are read at the manager
MAX_OUTPUTS = 2 * 1024 * 1024


async def status_update(
    store: Store,
    asked: AnswerStatus,
    *,
    steps: bool,
    settings: ManagerSettings,
    now: int,
    short_of: str = "",
    plans: Mapping[tuple[str, int], Plan] = {},
) -> WorkFlowStatusUpdate:
    """One workflow with its outputs (and, if wanted, its steps), or a page of the asker's own workflows.

    ``settings``, ``now``, ``short_of`` (why nothing new is begun) and ``plans`` (those in memory) are for an
    explanation.
    """
    if asked.error:
        return WorkFlowStatusUpdate(request_uuid=asked.request_uuid, error=asked.error)
    if not asked.workflow_uuid:
        return await _page(store, asked)
    found = await store.workflow(asked.workflow_uuid)
    if found is None:
        return WorkFlowStatusUpdate(request_uuid=asked.request_uuid, error="no such workflow of yours")
    rows: list[Step] = []
    if steps:
        rows = cast("list[Step]", await store.steps(asked.workflow_uuid, limit=MAX_STEPS))
    elif found.workflow.state is WorkflowState.FAILED:
        rows = cast("list[Step]", await store.steps(asked.workflow_uuid, limit=20, state="failed"))
    outputs: dict[str, Json] = {}
    error = ""
    if found.workflow.state is WorkflowState.COMPLETED:
        outputs = await workflow_outputs(store, found.workflow)
        if sum(len(value) for value in outputs.values()) > MAX_OUTPUTS:
            outputs, error = {}, "the outputs are too large for a message: read them at the manager"
    return WorkFlowStatusUpdate(
        request_uuid=asked.request_uuid,
        workflows=(_summary(found),),
        steps=tuple(_step(step) for step in rows),
        outputs=outputs,
        explanation=await _explanation(store, asked, settings, now, short_of, plans) if asked.explain else "",
        error=error,
    )


async def _explanation(
    store: Store,
    asked: AnswerStatus,
    settings: ManagerSettings,
    now: int,
    short_of: str,
    plans: Mapping[tuple[str, int], Plan],
) -> str:
    notes = (short_of,) if short_of else ()
    try:
        return text(await explain(store, asked.workflow_uuid, settings, now, notes=notes, plans=plans))
    except UsageError as error:  # it went a moment ago
        return str(error)


async def _page(store: Store, asked: AnswerStatus) -> WorkFlowStatusUpdate:
    size = min(asked.page_size or PAGE_SIZE, MAX_PAGE_SIZE)
    before: int | None = None
    summaries: list[WorkflowSummary] = []
    for _ in range(asked.page + 1):
        summaries = await store.workflows(limit=size, before=before, submitter=asked.to)
        if not summaries:
            break
        before = summaries[-1].rev
    return WorkFlowStatusUpdate(
        request_uuid=asked.request_uuid,
        workflows=tuple(_summary(found) for found in summaries),
        pages=asked.page + 1 + (len(summaries) == size),
    )


def _summary(found: WorkflowSummary) -> WorkFlowSummary:
    row = found.workflow
    return WorkFlowSummary(
        workflow_uuid=row.workflow_uuid,
        wf_name=row.name,
        template_name=row.template,
        template_revision=row.revision,
        state=row.state.value,
        paused=row.paused,
        step_counts={state.value: count for state, count in found.steps.items()},
        created_at=row.created_at,
        ended_at=row.ended_at,
        failure=row.failure,
    )


def _step(row: Step) -> StepSummary:
    info = row.failure
    if row.state in ("failed", "cancelled") and row.stderr_tail:
        info = f"{info}\n{row.stderr_tail[-2000:]}"
    return StepSummary(
        name=row.name,
        state=row.state.value,
        job_type=row.job_type,
        agent=row.winner_agent or row.agent,
        attempt=row.attempt,
        started_at=row.started_at,
        ended_at=row.ended_at,
        info=info,
    )
