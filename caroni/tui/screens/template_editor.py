"""A template's CWL: text and graph side by side, checked while it is typed."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from caroni.cwl import Bundle
from caroni.errors import UsageError
from caroni.services import templates
from caroni.services.checking import Finding, check_documents, step_place
from caroni.services.newtexts import new_operation, new_template
from caroni.services.words import plural
from caroni.tui.acts import Act
from caroni.tui.rail.drawing import Drawing, of_plan
from caroni.tui.rail.gutter import cells_wide
from caroni.tui.screens.ask import AskScreen, Field
from caroni.tui.screens.editing import Around, EditorScreen, Kept, Saved
from caroni.tui.site import Site
from caroni.tui.widgets.editor import Editor
from caroni.tui.widgets.note import Note
from caroni.tui.widgets.rail import Rail
from caroni.tui.widgets.railrow import Columns

_MAIN = "workflow.cwl"


class GraphRail(Rail):
    """The rail of a text: nothing runs, so lanes and names have all the room."""

    def _columns(self) -> Columns:
        width = self.size.width
        lanes = cells_wide(self._shown.layout) if self._shown is not None else 0
        least = min(max(self._longest, 8), width // 2)
        gutter = min(lanes, max(width - least - 3, 4))
        return Columns(gutter=gutter, name=max(width - gutter - 2, 4), agent=0, info=0)


class TemplateEditor(EditorScreen):
    """One document of a template at a time; the graph is that of all of them."""

    NAME = "template"
    KIND = "template"
    SUFFIX = ".cwl"

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("template.graph", "f3", "graph", "Text or graph, where there is no room for both", priority=True),
        Act("template.document", "f7", "document", "The next document of the template", show=False,
            priority=True),
        Act("template.add-document", "ctrl+n", "add document", "Add a document that a step can run",
            show=False, priority=True),
    )  # fmt: skip

    DEFAULT_CSS = """
    TemplateEditor #graph { width: 2fr; border-left: solid $panel; padding-left: 1; }
    TemplateEditor #text { width: 3fr; }
    TemplateEditor.-narrow #graph { display: none; }
    TemplateEditor.-narrow.-graph #graph { display: block; border-left: none; padding-left: 0; width: 1fr; }
    TemplateEditor.-narrow.-graph #text { display: none; }
    """

    def __init__(
        self, site: Site, name: str, *, external: bool = False, start: dict[str, str] | None = None
    ) -> None:
        """``start``: other documents than the newest revision's to begin with, e.g. an older one's."""
        super().__init__(site, name, external=external)
        self._main = _MAIN
        self._origin = ""
        self._documents: dict[str, str] = {}
        self._shown = _MAIN
        self._start = start
        self._drawing: Drawing | None = None

    def body(self) -> ComposeResult:
        with Horizontal():
            self._editor = Editor("yaml", id="text", classes="main")
            yield self._editor
            with Vertical(id="graph"):
                self._caption = Note(id="graph-caption", dim=True)
                self._rail = GraphRail(empty="No steps yet.")
                yield self._caption
                yield self._rail
        yield from self.below()

    # --- the texts -------------------------------------------------------------------------------

    @property
    def documents(self) -> dict[str, str]:
        return {**self._documents, self._shown: self._editor.text}

    @property
    def main_editor(self) -> Editor:
        return self._editor

    def show_documents(self, documents: dict[str, str]) -> None:
        self._documents = dict(documents)
        if self._shown not in documents:
            self._shown = self._main if self._main in documents else next(iter(documents), _MAIN)
        self._editor.show_text(self._documents.get(self._shown, ""))
        self._editor.read_only = bool(self.fixed_because)

    def starter(self) -> dict[str, str]:
        return {_MAIN: new_template()}

    def crumb(self) -> str:
        more = f" › {self._shown}" if len(self._documents) > 1 else ""
        return super().crumb() + more

    def more_words(self) -> list[str]:
        words = super().more_words()
        if len(self._documents) > 1:
            place = list(self._documents).index(self._shown) + 1
            words.insert(0, f"F7 {self._shown} ({place} of {len(self._documents)})")
        return words

    def _bundle(self, documents: dict[str, str]) -> Bundle:
        return Bundle(main=self._main, documents=documents, origin=self._origin)

    # --- the catalogue ---------------------------------------------------------------------------

    def on_mount(self) -> None:
        """A console that only looks shows the text alone."""
        if self.host.readonly:
            self.fixed_because = "read-only"

    async def look_around(self) -> Around | None:
        return await self.site.read(self._ask_store)

    async def _ask_store(self, store: Any) -> Around:
        newest = (await templates.revisions_of(store, self.text_name))[0].revision
        kept = self.around.newest
        if newest != kept.revision:
            found = await templates.editable(store, self.text_name)
            if found is None:
                raise UsageError(f"template {self.text_name!r} is not there any more")
            if not self._loaded:
                self._main, self._origin = found.bundle.main, found.bundle.origin
            kept = Kept(revision=found.revision, documents=found.documents)
        running = await templates.running_by_revision(store, self.text_name)
        remarks = tuple(
            f"{plural(count, 'workflow')} of revision {revision} {'goes' if count == 1 else 'go'} on with it."
            for revision, count in running.items()
        )
        return Around(newest=kept, remarks=remarks or ("No workflow of it is running.",))

    def _take(self, kept: Kept, documents: dict[str, str]) -> None:
        start, self._start = self._start, None
        super()._take(kept, documents)
        if start is not None:
            self.show_documents(start)

    async def ready_to_save(self) -> bool:
        if self.text_name:
            return True

        def wrong(typed: dict[str, str]) -> str:
            try:
                templates.checked_name(typed["name"])
            except UsageError as error:
                return str(error).partition(":")[0]
            return ""

        typed = await self.host.push_screen_wait(
            AskScreen(
                "What is the template called?",
                ["Workflows are begun by this name."],
                [Field("name", "Name", "rnaseq-batch")],
                wrong,
            )
        )
        if typed is None:
            return False
        await self._drop_draft()
        self.text_name = typed["name"]
        return True

    async def keep(self, documents: dict[str, str], expected: int | None) -> Saved:
        bundle, name = self._bundle(documents), self.text_name
        done = await self.site.write(
            lambda store: templates.save_template(self.site.loaded, store, name, bundle, expected)
        )
        if isinstance(done, templates.Conflict):
            newest = Kept(revision=done.newest.revision, documents=done.newest.documents)
            return Saved(answer=done.text, kept=newest, conflict=True)
        return Saved(
            answer=f"template {name}, revision {done.revision}",
            kept=Kept(revision=done.revision, documents=documents),
        )

    def save_line(self) -> str:
        what = self._main if len(self._documents) > 1 else "-"
        return f"{self.cli('template', 'add', what, '--name', self.text_name)}  # the text of the editor"

    # --- checking --------------------------------------------------------------------------------

    def inspect(self, documents: dict[str, str]) -> tuple[list[Finding], Any]:
        checked = check_documents(self._bundle(documents))
        drawing: Drawing | None = None
        if checked.plan is not None:
            try:
                drawing = of_plan(checked.plan)
            except ValueError:
                drawing = None  # a circle, which is among the findings
        return checked.findings, (drawing, checked.errors)

    def show_checked(self, more: Any) -> None:
        drawing, errors = more
        caption = self._caption
        if drawing is None:
            caption.say("graph of the last text that had one")
            return
        caption.say("graph, as far as it is right" if errors else "graph; enter goes to the step")
        self._drawing = drawing
        self._rail.set_view(drawing, keep=False)

    def jump(self, finding: Finding) -> None:
        if finding.file and finding.file != self._shown and finding.file in self._documents:
            self._go_to(finding.file)
        self.remove_class("-graph")
        self.main_editor.focus()
        self.main_editor.move_to(finding.line or 1, finding.column or 1)

    def on_rail_opened(self, event: Rail.Opened) -> None:
        """To the step in the text."""
        event.stop()
        if self._drawing is None:
            return
        name = self._drawing.view.graph.names[event.step]
        line, column = step_place(self._bundle(self.documents), name)
        if line:
            self.jump(Finding(line=line, column=column, severity="warning", message="", file=self._main))

    # --- acts ------------------------------------------------------------------------------------

    def reason(self, act: Act) -> str:
        """Not all of it works everywhere."""
        if act.id == "template.document" and len(self._documents) < 2:
            return "the template has one document"
        if act.id == "template.add-document" and self.fixed_because:
            return self.fixed_because
        return super().reason(act)

    def do_graph(self) -> None:
        """The other one of the two."""
        rail = self._rail
        if self.has_class("-narrow"):
            self.toggle_class("-graph")
            (rail if self.has_class("-graph") else self.main_editor).focus()
        else:
            (self.main_editor if rail.has_focus else rail).focus()

    def leave(self) -> bool:
        """From the graph to the text first."""
        if self._rail.has_focus:
            self.remove_class("-graph")
            self.main_editor.focus()
            return False
        return super().leave()

    def do_document(self) -> None:
        """The next one."""
        names = list(self._documents)
        self._go_to(names[(names.index(self._shown) + 1) % len(names)])

    def _go_to(self, name: str) -> None:
        self._documents = self.documents
        self._shown = name
        # another document has no history in common with this one
        self._editor.load_text(self._documents[name])
        self.tell()

    def do_add_document(self) -> None:
        """Ask for its name."""

        async def dialogue() -> None:
            typed = await self.host.push_screen_wait(
                AskScreen(
                    "Add a document",
                    ["A step runs it with  run: NAME"],
                    [Field("name", "Name", "operations/align.cwl")],
                    self._wrong_document,
                )
            )
            if typed is not None:
                self._documents = {**self.documents, typed["name"]: new_operation()}
                self._go_to(typed["name"])
                self.touched()

        self.ask(dialogue)

    def _wrong_document(self, typed: dict[str, str]) -> str:
        name = typed["name"]
        parts = name.split("/")
        if not name.endswith((".cwl", ".yml", ".yaml")):
            return "its name ends in .cwl"
        if name in self._documents:
            return "there is one of this name"
        if len(name) > 200 or not name.isprintable() or any(part in ("", ".", "..") for part in parts):
            return "a path below the main document: tools/align.cwl"
        return ""
