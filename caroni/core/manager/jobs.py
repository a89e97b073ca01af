"""Jobs as the manager hears of them: progress, outputs, the one winner, loss, and the next attempt.

Two rules carry everything: a step takes its outputs from exactly one job, chosen once (``_win``); and a
job that is neither current nor winning changes nothing but its own row (it is stopped and released).
"""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core.cwltypes import ValueMismatch, check_json
from caroni.core.draft import Origin
from caroni.core.ids import value_digest
from caroni.core.manager.delivery import release, send_inputs, stop_job
from caroni.core.manager.fulfilment import withdraw
from caroni.core.manager.state import GIVEN_UP_JOB, LIVE_JOB, ManagerDraft
from caroni.core.manager.workflows import end_step, fail, held_changed, step_ended
from caroni.core.messages import (
    AgentPresence,
    FailureClass,
    JobDataAvailable,
    JobKill,
    JobReport,
    JobStatus,
    JobStatusRequest,
    JobStatusUpdate,
)
from caroni.core.plan import MINUTE
from caroni.core.rows import Flow, Job, JobKey, JobOutput, Peer, Step
from caroni.core.states import JobState, StepState, WorkflowState, advance

_LIVE = {
    JobStatus.PENDING: JobState.PENDING,
    JobStatus.QUEUED: JobState.QUEUED,
    JobStatus.RUNNING: JobState.RUNNING,
    JobStatus.PAUSED: JobState.PAUSED,
}
_STARTED = frozenset({JobState.RUNNING, JobState.PAUSED})
_RANK = {JobState.PENDING: 0, JobState.QUEUED: 1, JobState.RUNNING: 2, JobState.PAUSED: 2}
_COUNTED = frozenset({FailureClass.UNSPECIFIED, FailureClass.JOB, FailureClass.INPUT, FailureClass.TIMEOUT})
_STEP_HAS_JOB = frozenset({StepState.FULFILLED, StepState.RUNNING, StepState.HELD})
_ENDED_STEP = frozenset({StepState.COMPLETED, StepState.FAILED, StepState.CANCELLED})


# --- status --------------------------------------------------------------------------------------


def on_status(d: ManagerDraft, origin: Origin, m: JobStatusUpdate) -> None:
    """Take what is newer, ignore what is older, answer what is repeated."""
    job = d.get(Job, (origin.uri, m.job_uuid))
    ended = m.job_status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.KILLED)
    if job is None:
        if ended:
            release(d, origin.uri, m.job_uuid)
        elif m.job_status in _LIVE:
            d.send(origin.uri, JobKill(job_uuid=m.job_uuid, kill_info="this job is not known here"))
        return
    if m.job_status is JobStatus.UNKNOWN:
        _unknown(d, job)
        return
    if m.job_status is JobStatus.UNSPECIFIED:
        return
    if job.state not in LIVE_JOB | GIVEN_UP_JOB:
        if ended:
            release(d, job.agent, job.job_uuid, job.request_uuid)
        return
    if m.seq and (origin.stream_id, m.seq) <= (job.stream_id, job.seq):
        if job.state is JobState.PENDING and m.job_status is JobStatus.PENDING:
            _feed(d, job)
        elif (
            (origin.stream_id, m.seq) == (job.stream_id, job.seq)
            and m.job_status in _LIVE
            and _holds(d.step((job.workflow_uuid, job.step_index)), job)
        ):
            _progress(d, job, _LIVE[m.job_status])  # nothing has changed there: it still runs
        return
    job = d.put(
        replace(
            job,
            stream_id=origin.stream_id if m.seq else job.stream_id,
            seq=m.seq or job.seq,
            suspect=False,
            info=m.status_info,
            progress=m.progress,
        )
    )
    if ended:
        _ended(d, job, m)
    else:
        _progress(d, job, _LIVE[m.job_status])


def _progress(d: ManagerDraft, job: Job, state: JobState) -> None:
    step = d.step((job.workflow_uuid, job.step_index))
    if job.ended:
        return
    if job.state in GIVEN_UP_JOB:
        if _holds(step, job):
            # at most once: the job that was given up is the only one there may ever be
            d.put(
                replace(
                    job,
                    state=advance("job", job.state, state),
                    kill_wanted=False,
                    started_at=job.started_at or (d.now if state in _STARTED else 0),
                    tries=0,
                    due=d.now + d.settings.poll,
                )
            )
            assert step is not None
            to = StepState.FULFILLED if state is JobState.PENDING else StepState.RUNNING
            d.put(replace(step, state=advance("step", step.state, to), due=0))
            held_changed(d, step.workflow_uuid)
            return
        d.send(
            job.agent,
            JobKill(job_uuid=job.job_uuid, kill_info="another job has this step"),
            job.request_uuid,
        )
        return
    if _RANK[state] < _RANK[job.state]:
        # a base-protocol peer has no sequence, and a peer of any kind may be wrong: never go back
        return
    started = job.started_at or (d.now if state in _STARTED else 0)
    if state is not job.state:
        job = replace(job, state=advance("job", job.state, state))
    due = d.now + d.settings.poll if not job.kill_wanted else job.due
    job = d.put(replace(job, started_at=started, tries=0 if not job.kill_wanted else job.tries, due=due))
    if state is JobState.PENDING:
        _feed(d, job)
    elif step is not None and step.state is StepState.FULFILLED and step.current == job.key:
        d.put(
            replace(
                step,
                state=advance("step", step.state, StepState.RUNNING),
                started_at=step.started_at or d.now,
            )
        )


def _feed(d: ManagerDraft, job: Job) -> None:
    """A pending job waits for inputs: send all that have a value, again."""
    step = d.step((job.workflow_uuid, job.step_index))
    if step is not None and step.current == job.key and not job.kill_wanted:
        send_inputs(d, job, step)


def _ended(d: ManagerDraft, job: Job, m: JobStatusUpdate) -> None:
    usage = m.usage
    job = replace(
        job,
        exit_code=m.exit_code,
        failure_class=m.failure_class,
        stdout_tail=m.stdout_tail,
        stderr_tail=m.stderr_tail,
        wall=usage.wall if usage else 0,
        cpu=usage.cpu if usage else 0,
        max_rss=usage.max_rss if usage else 0,
    )
    if m.job_status is JobStatus.COMPLETED:
        job = d.put(replace(job, ended=True, manifest=m.manifest, tries=0, due=d.now + d.settings.poll))
        _win_if_whole(d, job)
        return
    state = JobState.FAILED if m.job_status is JobStatus.FAILED else JobState.KILLED
    job = d.put(replace(job, state=advance("job", job.state, state), ended=True, ended_at=d.now, due=0))
    release(d, job.agent, job.job_uuid, job.request_uuid)
    failure_class = m.failure_class
    if state is JobState.KILLED and failure_class is FailureClass.UNSPECIFIED:
        failure_class = FailureClass.REJECTED
    started = failure_class not in (FailureClass.REJECTED, FailureClass.POLICY, FailureClass.INPUT)
    if state is JobState.KILLED:
        # a process that a signal ended has no exit code, and its ``running`` may have been lost
        started = m.exit_code is not None or job.started_at > 0 or job.wall > 0
    _current_failed(d, job, failure_class, m.status_info, may_have_run=started, certain=True)


def _holds(step: Step | None, job: Job) -> bool:
    """Whether an at-most-once step is held for the fate of this job."""
    return step is not None and step.state is StepState.HELD and step.current == job.key


def _unknown(d: ManagerDraft, job: Job) -> None:
    """The agent has never heard of this job (wiped or restored): nothing will come of it."""
    if job.state not in LIVE_JOB | GIVEN_UP_JOB:
        return
    step = d.step((job.workflow_uuid, job.step_index))
    if _holds(step, job):
        d.put(replace(job, kill_wanted=False, due=0))
        return
    given_up = job.state in GIVEN_UP_JOB
    job = d.put(
        replace(
            job,
            state=advance("job", job.state, JobState.KILLED if given_up else JobState.LOST),
            kill_wanted=False,
            info="unknown to the agent",
            due=0,
            ended_at=d.now,
        )
    )
    if not given_up:
        _current_failed(d, job, FailureClass.LOST, "the agent does not know the job", certain=False)


# --- outputs and the winner ----------------------------------------------------------------------


def on_data(d: ManagerDraft, origin: Origin, m: JobDataAvailable) -> None:
    """Stage outputs under their job, write-once; they become values only if the job wins."""
    job = d.get(Job, (origin.uri, m.job_uuid))
    if job is None:
        return
    if job.state not in LIVE_JOB | GIVEN_UP_JOB:
        return
    step = d.step((job.workflow_uuid, job.step_index))
    if step is None:
        return
    declared = d.plan_step(step).outputs
    new = False
    for name, value in m.parameters.items():
        if name not in declared:
            d.note("output_undeclared", job=job.job_uuid, agent=job.agent, output=name[:100])
            continue
        staged = d.get(JobOutput, (*job.key, name))
        if staged is None:
            d.put(JobOutput(agent=job.agent, job_uuid=job.job_uuid, name=name, value=value))
            new = True
        elif staged.value != value:
            d.note("output_changed", job=job.job_uuid, agent=job.agent, output=name)
    if new and job.ended:
        _win_if_whole(d, job)


def _win_if_whole(d: ManagerDraft, job: Job) -> None:
    """A completed job counts once every output of its manifest is here."""
    step = d.step((job.workflow_uuid, job.step_index))
    if step is None:
        return
    declared = d.plan_step(step).outputs
    values: dict[str, str] = {}
    for name, digest in job.manifest.items():
        if name not in declared:
            continue
        staged = d.get(JobOutput, (*job.key, name))
        if staged is None:
            return
        if value_digest(staged.value) != digest:
            _unfit(d, job, f"output {name} is not what the manifest says")
            return
        values[name] = staged.value
    for name, type_ in declared.items():
        try:
            check_json(values.setdefault(name, "null"), type_)
        except ValueMismatch as error:
            _unfit(d, job, f"output {name}: {error}")
            return
    _win(d, job, step, values)


def _unfit(d: ManagerDraft, job: Job, why: str) -> None:
    """Completed on the agent, but not with outputs that the workflow can use: a failure of the job."""
    job = d.put(
        replace(
            job,
            state=advance("job", job.state, JobState.FAILED),
            failure_class=FailureClass.JOB,
            info=why[:500],
            ended_at=d.now,
            due=0,
        )
    )
    release(d, job.agent, job.job_uuid, job.request_uuid)
    _current_failed(d, job, FailureClass.JOB, why, certain=True)


def _win(d: ManagerDraft, job: Job, step: Step, values: dict[str, str]) -> None:
    job = d.put(
        replace(
            job, state=advance("job", job.state, JobState.COMPLETED), ended_at=d.now, due=0, kill_wanted=False
        )
    )
    release(d, job.agent, job.job_uuid, job.request_uuid)
    if step.state in _ENDED_STEP:
        return  # too late: kept for the record, never used
    workflow = d.workflow(step.workflow_uuid)
    assert workflow is not None, "a step is loaded with its workflow"
    if workflow.state is WorkflowState.CANCELLING:
        if step.current == job.key:
            end_step(d, step, StepState.CANCELLED, "the workflow was cancelled")
        return
    if step.current != job.key:
        current = d.get(Job, step.current)
        if current is not None and current.state in LIVE_JOB:
            stop_job(
                d,
                d.put(replace(current, state=advance("job", current.state, JobState.SUPERSEDED))),
                "an earlier job of this step has completed",
            )
    if step.state is StepState.FULFILLING:
        withdraw(d, step.request_uuid, "an earlier job of this step has completed")
    was_held = step.state is StepState.HELD
    state = step.state
    if state is StepState.WAITING:  # between two attempts
        state = advance("step", state, StepState.FULFILLING)
    step = d.put(
        replace(
            step,
            state=advance("step", state, StepState.COMPLETED),
            agent=job.agent,
            job_uuid=job.job_uuid,
            winner_agent=job.agent,
            winner_job_uuid=job.job_uuid,
            started_at=step.started_at or job.started_at or job.accepted_at,
            ended_at=d.now,
            exit_code=job.exit_code,
            due=0,
        )
    )
    plan = d.state.plan(workflow)
    for name, value in values.items():
        flow = f"{step.name}/{name}"
        d.put(
            Flow(
                workflow_uuid=step.workflow_uuid,
                name=flow,
                value=value,
                agent=job.agent,
                job_uuid=job.job_uuid,
            )
        )
        for index in plan.consumers.get(flow, ()):
            _value_came(d, (step.workflow_uuid, index), flow)
    if was_held:
        held_changed(d, step.workflow_uuid)
    d.note(
        "step_completed", workflow=step.workflow_uuid, step=step.name, agent=job.agent, attempt=job.attempt
    )
    step_ended(d, step)


def _value_came(d: ManagerDraft, key: tuple[bytes, int], flow: str) -> None:
    consumer = d.step(key)
    if consumer is None or consumer.state in _ENDED_STEP:
        return
    missing = consumer.missing - 1
    consumer = d.put(replace(consumer, missing=missing, ready_at=consumer.ready_at if missing else d.now))
    job = d.get(Job, consumer.current) if consumer.job_uuid else None
    if job is not None and job.state in LIVE_JOB:  # reserved before its inputs were known
        names = frozenset(i.name for i in d.plan_step(consumer).inputs if i.source == flow)
        send_inputs(d, job, consumer, only=names)


# --- failure, loss, the next attempt -------------------------------------------------------------


def _current_failed(
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
    step = d.put(
        replace(
            step,
            failure=reason[:1000],
            exit_code=job.exit_code,
            stderr_tail=job.stderr_tail,
            job_failures=step.job_failures + (failure_class in _COUNTED),
            other_failures=step.other_failures + (failure_class not in _COUNTED),
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
            _step_failed(d, step, reason)
            return
        if step.state is not StepState.HELD:
            d.put(replace(step, state=advance("step", step.state, StepState.HELD), due=0))
            d.note("step_held", workflow=step.workflow_uuid, step=step.name, reason=reason)
            held_changed(d, step.workflow_uuid)
        return
    if (
        step.job_failures >= policy.max_attempts
        or step.other_failures >= policy.max_other_failures
        or (job.exit_code is not None and job.exit_code in policy.non_retryable_exit_codes)
    ):
        _step_failed(d, step, reason)
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


def _step_failed(d: ManagerDraft, step: Step, reason: str) -> None:
    step = d.put(replace(step, state=advance("step", step.state, StepState.FAILED), due=0, ended_at=d.now))
    d.note("step_failed", workflow=step.workflow_uuid, step=step.name, reason=reason)
    fail(d, step.workflow_uuid, f"step {step.name} failed after {step.attempt} attempts: {reason}")
    step_ended(d, step)


def on_step_due(d: ManagerDraft, step: Step) -> None:
    """The back-off is over."""
    d.put(replace(step, due=0))


def on_job_due(d: ManagerDraft, job: Job) -> None:
    """Ask, remind, or give up: whatever this job's state calls for now."""
    settings = d.settings
    if job.state in GIVEN_UP_JOB:
        if d.now > job.accepted_at + settings.abandon_after:
            d.put(replace(job, due=0))
        elif job.kill_wanted:
            _remind_kill(d, job)
        elif _holds(d.step((job.workflow_uuid, job.step_index)), job):
            d.put(replace(job, due=d.now + settings.poll_cap))
            d.send(job.agent, JobStatusRequest(job_uuid=job.job_uuid), job.request_uuid)
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
    wait = min(settings.poll * 2 ** min(job.tries, 16), settings.poll_cap)
    d.put(replace(job, tries=job.tries + 1, due=min(d.now + wait, max(lost_at, d.now + 1))))
    d.send(job.agent, JobStatusRequest(job_uuid=job.job_uuid), job.request_uuid)


def _remind_kill(d: ManagerDraft, job: Job, latest: int = 0) -> None:
    wait = min(d.settings.kill_resend * 2 ** min(job.tries, 16), d.settings.kill_resend_cap)
    due = d.now + wait
    d.put(replace(job, tries=job.tries + 1, due=min(due, max(latest, d.now + 1)) if latest else due))
    d.send(job.agent, JobKill(job_uuid=job.job_uuid, kill_info="still not wanted"), job.request_uuid)


def lost_instant(d: ManagerDraft, job: Job, lost_after: int) -> int:
    """When an agent without contact is given up: the latest of every promise that was made.

    The step's own patience, the absence that the agent's offer asked for, an announced window, and the
    same patience counted from our own start (silence while we were down proves nothing).
    """
    peer = d.get(Peer, job.agent)
    last_contact = max(peer.last_contact if peer is not None else 0, job.accepted_at)
    return max(
        last_contact + lost_after,
        last_contact + job.max_offline,
        (peer.away_until if peer is not None else 0) + 15 * MINUTE,
        d.state.started_at + lost_after,
    )


def _lost(d: ManagerDraft, job: Job) -> None:
    job = d.put(
        replace(
            job,
            state=advance("job", job.state, JobState.LOST),
            tries=job.tries if job.kill_wanted else 0,
            due=d.now + (d.settings.kill_resend if job.kill_wanted else d.settings.poll_cap),
        )
    )
    _current_failed(d, job, FailureClass.LOST, "no contact with the agent", certain=False)
    if not _holds(d.step((job.workflow_uuid, job.step_index)), job):
        stop_job(d, job, "no contact for too long")
    # else it is the only job there may ever be: it is asked about, and goes on if it still runs


# --- agents as a whole ---------------------------------------------------------------------------


def on_report(d: ManagerDraft, origin: Origin, m: JobReport) -> None:
    """After a restart of either side: a job that a full report does not name is unknown there."""
    reported: dict[JobKey, JobStatus] = {(origin.uri, e.job_uuid): e.job_status for e in m.jobs}
    for key, status in reported.items():
        job = d.get(Job, key)
        if job is None:
            d.send(origin.uri, JobStatusRequest(job_uuid=key[1]))
        elif job.state in GIVEN_UP_JOB and status in _LIVE:
            if _holds(d.step((job.workflow_uuid, job.step_index)), job):
                d.send(origin.uri, JobStatusRequest(job_uuid=key[1]), job.request_uuid)
            else:
                stop_job(d, replace(job, kill_wanted=False), "another job has this step")
        elif job.state in LIVE_JOB and (status not in _LIVE or _LIVE[status] is not job.state):
            d.send(origin.uri, JobStatusRequest(job_uuid=key[1]), job.request_uuid)
    if not m.complete:
        return
    for key in list(d.state.jobs_by_agent.get(origin.uri, ())):
        job = d.get(Job, key)
        if job is not None and key not in reported:
            # it may have been accepted after the report was written: ask, do not conclude
            d.send(origin.uri, JobStatusRequest(job_uuid=key[1]), job.request_uuid)


def on_presence(d: ManagerDraft, origin: Origin, m: AgentPresence) -> None:
    """What an agent says of itself; an older notice never overrides a newer one."""
    peer = d.get(Peer, origin.uri) or Peer(uri=origin.uri, first_contact=d.now)
    if (origin.stream_id, m.number) < (peer.stream_id, peer.presence_number) and m.boot_id == peer.boot_id:
        return
    away = m.offline_for or m.draining_for
    d.put(
        replace(
            peer,
            last_contact=d.now,
            stream_id=origin.stream_id,
            presence_number=m.number,
            boot_id=m.boot_id,
            away_until=d.now + min(away, d.settings.abandon_after) if away else 0,
        )
    )
