"""Following workflows on both databases: what changed is read once, counts are true, events are in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from caroni.core.plan import Plan, PlanInput, PlanStep, WorkflowInput, WorkflowOutput
from caroni.core.rows import NO_JOB, Flow, Job, Request, Row, Step, Workflow
from caroni.core.states import JobState, RequestState, StepState, WorkflowState
from caroni.errors import UsageError
from caroni.model.store import Store
from caroni.model.unit import Unit
from caroni.services.following import (
    Workflows,
    failed_steps,
    inputs_of,
    latest_job,
    step_here,
    step_names,
    steps_since,
    template_plan,
    values_of,
)
from caroni.services.happenings import happenings
from tests.model.databases import *  # noqa: F403

A, B = bytes([0xA1]) * 16, bytes([0xB2]) * 16
AGENT, JOB, OLD = "caroni://b.example/agent/g\x01", bytes([0x71]) * 16, bytes([0x72]) * 16


def workflow(uuid: bytes, name: str, state: WorkflowState = WorkflowState.RUNNING, at: int = 10) -> Workflow:
    return Workflow(
        workflow_uuid=uuid, name=name, state=state, template="t", revision=1, steps_total=4, steps_left=4,
        created_at=at, submitter="me",
    )  # fmt: skip


def step(uuid: bytes, index: int, state: StepState = StepState.WAITING, **more: object) -> Step:
    name = f"s{index}\x00"
    return Step(workflow_uuid=uuid, index=index, name=name, job_type="j", state=state, **more)  # type: ignore[arg-type]


async def commit(store: Store, *rows: Row) -> None:
    by_type: dict[type[Row], list[Row]] = {}
    for row in rows:
        by_type.setdefault(type(row), []).append(row)
    await store.commit(Unit(rows=by_type, now=1))


@pytest.fixture
async def store(new_database: Callable[[], str]) -> AsyncIterator[Store]:
    store = await Store.open(new_database(), "manager")
    await commit(
        store, workflow(A, "Alpha_1"), workflow(B, "beta%", WorkflowState.FAILED, at=20),
        *(step(A, n) for n in range(4)), *(step(B, n) for n in range(4)),
    )  # fmt: skip
    yield store
    await store.close()


async def test_each_look_reads_what_changed(store: Store) -> None:
    first = await steps_since(store, A)
    assert [s.index for s in first.steps] == [0, 1, 2, 3]
    assert (first.workflow.name, first.more) == ("Alpha_1", False)
    again = await steps_since(store, A, first.rev)
    assert (again.steps, again.rev) == ((), first.rev)
    await commit(
        store, step(A, 2, StepState.RUNNING, agent=AGENT, cause="why"), step(B, 1, StepState.RUNNING)
    )
    changed = await steps_since(store, A, first.rev)
    assert [(s.index, s.state, s.agent, s.info) for s in changed.steps] == [(2, "running", AGENT, "why")]
    assert changed.rev > first.rev
    await commit(store, *(step(A, n, StepState.FAILED, failure="f", cause="c") for n in range(4)))
    seen, rev, more = [], changed.rev, True
    while more:
        look = await steps_since(store, A, rev, limit=3)
        seen += [(s.index, s.info) for s in look.steps]
        rev, more = look.rev, look.more
    assert sorted(seen) == [(n, "f") for n in range(4)]
    with pytest.raises(UsageError, match="there is no workflow"):
        await steps_since(store, bytes(16))


async def test_the_list_counts_anew_what_changed(store: Store) -> None:
    reader = Workflows()
    found = await reader.look(store)
    assert [w.name for w in found.workflows] == ["beta%", "Alpha_1"]
    assert [w.steps for w in found.workflows] == [{"waiting": 4}, {"waiting": 4}]
    await commit(store, step(A, 0, StepState.COMPLETED))
    found = await reader.look(store)
    assert [w.steps for w in found.workflows] == [{"waiting": 4}, {"completed": 1, "waiting": 3}]
    for _ in range(2):
        assert (await reader.look(store)) == found


async def test_the_list_is_filtered_by_the_database(store: Store) -> None:
    reader = Workflows()

    async def names(**filters: object) -> list[str]:
        return [w.name for w in (await reader.look(store, **filters)).workflows]  # type: ignore[arg-type]

    assert await names(failed=True) == ["beta%"]
    assert await names(text="ALPHA_") == ["Alpha_1"]
    assert await names(text="a%") == ["beta%"]
    assert await names(text="!") == []
    assert await names(text="b2b2") == ["beta%"]
    assert await names(limit=1) == ["beta%"]
    assert (await reader.look(store, limit=1)).more
    assert not (await reader.look(store, limit=2)).more


async def test_what_belongs_to_a_step(store: Store) -> None:
    plan = PlanStep(
        name="s1\x00", job_type="j", outputs={"out": "string", "more": "int"},
        inputs=(
            PlanInput(name="a", source="in"), PlanInput(name="b", default="3"),
            PlanInput(name="c", source="s0/x"),
        ),
    )  # fmt: skip
    assert await latest_job(store, A, 1) == NO_JOB
    await commit(
        store, step(A, 1, StepState.FAILED, jobs=((AGENT, OLD), (AGENT, JOB)), failure="bad \x00"),
        Flow(workflow_uuid=A, name="in", value='"x"'), Flow(workflow_uuid=A, name="s1\x00/out", value='"y"'),
    )  # fmt: skip
    here = await step_here(store, A, 1, plan)
    assert (here.peer, here.job) == (AGENT, JOB)
    assert [(v.name, v.value) for v in here.inputs] == [("a", '"x"'), ("b", "3"), ("c", None)]
    assert [(v.name, v.value) for v in here.outputs] == [("out", '"y"'), ("more", None)]
    assert [(s.name, s.info) for s in await failed_steps(store, A)] == [("s1\x00", "bad \x00")]
    await commit(store, step(A, 1, StepState.RUNNING, agent=AGENT, job_uuid=OLD))
    assert await latest_job(store, A, 1) == (AGENT, OLD)
    whole = Plan(inputs=(WorkflowInput(name="in"),), outputs=(WorkflowOutput(name="o", source="s1\x00/out"),))
    inputs, outputs = await values_of(store, A, whole)
    assert [(v.name, v.value) for v in (*inputs, *outputs)] == [("in", '"x"'), ("o", '"y"')]
    assert await inputs_of(store, A) == {"in": '"x"', "s1\x00/out": '"y"'}  # neither has a producer here
    assert await step_names(store, A) == [(f"s{n}\x00", "j") for n in range(4)]
    assert await template_plan(store, "t", 1) is None
    with pytest.raises(UsageError, match="has no step 9"):
        await latest_job(store, A, 9)


async def test_what_happened_in_order(store: Store) -> None:
    ended = msgspec.structs.replace(workflow(A, "a", WorkflowState.FAILED), ended_at=90, failure="step s1")
    job = Job(
        agent=AGENT, job_uuid=JOB, workflow_uuid=A, step_index=1, attempt=1, request_uuid=bytes(16),
        offer_uuid=OLD, state=JobState.KILLED, accepted_at=30, started_at=40, kill_asked_at=70,
        kill_info="stop", ended_at=80, info="killed",
    )  # fmt: skip
    request = Request(
        request_uuid=OLD,
        workflow_uuid=A,
        step_index=1,
        attempt=1,
        state=RequestState.FULFILLED,
        created_at=20,
    )
    await commit(
        store, ended, job, request, step(A, 1, StepState.FAILED, ready_at=20, ended_at=80, failure="no")
    )
    found = await happenings(store, A)
    assert [(e.at, e.of, e.what) for e in found] == [
        (10, "workflow", "submitted"),
        (20, "step", "ready"),
        (20, "request", "asked for"),
        (30, "job", "accepted"),
        (40, "job", "begun"),
        (70, "job", "kill asked"),
        (80, "job", "killed"),
        (80, "step", "failed"),
        (90, "workflow", "failed"),
    ]
    assert found[3].agent == AGENT
    assert [(e.step, e.more) for e in found[5:8]] == [
        ("s1\x00", "stop"),
        ("s1\x00", "killed"),
        ("s1\x00", "no"),
    ]
    assert await happenings(store, A, limit=3) == found[-3:]
    with pytest.raises(UsageError, match="there is no workflow"):
        await happenings(store, bytes(16))
