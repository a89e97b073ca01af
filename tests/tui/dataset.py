"""A site as it is on an ordinary day, for pictures and for whoever needs something to look at.

Everything is in real databases, through ``Store.commit`` and the services; ids and instants are fixed, and
``fixed_time`` holds the clock still.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from caroni.core.messages import FailureClass
from caroni.core.plan import Plan
from caroni.core.rows import Job, Request, Row, Step, Workflow
from caroni.core.states import JobState, RequestState, StepState, WorkflowState
from caroni.cwl import Bundle, load
from caroni.model.unit import Unit
from caroni.services import definitions, templates
from caroni.tui.site import Site
from tests.tui.harness import NOON, fill, make_site

SAMPLES = Path(__file__).parents[2] / "samples"
SECOND = 1_000_000
NOW = int(NOON) * SECOND
CLUSTER, LAB, VAULT = (f"caroni://{site}/agent/{name}" for site, name in (
    ("hpc.example", "cluster"), ("a.example", "lab"), ("a.example", "vault"),
))  # fmt: skip
MARY, NIGHTLY = "caroni://a.example/submitter/mary", "caroni://a.example/submitter/nightly"

#: what the running workflow has come to: state, agent, attempt, seconds since the start, seconds it took
_STEPS: dict[str, tuple[StepState, str, int, int, int]] = {
    "fetch_reference": (StepState.COMPLETED, LAB, 1, 890, 12),
    "index_reference": (StepState.COMPLETED, CLUSTER, 1, 876, 71),
    "fetch_a": (StepState.COMPLETED, LAB, 1, 876, 41),
    "fetch_b": (StepState.COMPLETED, LAB, 1, 876, 44),
    "fetch_c": (StepState.COMPLETED, LAB, 1, 830, 39),
    "trim_a": (StepState.COMPLETED, LAB, 1, 833, 18),
    "trim_b": (StepState.COMPLETED, LAB, 1, 829, 17),
    "trim_c": (StepState.COMPLETED, LAB, 1, 789, 21),
    "qc_a": (StepState.COMPLETED, LAB, 1, 812, 7),
    "qc_b": (StepState.COMPLETED, LAB, 1, 810, 6),
    "qc_c": (StepState.COMPLETED, LAB, 1, 766, 8),
    "align_a": (StepState.COMPLETED, CLUSTER, 1, 803, 424),
    "align_b": (StepState.COMPLETED, CLUSTER, 2, 511, 402),
    "align_c": (StepState.RUNNING, CLUSTER, 1, 318, 0),
    "sort_a": (StepState.COMPLETED, CLUSTER, 1, 377, 61),
    "sort_b": (StepState.RUNNING, CLUSTER, 1, 101, 0),
    "index_a": (StepState.COMPLETED, CLUSTER, 1, 313, 9),
    "coverage_a": (StepState.FULFILLED, LAB, 1, 0, 0),
    "call_a": (StepState.FULFILLING, "", 2, 0, 0),
}


@contextmanager
def fixed_time() -> Iterator[None]:
    """Noon, in UTC, and it stays so."""
    zone = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        with (
            mock.patch("time.time", return_value=NOON),
            mock.patch("time.time_ns", return_value=NOW * 1000),
        ):
            yield
    finally:
        if zone is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = zone
        time.tzset()


def _id(number: int) -> bytes:
    """An id that looks like one."""
    return (number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).to_bytes(16, "big")


async def manager(directory: Path) -> Site:
    """A manager with templates and a day's workflows."""
    site = await make_site(directory, "manager", "m1")
    plans = {}
    for name in ("diamond", "genomics", "night-run", "text-chain"):
        bundle = Bundle.from_path(SAMPLES / name / "workflow.cwl")
        await templates.add_bundle(site.loaded, bundle, name)
        plans[name] = load(bundle)
    rows: dict[type[Row], list[Row]] = {Workflow: [], Step: [], Request: [], Job: []}
    _running(rows, plans["genomics"])
    whole = StepState.COMPLETED
    _flow(rows, plans["night-run"], 2, "night of 1 March", NIGHTLY, 39_600, WorkflowState.RUNNING,
          dict.fromkeys(("bulletin", "archive"), StepState.FULFILLING), whole)  # fmt: skip
    _ask(rows, 2, 10, "archive", {VAULT: "DRAINING: this agent is draining"})
    _ask(rows, 2, 9, "bulletin", {})
    broken = dict.fromkeys(("align_b", "sort_b", "index_b", "coverage_b", "call_b"), StepState.CANCELLED)
    broken |= dict.fromkeys(("merge", "filter", "annotate", "report"), StepState.CANCELLED)
    _flow(rows, plans["genomics"], 3, "rnaseq-batch7", MARY, 7_800, WorkflowState.FAILED, broken, whole,
          ended_at=NOW - 5_200 * SECOND,
          failure="step align_b failed: job failed: exit code 137")  # fmt: skip
    _fail(rows, 3, "align_b")
    _flow(rows, plans["diamond"], 4, "word-counts", MARY, 3_100, WorkflowState.RUNNING, {},
          StepState.WAITING, paused=True)  # fmt: skip
    _flow(rows, plans["night-run"], 5, "night of 28 February", NIGHTLY, 126_000, WorkflowState.COMPLETED, {},
          whole, ended_at=NOW - 122_000 * SECOND)  # fmt: skip
    _flow(rows, plans["text-chain"], 6, "greeting", MARY, 180_000, WorkflowState.COMPLETED, {}, whole,
          ended_at=NOW - 179_997 * SECOND)  # fmt: skip
    await fill(site, Unit(rows=rows, now=NOW))
    return site


async def agent(directory: Path) -> Site:
    """An agent with the job definitions of three samples, one of them switched off."""
    site = await make_site(directory, "agent", "lab")
    for folder in ("genomics/jobs/lab", "night-run/jobs/north", "text-chain/jobs/north"):
        await definitions.add(site.loaded, sorted((SAMPLES / folder).glob("*.yml")))
    await definitions.activate(site.loaded, "quality-check", False)
    return site


def _flow(
    rows: dict[type[Row], list[Row]],
    plan: Plan,
    number: int,
    name: str,
    submitter: str,
    age: int,
    state: WorkflowState,
    states: dict[str, StepState],
    otherwise: StepState,
    **more: Any,
) -> None:
    """A workflow that was submitted ``age`` seconds ago."""
    kinds = {30: "genomics", 11: "night-run", 4: "diamond", 3: "text-chain"}
    begun = NOW - age * SECOND
    steps = [
        Step(
            workflow_uuid=_id(number),
            index=index,
            name=step.name,
            job_type=step.job_type,
            state=states.get(step.name, otherwise),
            attempt=int(states.get(step.name, otherwise) is not StepState.WAITING),
            winner_agent=LAB if states.get(step.name, otherwise) is StepState.COMPLETED else "",
            started_at=begun + index * SECOND,
            ended_at=begun + (3 + 2 * index) * SECOND
            if states.get(step.name, otherwise) is StepState.COMPLETED
            else 0,
        )
        for index, step in enumerate(plan.steps)
    ]
    rows[Step] += steps
    left = sum(step.state not in (StepState.COMPLETED, StepState.CANCELLED) for step in steps)
    rows[Workflow].append(
        Workflow(
            workflow_uuid=_id(number),
            state=state,
            name=name,
            template=kinds[len(plan.steps)],
            revision=1,
            submitter=submitter,
            steps_total=len(steps),
            steps_left=left,
            created_at=begun,
            **more,
        )
    )


def _ask(
    rows: dict[type[Row], list[Row]],
    number: int,
    index: int,
    name: str,
    declines: dict[str, str],
    since: int = 35_000,
) -> None:
    """A request that nobody has taken for so many seconds."""
    request = Request(
        request_uuid=_id(number * 1000 + index),
        workflow_uuid=_id(number),
        step_index=index,
        attempt=1,
        state=RequestState.OPEN,
        round=9,
        due=NOW + 240 * SECOND,
        created_at=NOW - since * SECOND,
        declines=declines,
    )
    rows[Request].append(request)
    _change(rows, number, name, request_uuid=request.request_uuid, started_at=0)


def _fail(rows: dict[type[Row], list[Row]], number: int, name: str) -> None:
    _change(
        rows,
        number,
        name,
        state=StepState.FAILED,
        attempt=3,
        agent=CLUSTER,
        exit_code=137,
        failure="job failed: exit code 137",
        stderr_tail="mapping sample b\nout of memory\n",
        ended_at=NOW - 5_200 * SECOND,
    )


def _change(rows: dict[type[Row], list[Row]], number: int, name: str, **changes: Any) -> None:
    for place, row in enumerate(rows[Step]):
        if isinstance(row, Step) and row.workflow_uuid == _id(number) and row.name == name:
            rows[Step][place] = msgspec.structs.replace(row, **changes)


def _running(rows: dict[type[Row], list[Row]], plan: Plan) -> None:
    """The thirty steps of a workflow in the middle of its work."""
    states = {name: state for name, (state, *_) in _STEPS.items()}
    _flow(rows, plan, 1, "genomics-2026-03", MARY, 905, WorkflowState.RUNNING, states, StepState.WAITING)
    for index, step in enumerate(plan.steps):
        state, at, attempt, since, took = _STEPS.get(step.name, (StepState.WAITING, "", 0, 0, 0))
        ended = state is StepState.COMPLETED
        job = _id(1000 + index) if at else b""
        begun = NOW - since * SECOND if since else 0
        old = (CLUSTER, _id(2000 + index))
        _change(
            rows, 1, step.name, attempt=attempt, agent="" if ended else at, job_uuid=b"" if ended else job,
            winner_agent=at if ended else "", winner_job_uuid=job if ended else b"", started_at=begun,
            ended_at=begun + took * SECOND if ended else 0,
            jobs=tuple([*([old] if attempt > 1 else []), *([(at, job)] if at else [])]),
            cause="job failed: exit code 137" if attempt > 1 else "",
        )  # fmt: skip
        if attempt > 1:
            rows[Job].append(_job(old, index, 1, JobState.FAILED, 560, 40))
        if at:
            kind = {StepState.COMPLETED: JobState.COMPLETED, StepState.RUNNING: JobState.RUNNING}
            rows[Job].append(_job((at, job), index, attempt, kind.get(state, JobState.QUEUED), since, took))
    _ask(rows, 1, next(i for i, s in enumerate(plan.steps) if s.name == "call_a"), "call_a",
         {LAB: "NOT_OFFERED: no job definition call-variants"}, since=300)  # fmt: skip


def _job(key: tuple[str, bytes], index: int, attempt: int, state: JobState, since: int, took: int) -> Job:
    failed, ended = state is JobState.FAILED, state in (JobState.FAILED, JobState.COMPLETED)
    begun = NOW - since * SECOND if since else 0
    return Job(
        agent=key[0],
        job_uuid=key[1],
        workflow_uuid=_id(1),
        step_index=index,
        attempt=attempt,
        request_uuid=_id(3000 + index),
        offer_uuid=_id(4000 + index * 10 + attempt),
        state=state,
        ended=ended,
        exit_code=137 if failed else 0 if ended else None,
        failure_class=FailureClass.JOB if failed else FailureClass.UNSPECIFIED,
        info="exit code 137" if failed else "",
        accepted_at=begun or NOW,
        started_at=begun,
        ended_at=begun + took * SECOND if ended else 0,
    )
