"""Control commands where no daemon runs: what they leave behind, what they refuse, how jobs are named."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from filelock import FileLock

from caroni.config import database_url, load_config
from caroni.core.commands import AgentCommand, Command, KillJob, ManagerCommand
from caroni.core.messages import JobStatus, PresenceState
from caroni.core.rows import AgentJob, Availability, Job, Orphan, Peer, Row, Workflow
from caroni.core.states import AgentJobState, JobState, WorkflowState
from caroni.errors import CommandRefused
from caroni.model.store import Role, Store
from caroni.model.unit import CommandDone, Unit
from caroni.services import control
from tests.cli.conftest import Caroni
from tests.services import eventually

G1, M1 = "caroni://b.example/agent/g1", "caroni://a.example/manager/m1"
FLOW = bytes([0xA1]) * 16
SECOND = 1_000_000


def job(number: int, state: JobState, **more: Any) -> Job:
    return Job(
        agent=G1, job_uuid=bytes([number]) * 16, workflow_uuid=FLOW, step_index=0, attempt=1,
        request_uuid=bytes(16), offer_uuid=bytes([number, 1]) * 8, state=state, **more,
    )  # fmt: skip


def agent_job(number: int, state: AgentJobState, **more: Any) -> AgentJob:
    return AgentJob(
        manager=M1, job_uuid=bytes([number]) * 16, offer_uuid=bytes([number, 1]) * 8,
        request_uuid=bytes(16), state=state, **more,
    )  # fmt: skip


JOBS = {
    "": job(0x10, JobState.RUNNING),
    "asked": job(0x11, JobState.RUNNING, kill_wanted=True, kill_asked_at=SECOND, due=SECOND),
    "unreachable": job(0x12, JobState.LOST, kill_wanted=True, suspect=True, due=SECOND),
    "gave up": job(0x13, JobState.SUPERSEDED, kill_wanted=True, due=0),
    "confirmed": job(0x14, JobState.KILLED, kill_wanted=True),
    "over": job(0x15, JobState.COMPLETED, kill_wanted=True),
}


def with_store(directory: Path, use: Any) -> Any:
    loaded = load_config(directory)
    role: Role = "manager" if loaded.config.role == "manager" else "agent"

    async def run() -> Any:
        store = await Store.open(database_url(loaded), role)
        try:
            return await use(store)
        finally:
            await store.close()

    return asyncio.run(run())


def write(directory: Path, *rows: Row) -> None:
    by_type: dict[type[Row], list[Row]] = {}
    for row in rows:
        by_type.setdefault(type(row), []).append(row)
    with_store(directory, lambda store: store.commit(Unit(rows=by_type, now=SECOND)))


def left(directory: Path) -> list[Command]:
    """The commands that wait in a database, as their daemon reads them."""
    rows = with_store(directory, lambda store: store.new_commands())
    kind: Any = ManagerCommand if load_config(directory).config.role == "manager" else AgentCommand
    assert all(msgspec.json.decode(row.args)["kind"] == row.kind for row in rows)
    return [msgspec.json.decode(row.args, type=kind) for row in rows]


@pytest.fixture
def m1(sites: Path) -> Path:
    workflow = Workflow(
        workflow_uuid=FLOW, state=WorkflowState.RUNNING, name="first", template="t", revision=1,
        steps_total=3, steps_left=2, created_at=SECOND,
    )  # fmt: skip
    orphan = Orphan(agent=G1, job_uuid=bytes([0x77]) * 16, status=JobStatus.RUNNING, due=SECOND)
    peer = Peer(uri=G1, last_contact=SECOND, presence=PresenceState.OFFLINE, away_until=9 * SECOND)
    write(sites / "m1", workflow, *JOBS.values(), orphan, peer)
    return sites / "m1"


@pytest.fixture
def g1(sites: Path) -> Path:
    write(
        sites / "g1",
        agent_job(0x21, AgentJobState.RUNNING),
        agent_job(0x22, AgentJobState.KILLING),
        agent_job(0x23, AgentJobState.QUEUED),
        agent_job(0x2A, AgentJobState.KILLED),
        Availability(draining=True),
    )
    return sites / "g1"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("cancel a1a1 --reason late", {"kind": "cancel", "reason": "late"}),
        ("cancel first --step b --step c", {"kind": "cancel", "steps": ("b", "c")}),
        ("pause first", {"kind": "pause"}),
        ("resume first --step b", {"kind": "resume", "steps": ("b",)}),
        ("retry first", {"kind": "retry"}),
        ("kill 1010 --reason fat", {"kind": "kill-job", "peer": G1, "reason": "fat"}),
        ("kill 7777", {"kind": "kill-job", "peer": G1}),
        ("pause --job 1010", {"kind": "pause-job", "peer": G1}),
        ("resume --job 10101010", {"kind": "resume-job", "peer": G1}),
    ],
)
def test_a_managers_commands_are_left(caroni: Caroni, m1: Path, words: str, expected: dict[str, Any]) -> None:
    result = caroni(*words.split(), "--no-wait", "--config", m1)
    assert result.code == 0, result.err
    assert "waits for the manager (command 1)" in result.out
    (command,) = left(m1)
    plain = msgspec.to_builtins(command)
    assert {key: plain[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("drain --deadline 2h", {"kind": "drain", "deadline": 7200 * SECOND}),
        ("drain", {"kind": "drain", "deadline": 0}),
        ("undrain", {"kind": "undrain"}),
        ("presence offline --for 12h", {"kind": "go-offline", "duration": 43200 * SECOND}),
        ("presence online", {"kind": "go-online"}),
        ("kill 2121", {"kind": "kill-job", "peer": M1}),
    ],
)
def test_an_agents_commands_are_left(caroni: Caroni, g1: Path, words: str, expected: dict[str, Any]) -> None:
    found = caroni(*words.split(), "--no-wait", "--config", g1, "--json").json
    assert (found["command"], found["state"], found["kind"]) == (1, "waiting", expected["kind"])
    (command,) = left(g1)
    plain = msgspec.to_builtins(command)
    assert {key: plain[key] for key in expected} == expected


def test_a_daemon_that_does_not_run(caroni: Caroni, g1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "DOUBT", 0.2)
    line = caroni("drain", "--config", g1).refused(75)
    assert "the agent does not run: the command stays (number 1) and is carried out when it can" in line
    assert len(left(g1)) == 1


def test_the_daemons_answer(caroni: Caroni, m1: Path) -> None:
    """A refusal and a result, as the daemon leaves them in the row."""

    async def answer(store: Store, state: Any, result: str) -> Any:
        loaded = load_config(m1)
        command = KillJob(peer=G1, job_uuid=JOBS[""].job_uuid)
        given = asyncio.create_task(control.give(loaded, store, command))
        waiting = await eventually(store.new_commands)
        done = CommandDone(id=waiting[0].id, state=state, result=result, at=SECOND)
        await store.commit(Unit(now=SECOND, commands=[done]))
        return await given

    got = with_store(m1, lambda store: answer(store, "done", '{"state":"running","affected":1}'))
    assert (got.state, got.result["affected"]) == ("done", 1)
    with pytest.raises(CommandRefused, match=r"the job is killed\\x1b"):
        with_store(m1, lambda store: answer(store, "failed", '"the job is killed\\u001b"'))


def test_a_daemons_lock_is_seen_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "caroni.lock"
    assert not control.daemon_runs(path)
    lock = FileLock(path)
    with lock:
        assert control.daemon_runs(path)
    assert not control.daemon_runs(path)


@pytest.mark.parametrize("kill", JOBS)
def test_how_a_kill_stands(m1: Path, kill: str) -> None:
    fate = with_store(m1, lambda store: control.job_fate(store, G1, JOBS[kill].job_uuid))
    assert fate.kill == kill
    assert fate.settled is (kill in ("gave up", "confirmed", "over"))


def test_presence(caroni: Caroni, m1: Path, g1: Path) -> None:
    (seen,) = caroni("presence", "show", "--config", m1, "--json").json
    assert (seen["agent"], seen["state"], seen["until"], seen["running"]) == (G1, "offline", 9 * SECOND, 2)
    assert "1970-01-01 00:00:09Z" in caroni("presence", "show", "--config", m1).out
    own = caroni("presence", "show", "--config", g1, "--json").json
    assert (own["state"], own["running"], own["waiting"], own["window"]) == ("draining", 2, 1, [0, 0])
    with (g1 / "caroni.toml").open("a") as file:
        file.write(
            '\n[[agent.schedule]]\noffline = "00:00-23:59"\n[[agent.schedule]]\noffline = "23:58-24:00"\n'
        )
    assert "would always be offline" in caroni("presence", "show", "--config", g1).refused()


@pytest.mark.parametrize(
    ("words", "config", "expected"),
    [
        ("kill 99999999", "m1", "there is no job '99999999'"),
        ("kill 1", "m1", "there is no job '1'"),
        ("cancel nothing", "m1", "there is no workflow 'nothing'"),
        ("pause", "m1", "which workflow?"),
        ("pause first --job 1010", "m1", "--job names one job"),
        ("kill 1010 --wait --no-wait", "m1", "exclude each other"),
        ("drain", "m1", "of an agent, but"),
        ("cancel first", "g1", "of a manager, but"),
        ("drain --deadline 2", "g1", "'2' is not a duration"),
        ("presence offline --for 0", "g1", "longer than nothing"),
        ("presence offline", "g1", "--for"),
        ("presence show", "s1", "configuration of a submitter"),
        ("kill 1010", "s1", "configuration of a submitter"),
        ("cancel first --no-wait", "s1", "--no-wait is for a manager"),
    ],
)
def test_mistakes(caroni: Caroni, m1: Path, g1: Path, words: str, config: str, expected: str) -> None:
    assert expected in caroni(*words.split(), "--config", m1.parent / config).refused()
    assert left(m1) == left(g1) == []


def test_a_prefix_of_several(caroni: Caroni, m1: Path) -> None:
    write(m1, msgspec.structs.replace(JOBS[""], job_uuid=bytes([0x10]) * 15 + b"\xff"))
    assert "could be any of 1010" in caroni("kill", "101010", "--config", m1).refused()
