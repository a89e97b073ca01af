"""The system behind ``caroni tui --demo``: a process of its own, which ends when its standard input does.

It writes one line of JSON (:class:`Ready`) when managers and agents run, then one line (a
:class:`~caroni.tui.tap.Tapped`) for each envelope that passes its bus. What it shows is prepared as an
operator would: definitions and templates are added, an agent is drained, workflows are submitted.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import msgspec

from caroni.cli import local
from caroni.core.commands import Drain
from caroni.cwl import Bundle, load, load_inputs
from caroni.daemon.bus.memory import MemoryBus
from caroni.daemon.embedded import Embedded
from caroni.daemon.ports import Delivery, QueueSpec
from caroni.services import definitions, templates
from caroni.services.control import give, to_daemon
from caroni.services.samples import sample
from caroni.services.tapping import Tapped

AGENTS = ("north", "south", "vault")
SAMPLES = ("text-chain", "diamond", "second-chance", "genomics", "night-run")
#: jobs that each agent runs at once: a night's readings side by side, whatever the host's cores
SLOTS = 4
#: milliseconds between two readings of the night that is watched, and of the one that has been
WATCHED, PAST = 3000, 10
#: what nobody can run until an operator switches it on, and who takes nothing until he is undrained
SWITCHED_OFF, DRAINING = "print-bulletin", "vault"
#: bytes of envelopes that wait for a console which does not read; more are left out
MAX_WAITING = 1024 * 1024


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Everybody runs: the configurations to attach to, the manager's first."""

    configurations: list[str]


async def serve(place: Path) -> None:
    """Run in ``place`` until the standard input ends."""
    ending = await _ending()
    system = Embedded(place, dict.fromkeys(AGENTS, ()), slots=SLOTS, furnished=True)
    try:
        await system.start()
        teller = await _Teller.open(system)
        teller.tell(Ready(configurations=[str(loaded.path) for loaded in system.installed]))
        filling = asyncio.create_task(_fill(system))
        try:
            await asyncio.wait({filling, asyncio.create_task(ending.wait())}, return_when="FIRST_COMPLETED")
            if filling.done():
                filling.result()
            await ending.wait()
        finally:
            filling.cancel()
    finally:
        await system.kill_jobs()
        await system.stop()


async def _ending() -> asyncio.Event:
    """Set when whoever started us has closed our input, or is gone."""
    ended = asyncio.Event()

    class Watch(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            ended.set()

    await asyncio.get_running_loop().connect_read_pipe(Watch, sys.stdin)
    return ended


class _Teller:
    """Writes lines to the standard output, and never waits for its reader."""

    def __init__(self, pipe: asyncio.WriteTransport) -> None:
        self._pipe = pipe

    @classmethod
    async def open(cls, system: Embedded) -> _Teller:
        pipe, _ = await asyncio.get_running_loop().connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
        teller = cls(pipe)
        bus = MemoryBus(system.broker)

        def passed(delivery: Delivery) -> None:
            at = time.time_ns() // 1000
            teller.tell(Tapped(at=at, routing_key=delivery.routing_key, body=delivery.body))
            asyncio.get_running_loop().create_task(bus.ack([delivery]))

        queue = QueueSpec(name=f"console-{os.getpid()}", bindings=("#",), exclusive=True)
        await bus.start([queue], passed, lambda: None)
        return teller

    def tell(self, what: msgspec.Struct) -> None:
        """One line, unless too many wait."""
        if self._pipe.get_write_buffer_size() < MAX_WAITING:
            self._pipe.write(msgspec.json.encode(what) + b"\n")


# --- what there is to see ------------------------------------------------------------------------


async def _fill(system: Embedded) -> None:
    """Definitions, templates and workflows: some have ended, one runs for minutes, two steps wait."""
    manager, *agents = system.installed
    await _define(system)
    vault = next(one for one in agents if one.directory.name == DRAINING)
    async with to_daemon(vault) as store:
        await give(vault, store, Drain())
    for name in SAMPLES:
        bundle = await asyncio.to_thread(Bundle.from_path, sample(name) / "workflow.cwl")
        await templates.add_bundle(manager, bundle, name)
        plan = await asyncio.to_thread(load, bundle)
        inputs = await asyncio.to_thread(load_inputs, sample(name) / "inputs.yml", plan)
        if name != "night-run":
            await _submit(system, name, inputs, name)
            continue
        before = {**inputs, "harbour_c": '""', "night": '"28 February"', "pace": str(PAST)}
        await _submit(system, name, before, "last-night")
        # quick: soon there is a decline to be found, and a step that waits because of it
        await _submit(system, name, {**inputs, "pace": str(PAST)}, "this-morning")
        await _submit(system, name, {**inputs, "pace": str(WATCHED)}, "tonight")


async def _define(system: Embedded) -> None:
    """Deal the samples' job definitions to the agents: the folders of each in their order."""
    dealt: dict[str, list[Path]] = {name: [] for name in AGENTS}
    for name in SAMPLES:
        folders = sorted(path for path in (sample(name) / "jobs").iterdir() if path.is_dir())
        for agent, folder in zip(AGENTS, folders, strict=False):
            dealt[agent] += sorted(folder.glob("*.yml"))
    for loaded in system.installed[1:]:
        paths = dealt[loaded.directory.name]
        on = [path for path in paths if path.stem != SWITCHED_OFF]
        await definitions.add(loaded, on)
        if off := [path for path in paths if path.stem == SWITCHED_OFF]:
            await definitions.add(loaded, off, active=False)


async def _submit(system: Embedded, template: str, inputs: dict[str, str], name: str) -> None:
    await system.submitter.submit(system.submitter.new_create(template, inputs, name=name))


def run() -> None:
    """Until the standard input ends."""
    with local.work_directory(None) as place:
        local.run_to_end(serve(place))
