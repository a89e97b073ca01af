"""Agents as a whole, as the manager hears of them: presence, and reports after a restart."""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core.draft import Origin
from caroni.core.manager.attempts import holds
from caroni.core.manager.delivery import stop_job
from caroni.core.manager.fulfilment import ask_directly
from caroni.core.manager.jobs import LIVE
from caroni.core.manager.state import GIVEN_UP_JOB, LIVE_JOB, ManagerDraft
from caroni.core.messages import AgentPresence, JobReport, JobStatus, JobStatusRequest, PresenceState
from caroni.core.rows import Job, JobKey, Peer


def on_report(d: ManagerDraft, origin: Origin, m: JobReport) -> None:
    """After a restart of either side: a job that a full report does not name is unknown there."""
    reported: dict[JobKey, JobStatus] = {(origin.uri, e.job_uuid): e.job_status for e in m.jobs}
    for key, status in reported.items():
        job = d.get(Job, key)
        if job is None:
            d.send(origin.uri, JobStatusRequest(job_uuid=key[1]))
        elif job.state in GIVEN_UP_JOB and status in LIVE:
            if holds(d.step((job.workflow_uuid, job.step_index)), job):
                d.send(origin.uri, JobStatusRequest(job_uuid=key[1]), job.request_uuid)
            else:
                stop_job(d, replace(job, kill_wanted=False), "another job has this step")
        elif job.state in LIVE_JOB and (status not in LIVE or LIVE[status] is not job.state):
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
    away = m.offline_for or m.draining_for
    ask = m.state is PresenceState.ONLINE and d.now - peer.asked_at >= d.settings.rebroadcast
    d.put(
        replace(
            peer,
            last_contact=d.now,
            stream_id=origin.stream_id,
            presence_number=m.number,
            boot_id=m.boot_id,
            away_until=d.now + min(away, d.settings.abandon_after) if away else 0,
            asked_at=d.now if ask else peer.asked_at,
        )
    )
    if ask:
        ask_directly(d, origin.uri, m.job_types[:1000])
