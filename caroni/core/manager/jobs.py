"""Jobs as the manager hears of them: progress, outputs, and the one winner.

Two rules carry everything: a step takes its outputs from exactly one job, chosen once (``_win``); and a
job that is neither current nor winning changes nothing but its own row (it is stopped and released).
"""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core.base_peers import is_base, typed
from caroni.core.cwltypes import ValueMismatch, check_json
from caroni.core.draft import Origin
from caroni.core.ids import value_digest
from caroni.core.manager.attempts import ENDED_STEP, job_failed
from caroni.core.manager.delivery import release, send_inputs, stop_job
from caroni.core.manager.fulfilment import withdraw
from caroni.core.manager.held import held_changed, holds
from caroni.core.manager.restore import stranger
from caroni.core.manager.state import GIVEN_UP_JOB, LIVE_JOB, LIVE_STATUS, ManagerDraft
from caroni.core.manager.workflows import end_step, step_ended
from caroni.core.messages import (
    FailureClass,
    JobDataAvailable,
    JobKill,
    JobPause,
    JobResume,
    JobStatus,
    JobStatusUpdate,
)
from caroni.core.rows import Flow, Job, JobOutput, Step
from caroni.core.states import JobState, StepState, WorkflowState, advance

_STARTED = frozenset({JobState.RUNNING, JobState.PAUSED})
_RANK = {JobState.PENDING: 0, JobState.QUEUED: 1, JobState.RUNNING: 2, JobState.PAUSED: 2}


# --- status --------------------------------------------------------------------------------------


def on_status(d: ManagerDraft, origin: Origin, m: JobStatusUpdate) -> None:
    """Take what is newer, ignore what is older, answer what is repeated."""
    job = d.get(Job, (origin.uri, m.job_uuid))
    ended = m.job_status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.KILLED)
    if job is None:
        if ended or m.job_status in LIVE_STATUS:
            job = stranger(d, origin, m.job_uuid, m.job_status)
        if job is None:
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
    said, known = (origin.stream_id, m.seq), (job.stream_id, job.seq)
    # an end is never old news: an agent whose database was put back may count it with a lower number
    if m.seq and said <= known and (job.ended or not ended):
        same = said == known
        if m.job_status is JobStatus.PENDING and (same or job.state is JobState.PENDING):
            _feed(d, job)
        elif same and m.job_status in LIVE_STATUS and holds(d.step((job.workflow_uuid, job.step_index)), job):
            _progress(d, job, LIVE_STATUS[m.job_status])  # nothing has changed there: it still runs
        return
    counted = bool(m.seq) and said > known  # what has no number moves none, whatever stream it came in
    job = d.put(
        replace(
            job,
            stream_id=origin.stream_id if counted else job.stream_id,
            seq=m.seq if counted else job.seq,
            suspect=False,
            info=m.status_info,
            progress=m.progress,
        )
    )
    if ended:
        _ended(d, job, m)
    else:
        _progress(d, job, LIVE_STATUS[m.job_status])


def _progress(d: ManagerDraft, job: Job, state: JobState) -> None:
    step = d.step((job.workflow_uuid, job.step_index))
    if job.ended:
        return
    if job.state in GIVEN_UP_JOB:
        if holds(step, job):
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
        # a base-protocol peer has no sequence, and a peer of any kind may be wrong: never go back; but an
        # agent whose database was put back may have to be given its inputs again
        if state is JobState.PENDING:
            _feed(d, job)
        return
    started = job.started_at or (d.now if state in _STARTED else 0)
    if state is not job.state:
        job = replace(job, state=advance("job", job.state, state))
    due = d.now + d.settings.poll if not job.kill_wanted else job.due
    job = d.put(replace(job, started_at=started, tries=0 if not job.kill_wanted else job.tries, due=due))
    if job.pause_wanted and state in (JobState.QUEUED, JobState.RUNNING):
        # it was not running yet when the wish came, or the wish was lost
        d.send(job.agent, JobPause(job_uuid=job.job_uuid), job.request_uuid)
    elif state is JobState.PAUSED and not job.pause_wanted:
        # a pause that came after the resume that followed it; an agent's own operator is not overruled
        d.send(job.agent, JobResume(job_uuid=job.job_uuid), job.request_uuid)
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
    if step is not None and step.current == job.key and not job.kill_wanted and not is_base(job.agent):
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
    job_failed(d, job, failure_class, m.status_info, may_have_run=started, certain=True)


def _unknown(d: ManagerDraft, job: Job) -> None:
    """The agent has never heard of this job (wiped or restored): nothing will come of it."""
    if job.state not in LIVE_JOB | GIVEN_UP_JOB:
        return
    step = d.step((job.workflow_uuid, job.step_index))
    if holds(step, job):
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
        job_failed(d, job, FailureClass.LOST, "the agent does not know the job", certain=False)


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
        if is_base(job.agent):
            value = typed(value, declared[name])
        staged = d.get(JobOutput, (*job.key, name))
        if staged is None:
            d.put(JobOutput(agent=job.agent, job_uuid=job.job_uuid, name=name, value=value))
            new = True
        elif staged.value != value:
            d.note("output_changed", job=job.job_uuid, agent=job.agent, output=name)
    if new and job.ended:
        _win_if_whole(d, job)


def on_outputs_due(d: ManagerDraft, job: Job) -> None:
    """A base agent has said that its job is completed, and has had its time to say with what."""
    d.put(replace(job, due=0))
    if job.state in LIVE_JOB | GIVEN_UP_JOB:
        _win_if_whole(d, job, wait=False)


def _win_if_whole(d: ManagerDraft, job: Job, *, wait: bool = True) -> None:
    """A completed job counts once every output of its manifest is here.

    A base agent has no manifest, and sends its outputs after the end: until they are due (``wait``), every
    output that the step declares is waited for.
    """
    step = d.step((job.workflow_uuid, job.step_index))
    if step is None:
        return
    declared = d.plan_step(step).outputs
    values: dict[str, str] = {}
    if is_base(job.agent):
        for name in declared:
            staged = d.get(JobOutput, (*job.key, name))
            if staged is not None:
                values[name] = staged.value
            elif wait:
                return
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
    job_failed(d, job, FailureClass.JOB, why, certain=True)


def _win(d: ManagerDraft, job: Job, step: Step, values: dict[str, str]) -> None:
    job = d.put(
        replace(
            job, state=advance("job", job.state, JobState.COMPLETED), ended_at=d.now, due=0, kill_wanted=False
        )
    )
    release(d, job.agent, job.job_uuid, job.request_uuid)
    if step.state in ENDED_STEP:
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
            cause=step.cause
            if job.attempt == step.attempt
            else f"the result of attempt {job.attempt} came late and was taken",
            failure="",
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
    if consumer is None or consumer.state in ENDED_STEP:
        return
    missing = consumer.missing - 1
    consumer = d.put(replace(consumer, missing=missing, ready_at=consumer.ready_at if missing else d.now))
    job = d.get(Job, consumer.current) if consumer.job_uuid else None
    if job is not None and job.state in LIVE_JOB:  # reserved before its inputs were known
        names = frozenset(i.name for i in d.plan_step(consumer).inputs if i.source == flow)
        send_inputs(d, job, consumer, only=names)
