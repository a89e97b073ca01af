"""A manager's database with workflows in all their states, as its daemon would have written them."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from caroni.config import load_config
from caroni.core.messages import FailureClass
from caroni.core.rows import Flow, Job, Request, Step, Workflow
from caroni.core.states import JobState, RequestState, StepState, WorkflowState
from caroni.cwl import plan_from_json
from caroni.model.unit import CommandDone, Unit
from caroni.services import templates
from caroni.tui.site import Site
from tests.tui.harness import NOON, fill, make_site, writing

SAMPLES = Path(__file__).parents[2] / "samples"
SECOND = 1_000_000
NOW = int(NOON) * SECOND
AGENT, OTHER = "caroni://b.example/agent/north", "caroni://c.example/agent/south"
RUNS, FAILED, DONE, PAUSED = (bytes([n]) * 16 for n in (0xA1, 0xB2, 0xC3, 0xD4))
REQUEST, JOB, OLD_JOB = bytes([0x51]) * 16, bytes([0x71]) * 16, bytes([0x72]) * 16


async def manager(directory: Path) -> Site:
    """A manager with the sample of thirty steps as a template."""
    site = await make_site(directory, "manager", "m1")
    await templates.add(site.loaded, SAMPLES / "genomics" / "workflow.cwl", "genomics")
    return site


async def steps_of(site: Site) -> list[str]:
    """The names of the template's steps."""
    async with writing(site) as store:
        row = await store.template("genomics")
        assert row is not None
        return [step.name for step in plan_from_json(row.plan).steps]


def workflow(uuid: bytes, state: WorkflowState, name: str, left: int, **more: object) -> Workflow:
    return Workflow(
        workflow_uuid=uuid, state=state, name=name, template="genomics", revision=1, steps_total=30,
        steps_left=left, submitter="caroni://a.example/submitter/mary",
        **{"created_at": NOW - 2500 * SECOND, **more},
    )  # fmt: skip


_made: dict[str, Path] = {}


async def copied(what: str, directory: Path, make: Callable[[Path], Awaitable[Site]]) -> Site:
    """A site that is made once and copied for each test: documents are slow to read."""
    if what not in _made or not _made[what].exists():
        _made[what] = (await make(_folder(directory))).loaded.directory
    target = directory / "m1"
    shutil.copytree(_made[what], target)
    return Site(load_config(target))


def _folder(directory: Path) -> Path:
    first = directory / ".first"
    first.mkdir()
    return first


async def filled(directory: Path) -> Site:
    """Four workflows: one runs, one failed, one is done, one is paused."""
    return await copied("filled", directory, fill_anew)


async def fill_anew(directory: Path) -> Site:
    """The same, made and not copied."""
    site = await manager(directory)
    await fill_workflows(site)
    return site


async def fill_workflows(site: Site) -> None:
    """The workflows themselves; the site has the template already."""
    names = await steps_of(site)
    async with writing(site) as store:
        row = await store.template("genomics")
        assert row is not None
        plan = plan_from_json(row.plan)

    def steps(uuid: bytes, states: dict[int, StepState], default: StepState, **more: object) -> list[Step]:
        return [
            Step(
                workflow_uuid=uuid, index=index, name=step.name, job_type=step.job_type,
                state=states.get(index, default), **more,
            )
            for index, step in enumerate(plan.steps)
        ]  # fmt: skip

    done = StepState.COMPLETED
    running = steps(RUNS, dict.fromkeys(range(6), done), StepState.WAITING)
    at = NOW - 900 * SECOND
    running = [
        step if step.state is not done
        else _replaced(step, attempt=1, winner_agent=AGENT, started_at=at,
                       ended_at=at + (7 + step.index) * SECOND)
        for step in running
    ]  # fmt: skip
    running[6] = _replaced(
        running[6], state=StepState.RUNNING, attempt=2, agent=AGENT, job_uuid=JOB,
        started_at=NOW - 70 * SECOND,
        jobs=((OTHER, OLD_JOB), (AGENT, JOB)), cause="job failed: exit code 137", request_uuid=REQUEST,
    )  # fmt: skip
    running[7] = _replaced(running[7], state=StepState.FULFILLING, attempt=1, request_uuid=bytes([0x52]) * 16)
    failed = steps(FAILED, dict.fromkeys(range(12), done), StepState.CANCELLED)
    for index in (12, 13):
        failed[index] = _replaced(
            failed[index], state=StepState.FAILED, attempt=3, agent=AGENT, exit_code=137, started_at=at,
            ended_at=at + 31 * SECOND, failure="job failed: exit code 137 \x1b[31mkilled\x1b[0m",
            stderr_tail="reading ...\n\x1b]0;owned\x07out of memory\n",
        )  # fmt: skip
    await fill(
        site,
        Unit(
            rows={
                Workflow: [
                    workflow(DONE, WorkflowState.COMPLETED, "first night", 0, ended_at=NOW - 90 * SECOND,
                             created_at=NOW - 90_000 * SECOND),
                    workflow(RUNS, WorkflowState.RUNNING, "genomics-2026", 24),
                    workflow(FAILED, WorkflowState.FAILED, "rnaseq \x1b[2J[bold]7", 18,
                             ended_at=NOW - 9 * SECOND,
                             failure=f"step {names[12]} failed: job failed: exit code 137"),
                    workflow(PAUSED, WorkflowState.RUNNING, "qc nightly", 30, paused=True),
                ],
                Step: [
                    *running, *failed, *steps(DONE, {}, done), *steps(PAUSED, {}, StepState.WAITING),
                ],
                Request: [
                    Request(request_uuid=bytes([0x52]) * 16, workflow_uuid=RUNS, step_index=7, attempt=1,
                            state=RequestState.OPEN, round=2, due=NOW + 30 * SECOND,
                            created_at=NOW - 60 * SECOND,
                            declines={OTHER: "NOT_NOW: the queue is full"}),
                ],
                Job: [
                    Job(agent=AGENT, job_uuid=JOB, workflow_uuid=RUNS, step_index=6, attempt=2,
                        request_uuid=REQUEST, offer_uuid=bytes([0x61]) * 16, state=JobState.RUNNING,
                        accepted_at=NOW - 80 * SECOND, started_at=NOW - 70 * SECOND),
                    Job(agent=OTHER, job_uuid=OLD_JOB, workflow_uuid=RUNS, step_index=6, attempt=1,
                        request_uuid=REQUEST, offer_uuid=bytes([0x62]) * 16, state=JobState.FAILED,
                        ended=True,
                        exit_code=137, failure_class=FailureClass.JOB, info="exit code 137",
                        accepted_at=NOW - 200 * SECOND, started_at=NOW - 190 * SECOND,
                        ended_at=NOW - 100 * SECOND),
                ],
                Flow: [
                    Flow(workflow_uuid=RUNS, name="accession", value='"NC_\\u001b[31m001"'),
                    Flow(workflow_uuid=DONE, name="report/report", value='"# Report"'),
                ],
            },
            now=NOW,
        ),
    )  # fmt: skip


def _replaced(step: Step, **changes: object) -> Step:
    return msgspec.structs.replace(step, **changes)


async def change(site: Site, uuid: bytes, index: int, **changes: object) -> None:
    """A step changes, as its manager would commit it."""
    async with writing(site) as store:
        found = await store.steps(uuid, limit=1, after=index - 1)
        await store.commit(Unit(rows={Step: [_replaced(found[0], **changes)]}, now=NOW))  # type: ignore[arg-type]


async def commands(site: Site) -> list[tuple[str, str]]:
    """What was left for the daemon: kind and arguments."""
    async with writing(site) as store:
        return [(row.kind, row.args) for row in await store.new_commands()]


async def answer(site: Site, result: dict[str, object]) -> None:
    """Carry the oldest command out as far as its giver can tell, as the daemon does at its next look."""
    async with writing(site) as store:
        row = (await store.new_commands())[0]
        done = CommandDone(id=row.id, state="done", result=msgspec.json.encode(result).decode(), at=NOW)
        await store.commit(Unit(commands=[done], now=NOW))
