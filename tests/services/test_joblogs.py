"""Parts of what jobs write, and everything of one job, by the same functions as console and command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from caroni.config import Loaded, database_url
from caroni.core.commands import ManagerCommand, SubmitWorkflow
from caroni.core.plan import Plan, PlanInput, PlanStep
from caroni.core.rows import Flow, JobLog, Row
from caroni.core.states import AgentJobState, JobState
from caroni.cwl import plan_to_json
from caroni.errors import UsageError
from caroni.model.store import Store
from caroni.services import joblogs
from caroni.services.control import LeftForLater
from caroni.services.jobdetail import MAX_VALUE, MAX_VALUES, job_shown
from caroni.services.submitting import submit
from tests.tui import jobs
from tests.tui.harness import make_site

RUNS, DONE = jobs.uuid(0x12), jobs.uuid(0x15)


class Place:
    """A daemon's directory and its open store."""

    def __init__(self, loaded: Loaded, store: Store) -> None:
        self.loaded, self.store = loaded, store
        self.peer = jobs.MANAGER if store.role == "agent" else jobs.AGENT

    async def commit(self, *rows: Row) -> None:
        await self.store.commit(jobs.unit(*rows))

    async def part(self, job: bytes, offset: int, limit: int = joblogs.CHUNK, stream: Any = "stdout") -> Any:
        return await joblogs.part(self.loaded, self.store, self.peer, job, stream, offset, limit)

    async def shown(self, job: bytes, **more: Any) -> Any:
        return await job_shown(self.loaded, self.store, self.peer, job, **more)

    def write(self, job: bytes, data: bytes) -> Path:
        path = self.loaded.config.agent.spool_dir / job.hex() / "stdout"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


async def make(tmp_path: Path, role: Any) -> Place:
    loaded = (await make_site(tmp_path, role, f"x-{role}")).loaded
    store = await Store.open(database_url(loaded), role)
    await store.commit(jobs.of_agent() if role == "agent" else jobs.of_manager())
    return Place(loaded, store)


@pytest.fixture
async def agent(tmp_path: Path) -> Any:
    place = await make(tmp_path, "agent")
    yield place
    await place.store.close()


@pytest.fixture
async def manager(tmp_path: Path) -> Any:
    place = await make(tmp_path, "manager")
    yield place
    await place.store.close()


# --- parts of a file ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "limit", "expected"),
    [
        (0, 4, (0, b"0123")),
        (4, 100, (4, b"456789")),
        (-3, 100, (7, b"789")),
        (-100, 4, (0, b"0123")),
        (10, 4, (10, b"")),
        (99, 4, (10, b"")),
        (0, 0, (0, b"")),
        (0, -1, (0, b"")),
    ],
)
async def test_a_part_of_a_file(agent: Place, offset: int, limit: int, expected: tuple[int, bytes]) -> None:
    agent.write(RUNS, b"0123456789")
    found = await agent.part(RUNS, offset, limit)
    assert (found.offset, found.data) == expected
    assert (found.total, found.end, found.gone) == (10, False, False)


async def test_a_part_is_never_large(agent: Place) -> None:
    agent.write(RUNS, b"x" * (1 << 20))
    assert len((await agent.part(RUNS, 0, 1 << 30)).data) == joblogs.CHUNK


async def test_the_end_is_told_when_the_job_has_ended_and_all_was_read(agent: Place) -> None:
    agent.write(DONE, b"0123456789")
    assert not (await agent.part(DONE, 0, 9)).end
    assert (await agent.part(DONE, 9, 9)).end
    assert (await agent.part(DONE, 10, 9)).end


async def test_without_files_the_kept_end_and_its_parts(agent: Place) -> None:
    found = await agent.part(DONE, -4)
    assert (found.data, found.total, found.gone, found.end) == (b"end\n", -1, True, True)
    assert (await agent.part(DONE, 0, 4)).data == b"kept"
    running = await agent.part(RUNS, 0)
    assert (running.data, running.total, running.gone, running.end) == (b"", 0, False, False)


async def test_what_is_not_there(agent: Place, manager: Place) -> None:
    for place in (agent, manager):
        with pytest.raises(UsageError, match="not known any more"):
            await place.part(jobs.uuid(0x99), 0)
        with pytest.raises(UsageError, match="stdout or stderr"):
            await place.part(RUNS, 0, stream="../claim")
        with pytest.raises(UsageError, match="not known any more"):
            await place.shown(jobs.uuid(0x99))


# --- what a manager was told -------------------------------------------------------------------------

ASKED = jobs.uuid(0x10)


def told(data: bytes, offset: int, **more: Any) -> JobLog:
    return JobLog(
        agent=jobs.AGENT, job_uuid=ASKED, stream="stdout", offset=offset, total=offset + len(data),
        data=data.decode("latin-1"), **{"asked_at": 5, "answered_at": 6, "at": 6, **more},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("offset", "expected"), [(0, (100, b"\x00\xffabc")), (102, (102, b"abc")), (105, (105, b"")),
                             (999, (105, b"")), (-2, (103, b"bc")), (-999, (100, b"\x00\xffabc"))],
)  # fmt: skip
async def test_a_part_of_what_was_told(manager: Place, offset: int, expected: tuple[int, bytes]) -> None:
    await manager.commit(told(b"\x00\xffabc", 100))
    found = await manager.part(ASKED, offset)
    assert (found.offset, found.data) == expected
    assert (found.total, found.at, found.waiting, found.end) == (105, 6, False, False)


async def test_an_unanswered_question_is_known_as_one(manager: Place) -> None:
    await manager.commit(told(b"old", 0, asked_at=9))
    found = await manager.part(ASKED, 0)
    assert (found.waiting, found.data) == (True, b"old")
    args = (manager.loaded, manager.store, jobs.AGENT, ASKED, "stdout")
    assert not await joblogs.answered(*args, 9, 0.0)  # type: ignore[arg-type]
    await manager.commit(told(b"", 0, asked_at=9, answered_at=9, refusal="no"))
    assert await joblogs.answered(*args, 9, 0.0)  # type: ignore[arg-type]
    assert (await manager.part(ASKED, 0)).refusal == "no"


async def test_the_jobs_end_is_newer_than_a_log_from_before_it(manager: Place) -> None:
    ended = jobs.attempt(0x10, JobState.FAILED, ended=True, ended_at=7, stdout_tail="tail")
    await manager.commit(told(b"early", 0), ended)
    found = await manager.part(ASKED, 0)
    assert (found.data, found.total, found.end) == (b"tail", -1, True)
    await manager.commit(told(b"early and tail", 0, end=True))
    assert (await manager.part(ASKED, 0)).data == b"early and tail"
    # an agent that has removed the files has nothing better than what was said at the end
    await manager.commit(told(b"", 0, end=True))
    assert (await manager.part(ASKED, 0)).data == b"tail"


async def test_a_manager_that_does_not_run_is_asked_once(manager: Place) -> None:
    args = (manager.loaded, manager.store, jobs.AGENT, ASKED, "stdout")
    with pytest.raises(LeftForLater):
        await joblogs.ask(*args, patience=0.0)  # type: ignore[arg-type]
    with pytest.raises(LeftForLater, match="has not asked the agent yet"):
        await joblogs.ask(*args, patience=0.0)  # type: ignore[arg-type]
    assert len(await manager.store.new_commands()) == 1


async def test_an_agent_has_nobody_to_ask(agent: Place) -> None:
    with pytest.raises(UsageError, match="of a manager"):
        await joblogs.ask(agent.loaded, agent.store, jobs.MANAGER, RUNS, "stdout")


# --- one job -----------------------------------------------------------------------------------------


async def test_inputs_as_the_step_is_given_them(manager: Place) -> None:
    inputs = (
        PlanInput(name="given", source="start"),
        PlanInput(name="late", source="other/out"),
        PlanInput(name="null", source="nothing", default='"instead"'),
        PlanInput(name="fixed", default="7"),
        PlanInput(name="none"),
    )
    plan = Plan(steps=(PlanStep(name="bwa_s1", job_type="bwa", inputs=inputs),))
    await manager.store.add_template("t", "digest", "{}", plan_to_json(plan), 1)
    await manager.commit(
        Flow(workflow_uuid=jobs.FLOW, name="start", value='"' + "x" * 9000 + '"'),
        Flow(workflow_uuid=jobs.FLOW, name="nothing", value="null"),
    )
    shown = await manager.shown(ASKED)
    assert [(one.name, one.source) for one in shown.inputs] == [
        (item.name, item.source or "") for item in inputs
    ]
    given, late, null, fixed, none = shown.inputs
    assert (len(given.value), given.size, given.cut) == (MAX_VALUE, 9002, True)
    assert (late.value, null.value, fixed.value, none.value) == (None, '"instead"', "7", "null")
    assert (await manager.shown(ASKED, values=False)).inputs == []


async def test_values_are_bounded_in_number(manager: Place) -> None:
    many = tuple(PlanInput(name=f"n{n}", default="1") for n in range(2 * MAX_VALUES))
    plan = Plan(steps=(PlanStep(name="bwa_s1", job_type="bwa", inputs=many),))
    await manager.store.add_template("t", "digest", "{}", plan_to_json(plan), 1)
    assert len((await manager.shown(ASKED)).inputs) == MAX_VALUES


async def test_an_orphan_is_a_job_of_which_little_is_known(manager: Place) -> None:
    shown = await manager.shown(jobs.uuid(0x20))
    assert (shown.state, shown.ended, shown.info) == ("orphan", False, "its agent says: running")


async def test_a_template_that_is_gone_leaves_the_rest(manager: Place) -> None:
    shown = await manager.shown(ASKED)
    assert (shown.step, shown.inputs, shown.progress) == ("bwa_s1", [], 0.25)


async def test_the_place_in_the_queue(agent: Place) -> None:
    assert [(await agent.shown(jobs.uuid(n))).position for n in (0x11, 0x10, 0x12)] == [1, 2, 0]
    await agent.commit(jobs.here(0x11, AgentJobState.RUNNING))
    assert (await agent.shown(jobs.uuid(0x10))).position == 1


# --- submit ------------------------------------------------------------------------------------------


async def test_a_submit_that_is_not_answered_stays_and_is_not_two(manager: Place) -> None:
    with pytest.raises(LeftForLater, match="the command stays"):
        await submit(manager.loaded, manager.store, "t", {"a": "1"}, revision=2, name="n", patience=0.0)
    (row,) = await manager.store.new_commands()
    assert msgspec.json.decode(row.args, type=ManagerCommand) == SubmitWorkflow(
        template="t", revision=2, name="n", inputs={"a": "1"}
    )


@pytest.mark.parametrize(
    ("inputs", "name", "why"),
    [
        ({"a": "{"}, "", "input a"),
        ({"a": "NaN"}, "", "input a"),
        ({"a": '{"b": 1, "b": 2}'}, "", "input a"),
        ({"a": '"' + "x" * (3 << 20) + '"'}, "", "pass a File"),
        ({}, "n" * 257, "name is longer"),
        ({}, "n\0", "holds a NUL"),
    ],
)
async def test_what_cannot_be_a_submit(manager: Place, inputs: dict[str, str], name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        await submit(manager.loaded, manager.store, "t", inputs, name=name)
    assert await manager.store.new_commands() == []


async def test_an_agent_begins_no_workflow(agent: Place) -> None:
    with pytest.raises(UsageError, match="of a manager"):
        await submit(agent.loaded, agent.store, "t", {})
