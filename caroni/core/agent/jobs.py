"""Jobs as their agent runs them: inputs in, queue, process, outputs out, until released."""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core.agent.saying import move, report, report_all, unknown
from caroni.core.agent.state import (
    ENDED,
    STARTED,
    AgentDraft,
    ForgetJob,
    JobExited,
    JobStarted,
    SendLog,
    SignalJob,
    SignalKind,
    StartJob,
)
from caroni.core.base_peers import is_base, typed
from caroni.core.cwltypes import ValueMismatch, check_json
from caroni.core.draft import Origin
from caroni.core.ids import job_uuid_of, value_digest
from caroni.core.messages import (
    FailureClass,
    JobDataAvailable,
    JobKill,
    JobLogRequest,
    JobPause,
    JobRelease,
    JobReportRequest,
    JobResume,
    JobStatus,
    JobStatusRequest,
    JobStatusUpdate,
)
from caroni.core.peers import renew_stream, was_put_back
from caroni.core.rows import AgentInput, AgentJob, AgentOffer, AgentOutput, Peer
from caroni.core.states import AgentJobState, advance

#: said of a job that the operator of the agent has suspended: only he lets it go on
HELD_HERE = "suspended by the operator of the agent"
#: kills of unknown jobs that are remembered for each manager; nobody honest needs more than a handful
MAX_TOMBSTONES = 1000


# --- from accept to queue ------------------------------------------------------------------------


def create_job(d: AgentDraft, offer: AgentOffer) -> AgentJob:
    """The job of an offer that was just accepted; it waits for the inputs that the request named."""
    job = AgentJob(
        manager=offer.manager,
        job_uuid=job_uuid_of(offer.offer_uuid),
        offer_uuid=offer.offer_uuid,
        request_uuid=offer.request_uuid,
        state=AgentJobState.PENDING,
        job_type=offer.job_type,
        job_type_version=offer.job_type_version,
        definition_revision=offer.definition_revision,
        parameters=offer.parameters,
        attempt=offer.attempt,
        missing=len(offer.parameters),
        seq=1,
        due=d.now + d.settings.input_timeout,
        max_runtime=offer.max_runtime,
        created_at=d.now,
    )
    if job.missing == 0:
        return _enqueue(d, job)
    return d.put(job)


def _enqueue(d: AgentDraft, job: AgentJob) -> AgentJob:
    return move(d, replace(job, missing=0, queued_at=d.now, due=0), AgentJobState.QUEUED)


def on_data(d: AgentDraft, origin: Origin, m: JobDataAvailable) -> None:
    """Take inputs, each once; queue the job when the last one is here."""
    job = d.get(AgentJob, (origin.uri, m.job_uuid))
    if job is None:
        unknown(d, origin.uri, m.job_uuid)
        return
    if job.state is not AgentJobState.PENDING:
        _note_changed_inputs(d, job, m)
        report(d, job)
        return
    job_type = d.state.job_types.get(job.job_type)
    missing = job.missing
    for name, value in m.parameters.items():
        if name not in job.parameters:
            d.note("input_undeclared", job=job.job_uuid, manager=job.manager, input=name[:100])
            continue
        if job_type is not None and name in job_type.inputs and is_base(job.manager):
            value = typed(value, job_type.inputs[name])
        known = d.get(AgentInput, (*job.key, name))
        if known is not None:
            if known.value != value:
                d.note("input_changed", job=job.job_uuid, manager=job.manager, input=name)
            continue
        if job_type is not None and job_type.revision == job.definition_revision and name in job_type.inputs:
            try:
                check_json(value, job_type.inputs[name])
            except ValueMismatch as error:
                failed = replace(job, failure_class=FailureClass.INPUT)
                move(d, failed, AgentJobState.FAILED, f"input {name}: {error}"[:500])
                return
        d.put(AgentInput(manager=job.manager, job_uuid=job.job_uuid, name=name, value=value))
        missing -= 1
    if missing == 0:
        _enqueue(d, job)
    elif missing != job.missing:
        d.put(replace(job, missing=missing))


def _note_changed_inputs(d: AgentDraft, job: AgentJob, m: JobDataAvailable) -> None:
    if is_base(job.manager):
        return  # what is kept of its values is not what it has sent
    for name, value in m.parameters.items():
        known = d.get(AgentInput, (*job.key, name))
        if known is not None and known.value != value:
            d.note("input_changed", job=job.job_uuid, manager=job.manager, input=name)


def settle(d: AgentDraft) -> None:
    """Start queued jobs while slots are free: FIFO per manager, one of each manager in turn.

    The manager with the fewest running jobs is next, so that nobody's thousand jobs starve another's one.
    """
    state = d.state
    if not state.queue or state.closed_until(d.now):
        return
    while state.queue and state.running < d.settings.slots:
        chosen: AgentJob | None = None
        fewest = -1
        for manager, queue in state.queue.items():
            running = state.running_of.get(manager, 0)
            if 0 <= fewest <= running:
                continue
            job = d.get(AgentJob, next(iter(queue)))
            assert job is not None, "a queued job is in memory"
            allowance = state.policy.allow(manager, job.job_type)
            if allowance is not None and 0 < allowance.max_running <= running:
                continue
            chosen, fewest = job, running
        if chosen is None:
            return
        # rotate: among equals the one that was served longest ago is first
        state.queue[chosen.manager] = state.queue.pop(chosen.manager)
        d.put(replace(chosen, state=advance("job", chosen.state, AgentJobState.STARTING)))
        d.act(StartJob(key=chosen.key))


# --- from process to result ----------------------------------------------------------------------


def on_started(d: AgentDraft, event: JobStarted) -> None:
    """The process runs."""
    job = d.get(AgentJob, event.key)
    if job is None or job.state is not AgentJobState.STARTING:
        return
    move(d, replace(job, started_at=event.at or d.now, due=silent_until(d, job)), AgentJobState.RUNNING)


def silent_until(d: AgentDraft, job: AgentJob) -> int:
    """When a running job is stopped for want of word from its manager; 0: it is kept."""
    job_type = d.state.job_types.get(job.job_type)
    if job_type is None or not job_type.stop_after:
        return 0
    peer = d.get(Peer, job.manager)
    return max(peer.last_contact if peer is not None else 0, job.created_at) + job_type.stop_after


def on_exited(d: AgentDraft, event: JobExited) -> None:
    """What the exit file says is what is reported, also when a kill was on its way."""
    job = d.get(AgentJob, event.key)
    if job is None or job.state not in STARTED:
        return
    for name, value in event.outputs.items():
        d.put(AgentOutput(manager=job.manager, job_uuid=job.job_uuid, name=name, value=value))
    state = event.state
    if state is AgentJobState.FAILED and job.state is AgentJobState.KILLING:
        state = AgentJobState.KILLED
    job = replace(
        job,
        exit_code=event.exit_code,
        failure_class={
            AgentJobState.FAILED: event.failure_class,
            AgentJobState.KILLED: job.failure_class,
        }.get(state, FailureClass.UNSPECIFIED),
        manifest={name: value_digest(value) for name, value in event.outputs.items()},
        stdout_tail=event.stdout_tail,
        stderr_tail=event.stderr_tail,
        wall=event.wall,
        cpu=event.cpu,
        max_rss=event.max_rss,
        started_at=event.started_at or job.started_at,
        ended_at=event.ended_at or d.now,
    )
    job = move(d, job, state, (job.kill_info if state is AgentJobState.KILLED else "") or event.info)
    d.note("job_ended", job=job.job_uuid, job_type=job.job_type, state=str(state), exit_code=job.exit_code)


def kill(
    d: AgentDraft, job: AgentJob, why: str, failure_class: FailureClass = FailureClass.UNSPECIFIED
) -> None:
    """Stop a job wherever it is; one that has ended says how it ended.

    ``failure_class`` says on whose behalf, if it is not the manager's: it decides against which budget of
    the step the attempt counts.
    """
    if job.state not in ENDED:
        job = replace(job, failure_class=failure_class)
    if job.state in (AgentJobState.PENDING, AgentJobState.QUEUED):
        move(d, replace(job, kill_info=why[:300]), AgentJobState.KILLED, why[:300])
    elif job.state in (AgentJobState.STARTING, AgentJobState.RUNNING, AgentJobState.PAUSED):
        killing = advance("job", job.state, AgentJobState.KILLING)
        d.put(replace(job, state=killing, kill_info=why[:300]))
        d.act(SignalJob(key=job.key, kind=SignalKind.KILL))
    elif job.state is AgentJobState.KILLING:
        d.act(SignalJob(key=job.key, kind=SignalKind.KILL))
    else:
        report(d, job)


def on_kill(d: AgentDraft, origin: Origin, m: JobKill) -> None:
    """Kill, or remember the wish for a job that has not come yet."""
    job = d.get(AgentJob, (origin.uri, m.job_uuid))
    if job is not None:
        kill(d, job, m.kill_info or "killed by the manager")
        return
    if len(d.state.tombstones.get(origin.uri, ())) >= MAX_TOMBSTONES:
        unknown(d, origin.uri, m.job_uuid)
        return
    d.put(
        AgentJob(
            manager=origin.uri,
            job_uuid=m.job_uuid,
            offer_uuid=b"",
            request_uuid=b"",
            state=AgentJobState.KILLED,
            released=True,
            info="killed before it was known",
            created_at=d.now,
            ended_at=d.now,
        )
    )
    unknown(d, origin.uri, m.job_uuid)


def on_status_request(d: AgentDraft, origin: Origin, m: JobStatusRequest) -> None:
    """Say the state again; the sequence does not rise."""
    job = d.get(AgentJob, (origin.uri, m.job_uuid))
    if job is None:
        unknown(d, origin.uri, m.job_uuid)
    elif is_base(job.manager):
        if job.state is AgentJobState.PENDING:
            d.send(job.manager, JobStatusUpdate(job_uuid=job.job_uuid, job_status=JobStatus.PENDING))
    else:
        report(d, job)


def on_release(d: AgentDraft, origin: Origin, m: JobRelease) -> None:
    """The manager has everything: stop repeating, let the spool go."""
    job = d.get(AgentJob, (origin.uri, m.job_uuid))
    if job is None or job.released or job.state not in ENDED:
        return
    d.put(replace(job, released=True, due=0))
    d.act(ForgetJob(key=job.key))


def pause(d: AgentDraft, job: AgentJob, why: str = "") -> None:
    """Suspend a running job."""
    move(d, replace(job, info=why), AgentJobState.PAUSED)
    d.act(SignalJob(key=job.key, kind=SignalKind.PAUSE))


def resume(d: AgentDraft, job: AgentJob) -> None:
    """Let a paused job go on."""
    move(d, replace(job, info=""), AgentJobState.RUNNING)
    d.act(SignalJob(key=job.key, kind=SignalKind.RESUME))


def on_pause(d: AgentDraft, origin: Origin, m: JobPause) -> None:
    """Suspend a running job; any other says how it stands."""
    job = d.get(AgentJob, (origin.uri, m.job_uuid))
    if job is None:
        unknown(d, origin.uri, m.job_uuid)
    elif job.state is AgentJobState.RUNNING:
        pause(d, job)
    else:
        report(d, job)


def on_resume(d: AgentDraft, origin: Origin, m: JobResume) -> None:
    """Let a suspended job go on; any other says how it stands, and so does one that is held here."""
    job = d.get(AgentJob, (origin.uri, m.job_uuid))
    if job is None:
        unknown(d, origin.uri, m.job_uuid)
    elif job.state is AgentJobState.PAUSED and job.info != HELD_HERE:
        resume(d, job)
    else:
        report(d, job)


def on_log_request(d: AgentDraft, origin: Origin, m: JobLogRequest) -> None:
    """The shell reads the file where policy allows it, and says so where it does not."""
    if is_base(origin.uri):
        return
    send = SendLog(
        key=(origin.uri, m.job_uuid),
        to=origin.uri,
        stream=m.stream,
        offset=m.offset,
        max_bytes=m.max_bytes,
    )
    job = d.get(AgentJob, send.key)
    if job is not None and job.offer_uuid:
        send = replace(
            send,
            job_type=job.job_type,
            definition_revision=job.definition_revision,
            request_uuid=job.request_uuid,
            ended=job.state in ENDED,
            wrote=bool(job.stdout_tail if m.stream == "stdout" else job.stderr_tail),
        )
    d.act(send)


def on_report_request(d: AgentDraft, origin: Origin, m: JobReportRequest) -> None:
    """Tell how we stand; and learn whether we were put back."""
    if d.state.policy.knows(origin.uri) and was_put_back(d, origin, m):
        renew_stream(d, m.seen_stream)
        d.note("database_was_put_back")
    report_all(d, origin.uri, m.report_uuid)


def on_job_due(d: AgentDraft, job: AgentJob) -> None:
    """Inputs that never came, or a result that nobody has confirmed."""
    if job.state is AgentJobState.PENDING:
        failed = replace(job, failure_class=FailureClass.INPUT)
        move(d, failed, AgentJobState.FAILED, "the inputs did not come in time")
    elif job.state in ENDED and not job.released:
        wait = min(d.settings.result_resend * 2 ** min(job.tries + 1, 16), d.settings.result_resend_cap)
        job = d.put(replace(job, tries=job.tries + 1, due=d.now + wait))
        report(d, job)
    elif job.state in (AgentJobState.RUNNING, AgentJobState.PAUSED):
        lost_at = silent_until(d, job)
        if 0 < lost_at <= d.now:
            kill(d, replace(job, due=0), "its manager has been silent for too long", FailureClass.LOST)
        else:
            d.put(replace(job, due=lost_at))
    else:
        d.put(replace(job, due=0))


def reconnected(d: AgentDraft) -> None:
    """The broker is back: managers may have missed results; repeat those that are unconfirmed."""
    for key in list(d.state.unreleased):
        job = d.get(AgentJob, key)
        if job is not None and job.tries > 0:
            d.put(replace(job, tries=1, due=d.now + d.settings.result_resend))
            report(d, job)
