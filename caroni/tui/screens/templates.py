"""A manager's workflow templates: what they are, who runs them, and the way to their editor."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal

from caroni.services import templates
from caroni.services.templates import Overview, Template
from caroni.services.words import brief
from caroni.tui.acts import Act
from caroni.tui.paint import BOLD, DIM
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.site import Site
from caroni.tui.widgets.lines import Lines, Styled
from caroni.tui.widgets.table import Column, Line, LineTable


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All templates, and the one under the cursor with its steps."""

    listed: list[Overview]
    chosen: Template | None
    now: int


class TemplatesScreen(ConsoleScreen):
    """A row a template; beside it what the one under the cursor takes, does and gives."""

    NAME = "templates"
    PERIOD = 2.0

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("templates.run", "r", "run", "Begin a workflow of this template", writes=True),
        Act("templates.edit", "e", "edit", "Edit it here (enter does too)"),
        Act("templates.external", "E", "$EDITOR", "Edit it in your own editor", writes=True),
        Act("templates.add", "a", "add", "Write a new template", writes=True),
        Act("templates.versions", "v", "versions", "Its revisions, and what changed between them"),
    )

    DEFAULT_CSS = """
    TemplatesScreen LineTable { width: 3fr; }
    TemplatesScreen Lines { width: 2fr; }
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._known: dict[tuple[str, int], Overview] = {}
        self._template: Template | None = None
        self._text = ""

    def body(self) -> ComposeResult:
        with Horizontal():
            yield LineTable(_COLUMNS, empty="Looking ...", classes="main")
            yield Lines(wrap=True, classes="pane")

    # --- reading and painting --------------------------------------------------------------------

    async def fetch(self) -> Snapshot:
        listed = await self.site.read(lambda store: templates.overview(store, self._known))
        self._known = {(one.name, one.revision): one for one in listed}
        shown = self._fitting(listed)
        chosen = next((one for one in shown if one.name == self._row_name), shown[0] if shown else None)
        if chosen is None:
            self._template = None
        elif self._template is None or (self._template.name, self._template.revision) != (
            chosen.name, chosen.revision,
        ):  # fmt: skip
            name = chosen.name
            self._template, _ = await self.site.read(lambda store: templates.template_of(store, name))
        return Snapshot(listed=shown, chosen=self._template, now=self.host.now())

    def _fitting(self, listed: list[Overview]) -> list[Overview]:
        wanted = self._text.casefold()
        return [
            one
            for one in listed
            if wanted in one.name.casefold() or wanted in " ".join(one.job_types).casefold()
        ]

    @property
    def _row_name(self) -> str:
        return str(self.query_one(LineTable).key or "")

    def paint(self, snapshot: Snapshot) -> None:
        table = self.query_one(LineTable)
        table.empty = self._nothing()
        table.set_rows([_line(one, snapshot.now) for one in snapshot.listed])
        self.query_one(Lines).set_lines(about(snapshot.chosen) if snapshot.chosen else [])

    def _nothing(self) -> str:
        if self._text:
            return "No template has this in its name or job types: / for something else, esc for all."
        if self.host.readonly:
            return "No templates yet."
        return "No templates yet. a writes one; caroni template add FILE takes one."

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
        self.refetch()

    @on(LineTable.Chosen)
    def _chosen(self) -> None:
        self.do_edit()

    # --- acts ------------------------------------------------------------------------------------

    def reason(self, act: Act) -> str:
        """Most of it needs a row."""
        if act.id in ("templates.run", "templates.edit", "templates.external", "templates.versions"):
            return "" if self._row_name else "there is no template"
        return super().reason(act)

    def do_edit(self) -> None:
        """Open the editor."""
        self._edit(self._row_name, external=False)

    def do_external(self) -> None:
        """Open it, and ``$EDITOR`` on it."""
        self._edit(self._row_name, external=True)

    def do_add(self) -> None:
        """Open it on something small."""
        self._edit("", external=False)

    def _edit(self, name: str, *, external: bool) -> None:
        from caroni.tui.screens.template_editor import TemplateEditor

        self.host.open(TemplateEditor(self.site, name, external=external))

    def do_versions(self) -> None:
        """List them."""
        from caroni.tui.screens.revisions import TemplateRevisions

        self.host.open(TemplateRevisions(self.site, self._row_name))

    def do_run(self) -> None:
        """Open the form of its inputs."""
        from caroni.tui.screens.submit import SubmitScreen

        self.host.open(SubmitScreen(self.site, self._row_name))


_COLUMNS = (
    Column("NAME", 16, grow=3),
    Column("REV", 4, right=True),
    Column("STEPS", 6, right=True),
    Column("RUNNING", 7, right=True),
    Column("AGE", 5, right=True),
    Column("JOB TYPES", 10, grow=4),
)


def _line(one: Overview, now: int) -> Line:
    running: Any = str(one.running) if one.running else ("-", DIM)
    cells = (
        one.name,
        str(one.revision),
        str(one.steps),
        running,
        brief(now - one.created_at),
        ", ".join(one.job_types),
    )
    return Line(one.name, cells, (one.name, one.revision, one.steps, one.running, -one.created_at))


def about(template: Template) -> list[Styled]:
    """A template in words: inputs, steps with what they wait for, outputs."""
    lines: list[Styled] = [(f"{template.name} revision {template.revision}", BOLD)]
    for title, parameters in (("inputs", template.inputs), ("outputs", template.outputs)):
        lines += [(title, DIM)] if parameters else [(f"{title}: none", DIM)]
        for parameter in parameters:
            default = f" = {parameter.default}" if parameter.default is not None else ""
            lines.append(f"  {parameter.name}: {parameter.type}{default}")
        if title == "inputs":
            lines.append(("steps", DIM))
            lines += [_step(step.name, step.job_type, step.sources) for step in template.steps[:1000]]
    return lines


def _step(name: str, job_type: str, sources: list[str]) -> Styled:
    waits = f" after {', '.join(dict.fromkeys(s.partition('/')[0] for s in sources if '/' in s))}"
    return f"  {name} ({job_type}){waits if waits != ' after ' else ''}"
