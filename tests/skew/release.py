"""What was recorded of a release (``tests/skew/record.py``), put back to work."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from caroni.core.agent.state import AgentPolicy, AgentSettings, Allowance
from caroni.core.manager.state import ManagerPolicy, ManagerSettings
from caroni.core.messages import Site
from caroni.core.plan import MINUTE, SECOND
from caroni.daemon.bus.memory import MemoryBroker, MemoryBus
from caroni.daemon.node import AgentNode, Identity, ManagerNode, stream_id
from caroni.daemon.submitter import Submitter
from caroni.execution.definition import JobDefinition
from caroni.model.database import Database
from caroni.model.store import Store
from caroni.plugins.manager import Plugins
from caroni.services.definitions import definition_row
from caroni.trust.keys import KeySigner, SigningKey
from caroni.trust.store import SiteTrust, TrustStore
from caroni.wire.envelope import Opener

DATA = Path(__file__).parent / "data"
RELEASES = tuple(sorted(path.name for path in DATA.iterdir() if path.is_dir()))


class Release:
    """One recorded release."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = DATA / name
        self.world: dict[str, Any] = json.loads((self.directory / "world.json").read_text("utf-8"))
        self.now: int = self.world["recorded_at"]
        authority = x509.load_pem_x509_certificate(self.world["authority"].encode())
        roles = frozenset({"manager", "agent", "submitter"})
        self.trust = TrustStore([SiteTrust(site=self.world["site"], roles=roles, anchors=(authority,))])

    def signer(self, role: str) -> KeySigner:
        """The recorded key of ``manager``, ``agent`` or ``submitter``."""
        made = self.world["signers"][self.world[role]]
        key = cast("SigningKey", load_pem_private_key(made["key"].encode(), None))
        return KeySigner(key, made["certificate"])

    def opener(self, role: str) -> Opener:
        """Opens what was sent to a role."""
        return Opener(self.trust, self.world[role], "default")

    def envelopes(self) -> list[dict[str, Any]]:
        """The recorded envelopes."""
        found: list[dict[str, Any]] = json.loads((self.directory / "envelopes.json").read_text("utf-8"))
        return found

    def script(self, role: str) -> str:
        """The database of a role as SQL text."""
        return gzip.decompress((self.directory / f"{role}.sql.gz").read_bytes()).decode()

    def unpack_spool(self, to: Path) -> None:
        """Put the agent's spool into a directory."""
        raw = gzip.decompress((self.directory / "spool.tar.gz").read_bytes())
        with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
            archive.extractall(to, filter="tar")

    def rows(self, role: str) -> Iterator[tuple[str, list[str], list[tuple[Any, ...]]]]:
        """Table, columns and rows of a role's database, as SQLite has them."""
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(self.script(role))
            names = connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
                " AND name <> 'tortoise_migrations'"
            ).fetchall()
            for (table,) in names:
                cursor = connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608
                yield table, [column[0] for column in cursor.description], cursor.fetchall()

    async def fill(self, database: Database, role: str) -> None:
        """Write the recorded rows into a PostgreSQL database of the release's own schema."""
        for table, columns, rows in self.rows(role):
            found = await database.fetch(
                "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = ?", table
            )
            kinds = {str(name): str(kind) for name, kind in found}
            names = ", ".join(f'"{name}"' for name in columns)
            marks = ", ".join("?" * len(columns))
            booleans = [kinds[name] == "boolean" for name in columns]
            for row in rows:
                values = [bool(v) if is_bool else v for v, is_bool in zip(row, booleans, strict=True)]
                await database.run(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', *values)  # noqa: S608
            if kinds.get("id") == "bigint" and rows:
                await database.fetch(
                    f"SELECT setval(pg_get_serial_sequence('\"{table}\"', 'id'),"  # noqa: S608
                    f' (SELECT MAX(id) FROM "{table}"))'
                )


class ShiftedClock:
    """Goes on from the instant of a recording."""

    def __init__(self, start: int) -> None:
        self._offset = start - time.time_ns() // 1000

    def now(self) -> int:
        return time.time_ns() // 1000 + self._offset


class Restarted:
    """The daemons of the present code on the databases of a release."""

    def __init__(self, release: Release, directory: Path, manager_url: str, agent_url: str) -> None:
        self.release = release
        # long enough after the stop that what was asked is asked again
        self.clock = ShiftedClock(release.now + MINUTE)
        self.broker = MemoryBroker()
        self._directory = directory
        self._urls = {"manager": manager_url, "agent": agent_url}
        self._plugins = Plugins.load()
        self.manager: ManagerNode
        self.agent: AgentNode
        self.submitter: Submitter

    def identity(self, role: str) -> Identity:
        """A role with its recorded key."""
        return Identity(signer=self.release.signer(role), trust=self.release.trust)

    async def start(self, *definitions: JobDefinition) -> None:
        """Start both daemons and a submitter; the agent can do ``definitions``, too."""
        store = await Store.open(self._urls["manager"], "manager")
        self.manager = ManagerNode(
            identity=self.identity("manager"),
            store=store,
            bus=MemoryBus(self.broker),
            clock=self.clock,
            stream=await stream_id(store, self.clock),
            settings=ManagerSettings(exclusion_wait=SECOND // 2),
            policy=ManagerPolicy(
                may_serve=lambda agent, job_type, data_class: True,
                may_submit=lambda submitter, template: True,
                may_control=lambda sender, workflow: sender == workflow.submitter,
                rank=lambda request, offer: 0.0,
            ),
            plugins=self._plugins,
        )
        store = await Store.open(self._urls["agent"], "agent")
        for definition in definitions:
            revision = await store.add_job_definition(definition_row(definition, self.clock.now()))
            await store.set_active(definition.name, revision, True)
        site = Site(site_identifier=self.release.world["site"])
        self.agent = AgentNode(
            identity=self.identity("agent"),
            store=store,
            bus=MemoryBus(self.broker),
            clock=self.clock,
            stream=await stream_id(store, self.clock),
            settings=AgentSettings(slots=4, site=site, offer_ttl=5 * MINUTE),
            policy=AgentPolicy(
                allow=lambda manager, job_type: Allowance(rule="skew"),
                decide=lambda manager, request, job_type, load: None,
            ),
            plugins=self._plugins,
            executors={
                name: make(self._directory / "spool", {}) for name, make in self._plugins.executors().items()
            },
            directory=self._directory,
        )
        await self.agent.start()
        await self.manager.start()
        self.submitter = Submitter(
            identity=self.identity("submitter"),
            manager=self.release.world["manager"],
            bus=MemoryBus(self.broker),
            clock=self.clock,
        )
        await self.submitter.start()

    async def stop(self) -> None:
        """Stop what was started."""
        if hasattr(self, "submitter"):
            await self.submitter.close()
        await asyncio.gather(
            *(node.stop() for node in (getattr(self, "agent", None), getattr(self, "manager", None)) if node)
        )
        self._plugins.close()
