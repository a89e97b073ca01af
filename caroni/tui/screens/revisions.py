"""The revisions of a template or of a job definition, each with what it changed."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical

from caroni.services import definitions, templates
from caroni.services.editing import Diff, diff, diff_documents
from caroni.services.words import ago, plural
from caroni.tui.acts import Act
from caroni.tui.glyphs import look
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.screens.compare import painted
from caroni.tui.site import Site
from caroni.tui.widgets.lines import Lines
from caroni.tui.widgets.note import Note
from caroni.tui.widgets.table import Column, Line, LineTable


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The rows, and what the revision under the cursor changed."""

    rows: list[Line]
    revision: int
    caption: str
    diff: Diff


class RevisionsScreen(ConsoleScreen):
    """Newest first; below, the difference to the one before, or to the marked one."""

    PERIOD = 3.0

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("revisions.base", "b", "base", "Compare with this one from now on; again: with the one before"),
        Act("revisions.edit", "e", "edit", "Begin the next revision with the text of this one"),
    )

    DEFAULT_CSS = """
    RevisionsScreen LineTable { height: 1fr; max-height: 12; }
    RevisionsScreen Lines { height: 2fr; }
    RevisionsScreen Note { background: $panel; color: $foreground; }
    """

    def __init__(self, site: Site, name: str) -> None:
        super().__init__(site)
        self.text_name = name
        self.base = 0
        self._diffs: dict[tuple[int, int], Diff] = {}

    @property
    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """What is told of a revision."""

    @abstractmethod
    async def look(self) -> list[tuple[int, Line]]:
        """Revisions with their rows, newest first."""

    @abstractmethod
    async def compare(self, before: int, after: int) -> Diff:
        """What changed from one to another; 0: nothing was there."""

    def crumb(self) -> str:
        return f"{self.text_name} revisions"

    def body(self) -> ComposeResult:
        with Vertical():
            yield LineTable(self.columns, empty="Looking ...", classes="main")
            yield Note()
            yield Lines()

    async def fetch(self) -> Snapshot:
        rows = await self.look()
        key = self.query_one(LineTable).key
        revision = key if isinstance(key, int) else rows[0][0]
        older = [number for number, _ in rows if number < revision]
        before = self.base if self.base and self.base != revision else max(older, default=0)
        if (before, revision) not in self._diffs:
            self._diffs[before, revision] = await self.compare(before, revision)
        found = self._diffs[before, revision]
        since = f"from revision {before} to {revision}" if before else f"revision {revision}, the first"
        return Snapshot(
            rows=[line for _, line in rows],
            revision=revision,
            caption=f" {since}: +{found.added} -{found.removed}",
            diff=found,
        )

    def paint(self, snapshot: Snapshot) -> None:
        self.query_one(LineTable).set_rows(snapshot.rows)
        self.query_one(Note).say(snapshot.caption)
        self.query_one(Lines).set_lines(painted(snapshot.diff))

    @on(LineTable.Moved)
    def _moved(self) -> None:
        self.refetch()

    @on(LineTable.Chosen)
    def _chosen(self) -> None:
        self.query_one(Lines).focus()

    def leave(self) -> bool:
        """From the difference to the list first."""
        if self.query_one(Lines).has_focus:
            self.query_one(LineTable).focus()
            return False
        return True

    def reason(self, act: Act) -> str:
        """All of it needs a row."""
        if act.id.startswith("revisions.") and self.query_one(LineTable).key is None:
            return "there is no revision"
        return super().reason(act)

    def do_base(self) -> None:
        """Compare with it."""
        key = self.query_one(LineTable).key
        self.base = key if isinstance(key, int) and key != self.base else 0
        self.host.say(f"compared with revision {self.base}" if self.base else "compared with the one before")
        self.refetch()

    @property
    def revision(self) -> int:
        """The one under the cursor."""
        key = self.query_one(LineTable).key
        return key if isinstance(key, int) else 0

    @abstractmethod
    async def do_edit(self) -> None:
        """Open the editor."""


class TemplateRevisions(RevisionsScreen):
    """Of a template; workflows that run say which one they keep."""

    NAME = "revisions"

    @property
    def columns(self) -> tuple[Column, ...]:
        return (
            Column("REV", 5, right=True),
            Column("SAVED", 12, grow=1),
            Column("RUNNING", 12, grow=1),
            Column("DIGEST", 12),
        )

    async def look(self) -> list[tuple[int, Line]]:
        async def both(store: Any) -> Any:
            return (
                await templates.revisions_of(store, self.text_name),
                await templates.running_by_revision(store, self.text_name),
            )

        rows, running = await self.site.read(both)
        now = self.host.now()
        return [
            (
                row.revision,
                Line(
                    row.revision,
                    (
                        str(row.revision),
                        ago(row.created_at, now),
                        plural(running[row.revision], "workflow") if row.revision in running else "-",
                        row.digest[:12],
                    ),
                    (row.revision, -row.created_at, running.get(row.revision, 0)),
                ),
            )
            for row in rows
        ]

    async def compare(self, before: int, after: int) -> Diff:
        if before:
            return await self.site.read(
                lambda store: templates.compared_of(store, self.text_name, before, after)
            )
        first = await self.site.read(lambda store: templates.editable(store, self.text_name, after))
        return diff_documents({}, first.documents if first else {}, "nothing", f"revision {after}")

    async def do_edit(self) -> None:
        from caroni.tui.screens.template_editor import TemplateEditor

        old = await self.site.read(lambda store: templates.editable(store, self.text_name, self.revision))
        self.host.open(TemplateEditor(self.site, self.text_name, start=old.documents if old else None))


class DefinitionRevisions(RevisionsScreen):
    """Of a job definition; one of them is offered, or none."""

    NAME = "revisions"

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("revisions.activate", "x", "activate", "Offer this revision, or none", writes=True),
    )

    @property
    def columns(self) -> tuple[Column, ...]:
        return (
            Column("REV", 5, right=True),
            Column("VERSION", 10, grow=1),
            Column("OFFERED", 10, grow=1),
            Column("SAVED", 12, grow=1),
            Column("DIGEST", 12),
        )

    async def look(self) -> list[tuple[int, Line]]:
        rows = await self.site.read(lambda store: definitions.revisions_of(store, self.text_name))
        now = self.host.now()
        self._active = next((row.revision for row in rows if row.active), 0)
        return [
            (
                row.revision,
                Line(
                    row.revision,
                    (
                        str(row.revision),
                        row.version,
                        f"{look('done').glyph} active" if row.active else "-",
                        ago(row.created_at, now),
                        row.digest[:12],
                    ),
                    (row.revision, row.version, not row.active, -row.created_at),
                ),
            )
            for row in rows
        ]

    async def compare(self, before: int, after: int) -> Diff:
        if before:
            return await self.site.read(
                lambda store: definitions.compared_of(store, self.text_name, before, after)
            )
        first = await self.site.read(lambda store: definitions.editable(store, self.text_name, after))
        return diff("", first.source if first else "", "nothing", f"revision {after}")

    async def do_edit(self) -> None:
        from caroni.tui.screens.jobdef_editor import DefinitionEditor

        old = await self.site.read(lambda store: definitions.editable(store, self.text_name, self.revision))
        self.host.open(DefinitionEditor(self.site, self.text_name, start=old.source if old else None))

    def do_activate(self) -> None:
        """Offer it, or none where it is the one that is offered."""
        from caroni.tui.screens.jobdefs import switch

        switch(self, self.text_name, active=self.revision != self._active, revision=self.revision)
