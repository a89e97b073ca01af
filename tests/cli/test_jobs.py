"""``caroni jobs`` on rows that a manager and an agent would have written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from caroni.config import database_url, load_config
from caroni.core.messages import FailureClass, JobStatus
from caroni.core.rows import AgentJob, Job, Orphan, Row, Step, Workflow
from caroni.core.states import AgentJobState, JobState, StepState, WorkflowState
from caroni.model.store import Role, Store
from caroni.model.unit import Unit

G1, M1 = "caroni://b.example/agent/g1", "caroni://a.example/manager/m1"
FLOW, OTHER = bytes([0xA1]) * 16, bytes([0xA2]) * 16
SECOND = 1_000_000
START = 1_790_000_000 * SECOND


def commit(directory: Any, role: Role, *rows: Row) -> None:
    async def run() -> None:
        store = await Store.open(database_url(load_config(directory)), role)
        by_type: dict[type[Row], list[Row]] = {}
        for row in rows:
            by_type.setdefault(type(row), []).append(row)
        await store.commit(Unit(rows=by_type, now=START))
        await store.close()

    asyncio.run(run())


def attempt(number: int, state: JobState, flow: bytes = FLOW, **more: Any) -> Job:
    return Job(
        agent=G1, job_uuid=bytes([number]) * 16, workflow_uuid=flow, step_index=0, attempt=1,
        request_uuid=bytes(16), offer_uuid=bytes([number, 1]) * 8, state=state, accepted_at=START, **more,
    )  # fmt: skip


def here(number: int, state: AgentJobState, **more: Any) -> AgentJob:
    return AgentJob(
        manager=M1, job_uuid=bytes([number]) * 16, offer_uuid=bytes([number, 1]) * 8,
        request_uuid=bytes(16), state=state, job_type="upper-case", created_at=START, **more,
    )  # fmt: skip


@pytest.fixture
def m1(sites):
    commit(
        sites / "m1",
        "manager",
        *(
            Workflow(
                workflow_uuid=uuid, state=WorkflowState.RUNNING, name=name, template="t", revision=1,
                steps_total=1, steps_left=1, created_at=START,
            )
            for uuid, name in ((FLOW, "first"), (OTHER, "sec\x1bond"))
        ),
        *(
            Step(workflow_uuid=uuid, index=0, name="up\x1b[2Jper", job_type="t", state=StepState.RUNNING)
            for uuid in (FLOW, OTHER)
        ),
        attempt(0x10, JobState.RUNNING, started_at=START, progress=0.25, pause_wanted=True),
        attempt(0x11, JobState.LOST, kill_wanted=True, kill_asked_at=START, suspect=True, due=START),
        attempt(0x12, JobState.FAILED, started_at=START, ended_at=START + 90 * SECOND, exit_code=3,
                failure_class=FailureClass.JOB, info="it broke"),
        attempt(0x13, JobState.QUEUED, OTHER, kill_wanted=True, due=START),
        Orphan(agent=G1, job_uuid=bytes([0x20]) * 16, status=JobStatus.RUNNING, due=START, first_at=START),
    )  # fmt: skip
    return ("--config", sites / "m1")


@pytest.fixture
def g1(sites):
    commit(
        sites / "g1",
        "agent",
        here(0x10, AgentJobState.QUEUED, queued_at=START + 2 * SECOND),
        here(0x11, AgentJobState.QUEUED, queued_at=START + SECOND),
        here(0x12, AgentJobState.RUNNING, queued_at=START, started_at=START + SECOND),
        here(0x13, AgentJobState.PENDING, missing=2),
        here(0x14, AgentJobState.FAILED, queued_at=START, started_at=START, ended_at=START + SECOND,
             failure_class=FailureClass.AGENT, info="host rebooted"),
        # a memory of a kill that came before its job
        AgentJob(manager=M1, job_uuid=bytes([0x15]) * 16, offer_uuid=b"", request_uuid=b"",
                 state=AgentJobState.KILLED, created_at=START),
    )  # fmt: skip
    return ("--config", sites / "g1")


def test_attempts(m1, caroni):
    shown = caroni("jobs", *m1)
    assert "running, 25%, pause wanted" in shown.out
    assert "lost, kill asked, agent unreachable" in shown.out
    assert "queued, kill asked" in shown.out
    assert "up\\x1b[2Jper" in shown.out
    assert "\x1b" not in shown.out
    assert "it broke" not in shown.out
    found = {job["job"][:2]: job for job in caroni("jobs", *m1, "--json").json}
    assert found.keys() == {"10", "11", "13", "20"}
    assert found["20"]["state"] == "orphan"
    assert found["10"]["pause"] == "wanted"
    assert found["11"]["kill"] == "unreachable"
    assert found["13"]["workflow_name"] == "sec\x1bond"


def test_attempts_of_one_workflow_are_all_of_it(m1, caroni):
    found = {job["job"][:2]: job for job in caroni("jobs", "first", *m1, "--json").json}
    assert found.keys() == {"10", "11", "12"}
    assert "1m30s" in caroni("jobs", "first", *m1).out
    assert "job, exit code 3, it broke" in caroni("jobs", "first", *m1).out


def test_which_attempts(m1, caroni):
    assert [j["job"][:2] for j in caroni("jobs", "--state", "failed", *m1, "--json").json] == ["12"]
    assert [j["job"][:2] for j in caroni("jobs", "--state", "orphan", *m1, "--json").json] == ["20"]
    assert len(caroni("jobs", "--all", *m1, "--json").json) == 5
    assert len(caroni("jobs", "--all", "--limit", 2, *m1, "--json").json) == 2
    assert "none of: pending" in caroni("jobs", "--state", "dancing", *m1).refused()
    assert "there is no workflow" in caroni("jobs", "third", *m1).refused()


def test_an_agents_queue_in_order(g1, caroni):
    found = caroni("jobs", *g1, "--json").json
    assert [(j["job"][:2], j["state"], j["position"]) for j in found] == [
        ("12", "running", 0),
        ("11", "queued", 1),
        ("10", "queued", 2),
        ("13", "pending", 0),
    ]
    assert "2 inputs missing" in caroni("jobs", *g1).out
    assert "failed, waits for release" in caroni("jobs", "--all", *g1).out
    assert len(caroni("jobs", "--all", *g1, "--json").json) == 5
    assert [j["job"][:2] for j in caroni("jobs", "--state", "failed", *g1, "--json").json] == ["14"]
    assert "there is no job 'first'" in caroni("jobs", "first", *g1).refused()
    assert "none of: pending" in caroni("jobs", "--state", "lost", *g1).refused()


def test_nothing(sites, caroni):
    assert caroni("jobs", "--config", sites / "m1").err == "no jobs\n"
    assert "of a submitter" in caroni("jobs", "--config", sites / "s1").refused()
