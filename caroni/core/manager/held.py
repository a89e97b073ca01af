"""Steps that wait for an operator or for word of their only job, and workflows that show it."""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core.manager.state import ManagerDraft
from caroni.core.rows import Job, Step
from caroni.core.states import StepState, WorkflowState, advance


def holds(step: Step | None, job: Job) -> bool:
    """Whether an at-most-once step is held for the fate of this job."""
    return step is not None and step.state is StepState.HELD and step.current == job.key


def hold_step(d: ManagerDraft, step: Step, reason: str) -> None:
    """Let the step wait, and the workflow show it."""
    d.put(replace(step, state=advance("step", step.state, StepState.HELD), due=0, failure=reason))
    d.note("step_held", workflow=step.workflow_uuid, step=step.name, reason=reason)
    held_changed(d, step.workflow_uuid)


def held_changed(d: ManagerDraft, workflow_uuid: bytes) -> None:
    """A step became held or was released: the workflow shows it."""
    workflow = d.workflow(workflow_uuid)
    if workflow is None or workflow.state not in (WorkflowState.RUNNING, WorkflowState.HELD):
        return
    steps = (d.step((workflow_uuid, index)) for index in range(workflow.steps_total))
    held = any(step is not None and step.state is StepState.HELD for step in steps)
    state = WorkflowState.HELD if held else WorkflowState.RUNNING
    if state is not workflow.state:
        workflow = d.put(replace(workflow, state=advance("workflow", workflow.state, state)))
        d.changed(workflow)
