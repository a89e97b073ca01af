"""What a spool tells of jobs whose rows are gone, and what of it is believed."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import msgspec
import pytest

from caroni.core.ids import job_uuid_of
from caroni.core.messages import FailureClass
from caroni.execution.executor import JobSpec, KeepsFiles
from caroni.execution.noop import NoopExecutor
from caroni.execution.spool import SpoolSettings
from tests.execution.conftest import FAST, Host, define, job, pid_of, runs, until

AGENT = "caroni://here/agent/a"
WAITS = "echo $$ > r; mv r runs\nwhile [ ! -e go ]; do sleep 0.01; done\necho '{\"x\": 1}' > outputs.json"


def own(script: str, **inputs: str) -> JobSpec:
    definition = define(script, outputs={"x": "int"}, inputs=dict.fromkeys(inputs, "string"))
    offer = os.urandom(16)
    return msgspec.structs.replace(
        job(definition),
        job_uuid=job_uuid_of(offer),
        inputs=inputs,
        agent=AGENT,
        offer_uuid=offer,
        definition_revision=7,
        attempt=4,
        parameters=tuple(inputs),
        max_runtime=60_000_000,
    )


async def test_a_running_and_an_ended_job_are_known_again_and_followed(host: Host) -> None:
    waiting, ended = own(WAITS), own("echo '{\"x\": 2}' > outputs.json")
    await host.executor.launch([waiting, ended])
    await host.running(waiting)
    await host.watcher.outcome(ended)
    await host.executor.close()
    await host.open()
    assert isinstance(host.executor, KeepsFiles)
    assert set(await host.executor.stored()) == {waiting.job_uuid, ended.job_uuid}
    found = await host.executor.identify(await host.executor.stored(), AGENT)
    assert sorted((f.spec for f in found), key=lambda s: s.job_uuid) == sorted(
        (waiting, ended), key=lambda s: s.job_uuid
    )
    assert not any(f.paused for f in found)
    await host.executor.recover([f.spec for f in found])
    assert (await host.watcher.outcome(ended)).outputs == {"x": "2"}
    (host.directory(waiting) / "work" / "go").touch()
    assert (await host.watcher.outcome(waiting)).outputs == {"x": "1"}


async def test_inputs_only_of_a_job_that_has_not_begun(host: Host) -> None:
    begun, not_begun = own(WAITS, text='"a"'), own(WAITS, text='"b"')
    await host.executor.launch([begun])
    await host.running(begun)
    host.executor.spool.prepare(not_begun)
    (host.directory(begun) / "work" / "inputs.json").write_text('{"text": "changed by the job"}')
    found = {f.spec.job_uuid: f for f in await host.executor.identify(await host.executor.stored(), AGENT)}
    assert found[begun.job_uuid].spec.inputs == {}
    assert found[not_begun.job_uuid].spec == not_begun
    await host.executor.recover([found[not_begun.job_uuid].spec])
    await host.running(not_begun)
    for spec in (begun, not_begun):
        (host.directory(spec) / "work" / "go").touch()
        assert (await host.watcher.outcome(spec)).state == "completed"


async def test_a_suspended_job_is_known_to_be_suspended(host: Host) -> None:
    spec = own(WAITS)
    await host.executor.launch([spec])
    await host.running(spec)
    await host.executor.signal(spec.job_uuid, "pause")
    (found,) = await host.executor.identify([spec.job_uuid], AGENT)
    assert found.paused
    await host.executor.signal(spec.job_uuid, "resume")
    (host.directory(spec) / "work" / "go").touch()
    await host.watcher.outcome(spec)


@pytest.mark.parametrize(
    "harm",
    ["agent", "offer", "manager", "definition", "no-spec", "torn", "torn-inputs", "link", "old", "directory"],
)
async def test_what_is_not_certain_is_left_alone(host: Host, harm: str) -> None:
    spec = own(WAITS, text='"a"')
    host.executor.spool.prepare(spec)
    path = host.directory(spec) / "spec.json"
    document = json.loads(path.read_text())
    if harm == "agent":
        document["agent"] = "caroni://here/agent/another"
    elif harm == "offer":
        document["offer"] = os.urandom(16).hex()
    elif harm == "manager":
        document["manager"] = "caroni://here/submitter/m"
    elif harm == "definition":
        document["definition"]["inputs"] = 3
    elif harm == "old":  # as it was written before offers were in it
        del document["offer"]
    path.write_text(json.dumps(document))
    if harm == "no-spec":
        path.unlink()
    elif harm == "torn":
        path.write_bytes(path.read_bytes()[:100])
    elif harm == "torn-inputs":
        (host.directory(spec) / "work" / "inputs.json").write_text('{"te')
    elif harm == "link":
        path.rename(path.with_name("elsewhere"))
        path.symlink_to(path.with_name("elsewhere"))
    elif harm == "directory":
        path.unlink()
        path.mkdir()
    assert await host.executor.identify([spec.job_uuid], AGENT) == []
    assert await host.executor.identify([spec.job_uuid], "") == []
    assert host.directory(spec).is_dir()


async def test_a_host_that_was_rebooted(host: Host) -> None:
    spec = own(WAITS)
    await host.executor.launch([spec])
    await host.running(spec)
    pid = pid_of(host.directory(spec) / "work" / "runs")
    (host.directory(spec) / "work" / "go").touch()
    await host.watcher.outcome(spec)
    await until(lambda: not runs(pid))
    for name in ("claim", "spec.json"):
        path = host.directory(spec) / name
        document = json.loads(path.read_text())
        path.write_text(json.dumps({**document, "boot": "another"}))
    (host.directory(spec) / "exit.json").unlink()
    (found,) = await host.executor.identify([spec.job_uuid], AGENT)
    host.watcher.outcomes.clear()
    await host.executor.recover([found.spec])
    outcome = await host.watcher.outcome(spec)
    assert (outcome.state, outcome.failure_class) == ("failed", FailureClass.AGENT)


async def test_only_what_is_old_and_dead_is_stale(tmp_path: Path) -> None:
    host = Host(tmp_path / "spool")
    await host.open(msgspec.structs.replace(FAST, heartbeat=3600 * 1_000_000))
    waiting, ended, fresh = own(WAITS), own("echo '{\"x\": 2}' > outputs.json"), own("true")
    await host.executor.launch([waiting, ended])
    await host.running(waiting)
    await host.watcher.outcome(ended)
    await host.executor.close()
    await host.open(SpoolSettings(durable=False))
    old = time.time() - 7200
    for spec in (waiting, ended):
        for path in (*host.directory(spec).iterdir(), host.directory(spec)):
            os.utime(path, (old, old))
    host.executor.spool.prepare(fresh)
    everything = await host.executor.stored()
    an_hour_ago = (time.time_ns() // 1000) - 3600 * 1_000_000
    assert await host.executor.stale(everything, an_hour_ago) == [ended.job_uuid]
    assert await host.executor.stale([os.urandom(16)], an_hour_ago) == []
    (host.directory(waiting) / "work" / "go").touch()
    await asyncio.wait_for(host.gone(waiting), 15)
    await host.executor.close()


def test_an_executor_without_files() -> None:
    assert not isinstance(NoopExecutor(), KeepsFiles)
