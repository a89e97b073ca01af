"""A whole federation in one process: ``caroni run`` and ``caroni demo``.

The same daemons on the in-process bus, with SQLite files in a directory of their own and a CA that is
thrown away after it has signed: nothing is switched off, only near.

A *furnished* system also leaves in its directories what an installation has (configuration, key, certificate,
trust) and holds the daemons' locks: every command, and the console, then works on it as on any other.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec
from filelock import FileLock

from caroni.config import Loaded, load_config
from caroni.core.agent.state import ENDED as JOB_ENDED
from caroni.core.agent.state import AgentPolicy, AgentSettings, Allowance
from caroni.core.manager.state import ManagerPolicy, ManagerSettings
from caroni.core.messages import Site
from caroni.core.plan import MINUTE, SECOND, Plan, PlanStep
from caroni.core.rows import AgentJob
from caroni.cwl import plan_to_json
from caroni.daemon.bus.memory import MemoryBroker, MemoryBus
from caroni.daemon.clock import SystemClock
from caroni.daemon.engine import Seen
from caroni.daemon.node import AgentNode, Identity, ManagerNode, Node, stream_id
from caroni.daemon.submitter import Submitter
from caroni.errors import UsageError
from caroni.execution.claims import kill_leftovers
from caroni.execution.definition import JobDefinition
from caroni.execution.spool import Spool, SpoolSettings
from caroni.model.schema import migrate
from caroni.model.store import Role, Store
from caroni.plugins.manager import Plugins
from caroni.services.definitions import definition_files, definition_row
from caroni.services.starter import starter
from caroni.text import safe_line
from caroni.trust import exchange, keys
from caroni.trust.authority import CertificateAuthority, throwaway
from caroni.trust.identity import ROLES
from caroni.trust.store import TrustStore

SITE = "local.example"
MANAGER = "main"

#: microseconds between asking a job to end and killing it
GRACE = SECOND
#: a failed step is tried again after this, doubling up to the cap: nobody far away is spared by waiting
BACKOFF = SECOND // 2
BACKOFF_CAP = 2 * SECOND
#: seconds that a cancelled run waits for its jobs before it kills what is left of them
CANCEL_PATIENCE = 8.0
_AGENT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Embedded:
    """One manager, some agents and a submitter, started together and stopped together.

    Args:
        directory: exists and is private; databases and spools go there.
        agents: agent name -> the job definitions that it holds.
        slots: jobs that an agent runs at once.
        furnished: with all files of an installation.
    """

    def __init__(
        self,
        directory: Path,
        agents: Mapping[str, Sequence[JobDefinition]],
        *,
        slots: int | None = None,
        furnished: bool = False,
    ) -> None:
        self._directory = directory
        self._definitions = agents
        self._slots = slots or os.cpu_count() or 1
        self._clock = SystemClock()
        self._broker = MemoryBroker()
        participants = [("manager", MANAGER), ("submitter", "you"), *(("agent", name) for name in agents)]
        #: the configurations of a furnished system, the manager's first
        self.installed: list[Loaded] = []
        self._locks: list[FileLock] = []
        if furnished:
            self._identities = self._furnish(participants)
        else:
            trust, signers = throwaway(SITE, participants, now=self._clock.now())
            self._identities = {uri: Identity(signer=signer, trust=trust) for uri, signer in signers.items()}
        self._plugins = Plugins.load()
        self._schema: Path | None = None
        self.manager: ManagerNode
        self.agents: list[AgentNode] = []
        self.submitter: Submitter

    @staticmethod
    def uri(role: str, name: str) -> str:
        """The identity of a participant."""
        return f"caroni://{SITE}/{role}/{name}"

    @property
    def nodes(self) -> list[Node]:
        """Manager and agents."""
        return [self.manager, *self.agents]

    @property
    def broker(self) -> MemoryBroker:
        """What everybody is connected to."""
        return self._broker

    def _furnish(self, participants: Iterable[tuple[str, str]]) -> dict[str, Identity]:
        """Write what ``caroni init`` and the CA would; everybody believes his own directory."""
        now = self._clock.now()
        authority = CertificateAuthority.in_memory(SITE, now=now)
        bundle = exchange.export_bundle(authority, ROLES, now=now)
        identities = {}
        for role, name in participants:
            if role == "submitter":
                signer = authority.issue_key(role, name, now=now)
                identities[signer.uri] = Identity(signer=signer, trust=TrustStore([authority.trust()]))
                continue
            (self._directory / name).mkdir(mode=0o700)
            loaded = load_config(self._write_configuration(role, name), environ={})
            self.installed.append(loaded)
            security = loaded.config.security
            key = keys.generate_key()
            keys.store_private_key(security.key_file, key)
            certificate = authority.certify(key.public_key(), role, name, now=now)
            keys.write_atomically(security.certificate_file, certificate.encode("ascii"))
            exchange.import_bundle(security.trust_dir, bundle, expect_fingerprint=authority.fingerprint)
            signer = keys.KeySigner(key, certificate)
            identities[signer.uri] = Identity(signer=signer, trust=TrustStore.load(security.trust_dir))
        return identities

    async def start(self) -> None:
        """Make the databases and start everybody."""
        manager = self.uri("manager", MANAGER)
        store = await self._store(MANAGER, "manager")
        self.manager = ManagerNode(
            identity=self._identities[manager],
            store=store,
            bus=MemoryBus(self._broker),
            clock=self._clock,
            stream=await stream_id(store, self._clock),
            settings=ManagerSettings(exclusion_wait=SECOND // 2),
            policy=ManagerPolicy(
                may_serve=lambda agent, job_type, data_class: True,
                may_submit=lambda submitter, template: True,
                may_control=lambda sender, workflow: sender == workflow.submitter,
                rank=lambda request, offer: 0.0,
            ),
            plugins=self._plugins,
        )
        for name, definitions in self._definitions.items():
            self.agents.append(await self._agent(name, definitions))
        for node in self.nodes:
            await node.start()
        self.submitter = Submitter(
            identity=self._identities[self.uri("submitter", "you")],
            manager=manager,
            bus=MemoryBus(self._broker),
            clock=self._clock,
        )
        await self.submitter.start()

    async def _agent(self, name: str, definitions: Iterable[JobDefinition]) -> AgentNode:
        store = await self._store(name, "agent")
        for definition in definitions:
            revision = await store.add_job_definition(definition_row(definition, self._clock.now()))
            await store.set_active(definition.name, revision, True)
        directory = self._directory / name
        spool = directory / "spool"
        return AgentNode(
            identity=self._identities[self.uri("agent", name)],
            store=store,
            bus=MemoryBus(self._broker),
            clock=self._clock,
            stream=await stream_id(store, self._clock),
            settings=AgentSettings(slots=self._slots, site=Site(site_identifier=SITE), offer_ttl=5 * MINUTE),
            policy=AgentPolicy(
                allow=lambda manager, job_type: Allowance(rule="embedded"),
                decide=lambda manager, request, job_type, load: None,
            ),
            plugins=self._plugins,
            executors={
                n: make(spool, {"grace": GRACE} if n == "local" else {})
                for n, make in self._plugins.executors().items()
            },
            directory=directory,
            log_tail=True,  # all of it belongs to one person
        )

    async def _store(self, name: str, role: Role) -> Store:
        directory = self._directory / name
        directory.mkdir(mode=0o700, exist_ok=bool(self.installed))
        url = f"sqlite://{directory}/caroni.db"
        if self._schema is None:
            await migrate(url, directory / "caroni.lock")
            # an empty database is copied much faster than it is made
            self._schema = self._directory / "empty.db"
            shutil.copyfile(directory / "caroni.db", self._schema)
        else:
            shutil.copyfile(self._schema, directory / "caroni.db")
        (directory / "caroni.db").chmod(0o600)
        for loaded in self.installed:
            if loaded.directory == directory:
                self._locks.append(FileLock(loaded.lock_file))
                self._locks[-1].acquire(timeout=0)
        return await Store.open(url, role)

    def write_configurations(self) -> list[Path]:
        """Write a ``caroni.toml`` beside each database, so that commands can read them; gives the files."""
        everybody = [("manager", MANAGER), *(("agent", name) for name in self._definitions)]
        return [self._write_configuration(role, name) for role, name in everybody]

    def _write_configuration(self, role: str, name: str) -> Path:
        path = self._directory / name / "caroni.toml"
        path.write_text(starter(role, SITE, name, broker="amqp://localhost/"), "utf-8")
        path.chmod(0o600)
        return path

    async def add_template(self, name: str, plan: Plan, documents: str = "{}") -> None:
        """Give the manager a template; failed steps are tried again sooner than between hosts."""
        near = msgspec.structs.replace(plan, steps=tuple(map(_near, plan.steps)))
        text = plan_to_json(near)
        digest = hashlib.sha256(f"{documents}\n{text}".encode()).hexdigest()
        await self.manager.store.add_template(name, digest, documents, text, self._clock.now())

    def observe(self, observer: Callable[[Seen], None]) -> None:
        """Call ``observer`` with every message that manager, agents and submitter take in."""
        for node in self.nodes:
            node.engine.observers.append(observer)
        self.submitter.observers.append(observer)

    async def cancel(self, workflow_uuid: bytes) -> None:
        """Stop a workflow and everything that runs for it; returns when no process of a job is left."""
        try:
            async with asyncio.timeout(CANCEL_PATIENCE):
                await self.submitter.cancel(workflow_uuid, "interrupted")
                async for update in self.submitter.follow(workflow_uuid):
                    del update
                while any(self._live_jobs(agent) for agent in self.agents):  # noqa: ASYNC110 (nothing tells)
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pass
        await self.kill_jobs()

    async def kill_jobs(self) -> None:
        """End every process of a job at once."""
        await asyncio.to_thread(self._kill_leftovers)

    @staticmethod
    def _live_jobs(agent: AgentNode) -> list[AgentJob]:
        jobs = cast("Iterable[AgentJob]", agent.role.state.tables[AgentJob].values())
        return [job for job in jobs if job.state not in JOB_ENDED]

    def _kill_leftovers(self) -> None:
        for agent in self.agents:
            if jobs := self._live_jobs(agent):
                name = agent.identity.uri.rpartition("/")[2]
                spool = Spool(self._directory / name / "spool", SpoolSettings())
                for job in jobs:
                    kill_leftovers(job.job_uuid, spool.claim_of(job.job_uuid))

    async def stop(self) -> None:
        """Stop everybody; the directory is the caller's to keep or to remove."""
        if hasattr(self, "submitter"):
            await self.submitter.close()
        for node in [*self.agents, *([self.manager] if hasattr(self, "manager") else [])]:
            await node.stop()
        self._plugins.close()
        for lock in self._locks:
            lock.release()


def _near(step: PlanStep) -> PlanStep:
    policy = step.policy
    backoff, cap = min(policy.backoff, BACKOFF), min(policy.backoff_cap, BACKOFF_CAP)
    return msgspec.structs.replace(
        step, policy=msgspec.structs.replace(policy, backoff=backoff, backoff_cap=cap)
    )


def load_jobs(directory: Path) -> dict[str, list[JobDefinition]]:
    """Job definitions by agent: each sub-directory is an agent; loose files belong to one called ``here``.

    Raises:
        DocumentError: a definition is wrong; with file, line and column.
        ConfigError: there is no such directory, or a definition is there twice.
        UsageError: a sub-directory with definitions cannot name an agent.
    """
    agents: dict[str, list[JobDefinition]] = {}
    loose = [d.definition for d in definition_files(directory)]
    if loose:
        agents["here"] = loose
    for sub in sorted(p for p in directory.iterdir() if p.is_dir()):
        found = [d.definition for d in definition_files(sub)]
        if not found:
            continue
        if not _AGENT_NAME.fullmatch(sub.name) or sub.name == MANAGER or sub.name in agents:
            raise UsageError(
                f"{safe_line(str(sub))} cannot name an agent: call it something like 'north'"
                f" (lower-case letters, digits, '-'; {MANAGER!r} is the manager)"
            )
        agents[sub.name] = found
    return agents


def check_job_types(plan: Plan, agents: Mapping[str, Sequence[JobDefinition]], directory: Path) -> None:
    """Find a step that nobody could run before anything is started.

    Raises:
        UsageError: one line naming the job type, the step and where definitions were looked for.
    """
    held = {definition.name for definitions in agents.values() for definition in definitions}
    for step in plan.steps:
        if step.job_type not in held:
            shown = safe_line(str(directory))
            has = f"it has {', '.join(sorted(held)[:8])}" if held else "it has none at all"
            raise UsageError(
                f"no definition of job type {safe_line(step.job_type, 80)!r}, which step"
                f" {safe_line(step.name, 80)!r} needs, in {shown}/*.yml and {shown}/*/*.yml ({has})"
            )
