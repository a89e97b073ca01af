"""Workflows: from a submit to completed, failed or cancelled."""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core.draft import Origin
from caroni.core.inputs import InputError, bind_inputs
from caroni.core.manager.delivery import stop_job
from caroni.core.manager.fulfilment import withdraw
from caroni.core.manager.state import GIVEN_UP_JOB, LIVE_JOB, AnswerStatus, ManagerDraft
from caroni.core.messages import (
    OnFailure,
    Reserve,
    WorkFlowCancel,
    WorkFlowCreate,
    WorkFlowCreated,
    WorkFlowPause,
    WorkFlowRejected,
    WorkFlowResume,
    WorkFlowRetry,
    WorkFlowStatusRequest,
)
from caroni.core.rows import Flow, Job, Step, Workflow
from caroni.core.states import StepState, WorkflowState, advance, is_terminal

_RESULT = {
    WorkflowState.RUNNING: WorkflowState.COMPLETED,
    WorkflowState.FAILING: WorkflowState.FAILED,
    WorkflowState.CANCELLING: WorkflowState.CANCELLED,
}


def on_create(d: ManagerDraft, origin: Origin, m: WorkFlowCreate) -> None:
    """Accept or reject, always with an answer; the same submit twice is one workflow."""

    def refuse(reason: str, input_name: str = "") -> None:
        d.note("workflow_rejected", submitter=origin.uri, template=m.template_name, reason=reason)
        d.send(
            origin.uri,
            WorkFlowRejected(submit_uuid=m.submit_uuid, reason=reason[:1000], input_name=input_name),
            m.submit_uuid,
        )

    known = d.state.submits.get((origin.uri, m.submit_uuid)) if m.submit_uuid else None
    if known is not None and (workflow := d.workflow(known)) is not None:
        _confirm(d, workflow)
        return
    if d.state.short_of:
        refuse(f"this manager takes nothing new at the moment: {d.state.short_of}")
        return
    if not d.state.policy.may_submit(origin.uri, m.template_name):
        refuse(f"{origin.uri} may not start {m.template_name} here: an allow rule of the manager must say so")
        return
    revision = d.state.revisions.get(m.template_name)
    if revision is None:
        refuse(f"no template is named {m.template_name}: add it with `caroni template add`")
        return
    plan = d.state.plans[m.template_name, revision]
    try:
        values = bind_inputs(plan, m.inputs)
    except InputError as error:
        refuse(str(error), error.input_name)
        return
    workflow = d.put(
        Workflow(
            workflow_uuid=d.new_id(),
            state=WorkflowState.RUNNING,
            name=m.wf_name or m.template_name,
            template=m.template_name,
            revision=revision,
            submitter=origin.uri,
            submit_uuid=m.submit_uuid,
            watch=m.watch,
            kill_on_failure=m.on_failure is OnFailure.KILL,
            reserve_all=m.reserve is Reserve.ALL,
            steps_total=len(plan.steps),
            steps_left=len(plan.steps),
            created_at=d.now,
        )
    )
    for name, value in values.items():
        d.put(Flow(workflow_uuid=workflow.workflow_uuid, name=name, value=value))
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
        submitter=origin.uri,
    )
    _confirm(d, workflow)
    _finish_if_done(d, workflow)


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
    _finish_if_done(d, workflow)
    d.changed(workflow)


def _finish_if_done(d: ManagerDraft, workflow: Workflow) -> None:
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
    _end_steps(d, workflow, kill=workflow.kill_on_failure, why="another step of the workflow has failed")


def _end_steps(d: ManagerDraft, workflow: Workflow, kill: bool, why: str) -> None:
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
        elif kill and job is not None:
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


def _controlled(
    d: ManagerDraft, origin: Origin, workflow_uuid: bytes, request_uuid: bytes = b""
) -> Workflow | None:
    """The workflow if this sender may steer it; otherwise he hears the same as for an unknown one."""
    workflow = d.workflow(workflow_uuid)
    if workflow is None or not d.state.policy.may_control(origin.uri, workflow):
        d.act(
            AnswerStatus(
                to=origin.uri,
                request_uuid=request_uuid,
                workflow_uuid=workflow_uuid,
                error="no such workflow of yours",
            )
        )
        return None
    return workflow


def _answer(d: ManagerDraft, origin: Origin, workflow: Workflow, error: str = "") -> None:
    d.act(AnswerStatus(to=origin.uri, request_uuid=b"", workflow_uuid=workflow.workflow_uuid, error=error))


def on_cancel(d: ManagerDraft, origin: Origin, m: WorkFlowCancel) -> None:
    """Withdraw what is asked for, kill what runs; a repeat changes nothing."""
    workflow = _controlled(d, origin, m.workflow_uuid)
    if workflow is None:
        return
    if workflow.state in (WorkflowState.RUNNING, WorkflowState.HELD, WorkflowState.FAILING):
        why = m.reason[:500] or "the workflow was cancelled"
        workflow = d.put(
            replace(
                workflow,
                state=advance("workflow", workflow.state, WorkflowState.CANCELLING),
                paused=False,
                failure=workflow.failure or why,
            )
        )
        _end_steps(d, workflow, kill=True, why=why)
        workflow = d.workflow(m.workflow_uuid) or workflow
        _finish_if_done(d, workflow)
    _answer(d, origin, workflow)


def on_pause(d: ManagerDraft, origin: Origin, m: WorkFlowPause) -> None:
    """No new requests; jobs that run go on and their results are recorded."""
    workflow = _controlled(d, origin, m.workflow_uuid)
    if workflow is None:
        return
    if not is_terminal(workflow.state) and not workflow.paused:
        workflow = d.put(replace(workflow, paused=True))
    _answer(d, origin, workflow)


def on_resume(d: ManagerDraft, origin: Origin, m: WorkFlowResume) -> None:
    """Ask for ready steps again."""
    workflow = _controlled(d, origin, m.workflow_uuid)
    if workflow is None:
        return
    if workflow.paused:
        workflow = d.put(replace(workflow, paused=False))
    _answer(d, origin, workflow)


def on_retry(d: ManagerDraft, origin: Origin, m: WorkFlowRetry) -> None:
    """Let held steps be tried again: the operator takes the risk that the old job still runs."""
    workflow = _controlled(d, origin, m.workflow_uuid)
    if workflow is None:
        return
    if is_terminal(workflow.state):
        _answer(d, origin, workflow, error=f"the workflow is {workflow.state}: submit it again")
        return
    for index in range(workflow.steps_total):
        step = d.step((workflow.workflow_uuid, index))
        if step is None or (m.steps and step.name not in m.steps):
            continue
        if step.state is StepState.HELD:
            job = d.get(Job, step.current)
            if job is not None and job.state in LIVE_JOB | GIVEN_UP_JOB:
                stop_job(d, job, "the operator has the step tried again")
            d.put(
                replace(
                    step,
                    state=advance("step", step.state, StepState.WAITING),
                    due=0,
                    agent="",
                    job_uuid=b"",
                    cause="retried by the operator",
                )
            )
        elif step.state is StepState.WAITING and step.due:
            d.put(replace(step, due=0))
    held_changed(d, workflow.workflow_uuid)
    _answer(d, origin, workflow)


def on_status_request(d: ManagerDraft, origin: Origin, m: WorkFlowStatusRequest) -> None:
    """Answered from the store after the commit; ``watch`` also asks for a push at every change."""
    if m.workflow_uuid:
        workflow = _controlled(d, origin, m.workflow_uuid, m.request_uuid)
        if workflow is None:
            return
        if m.watch and not workflow.watch and workflow.submitter == origin.uri:
            d.put(replace(workflow, watch=True))
    d.act(
        AnswerStatus(
            to=origin.uri,
            request_uuid=m.request_uuid,
            workflow_uuid=m.workflow_uuid,
            explain=m.explain,
            page=m.page,
            page_size=m.page_size,
        )
    )
