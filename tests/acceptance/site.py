"""Whole sites as their operators make them: a CA, directories, and daemons as processes to be killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from caroni.config import Loaded, database_url, load_config
from caroni.core.messages import WorkFlowStatusUpdate
from caroni.core.plan import Plan
from caroni.cwl import Bundle, load, load_inputs
from caroni.daemon.service import make_bus, make_submitter
from caroni.daemon.submitter import Submitter
from caroni.execution.definition import JobDefinition, load_definition
from caroni.model.store import Role, Store
from caroni.services import templates, trusting
from caroni.services.definitions import definition_files, definition_row
from caroni.services.setup import make_directory
from caroni.services.stores import now
from caroni.trust.authority import CertificateAuthority
from caroni.trust.exchange import export_bundle
from caroni.trust.identity import ROLES
from caroni.trust.keys import KeySigner, load_signer
from tests.services import Reaper, eventually, wait_until

SAMPLES = Path(__file__).parents[2] / "samples"

#: what repeats after half a minute in earnest, repeats after seconds in a test
QUICK = {
    "CARONI_MANAGER__REBROADCAST_MIN": "2s",
    "CARONI_MANAGER__ACCEPT_RESEND_MIN": "2s",
    "CARONI_MANAGER__POLL_INTERVAL": "3s",
    "CARONI_AGENT__RESULT_RESEND_MIN": "3s",
    "CARONI_AGENT__PRESENCE_INTERVAL": "5s",
    "CARONI_LIMITS__DISK_RESERVE": "1MiB",
}


def definition(
    name: str, script: str, *, inputs: str = "", outputs: str = "", **fields: Any
) -> JobDefinition:
    """A job definition; ``inputs`` and ``outputs`` as in ``text: string, n: int``."""
    lines = [f"name: {name}", f"inputs: {{{inputs}}}", f"outputs: {{{outputs}}}", "script: |"]
    made = load_definition("\n".join([*lines, *(f"  {line}" for line in script.split("\n"))]))
    return msgspec.structs.replace(made, **fields)


def marked(one: JobDefinition, marks: Path, more: str = "") -> JobDefinition:
    """The same job, which first of all leaves its id in a file: how often it was really started."""
    script = f'echo "$CARONI_JOB_ID" >> "{marks}"\n{more}\n{one.script}'
    return msgspec.structs.replace(one, script=script)


def steps(job_types: Iterable[str], attempts: int = 2) -> str:
    """A CWL workflow of independent steps, one for each job type, without inputs and outputs."""
    text = "cwlVersion: v1.2\nclass: Workflow\n$namespaces: {caroni: 'urn:caroni:cwl:'}\n"
    text += f"hints: {{caroni:CaroniRequirement: {{maxAttempts: {attempts}, backoff: 0s}}}}\n"
    text += "inputs: {}\noutputs: {}\nsteps:\n"
    for number, job_type in enumerate(job_types):
        text += (
            f"  s{number}:\n    hints: {{caroni:CaroniRequirement: {{CaroniJobName: {job_type}}}}}\n"
            "    run: {class: Operation, inputs: {}, outputs: {}}\n    in: {}\n    out: []\n"
        )
    return text


class Site:
    """One site's CA, directories and daemons. ``url`` is the broker's."""

    def __init__(self, base: Path, url: str, name: str = "site.example") -> None:
        self.base = base / name
        self.base.mkdir(mode=0o700)
        self.name = name
        self.url = url
        self.settings: dict[str, str] = dict(QUICK)
        #: what runs a daemon: arguments of Python before the role
        self.program: tuple[str, ...] = ("-m", "caroni")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._directories: dict[str, Path] = {}
        self.ca = CertificateAuthority.create(self.base / "ca", name, None, now=now(), years=1)
        self._reaper_directory = self.base / "reaper"
        self._reaper_directory.mkdir()
        self._reaper = Reaper(self._reaper_directory)

    # --- directories ---------------------------------------------------------------------------

    def make(self, role: str, name: str, *, base: Path | None = None, **options: Any) -> Path:
        """What ``caroni init --ca`` does."""
        directory = self._directories[name] = (base or self.base) / name
        asyncio.run(
            make_directory(
                role, directory, site=self.name, name=name, broker=self.url, ca=self.base / "ca", **options
            )
        )
        return directory

    def make_usual(self, *agents: str, **options: Any) -> None:
        """A manager ``m``, agents, and a submitter ``s``."""
        self.make("manager", "m", **options.get("m", {}))
        for agent in agents or ("a",):
            self.make("agent", agent, **options.get(agent, {}))
        self.make("submitter", "s")

    def adopt(self, name: str) -> Path:
        """Where the directory of a participant is that somebody else makes."""
        return self._directories.setdefault(name, self.base / name)

    def directory(self, name: str) -> Path:
        return self._directories[name]

    def loaded(self, name: str) -> Loaded:
        return load_config(self.directory(name))

    def uri(self, name: str) -> str:
        return self.loaded(name).config.uri

    def signer(self, name: str) -> KeySigner:
        """The key of a participant: the means of one who has gone bad."""
        security = self.loaded(name).config.security
        return load_signer(security.key_file, security.certificate_file)

    def trust(self, name: str, other: Site) -> None:
        """Believe another site: its bundle, and the fingerprint that was read out."""
        bundle = self.base / f"{other.name}.bundle"
        bundle.write_text(export_bundle(other.ca, ROLES, now=now()))
        trusting.import_site(self.loaded(name), bundle, other.ca.fingerprint, None)

    def define(self, agent: str, definitions: Iterable[JobDefinition]) -> None:
        """Give an agent (that does not run) its job definitions."""

        async def add() -> None:
            async with self.store(agent, read_only=False) as store:
                for one in definitions:
                    revision = await store.add_job_definition(definition_row(one, now()))
                    await store.set_active(one.name, revision, True)

        asyncio.run(add())

    def template(self, manager: str, name: str, source: Path | str) -> None:
        """Give a manager a template: a file, or the text of one."""
        if isinstance(source, str):
            path = self.base / f"{name}.cwl"
            path.write_text(source)
            source = path
        asyncio.run(templates.add(self.loaded(manager), source, name))

    def sample(self, name: str, agents: Iterable[str], manager: str = "m") -> None:
        """One of the samples, its definitions dealt to these agents."""
        self.template(manager, name, SAMPLES / name / "workflow.cwl")
        folders = sorted((SAMPLES / name / "jobs").iterdir())
        for agent, folder in zip(agents, folders, strict=True):
            self.define(agent, [one.definition for one in definition_files(folder)])

    # --- daemons -------------------------------------------------------------------------------

    def spawn(self, *names: str, wait: bool = True, **settings: str) -> None:
        """Start daemons, and wait until they say so."""
        seen = {name: self.log_size(name) for name in names}
        for name in names:
            role = self.loaded(name).config.role
            with self.log_file(name).open("ab") as log:
                # Deliberate: the daemon outlives this call; ``kill``, ``terminate`` or ``close`` end it.
                self.processes[name] = subprocess.Popen(
                    [sys.executable, *self.program, role, "--config", str(self.directory(name))],
                    env={**os.environ, **self._settings_of(role), **settings},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._reaper.watch(self.processes[name].pid)
        for name in names if wait else ():
            wait_until(lambda name=name: self._has_started(name, seen[name]), 30, f"{name} does not start")  # type: ignore[misc]

    def _settings_of(self, role: str) -> dict[str, str]:
        other = {"manager": "CARONI_AGENT__", "agent": "CARONI_MANAGER__"}[role]
        return {k: v for k, v in self.settings.items() if not k.startswith(other)}

    def _has_started(self, name: str, seen: int) -> bool:
        assert self.processes[name].poll() is None, self.log_file(name).read_text()[-3000:]
        return self.has_started(name, seen)

    def log_size(self, name: str) -> int:
        """Bytes that a daemon has said so far."""
        path = self.log_file(name)
        return path.stat().st_size if path.exists() else 0

    def has_started(self, name: str, seen: int) -> bool:
        """Whether a daemon has said so after the first ``seen`` bytes of its log."""
        return any(line.get("event") == "started" for line in self.log(name, seen))

    def pid(self, name: str) -> int:
        return self.processes[name].pid

    def alive(self, *names: str) -> bool:
        return all(self.processes[name].poll() is None for name in names)

    def kill(self, name: str) -> None:
        """End a daemon as a power cut would."""
        self._end(name, signal.SIGKILL)

    def terminate(self, name: str, seconds: float = 30.0) -> int:
        """End a daemon as its supervisor would; gives its status."""
        return self._end(name, signal.SIGTERM, seconds)

    def _end(self, name: str, number: signal.Signals, seconds: float = 30.0) -> int:
        process = self.processes.pop(name)
        process.send_signal(number)
        status = process.wait(seconds)
        self._reaper.forget(process.pid)
        return status

    def close(self) -> None:
        """End everything."""
        for name in list(self.processes):
            self.processes[name].terminate()
        for name in list(self.processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.processes[name].wait(15)
            self.processes.pop(name).kill()
        self._reaper.close()

    def log_file(self, name: str) -> Path:
        """Where a daemon's words go."""
        return self.base / f"{name}.log"

    def log(self, name: str, seen: int = 0) -> list[dict[str, Any]]:
        """What a daemon has said after so many bytes; what is not JSON (a traceback) as ``{"text": ...}``."""
        path = self.log_file(name)
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(seen)
            text = file.read().decode(errors="replace")
        lines = []
        for line in text.splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                lines.append({"text": line})
        return [line if isinstance(line, dict) else {"text": str(line)} for line in lines]

    def bugs(self) -> list[str]:
        """Lines that no daemon should ever write."""
        found = []
        for name in self._directories:
            for line in self.log(name):
                text = json.dumps(line)
                if any(word in text for word in ("Traceback", "please report", "exception")):
                    found.append(f"{name}: {text}")
        return found

    # --- looking, and talking ------------------------------------------------------------------

    @asynccontextmanager
    async def store(self, name: str, *, read_only: bool = True) -> AsyncIterator[Store]:
        loaded = self.loaded(name)
        role: Role = "manager" if loaded.config.role == "manager" else "agent"
        store = await Store.open(database_url(loaded), role, read_only=read_only)
        try:
            yield store
        finally:
            await store.close()

    async def rows(self, name: str, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """A query on a daemon's database."""
        async with self.store(name) as store:
            return [tuple(row) for row in await store.database.fetch(query, *parameters)]

    @asynccontextmanager
    async def submitter(self, name: str = "s", manager: str = "m") -> AsyncIterator[Submitter]:
        submitter = make_submitter(self.loaded(name), self.uri(manager))
        try:
            await submitter.start(60)
            yield submitter
        finally:
            await submitter.close()

    async def run(
        self,
        template: str,
        inputs: dict[str, str] | None = None,
        *,
        seconds: float = 60.0,
        name: str = "s",
        manager: str = "m",
    ) -> WorkFlowStatusUpdate:
        """Submit over the broker and wait for the end."""
        async with self.submitter(name, manager) as submitter:
            created = await submitter.submit(submitter.new_create(template, inputs or {}))
            async with asyncio.timeout(seconds):
                async for update in submitter.follow(created.workflow_uuid):
                    last = update
        return last

    async def state(self, workflow_uuid: bytes, manager: str = "m") -> tuple[str, dict[str, int]]:
        """State of a workflow and its steps by state, from the manager's database."""
        async with self.store(manager) as store:
            found = await store.workflow(workflow_uuid)
        if found is None:
            return "", {}
        return found.workflow.state.value, {state.value: count for state, count in found.steps.items()}

    async def ended(self, workflow_uuid: bytes, seconds: float = 60.0, manager: str = "m") -> str:
        """The state in which a workflow ends."""

        async def look() -> str:
            state, _ = await self.state(workflow_uuid, manager)
            return state if state in ("completed", "failed", "cancelled") else ""

        return str(await eventually(look, seconds, lambda: f"no end; see {self.base}"))

    async def outbox_is_empty(self, *names: str) -> bool:
        for name in names:
            if await self.rows(name, "SELECT id FROM outbox"):
                return False
        return True


class Attacker:
    """Somebody at the broker who publishes whatever bytes he likes."""

    def __init__(self, site: Site) -> None:
        self.bus = make_bus(site.loaded("s"))

    async def __aenter__(self) -> Attacker:
        connected = asyncio.Event()
        await self.bus.start([], lambda delivery: None, connected.set)
        await asyncio.wait_for(connected.wait(), 10)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.bus.close()


def sample_inputs(name: str) -> dict[str, str]:
    """The inputs that a sample comes with."""
    plan: Plan = load(Bundle.from_path(SAMPLES / name / "workflow.cwl"))
    return load_inputs(SAMPLES / name / "inputs.yml", plan)


def lines(path: Path) -> list[str]:
    """Marks that jobs have left."""
    return path.read_text().split() if path.exists() else []
