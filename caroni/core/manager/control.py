"""What a submitter or an operator may do to workflows and jobs: cancel, pause, resume, retry, kill.

A wish is recorded first and then said; a repeat changes nothing. A submitter's message is answered with
the workflow's state; an operator's command (``operate``) gives what it affected, or is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from caroni.core.commands import (
    CancelWorkflow,
    KillJob,
    ManagerCommand,
    PauseJob,
    PauseWorkflow,
    RequestLog,
    ResumeJob,
    ResumeWorkflow,
    RetrySteps,
    SubmitWorkflow,
)
from caroni.core.draft import Origin
from caroni.core.manager.attempts import step_failed
from caroni.core.manager.delivery import stop_job
from caroni.core.manager.fulfilment import withdraw
from caroni.core.manager.held import held_changed
from caroni.core.manager.joblogs import ask_for_log
from caroni.core.manager.restore import stop_orphan
from caroni.core.manager.state import GIVEN_UP_JOB, LIVE_JOB, AnswerStatus, ManagerDraft
from caroni.core.manager.workflows import end_steps, finish_if_done, submit
from caroni.core.messages import (
    JobPause,
    JobResume,
    WorkFlowCancel,
    WorkFlowPause,
    WorkFlowResume,
    WorkFlowRetry,
    WorkFlowStatusRequest,
)
from caroni.core.rows import Job, JobKey, Orphan, Step, Workflow
from caroni.core.states import StepState, WorkflowState, advance, is_terminal
from caroni.errors import CommandRefused

_CANCELLABLE = frozenset({WorkflowState.RUNNING, WorkflowState.HELD, WorkflowState.FAILING})


# --- what is done --------------------------------------------------------------------------------


def cancel(d: ManagerDraft, workflow: Workflow, why: str) -> int:
    """Withdraw what is asked for, kill what runs. Gives how many steps that ends."""
    if workflow.state not in _CANCELLABLE:
        return 0
    affected = workflow.steps_left
    workflow = d.put(
        replace(
            workflow,
            state=advance("workflow", workflow.state, WorkflowState.CANCELLING),
            paused=False,
            failure=workflow.failure or why,
        )
    )
    end_steps(d, workflow, kill=True, why=why)
    finish_if_done(d, d.workflow(workflow.workflow_uuid) or workflow)
    return affected


def cancel_steps(d: ManagerDraft, steps: Iterable[Step], why: str) -> int:
    """Let these steps fail for good; what depends on them cannot run, so the workflow fails."""
    count = 0
    for named in steps:
        # the failure of the one before may have ended this one
        step = d.step(named.key)
        if step is None or is_terminal(step.state):
            continue
        if step.state is StepState.FULFILLING:
            withdraw(d, step.request_uuid, why)
        job = d.get(Job, step.current)
        if job is not None and job.state in LIVE_JOB | GIVEN_UP_JOB:
            stop_job(d, job, why)
        step_failed(d, step, why)
        count += 1
    return count


def set_paused(d: ManagerDraft, workflow: Workflow, paused: bool) -> int:
    """No new requests (or again); jobs that run go on and their results are recorded."""
    if is_terminal(workflow.state) or workflow.paused is paused:
        return 0
    d.changed(d.put(replace(workflow, paused=paused)))
    return workflow.steps_left


def pause_job(d: ManagerDraft, job: Job, paused: bool) -> int:
    """Have a job suspended, or let it go on; its agent confirms by its status."""
    if job.state not in LIVE_JOB or job.pause_wanted is paused:
        return 0
    d.put(replace(job, pause_wanted=paused))
    message = JobPause(job_uuid=job.job_uuid) if paused else JobResume(job_uuid=job.job_uuid)
    d.send(job.agent, message, job.request_uuid)
    return 1


def pause_steps(d: ManagerDraft, steps: Iterable[Step], paused: bool) -> int:
    """The same for the current jobs of these steps."""
    jobs = (d.get(Job, step.current) for step in steps)
    return sum(pause_job(d, job, paused) for job in jobs if job is not None)


def retry(d: ManagerDraft, workflow: Workflow, names: Iterable[str] = ()) -> int:
    """Let held steps be tried again: the operator takes the risk that the old job still runs."""
    wanted = frozenset(names)
    count = 0
    for step in _steps(d, workflow):
        if wanted and step.name not in wanted:
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
                    doubtful=False,
                    cause="retried by the operator",
                )
            )
            count += 1
        elif step.state is StepState.WAITING and (step.due or step.doubtful):
            d.put(replace(step, due=0, doubtful=False))
            count += 1
    held_changed(d, workflow.workflow_uuid)
    return count


def _steps(d: ManagerDraft, workflow: Workflow) -> Iterable[Step]:
    for index in range(workflow.steps_total):
        step = d.step((workflow.workflow_uuid, index))
        if step is not None:
            yield step


def _named(d: ManagerDraft, workflow: Workflow, names: tuple[str, ...]) -> list[Step]:
    """The steps of these names; unknown names are refused together."""
    found = {step.name: step for step in _steps(d, workflow)}
    unknown = [name[:100] for name in names if name not in found]
    if unknown:
        raise CommandRefused(f"the workflow has no step {', '.join(unknown[:5])}")
    return [found[name] for name in dict.fromkeys(names)]


# --- by message ----------------------------------------------------------------------------------


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


def _steer(
    d: ManagerDraft,
    origin: Origin,
    m: WorkFlowCancel | WorkFlowPause | WorkFlowResume | WorkFlowRetry,
    command: ManagerCommand,
) -> None:
    if _controlled(d, origin, m.workflow_uuid) is None:
        return
    error = ""
    mark = d.mark()
    try:
        operate(d, command)
    except CommandRefused as refusal:
        d.rollback(mark)
        error = str(refusal)
    d.act(AnswerStatus(to=origin.uri, request_uuid=b"", workflow_uuid=m.workflow_uuid, error=error))


def on_cancel(d: ManagerDraft, origin: Origin, m: WorkFlowCancel) -> None:
    """Stop the workflow, or fail the named steps; a repeat changes nothing."""
    _steer(d, origin, m, CancelWorkflow(workflow_uuid=m.workflow_uuid, steps=m.steps, reason=m.reason[:500]))


def on_pause(d: ManagerDraft, origin: Origin, m: WorkFlowPause) -> None:
    """No new requests, or the jobs of the named steps suspended."""
    _steer(d, origin, m, PauseWorkflow(workflow_uuid=m.workflow_uuid, steps=m.steps))


def on_resume(d: ManagerDraft, origin: Origin, m: WorkFlowResume) -> None:
    """Ask for ready steps again, or let the jobs of the named steps go on."""
    _steer(d, origin, m, ResumeWorkflow(workflow_uuid=m.workflow_uuid, steps=m.steps))


def on_retry(d: ManagerDraft, origin: Origin, m: WorkFlowRetry) -> None:
    """Try held and waiting steps again."""
    _steer(d, origin, m, RetrySteps(workflow_uuid=m.workflow_uuid, steps=m.steps))


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


# --- by command ----------------------------------------------------------------------------------


def operate(d: ManagerDraft, command: ManagerCommand) -> dict[str, Any]:
    """Carry out an operator's command; gives what it affected, for people and scripts.

    Raises:
        CommandRefused: there is nothing it could apply to.
    """
    match command:
        case CancelWorkflow() | PauseWorkflow() | ResumeWorkflow() | RetrySteps():
            return _steer_workflow(d, command)
        case KillJob() | PauseJob() | ResumeJob():
            return _steer_job(d, command)
        case SubmitWorkflow():
            return submit(d, command)
        case RequestLog():
            return ask_for_log(d, command)


def _steer_workflow(
    d: ManagerDraft, command: CancelWorkflow | PauseWorkflow | ResumeWorkflow | RetrySteps
) -> dict[str, Any]:
    workflow = d.workflow(command.workflow_uuid)
    if workflow is None or is_terminal(workflow.state):
        state = "has ended" if workflow is None else f"is {workflow.state}"
        if isinstance(command, CancelWorkflow) and workflow is not None:
            return {"state": str(workflow.state), "affected": 0}  # a repeated cancel is no mistake
        raise CommandRefused(f"the workflow {state}: submit it again")
    steps = _named(d, workflow, command.steps)
    match command:
        case CancelWorkflow(steps=()):
            count = cancel(d, workflow, command.reason or "the workflow was cancelled")
        case CancelWorkflow():
            count = cancel_steps(d, steps, command.reason or "cancelled by the operator")
        case PauseWorkflow(steps=()) | ResumeWorkflow(steps=()):
            count = set_paused(d, workflow, isinstance(command, PauseWorkflow))
        case PauseWorkflow() | ResumeWorkflow():
            count = pause_steps(d, steps, isinstance(command, PauseWorkflow))
        case RetrySteps():
            count = retry(d, workflow, command.steps)
    after = d.workflow(command.workflow_uuid) or workflow
    d.note(
        f"operator_{command.__struct_config__.tag}",
        workflow=workflow.workflow_uuid,
        steps=list(command.steps),
        affected=count,
    )
    return {"state": str(after.state), "paused": after.paused, "affected": count}


def _steer_job(d: ManagerDraft, command: KillJob | PauseJob | ResumeJob) -> dict[str, Any]:
    key: JobKey = (command.peer, command.job_uuid)
    job = d.get(Job, key)
    orphan = d.get(Orphan, key)
    if isinstance(command, KillJob) and job is None and orphan is not None and orphan.due:
        stop_orphan(d, orphan, command.reason or "killed by the operator")
        return {"state": "orphan", "affected": 1}
    if job is None or job.state not in LIVE_JOB | GIVEN_UP_JOB:
        raise CommandRefused("the job has ended" if job is None else f"the job is {job.state}")
    match command:
        case KillJob():
            stop_job(d, job, (command.reason or "killed by the operator")[:300])
            count = 1
        case PauseJob() | ResumeJob():
            count = pause_job(d, job, isinstance(command, PauseJob))
    d.note(f"operator_{command.__struct_config__.tag}", job=job.job_uuid, agent=job.agent, affected=count)
    return {"state": str(job.state), "affected": count}
