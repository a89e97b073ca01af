"""Jobs that run as they should, or end badly in ordinary ways."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from caroni.core.messages import FailureClass
from caroni.core.plan import MINUTE, SECOND
from caroni.errors import ConfigError
from caroni.execution.definition import JobDefinition, Limits
from caroni.execution.local import LocalExecutor, local_executor
from caroni.execution.once import run_once
from caroni.execution.spool import SpoolSettings
from tests.execution.conftest import FAST, Host, Watcher, define, job, pid_of, runs, state_of, until

PASSWD = Path("/etc/passwd")


async def test_inputs_arrive_as_files_and_environment_and_outputs_come_back(host: Host) -> None:
    definition = define(
        'printf \'{"shouted": "%s", "same": %s}\' "${CARONI_INPUT_message^^}" "$(cat inputs/numbers)" '
        "> outputs.json\n"
        "cat inputs/message\n"
        'echo "$CARONI_ENV_count $CARONI_JOB_ID $CARONI_ATTEMPT $CARONI_REQUEST_ID" >&2\n'
        "pwd >&2; echo $HOME $TMPDIR >&2; cp inputs.json all",
        inputs={"message": "string", "count": "int", "numbers": {"type": "array", "items": "int"}},
        outputs={"shouted": "string", "same": {"type": "array", "items": "int"}},
    )
    spec = job(definition, message='"abc"', count="7", numbers="[1, 2]")
    outcome = await host.run(spec)
    assert (outcome.state, outcome.info, outcome.exit_code) == ("completed", "", 0)
    assert outcome.outputs == {"shouted": '"ABC"', "same": "[1,2]"}
    assert outcome.stdout_tail == "abc"
    work = host.directory(spec) / "work"
    assert outcome.stderr_tail.split("\n") == [
        f"7 {spec.job_uuid.hex()} 1 {spec.request_uuid.hex()}",
        str(work),
        f"{work} {host.directory(spec)}/tmp",
        "",
    ]
    assert json.loads((work / "all").read_text()) == {"message": "abc", "count": 7, "numbers": [1, 2]}
    assert outcome.wall > 0
    assert outcome.cpu > 0
    assert outcome.max_rss > 0
    assert 0 < outcome.started_at <= outcome.ended_at
    assert host.watcher.started == [spec.job_uuid]
    assert (host.directory(spec).stat().st_mode & 0o777) == 0o700


async def test_command_runs_without_a_shell(host: Host) -> None:
    definition = JobDefinition(
        name="argv",
        command=("printf", "%s", '{"x": "$HOME *"}'),
        outputs={"x": "string"},
        outputs_from="stdout",
    )
    outcome = await host.run(job(definition))
    assert outcome.outputs == {"x": '"$HOME *"'}


async def test_environment_is_built_from_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASH_ENV", "LD_PRELOAD", "BASH_FUNC_x%%", "SECRET"):
        monkeypatch.setenv(name, "/nowhere")
    await host.executor.close()
    await host.open()
    definition = define("env | cut -d= -f1 | sort", environment={"GREETING": "hello"})
    outcome = await host.run(job(definition))
    names = set(outcome.stdout_tail.split()) - {"_", "SHLVL", "OLDPWD"}
    assert names == {
        *("PATH", "LANG", "HOME", "PWD", "TMPDIR", "SHELL", "USER", "GREETING"),
        *("CARONI_JOB_ID", "CARONI_ATTEMPT", "CARONI_REQUEST_ID", "CARONI_INPUTS", "CARONI_OUTPUTS"),
    }


async def test_exit_codes(host: Host) -> None:
    outcome = await host.run(job(define("echo no >&2; exit 3")))
    assert (outcome.state, outcome.exit_code, outcome.failure_class) == ("failed", 3, FailureClass.JOB)
    assert (outcome.info, outcome.stderr_tail) == ("exit code 3", "no\n")
    outcome = await host.run(job(define("exit 3", success_codes=(0, 3))))
    assert (outcome.state, outcome.exit_code) == ("completed", 3)
    outcome = await host.run(job(define("kill -SEGV $$")))
    assert (outcome.state, outcome.info) == ("failed", "ended by signal 11 (SIGSEGV)")


async def test_programs_that_do_not_exist(host: Host) -> None:
    outcome = await host.run(job(JobDefinition(name="x", command=("no-such-program",))))
    assert outcome.failure_class is FailureClass.AGENT
    assert "no-such-program" in outcome.info
    outcome = await host.run(job(JobDefinition(name="x", command=("./absent",))))
    assert (outcome.failure_class, outcome.info) == (
        FailureClass.AGENT,
        "could not be started: ./absent: No such file or directory",
    )


async def test_time_limit_is_the_smaller_one_and_kills_what_does_not_listen(host: Host) -> None:
    script = "trap '' TERM\necho $$ > r; mv r runs\nwhile :; do sleep 0.05; done"
    settings = SpoolSettings(grace=SECOND // 5, durable=False)
    await host.executor.close()
    await host.open(settings)
    spec = job(define(script, timeout=MINUTE), max_runtime=SECOND // 5)
    outcome = await host.run(spec)
    assert (outcome.state, outcome.failure_class) == ("failed", FailureClass.TIMEOUT)
    assert outcome.info == "stopped after 0.2s, the job's time limit"
    assert outcome.wall < 5 * SECOND
    assert not runs(pid_of(host.directory(spec) / "work" / "runs"))


async def test_kill_asks_first(host: Host) -> None:
    spec = job(define("trap 'echo bye; exit 0' TERM\ntouch runs\nwhile :; do sleep 0.02; done"))
    await host.executor.launch([spec])
    await host.running(spec)
    await host.executor.signal(spec.job_uuid, "kill")
    outcome = await host.watcher.outcome(spec)
    assert (outcome.state, outcome.stdout_tail) == ("killed", "bye\n")


async def test_kill_before_the_start_and_after_the_end(host: Host) -> None:
    spec = job(define("touch runs; sleep 60"))
    launch = asyncio.create_task(host.executor.launch([spec]))
    await asyncio.sleep(0)
    await host.executor.signal(spec.job_uuid, "kill", 0)
    await launch
    assert (await host.watcher.outcome(spec)).state == "killed"
    done = job(define(":"))
    assert (await host.run(done)).state == "completed"
    await host.executor.signal(done.job_uuid, "kill")
    assert host.watcher.outcomes[done.job_uuid].state == "completed"


async def test_a_late_kill_does_nothing_to_the_next_job_of_the_same_supervisor(host: Host) -> None:
    first = job(define("echo $PPID"))
    pid = int((await host.run(first)).stdout_tail)
    second = job(define("echo $PPID; touch runs; while [ ! -e go ]; do sleep 0.01; done"))
    await host.executor.launch([second])
    await host.running(second)
    host.executor._wish(first.job_uuid, "kill", 0)
    assert runs(pid)
    (host.directory(second) / "work" / "go").touch()
    outcome = await host.watcher.outcome(second)
    assert (outcome.state, int(outcome.stdout_tail)) == ("completed", pid)


async def test_pause_and_resume_stop_the_clock_too(host: Host) -> None:
    await host.executor.close()
    await host.open(SpoolSettings(heartbeat=SECOND // 20, durable=False))
    spec = job(define("echo $$ > r; mv r runs\nwhile [ ! -e go ]; do :; done", timeout=2 * SECOND))
    await host.executor.launch([spec])
    await host.running(spec)
    pid = pid_of(host.directory(spec) / "work" / "runs")
    await host.executor.signal(spec.job_uuid, "pause")
    await until(lambda: state_of(pid) == "T")
    alive = host.directory(spec) / "alive"
    await until(alive.exists)
    suspended = alive.stat().st_mtime
    await until(lambda: alive.stat().st_mtime > suspended + 2.1)
    (host.directory(spec) / "work" / "go").touch()
    await host.executor.signal(spec.job_uuid, "resume")
    assert (await host.watcher.outcome(spec)).state == "completed"


async def test_a_suspended_job_can_be_killed(host: Host) -> None:
    spec = job(define("echo $$ > r; mv r runs; sleep 60"))
    await host.executor.launch([spec])
    await host.running(spec)
    await host.executor.signal(spec.job_uuid, "pause")
    await until(lambda: state_of(pid_of(host.directory(spec) / "work" / "runs")) == "T")
    await host.executor.signal(spec.job_uuid, "kill")
    assert (await host.watcher.outcome(spec)).state == "killed"


async def test_many_jobs_at_once(host: Host) -> None:
    definition = define(
        'printf \'{"n": %s}\' "$CARONI_INPUT_n" > outputs.json', inputs={"n": "int"}, outputs={"n": "int"}
    )
    specs = [job(definition, n=str(n)) for n in range(60)]
    await host.executor.launch(specs)
    await host.executor.launch(specs)  # once more: nothing happens twice
    for n, spec in enumerate(specs):
        assert (await host.watcher.outcome(spec)).outputs == {"n": str(n)}
    assert sorted(host.watcher.ended) == sorted(s.job_uuid for s in specs)


async def test_streams_can_be_read_while_the_job_runs(host: Host) -> None:
    spec = job(define("echo one; touch runs; while [ ! -e go ]; do sleep 0.01; done; echo two"))
    await host.executor.launch([spec])
    await host.running(spec)
    await until((host.directory(spec) / "stdout").exists)
    part = await host.executor.tail(spec.job_uuid, "stdout", 0, 100)
    assert (part.data, part.end) == (b"one\n", False)
    (host.directory(spec) / "work" / "go").touch()
    await host.watcher.outcome(spec)
    part = await host.executor.tail(spec.job_uuid, "stdout", part.offset + len(part.data), 100)
    assert (part.data, part.offset, part.total, part.end) == (b"two\n", 4, 8, True)
    part = await host.executor.tail(spec.job_uuid, "stdout", -4, 100)
    assert part.data == b"two\n"


async def test_forget_deletes_ended_jobs_only(host: Host) -> None:
    done = job(define("mkdir -p a/b; touch a/b/c; chmod 0 a/b; ln -s /etc etc"))
    await host.run(done)
    live = job(define("touch runs; sleep 60"))
    await host.executor.launch([live])
    await host.running(live)
    assert set(await host.executor.stored()) == {done.job_uuid, live.job_uuid}
    await host.executor.forget([done.job_uuid, live.job_uuid])
    assert await host.executor.stored() == [live.job_uuid]
    assert await asyncio.to_thread(PASSWD.exists)
    await host.executor.signal(live.job_uuid, "kill", 0)
    await host.watcher.outcome(live)


async def test_durable_jobs(tmp_path: Path) -> None:
    host = Host(tmp_path / "spool")
    await host.open(SpoolSettings(grace=SECOND))
    definition = define('echo data > f; echo \'{"f": "f"}\' > outputs.json', outputs={"f": "File"})
    outcome = await host.run(job(definition))
    assert outcome.state == "completed", outcome.info
    await host.executor.close()


async def test_run_once(tmp_path: Path) -> None:
    definition = define("cat inputs/x; exit 4", inputs={"x": "string"})
    outcome = await run_once(definition, {"x": '"hi"'}, tmp_path)
    assert (outcome.exit_code, outcome.stdout_tail) == (4, "hi")


async def test_run_once_cancelled(tmp_path: Path) -> None:
    task = asyncio.create_task(run_once(define("echo $$ > r; mv r runs; sleep 300"), {}, tmp_path, FAST))
    found: list[int] = []
    await until(
        lambda: found.extend(int(p.read_text() or 0) for p in tmp_path.glob("*/work/runs")) or any(found)
    )
    pid = found[-1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not runs(pid))


async def test_a_small_cap(host: Host) -> None:
    definition = define("echo 12345; echo 67890 >&2; echo 1", limits=Limits(stdout=8, stderr=6))
    outcome = await host.run(job(definition))
    assert (outcome.state, outcome.stdout_tail, outcome.stderr_tail) == ("completed", "12345\n1\n", "67890\n")


async def test_options(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no option 'graec'"):
        local_executor(tmp_path, {"graec": 1})
    with pytest.raises(ConfigError, match="grace"):
        local_executor(tmp_path, {"grace": "x"})
    executor = LocalExecutor(tmp_path, SpoolSettings(user="no-such-user"))
    with pytest.raises(ConfigError, match="no-such-user"):
        await executor.start(Watcher())
    await executor.close()
    (tmp_path / "file").touch()
    executor = LocalExecutor(tmp_path / "file" / "spool", FAST)
    with pytest.raises(ConfigError, match="cannot be used"):
        await executor.start(Watcher())
    await executor.close()
