"""An agent's job definitions: what it offers to run, and the way to their editor."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal

from caroni.services import definitions
from caroni.services.definitions import Definition
from caroni.services.words import brief
from caroni.tui.acts import Act
from caroni.tui.glyphs import look
from caroni.tui.paint import BOLD, DIM
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.site import Site
from caroni.tui.widgets.lines import Lines, Styled
from caroni.tui.widgets.note import Note
from caroni.tui.widgets.table import Column, Line, LineTable


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All definitions, and which revision of each is offered."""

    listed: list[Definition]
    active: dict[str, int]
    now: int


class JobDefsScreen(ConsoleScreen):
    """A row a definition; beside it what the one under the cursor takes, runs and gives."""

    NAME = "jobdefs"
    PERIOD = 2.0

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("jobdefs.edit", "e", "edit", "Edit it here (enter does too)"),
        Act("jobdefs.try", "t", "test run", "Run it once, here, with sample inputs", writes=True),
        Act("jobdefs.activate", "x", "on/off", "Offer it from now on, or no more", writes=True),
        Act("jobdefs.add", "a", "add", "Write a new definition", writes=True),
        Act("jobdefs.external", "E", "$EDITOR", "Edit it in your own editor", writes=True),
        Act("jobdefs.versions", "v", "versions", "Its revisions, and what changed between them"),
    )

    DEFAULT_CSS = """
    JobDefsScreen LineTable { width: 3fr; }
    JobDefsScreen Lines { width: 2fr; }
    JobDefsScreen Note { display: none; }
    JobDefsScreen.-files Note { display: block; }
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._text = ""
        self._rows: dict[str, Definition] = {}
        self._active: dict[str, int] = {}
        self._files = definitions.refusal(site.loaded)

    def body(self) -> ComposeResult:
        yield Note(f" {self._files}")
        with Horizontal():
            yield LineTable(_COLUMNS, empty="Looking ...", classes="main")
            yield Lines(wrap=True, classes="pane")

    # --- reading and painting --------------------------------------------------------------------

    async def fetch(self) -> Snapshot:
        if self._files:
            listed = await definitions.definitions(self.site.loaded)
            active = {one.definition.name: 0 for one in listed}
        else:
            listed, active = await self.site.read(_look)
        wanted = self._text.casefold()
        fitting = [
            one
            for one in listed
            if wanted in one.definition.name.casefold() or wanted in one.definition.description.casefold()
        ]
        return Snapshot(listed=fitting, active=active, now=self.host.now())

    def paint(self, snapshot: Snapshot) -> None:
        self.set_class(bool(self._files), "-files")
        table = self.query_one(LineTable)
        table.empty = self._nothing()
        self._rows = {one.definition.name: one for one in snapshot.listed}
        self._active = snapshot.active
        table.set_rows([_line(one, snapshot.active, snapshot.now) for one in snapshot.listed])
        self._tell()

    def _tell(self) -> None:
        one = self._rows.get(self._row_name)
        self.query_one(Lines).set_lines(about(one, self._active) if one else [])

    def _nothing(self) -> str:
        if self._text:
            return "No definition has this in its name or description: esc shows all."
        if self._files:
            return f"No files in {self.site.loaded.config.agent.definitions_dir} yet."
        if self.host.readonly:
            return "No job definitions yet."
        return "No job definitions yet. a writes one; caroni job add FILE takes one."

    @property
    def _row_name(self) -> str:
        return str(self.query_one(LineTable).key or "")

    def find(self, text: str, final: bool) -> None:
        self._text = text.strip()
        self.refetch()

    def leave(self) -> bool:
        if self._text:
            self._text = ""
            self.refetch()
            return False
        return True

    @on(LineTable.Moved)
    def _moved(self) -> None:
        self._tell()

    @on(LineTable.Chosen)
    def _chosen(self) -> None:
        self.do_edit()

    # --- acts ------------------------------------------------------------------------------------

    def reason(self, act: Act) -> str:
        """Most of it needs a row, and some of it a database."""
        if act.id in ("jobdefs.add", "jobdefs.activate", "jobdefs.versions") and self._files:
            return self._files
        if act.id.startswith("jobdefs.") and act.id != "jobdefs.add" and not self._row_name:
            return "there is no job definition"
        return super().reason(act)

    def do_edit(self) -> None:
        """Open the editor."""
        self._edit(self._row_name)

    def do_try(self) -> None:
        """Open its test run."""
        from caroni.tui.screens.testrun import TestRunScreen

        one = self._rows[self._row_name]
        self.host.open(TestRunScreen(self.site, one.definition.name, one.source))

    def do_external(self) -> None:
        """Open it, and ``$EDITOR`` on it; a file is edited where it is."""
        if not self._files:
            self._edit(self._row_name, external=True)
            return
        path = Path(self._rows[self._row_name].path)

        async def dialogue() -> None:
            from caroni.tui.handoff import editor_command, run_editor

            await run_editor(self.app, editor_command(), path)
            self.host.say(f"{path.name}: the agent takes it when it is restarted")
            self.refetch()

        self.ask(dialogue)

    def do_add(self) -> None:
        """Open the editor on something small."""
        self._edit("")

    def _edit(self, name: str, *, external: bool = False) -> None:
        from caroni.tui.screens.jobdef_editor import DefinitionEditor

        self.host.open(DefinitionEditor(self.site, name, external=external))

    def do_versions(self) -> None:
        """List them."""
        from caroni.tui.screens.revisions import DefinitionRevisions

        self.host.open(DefinitionRevisions(self.site, self._row_name))

    def do_activate(self) -> None:
        """On or off."""
        name = self._row_name
        switch(self, name, active=not self._active.get(name), revision=self._rows[name].revision)


def switch(screen: ConsoleScreen, name: str, *, active: bool, revision: int) -> None:
    """Offer a revision of a definition from now on, or none of it."""
    site = screen.site

    async def action() -> str:
        given = await site.write(
            lambda store: definitions.set_active(site.loaded, store, name, active, revision)
        )
        return f"{name} revision {given} is offered" if active else f"{name} is offered no more"

    words = ("activate", name, "--revision", str(revision)) if active else ("deactivate", name)
    screen.do("job definition", screen.cli("job", *words), action)


async def _look(store: Any) -> tuple[list[Definition], dict[str, int]]:
    return await definitions.stored(store), await definitions.active_revisions(store)


_COLUMNS = (
    Column("", 1),
    Column("NAME", 16, grow=3),
    Column("VERSION", 7, grow=1),
    Column("REV", 4, right=True),
    Column("OFFERED", 9),
    Column("INPUTS", 10, grow=3, least=70),
    Column("OUTPUTS", 10, grow=3, least=70),
    Column("AGE", 5, right=True, least=90),
)


def _offered(one: Definition, active: dict[str, int]) -> str:
    """``yes``, ``no``, or the older revision that is."""
    if one.revision == 0:
        return "file"
    offered = active.get(one.definition.name, 0)
    return "no" if not offered else "yes" if one.active else f"rev {offered}"


def _line(one: Definition, active: dict[str, int], now: int) -> Line:
    offered = _offered(one, active)
    mark = look("ended" if offered == "no" else "done" if offered in ("yes", "file") else "warning")
    cells = (
        (mark.glyph, mark.style),
        one.definition.name,
        one.definition.version,
        str(one.revision) if one.revision else "-",
        offered,
        one.inputs,
        one.outputs,
        brief(now - one.created_at) if one.created_at else "-",
    )
    return Line(one.definition.name, cells)


def about(one: Definition, active: dict[str, int]) -> list[Styled]:
    """A definition in words, then its text."""
    revision = f" revision {one.revision}" if one.revision else f" in {one.path}"
    lines: list[Styled] = [(f"{one.definition.name} {one.definition.version}{revision}", BOLD)]
    offered = _offered(one, active)
    if offered.startswith("rev"):
        lines.append((f"offered is revision {offered[4:]}: x offers this one", DIM))
    elif offered == "no":
        lines.append(("not offered: x offers it", DIM))
    return [*lines, "", *one.source.splitlines()[:2000]]
