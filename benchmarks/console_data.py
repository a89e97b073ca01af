"""A manager's directory with one workflow of 10,000 steps: 500 samples through twenty stages."""

from __future__ import annotations

import time
from pathlib import Path

from caroni.config import Loaded, database_url, load_config
from caroni.core.plan import Plan, PlanInput, PlanStep, WorkflowInput
from caroni.core.rows import Step, Workflow
from caroni.core.states import StepState, WorkflowState
from caroni.cwl import plan_to_json
from caroni.model.store import Store
from caroni.model.unit import Unit
from caroni.services.setup import make_directory

WORKFLOW = bytes([0xBE]) * 16
SAMPLES, STAGES = 500, 20
FIRST = "fetch_000"


def plan() -> Plan:
    """The graph; the last step waits for all samples."""
    names = ["fetch", *(f"stage{n:02d}" for n in range(1, STAGES))]
    steps = []
    for sample in range(SAMPLES):
        source = "reads"
        for name in names:
            steps.append(_step(f"{name}_{sample:03d}", name, (source,)))
            source = f"{name}_{sample:03d}/out"
    ends = tuple(f"{names[-1]}_{sample:03d}/out" for sample in range(SAMPLES))
    steps[-1] = _step(steps[-1].name, names[-1], (*[i.source for i in steps[-1].inputs], *ends[:-1]))
    return Plan(inputs=(WorkflowInput(name="reads", type="string"),), steps=tuple(steps))


def _step(name: str, job_type: str, sources: tuple[str, ...]) -> PlanStep:
    inputs = tuple(PlanInput(name=f"i{n}", type="string", source=s) for n, s in enumerate(sources))
    return PlanStep(name=name, job_type=job_type, inputs=inputs, outputs={"out": "string"})


async def make(directory: Path) -> Loaded:
    """Make it."""
    await make_directory("manager", directory, site="bench.example", name="m")
    loaded = load_config(directory)
    graph, now = plan(), time.time_ns() // 1000
    store = await Store.open(database_url(loaded), "manager")
    try:
        await store.add_template("pipeline", "0" * 64, "{}", plan_to_json(graph), now)
        workflow = Workflow(
            workflow_uuid=WORKFLOW,
            state=WorkflowState.RUNNING,
            name="pipeline",
            template="pipeline",
            revision=1,
            submitter="caroni://bench.example/submitter/s",
            steps_total=len(graph.steps),
            steps_left=len(graph.steps),
            created_at=now,
        )
        steps = [
            Step(
                workflow_uuid=WORKFLOW,
                index=index,
                name=step.name,
                job_type=step.job_type,
                state=StepState.WAITING,
                ready_at=now,
            )
            for index, step in enumerate(graph.steps)
        ]
        for start in range(0, len(steps), 1000):
            await store.commit(
                Unit(rows={Workflow: [workflow], Step: list(steps[start : start + 1000])}, now=now)
            )
    finally:
        await store.close()
    return loaded
