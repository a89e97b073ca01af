"""Deaths: of the launcher, of a supervisor, of the agent, of the host. A job starts at most once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from caroni.core.messages import FailureClass
from caroni.core.plan import SECOND
from caroni.execution.claims import Found, is_alive
from tests.execution.conftest import FAST, Host, define, job, pid_of, runs, until

#: a job that appends a line when it starts, then waits to be let go
MARKED = """echo start >> ../starts
echo $$ > r; mv r runs
while [ ! -e go ]; do sleep 0.01; done
echo '{"x": 1}' > outputs.json"""


def starts(host: Host, spec: object) -> int:
    path = host.directory(spec) / "starts"  # type: ignore[arg-type]
    return len(path.read_text().split()) if path.exists() else 0


async def test_two_executors_start_a_job_once(tmp_path: Path) -> None:
    """Two agents' worth of launchers on one spool: the claim decides, both hear of the end."""
    first, second = Host(tmp_path / "spool"), Host(tmp_path / "spool")
    await first.open()
    await second.open()
    definition = define(
        "echo start >> ../starts; sleep 0.05; echo '{\"x\": 1}' > outputs.json", outputs={"x": "int"}
    )
    specs = [job(definition) for _ in range(20)]
    await asyncio.gather(first.executor.launch(specs), second.executor.launch(specs))
    for spec in specs:
        for host in (first, second):
            assert (await host.watcher.outcome(spec)).outputs == {"x": "1"}
        assert starts(first, spec) == 1
    await first.executor.close()
    await second.executor.close()


async def test_launching_an_ended_job_again_only_reports_it(host: Host) -> None:
    spec = job(define("echo start >> ../starts"))
    await host.run(spec)
    host.watcher.outcomes.clear()
    assert (await host.run(spec)).state == "completed"
    assert starts(host, spec) == 1


async def test_death_of_the_launcher(host: Host) -> None:
    spec = job(define(MARKED, outputs={"x": "int"}))
    await host.executor.launch([spec])
    await host.running(spec)
    old = host.executor.launcher_pid
    os.kill(old, signal.SIGKILL)
    await until(lambda: host.executor.launcher_pid not in (0, old))
    other = job(define("echo '{\"x\": 2}' > outputs.json", outputs={"x": "int"}))
    assert (await host.run(other)).outputs == {"x": "2"}
    assert spec.job_uuid not in host.watcher.outcomes
    (host.directory(spec) / "work" / "go").touch()
    assert (await host.watcher.outcome(spec)).outputs == {"x": "1"}
    assert starts(host, spec) == 1


async def test_launcher_dies_again_and_again_under_load(host: Host) -> None:
    definition = define("echo start >> ../starts; echo '{\"x\": 1}' > outputs.json", outputs={"x": "int"})
    specs = [job(definition) for _ in range(60)]
    for at in range(0, 60, 20):
        await host.executor.launch(specs[at : at + 20])
        old = host.executor.launcher_pid
        if old:
            os.kill(old, signal.SIGKILL)
        await until(lambda old=old: host.executor.launcher_pid not in (0, old))
    for spec in specs:
        outcome = await host.watcher.outcome(spec)
        assert outcome.outputs == {"x": "1"}, outcome.info
        assert starts(host, spec) == 1


async def test_death_of_a_supervisor_takes_the_job_along(host: Host) -> None:
    spec = job(define("setsid sleep 300 & echo $! > daemon\n" + MARKED))
    await host.executor.launch([spec])
    await host.running(spec)
    claim = host.executor.spool.claim_of(spec.job_uuid)
    assert claim is not None
    os.kill(claim.pid, signal.SIGKILL)
    outcome = await host.watcher.outcome(spec)
    assert (outcome.state, outcome.failure_class) == ("failed", FailureClass.AGENT)
    assert outcome.info == "the job's supervisor died: signal 9 (SIGKILL)"
    for name in ("runs", "daemon"):
        assert not runs(pid_of(host.directory(spec) / "work" / name))
    assert (await host.run(job(define(":")))).state == "completed"


async def test_closing_leaves_jobs_running_and_recovery_finds_them(host: Host) -> None:
    running, ended = job(define(MARKED, outputs={"x": "int"})), job(define(MARKED, outputs={"x": "int"}))
    never = job(define("echo '{\"x\": 3}' > outputs.json", outputs={"x": "int"}))
    await host.executor.launch([running, ended])
    await host.running(running)
    await host.running(ended)
    await host.executor.close()
    (host.directory(ended) / "work" / "go").touch()
    await host.gone(ended)
    await host.open()
    await host.executor.recover([running, ended, never])
    assert (await host.watcher.outcome(ended)).outputs == {"x": "1"}
    assert (await host.watcher.outcome(never)).outputs == {"x": "3"}
    assert running.job_uuid not in host.watcher.outcomes
    await host.executor.signal(running.job_uuid, "pause")
    await host.executor.signal(running.job_uuid, "resume")
    (host.directory(running) / "work" / "go").touch()
    assert (await host.watcher.outcome(running)).outputs == {"x": "1"}
    assert [starts(host, s) for s in (running, ended)] == [1, 1]
    assert running.job_uuid in host.watcher.started


async def test_recovered_jobs_can_be_killed(host: Host) -> None:
    spec = job(define(MARKED))
    await host.executor.launch([spec])
    await host.running(spec)
    await host.executor.close()
    await host.open()
    await host.executor.recover([spec])
    await host.executor.signal(spec.job_uuid, "kill", 0)
    assert (await host.watcher.outcome(spec)).state == "killed"


async def test_supervisor_that_dies_after_a_restart_is_noticed(host: Host) -> None:
    spec = job(define(MARKED))
    await host.executor.launch([spec])
    await host.running(spec)
    await host.executor.close()
    await host.open()
    await host.executor.recover([spec])
    claim = host.executor.spool.claim_of(spec.job_uuid)
    assert claim is not None
    os.kill(claim.pid, signal.SIGKILL)
    outcome = await host.watcher.outcome(spec)
    assert (outcome.failure_class, outcome.info) == (FailureClass.AGENT, "the job's supervisor died")
    assert not runs(pid_of(host.directory(spec) / "work" / "runs"))


AGENT = """
import asyncio, sys, pathlib, msgspec
from caroni.execution.executor import JobSpec
from caroni.execution.local import LocalExecutor
from caroni.execution.spool import SpoolSettings

class Deaf:
    def on_started(self, *arguments): pass
    def on_exit(self, *arguments): pass

async def main():
    executor = LocalExecutor(pathlib.Path(sys.argv[1]), SpoolSettings(durable=False))
    await executor.start(Deaf())
    await executor.launch(msgspec.json.decode(sys.stdin.read(), type=list[JobSpec]))
    print("launched", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_kill_9_of_the_agent(tmp_path: Path) -> None:
    host = Host(tmp_path / "spool")
    specs = [job(define(MARKED, outputs={"x": "int"})) for _ in range(3)]
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", AGENT, str(host.spool)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert agent.stdin is not None
    assert agent.stdout is not None
    agent.stdin.write(msgspec.json.encode(specs))
    agent.stdin.close()
    assert await agent.stdout.readline() == b"launched\n"
    for spec in specs:
        await host.running(spec)
    agent.kill()
    await agent.wait()
    await host.open()
    (host.directory(specs[0]) / "work" / "go").touch()
    await host.gone(specs[0])
    await host.executor.recover(specs)
    assert (await host.watcher.outcome(specs[0])).outputs == {"x": "1"}
    for spec in specs[1:]:
        assert runs(pid_of(host.directory(spec) / "work" / "runs"))
        (host.directory(spec) / "work" / "go").touch()
        assert (await host.watcher.outcome(spec)).outputs == {"x": "1"}
    assert [starts(host, spec) for spec in specs] == [1, 1, 1]
    await host.executor.close()


def claim_as(host: Host, spec: object, **changes: object) -> None:
    claim = {"pid": 1, "start": 5, "boot": host.executor.spool.boot, "at": 7} | changes
    directory = host.directory(spec)  # type: ignore[arg-type]
    directory.mkdir(parents=True)
    (directory / "claim").write_text(json.dumps(claim))


async def test_claims_of_another_boot_and_of_a_reused_pid(host: Host) -> None:
    definition = define("echo start >> ../starts")
    rebooted, reused, torn = job(definition), job(definition), job(definition)
    claim_as(host, rebooted, boot="00000000-0000-0000-0000-000000000000", pid=os.getpid())
    claim_as(host, reused, pid=os.getpid(), start=1)
    claim_as(host, torn)
    (host.directory(torn) / "claim").write_text("")
    await host.executor.recover([rebooted, reused, torn])
    outcome = await host.watcher.outcome(rebooted)
    assert (outcome.failure_class, outcome.info) == (
        FailureClass.AGENT,
        "the host was rebooted while the job ran",
    )
    for spec in (reused, torn):
        outcome = await host.watcher.outcome(spec)
        assert (outcome.failure_class, outcome.info) == (FailureClass.AGENT, "the job's supervisor died")
    assert [starts(host, s) for s in (rebooted, reused, torn)] == [0, 0, 0]


async def test_a_claimed_job_is_never_launched(host: Host) -> None:
    spec = job(define("echo start >> ../starts"))
    claim_as(host, spec, boot="00000000-0000-0000-0000-000000000000")
    outcome = await host.run(spec)
    assert outcome.info == "the host was rebooted while the job ran"
    reused = job(define("echo start >> ../starts"))
    host.executor.spool.prepare(reused)
    claim = {"pid": os.getpid(), "start": 1, "boot": host.executor.spool.boot, "at": 7}
    (host.directory(reused) / "claim").write_text(json.dumps(claim))
    assert (await host.run(reused)).info == "the job's supervisor died"
    assert [starts(host, s) for s in (spec, reused)] == [0, 0]


async def test_files_of_another_boot_are_written_again(host: Host) -> None:
    spec = job(define("cat inputs/x", inputs={"x": "string"}), x='"right"')
    spool = host.executor.spool
    spool.prepare(spec)
    (host.directory(spec) / "work" / "inputs" / "x").write_text("lost")
    path = host.directory(spec) / "spec.json"
    path.write_text(path.read_text().replace(spool.boot, "0" * 36))
    await host.executor.recover([spec])
    assert (await host.watcher.outcome(spec)).stdout_tail == "right"


async def test_ended_on_another_boot_with_lost_outputs(host: Host) -> None:
    spec = job(define("echo '{\"x\": 1}' > outputs.json", outputs={"x": "int"}))
    await host.run(spec)
    path = host.directory(spec) / "exit.json"
    path.write_text(path.read_text().replace(host.executor.spool.boot, "0" * 36))
    (host.directory(spec) / "work" / "outputs.json").write_text("")
    await host.executor.recover([spec])
    host.watcher.outcomes.clear()
    outcome = await host.watcher.outcome(spec)
    assert (outcome.state, outcome.failure_class) == ("failed", FailureClass.AGENT)
    assert "rebooted" in outcome.info


async def test_supervisors_of_a_dead_launcher_end_after_their_job(host: Host) -> None:
    """Each on its own: one that runs longer does not keep an earlier one waiting for orders."""
    specs = [job(define(MARKED)) for _ in range(2)]
    for spec in specs:
        await host.executor.launch([spec])
        await host.running(spec)
    await host.executor.close()
    spool = host.executor.spool
    for spec in specs:
        assert spool.inspect(spec.job_uuid)[0] is Found.RUNNING
    for spec in specs:
        claim = spool.claim_of(spec.job_uuid)
        assert claim is not None
        (host.directory(spec) / "work" / "go").touch()
        await until(lambda claim=claim: not is_alive(claim))
        assert spool.inspect(spec.job_uuid)[0] is Found.ENDED


async def test_heartbeat(tmp_path: Path) -> None:
    host = Host(tmp_path / "spool")
    await host.open(msgspec.structs.replace(FAST, heartbeat=SECOND // 50))
    spec = job(define(MARKED))
    await host.executor.launch([spec])
    alive = host.directory(spec) / "alive"
    await until(alive.exists)
    before = alive.stat().st_mtime_ns
    await until(lambda: alive.stat().st_mtime_ns > before)
    await host.executor.signal(spec.job_uuid, "kill", 0)
    await host.watcher.outcome(spec)
    await host.executor.close()


async def test_a_launcher_that_cannot_live_is_tried_ever_more_slowly(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = tmp_path / "count"
    broken = tmp_path / "python"
    broken.write_text(f"#!/bin/sh\necho >> {count}\n")
    broken.chmod(0o700)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(broken))
        os.kill(host.executor.launcher_pid, signal.SIGKILL)
        await until(lambda: count.exists() and count.stat().st_size >= 3)
        spec = job(define("echo start >> ../starts"))
        launch = asyncio.create_task(host.executor.launch([spec]))
        await until(lambda: count.stat().st_size >= 4)
        assert count.stat().st_size < 10
    assert (await host.watcher.outcome(spec)).state == "completed"
    await launch
    assert starts(host, spec) == 1


async def test_a_wish_whose_signal_was_lost_is_seen_by_and_by(tmp_path: Path) -> None:
    host = Host(tmp_path / "spool")
    await host.open(msgspec.structs.replace(FAST, heartbeat=SECOND // 50))
    spec = job(define(MARKED))
    await host.executor.launch([spec])
    await host.running(spec)
    host.executor.spool.wish_end(spec.job_uuid, 0)
    assert (await host.watcher.outcome(spec)).state == "killed"
    await host.executor.close()
