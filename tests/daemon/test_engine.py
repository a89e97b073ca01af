"""The engine with real daemons: what failed units, late messages and unknown outcomes leave behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from caroni.core.manager.state import AnswerStatus
from caroni.core.messages import JobAccepted, WorkFlowCreate
from caroni.core.plan import Plan, PlanInput, PlanStep, StepPolicy, WorkflowInput, WorkflowOutput
from caroni.core.rows import AgentOffer, Peer
from caroni.daemon.embedded import Embedded
from caroni.daemon.engine import Seen
from caroni.daemon.manager import MAX_ANSWERS
from caroni.daemon.node import Limits
from caroni.daemon.ports import Delivery
from caroni.errors import TransientError
from caroni.execution.definition import JobDefinition
from caroni.execution.executor import JobSpec
from caroni.execution.noop import NoopExecutor
from caroni.model.database import OutcomeUnknown
from caroni.model.store import Role, Store
from caroni.model.unit import Unit
from caroni.wire.codec import encode
from caroni.wire.envelope import seal_unsigned
from tests.daemon.waiting import until

JOB = JobDefinition(
    name="echo", executor="noop", command=("true",), inputs={"out": "string"}, outputs={"out": "string"}
)


def chain(*sources: str) -> Plan:
    """Steps ``s0``, ``s1``, ... each fed by one of the sources."""
    return Plan(
        inputs=(WorkflowInput(name="start", type="string"),),
        steps=tuple(
            PlanStep(
                name=f"s{place}",
                job_type="echo",
                inputs=(PlanInput(name="out", type="string", source=source),),
                outputs={"out": "string"},
            )
            for place, source in enumerate(sources)
        ),
        outputs=(WorkflowOutput(name="result", source=f"s{len(sources) - 1}/out"),),
    )


PLAN = chain("start")


class Forgetful(Store):
    """A store whose connection goes after a commit and before its answer, when it starts a job."""

    lost = 0

    async def commit(self, unit: Unit) -> int:
        rev = await super().commit(unit)
        starts = [
            row for many in unit.rows.values() for row in many if getattr(row, "state", "") == "starting"
        ]
        if starts and not self.lost:
            self.lost += 1
            raise OutcomeUnknown("the connection went during the commit")
        return rev


class Stubborn(Store):
    """A store that refuses every third unit of work, as a locked database does; nothing is written then."""

    asked = 0

    async def commit(self, unit: Unit) -> int:
        self.asked += 1
        if self.asked % 3 == 0:
            raise TransientError("the database is locked")
        return await super().commit(unit)


class Poisonable(Store):
    """A store that breaks, as our own bug would, on the offer for one job type."""

    async def commit(self, unit: Unit) -> int:
        if any(getattr(row, "job_type", "") == "poison" for row in unit.rows.get(AgentOffer, [])):
            raise ValueError("this row cannot be written")
        return await super().commit(unit)


class Federation(Embedded):
    """The embedded system; the stores of its daemons can be chosen."""

    agent_store: type[Store] = Store
    manager_store: type[Store] = Store

    async def _store(self, name: str, role: Role) -> Store:
        store = await super()._store(name, role)
        kind = self.manager_store if role == "manager" else self.agent_store
        if kind is Store:
            return store
        await store.close()
        return await kind.open(f"sqlite://{self._directory / name}/caroni.db", role)


@pytest.fixture
async def federation(tmp_path: Path) -> AsyncIterator[Federation]:
    made = Federation(tmp_path, {"a": [JOB]}, slots=1)
    yield made
    await made.stop()


async def run_one(federation: Federation) -> bytes:
    """One workflow from submit to its end."""
    submitter = federation.submitter
    created = await submitter.submit(submitter.new_create("w", {"start": '"x"'}))
    async for update in submitter.follow(created.workflow_uuid):
        last = update
    assert last.workflows[0].state == "completed"
    return created.workflow_uuid


def in_memory(federation: Federation) -> dict[str, int]:
    tables = federation.manager.role.state.tables
    return {kind.__name__: len(rows) for kind, rows in tables.items() if rows and kind is not Peer}


async def test_what_a_late_question_loads_leaves_memory_again(federation: Federation) -> None:
    await federation.start()
    await federation.add_template("w", PLAN)
    workflow_uuid = await run_one(federation)
    await until(lambda: not in_memory(federation))
    update = await federation.submitter.status(workflow_uuid)
    assert update.outputs == {"result": '"x"'}
    assert not in_memory(federation)


async def test_a_start_that_was_decided_is_carried_out_when_the_commit_went_unanswered(
    federation: Federation,
) -> None:
    federation.agent_store = Forgetful
    await federation.start()
    await federation.add_template("w", PLAN)
    await run_one(federation)
    store = federation.agents[0].store
    assert isinstance(store, Forgetful)
    assert store.lost == 1


async def test_units_that_a_locked_database_refuses_are_worked_on_again(federation: Federation) -> None:
    federation.agent_store = federation.manager_store = Stubborn
    await federation.start()
    await federation.add_template("w", chain("start", "start", "s1/out"))
    await run_one(federation)
    await until(lambda: not in_memory(federation))
    assert all(node.store.asked >= 3 for node in federation.nodes if isinstance(node.store, Stubborn))


async def test_a_message_that_cannot_be_committed_is_set_aside_and_costs_nobody_else(tmp_path: Path) -> None:
    poison = msgspec.structs.replace(JOB, name="poison")
    federation = Federation(tmp_path, {"a": [JOB, poison]}, slots=1)
    federation.agent_store = Poisonable
    await federation.start()
    try:
        bad = msgspec.structs.replace(PLAN.steps[0], job_type="poison")
        await federation.add_template("bad", Plan(inputs=PLAN.inputs, steps=(bad,)))
        await federation.add_template("w", PLAN)
        submitter = federation.submitter
        await submitter.submit(submitter.new_create("bad", {"start": '"x"'}))
        await run_one(federation)
        agent = federation.agents[0].store

        async def quarantined() -> list[tuple[str, str]]:
            rows = await agent.database.fetch("SELECT reason, error FROM quarantine")
            return [(row[0], row[1]) for row in rows]

        while not await quarantined():  # bounded by the suite's time limit
            await run_one(federation)
        ((reason, error),) = await quarantined()
        assert reason == "BUG"
        assert "cannot be written" in error
    finally:
        await federation.stop()


async def test_work_that_a_full_disk_held_back_goes_on_when_there_is_room(
    federation: Federation, tmp_path: Path
) -> None:
    await federation.start()
    await federation.add_template("w", chain("start", "s0/out"))
    manager = federation.manager

    def reserve(size: int) -> None:
        manager._limits = Limits(directory=tmp_path, disk_reserve=size)
        manager._check_limits()

    def fill(seen: Seen) -> None:
        if isinstance(seen.message, JobAccepted):
            reserve(1 << 62)

    manager.engine.observers.append(fill)
    submitter = federation.submitter
    created = await submitter.submit(submitter.new_create("w", {"start": '"x"'}))
    await until(lambda: manager.role.state.ready)
    outbox = manager.outbox  # with nothing on its way nothing but the room can be the reason to go on
    await until(lambda: not (manager.engine._has_work() or outbox._publishing or outbox._sent))
    manager.engine.observers.clear()
    reserve(0)
    await until(lambda: not manager.role.state.ready, 3.0)
    async for update in submitter.follow(created.workflow_uuid):
        last = update
    assert last.workflows[0].state == "completed"


async def test_a_flood_of_questions_is_answered_in_part_and_the_manager_goes_on(
    federation: Federation,
) -> None:
    await federation.start()
    await federation.add_template("w", PLAN)
    workflow_uuid = await run_one(federation)
    role = federation.manager.role
    flood = AnswerStatus(
        to=federation.submitter._identity.uri, request_uuid=b"q" * 16, workflow_uuid=workflow_uuid
    )
    role.act([flood] * 20_000)
    assert len(role._tasks) <= MAX_ANSWERS
    await until(lambda: not role._tasks)
    assert (await federation.submitter.status(workflow_uuid)).outputs == {"result": '"x"'}


class Clumsy(NoopExecutor):
    """An executor of a plugin that breaks once."""

    broken = 0

    async def launch(self, specs: Sequence[JobSpec]) -> None:
        if not self.broken:
            self.broken += 1
            raise RuntimeError("no batch system here")
        await super().launch(specs)


async def test_an_executor_that_breaks_costs_its_jobs_and_no_slot(federation: Federation) -> None:
    await federation.start()
    once = msgspec.structs.replace(PLAN.steps[0], policy=StepPolicy(max_other_failures=1))
    await federation.add_template("once", msgspec.structs.replace(PLAN, steps=(once,)))
    await federation.add_template("w", PLAN)
    role = federation.agents[0].role
    clumsy = Clumsy()
    await clumsy.start(role)
    role._executors = {**role._executors, "noop": clumsy}
    submitter = federation.submitter
    created = await submitter.submit(submitter.new_create("once", {"start": '"x"'}))
    async for update in submitter.follow(created.workflow_uuid):
        last = update
    assert last.workflows[0].state == "failed"
    assert "no batch system here" in last.workflows[0].failure
    await run_one(federation)


async def test_a_base_message_counts_again_unless_the_broker_redelivers_it(federation: Federation) -> None:
    """It has no id: two submits may well be the same bytes, and a submit brought twice is one."""
    await federation.start()
    await federation.add_template("w", PLAN)
    manager = federation.manager
    manager.opener.mode = "lab"
    manager.engine._intake._base_queues = frozenset({"base"})
    manager.role.state.policy = msgspec.structs.replace(
        manager.role.state.policy, may_submit=lambda sender, template: True
    )
    create = WorkFlowCreate(template_name="w", wf_name="label", inputs={"start": '"x"'})
    sender = "wf.agent." + "A" * 22
    first = Delivery(
        body=seal_unsigned(*encode(create, base=True)), routing_key="", queue="base", reply_to=sender
    )
    again = msgspec.structs.replace(first, redelivered=True)
    elsewhere = msgspec.structs.replace(first, queue="ctl")

    async def workflows() -> list[str]:
        rows = await manager.store.database.fetch("SELECT submitter FROM workflow")
        return [submitter for (submitter,) in rows]

    refused = manager.store._rejected
    for deliveries, count in (
        ([first], 1),
        ([again], 1),
        ([first], 2),
        ([first, first, again], 4),
        ([again], 4),
    ):
        for delivery in (*deliveries, elsewhere):
            manager.engine.deliver(delivery)
        refused += 1  # the last one, which tells that all have been worked on
        await until(lambda wanted=refused: manager.store._rejected == wanted)  # type: ignore[misc]
        assert await workflows() == [f"unsigned:{sender}"] * count
