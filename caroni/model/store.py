"""The store: the only user of queries on the hot path, and the only writer of a daemon's rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal

from tortoise.context import TortoiseContext

from caroni.core.rows import Row
from caroni.errors import ConfigError
from caroni.model import catalog, live, outbox, quarantine, queries, schema
from caroni.model import retention as retaining
from caroni.model.database import Database
from caroni.model.live import Live, SliceKey
from caroni.model.retention import Pruned, Retention
from caroni.model.sql import Statement
from caroni.model.statements import Statements
from caroni.model.unit import CommandRow, JobDefinitionRow, OutboxRow, QuarantineRow, TemplateRow, Unit

Role = Literal["manager", "agent"]

#: Change numbers are given from memory; what is stored is a number that none has reached yet, so that
#: after a start none is given twice, whatever has been deleted meanwhile.
_RESERVE = 1_000_000


class Store:
    """One daemon's database.

    The daemon commits whole units of work; CLI and console open the same database to read and to add
    commands, templates and job definitions. Every method raises :class:`~caroni.errors.TransientError`
    while the database is away, locked or full.
    """

    def __init__(self, database: Database, role: Role) -> None:
        self.role = role
        self._database = database
        self._statements = Statements(database.dialect)
        self._rev = 0
        self._reserved = 0
        self._rejected = 0

    @classmethod
    async def open(
        cls,
        url: str,
        role: Role,
        *,
        read_only: bool = False,
        before_statement: Callable[[str], None] | None = None,
    ) -> Store:
        """Open a database whose schema is up to date.

        Args:
            url: ``sqlite:///absolute/path`` or ``postgres://user:password@host:port/database``.
            role: whose rows it holds; the first open that may write fixes it.
            read_only: refuse every write (a console that only looks).
            before_statement: for tests, see :class:`~caroni.model.database.Database`.

        Raises:
            ConfigError: the place, the schema, or a database of the other role; names the remedy.
            TransientError: the database is away or locked now.
        """
        database = await Database.open(url, read_only=read_only, before_statement=before_statement)
        store = cls(database, role)
        try:
            await schema.check_schema(database)
            await store._recover(read_only)
        except BaseException:
            await database.close()
            raise
        return store

    async def _recover(self, read_only: bool) -> None:
        settings = await self.settings()
        owner = settings.get("role")
        if owner not in (None, self.role):
            raise ConfigError(
                f"database {self._database.place.label} belongs to a {owner}, not to a {self.role}:"
                " give each daemon a database of its own"
            )
        if owner is None and not read_only:
            # of two processes that open a new database at once the first fixes the role
            sql = self._database.dialect.insert_once("setting", ("key", "value"), ("key",))
            await self._database.write(lambda: [(sql, [("role", self.role)])])
        self._rev = self._reserved = int(settings.get("rev", "0"))
        ((total,),) = await self._database.fetch('SELECT COALESCE(SUM("count"), 0) FROM reject_count')
        self._rejected = int(total)

    async def close(self) -> None:
        """Close the connections; a unit of work that is under way ends first."""
        await self._database.close()

    @property
    def context(self) -> TortoiseContext:
        """Tortoise's context of this database, for the console's own queries on the models."""
        return self._database.context

    @property
    def database(self) -> Database:
        """The connection, for queries of ``caroni.services``."""
        return self._database

    @property
    def rev(self) -> int:
        """The last change number that was given."""
        return self._rev

    # --- the hot path ----------------------------------------------------------------------------

    async def commit(self, unit: Unit) -> int:
        """Write a unit of work: everything of it, or nothing.

        Returns:
            The last change number given; the numbers of its rows are above all earlier ones.

        Raises:
            OutcomeUnknown: the connection went during the commit; drop what was decided and load again.
            TransientError: nothing was written; the same unit may be committed again.
        """
        reserved = 0

        def prepare() -> Sequence[Statement]:
            nonlocal reserved
            statements, self._rev = self._statements.of(unit, self._rev, self._rejected)
            self._rejected += len(unit.rejects)
            if statements and self._rev > self._reserved:
                reserved = self._rev + _RESERVE
                statements.append((self._statements.setting, [("rev", str(reserved))]))
            return statements

        await self._database.write(prepare)
        self._reserved = max(self._reserved, reserved)
        return self._rev

    async def seen(self, ids: Sequence[tuple[str, bytes]]) -> set[tuple[str, bytes]]:
        """Those of ``(sender, message id)`` whose effect is durable already."""
        if not ids:
            return set()
        dialect = self._database.dialect
        query = f"SELECT sender, message_id FROM inbox WHERE {dialect.any_of('message_id')}"  # noqa: S608
        rows = await self._database.fetch(query, dialect.texts(id_.hex() for _, id_ in ids))
        return {(row[0], bytes.fromhex(row[1])) for row in rows}.intersection(ids)

    async def suspects(self, digests: Sequence[bytes]) -> dict[bytes, int]:
        """How often deliveries of these digests were begun without an end; the others are left out."""
        if not digests:
            return {}
        dialect = self._database.dialect
        query = f"SELECT digest, tries FROM suspect WHERE {dialect.any_of('digest')}"  # noqa: S608
        rows = await self._database.fetch(query, dialect.texts(digest.hex() for digest in digests))
        return {bytes.fromhex(row[0]): int(row[1]) for row in rows}

    async def load_slice(self, keys: Collection[SliceKey]) -> list[Row]:
        """Rows that are not in memory, by ``(row class, natural key)``, and what decisions on them need.

        A workflow is also found by ``(submitter, submit_uuid)``, an agent's offer also by
        ``(manager, request_uuid)``. A manager gets with a job, request or offer the request, step and
        workflow, and the job's outputs; an agent with an offer its job, with a job its offer, inputs and
        outputs. Keys without a row are left out; a row the caller has in memory may come again, equal.
        """
        return await live.load_slice(self._database, keys)

    async def load_live_manager(self, owner: bytes | None = None) -> Live:
        """What a manager has in memory, or what of it belongs to one workflow (or orphan).

        Peers; workflows that live, with their steps and flows; those that have ended and have an unsettled
        job, with the steps of such jobs; requests that are open or of a live step, and their offers; jobs
        that are unsettled or of a live step, and their outputs. A workflow with a row that cannot be read
        is left out and named in ``broken``.
        """
        await self._after_others()
        return await live.load_live_manager(self._database, owner)

    async def load_live_agent(self, owner: bytes | None = None) -> Live:
        """Peers, open offers, accepted offers of unreleased jobs, unreleased jobs, inputs, outputs.

        With ``owner`` only what belongs to this job or offer.
        """
        await self._after_others()
        return await live.load_live_agent(self._database, owner)

    async def _after_others(self) -> None:
        """Read only what stays: the last process, or a commit whose outcome is unknown, may not be over."""
        await self._database.quiet()
        reserved = int((await self.settings()).get("rev", "0"))
        if reserved > self._reserved:
            self._rev = self._reserved = reserved

    async def pending_outbox(self, limit: int, after: int = 0) -> list[tuple[int, OutboxRow]]:
        """Envelopes that have not left, oldest first, as ``(rev, row)``; ``after`` is the last ``rev`` had.

        The rows of state ``dead`` are left out.
        """
        return await outbox.pending(self._database, limit, after)

    async def count_outbox(self) -> int:
        """How many envelopes have not left."""
        ((count,),) = await self._database.fetch("SELECT COUNT(*) FROM outbox WHERE state <> 'dead'")
        return int(count)

    async def certificates(self, limit: int = 10_000) -> list[str]:
        """Certificates (PEM) of those who have been heard."""
        rows = await self._database.fetch("SELECT pem FROM certificate LIMIT ?", limit)
        return [row[0] for row in rows]

    async def sequences(self) -> dict[str, int]:
        """The next sequence number by recipient."""
        rows = await self._database.fetch("SELECT peer, next FROM sequence")
        return {row[0]: row[1] for row in rows}

    async def quarantined(self, keys: Sequence[bytes]) -> list[QuarantineRow]:
        """What is in quarantine under these keys."""
        return await quarantine.of_keys(self._database, keys)

    async def quarantine(
        self, *, limit: int = 100, reason: str = "", before: int | None = None
    ) -> list[tuple[int, QuarantineRow]]:
        """What is in quarantine, the last set aside first, as ``(rev, row)``; bodies are left out.

        ``before`` is the ``rev`` of the last one of the page before.
        """
        return await quarantine.page(self._database, limit, reason, before)

    async def settings(self) -> dict[str, str]:
        """Facts about this database (``role``, and what the daemon keeps there)."""
        return {row[0]: row[1] for row in await self._database.fetch("SELECT key, value FROM setting")}

    # --- commands and catalogue ------------------------------------------------------------------

    async def add_command(self, kind: str, args: str, now: int) -> int:
        """Leave a command for the daemon; ``args`` is JSON text. Gives its id. Retried while busy."""
        return await catalog.add_command(self._database, kind, args, now)

    async def new_commands(self, limit: int = 100) -> list[CommandRow]:
        """Commands that wait, oldest first; they end through :attr:`Unit.commands`."""
        return await catalog.new_commands(self._database, limit)

    async def command(self, id: int) -> CommandRow | None:
        """One command, whatever its state."""
        return await catalog.command(self._database, id)

    async def add_template(
        self, name: str, digest: str, documents: str, plan: str, now: int, *, expected: int | None = None
    ) -> int:
        """Add a revision unless the newest has this digest; gives the newest revision. Retried while busy.

        With ``expected`` (0: there is none yet) only if that is the newest revision; gives the revision that
        has this digest, or 0 if somebody else has added one meanwhile.
        """
        return await catalog.add_template(self._database, name, digest, documents, plan, now, expected)

    async def template(self, name: str, revision: int | None = None) -> TemplateRow | None:
        """A revision of a template, the newest by default."""
        return await catalog.template(self._database, name, revision)

    async def templates(self) -> list[TemplateRow]:
        """The newest revision of each template by name, without ``documents`` and ``plan``."""
        return await catalog.templates(self._database)

    async def template_revisions(self, name: str) -> list[TemplateRow]:
        """The last 1,000 revisions of a template, newest first, without ``documents`` and ``plan``."""
        return await catalog.template_revisions(self._database, name)

    async def template_uses(self) -> dict[tuple[str, int], int]:
        """How many workflows that have not ended run which (template, revision)."""
        return await catalog.template_uses(self._database)

    async def add_job_definition(self, row: JobDefinitionRow, *, expected: int | None = None) -> int:
        """Add a revision unless the newest has this digest and text; ``row.revision`` is ignored.

        Gives the newest revision, or with ``expected`` what :meth:`add_template` gives. Retried while busy.
        """
        return await catalog.add_job_definition(self._database, row, expected)

    async def job_definition(self, name: str, revision: int | None = None) -> JobDefinitionRow | None:
        """A revision of a job definition, the newest by default."""
        return await catalog.job_definition(self._database, name, revision)

    async def job_definitions(self) -> list[JobDefinitionRow]:
        """The newest revision of each job definition, by name."""
        return await catalog.job_definitions(self._database)

    async def job_definition_revisions(self, name: str) -> list[JobDefinitionRow]:
        """The last 1,000 revisions of a job definition, newest first, without ``body`` and ``yaml``."""
        return await catalog.job_definition_revisions(self._database, name)

    async def active_job_definitions(self) -> list[JobDefinitionRow]:
        """The active revision of each job definition that has one, by name."""
        return await catalog.active_job_definitions(self._database)

    async def set_active(self, name: str, revision: int, active: bool) -> None:
        """Make one revision of a job definition active (and no other of that name), or none."""
        await catalog.set_active(self._database, name, revision, active)

    # --- workflows as people see them ------------------------------------------------------------

    async def workflows(
        self, *, limit: int = 100, before: int | None = None, submitter: str | None = None
    ) -> list[queries.WorkflowSummary]:
        """Workflows, the last changed first, with their steps counted by state.

        ``before`` is the ``rev`` of the last one of the page before.
        """
        return await queries.workflows(self._database, limit, before, submitter)

    async def workflow(self, workflow_uuid: bytes) -> queries.WorkflowSummary | None:
        """One workflow with its steps counted by state."""
        return await queries.workflow(self._database, workflow_uuid)

    async def steps(
        self, workflow_uuid: bytes, *, limit: int = 1000, after: int = -1, state: str | None = None
    ) -> list[Row]:
        """Steps of a workflow by index; ``after`` is the last index of the page before."""
        return await queries.steps(self._database, workflow_uuid, limit, after, state)

    async def flows(self, workflow_uuid: bytes, *, limit: int = 1000, after: str = "") -> list[Row]:
        """Values of a workflow (inputs and winners' outputs) by name, from behind ``after``."""
        return await queries.flows(self._database, workflow_uuid, limit, after)

    async def job_outputs(self, workflow_uuid: bytes, *, limit: int = 1000, skip: int = 0) -> list[Row]:
        """Outputs staged under the jobs of a workflow, also of attempts that did not win."""
        return await queries.job_outputs(self._database, workflow_uuid, limit, skip)

    async def released_jobs(self, older_than: int) -> list[bytes]:
        """An agent's released jobs that ended before ``older_than`` (wall microseconds) and have a row still.

        Their files can go; take them before :meth:`prune` takes the rows.
        """
        return await retaining.released_jobs(self._database, older_than)

    async def agent_jobs(self, job_uuids: Sequence[bytes]) -> dict[bytes, str]:
        """The states of those of an agent's jobs that have a row."""
        return await queries.agent_jobs(self._database, job_uuids)

    # --- retention -------------------------------------------------------------------------------

    async def expired(self, now: int, retention: Retention | None = None) -> dict[str, int]:
        """What :meth:`prune` would remove now by its age, counted by kind."""
        return await retaining.expired(self._database, self.role, now, retention or Retention())

    async def prune(self, now: int, retention: Retention | None = None) -> Pruned:
        """Remove what has had its time; call it from the daemon. In steps that do not hold it up for long."""

        def next_rev() -> int:
            self._rev += 1
            return self._rev

        return await retaining.prune(self._database, self.role, now, retention or Retention(), next_rev)
