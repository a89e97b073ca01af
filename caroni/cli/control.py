"""``caroni cancel``, ``pause``, ``resume``, ``retry``, ``kill``, ``drain``, ``undrain``, ``presence``.

A manager's or an agent's operator leaves a command in its database and waits for the daemon's answer; a
submitter asks its manager by a signed message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, ManagerUri, Which, example
from caroni.errors import UsageError

if TYPE_CHECKING:
    from caroni.config import Loaded
    from caroni.core.commands import Command
    from caroni.daemon.submitter import Wish
    from caroni.services.control import Answer, JobFate
    from caroni.services.workflows import WorkflowShown

cancel_app = group()
pause_app = group()
resume_app = group()
retry_app = group()
kill_app = group()
drain_app = group()
undrain_app = group()
presence_app = group()

Steps = Annotated[
    list[str] | None, typer.Option("--step", help="Only this step; repeatable.", metavar="NAME")
]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the records.", show_default=False)]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Leave the command for the daemon, and do not wait for its answer.")
]
WhichJob = Annotated[
    str | None,
    typer.Option("--job", help="One job instead: its id, or the first characters.", show_default=False),
]
SomeWhich = Annotated[
    str | None,
    typer.Argument(
        help="A workflow's id, its first characters, or its name.", metavar="[WORKFLOW]", show_default=False
    ),
]
Deadline = Annotated[
    str | None,
    typer.Option(help="Kill what is left after this long, e.g. 2h.", metavar="DURATION", show_default=False),
]
For = Annotated[
    str, typer.Option("--for", help="How long, e.g. 12h or 3d.", metavar="DURATION", show_default=False)
]


# --- workflows -----------------------------------------------------------------------------------


@cancel_app.command(
    epilog=example(
        "caroni cancel 3f2a --reason 'wrong inputs' --config m1", "caroni cancel 3f2a --step align"
    )
)
def cancel(
    which: Which,
    step: Steps = None,
    reason: Reason = "",
    no_wait: NoWait = False,
    manager: ManagerUri = None,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Stop a workflow: nothing more is asked for, what runs is killed.

    With --step, only these steps end; what depends on them cannot run, so the workflow fails.
    """
    from caroni.core.commands import CancelWorkflow
    from caroni.core.messages import WorkFlowCancel

    steps = tuple(step or ())
    _workflow(
        "cancel",
        which,
        lambda uuid: CancelWorkflow(workflow_uuid=uuid, steps=steps, reason=reason[:500]),
        lambda uuid: WorkFlowCancel(workflow_uuid=uuid, steps=steps, reason=reason[:500]),
        _Options(config, manager, no_wait, json),
    )


@pause_app.command(
    epilog=example(
        "caroni pause 3f2a --config m1",
        "caroni pause 3f2a --step align --config m1",
        "caroni pause --job 9c01 --config g1",
    )
)
def pause(
    which: SomeWhich = None,
    step: Steps = None,
    job: WhichJob = None,
    no_wait: NoWait = False,
    manager: ManagerUri = None,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Ask for nothing new of a workflow; its running jobs end.

    With --step the jobs of these steps are suspended, with --job one job is.
    """
    from caroni.core.commands import PauseJob, PauseWorkflow
    from caroni.core.messages import WorkFlowPause

    options = _Options(config, manager, no_wait, json)
    steps = tuple(step or ())
    if job is not None:
        _one_job("pause", _only_job(which, steps, job), PauseJob, options)
        return
    _workflow(
        "pause",
        _given(which),
        lambda uuid: PauseWorkflow(workflow_uuid=uuid, steps=steps),
        lambda uuid: WorkFlowPause(workflow_uuid=uuid, steps=steps),
        options,
    )


@resume_app.command(epilog=example("caroni resume 3f2a --config m1", "caroni resume --job 9c01 --config g1"))
def resume(
    which: SomeWhich = None,
    step: Steps = None,
    job: WhichJob = None,
    no_wait: NoWait = False,
    manager: ManagerUri = None,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Let a workflow, the jobs of its steps, or one job go on."""
    from caroni.core.commands import ResumeJob, ResumeWorkflow
    from caroni.core.messages import WorkFlowResume

    options = _Options(config, manager, no_wait, json)
    steps = tuple(step or ())
    if job is not None:
        _one_job("resume", _only_job(which, steps, job), ResumeJob, options)
        return
    _workflow(
        "resume",
        _given(which),
        lambda uuid: ResumeWorkflow(workflow_uuid=uuid, steps=steps),
        lambda uuid: WorkFlowResume(workflow_uuid=uuid, steps=steps),
        options,
    )


@retry_app.command(epilog=example("caroni retry 3f2a --step align --config m1"))
def retry(
    which: Which,
    step: Steps = None,
    no_wait: NoWait = False,
    manager: ManagerUri = None,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Try held steps, and those that wait for a next attempt, at once.

    A held step ran at most once and nobody knows how it ended: to retry it may run it a second time.
    """
    from caroni.core.commands import RetrySteps
    from caroni.core.messages import WorkFlowRetry

    steps = tuple(step or ())
    _workflow(
        "retry",
        which,
        lambda uuid: RetrySteps(workflow_uuid=uuid, steps=steps),
        lambda uuid: WorkFlowRetry(workflow_uuid=uuid, steps=steps),
        _Options(config, manager, no_wait, json),
    )


class _Options:
    """What every one of these commands takes."""

    def __init__(self, config: Any, manager: str | None, no_wait: bool, json: bool) -> None:
        self.config, self.manager, self.no_wait, self.json = config, manager, no_wait, json


def _given(which: str | None) -> str:
    if not which:
        raise UsageError("which workflow? give its id, its first characters or its name, or --job")
    return which


def _only_job(which: str | None, steps: tuple[str, ...], job: str) -> str:
    if which or steps:
        raise UsageError("--job names one job: leave WORKFLOW and --step out")
    return job


def _workflow(
    verb: str,
    which: str,
    command: Callable[[bytes], Command],
    wish: Callable[[bytes], Wish],
    options: _Options,
) -> None:
    from caroni.config import load_config

    loaded = load_config(options.config)
    if loaded.config.role == "submitter":
        from caroni.cli import remote

        if options.no_wait:
            raise UsageError("--no-wait is for a manager's configuration: a submitter's wish is not kept")
        uri = remote.manager_of(loaded, options.manager)
        found, steps = asyncio.run(remote.steer(loaded, uri, which, wish))
        if options.json:
            output.as_json({**output.plain(found), "step_list": steps})
        else:
            output.line(f"workflow {found.workflow[:12]} {found.name} {_is(found)}")
        return
    _report_workflow(verb, *asyncio.run(_command_workflow(loaded, which, command, options)), options)


async def _command_workflow(
    loaded: Loaded, which: str, command: Callable[[bytes], Command], options: _Options
) -> tuple[Answer, WorkflowShown]:
    from caroni.services import control
    from caroni.services.workflows import find_workflow, shown

    control.require(loaded, "manager", "this")
    async with control.to_daemon(loaded) as store:
        uuid = await find_workflow(store, which)
        if not options.json:
            before = await control.affected(store, uuid)
            output.note(
                f"workflow {before.workflow[:12]} {before.name} is {before.state}:"
                f" {before.steps_left} steps are not done, {before.jobs} jobs live"
            )
        answer = await control.give(loaded, store, command(uuid), wait=not options.no_wait)
        return answer, await shown(store, uuid)


def _report_workflow(verb: str, answer: Answer, found: WorkflowShown, options: _Options) -> None:
    if options.json:
        output.as_json({**output.plain(answer), "workflow": found})
    elif answer.state == "waiting":
        output.line(f"{verb} waits for the manager (command {answer.command})")
    else:
        count = answer.result.get("affected", 0)
        many = "step" if count == 1 else "steps"
        output.line(f"workflow {found.workflow[:12]} {found.name} {_is(found)}; {count} {many} affected")


def _is(found: WorkflowShown) -> str:
    return f"is {found.state}" + (" (paused)" if found.paused else "")


# --- jobs ----------------------------------------------------------------------------------------


@kill_app.command(
    epilog=example(
        "caroni kill 9c01 --reason 'eats the memory' --config g1", "caroni kill 9c01 --wait --config m1"
    )
)
def kill(
    job: Annotated[str, typer.Argument(help="A job's id, or its first characters.", metavar="JOB")],
    reason: Reason = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job has ended.")] = False,
    seconds: Annotated[
        float | None,
        typer.Option("--timeout", help="With --wait: at most so many seconds.", min=0, show_default=False),
    ] = None,
    no_wait: NoWait = False,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Stop one job, with the configuration of its manager or of its agent.

    The step it was for is tried again, as after any failure: to end that too, cancel the step. The agent
    confirms by the job's end; until then the kill is "asked", or "unreachable" while the agent is silent.
    """
    from caroni.core.commands import KillJob

    def command(peer: str, job_uuid: bytes) -> Command:
        return KillJob(peer=peer, job_uuid=job_uuid, reason=reason[:300])

    if wait and no_wait:
        raise UsageError("--wait and --no-wait exclude each other")
    options = _Options(config, None, no_wait, json)
    _one_job("kill", job, command, options, until_end=wait, seconds=seconds)


def _one_job(
    verb: str,
    which: str,
    command: Callable[..., Command],
    options: _Options,
    *,
    until_end: bool = False,
    seconds: float | None = None,
) -> None:
    from caroni.config import load_config

    loaded = load_config(options.config)
    answer, fate = asyncio.run(_command_job(loaded, verb, which, command, options, until_end, seconds))
    if options.json:
        output.as_json({**output.plain(answer), "job": fate})
    elif answer.state == "waiting":
        output.line(f"{verb} waits for the {loaded.config.role} (command {answer.command})")
    elif fate is not None:
        output.line(_fate(fate))


async def _command_job(
    loaded: Loaded,
    verb: str,
    which: str,
    command: Callable[..., Command],
    options: _Options,
    until_end: bool,
    seconds: float | None,
) -> tuple[Answer, JobFate | None]:
    from caroni.services import control
    from caroni.services.jobs import find_job

    async with control.to_daemon(loaded) as store:
        peer, uuid = await find_job(store, which)
        before = await control.job_fate(store, peer, uuid)
        if before is not None and not options.json:
            output.note(f"{verb}: {_fate(before)}, {'on' if store.role == 'manager' else 'for'} {peer}")
        answer = await control.give(
            loaded, store, command(peer=peer, job_uuid=uuid), wait=not options.no_wait
        )
        if until_end and answer.state == "done":

            def tell(fate: JobFate) -> None:
                if not options.json:
                    output.note(_fate(fate))

            return answer, await control.wait_for_end(store, peer, uuid, seconds, tell)
        return answer, await control.job_fate(store, peer, uuid)


_KILLS = {
    "asked": ", its kill is asked for",
    "unreachable": ", its kill is asked for, but its agent cannot be reached",
    "confirmed": ", its kill is confirmed",
    "over": ": it has ended",
    "gave up": ", its agent was never reached",
}


def _fate(fate: JobFate) -> str:
    info = f" ({fate.info})" if fate.info and fate.kill else ""
    return f"job {fate.job[:12]} is {fate.state}{_KILLS.get(fate.kill, '')}{info}"


# --- an agent ------------------------------------------------------------------------------------


@drain_app.command(epilog=example("caroni drain --deadline 2h --config g1"))
def drain(
    deadline: Deadline = None, no_wait: NoWait = False, config: Configuration = None, json: Json = False
) -> None:
    """Have an agent take nothing new and finish what it has; it stays so until `caroni undrain`.

    With --deadline, jobs that are left then are killed; their steps are tried again elsewhere.
    """
    from caroni.core.commands import Drain

    _agent(Drain(deadline=_duration("--deadline", deadline)), _Options(config, None, no_wait, json))


@undrain_app.command(epilog=example("caroni undrain --config g1"))
def undrain(no_wait: NoWait = False, config: Configuration = None, json: Json = False) -> None:
    """Have a drained agent take work again."""
    from caroni.core.commands import Undrain

    _agent(Undrain(), _Options(config, None, no_wait, json))


@presence_app.callback()
def _presence() -> None:
    """Whether agents are here; announce an absence."""


@presence_app.command(epilog=example("caroni presence offline --for 12h --config g1"))
def offline(length: For, no_wait: NoWait = False, config: Configuration = None, json: Json = False) -> None:
    """Announce an absence: managers wait so long with giving the agent's jobs up; nothing new begins."""
    from caroni.core.commands import GoOffline

    duration = _duration("--for", length)
    if not duration:
        raise UsageError("--for must be longer than nothing")
    _agent(GoOffline(duration=duration), _Options(config, None, no_wait, json))


@presence_app.command(epilog=example("caroni presence online --config g1"))
def online(no_wait: NoWait = False, config: Configuration = None, json: Json = False) -> None:
    """End an announced absence. One that the schedule has goes on."""
    from caroni.core.commands import GoOnline

    _agent(GoOnline(), _Options(config, None, no_wait, json))


@presence_app.command(epilog=example("caroni presence show --config m1"))
def show(config: Configuration = None, json: Json = False) -> None:
    """Show whether this agent takes work, or what a manager was last told by its agents."""
    from caroni.config import load_config
    from caroni.services import control

    loaded = load_config(config)

    async def look() -> list[control.AgentShown]:
        async with control.to_daemon(loaded, read_only=True) as store:
            if store.role == "agent":
                return [await control.shown_agent(loaded, store)]
            return await control.known_agents(store)

    found = asyncio.run(look())
    if json:
        output.as_json(found[0] if loaded.config.role == "agent" else found)
        return
    output.table(
        ("agent", "state", "until", "next absence", "running", "waiting", "last heard"),
        [
            (
                one.agent,
                one.state,
                output.instant(one.until or (one.drain_deadline if one.state == "draining" else 0)),
                f"{output.instant(one.window[0])} to {output.instant(one.window[1])}"
                if one.window[0]
                else "",
                one.running,
                one.waiting,
                output.instant(one.last_contact),
            )
            for one in found
        ],
        empty="no agents have been heard",
    )


def _duration(option: str, text: str | None) -> int:
    from caroni.config.units import parse_duration

    try:
        return parse_duration(text) if text is not None else 0
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _agent(command: Command, options: _Options) -> None:
    from caroni.config import load_config
    from caroni.services import control

    loaded = load_config(options.config)
    control.require(loaded, "agent", "this")

    async def give() -> tuple[Answer, control.AgentShown]:
        async with control.to_daemon(loaded) as store:
            answer = await control.give(loaded, store, command, wait=not options.no_wait)
            return answer, await control.shown_agent(loaded, store)

    answer, agent = asyncio.run(give())
    if options.json:
        output.as_json({**output.plain(answer), "agent": agent})
        return
    if answer.state == "waiting":
        output.line(f"the command waits for the agent (command {answer.command})")
        return
    until = f" until {output.instant(agent.until)}" if agent.until else ""
    output.line(f"{agent.agent} is {agent.state}{until}; {agent.running} jobs run, {agent.waiting} wait")
    if agent.drain_deadline:
        output.line(f"jobs that are left at {output.instant(agent.drain_deadline)} are killed")
