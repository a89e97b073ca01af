"""``caroni jobs``: a manager's attempts, or an agent's queue and what runs; and everything of one job."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example
from caroni.cli.showjob import show_job
from caroni.errors import UsageError
from caroni.text import safe_line

if TYPE_CHECKING:
    from caroni.config import Loaded
    from caroni.services.jobdetail import JobShown
    from caroni.services.jobs import JobOfAgent, JobOfManager

app = group()


@app.command(
    epilog=example(
        "caroni jobs 3f2a --config m1",
        "caroni jobs --state queued --config g1",
        "caroni jobs 8e41c0 --config g1",
        "caroni jobs --all",
    )
)
def jobs(
    which: Annotated[
        str | None,
        typer.Argument(
            help="One job, by the first characters of its id; or those of one workflow of a manager,"
            " by its id or name.",
            metavar="[JOB|WORKFLOW]",
            show_default=False,
        ),
    ] = None,
    state: Annotated[str | None, typer.Option(help="Only those in this state.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="At most this many.", min=1, max=10_000)] = 100,
    all_: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """List jobs: on a manager one line for each attempt, on an agent what runs and its queue in order.

    With the id of a job, show everything of that one: inputs, outputs, exit code, use of resources. What it
    writes is shown by: caroni logs.
    """
    from caroni.config import load_config

    loaded = load_config(config)
    role = loaded.config.role
    if role == "submitter":
        raise UsageError(
            f"{loaded.path} is the configuration of a submitter: see caroni show and caroni explain"
        )
    if which is not None and (job := asyncio.run(_one(loaded, which))) is not None:
        if json:
            output.as_json(job)
        else:
            show_job(job)
        return
    if role == "agent":
        here = asyncio.run(_of_agent(loaded, state, all_, limit))
        if json:
            output.as_json(here)
        else:
            _show_agent(here)
        return
    found = asyncio.run(_of_manager(loaded, which, state, all_ or bool(which and state is None), limit))
    if json:
        output.as_json(found)
    else:
        _show_manager(found)


async def _one(loaded: Loaded, which: str) -> JobShown | None:
    """The job that is meant; None if it must be a workflow.

    Raises:
        UsageError: it may be more than one, or (on an agent) is none.
    """
    from caroni.services.control import to_daemon
    from caroni.services.jobdetail import job_shown
    from caroni.services.jobs import find_job, jobs_like, only_job
    from caroni.services.workflows import workflows_like

    async with to_daemon(loaded, read_only=True) as store:
        if store.role == "agent":
            peer, job_uuid = await find_job(store, which)
            return await job_shown(loaded, store, peer, job_uuid)
        found = await jobs_like(store, which)
        if not found:
            return None
        if workflows := await workflows_like(store, which):
            raise UsageError(
                f"{safe_line(which, 60)!r} could be job {found[0][1].hex()[:12]} or workflow"
                f" {workflows[0].hex()[:12]}: give more of the id"
            )
        return await job_shown(loaded, store, *only_job(found, which))


async def _of_manager(
    loaded: Loaded, which: str | None, state: str | None, all: bool, limit: int
) -> list[JobOfManager]:
    from caroni.services.jobs import jobs_of_manager
    from caroni.services.stores import opened
    from caroni.services.workflows import find_workflow

    async with opened(loaded, "manager", "attempts", read_only=True) as store:
        uuid = await find_workflow(store, which) if which is not None else b""
        return await jobs_of_manager(store, workflow=uuid, state=state, all=all, limit=limit)


async def _of_agent(loaded: Loaded, state: str | None, all: bool, limit: int) -> list[JobOfAgent]:
    from caroni.services.jobs import jobs_of_agent
    from caroni.services.stores import opened

    async with opened(loaded, "agent", "jobs", read_only=True) as store:
        return await jobs_of_agent(store, state=state, all=all, limit=limit)


def _show_manager(found: list[JobOfManager]) -> None:
    output.table(
        ("job", "workflow", "step", "attempt", "agent", "state", "since", "took", "info"),
        [
            (
                job.job[:12],
                job.workflow_name or job.workflow[:12],
                job.step,
                job.attempt or "",
                job.agent,
                _state(job),
                output.instant(job.since),
                output.took(job.started_at, job.ended_at),
                _info(job),
            )
            for job in found
        ],
        empty="no jobs",
    )


def _state(job: JobOfManager) -> str:
    words = [job.state]
    if job.state == "running" and job.progress:
        words.append(f"{job.progress:.0%}")
    if job.kill in ("asked", "unreachable", "gave up"):
        words.append(
            {"asked": "kill asked", "unreachable": "kill asked, agent unreachable"}.get(job.kill, job.kill)
        )
    if job.pause == "wanted":
        words.append("pause wanted")
    if job.suspect and job.kill != "unreachable":
        words.append("agent silent")
    return ", ".join(words)


def _info(job: JobOfManager | JobOfAgent) -> str:
    code = f"exit code {job.exit_code}" if job.exit_code else ""
    return ", ".join(part for part in (job.failure, code, job.info) if part)


def _show_agent(found: list[JobOfAgent]) -> None:
    output.table(
        ("job", "manager", "job type", "state", "place", "attempt", "waits since", "started", "took", "info"),
        [
            (
                job.job[:12],
                job.manager,
                job.job_type,
                job.state + (", waits for release" if job.ended_at and not job.released else ""),
                job.position or "",
                job.attempt or "",
                output.instant(job.queued_at or job.created_at),
                output.instant(job.started_at),
                output.took(job.started_at, job.ended_at),
                _info(job) or (f"{job.missing} inputs missing" if job.missing and not job.ended_at else ""),
            )
            for job in found
        ],
        empty="no jobs",
    )
