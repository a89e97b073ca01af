from __future__ import annotations

import json
from pathlib import Path

from caroni.core import cwltypes
from caroni.execution.definition import JobDefinition
from caroni.execution.noop import NoopExecutor, noop_executor, smallest
from tests.execution.conftest import Watcher, job

TYPES = {
    "a": "int",
    "b": {"type": "array", "items": "File"},
    "c": ["null", "string"],
    "d": ["string", "int"],
    "e": {"type": "enum", "symbols": ["first", "second"]},
    "f": {"type": "record", "fields": [{"name": "g", "type": "double"}, {"name": "h", "type": "File"}]},
    "i": "Any",
    "j": "boolean",
    "k": "File",
    "l": "Directory",
}


def test_smallest_values_fit_their_types() -> None:
    for type_ in TYPES.values():
        cwltypes.check(smallest(type_), type_)


async def test_jobs_end_at_once_and_echo_inputs() -> None:
    watcher = Watcher()
    executor = noop_executor(Path("/nowhere"), {})
    await executor.start(watcher)
    definition = JobDefinition(name="n", script=":", inputs={"a": "int", "e": "string"}, outputs=TYPES)
    good = job(definition, a="5", e='"second"')
    bad = job(definition, a='"no"', e='"third"')
    await executor.launch([good])
    assert watcher.ended == []  # never from within a request
    await executor.recover([bad])
    outcome = await watcher.outcome(good)
    assert (outcome.state, outcome.exit_code) == ("completed", 0)
    assert (outcome.outputs["a"], outcome.outputs["e"]) == ("5", '"second"')
    outcome = await watcher.outcome(bad)
    assert (outcome.outputs["a"], outcome.outputs["e"]) == ("0", '"first"')
    for name, type_ in TYPES.items():
        cwltypes.check(json.loads(outcome.outputs[name]), type_)
    assert watcher.started == [good.job_uuid, bad.job_uuid]
    assert (await executor.tail(good.job_uuid, "stdout", 0, 10)).end
    await executor.signal(good.job_uuid, "kill")
    await executor.forget([good.job_uuid])


async def test_nothing_is_told_after_closing() -> None:
    watcher = Watcher()
    executor = NoopExecutor()
    await executor.start(watcher)
    await executor.launch([job(JobDefinition(name="n", script=":"))])
    await executor.close()
    import asyncio

    await asyncio.sleep(0)
    assert watcher.ended == []
