"""Workflows: from a submit to completed, failed or cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from caroni.core.base_peers import is_base, typed_all
from caroni.core.commands import SubmitWorkflow
from caroni.core.draft import Origin
from caroni.core.inputs import InputError, bind_inputs
from caroni.core.manager.delivery import stop_job
from caroni.core.manager.fulfilment import withdraw
from caroni.core.manager.state import GIVEN_UP_JOB, LIVE_JOB, ManagerDraft
from caroni.core.messages import (
    Json,
    OnFailure,
    Reserve,
    WorkFlowCreate,
    WorkFlowCreated,
    WorkFlowRejected,
)
from caroni.core.rows import Flow, Job, Step, Workflow
from caroni.core.states import StepState, WorkflowState, advance, is_terminal
from caroni.errors import CommandRefused

_RESULT = {
    WorkflowState.RUNNING: WorkflowState.COMPLETED,
    WorkflowState.FAILING: WorkflowState.FAILED,
    WorkflowState.CANCELLING: WorkflowState.CANCELLED,
}


class SubmitRefused(CommandRefused):
    """A workflow is not begun; ``input_name`` is the input at fault, if it is one."""

    def __init__(self, reason: str, input_name: str = "") -> None:
        self.input_name = input_name
        super().__init__(reason)


def on_create(d: ManagerDraft, origin: Origin, m: WorkFlowCreate) -> None:
    """Accept or reject, always with an answer; the same submit twice is one workflow."""
    known = d.state.submits.get((origin.uri, m.submit_uuid)) if m.submit_uuid else None
    if known is not None and (workflow := d.workflow(known)) is not None:
        _confirm(d, workflow)
        return
    try:
        if not d.state.policy.may_submit(origin.uri, m.template_name):
            raise SubmitRefused(
                f"{origin.uri} may not start {m.template_name} here: an allow rule of the manager must say so"
            )
        workflow = begin(
            d,
            m.template_name,
            m.inputs,
            submitter=origin.uri,
            name=m.wf_name,
            submit_uuid=m.submit_uuid,
            watch=m.watch,
            kill_on_failure=m.on_failure is OnFailure.KILL,
            reserve_all=m.reserve is Reserve.ALL,
        )
    except SubmitRefused as refusal:
        reason = str(refusal)
        d.note("workflow_rejected", submitter=origin.uri, template=m.template_name, reason=reason)
        rejected = WorkFlowRejected(
            submit_uuid=m.submit_uuid, reason=reason[:1000], input_name=refusal.input_name
        )
        d.send(origin.uri, rejected, m.submit_uuid)
        return
    _confirm(d, workflow)
    finish_if_done(d, workflow)


def submit(d: ManagerDraft, command: SubmitWorkflow) -> dict[str, Any]:
    """Begin a workflow of this manager's own operator, who needs no allow rule; gives its id.

    Raises:
        SubmitRefused: there is no such template, or an input does not fit.
    """
    workflow = begin(
        d,
        command.template,
        command.inputs,
        revision=command.revision,
        submitter=d.state.uri,
        name=command.name[:256],
        kill_on_failure=command.kill_on_failure,
        reserve_all=command.reserve_all,
    )
    finish_if_done(d, workflow)
    return {
        "workflow": workflow.workflow_uuid.hex(),
        "name": workflow.name,
        "revision": workflow.revision,
    }


def begin(
    d: ManagerDraft,
    template: str,
    given: Mapping[str, Json],
    *,
    submitter: str,
    revision: int = 0,
    name: str = "",
    submit_uuid: bytes = b"",
    watch: bool = False,
    kill_on_failure: bool = False,
    reserve_all: bool = False,
) -> Workflow:
    """Write a new workflow with its values and steps; whoever asked for it may do so.

    ``finish_if_done`` is the caller's: one without steps ends at once.

    Raises:
        SubmitRefused: nothing new is taken now, there is no such template, or an input does not fit.
    """
    if d.state.short_of:
        raise SubmitRefused(f"this manager takes nothing new at the moment: {d.state.short_of}")
    newest = d.state.revisions.get(template)
    if newest is None:
        raise SubmitRefused(f"no template is named {template}: add it with `caroni template add`")
    revision = revision or newest
    plan = d.state.plans.get((template, revision))
    if plan is None:
        raise SubmitRefused(f"template {template} has no revision {revision}: its newest is {newest}")
    try:
        if is_base(submitter):
            given = typed_all(given, {wanted.name: wanted.type for wanted in plan.inputs})
        values = bind_inputs(plan, given)
    except InputError as error:
        raise SubmitRefused(str(error), error.input_name) from None
    workflow = d.put(
        Workflow(
            workflow_uuid=d.new_id(),
            state=WorkflowState.RUNNING,
            name=name or template,
            template=template,
            revision=revision,
            submitter=submitter,
            submit_uuid=submit_uuid,
            watch=watch,
            kill_on_failure=kill_on_failure,
            reserve_all=reserve_all,
            steps_total=len(plan.steps),
            steps_left=len(plan.steps),
            created_at=d.now,
        )
    )
    for flow, value in values.items():
        d.put(Flow(workflow_uuid=workflow.workflow_uuid, name=flow, value=value))
    for index, step in enumerate(plan.steps):
        missing = sum(source not in values for source in step.sources)
        d.put(
            Step(
                workflow_uuid=workflow.workflow_uuid,
                index=index,
                name=step.name,
                job_type=step.job_type,
                state=StepState.WAITING,
                missing=missing,
                cause="first attempt",
                ready_at=0 if missing else d.now,
            )
        )
    d.note(
        "workflow_accepted",
        workflow=workflow.workflow_uuid,
        name=workflow.name,
        template=workflow.template,
        steps=len(plan.steps),
        submitter=submitter,
    )
    return workflow


def _confirm(d: ManagerDraft, workflow: Workflow) -> None:
    d.send(
        workflow.submitter,
        WorkFlowCreated(
            submit_uuid=workflow.submit_uuid,
            workflow_uuid=workflow.workflow_uuid,
            template_revision=workflow.revision,
        ),
        workflow.submit_uuid,
    )
    if workflow.ended_at:
        d.changed(workflow)


def step_ended(d: ManagerDraft, step: Step) -> None:
    """A step has reached a terminal state (the row is written already): count it."""
    workflow = d.workflow(step.workflow_uuid)
    assert workflow is not None, "a step is loaded with its workflow"
    workflow = d.put(replace(workflow, steps_left=workflow.steps_left - 1))
    finish_if_done(d, workflow)
    d.changed(workflow)


def finish_if_done(d: ManagerDraft, workflow: Workflow) -> None:
    """End the workflow if its last step has ended."""
    if workflow.steps_left > 0 or is_terminal(workflow.state):
        return
    result = _RESULT[workflow.state]
    workflow = d.put(replace(workflow, state=advance("workflow", workflow.state, result), ended_at=d.now))
    d.note(f"workflow_{result}", workflow=workflow.workflow_uuid, name=workflow.name, reason=workflow.failure)
    d.changed(workflow)


def fail(d: ManagerDraft, workflow_uuid: bytes, reason: str) -> None:
    """A step has failed for good: start nothing new; siblings end by themselves or are killed."""
    workflow = d.workflow(workflow_uuid)
    assert workflow is not None, "a step is loaded with its workflow"
    if workflow.state not in (WorkflowState.RUNNING, WorkflowState.HELD):
        return
    workflow = d.put(
        replace(
            workflow,
            state=advance("workflow", workflow.state, WorkflowState.FAILING),
            failure=reason[:1000],
        )
    )
    end_steps(d, workflow, kill=workflow.kill_on_failure, why="another step of the workflow has failed")


def end_steps(d: ManagerDraft, workflow: Workflow, kill: bool, why: str) -> None:
    """Cancel what has not begun; jobs that run are killed, or left to end by themselves."""
    for index in range(workflow.steps_total):
        step = d.step((workflow.workflow_uuid, index))
        if step is None or is_terminal(step.state):
            continue
        if step.state is StepState.FULFILLING:
            withdraw(d, step.request_uuid, why)
        job = d.get(Job, step.current)
        if step.state in (StepState.WAITING, StepState.FULFILLING, StepState.HELD):
            if job is not None and job.state in LIVE_JOB | GIVEN_UP_JOB:
                stop_job(d, job, why)  # a held step's: nobody waits for its fate any more
            end_step(d, step, StepState.CANCELLED, why)
        elif job is not None and (kill or step.missing):
            # reserved before its inputs were known: it would wait for values that nobody makes any more
            stop_job(d, job, why)


def end_step(d: ManagerDraft, step: Step, state: StepState, why: str) -> Step:
    """Move a step to a terminal state and count it."""
    step = d.put(
        replace(
            step,
            state=advance("step", step.state, state),
            due=0,
            ended_at=d.now,
            failure=step.failure or why[:1000],
        )
    )
    step_ended(d, step)
    return step
