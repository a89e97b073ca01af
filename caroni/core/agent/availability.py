"""Whether this agent takes work: drained or sent away by its operator, closed by its schedule.

Draining: nothing new, what is there is finished, and killed after the deadline if there is one. Away: an
announced absence, within which managers do not give its jobs up; nothing is begun, what runs goes on.
The schedule's windows are absences that come by themselves; they are announced a little ahead, because
the host may be switched off on the minute.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from caroni.core.agent.jobs import kill
from caroni.core.agent.offers import revoke_open_offers
from caroni.core.agent.state import ENDED, AgentDraft, AgentState, Announce, Started
from caroni.core.commands import Drain, GoOffline, GoOnline, Undrain
from caroni.core.messages import AgentPresence, FailureClass, PresenceState
from caroni.core.peers import renew_stream
from caroni.core.plan import MINUTE
from caroni.core.rows import AgentJob, Availability
from caroni.errors import CommandRefused

#: a window of the schedule is announced so long before it begins
AHEAD = 10 * MINUTE
#: nobody plans further ahead, and managers give up sooner
MAX_ABSENCE = 366 * 24 * 60 * MINUTE


def presence(state: AgentState, now: int, boot_id: bytes, number: int) -> AgentPresence:
    """What to tell the managers now."""
    row = state.availability
    until = max(state.closed_until(now), state.closed_until(now + AHEAD))
    if until > now:
        said, offline, draining = PresenceState.OFFLINE, until - now, 0
    elif row.draining:
        said, offline = PresenceState.DRAINING, 0
        draining = max(row.drain_deadline - now, 0)
    else:
        said, offline, draining = PresenceState.ONLINE, 0, 0
    return AgentPresence(
        state=said,
        offline_for=offline,
        draining_for=draining,
        job_types=tuple(sorted(state.job_types))[:1000],
        boot_id=boot_id,
        number=number,
    )


def operate(d: AgentDraft, command: Drain | Undrain | GoOffline | GoOnline) -> dict[str, Any]:
    """Carry out an operator's command; gives the availability that follows and what is left to do.

    Raises:
        CommandRefused: the duration is none that anybody would wait for.
    """
    row = d.state.availability
    match command:
        case Drain():
            _check(command.deadline)
            deadline = d.now + command.deadline if command.deadline else 0
            row = replace(row, draining=True, drain_deadline=deadline)
            revoke_open_offers(d, "this agent is draining")
        case Undrain():
            row = replace(row, draining=False, drain_deadline=0)
        case GoOffline():
            _check(command.duration)
            row = replace(row, away_until=d.now + command.duration)
            revoke_open_offers(d, "this agent goes offline")
        case GoOnline():
            row = replace(row, away_until=0)
    row = _arm(d, row)
    d.act(Announce())
    left = sum(1 for job in _jobs(d) if job.state not in ENDED)
    d.note(f"operator_{command.__struct_config__.tag}", jobs_left=left)
    return {
        "draining": row.draining,
        "drain_deadline": row.drain_deadline,
        "away_until": d.state.closed_until(d.now),
        "jobs_left": left,
    }


def _check(duration: int) -> None:
    if not 0 <= duration <= MAX_ABSENCE:
        raise CommandRefused("the duration must be between nothing and 366 days")


def on_started(d: AgentDraft, event: Started) -> None:
    """This process has loaded its rows: arm what the schedule says."""
    if event.put_back:
        renew_stream(d)
    row = d.state.availability
    if row.draining or row.away_until or d.state.policy.window(d.now) != (0, 0):
        on_due(d, row)


def on_due(d: AgentDraft, row: Availability) -> None:
    """A deadline, the end of an absence, or a turn of the schedule."""
    if row.drain_deadline and row.drain_deadline <= d.now:
        row = replace(row, drain_deadline=0)
        for job in _jobs(d):
            if job.state not in ENDED:
                kill(d, job, "the agent was drained and its deadline has come", FailureClass.AGENT)
    if row.away_until and row.away_until <= d.now:
        row = replace(row, away_until=0)
    _arm(d, row)
    if d.state.closed_until(d.now):
        revoke_open_offers(d, "this agent is offline by its schedule")
    d.act(Announce())


def _arm(d: AgentDraft, row: Availability) -> Availability:
    start, end = d.state.policy.window(d.now)
    turns = [row.drain_deadline, row.away_until, start - AHEAD if start else 0, start, end]
    return d.put(replace(row, due=min((turn for turn in turns if turn > d.now), default=0)))


def _jobs(d: AgentDraft) -> list[AgentJob]:
    return [j for j in d.state.tables[AgentJob].values() if isinstance(j, AgentJob) and j.offer_uuid]
