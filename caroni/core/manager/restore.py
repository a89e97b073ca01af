"""After our database was put back from a backup: nothing is killed, and what can be taken up again is.

For a day (``restore_hold``) an agent's job that this database does not know may be one that it has
forgotten. Such a job is adopted if the step it was for still waits for one; else it is kept as an orphan,
shown to the operator, and only stopped when the hold is over. A step that must run at most once may have
run in the time that is lost: it is held until an operator says what to do.
"""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core.draft import Origin
from caroni.core.manager.delivery import reject_standbys, release, say_reject
from caroni.core.manager.held import held_changed, hold_step
from caroni.core.manager.state import LIVE_STATUS, ManagerDraft
from caroni.core.messages import JobFulfillmentOffer, JobKill, JobReportRequest, JobStatus
from caroni.core.peers import heard_of, renew_stream, role_of
from caroni.core.plan import HOUR, MINUTE
from caroni.core.rows import NO_JOB, Job, Orphan, Peer, Request, Step
from caroni.core.states import JobState, RequestState, StepState, advance, is_terminal

#: orphans kept for each agent; more are not remembered, and not killed within the hold either
MAX_ORPHANS = 1000
#: stands where the wire wants a request's id and none is known
NO_REQUEST = bytes(16)
#: one agent is asked for a report at most this often; if it does not answer, this often
_ASK_EVERY = MINUTE
_ASK_AGAIN = HOUR
#: a report that came within this time tells that we have forgotten nothing of its agent
_RECENT = 10 * MINUTE


def in_hold(d: ManagerDraft) -> bool:
    """Whether jobs that we do not know may be our own."""
    return d.now < d.state.hold_until


def begin_hold(d: ManagerDraft, heard: int = 0) -> None:
    """The database is older than what it has said: renew the stream, kill nothing, ask everybody.

    ``heard``: the stream of ours that a peer has heard.
    """
    d.hold_until(d.now + d.settings.restore_hold)
    d.put_back()
    renew_stream(d, heard)
    for row in list(d.state.tables[Step].values()):
        assert isinstance(row, Step)
        if is_terminal(row.state) or row.job_uuid or not d.plan_step(row).policy.at_most_once:
            continue
        step = d.put(replace(row, doubtful=True))
        if step.state is StepState.FULFILLING:
            # silently: to reject its offers would kill what may run
            request = d.get(Request, step.request_uuid)
            if request is not None and not is_terminal(request.state):
                d.put(
                    replace(request, state=advance("request", request.state, RequestState.WITHDRAWN), due=0)
                )
            hold_step(d, step, "the database was put back: this step may have run already")
    d.note("database_was_put_back", hold_until=d.state.hold_until)
    for peer in list(d.state.tables[Peer].values()):
        assert isinstance(peer, Peer)
        if role_of(peer.uri) == "agent":
            ask_report(d, peer.uri)


def move_hold(d: ManagerDraft, by: int) -> None:
    """The clock was set: the hold lasts as long as it was meant to."""
    if d.state.hold_until:
        d.hold_until(max(d.state.hold_until + by, 1))


def ask_report(d: ManagerDraft, agent: str) -> None:
    """Have an agent list every job of ours; not more often than needed."""
    peer = d.get(Peer, agent) or Peer(uri=agent, first_contact=d.now)
    if peer.reported_at >= peer.report_asked_at:
        early = max(d.state.started_at, d.now - _ASK_EVERY)
    else:  # the question waits where the agent will find it, also through our own starts
        early = d.now - _ASK_AGAIN
    if peer.report_asked_at > early:
        return
    d.put(replace(peer, report_asked_at=d.now))
    stream, sequence = heard_of(d, agent)
    d.send(agent, JobReportRequest(report_uuid=d.new_id(), seen_stream=stream, seen_sequence=sequence))


def stranger(
    d: ManagerDraft, origin: Origin, job_uuid: bytes, status: JobStatus, offer_uuid: bytes = b""
) -> Job | None:
    """A job that is not known here speaks. Gives the job if it was adopted.

    Outside the hold it is stopped (by its offer, if that is what was named), or released if it has ended;
    but not before the agent has told how much it has heard of us: so we learn that we were put back.
    """
    if in_hold(d):
        job = _adopt(d, origin, job_uuid)
        if job is None:
            _keep(d, origin, job_uuid, status)
        return job
    if not _told_lately(d, origin.uri):
        ask_report(d, origin.uri)
    elif offer_uuid:
        say_reject(d, origin.uri, origin.conversation_id or NO_REQUEST, offer_uuid, "not known here")
    elif status in LIVE_STATUS:
        d.send(
            origin.uri,
            JobKill(job_uuid=job_uuid, kill_info="this job is not known here"),
            origin.conversation_id,
        )
    else:
        release(d, origin.uri, job_uuid, origin.conversation_id)
    return None


def unasked(d: ManagerDraft, origin: Origin, m: JobFulfillmentOffer) -> None:
    """An offer for a request that is not known here: rejected, as its reservation serves nobody.

    But not if it may have become a job in the time that is lost, or before we know that none is lost.
    """
    if in_hold(d):
        return
    if _told_lately(d, origin.uri):
        say_reject(d, origin.uri, m.request_uuid, m.offer_uuid, "this request is not known here")
    else:
        ask_report(d, origin.uri)


def _told_lately(d: ManagerDraft, agent: str) -> bool:
    """Whether this agent has told in this life of ours how much it has heard of us."""
    peer = d.get(Peer, agent)
    return peer is not None and peer.reported_at >= max(d.state.started_at, d.now - _RECENT)


def _adopt(d: ManagerDraft, origin: Origin, job_uuid: bytes) -> Job | None:
    """Take the job up if the request that it belongs to is the one its step still waits with."""
    request = d.get(Request, origin.conversation_id) if origin.conversation_id else None
    step = d.step((request.workflow_uuid, request.step_index)) if request is not None else None
    if (
        request is None
        or step is None
        or step.request_uuid != request.request_uuid
        or step.current != NO_JOB
        or step.state not in (StepState.FULFILLING, StepState.HELD)
        or request.state not in (RequestState.OPEN, RequestState.WITHDRAWN)
    ):
        return None
    plan_step = d.plan_step(step)
    if not d.state.policy.may_serve(origin.uri, plan_step.job_type, plan_step.policy.data_class):
        return None
    reject_standbys(d, request, "a job of the time before the restore has this step")
    if request.state is RequestState.OPEN:
        accepting = advance("request", request.state, RequestState.ACCEPTING)
        d.put(
            replace(
                request,
                state=advance("request", accepting, RequestState.FULFILLED),
                agent=origin.uri,
                due=0,
            )
        )
    job = d.put(
        Job(
            agent=origin.uri,
            job_uuid=job_uuid,
            workflow_uuid=step.workflow_uuid,
            step_index=step.index,
            attempt=request.attempt,
            request_uuid=request.request_uuid,
            offer_uuid=b"",
            state=JobState.PENDING,
            due=d.now + d.settings.poll,
            accepted_at=d.now,
        )
    )
    was_held = step.state is StepState.HELD
    d.put(
        replace(
            step,
            state=advance("step", step.state, StepState.FULFILLED),
            agent=job.agent,
            job_uuid=job.job_uuid,
            jobs=(*step.jobs, job.key),
            doubtful=False,
        )
    )
    if was_held:
        held_changed(d, step.workflow_uuid)
    known = d.get(Orphan, job.key)
    if known is not None:
        d.put(replace(known, due=0, info="adopted"))
    d.note("job_adopted", workflow=step.workflow_uuid, step=step.name, agent=job.agent, job=job.job_uuid)
    return job


def _keep(d: ManagerDraft, origin: Origin, job_uuid: bytes, status: JobStatus) -> None:
    orphan = d.get(Orphan, (origin.uri, job_uuid))
    if orphan is None:
        if d.state.orphans_of.get(origin.uri, 0) >= MAX_ORPHANS:
            return
        orphan = Orphan(
            agent=origin.uri, job_uuid=job_uuid, request_uuid=origin.conversation_id, first_at=d.now
        )
        d.note("orphan_job", agent=origin.uri, job=job_uuid, status=status.name.lower())
    d.put(replace(orphan, status=status, last_at=d.now, due=d.state.hold_until))


def stop_orphan(d: ManagerDraft, orphan: Orphan, why: str) -> None:
    """Nobody has claimed the job: have it stopped, or forgotten if it has ended."""
    d.put(replace(orphan, due=0, info=why[:300]))
    if orphan.status in LIVE_STATUS:
        d.send(orphan.agent, JobKill(job_uuid=orphan.job_uuid, kill_info=why[:300]), orphan.request_uuid)
    else:
        release(d, orphan.agent, orphan.job_uuid, orphan.request_uuid)


def on_orphan_due(d: ManagerDraft, orphan: Orphan) -> None:
    """The hold is over; unless the agent can tell that we were put back once more since."""
    if not _told_lately(d, orphan.agent) and d.now < orphan.last_at + d.settings.abandon_after:
        ask_report(d, orphan.agent)
        d.put(replace(orphan, due=d.now + _RECENT // 2))
        return
    if in_hold(d):
        d.put(replace(orphan, due=d.state.hold_until))
        return
    stop_orphan(d, orphan, "the hold after the restore is over, and nobody asked for this job")
