"""A whole federation in one process: ``caroni run`` and ``caroni demo``.

The same daemons on the in-process bus, with SQLite files in a directory of their own and a CA that is
thrown away after it has signed: nothing is switched off, only near.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from caroni.core.agent.state import AgentPolicy, AgentSettings, Allowance
from caroni.core.manager.state import ManagerPolicy, ManagerSettings
from caroni.core.messages import Site
from caroni.core.plan import MINUTE, Plan
from caroni.cwl import plan_to_json
from caroni.daemon.bus.memory import MemoryBroker, MemoryBus
from caroni.daemon.clock import SystemClock
from caroni.daemon.node import AgentNode, Identity, ManagerNode, Node, stream_id
from caroni.daemon.submitter import Submitter
from caroni.execution.definition import JobDefinition
from caroni.model.schema import migrate
from caroni.model.store import Role, Store
from caroni.plugins.manager import Plugins
from caroni.services.definitions import definition_files, definition_row
from caroni.trust.authority import throwaway

SITE = "local.example"


class Embedded:
    """One manager, some agents and a submitter, started together and stopped together.

    Args:
        directory: exists and is private; databases and spools go there.
        agents: agent name -> the job definitions that it holds.
        slots: jobs that an agent runs at once.
    """

    def __init__(
        self, directory: Path, agents: Mapping[str, Sequence[JobDefinition]], *, slots: int | None = None
    ) -> None:
        self._directory = directory
        self._definitions = agents
        self._slots = slots or os.cpu_count() or 1
        self._clock = SystemClock()
        self._broker = MemoryBroker()
        participants = [("manager", "main"), ("submitter", "you"), *(("agent", name) for name in agents)]
        trust, signers = throwaway(SITE, participants, now=self._clock.now())
        self._identities = {uri: Identity(signer=signer, trust=trust) for uri, signer in signers.items()}
        self._plugins = Plugins.load()
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

    async def start(self) -> None:
        """Make the databases and start everybody."""
        manager = self.uri("manager", "main")
        store = await self._store("main", "manager")
        self.manager = ManagerNode(
            identity=self._identities[manager],
            store=store,
            bus=MemoryBus(self._broker),
            clock=self._clock,
            stream=await stream_id(store, self._clock),
            settings=ManagerSettings(exclusion_wait=2_000_000),
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
            executors={n: make(spool, {}) for n, make in self._plugins.executors().items()},
            directory=directory,
        )

    async def _store(self, name: str, role: Role) -> Store:
        directory = self._directory / name
        directory.mkdir(mode=0o700)
        url = f"sqlite://{directory}/caroni.db"
        await migrate(url, directory / "caroni.lock")
        return await Store.open(url, role)

    async def add_template(self, name: str, plan: Plan) -> None:
        """Give the manager a template."""
        text = plan_to_json(plan)
        await self.manager.store.add_template(name, f"{hash(text):x}", "{}", text, self._clock.now())

    async def stop(self) -> None:
        """Stop everybody; the directory is the caller's to keep or to remove."""
        if hasattr(self, "submitter"):
            await self.submitter.close()
        for node in [*self.agents, *([self.manager] if hasattr(self, "manager") else [])]:
            await node.stop()
        self._plugins.close()


def load_jobs(directory: Path) -> dict[str, list[JobDefinition]]:
    """Job definitions by agent: each sub-directory is an agent; loose files belong to one called ``here``."""
    agents: dict[str, list[JobDefinition]] = {}
    loose = [d.definition for d in definition_files(directory)]
    if loose:
        agents["here"] = loose
    for sub in sorted(p for p in directory.iterdir() if p.is_dir()):
        found = [d.definition for d in definition_files(sub)]
        if found:
            agents[sub.name] = found
    return agents
