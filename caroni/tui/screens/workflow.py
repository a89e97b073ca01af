"""One workflow, live: its rail, its steps, its values, what happened to it, and its documents."""

from __future__ import annotations

import time
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import ContentSwitcher

from caroni.services.following import StepNow, steps_since, values_of
from caroni.services.happenings import happenings
from caroni.services.templates import template_of
from caroni.services.why import why
from caroni.services.words import plural
from caroni.services.workflows import WorkflowShown
from caroni.tui import glyphs, workflowtext
from caroni.tui.acts import Act
from caroni.tui.opening import open_again, open_log, open_trace
from caroni.tui.paint import BOLD, DIM, PLAIN
from caroni.tui.pictures import Picture, picture_of
from caroni.tui.rail.drawing import Drawing
from caroni.tui.rail.steps import ENDED, StepView
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.site import Site
from caroni.tui.steering import Target, hindrance, steer
from caroni.tui.widgets.lines import Lines, Styled
from caroni.tui.widgets.note import Note
from caroni.tui.widgets.rail import Rail
from caroni.tui.widgets.steptable import StepTable
from caroni.tui.widgets.tabs import TabLine

_TABS = ("Rail", "Steps", "I/O", "Events", "CWL")
#: pages of changes that one look takes
_PAGES = 10
#: seconds for which an explanation of the same step is kept; in a large workflow, where it looks at many
#: rows, longer, and longer still where no step has changed
_KEEP_WHY, _LARGE, _KEEP_LARGE, _KEEP_STILL = 0.9, 1000, 4.0, 12.0


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found. Steps that changed wait on the screen: while it is frozen none may be lost."""

    workflow: WorkflowShown
    picture: Picture
    #: of which row the words are
    members: tuple[int, ...] = ()
    pane: tuple[Styled, ...] = ()
    detail: str = ""
    tab: str = ""
    text: tuple[Styled, ...] | None = None


class WorkflowScreen(ConsoleScreen):
    """Follows a workflow by its change numbers: what did not change is not read again."""

    NAME = "workflow"

    DEFAULT_CSS = """
    WorkflowScreen #pane { width: 42%; max-width: 70; border-left: solid $panel; padding-left: 1; }
    WorkflowScreen.-narrow #pane { display: none; }
    WorkflowScreen #detail { display: none; }
    WorkflowScreen.-narrow #detail { display: block; }
    WorkflowScreen ContentSwitcher { height: 1fr; }
    """

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("workflow.next-tab", "right_square_bracket", "tabs", "The next tab; [ goes back"),
        Act("workflow.previous-tab", "left_square_bracket", "tab", "The tab before", show=False),
        Act("workflow.log", "l", "log", "What the step's job wrote"),
        Act("workflow.trace", "t", "trace", "The messages about the step"),
        Act("workflow.again", "A", "again", "Begin one more with the same inputs", writes=True, show=False),
        Act("workflow.pause", "p", "pause", "Ask for nothing new, or go on again", writes=True),
        Act("workflow.retry", "r", "retry", "Try the step at once; on others, all that wait", writes=True),
        Act("workflow.cancel", "c", "cancel", "Stop the workflow for good", writes=True, show=False),
        Act("workflow.give-up", "C", "give up", "Let this step fail for good", writes=True, show=False),
    )

    def __init__(self, site: Site, workflow: str, name: str = "") -> None:
        super().__init__(site)
        self.workflow = workflow
        self._uuid = bytes.fromhex(workflow)
        self._title = name or workflow[:12]
        self._row: WorkflowShown | None = None
        self._picture: Picture | None = None
        self._rev = 0
        #: steps that were read and are not painted yet
        self._unpainted: dict[int, StepView] = {}
        #: the last explanation: of which row, when, after which change, its lines and the short form
        self._why: tuple[tuple[int, ...], float, int, list[Styled], str] = ((), 0.0, 0, [], "")
        self._text_of: tuple[str, int] = ("", -1)
        self._drawn: Drawing | None = None
        #: the cursor was put on what matters most
        self._placed = False

    def crumb(self) -> str:
        return self._title

    def body(self) -> ComposeResult:
        yield TabLine(_TABS, id="tabs")
        with ContentSwitcher(initial="tab-rail"):
            with Horizontal(id="tab-rail"):
                yield Rail(empty="This workflow has no steps.", classes="main")
                yield Lines(wrap=True, id="pane")
            yield StepTable(id="tab-steps", classes="main")
            yield Lines(wrap=True, empty="Looking ...", id="tab-io", classes="main")
            yield Lines(empty="Looking ...", follow=True, id="tab-events", classes="main")
            yield Lines(empty="Looking ...", id="tab-cwl", classes="main")
        yield Note(id="detail")

    def on_mount(self) -> None:
        """Let times go on between two looks."""
        if not self.host.slow:  # there they go on with what is read
            self.set_interval(1.0, self._tick)

    def _tick(self) -> None:
        if self.is_current and not self.frozen:
            now = self.host.now()
            self.query_one(Rail).set_now(now)
            if self._tab == "Steps":
                self.query_one(StepTable).set_now(now)

    # --- reading ---------------------------------------------------------------------------------

    async def fetch(self) -> Snapshot:
        for _ in range(_PAGES):
            look = await self.site.read(lambda store: steps_since(store, self._uuid, self._rev))
            row = look.workflow
            if self._picture is None:
                self._picture = await picture_of(self.site, self._uuid, row.template, row.revision)
            for step in look.steps:
                self._unpainted[step.index] = self._view(self._picture, step)
            self._rev = look.rev
            if not look.more:
                break
        picture = self._picture
        assert picture is not None
        self._row = row
        members = self._members()
        pane, detail = await self._explained(members, picture, row)
        tab = self._tab
        return Snapshot(
            workflow=row,
            picture=picture,
            members=members,
            pane=tuple(pane),
            detail=detail,
            tab=tab,
            text=await self._text(tab, picture, row),
        )

    @staticmethod
    def _view(picture: Picture, step: StepNow) -> StepView:
        known = step.index < len(picture.names)
        return StepView(
            index=step.index,
            name=picture.names[step.index] if known else f"step {step.index}",
            state=step.state,
            agent=step.agent,
            attempt=step.attempt,
            attempts=picture.attempts[step.index] if known else 0,
            started_at=step.started_at,
            ended_at=step.ended_at,
            exit_code=step.exit_code,
            info=step.info,
        )

    async def _explained(
        self, members: tuple[int, ...], picture: Picture, row: WorkflowShown
    ) -> tuple[list[Styled], str]:
        """Why the cursor's step is as it is; kept for a while, because it looks at the whole workflow."""
        if len(members) != 1 or self._tab not in ("Rail", "Steps"):
            return [], ""
        of, at, rev, pane, detail = self._why
        keep = _KEEP_WHY
        if len(picture.names) > _LARGE:
            keep = _KEEP_STILL if rev == self._rev else _KEEP_LARGE
        if of == members and (time.monotonic() - at < keep or (rev == self._rev and row.state in ENDED)):
            return pane, detail
        name, plan = picture.names[members[0]], await picture.whole_plan()
        found = await self.site.read(
            lambda store: why(
                self.site.loaded,
                store,
                self._uuid,
                step=name,
                plans={(row.template, row.revision): plan},
                at=self.host.now(),
            )
        )
        pane, detail = workflowtext.of_step(found), workflowtext.in_a_line(found, name)
        self._why = (members, time.monotonic(), self._rev, pane, detail)
        return pane, detail

    async def _text(self, tab: str, picture: Picture, row: WorkflowShown) -> tuple[Styled, ...] | None:
        """The text of a tab that is one; ``None``: as before."""
        if self._text_of == (tab, self._rev) or tab in ("Rail", "Steps"):
            return None
        if tab == "I/O":
            plan = await picture.whole_plan()
            inputs, outputs = await self.site.read(lambda store: values_of(store, self._uuid, plan))
            lines = workflowtext.of_values(plan, inputs, outputs)
        elif tab == "Events":
            found = await self.site.read(lambda store: happenings(store, self._uuid))
            lines = workflowtext.of_happenings(found, self.host.now())
        elif self._text_of[0] == tab:
            return None
        elif not picture.whole:
            lines = [(f"The template {row.template}, revision {row.revision}, is gone.", DIM)]
        else:
            _, documents = await self.site.read(lambda store: template_of(store, row.template, row.revision))
            lines = []
            for name, text in documents.items():
                lines += [(f"# {name}, revision {row.revision}", BOLD), *text.splitlines(), ""]
        self._text_of = (tab, self._rev)
        return tuple(lines)

    # --- painting --------------------------------------------------------------------------------

    def paint(self, snapshot: Snapshot) -> None:
        rail, table = self.query_one(Rail), self.query_one(StepTable)
        now = self.host.now()
        rail.set_now(now)
        if snapshot.picture.drawing is not self._drawn:
            self._drawn = snapshot.picture.drawing
            rail.set_view(snapshot.picture.drawing)
            table.set_graph(snapshot.picture.drawing.view.graph)
        steps, self._unpainted = self._unpainted, {}
        rail.set_steps(steps)
        if not self._placed and steps:
            self._placed = True
            rail.select_first("failed", "held", "running")
        table.take(steps)
        if self._tab == "Steps":
            table.show(now)
        self._status(snapshot.workflow)
        members = self._members()
        if snapshot.members == members:
            self._show_detail(members, snapshot)
        if snapshot.text is not None and snapshot.tab in _SHOWN_AS:
            self.query_one(f"#{_SHOWN_AS[snapshot.tab]}", Lines).set_lines(snapshot.text)

    def _show_detail(self, members: tuple[int, ...], snapshot: Snapshot) -> None:
        pane, note, rail = (
            self.query_one("#pane", Lines),
            self.query_one("#detail", Note),
            self.query_one(Rail),
        )
        if len(members) == 1:
            pane.set_lines(snapshot.pane)
            note.say(f"─ {snapshot.detail}" if snapshot.detail else "")
        elif members:
            lines = workflowtext.of_group(rail.group, members, rail.steps.by_index)
            pane.set_lines(lines)
            note.say(f"─ {lines[0][0] if isinstance(lines[0], tuple) else lines[0]}")
        else:
            pane.set_lines(())
            note.say("")

    def _status(self, row: WorkflowShown) -> None:
        self._title = row.name or row.workflow[:12]
        paused = row.paused and row.state not in ENDED
        mark = glyphs.mark("workflow", "paused" if paused else row.state)
        counts = self.query_one(Rail).steps.totals
        done = counts["completed"]
        parts = [(f"{mark.text} {done}/{row.steps_total}", mark.style)]
        for state in ("failed", "held", "running"):
            if counts[state]:
                one = glyphs.mark("step", state)
                parts.append((f"  {one.glyph}{counts[state]}", one.style))
        caption = self.query_one(Rail).caption
        if self._tab == "Rail" and self.size.width >= 80:
            parts.append((f"  {caption}{', * longest chain' if self.size.width >= 100 else ''}", DIM))
        elif row.failure:
            parts.append((f"  {row.failure}", PLAIN))
        self.query_one(TabLine).say(parts)

    @property
    def _tab(self) -> str:
        return self.query_one(TabLine).chosen

    def _members(self) -> tuple[int, ...]:
        if self._tab == "Steps":
            step = self.query_one(StepTable).step
            return (step,) if step >= 0 else ()
        return self.query_one(Rail).members

    # --- messages --------------------------------------------------------------------------------

    @on(Rail.Moved)
    @on(StepTable.Moved)
    def _moved(self) -> None:
        members, rail = self._members(), self.query_one(Rail)
        if len(members) == 1:
            step = rail.steps.by_index[members[0]]
            self.query_one("#detail", Note).say(f"─ {step.name}: {step.state}" if step is not None else "")
        self.refetch()

    @on(Rail.Viewed)
    def _viewed(self) -> None:
        if self._row is not None:
            self._status(self._row)

    @on(Rail.Opened)
    def _opened(self, event: Rail.Opened) -> None:
        self._open_step(event.step)

    @on(StepTable.Chosen)
    def _chosen(self, event: StepTable.Chosen) -> None:
        if isinstance(event.key, int):
            self._open_step(event.key)

    @on(Lines.Scrolled, "#tab-events")
    def _scrolled(self, event: Lines.Scrolled) -> None:
        event.lines.follow = event.at_end

    @on(TabLine.Picked)
    def _picked(self, event: TabLine.Picked) -> None:
        self._show_tab(event.name)

    def _open_step(self, step: int) -> None:
        from caroni.tui.screens.step import StepScreen

        if self._picture is not None and self._row is not None:
            self.host.open(StepScreen(self.site, self._row, self._picture, step))

    def _show_tab(self, name: str) -> None:
        self.query_one(TabLine).choose(name)
        switcher = self.query_one(ContentSwitcher)
        switcher.current = _IDS[name]
        target = self.query_one(Rail) if name == "Rail" else self.query_one(f"#{_IDS[name]}")
        target.focus()
        if name == "Steps":
            self.query_one(StepTable).show(self.host.now())
        if self._row is not None:
            self._status(self._row)
        self._text_of = ("", -1)
        self.refetch()

    # --- finding, closing ------------------------------------------------------------------------

    def find(self, text: str, final: bool) -> None:
        if self._tab == "Rail":
            count = self.query_one(Rail).find(text)
        elif self._tab == "Steps":
            count = self.query_one(StepTable).find(text)
        else:
            count = self.query_one(f"#{_IDS[self._tab]}", Lines).seek(text)
        if final and text:
            self.host.say(f"{plural(count, 'match', 'matches')} for {text}" + ("; n, N" if count > 1 else ""))

    def find_next(self, direction: int) -> None:
        if self._tab == "Rail":
            self.query_one(Rail).find_next(direction)
        elif self._tab == "Steps":
            self.query_one(StepTable).find_next(direction)
        else:
            self.query_one(f"#{_IDS[self._tab]}", Lines).seek_next(direction)

    def leave(self) -> bool:
        return not (self._tab == "Rail" and self.query_one(Rail).show_all())

    # --- acts ------------------------------------------------------------------------------------

    def reason(self, act: Act) -> str:
        """What cannot be steered any more, or has no step under the cursor."""
        row = self._row
        if act.id in ("workflow.log", "workflow.give-up") and self._step() is None:
            return "no step is chosen"
        if act.id == "workflow.log" and not getattr(self._step(), "attempt", 0):
            return "the step has had no job yet"
        if act.what in ("pause", "retry", "cancel", "give_up") and act.id.startswith("workflow."):
            if row is None:
                return "it is not read yet"
            verb = {"give_up": "cancel"}.get(act.what, act.what)
            return hindrance("resume" if verb == "pause" and row.paused else verb, row.state, row.paused)
        return ""

    def _step(self) -> StepView | None:
        members = self._members() if self.is_mounted else ()
        return self.query_one(Rail).steps.by_index[members[0]] if len(members) == 1 else None

    def _target(self, step: str = "") -> list[Target]:
        return [Target(workflow=self.workflow, name=self._row.name if self._row else "", step=step)]

    def do_next_tab(self) -> None:
        """Forward."""
        self._show_tab(self.query_one(TabLine).after(1))

    def do_previous_tab(self) -> None:
        """Backward."""
        self._show_tab(self.query_one(TabLine).after(-1))

    def do_log(self) -> None:
        """Its output."""
        if (step := self._step()) is not None:
            open_log(self, self._uuid, step.index)

    def do_trace(self) -> None:
        """The messages about a step; on a group about the workflow."""
        step = self._step()
        open_trace(self, self.workflow, step.name if step is not None else "")

    def do_pause(self) -> None:
        """Pause or go on."""
        steer(self, "resume" if self._row and self._row.paused else "pause", self._target())

    def do_retry(self) -> None:
        """The step if it is one that can be tried, else all."""
        step = self._step()
        fits = step is not None and (step.state == "held" or (step.state == "waiting" and step.attempt))
        steer(self, "retry", self._target(step.name if step is not None and fits else ""))

    def do_again(self) -> None:
        """The form, with its values."""
        if self._row is not None:
            open_again(self, self._row)

    def do_cancel(self) -> None:
        """The workflow."""
        steer(self, "cancel", self._target())

    def do_give_up(self) -> None:
        """The step alone."""
        if (step := self._step()) is not None:
            steer(self, "cancel", self._target(step.name))


_IDS = {
    "Rail": "tab-rail",
    "Steps": "tab-steps",
    "I/O": "tab-io",
    "Events": "tab-events",
    "CWL": "tab-cwl",
}
_SHOWN_AS = {name: id_ for name, id_ in _IDS.items() if name not in ("Rail", "Steps")}
