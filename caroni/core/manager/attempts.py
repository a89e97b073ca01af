"""When a job came to nothing: by failure, by loss, by silence; and whether the step is tried again.

A new attempt needs a reason: a reported failure, an agent that does not know the job, or silence beyond
every promise that was made. A transport error, a lost broker or our own restart are none.
"""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core.base_peers import is_base
from caroni.core.manager.delivery import ask, stop_job
from caroni.core.manager.held import held_changed, hold_step, holds
from caroni.core.manager.leases import lease
from caroni.core.manager.state import GIVEN_UP_JOB, LIVE_JOB, ManagerDraft
from caroni.core.manager.workflows import end_step, fail, step_ended
from caroni.core.messages import FailureClass, JobKill, JobPause, JobResume
from caroni.core.rows import Job, Peer, Step
from caroni.core.states import JobState, StepState, WorkflowState, advance

ENDED_STEP = frozenset({StepState.COMPLETED, StepState.FAILED, StepState.CANCELLED})
#: failures that count against a step's attempts; the others have a larger budget of their own
_COUNTED = frozenset({FailureClass.UNSPECIFIED, FailureClass.JOB, FailureClass.INPUT, FailureClass.TIMEOUT})
_STEP_HAS_JOB = frozenset({StepState.FULFILLED, StepState.RUNNING, StepState.HELD})


def job_failed(
    d: ManagerDraft,
    job: Job,
    failure_class: FailureClass,
    info: str,
    *,
    certain: bool,
    may_have_run: bool = True,
) -> None:
    """A job ended without outputs: if it was the step's current one, decide what comes next.

    ``certain`` says that the agent itself reported the end; ``may_have_run`` that the job's process may
    have started. An at-most-once step is only tried again when it certainly never ran.
    """
    step = d.step((job.workflow_uuid, job.step_index))
    if step is None or step.current != job.key or step.state not in _STEP_HAS_JOB:
        return
    reason = f"{failure_class.name.lower()}: {info}" if info else failure_class.name.lower()
    # what was reserved before its inputs were known has not been tried, whatever became of it
    counts = failure_class in _COUNTED and not step.missing
    step = d.put(
        replace(
            step,
            failure=reason[:1000],
            exit_code=job.exit_code,
            stderr_tail=job.stderr_tail,
            job_failures=step.job_failures + counts,
            other_failures=step.other_failures + (not counts),
            excluded={**step.excluded, job.agent: step.attempt + 1 + d.settings.exclusion_attempts},
        )
    )
    d.note(
        "job_failed",
        workflow=step.workflow_uuid,
        step=step.name,
        agent=job.agent,
        job=job.job_uuid,
        attempt=job.attempt,
        exit_code=job.exit_code,
        reason=reason,
    )
    workflow = d.workflow(step.workflow_uuid)
    assert workflow is not None, "a step is loaded with its workflow"
    if workflow.state in (WorkflowState.CANCELLING, WorkflowState.FAILING):
        end_step(d, step, StepState.CANCELLED, reason)
        return
    policy = d.plan_step(step).policy
    if policy.at_most_once and may_have_run:
        if certain:
            step_failed(d, step, reason)
            return
        if step.state is not StepState.HELD:
            hold_step(d, step, reason)
        return
    if (
        step.job_failures >= policy.max_attempts
        or step.other_failures >= policy.max_other_failures
        or (job.exit_code is not None and job.exit_code in policy.non_retryable_exit_codes)
    ):
        step_failed(d, step, reason)
        return
    was_held = step.state is StepState.HELD
    tries = step.job_failures + step.other_failures
    wait = min(policy.backoff * 2 ** min(tries - 1, 16), policy.backoff_cap)
    wait = int(wait * (0.75 + d.dice.random() / 2))
    d.put(
        replace(
            step,
            state=advance("step", step.state, StepState.WAITING),
            agent="",
            job_uuid=b"",
            request_uuid=b"",
            due=d.now + wait if wait else 0,
            cause=reason[:300],
        )
    )
    if was_held:
        held_changed(d, step.workflow_uuid)
    d.changed(workflow)


def step_failed(d: ManagerDraft, step: Step, reason: str) -> None:
    """The step has failed for good, and with it the workflow."""
    step = d.put(
        replace(
            step,
            state=advance("step", step.state, StepState.FAILED),
            failure=reason[:1000],
            due=0,
            ended_at=d.now,
        )
    )
    d.note("step_failed", workflow=step.workflow_uuid, step=step.name, reason=reason)
    fail(d, step.workflow_uuid, f"step {step.name} failed after {step.attempt} attempts: {reason}")
    step_ended(d, step)


def on_step_due(d: ManagerDraft, step: Step) -> None:
    """The back-off is over."""
    d.put(replace(step, due=0))


def on_job_due(d: ManagerDraft, job: Job) -> None:
    """Ask, remind, or give up: whatever this job's state calls for now.

    A wish that the state does not show is said again instead of a question: both are answered by the state.
    """
    settings = d.settings
    if job.state in GIVEN_UP_JOB:
        if d.now > job.accepted_at + settings.abandon_after:
            d.put(replace(job, due=0))
        elif job.kill_wanted:
            _remind_kill(d, job)
        elif holds(d.step((job.workflow_uuid, job.step_index)), job):
            d.put(replace(job, due=d.now + settings.poll_cap))
            ask(d, job)
        else:
            d.put(replace(job, due=0))
        return
    if job.state not in LIVE_JOB:
        d.put(replace(job, due=0))
        return
    step = d.step((job.workflow_uuid, job.step_index))
    if step is None or step.current != job.key:
        d.put(replace(job, due=0))
        return
    lost_at = lost_instant(d, job, d.plan_step(step).policy.lost_after or settings.lost_after)
    if d.now >= lost_at:
        _lost(d, job)
        return
    peer = d.get(Peer, job.agent)
    silent_since = peer.last_contact if peer is not None else job.accepted_at
    suspect = d.now - max(silent_since, d.state.started_at) > settings.suspect_after
    job = d.put(replace(job, suspect=suspect))
    if job.kill_wanted:
        _remind_kill(d, job, lost_at)
        return
    if peer is not None and peer.away_until > d.now:
        # it has said that it does not hear us: questions would wait for it, to be answered one by one
        d.put(replace(job, due=min(peer.away_until, max(lost_at, d.now + 1))))
        return
    wait = min(settings.poll * 2 ** min(job.tries, 16), settings.poll_cap)
    d.put(replace(job, tries=job.tries + 1, due=min(d.now + wait, max(lost_at, d.now + 1))))
    if job.pause_wanted and job.state is JobState.RUNNING:
        d.send(job.agent, JobPause(job_uuid=job.job_uuid), job.request_uuid)
    elif job.state is JobState.PAUSED and not job.pause_wanted and not is_base(job.agent):
        d.send(job.agent, JobResume(job_uuid=job.job_uuid), job.request_uuid)
    else:
        ask(d, job)


def _remind_kill(d: ManagerDraft, job: Job, latest: int = 0) -> None:
    wait = min(d.settings.kill_resend * 2 ** min(job.tries, 16), d.settings.kill_resend_cap)
    due = d.now + wait
    d.put(replace(job, tries=job.tries + 1, due=min(due, max(latest, d.now + 1)) if latest else due))
    d.send(
        job.agent,
        JobKill(job_uuid=job.job_uuid, kill_info=job.kill_info or "still not wanted"),
        job.request_uuid,
    )


def lost_instant(d: ManagerDraft, job: Job, lost_after: int) -> int:
    """When an agent without contact is given up."""
    return lease(job, d.get(Peer, job.agent), lost_after, d.state.started_at).lost_at


def agent_gone(d: ManagerDraft, agent: str) -> None:
    """A base agent has no queue any more, so it has ended and forgotten its jobs."""
    for key in list(d.state.jobs_by_agent.get(agent, ())):
        job = d.get(Job, key)
        if job is not None and job.state in LIVE_JOB:
            _lost(d, job)


def _lost(d: ManagerDraft, job: Job) -> None:
    job = d.put(
        replace(
            job,
            state=advance("job", job.state, JobState.LOST),
            tries=job.tries if job.kill_wanted else 0,
            due=d.now + (d.settings.kill_resend if job.kill_wanted else d.settings.poll_cap),
        )
    )
    job_failed(d, job, FailureClass.LOST, "no contact with the agent", certain=False)
    if not holds(d.step((job.workflow_uuid, job.step_index)), job):
        stop_job(d, job, "no contact for too long")
    # else it is the only job there may ever be: it is asked about, and goes on if it still runs
