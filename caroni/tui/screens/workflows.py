"""All workflows of a manager, live: how far they are, what failed, and what can be done to them."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult

from caroni.services.following import PAGE, Listed, Workflows, failed_steps
from caroni.services.workflows import StepOfWorkflow, WorkflowShown
from caroni.tui import glyphs
from caroni.tui.acts import Act
from caroni.tui.opening import open_again, open_trace
from caroni.tui.paint import PLAIN
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.site import Site
from caroni.tui.steering import Target, hindrance, steer
from caroni.tui.widgets.note import Note
from caroni.tui.widgets.railrow import agent_name, took
from caroni.tui.widgets.table import Column, Line, LineTable

#: failed steps that the note names
_NAMED = 4


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found: the list, and the failed steps of the workflow under the cursor."""

    listed: Listed
    chosen: str
    failed: tuple[StepOfWorkflow, ...]
    now: int


class WorkflowsScreen(ConsoleScreen):
    """A row a workflow; the line below names the failed steps of the one under the cursor."""

    NAME = "workflows"

    DEFAULT_CSS = "WorkflowsScreen #failed { margin-top: 0; }"

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("workflows.failed", "f", "failed", "Failed workflows only, or all again"),
        Act("workflows.submit", "a", "submit", "Begin a new workflow", writes=True),
        Act("workflows.again", "A", "again", "Begin one more with the same inputs", writes=True, show=False),
        Act("workflows.pause", "p", "pause", "Ask for nothing new, or go on again", writes=True),
        Act("workflows.retry", "r", "retry", "Try what is held or waits, at once", writes=True),
        Act("workflows.cancel", "c", "cancel", "Stop workflows for good", writes=True),
        Act("workflows.trace", "t", "trace", "The messages of the workflow", show=False),
        Act("workflows.more", "m", "more", f"{PAGE} more workflows", show=False),
    )

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._reader_of_rows = Workflows()
        self._limit = PAGE
        self._text = ""
        self._only_failed = False
        self._more = False
        self._rows: dict[str, WorkflowShown] = {}

    def body(self) -> ComposeResult:
        yield LineTable(_columns(), empty="Looking ...", marks=True, classes="main")
        yield Note(id="failed")

    # --- reading and painting --------------------------------------------------------------------

    async def fetch(self) -> Snapshot:
        table = self.query_one(LineTable)
        chosen = str(table.key or "")
        listed = await self.site.read(
            lambda store: self._reader_of_rows.look(
                store, limit=self._limit, text=self._text, failed=self._only_failed
            )
        )
        row = next((one for one in listed.workflows if one.workflow == chosen), None)
        row = row or (listed.workflows[0] if listed.workflows else None)
        failed: tuple[StepOfWorkflow, ...] = ()
        if row is not None and row.steps.get("failed"):
            uuid = bytes.fromhex(row.workflow)
            failed = tuple(await self.site.read(lambda store: failed_steps(store, uuid, _NAMED)))
        return Snapshot(listed=listed, chosen=row.workflow if row else "", failed=failed, now=self.host.now())

    def paint(self, snapshot: Snapshot) -> None:
        table = self.query_one(LineTable)
        self._rows = {row.workflow: row for row in snapshot.listed.workflows}
        self._more = snapshot.listed.more
        table.empty = self._nothing()
        table.set_rows([_line(row, snapshot.now) for row in snapshot.listed.workflows])
        self._note(snapshot)

    def _nothing(self) -> str:
        if self._text:
            return "No workflow has this in its name, template or id: / for something else, esc for all."
        if self._only_failed:
            return "No workflow has failed: f shows all again."
        if self.host.readonly:
            return "No workflows yet."
        return "No workflows yet. a begins one; 6 shows the templates."

    def _note(self, snapshot: Snapshot) -> None:
        note = self.query_one("#failed", Note)
        row = self._rows.get(snapshot.chosen)
        shown = ("failed only; " if self._only_failed else "") + (f"/{self._text}; " if self._text else "")
        if row is not None and snapshot.failed and row.workflow == self._chosen():
            more = row.steps.get("failed", 0) - len(snapshot.failed)
            words = [_said_of(step) for step in snapshot.failed] + ([f"and {more} more"] if more > 0 else [])
            note.say(f"─ {shown}failed in {row.name or row.workflow[:12]}: {', '.join(words)}")
        elif row is not None and row.failure:
            note.say(f"─ {shown}{row.name or row.workflow[:12]}: {row.failure}")
        elif self._more:
            note.say(f"─ {shown}the {len(self._rows)} that changed last; m shows more")
        else:
            note.say(f"─ {shown}{len(self._rows)} shown" if shown else "")

    def _chosen(self) -> str:
        return str(self.query_one(LineTable).key or "")

    @on(LineTable.Moved)
    def _moved(self) -> None:
        self.refetch()

    @on(LineTable.Chosen)
    def _open(self, event: LineTable.Chosen) -> None:
        from caroni.tui.screens.workflow import WorkflowScreen

        row = self._rows.get(str(event.key))
        if row is not None:
            self.host.open(WorkflowScreen(self.site, row.workflow, row.name))

    def find(self, text: str, final: bool) -> None:
        self._text = text.strip()
        self.refetch()

    def leave(self) -> bool:
        if self._text or self._only_failed:
            self._text, self._only_failed = "", False
            self.refetch()
            return False
        return True

    # --- acts ------------------------------------------------------------------------------------

    def reason(self, act: Act) -> str:
        """Rows that have ended can no more be steered."""
        if act.id == "workflows.more":
            return "" if self._more else "these are all"
        if act.what not in ("pause", "retry", "cancel", "trace", "again"):
            return ""
        rows = self._targets()
        if not rows:
            return "there is no workflow"
        if act.what in ("trace", "again") or len(rows) > 1:
            return ""
        verb = act.what
        if verb == "pause" and rows[0].paused:
            verb = "resume"
        return hindrance(verb, rows[0].state, rows[0].paused)

    def _targets(self) -> list[WorkflowShown]:
        keys = self.query_one(LineTable).chosen() if self.is_mounted else []
        return [self._rows[str(key)] for key in keys if str(key) in self._rows]

    def _steer(self, verb: str) -> None:
        rows = [row for row in self._targets() if not hindrance(verb, row.state, row.paused)]
        steer(self, verb, [Target(workflow=row.workflow, name=row.name) for row in rows])

    def do_pause(self) -> None:
        """Pause those that are not, or resume if all are."""
        rows = self._targets()
        self._steer("resume" if rows and all(row.paused for row in rows) else "pause")

    def do_retry(self) -> None:
        """Try again."""
        self._steer("retry")

    def do_cancel(self) -> None:
        """Stop for good."""
        self._steer("cancel")

    def do_failed(self) -> None:
        """Failed, or all."""
        self._only_failed = not self._only_failed
        self.refetch()

    def do_more(self) -> None:
        """A page more."""
        self._limit += PAGE
        self.refetch()

    def do_submit(self) -> None:
        """The form."""
        from caroni.tui.screens.submit import SubmitScreen

        self.host.open(SubmitScreen(self.site))

    def do_again(self) -> None:
        """The form, with its values."""
        open_again(self, self._targets()[0])

    def do_trace(self) -> None:
        """Its messages."""
        open_trace(self, self._targets()[0].workflow)


def _columns() -> list[Column]:
    done, running, failed = (glyphs.look(name).glyph for name in ("done", "running", "failed"))
    return [
        Column("STATE", 12),
        Column("NAME", 16, grow=3),
        Column("ID", 8, least=100),
        Column("PROGRESS", 15),
        Column(done, 5, right=True),
        Column(running, 4, right=True),
        Column(failed, 4, right=True),
        Column("AGE", 8, right=True),
        Column("FROM", 14, grow=1, least=100),
    ]


def _line(row: WorkflowShown, now: int) -> Line:
    state = "paused" if row.paused and row.state in ("running", "held") else row.state
    mark = glyphs.mark("workflow", state)
    completed, failed = row.steps.get("completed", 0), row.steps.get("failed", 0)
    share = completed / row.steps_total if row.steps_total else 1.0
    active = sum(row.steps.get(name, 0) for name in ("running", "fulfilled"))
    bar = f"{glyphs.bar(share, 10)} {int(share * 100):>3}%"
    red = glyphs.look("failed").style if failed else PLAIN
    return Line(
        key=row.workflow,
        cells=(
            (mark.text, mark.style),
            row.name or row.template,
            row.workflow[:8],
            bar,
            str(completed),
            str(active),
            (str(failed), red),
            took(row.created_at, 0, now),
            agent_name(row.submitter) or "-",
        ),
        sort=(
            mark.word, row.name.casefold(), row.workflow, share, completed, active, failed,
            -row.created_at, row.submitter,
        ),
    )  # fmt: skip


def _said_of(step: StepOfWorkflow) -> str:
    why = f"exit {step.exit_code}" if step.exit_code else step.info
    agent = f" ({agent_name(step.agent)})" if step.agent else ""
    return f"{step.name} {why}{agent}".rstrip()
