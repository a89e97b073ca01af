"""A manager and an agent as two daemons on a broker, for the benchmarks: made, started, measured."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from caroni.config import load_config
from caroni.core.plan import Plan
from caroni.cwl import plan_to_json
from caroni.daemon.service import make_submitter
from caroni.daemon.submitter import Submitter
from caroni.execution.definition import JobDefinition
from caroni.model.store import Store
from caroni.services.definitions import definition_row
from caroni.services.setup import make_directory
from caroni.services.stores import now
from caroni.trust.authority import CertificateAuthority

SITE = "bench.example"
MANAGER = f"caroni://{SITE}/manager/m"

#: what a site that runs thousands of short jobs sets
SETTINGS = {
    "CARONI_MANAGER__MAX_OPEN_REQUESTS": "1000",
    "CARONI_AGENT__SLOTS": "4",
    "CARONI_LOG__LEVEL": "warning",
}


class Federation:
    """Directories, daemons and a submitter; see :func:`federation`."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.submitter: Submitter

    async def make(self) -> None:
        ca = self.directory / "ca"
        CertificateAuthority.create(ca, SITE, None, now=now(), years=1)
        for role, name in (("manager", "m"), ("agent", "a"), ("submitter", "s")):
            await make_directory(role, self.directory / name, site=SITE, name=name, broker=self.url, ca=ca)

    async def define(self, definitions: Sequence[JobDefinition]) -> None:
        """Give the agent its job definitions (before it starts)."""
        store = await Store.open(f"sqlite://{self.directory}/a/caroni.db", "agent")
        for definition in definitions:
            revision = await store.add_job_definition(definition_row(definition, now()))
            await store.set_active(definition.name, revision, True)
        await store.close()

    async def template(self, name: str, plan: Plan) -> None:
        """Give the manager a template."""
        store = await Store.open(f"sqlite://{self.directory}/m/caroni.db", "manager")
        await store.add_template(name, name, "{}", plan_to_json(plan), now())
        await store.close()

    def spawn(self, role: str, name: str, **settings: str) -> None:
        """Start a daemon."""
        profile = os.environ.get("CARONI_BENCH_PROFILE", "")
        command = [sys.executable, "-m", "caroni"]
        if profile:
            command = [sys.executable, "-m", "cProfile", "-o", f"{profile}.{role}", "-m", "caroni"]
        log = (self.directory / f"{name}.log").open("ab")
        # Deliberate: the daemon outlives this call and is ended by ``stop``.
        self.processes[name] = subprocess.Popen(
            [*command, role, "--config", str(self.directory / name)],
            env={**os.environ, **SETTINGS, **settings},
            stdout=log,
            stderr=log,
        )

    def memory(self, name: str) -> int:
        """Resident bytes of a daemon."""
        return int(psutil.Process(self.processes[name].pid).memory_info().rss)

    def cpu(self, name: str) -> float:
        """Processor seconds of a daemon so far."""
        times = psutil.Process(self.processes[name].pid).cpu_times()
        return float(times.user + times.system)

    async def run(self, template: str, inputs: dict[str, str] | None = None) -> dict[str, str]:
        """Submit and wait for the end."""
        created = await self.submitter.submit(self.submitter.new_create(template, inputs or {}))
        async for update in self.submitter.follow(created.workflow_uuid):
            last = update
        summary = last.workflows[0]
        if summary.state != "completed":
            raise RuntimeError(f"{template} {summary.state}: {summary.failure}")
        return last.outputs

    async def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, 20)
            process.kill()


@asynccontextmanager
async def federation(
    directory: Path, url: str, definitions: Sequence[JobDefinition], **settings: str
) -> AsyncIterator[Federation]:
    """Two daemons and a connected submitter."""
    made = Federation(directory, url)
    await made.make()
    await made.define(definitions)
    try:
        made.spawn("manager", "m", **settings)
        made.spawn("agent", "a", **settings)
        made.submitter = make_submitter(load_config(directory / "s"), MANAGER)
        await made.submitter.start(30)
        yield made
        await made.submitter.close()
    finally:
        await made.stop()
