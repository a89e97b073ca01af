"""What the operator of an agent may do on its own host: to the agent, and to single jobs."""

from __future__ import annotations

from typing import Any

from caroni.core.agent import availability
from caroni.core.agent.jobs import HELD_HERE, kill, pause, resume
from caroni.core.agent.state import ENDED, AgentDraft
from caroni.core.commands import (
    AgentCommand,
    Drain,
    GoOffline,
    GoOnline,
    KillJob,
    PauseJob,
    ResumeJob,
    Undrain,
)
from caroni.core.messages import FailureClass
from caroni.core.rows import AgentJob
from caroni.core.states import AgentJobState
from caroni.errors import CommandRefused


def operate(d: AgentDraft, command: AgentCommand) -> dict[str, Any]:
    """Carry out a command; gives what it affected.

    Raises:
        CommandRefused: there is nothing it could apply to.
    """
    match command:
        case Drain() | Undrain() | GoOffline() | GoOnline():
            return availability.operate(d, command)
        case KillJob() | PauseJob() | ResumeJob():
            return _steer_job(d, command)


def _steer_job(d: AgentDraft, command: KillJob | PauseJob | ResumeJob) -> dict[str, Any]:
    job = d.get(AgentJob, (command.peer, command.job_uuid))
    if job is None or job.state in ENDED:
        raise CommandRefused("the job has ended" if job is None else f"the job is {job.state}")
    match command:
        case KillJob():
            why = command.reason or "killed by the operator of the agent"
            # the manager has not asked for it: the attempt does not count as a failure of the job
            kill(d, job, why[:300], FailureClass.POLICY)
        case PauseJob():
            if job.state is not AgentJobState.RUNNING:
                raise CommandRefused(f"the job is {job.state}: only a running job can be paused")
            pause(d, job, HELD_HERE)
        case ResumeJob():
            if job.state is not AgentJobState.PAUSED:
                raise CommandRefused(f"the job is {job.state}: only a paused job can be resumed")
            resume(d, job)
    after = d.get(AgentJob, job.key) or job
    d.note(f"operator_{command.__struct_config__.tag}", job=job.job_uuid, manager=job.manager)
    return {"state": str(after.state), "affected": 1}
