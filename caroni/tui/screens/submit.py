"""Beginning a workflow: a form made of a template's typed inputs, checked while it is typed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import ContentSwitcher, Input, Static

from caroni.core.cwltypes import describe, is_optional
from caroni.core.messages import Json
from caroni.core.plan import CwlType, Plan, WorkflowInput
from caroni.errors import UsageError
from caroni.services.arguments import typed_arguments
from caroni.services.control import LeftForLater
from caroni.services.following import template_plan
from caroni.services.submitting import MAX_NAME, submit
from caroni.services.templates import Overview, overview
from caroni.services.words import ago, plural
from caroni.tui.acts import Act
from caroni.tui.glyphs import look
from caroni.tui.paint import said
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.site import Site
from caroni.tui.widgets.note import Note
from caroni.tui.widgets.table import Column, Line, LineTable

if TYPE_CHECKING:
    from caroni.model.store import Store

#: characters of a default that are shown
_SHOWN = 60


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to be chosen from, or the plan of what was chosen."""

    templates: tuple[Overview, ...] = ()
    plan: Plan | None = None
    revision: int = 0


class Entry(Vertical):
    """One input: its name and type, what is typed, and below what is wrong with it or stands in for it."""

    DEFAULT_CSS = """
    Entry { height: auto; }
    Entry Horizontal { height: 1; }
    Entry .name { width: 36%; max-width: 44; }
    Entry Input { width: 1fr; }
    Entry .word { height: auto; color: $text-muted; margin-left: 2; }
    Entry.-wrong .word { color: $text-error; }
    """

    def __init__(self, wanted: WorkflowInput, text: str = "") -> None:
        super().__init__()
        self.wanted = wanted
        self._typed = text
        #: JSON text; empty where the default stands in
        self.value: Json = ""
        self.fault = ""
        self._judge(text)

    def compose(self) -> ComposeResult:
        name = f"{self.wanted.name} ({describe(self.wanted.type)})"
        with Horizontal():
            yield Static(said(name, 200), classes="name", markup=False)
            yield Input(self._typed, compact=True)
        yield Static("", classes="word", markup=False)

    def on_mount(self) -> None:
        """Say what there is."""
        self.check(self._typed)

    def _judge(self, text: str) -> None:
        wanted, self.value, self.fault = self.wanted, "", ""
        if text.strip():
            pair, types = f"{wanted.name}={text}", {wanted.name: wanted.type}
            try:
                self.value = typed_arguments([pair], types, directory=Path.cwd())[wanted.name]
            except UsageError as error:
                self.fault = str(error).removeprefix(f"--input {wanted.name}").removeprefix(": ")
        elif wanted.default is None and not is_optional(wanted.type):
            self.fault = f"is needed: {self._how()}"

    def check(self, text: str) -> None:
        """Take what is typed; empty means that the default stands in."""
        self._judge(text)
        wrong = bool(self.fault) and bool(text.strip())
        self.set_class(wrong, "-wrong")
        sign = look("failed" if wrong else "waiting" if self.fault else "done").glyph
        doc = " ".join(self.wanted.doc.split())
        if self.fault:
            words = f"{sign} {self.fault}{f' - {doc}' if doc and not wrong else ''}"
        elif text.strip():
            words = f"{sign} {doc}"
        else:
            words = f"{self._stands_in()}{f' - {doc}' if doc else ''}"
        self.query_one(".word", Static).update(said(words, 300))

    def _stands_in(self) -> str:
        if self.wanted.default is not None:
            return f"default: {self.wanted.default[:_SHOWN]}"
        return f"may stay empty, or {self._how()}"

    def _how(self) -> str:
        """How such a value is written here."""
        type_ = self.wanted.type
        members = [one for one in (type_ if isinstance(type_, list) else [type_]) if one != "null"]
        if len(members) == 1 and members[0] in ("File", "Directory"):
            return f"the path of a {str(members[0]).lower()} on this host, or a URI"
        if any(isinstance(one, dict) and one.get("type") != "enum" for one in members):
            return f"{describe(type_)} as JSON"
        return describe(members[0] if len(members) == 1 else type_)


def as_typed(value: Json, type_: CwlType) -> str:
    """How a value would be typed into the form; nothing for null."""
    if value.strip() == "null":
        return ""
    members = type_ if isinstance(type_, list) else [type_]
    plain = any(one == "string" or (isinstance(one, dict) and one.get("type") == "enum") for one in members)
    decoded = msgspec.json.decode(value)
    return decoded if plain and isinstance(decoded, str) else value


class SubmitScreen(ConsoleScreen):
    """First the templates, then the form of the one that was chosen."""

    NAME = "submit"
    PERIOD = 2.0
    FINDS = False

    DEFAULT_CSS = """
    SubmitScreen #form { height: 1fr; padding: 0 1; }
    SubmitScreen #form #head { text-style: bold; }
    SubmitScreen ContentSwitcher { height: 1fr; }
    """

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("submit.go", "ctrl+s", "submit", "Begin the workflow", writes=True, priority=True),
        Act("submit.next", "down", "next", "The next input", show=False),
        Act("submit.previous", "up", "previous", "The input before", show=False),
    )

    def __init__(
        self, site: Site, template: str = "", *, values: Mapping[str, Json] | None = None, name: str = ""
    ) -> None:
        """``values`` are JSON texts by input, e.g. those of another workflow."""
        super().__init__(site)
        self.template = template
        self._values = dict(values or {})
        self._first_name = name
        self._chose_here = not template
        self._revision = 0
        self._plan: Plan | None = None
        self._sent = False
        self._known: dict[tuple[str, int], Overview] = {}

    def crumb(self) -> str:
        return f"submit {said(self.template, 40)}" if self.template else self.NAME

    def body(self) -> ComposeResult:
        columns = [
            Column("TEMPLATE", 20, grow=2),
            Column("REV", 4, right=True),
            Column("STEPS", 6, right=True),
            Column("RUNNING", 8, right=True),
            Column("ADDED", 14),
        ]
        with ContentSwitcher(initial="form" if self.template else "choose"):
            yield LineTable(
                columns,
                empty="No templates yet. esc goes back, 6 is where templates are made.",
                classes="main",
                id="choose",
            )
            with Vertical(id="form"):
                yield Note("Reading the template ...", id="head")
                yield VerticalScroll(id="entries", can_focus=False)
                yield Note(id="state", dim=True)

    # --- reading and painting --------------------------------------------------------------------

    async def fetch(self) -> Snapshot:
        if self.template:
            if self._plan is None:
                self._plan = await self._read_plan()
            return Snapshot(plan=self._plan, revision=self._revision)

        async def look(store: Store) -> list[Overview]:
            return await overview(store, self._known)

        found = await self.site.read(look)
        self._known = {(one.name, one.revision): one for one in found}
        return Snapshot(templates=tuple(found))

    async def _read_plan(self) -> Plan:
        import asyncio

        from caroni.cwl import plan_from_json

        async def look(store: Store) -> tuple[str | None, int]:
            row = await store.template(self.template)
            return (await template_plan(store, row.name, row.revision), row.revision) if row else (None, 0)

        text, revision = await self.site.read(look)
        if text is None:
            raise UsageError(f"there is no template {said(self.template, 60)!r}; esc goes back")
        self._revision = revision
        return await asyncio.to_thread(plan_from_json, text)

    def paint(self, snapshot: Snapshot) -> None:
        if snapshot.plan is None:
            now = self.host.now()
            self.query_one("#choose", LineTable).set_rows(
                [
                    Line(one.name, (one.name, str(one.revision), str(one.steps), str(one.running),
                                    ago(one.created_at, now)))
                    for one in snapshot.templates
                ]
            )  # fmt: skip
        elif not self.query("#entries Entry"):
            self._show_form(snapshot.plan)

    def _show_form(self, plan: Plan) -> None:
        self.query_one("#head", Note).say(
            f"{self.template}, revision {self._revision}: {plural(len(plan.steps), 'step')}."
            " enter: next, ctrl+s: submit"
        )
        own = WorkflowInput(
            name="its name", type=["null", "string"], doc="what people will call this workflow"
        )
        entries = [Entry(own, self._first_name)]
        entries += [Entry(one, as_typed(self._values.get(one.name, "null"), one.type)) for one in plan.inputs]
        scroll = self.query_one("#entries", VerticalScroll)
        mounted = scroll.mount_all(entries)

        async def focus() -> None:
            await mounted  # on a busy host a refresh may come before
            self._focus_first()

        self.call_next(focus)

    def _focus_first(self) -> None:
        boxes = list(self.query("#entries Input").results(Input))
        if boxes:
            boxes[min(1, len(boxes) - 1)].focus()
        self._say_state()

    @on(LineTable.Chosen)
    def _choose(self, event: LineTable.Chosen) -> None:
        self.template = str(event.key)
        self.set_focus(None)  # the table that hides would take the focus along
        self.query_one(ContentSwitcher).current = "form"
        self.refetch()

    @on(Input.Changed, "#entries Input")
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        entry = event.input.query_ancestor(Entry)
        entry.check(event.value)
        self._say_state()

    @on(Input.Submitted, "#entries Input")
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        boxes = list(self.query("#entries Input").results(Input))
        place = boxes.index(event.input)
        if place + 1 < len(boxes):
            boxes[place + 1].focus()
        else:
            self.run_worker(self.action_act("submit.go"))

    def _entries(self) -> list[Entry]:
        return list(self.query("#entries Entry").results(Entry))

    def _say_state(self) -> None:
        faults = [entry for entry in self._entries() if entry.fault]
        if faults:
            names = ", ".join(entry.wanted.name for entry in faults[:4])
            more = ", ..." if len(faults) > 4 else ""
            words = f"─ {plural(len(faults), 'input')} to be looked at: {names}{more}"
        else:
            words = "─ ready: ctrl+s begins the workflow"
        self.query_one("#state", Note).say(words)

    def leave(self) -> bool:
        if self.template and self._chose_here and not self._sent:
            self.template, self._plan = "", None
            self.query_one("#entries", VerticalScroll).remove_children()
            switcher = self.query_one(ContentSwitcher)
            switcher.current = "choose"
            self.query_one("#choose", LineTable).focus()
            self.refetch()
            return False
        return True

    # --- acts ------------------------------------------------------------------------------------

    def reason(self, act: Act) -> str:
        """What is still wrong."""
        if act.id == "screen.find":
            return "there is nothing to find in a form"
        if act.id != "submit.go":
            return ""
        if self._plan is None:
            return "choose a template first"
        if self._sent:
            return "it is on its way"
        faults = [entry for entry in self._entries() if entry.fault]
        if faults:
            return f"{faults[0].wanted.name}: {faults[0].fault}"
        return ""

    def do_next(self) -> None:
        """The next input."""
        if self.template:
            self.focus_next(Input)

    def do_previous(self) -> None:
        """The one before."""
        if self.template:
            self.focus_previous(Input)

    def do_go(self) -> None:
        """Submit."""
        name_entry, *entries = self._entries()
        name = name_entry.query_one(Input).value.strip()[:MAX_NAME]
        values = {entry.wanted.name: entry.value for entry in entries if entry.value}
        words = ["submit", self.template]
        for key, value in values.items():
            words += ["--input", f"{key}={value}"]
        if name:
            words += ["--name", name]
        self._sent = True
        self.do(f"submit {said(self.template, 40)}", self.cli(*words), lambda: self._give(name, values))

    async def _give(self, name: str, values: dict[str, Json]) -> str:
        loaded, template, revision = self.site.loaded, self.template, self._revision
        try:
            made = await self.site.write(
                lambda store: submit(loaded, store, template, values, revision=revision, name=name)
            )
        except LeftForLater:
            if self.is_current:
                self.host.back()  # the command stays: given again it would begin a second workflow
            raise
        except BaseException:
            self._sent = False
            raise
        if self.is_current:
            from caroni.tui.screens.workflow import WorkflowScreen

            self.host.switch_screen(WorkflowScreen(self.site, made.workflow, made.name))
        return f"workflow {made.workflow[:12]} has begun"
