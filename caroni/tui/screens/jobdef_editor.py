"""A job definition: a form and its bash body, or the whole YAML; the text is what is saved."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from caroni.errors import DocumentError, UsageError
from caroni.services import definitions
from caroni.services.checking import Finding, check_definition
from caroni.services.definitionform import DefinitionForm, apply_form, field_at, read_form
from caroni.services.newtexts import new_definition
from caroni.tui.acts import Act
from caroni.tui.paint import said
from caroni.tui.screens.editing import Around, EditorScreen, Kept, Saved
from caroni.tui.site import Site
from caroni.tui.widgets.editor import Editor
from caroni.tui.widgets.note import Note

#: the document's name where there is only one
_ONE = ""
_LINES = ("name", "version", "timeout", "executor", "description")
_BLOCKS = ("inputs", "outputs")
#: what an empty field means
_EMPTY = {"name": "needed", "version": "1", "timeout": "no limit, or 5m, 1h30m", "executor": "local",
          "description": "what it does, for people"}  # fmt: skip
#: rows below which the form gives up some of its own
_LOW = 20
_LABELS = {"name": "Name", "version": "Version", "timeout": "Timeout", "executor": "Executor",
           "description": "About"}  # fmt: skip


class DefinitionEditor(EditorScreen):
    """F3 changes between the form and the text; a text that no form can show is mended as text."""

    NAME = "jobdef"
    KIND = "job"
    SUFFIX = ".yaml"

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("jobdef.try", "f5", "test run", "Run it once, here, with sample inputs", writes=True,
            priority=True),
        Act("jobdef.view", "f3", "form/text", "The form, or the whole YAML", priority=True),
    )  # fmt: skip

    DEFAULT_CSS = """
    DefinitionEditor #form { layout: vertical; }
    DefinitionEditor #fields { height: auto; }
    DefinitionEditor #fields Horizontal { height: 1; }
    DefinitionEditor #fields Horizontal.blocks { height: 5; }
    DefinitionEditor .label { width: 9; }
    DefinitionEditor Input { width: 1fr; }
    DefinitionEditor #caption { background: $panel; color: $foreground; }
    DefinitionEditor .blocks Vertical { width: 1fr; height: 5; }
    DefinitionEditor .blocks Editor { padding-left: 1; }
    DefinitionEditor #body-pane { height: 1fr; }
    DefinitionEditor.-low #fields Horizontal.blocks { height: 3; }
    DefinitionEditor.-low .blocks Vertical { height: 3; }
    DefinitionEditor.-low #caption { display: none; }
    DefinitionEditor #whole { display: none; }
    DefinitionEditor.-text #form { display: none; }
    DefinitionEditor.-text #whole { display: block; }
    DefinitionEditor.-wide #form { layout: horizontal; }
    DefinitionEditor.-wide #fields { width: 2fr; height: 1fr; }
    DefinitionEditor.-wide #fields Horizontal.blocks { layout: vertical; height: 1fr; }
    DefinitionEditor.-wide .blocks Vertical { height: 1fr; width: 1fr; }
    DefinitionEditor.-wide #body-pane { width: 3fr; margin-left: 1; }
    """

    def __init__(self, site: Site, name: str, *, external: bool = False, start: str | None = None) -> None:
        """``start``: another text than the newest revision's to begin with, e.g. an older one's."""
        super().__init__(site, name, external=external)
        self._start = start
        #: the text that the form was read from, and what was read
        self._base = ""
        self._form = DefinitionForm()
        self._filling = False
        self._path = ""
        self._lines: dict[str, Input] = {}
        self._blocks: dict[str, Editor] = {}

    def body(self) -> ComposeResult:
        with Vertical(id="form"):
            with Vertical(id="fields"):
                for pair in (("name", "version"), ("timeout", "executor"), ("description",)):
                    with Horizontal():
                        for field in pair:
                            yield _Label(f" {_LABELS[field]}")
                            self._lines[field] = Input(
                                id=f"field-{field}", placeholder=_EMPTY[field], compact=True
                            )
                            yield self._lines[field]
                with Horizontal(classes="blocks"):
                    for field in _BLOCKS:
                        with Vertical():
                            yield Note(f" {field.capitalize()}, a line each: name: type", dim=True)
                            self._blocks[field] = Editor("yaml", numbers=False, id=f"field-{field}")
                            yield self._blocks[field]
            with Vertical(id="body-pane"):
                yield Note(id="caption")
                self._body = Editor("bash", id="text", classes="main")
                yield self._body
        self._whole = Editor("yaml", id="whole")
        yield self._whole
        yield from self.below()

    def on_resize(self) -> None:
        """A low terminal leaves its lines to the script."""
        self.set_class(self.size.height < _LOW, "-low")

    # --- the text --------------------------------------------------------------------------------

    @property
    def main_editor(self) -> Editor:
        return self._whole if self.as_text else self._body

    @property
    def as_text(self) -> bool:
        """Whether the whole YAML is shown, and no form."""
        return self.has_class("-text")

    @property
    def documents(self) -> dict[str, str]:
        return {_ONE: self.text}

    @property
    def text(self) -> str:
        """The YAML as it is now."""
        if self.as_text:
            return self._whole.text
        form = self._filled()
        if form == self._form:
            return self._base
        return apply_form(self._base, form).text

    def _filled(self) -> DefinitionForm:
        """The form as it is filled in. What was not touched is as it was read."""
        fields: dict[str, Any] = {"has_command": self._form.has_command}
        for name in _LINES:
            value = self._lines[name].value
            read = str(getattr(self._form, name))
            fields[name] = read if value == _one_line(read) else value.strip()
        for name, editor in (*self._blocks.items(), ("script", self._body)):
            value = editor.text
            read = str(getattr(self._form, name))
            ended = value.rstrip("\n") + "\n" if value.strip() else ""
            fields[name] = read if ended == read else ended
        return DefinitionForm(**fields)

    def show_documents(self, documents: dict[str, str]) -> None:
        self._show(documents.get(_ONE, ""))

    def _show(self, text: str) -> None:
        """In the form if that can be, else as text."""
        if not self.as_text:
            try:
                self._fill(text)
            except DocumentError as error:
                self.add_class("-text")
                self.host.say(f"no form can show this text: {error}", "warning")
        if self.as_text:
            self._whole.show_text(text)
        for editor in (*self._blocks.values(), self._whole):
            editor.read_only = bool(self.fixed_because)
        for line in self._lines.values():
            line.disabled = bool(self.fixed_because)
        self._body.read_only = bool(self.fixed_because) or self._form.has_command

    def _fill(self, text: str) -> None:
        form = read_form(text)
        self._base, self._form = text, form
        for name in _LINES:
            line = self._lines[name]
            value = _one_line(str(getattr(form, name)))
            if line.value != value:
                line.value = value
        for name in _BLOCKS:
            self._blocks[name].show_text(str(getattr(form, name)).rstrip("\n"))
        self._body.show_text(form.script.rstrip("\n"))
        self.query_one("#caption", Note).say(
            " command: starts a program without a shell; F3 shows it"
            if form.has_command
            else " script (bash); F3 shows the whole text"
        )

    def starter(self) -> dict[str, str]:
        return {_ONE: new_definition()}

    def on_input_changed(self, event: Input.Changed) -> None:
        """A field of the form."""
        if (event.input.id or "").startswith("field-"):
            event.stop()
            self.touched()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes to the next field."""
        if (event.input.id or "").startswith("field-"):
            event.stop()
            self.focus_next()

    def outside_text(self) -> str:
        return self.text

    def take_outside(self, text: str) -> None:
        self._show(text)

    def do_view(self) -> None:
        """The other way to see it."""
        text = self.text
        if not self.as_text:
            self.add_class("-text")
            self._whole.show_text(text)
            self._turn()
            return
        try:
            self._fill(text)
        except DocumentError as error:
            self.jump(Finding(line=error.line, column=error.column, severity="error", message=""))
            self.host.say(f"no form can show this text: {error}", "warning")
            return
        self.remove_class("-text")
        self._show(text)
        self._turn()

    def _turn(self) -> None:
        """Show the other side and put the caret there at once: what is typed next belongs to it.

        Styles follow a class only later, and what is not displayed takes no focus.
        """
        self.query_one("#form").display = not self.as_text
        self.query_one("#whole").display = self.as_text
        self.set_focus(self.main_editor)

    # --- the catalogue ---------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Say at once what cannot be changed."""
        if reason := definitions.refusal(self.site.loaded):
            self.fixed_because = reason
        elif self.host.readonly:
            self.fixed_because = "read-only"

    async def look_around(self) -> Around | None:
        if definitions.refusal(self.site.loaded):
            found = await definitions.definition(self.site.loaded, self.text_name)
            self._path = found.path
            return Around(newest=Kept(revision=0, documents={_ONE: found.source}))
        return await self.site.read(self._ask_store)

    async def _ask_store(self, store: Any) -> Around:
        found = await definitions.editable(store, self.text_name)
        if found is None:
            raise UsageError(f"job definition {self.text_name!r} is not there any more")
        active = (await definitions.active_revisions(store)).get(self.text_name, 0)
        offered = f"Revision {active} is offered now." if active else "It is not offered now."
        return Around(
            newest=Kept(revision=found.revision, documents={_ONE: found.source}),
            remarks=(f"{offered} The new one is from now on; jobs keep the revision of their offer.",),
        )

    def _take(self, kept: Kept, documents: dict[str, str]) -> None:
        start, self._start = self._start, None
        super()._take(kept, documents)
        if start is not None:
            self._show(start)

    @property
    def _new_name(self) -> str:
        definition = check_definition(self.text).definition
        return definition.name if definition else self.text_name

    def remarks(self) -> list[str]:
        name = self._new_name
        if self.text_name and name != self.text_name:
            return [f"It has another name: {said(name, 60)} is a new definition, {self.text_name} stays."]
        return list(self.around.remarks) or ["It is offered from now on."]

    async def keep(self, documents: dict[str, str], expected: int | None) -> Saved:
        text, loaded = documents[_ONE], self.site.loaded
        name = self._new_name
        if name != self.text_name:
            expected = 0
        done = await self.site.write(lambda store: definitions.save_definition(loaded, store, text, expected))
        if isinstance(done, definitions.DefinitionConflict):
            theirs = Kept(revision=done.newest.revision, documents={_ONE: done.newest.source})
            if name != self.text_name:
                raise UsageError(f"there is a job definition {said(name, 60)} already: choose another name")
            return Saved(answer=done.text, kept=theirs, conflict=True)
        await self._drop_draft()
        self.text_name = name
        if not self.as_text:
            self._fill(text)
        return Saved(
            answer=f"job {done.name} {done.version}, revision {done.revision}, is offered",
            kept=Kept(revision=done.revision, documents=documents),
        )

    def save_line(self) -> str:
        return f"{self.cli('job', 'add', '-')}  # the text of the editor"

    # --- checking --------------------------------------------------------------------------------

    def inspect(self, documents: dict[str, str]) -> tuple[list[Finding], Any]:
        return check_definition(documents[_ONE]).findings, None

    def jump(self, finding: Finding) -> None:
        line, column = finding.line or 1, finding.column or 1
        if self.as_text:
            self.main_editor.focus()
            self.main_editor.move_to(line, column)
            return
        field, within = field_at(self.text, line)
        if finding.script_line or field == "script":
            editor = self._body
            editor.focus()
            editor.move_to(finding.script_line or max(within, 1))
        elif field in _LINES:
            self._lines[field].focus()
        elif field in _BLOCKS:
            block = self._blocks[field]
            block.focus()
            block.move_to(max(within, 1))
        else:
            self.do_view()
            self.main_editor.move_to(line, column)

    # --- acts ------------------------------------------------------------------------------------

    def reason(self, act: Act) -> str:
        """A file is edited where it is."""
        if act.id == "editor.external" and self._path and not self.host.readonly:
            return ""
        return super().reason(act)

    async def _edit_outside(self) -> None:
        if not self._path:
            await super()._edit_outside()
            return
        from pathlib import Path

        from caroni.tui.handoff import editor_command, run_editor

        await run_editor(self.app, editor_command(), Path(self._path))
        found = definitions.from_file(Path(self._path))
        self.kept = Kept(revision=0, documents={_ONE: found.source})
        self._show(found.source)
        self._checks.touch(at_once=True)
        self.host.say("the agent takes the file when it is restarted")

    def do_try(self) -> None:
        """Open the test run of the text as it is now."""
        from caroni.tui.screens.testrun import TestRunScreen

        checked = check_definition(self.text)
        if checked.definition is None:
            first = next(finding for finding in checked.findings if finding.severity == "error")
            self.jump(first)
            self.host.say(f"it cannot run yet: {first.message}", "warning")
            return
        self.host.open(TestRunScreen(self.site, self.text_name or checked.definition.name, self.text))


class _Label(Note):
    """What a field is called."""

    DEFAULT_CSS = "_Label { width: 10; }"


def _one_line(value: str) -> str:
    """As a field of one line shows it."""
    return " ".join(value.split("\n")).strip()
