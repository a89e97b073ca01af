"""Jobs as their agent runs them: inputs in, queue, process, outputs out, until released.

``seq`` rises with every change that the manager should hear of; a report that is asked for repeats the
current one.
"""

from __future__ import annotations

from collections.abc import Hashable

from msgspec.structs import replace

from caroni.core.agent.state import (
    ENDED,
    STARTED,
    AgentDraft,
    ForgetJob,
    FoundJob,
    JobExited,
    JobsFound,
    JobStarted,
    RecoverJob,
    SendLog,
    SignalJob,
    SignalKind,
    StartJob,
)
from caroni.core.base_peers import is_base, statuses, typed
from caroni.core.cwltypes import ValueMismatch, check_json
from caroni.core.draft import Origin, Outgoing, RenewStream
from caroni.core.ids import job_uuid_of, value_digest
from caroni.core.messages import (
    FailureClass,
    JobDataAvailable,
    JobKill,
    JobLogRequest,
    JobPause,
    JobRelease,
    JobReport,
    JobReportEntry,
    JobReportRequest,
    JobResume,
    JobStatus,
    JobStatusRequest,
    JobStatusUpdate,
    Json,
    Message,
    ResourceUse,
)
from caroni.core.peers import heard_of, renew_stream, was_put_back
from caroni.core.rows import AgentInput, AgentJob, AgentOffer, AgentOutput, Peer
from caroni.core.states import AgentJobState, AgentOfferState, advance

_STATUS = {
    AgentJobState.PENDING: JobStatus.PENDING,
    AgentJobState.QUEUED: JobStatus.QUEUED,
    AgentJobState.STARTING: JobStatus.QUEUED,
    AgentJobState.RUNNING: JobStatus.RUNNING,
    AgentJobState.PAUSED: JobStatus.PAUSED,
    AgentJobState.KILLING: JobStatus.RUNNING,
    AgentJobState.COMPLETED: JobStatus.COMPLETED,
    AgentJobState.FAILED: JobStatus.FAILED,
    AgentJobState.KILLED: JobStatus.KILLED,
}

#: said of a job that the operator of the agent has suspended: only he lets it go on
HELD_HERE = "suspended by the operator of the agent"
#: kills of unknown jobs that are remembered for each manager; nobody honest needs more than a handful
MAX_TOMBSTONES = 1000


# --- saying --------------------------------------------------------------------------------------


def report(d: AgentDraft, job: AgentJob) -> None:
    """Say the job's state; with a completed one, its outputs."""
    if not job.offer_uuid:  # only the memory of a kill: to say "killed" would say that it never ran
        _unknown(d, job.manager, job.job_uuid)
        return
    if is_base(job.manager):
        return  # it hears of each change once (``_tell_base``), and of nothing again
    if job.state is AgentJobState.COMPLETED:
        _send_outputs(d, job)
    usage = ResourceUse(wall=job.wall, cpu=job.cpu, max_rss=job.max_rss) if job.ended_at else None
    d.send(
        job.manager,
        JobStatusUpdate(
            job_uuid=job.job_uuid,
            job_status=_STATUS[job.state],
            status_info=job.info,
            seq=job.seq,
            attempt=job.attempt,
            occurred_at=job.ended_at or job.started_at or job.queued_at or job.created_at,
            progress=job.progress,
            exit_code=job.exit_code,
            failure_class=job.failure_class,
            manifest=job.manifest,
            stdout_tail=job.stdout_tail,
            stderr_tail=job.stderr_tail,
            usage=usage,
        ),
        job.request_uuid,
    )


def _send_outputs(d: AgentDraft, job: AgentJob) -> None:
    chunk: dict[str, Json] = {}
    size = 0
    for name in job.manifest:
        output = d.get(AgentOutput, (*job.key, name))
        if output is None:
            continue
        if chunk and size + len(output.value) > d.settings.data_chunk:
            d.send(job.manager, JobDataAvailable(job_uuid=job.job_uuid, parameters=chunk), job.request_uuid)
            chunk, size = {}, 0
        chunk[name] = output.value
        size += len(output.value)
    if chunk:
        d.send(job.manager, JobDataAvailable(job_uuid=job.job_uuid, parameters=chunk), job.request_uuid)


def _unknown(d: AgentDraft, manager: str, job_uuid: bytes) -> None:
    d.send(
        manager,
        JobStatusUpdate(
            job_uuid=job_uuid, job_status=JobStatus.UNKNOWN, status_info="this job is not known here"
        ),
    )


def _move(d: AgentDraft, job: AgentJob, state: AgentJobState, info: str = "") -> AgentJob:
    """Change the state, raise the sequence, tell the manager."""
    job = replace(job, state=advance("job", job.state, state), seq=job.seq + 1, info=info or job.info)
    if state in ENDED:
        job = replace(job, ended_at=job.ended_at or d.now, tries=0, due=d.now + d.settings.result_resend)
    if is_base(job.manager):
        return _tell_base(d, job)
    d.put(job)
    report(d, job)
    return job


def _tell_base(d: AgentDraft, job: AgentJob) -> AgentJob:
    """Say what is new to a manager of the base protocol; it releases nothing, so the end is that too."""
    for status in statuses(d.get(AgentJob, job.key), job):
        update = JobStatusUpdate(job_uuid=job.job_uuid, job_status=status, status_info=job.info)
        d.send(job.manager, update, job.request_uuid)
    if job.state in ENDED:
        for name in job.manifest if job.state is AgentJobState.COMPLETED else ():
            output = d.get(AgentOutput, (*job.key, name))
            if output is not None:
                data = JobDataAvailable(job_uuid=job.job_uuid, parameters={name: output.value})
                d.send(job.manager, data, job.request_uuid)
        job = replace(job, released=True, due=0)
        d.act(ForgetJob(key=job.key))
    return d.put(job)


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
    return _move(d, replace(job, missing=0, queued_at=d.now, due=0), AgentJobState.QUEUED)


def on_data(d: AgentDraft, origin: Origin, m: JobDataAvailable) -> None:
    """Take inputs, each once; queue the job when the last one is here."""
    job = d.get(AgentJob, (origin.uri, m.job_uuid))
    if job is None:
        _unknown(d, origin.uri, m.job_uuid)
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
                _move(d, failed, AgentJobState.FAILED, f"input {name}: {error}"[:500])
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


def keep_newest_status(d: AgentDraft) -> None:
    """Of several statuses of one job in one unit of work only the newest says anything; the last step.

    So it is with its outputs, which are the same each time, and with reports of all jobs: of those the last
    says all that the others say. Base peers hear everything once and in order.
    """
    newest: dict[Hashable, Message] = {}
    repeats = False
    for outgoing in d.messages:
        about = _about(outgoing)
        if about is not None:
            repeats |= about in newest
            newest[about] = outgoing.message
    if repeats:
        d.messages = [o for o in d.messages if (a := _about(o)) is None or newest[a] is o.message]


def _about(outgoing: Outgoing) -> Hashable:
    """What a status, outputs or a report are about; None for anything of which each one counts."""
    message = outgoing.message
    if type(message) is JobStatusUpdate and not is_base(outgoing.to):
        return (outgoing.to, message.job_uuid)
    if type(message) is JobDataAvailable and not is_base(outgoing.to):
        return (outgoing.to, message.job_uuid, *message.parameters)
    if type(message) is JobReport:
        return (outgoing.to, JobReport)
    return None


# --- from process to result ----------------------------------------------------------------------


def on_started(d: AgentDraft, event: JobStarted) -> None:
    """The process runs."""
    job = d.get(AgentJob, event.key)
    if job is None or job.state is not AgentJobState.STARTING:
        return
    _move(d, replace(job, started_at=event.at or d.now, due=_lost_at(d, job)), AgentJobState.RUNNING)


def on_found(d: AgentDraft, event: JobsFound) -> None:
    """Take up again what this database has forgotten; from then on these are jobs like any other.

    That it has forgotten something means that it was put back: what is said from here on is said in a new
    stream, so that it counts as newer than what managers have heard.
    """
    taken = [job for found in event.jobs if (job := _take_up(d, found)) is not None]
    if not taken:
        return
    if not any(isinstance(action, RenewStream) for action in d.actions):
        renew_stream(d)
    for job in taken:
        d.note("job_found", job=job.job_uuid, manager=job.manager, job_type=job.job_type)
        d.act(RecoverJob(key=job.key))
        report(d, job)


def _take_up(d: AgentDraft, found: FoundJob) -> AgentJob | None:
    manager, job_uuid = found.key
    job = d.get(AgentJob, found.key)
    if job is None:
        _take_up_offer(d, found)
        job = AgentJob(
            manager=manager,
            job_uuid=job_uuid,
            offer_uuid=found.offer_uuid,
            request_uuid=found.request_uuid,
            state=AgentJobState.STARTING,
            job_type=found.job_type,
            job_type_version=found.job_type_version,
            definition_revision=found.definition_revision,
            parameters=found.parameters,
            attempt=found.attempt,
            max_runtime=found.max_runtime,
            created_at=d.now,
        )
    elif job.state is AgentJobState.PENDING:
        job = replace(job, state=advance("job", job.state, AgentJobState.QUEUED))
    elif job.state is not AgentJobState.QUEUED:
        return None  # it is known how it stands
    if job.state is AgentJobState.QUEUED:
        job = replace(job, state=advance("job", job.state, AgentJobState.STARTING))
    if found.paused:
        running = replace(job, state=advance("job", job.state, AgentJobState.RUNNING))
        job = replace(
            running, state=advance("job", running.state, AgentJobState.PAUSED), due=_lost_at(d, job)
        )
    else:
        job = replace(job, due=0)
    for name, value in found.inputs.items():
        if name in job.parameters and d.get(AgentInput, (*job.key, name)) is None:
            d.put(AgentInput(manager=manager, job_uuid=job_uuid, name=name, value=value))
    return d.put(replace(job, missing=0, seq=job.seq + 1, queued_at=job.queued_at or d.now))


def _take_up_offer(d: AgentDraft, found: FoundJob) -> None:
    """The job's offer was accepted, whatever this database says of it."""
    offer = d.get(AgentOffer, (found.key[0], found.offer_uuid))
    if offer is None:
        d.put(
            AgentOffer(
                manager=found.key[0],
                offer_uuid=found.offer_uuid,
                request_uuid=found.request_uuid,
                state=AgentOfferState.ACCEPTED,
                job_type=found.job_type,
                job_type_version=found.job_type_version,
                definition_revision=found.definition_revision,
                parameters=found.parameters,
                attempt=found.attempt,
                max_runtime=found.max_runtime,
                created_at=d.now,
            )
        )
    elif offer.state in (AgentOfferState.OPEN, AgentOfferState.EXPIRED):
        d.put(replace(offer, state=advance("offer", offer.state, AgentOfferState.ACCEPTED), due=0))


def _lost_at(d: AgentDraft, job: AgentJob) -> int:
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
    job = _move(d, job, state, (job.kill_info if state is AgentJobState.KILLED else "") or event.info)
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
        _move(d, replace(job, kill_info=why[:300]), AgentJobState.KILLED, why[:300])
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
        _unknown(d, origin.uri, m.job_uuid)
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
    _unknown(d, origin.uri, m.job_uuid)


def on_status_request(d: AgentDraft, origin: Origin, m: JobStatusRequest) -> None:
    """Say the state again; the sequence does not rise."""
    job = d.get(AgentJob, (origin.uri, m.job_uuid))
    if job is None:
        _unknown(d, origin.uri, m.job_uuid)
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
    _move(d, replace(job, info=why), AgentJobState.PAUSED)
    d.act(SignalJob(key=job.key, kind=SignalKind.PAUSE))


def resume(d: AgentDraft, job: AgentJob) -> None:
    """Let a paused job go on."""
    _move(d, replace(job, info=""), AgentJobState.RUNNING)
    d.act(SignalJob(key=job.key, kind=SignalKind.RESUME))


def on_pause(d: AgentDraft, origin: Origin, m: JobPause) -> None:
    """Suspend a running job; any other says how it stands."""
    job = d.get(AgentJob, (origin.uri, m.job_uuid))
    if job is None:
        _unknown(d, origin.uri, m.job_uuid)
    elif job.state is AgentJobState.RUNNING:
        pause(d, job)
    else:
        report(d, job)


def on_resume(d: AgentDraft, origin: Origin, m: JobResume) -> None:
    """Let a suspended job go on; any other says how it stands, and so does one that is held here."""
    job = d.get(AgentJob, (origin.uri, m.job_uuid))
    if job is None:
        _unknown(d, origin.uri, m.job_uuid)
    elif job.state is AgentJobState.PAUSED and job.info != HELD_HERE:
        resume(d, job)
    else:
        report(d, job)


def on_log_request(d: AgentDraft, origin: Origin, m: JobLogRequest) -> None:
    """The shell reads the file, where policy allows it."""
    job = d.get(AgentJob, (origin.uri, m.job_uuid))
    if job is not None and job.offer_uuid:
        d.act(SendLog(key=job.key, to=origin.uri, stream=m.stream, offset=m.offset, max_bytes=m.max_bytes))


def on_report_request(d: AgentDraft, origin: Origin, m: JobReportRequest) -> None:
    """Tell how we stand; and learn whether we were put back."""
    if d.state.policy.knows(origin.uri) and was_put_back(d, origin, m):
        renew_stream(d, m.seen_stream)
        d.note("database_was_put_back")
    report_all(d, origin.uri, m.report_uuid)


def report_all(d: AgentDraft, manager: str, report_uuid: bytes) -> None:
    """Every unreleased job of a manager that is in memory, which is every one there is."""
    entries = tuple(
        JobReportEntry(job_uuid=job.job_uuid, job_status=_STATUS[job.state], seq=job.seq)
        for job in d.state.tables[AgentJob].values()
        if isinstance(job, AgentJob) and job.manager == manager and not job.released
    )
    stream, sequence = heard_of(d, manager)
    d.send(
        manager,
        JobReport(
            report_uuid=report_uuid,
            boot_id=d.state.boot_id,
            jobs=entries[:5000],
            complete=len(entries) <= 5000,
            seen_stream=stream,
            seen_sequence=sequence,
        ),
    )


def on_job_due(d: AgentDraft, job: AgentJob) -> None:
    """Inputs that never came, or a result that nobody has confirmed."""
    if job.state is AgentJobState.PENDING:
        failed = replace(job, failure_class=FailureClass.INPUT)
        _move(d, failed, AgentJobState.FAILED, "the inputs did not come in time")
    elif job.state in ENDED and not job.released:
        wait = min(d.settings.result_resend * 2 ** min(job.tries + 1, 16), d.settings.result_resend_cap)
        job = d.put(replace(job, tries=job.tries + 1, due=d.now + wait))
        report(d, job)
    elif job.state in (AgentJobState.RUNNING, AgentJobState.PAUSED):
        lost_at = _lost_at(d, job)
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
