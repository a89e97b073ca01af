"""``list``, ``show`` and ``outputs`` on rows that a manager would have written."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from caroni.config import database_url, load_config
from caroni.core.rows import Flow, Step, Workflow
from caroni.core.states import StepState, WorkflowState
from caroni.model.store import Store
from caroni.model.unit import Unit
from tests.cli.conftest import CHAIN

DONE, RUNS, BROKEN = bytes([0xD0]) * 16, bytes([0xA1]) * 16, bytes([0xA2]) * 16
SECOND = 1_000_000
START = 1_790_000_000 * SECOND


def workflow(uuid: bytes, state: WorkflowState, name: str, left: int, **more: object) -> Workflow:
    return Workflow(
        workflow_uuid=uuid, state=state, name=name, template="text-chain", revision=1, steps_total=3,
        steps_left=left, submitter="caroni://a.example/submitter/s1", created_at=START, **more,
    )  # fmt: skip


def steps(uuid: bytes, state: StepState, **more: object) -> list[Step]:
    names = (("upper", "upper-case"), ("prepend", "prepend"), ("append", "append"))
    return [
        Step(workflow_uuid=uuid, index=i, name=name, job_type=kind, state=state, attempt=1, **more)
        for i, (name, kind) in enumerate(names)
    ]


@pytest.fixture
def m1(sites, caroni):
    assert caroni("template", "add", CHAIN, "--config", sites / "m1").code == 0
    unit = Unit(
        rows={
            Workflow: [
                workflow(DONE, WorkflowState.COMPLETED, "first", 0, ended_at=START + 90 * SECOND),
                workflow(RUNS, WorkflowState.RUNNING, "second", 2),
                workflow(BROKEN, WorkflowState.FAILED, "third", 2, failure="step upper: exit\x1b[2J code 3"),
            ],
            Step: [
                *steps(DONE, StepState.COMPLETED, winner_agent="caroni://b.example/agent/g1",
                       started_at=START, ended_at=START + SECOND),
                *steps(RUNS, StepState.WAITING),
                *steps(BROKEN, StepState.FAILED, failure="exit code 3", exit_code=3),
            ],
            Flow: [
                Flow(workflow_uuid=DONE, name="append/suffixed", value='"HI\\u001b"'),
                Flow(workflow_uuid=RUNS, name="message", value='"hi"'),
            ],
        },
        now=START,
    )  # fmt: skip

    async def fill() -> None:
        store = await Store.open(database_url(load_config(sites / "m1")), "manager")
        await store.commit(unit)
        await store.close()

    asyncio.run(fill())
    return ("--config", sites / "m1")


def test_list(m1, caroni):
    shown = caroni("list", *m1).out
    assert "3/3" in shown
    assert "1m30s" in shown
    assert "text-chain@1" in shown
    assert {w["name"] for w in caroni("list", *m1, "--json").json} == {"first", "second", "third"}
    (running,) = caroni("list", "--state", "running", *m1, "--json").json
    assert running["workflow"] == RUNS.hex()
    assert len(caroni("list", "--limit", 1, *m1, "--json").json) == 1
    assert "none of: running" in caroni("list", "--state", "dancing", *m1).refused()


def test_show(m1, caroni):
    shown = caroni("show", "third", *m1).out
    assert "exit\\x1b[2J code 3" in shown
    assert "\x1b" not in shown
    found = caroni("show", DONE.hex()[:8], *m1, "--json").json
    assert found["steps"] == {"completed": 3}
    assert [s["name"] for s in found["step_list"]] == ["upper", "prepend", "append"]
    assert found["step_list"][0]["agent"] == "caroni://b.example/agent/g1"
    dashed = f"{DONE.hex()[:8]}-{DONE.hex()[8:12]}-{DONE.hex()[12:16]}-{DONE.hex()[16:20]}-{DONE.hex()[20:]}"
    assert caroni("show", dashed, *m1, "--json").json["name"] == "first"


def test_what_happened(m1, caroni):
    found = caroni("show", "first", "--events", *m1, "--json").json
    assert [(e["of"], e["what"]) for e in found] == [
        ("workflow", "submitted"),
        *[("step", "completed")] * 3,
        ("workflow", "completed"),
    ]
    assert {e["step"] for e in found} == {"", "upper", "prepend", "append"}
    assert "submitted" in caroni("show", "first", "--events", *m1).out


def test_which(m1, caroni):
    for nobody in ("fourth", "ffff", "00" * 16, "%", "d_d0", "d0%"):
        assert "there is no workflow" in caroni("show", nobody, *m1).refused()


def test_a_name_that_two_have(m1, caroni, sites):
    with sqlite3.connect(sites / "m1" / "caroni.db") as database:
        database.execute("UPDATE workflow SET name = 'same'")
    database.close()
    assert "could be any of" in caroni("show", "same", *m1).refused()


def test_outputs(m1, caroni):
    result = caroni("outputs", "first", *m1)
    assert result.out == '{\n  "final_text": "HI\\u001b"\n}\n'
    assert "is running: 1 of 3 steps are done" in caroni("outputs", "second", *m1).refused(1)
    assert caroni("outputs", "second", "--partial", *m1, "--json").json == {}
    assert "is failed: step upper: exit\\x1b[2J" in caroni("outputs", "third", *m1).refused(1)
    assert "there is no workflow" in caroni("outputs", "fourth", *m1).refused()
