"""Agents as a whole, as the manager hears of them: contact, presence, and reports after a restart."""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core import peers
from caroni.core.draft import Origin
from caroni.core.manager.delivery import stop_job
from caroni.core.manager.fulfilment import ask_directly
from caroni.core.manager.held import holds
from caroni.core.manager.restore import ask_report, begin_hold, in_hold, stranger
from caroni.core.manager.state import GIVEN_UP_JOB, LIVE_JOB, LIVE_STATUS, ManagerDraft, Started
from caroni.core.messages import AgentPresence, JobReport, JobStatus, JobStatusRequest, PresenceState
from caroni.core.plan import SECOND
from caroni.core.rows import Job, JobKey, Peer


def contact(d: ManagerDraft, origin: Origin, sequence: int = 0) -> None:
    """Somebody was heard. An agent whose database is another one than before is asked what it has."""
    if peers.contact(d, origin, sequence) and peers.role_of(origin.uri) == "agent":
        ask_report(d, origin.uri)


def on_started(d: ManagerDraft, event: Started) -> None:
    """This process has just loaded its rows: agents with jobs of ours tell how they stand."""
    d.facts.append(("started_at", str(d.state.started_at)))  # for those who explain a lease
    if event.put_back:
        begin_hold(d)
    for agent in list(d.state.jobs_by_agent):
        ask_report(d, agent)


def on_report(d: ManagerDraft, origin: Origin, m: JobReport) -> None:
    """After a restart of either side: what differs is asked for, and so is what a full report leaves out."""
    if d.state.policy.knows(origin.uri) and peers.was_put_back(d, origin, m):
        begin_hold(d, m.seen_stream)
    if m.complete:
        peer = d.get(Peer, origin.uri) or Peer(uri=origin.uri, first_contact=d.now)
        d.put(replace(peer, reported_at=d.now))
    reported: dict[JobKey, JobStatus] = {(origin.uri, e.job_uuid): e.job_status for e in m.jobs}
    for key, status in reported.items():
        job = d.get(Job, key)
        if job is None:
            if in_hold(d):
                stranger(d, Origin(uri=origin.uri, stream_id=origin.stream_id), key[1], status)
            # its answer has the conversation, by which the job may be adopted; else it is stopped then
            d.send(origin.uri, JobStatusRequest(job_uuid=key[1]))
        elif job.state in GIVEN_UP_JOB and status in LIVE_STATUS:
            if holds(d.step((job.workflow_uuid, job.step_index)), job):
                d.send(origin.uri, JobStatusRequest(job_uuid=key[1]), job.request_uuid)
            else:
                stop_job(d, replace(job, kill_wanted=False), "another job has this step")
        elif job.state in LIVE_JOB and (status not in LIVE_STATUS or LIVE_STATUS[status] is not job.state):
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
    if (origin.stream_id, m.number) < (peer.stream_id, peer.presence_number):
        return
    back = peer.presence in (PresenceState.OFFLINE, PresenceState.DRAINING)
    pause = SECOND if back else d.settings.rebroadcast
    ask = m.state is PresenceState.ONLINE and d.now - peer.asked_at >= pause
    away = min(m.offline_for, d.settings.abandon_after) if m.state is PresenceState.OFFLINE else 0
    rebooted = bool(peer.boot_id and m.boot_id and peer.boot_id != m.boot_id)
    d.put(
        replace(
            peer,
            last_contact=d.now,
            stream_id=origin.stream_id,
            presence=m.state,
            presence_number=m.number,
            boot_id=m.boot_id,
            away_until=d.now + away if away else 0,
            asked_at=d.now if ask else peer.asked_at,
        )
    )
    if rebooted and d.state.jobs_by_agent.get(origin.uri):
        ask_report(d, origin.uri)
    if ask:
        ask_directly(d, origin.uri, m.job_types[:1000])
