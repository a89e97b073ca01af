"""A manager's workflows as people ask for them: read from its database, which is opened read-only."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec

from caroni.config import Loaded
from caroni.core.messages import Json
from caroni.core.rows import Flow, Step, Workflow
from caroni.core.states import WorkflowState
from caroni.errors import CaroniError, UsageError
from caroni.services.stores import opened
from caroni.text import safe_line

if TYPE_CHECKING:
    from caroni.model.store import Store

_WHAT = "workflows"
_PAGE = 1000
_ENDED = (WorkflowState.COMPLETED, WorkflowState.FAILED, WorkflowState.CANCELLED)


class WorkflowShown(msgspec.Struct, frozen=True, kw_only=True):
    """One workflow. Instants are wall microseconds, 0 = not yet; ``steps`` counts steps by state."""

    workflow: str
    name: str
    template: str
    revision: int
    state: str
    paused: bool
    submitter: str
    steps_total: int
    steps_left: int
    steps: dict[str, int]
    created_at: int
    ended_at: int
    failure: str


class StepOfWorkflow(msgspec.Struct, frozen=True, kw_only=True):
    """One step. ``info`` says why it failed or is tried again, in one line."""

    name: str
    state: str
    job_type: str
    agent: str
    attempt: int
    started_at: int
    ended_at: int
    exit_code: int | None
    info: str
    stderr_tail: str


class NotCompleted(CaroniError):
    """The workflow has no outputs (yet): it runs, failed or was cancelled."""


async def workflows(loaded: Loaded, *, limit: int = 50, state: str | None = None) -> list[WorkflowShown]:
    """The last changed workflows, newest change first.

    Raises:
        UsageError: an unknown state, or another role's configuration.
    """
    if state is not None and state not in [s.value for s in WorkflowState]:
        raise UsageError(
            f"--state {safe_line(state, 40)!r} is none of: {', '.join(s.value for s in WorkflowState)}"
        )
    found: list[WorkflowShown] = []
    before: int | None = None
    async with opened(loaded, "manager", _WHAT, read_only=True) as store:
        while len(found) < limit:
            page = await store.workflows(limit=min(limit, 200) if state is None else 200, before=before)
            for summary in page:
                if state is None or summary.workflow.state == state:
                    found.append(shown_of(summary.workflow, summary.steps))
            if not page or (state is None and len(page) < min(limit, 200)):
                break
            before = page[-1].rev
    return found[:limit]


async def workflow(loaded: Loaded, which: str) -> tuple[WorkflowShown, list[StepOfWorkflow]]:
    """A workflow and its steps, in the order of the template.

    Args:
        loaded: a manager's configuration.
        which: its id, the first characters of it (4 or more), or its name if only one has it.

    Raises:
        UsageError: there is none, or more than one.
    """
    async with opened(loaded, "manager", _WHAT, read_only=True) as store:
        uuid = await find_workflow(store, which)
        summary = await store.workflow(uuid)
        if summary is None:
            raise _unknown(which)
        steps: list[StepOfWorkflow] = []
        after = -1
        while page := cast("list[Step]", await store.steps(uuid, limit=_PAGE, after=after)):
            steps += [step_of(step) for step in page]
            after = page[-1].index
    return shown_of(summary.workflow, summary.steps), steps


async def outputs(loaded: Loaded, which: str, *, partial: bool = False) -> dict[str, Any]:
    """The decoded outputs of a workflow.

    Args:
        loaded: a manager's configuration.
        which: as for :func:`workflow`.
        partial: also of a workflow that has not completed: those that are there.

    Raises:
        NotCompleted: it has not completed; says its state.
        UsageError: there is none, or more than one.
    """
    async with opened(loaded, "manager", _WHAT, read_only=True) as store:
        uuid = await find_workflow(store, which)
        summary = await store.workflow(uuid)
        if summary is None:
            raise _unknown(which)
        row = summary.workflow
        if row.state is not WorkflowState.COMPLETED and not partial:
            raise _not_completed(row)
        values = await workflow_outputs(store, row)
    return {name: json.loads(value) for name, value in values.items()}


async def workflow_outputs(store: Store, workflow: Workflow) -> dict[str, Json]:
    """The values of a workflow's outputs by name, those that are there."""
    from caroni.cwl import plan_from_json

    template = await store.template(workflow.template, workflow.revision)
    if template is None:
        return {}
    plan = await asyncio.to_thread(plan_from_json, template.plan)
    wanted = {output.source for output in plan.outputs}
    values: dict[str, Json] = {}
    after = ""
    while page := cast("list[Flow]", await store.flows(workflow.workflow_uuid, limit=_PAGE, after=after)):
        values.update((flow.name, flow.value) for flow in page if flow.name in wanted)
        after = page[-1].name
    return {output.name: values[output.source] for output in plan.outputs if output.source in values}


def _not_completed(row: Workflow) -> NotCompleted:
    name = safe_line(row.name or row.workflow_uuid.hex(), 80)
    if row.state not in _ENDED:
        done = row.steps_total - row.steps_left
        return NotCompleted(
            f"workflow {name} is {row.state}: {done} of {row.steps_total} steps are done"
            " (--partial prints what there is)"
        )
    why = f": {safe_line(row.failure, 500)}" if row.failure else ""
    return NotCompleted(f"workflow {name} is {row.state}{why}")


async def shown(store: Store, workflow_uuid: bytes) -> WorkflowShown:
    """One workflow of an open store.

    Raises:
        UsageError: there is none.
    """
    summary = await store.workflow(workflow_uuid)
    if summary is None:
        raise _unknown(workflow_uuid.hex())
    return shown_of(summary.workflow, summary.steps)


async def find_workflow(store: Store, which: str) -> bytes:
    """The id of the workflow that is meant by its id, the first characters of it, or its name.

    Raises:
        UsageError: there is none, or more than one. (A whole id is taken as it is.)
    """
    digits = which.replace("-", "").lower()
    if re.fullmatch(r"[0-9a-f]{32}", digits):
        return bytes.fromhex(digits)
    found = await workflows_like(store, which)
    if not found:
        raise _unknown(which)
    if len(found) > 1:
        some = ", ".join(uuid.hex()[:12] for uuid in found[:5]) + (", ..." if len(found) > 5 else "")
        raise UsageError(f"{safe_line(which, 60)!r} could be any of {some}: give more of the id")
    return found[0]


async def workflows_like(store: Store, which: str) -> list[bytes]:
    """Workflows, six at most and the newest first, whose id begins so (4 characters or more) or named so."""
    from caroni.model.mapping import escape

    digits = which.replace("-", "").lower()
    prefix = f"{digits}%" if re.fullmatch(r"[0-9a-f]{4,32}", digits) else ""
    rows = await store.database.fetch(
        "SELECT workflow_uuid FROM workflow WHERE workflow_uuid LIKE ? OR name = ?"
        " ORDER BY created_at DESC LIMIT 6",
        prefix,
        escape(which),
    )
    return [bytes.fromhex(row[0]) for row in rows]


def _unknown(which: str) -> UsageError:
    return UsageError(f"there is no workflow {safe_line(which, 60)!r}; see: caroni list")


def shown_of(row: Workflow, steps: Mapping[Any, int]) -> WorkflowShown:
    """A workflow's row as people see it, with its steps counted by state."""
    return WorkflowShown(
        workflow=row.workflow_uuid.hex(),
        name=row.name,
        template=row.template,
        revision=row.revision,
        state=row.state.value,
        paused=row.paused,
        submitter=row.submitter,
        steps_total=row.steps_total,
        steps_left=row.steps_left,
        steps={str(state): count for state, count in steps.items()},
        created_at=row.created_at,
        ended_at=row.ended_at,
        failure=row.failure,
    )


def step_of(row: Step) -> StepOfWorkflow:
    """A step's row as people see it."""
    return StepOfWorkflow(
        name=row.name,
        state=row.state.value,
        job_type=row.job_type,
        agent=row.winner_agent or row.agent,
        attempt=row.attempt,
        started_at=row.started_at,
        ended_at=row.ended_at,
        exit_code=row.exit_code,
        info=row.failure or row.cause,
        stderr_tail=row.stderr_tail,
    )
