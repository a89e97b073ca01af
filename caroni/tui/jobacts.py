"""Killing, pausing and resuming jobs from a screen: what it means is said before, an id is typed to kill."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from caroni.core.commands import Command, KillJob, PauseJob, ResumeJob
from caroni.services import control
from caroni.services.jobdetail import JobShown
from caroni.services.jobs import JobOfAgent, JobOfManager
from caroni.services.words import plural, said

if TYPE_CHECKING:
    from caroni.tui.screens.base import ConsoleScreen

#: jobs that a question names one by one
_NAMED = 8
_KINDS: dict[str, type[KillJob | PauseJob | ResumeJob]] = {
    "kill": KillJob,
    "pause": PauseJob,
    "resume": ResumeJob,
}


class JobTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A job that something is done to. ``peer`` is its other side, ``words`` say what it is."""

    job: str
    peer: str
    state: str
    words: str = ""
    ended: bool = False
    #: it is suspended, or its manager wants it to be
    paused: bool = False
    kill_asked: bool = False

    @property
    def short(self) -> str:
        """The beginning of the id, as people type it."""
        return self.job[:12]


def hindrance(verb: str, target: JobTarget) -> str:
    """Why this cannot be done to a job; empty if it can."""
    if target.ended:
        return f"it is {target.state}"
    if verb == "kill":
        return ""
    if target.state == "orphan":
        return "the database does not know this job: it can only be killed"
    if verb == "pause" and target.paused:
        return "it is paused already"
    if verb == "resume" and not target.paused:
        return "it is not paused"
    if verb == "pause" and target.kill_asked:
        return "its kill is asked for"
    return ""


def pause_or_resume(targets: Sequence[JobTarget]) -> str:
    """What the key for both does: resume where all are paused."""
    return "resume" if targets and all(target.paused for target in targets) else "pause"


def steer(screen: ConsoleScreen, verb: str, targets: Sequence[JobTarget]) -> None:
    """Ask, then do: ``kill`` (the beginning of the id has to be typed), ``pause`` or ``resume``."""
    able = [target for target in targets if not hindrance(verb, target)]
    if able:
        screen.ask(partial(_dialogue, screen, verb, able))


async def _dialogue(screen: ConsoleScreen, verb: str, targets: Sequence[JobTarget]) -> None:
    lines = [
        f"{target.short} {said(target.words, 80)}: {target.state}".replace(" :", ":") for target in targets
    ]
    lines, more = lines[:_NAMED], len(lines) - _NAMED
    if more > 0:
        lines.append(f"and {more} more")
    lines.append(_means(screen.site.role, verb))
    phrase = ""
    if verb == "kill":
        phrase = targets[0].job[:4] if len(targets) == 1 else f"kill {len(targets)}"
    what = f"job {targets[0].short}" if len(targets) == 1 else plural(len(targets), "job")
    if not await screen.confirm(f"{verb.capitalize()} {what}?", lines, phrase):
        return
    for target in targets:
        words = [verb, target.short] if verb == "kill" else [verb, "--job", target.short]
        screen.do(f"{verb} {target.short}", screen.cli(*words), partial(_give, screen, verb, target))


def _means(role: str, verb: str) -> str:
    if verb == "kill":
        return (
            "Its processes are ended. Its step is tried again, as after any failure."
            if role == "manager"
            else "Its processes are ended. Its manager hears of it and tries the step again."
        )
    if verb == "pause":
        return "Its processes are suspended where they are."
    return "Its processes go on."


async def _give(screen: ConsoleScreen, verb: str, target: JobTarget) -> str:
    command: Command = _KINDS[verb](peer=target.peer, job_uuid=bytes.fromhex(target.job))
    answer = await screen.site.write(lambda store: control.give(screen.site.loaded, store, command))
    if screen.site.role == "manager":
        return "asked; its agent will confirm"
    return f"the job is {answer.result.get('state', '')}"


def open_trace_of(screen: ConsoleScreen, job: JobOfManager | JobOfAgent | JobShown) -> None:
    """Show the messages about a job: of its step on a manager, those with its manager on an agent."""
    from caroni.tui.opening import open_trace
    from caroni.tui.screens.trace import TraceScreen

    if isinstance(job, JobOfAgent):
        screen.host.open(TraceScreen(screen.site, peer=job.manager))
    elif isinstance(job, JobShown) and job.role == "agent":
        screen.host.open(TraceScreen(screen.site, peer=job.peer))
    else:
        open_trace(screen, job.workflow, job.step)
