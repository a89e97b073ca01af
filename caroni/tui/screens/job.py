"""One job: what it writes to stdout and stderr, followed while it runs, and all that is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.widgets import ContentSwitcher

from caroni.services.jobdetail import JobShown, job_shown
from caroni.services.joblogs import STREAMS
from caroni.services.words import plural
from caroni.tui import glyphs, jobacts, jobtext
from caroni.tui.acts import Act
from caroni.tui.jobacts import JobTarget, hindrance, pause_or_resume
from caroni.tui.joblog import JobLog
from caroni.tui.paint import DIM, PLAIN
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.site import Site
from caroni.tui.widgets.lines import Lines
from caroni.tui.widgets.note import Note
from caroni.tui.widgets.railrow import took
from caroni.tui.widgets.tabs import TabLine

if TYPE_CHECKING:
    from caroni.model.store import Store

_TABS = (*STREAMS, "details")


class _Shown(msgspec.Struct):
    """How a stream stands on the screen: its lines when they were last counted, and those out of sight."""

    lines: int = 0
    fresh: int = 0


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found; what a stream brought waits on the screen, so that none is lost while frozen."""

    job: JobShown
    tab: str


class JobScreen(ConsoleScreen):
    """On its agent the job's files are read; from its manager the agent is asked for their ends."""

    NAME = "job"

    DEFAULT_CSS = "JobScreen ContentSwitcher { height: 1fr; }"

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("job.next-tab", "right_square_bracket", "tabs", "The next tab; [ goes back"),
        Act("job.previous-tab", "left_square_bracket", "tab", "The tab before", show=False),
        Act("job.follow", "ctrl+t", "follow", "Keep the end in sight, or stay where you are"),
        Act("job.kill", "K", "kill", "End the job: the beginning of its id must be typed", writes=True),
        Act("job.pause", "p", "pause", "Suspend the job, or let it go on", writes=True),
        Act("job.trace", "t", "trace", "The messages about its step, or with its manager", show=False),
        Act("job.copy", "y", "copy", "Copy the text to the terminal's clipboard (OSC 52)", show=False),
    )

    def __init__(self, site: Site, peer: str, job_uuid: bytes, tab: str = "") -> None:
        """``tab`` empty: stderr of a job that has failed, else stdout."""
        super().__init__(site)
        self._peer = peer
        self._uuid = job_uuid
        self._wanted_tab = tab
        self._logs: dict[str, JobLog] = {name: JobLog(site, peer, job_uuid, name) for name in STREAMS}
        self._shown_of: dict[str, _Shown] = {name: _Shown() for name in STREAMS}
        self._job: JobShown | None = None
        self._values: tuple[tuple[object, ...], JobShown | None] = ((), None)
        #: the first tab is shown
        self._placed = False

    def crumb(self) -> str:
        return f"job {self._uuid.hex()[:8]}"

    @property
    def period(self) -> float:
        return (0.5 if self.site.role == "agent" else 1.0) * (2 if self.host.slow else 1)

    def body(self) -> ComposeResult:
        yield TabLine(_TABS, id="tabs")
        with ContentSwitcher(initial="tab-stdout"):
            for stream in STREAMS:
                yield Lines(empty="Looking ...", follow=True, id=f"tab-{stream}", classes="main")
            yield Lines(empty="Looking ...", wrap=True, id="tab-details", classes="main")
        yield Note(id="about")

    # --- reading ---------------------------------------------------------------------------------

    async def fetch(self) -> Snapshot:
        tab = self._tab if self._placed else self._wanted_tab
        job = await self.site.read(lambda store: self._shown(store, tab == "details"))
        self._job = job
        tab = tab or ("stderr" if job.state == "failed" else "stdout")
        if tab != "details":
            await self._logs[tab].read()
            self._ask_again(self._logs[tab], job)
        return Snapshot(job=job, tab=tab)

    async def _shown(self, store: Store, values: bool) -> JobShown:
        """The job; its values, which may be many, only when they may have changed."""
        job = await job_shown(self.site.loaded, store, self._peer, self._uuid, values=False)
        if not values:
            return job
        key = (job.state, job.missing, job.ended_at)
        known, before = self._values
        if before is None or known != key:
            before = await job_shown(self.site.loaded, store, self._peer, self._uuid)
            self._values = (key, before)
        return msgspec.structs.replace(job, inputs=before.inputs, outputs=before.outputs)

    def _ask_again(self, log: JobLog, job: JobShown) -> None:
        """Have the agent asked, without waiting for it; written down once, as the command that does it."""
        first = not log.asked
        if not log.is_due(job, slow=self.host.slow):
            return
        words = ("logs", job.job[:12], "--stream", log.stream, "--follow")
        entry = self.host.log_of_commands.begin(self.cli(*words)) if first else None

        async def asking() -> None:
            await log.ask()
            if entry is not None:
                entry.outcome = log.trouble or "its agent is asked, again and again"
            self.refetch()

        self.run_worker(asking(), group=f"ask-{log.stream}", exclusive=True, exit_on_error=True)

    # --- painting --------------------------------------------------------------------------------

    def paint(self, snapshot: Snapshot) -> None:
        if not self._placed:
            self._placed = True
            self._switch(snapshot.tab)
        self._status(snapshot.job)
        for log in self._logs.values():
            self._paint_stream(log, snapshot.job)
        if snapshot.tab == "details":
            lines = jobtext.details(snapshot.job, self.host.now())
            self.query_one("#tab-details", Lines).set_lines(lines)
        self._say()
        self.refresh_bindings()

    def _paint_stream(self, log: JobLog, job: JobShown) -> None:
        lines, shown = self.query_one(f"#tab-{log.stream}", Lines), self._shown_of[log.stream]
        lines.empty = log.nothing(job)
        fresh = log.painted.next(log.text)
        if fresh is None or log.text.count < shown.lines:
            lines.set_lines(log.text.lines)
        else:
            lines.append(*fresh)
        shown.fresh = 0 if lines.follow else shown.fresh + max(log.text.count - shown.lines, 0)
        shown.lines = log.text.count
        lines.refresh()

    def _status(self, job: JobShown) -> None:
        mark = glyphs.mark("job", job.state)
        parts = [(mark.text, mark.style)]
        if job.kill in ("asked", "unreachable"):
            parts.append((f"  kill {job.kill}", glyphs.mark("job", "killed").style))
        if job.pause == "wanted":
            parts.append(("  pausing", glyphs.mark("job", "paused").style))
        if job.exit_code is not None:
            parts.append((f"  exit {job.exit_code}", PLAIN))
        if job.progress and not job.ended:
            parts.append((f"  {job.progress:.0%}", PLAIN))
        if job.position:
            parts.append((f"  place {job.position}", PLAIN))
        parts.append((f"  {took(job.started_at, job.ended_at, self.host.now())}", DIM))
        parts.append((f"  {job.step or job.job_type}", PLAIN))
        self.query_one(TabLine).say(parts)

    def _say(self) -> None:
        self.query_one("#about", Note).say(f"─ {self._about()}")

    def _about(self) -> str:
        job, tab = self._job, self._tab
        if job is None:
            return ""
        if tab == "details":
            return job.info or f"{(job.role == 'manager' and 'on') or 'for'} {job.peer}"
        lines, fresh = self.query_one(f"#tab-{tab}", Lines), self._shown_of[tab].fresh
        parts: list[str] = []
        if not lines.follow:
            parts.append(f"{plural(fresh, 'new line')} below" if fresh else "not following")
            parts[0] += ", ctrl+t follows"
        elif not job.ended:
            parts.append("following")
        return " · ".join([*parts, *self._logs[tab].source(job, self.host.now())])

    # --- tabs and the end --------------------------------------------------------------------------

    @property
    def _tab(self) -> str:
        return self.query_one(TabLine).chosen

    @on(TabLine.Picked)
    def _picked(self, event: TabLine.Picked) -> None:
        self._show_tab(event.name)

    def _show_tab(self, name: str) -> None:
        self._switch(name)
        self._say()
        self.refetch()

    def _switch(self, name: str) -> None:
        self.query_one(TabLine).choose(name)
        self.query_one(ContentSwitcher).current = f"tab-{name}"
        lines = self.query_one(f"#tab-{name}", Lines)
        lines.focus()

    @on(Lines.Scrolled)
    def _scrolled(self, event: Lines.Scrolled) -> None:
        if event.lines.id != "tab-details":
            self._set_follow(event.lines, event.at_end)

    def _set_follow(self, lines: Lines, wanted: bool) -> None:
        lines.follow = wanted
        if wanted:
            self._shown_of[self._tab].fresh = 0
        self._say()

    # --- finding ---------------------------------------------------------------------------------

    def find(self, text: str, final: bool) -> None:
        lines = self.query_one(f"#tab-{self._tab}", Lines)
        found = lines.seek(text)
        if found and lines.id != "tab-details":
            self._set_follow(lines, False)
        if final and text:
            self.host.say(f"{plural(found, 'line')} have it; n and N go on" if found else "no line has it")

    def find_next(self, direction: int) -> None:
        self.query_one(f"#tab-{self._tab}", Lines).seek_next(direction)

    # --- acts ------------------------------------------------------------------------------------

    def _target(self) -> JobTarget | None:
        job = self._job
        if job is None:
            return None
        return JobTarget(
            job=job.job, peer=job.peer, state=job.state, ended=job.ended,
            words=f"{job.step} of {job.workflow_name}" if job.step else job.job_type,
            paused=bool(job.pause), kill_asked=job.kill in ("asked", "unreachable"),
        )  # fmt: skip

    def reason(self, act: Act) -> str:
        """What makes no sense for a job in this state."""
        if act.id == "job.follow":
            return "details have no end to follow" if self.is_mounted and self._tab == "details" else ""
        if act.id not in ("job.kill", "job.pause", "job.trace"):
            return ""
        target = self._target()
        if target is None:
            return "it is not read yet"
        if act.id == "job.trace":
            orphan = target.state == "orphan"
            return "the database does not know which step it is of" if orphan else ""
        return hindrance("kill" if act.id == "job.kill" else pause_or_resume([target]), target)

    def do_next_tab(self) -> None:
        """Forward."""
        self._show_tab(self.query_one(TabLine).after(1))

    def do_previous_tab(self) -> None:
        """Backward."""
        self._show_tab(self.query_one(TabLine).after(-1))

    def do_follow(self) -> None:
        """Follow, or not."""
        lines = self.query_one(f"#tab-{self._tab}", Lines)
        wanted = not lines.follow
        if wanted:
            lines.do_bottom()
        self._set_follow(lines, wanted)
        self.refetch()

    def do_kill(self) -> None:
        """End it."""
        if (target := self._target()) is not None:
            jobacts.steer(self, "kill", [target])

    def do_pause(self) -> None:
        """Suspend it or let it go on."""
        if (target := self._target()) is not None:
            jobacts.steer(self, pause_or_resume([target]), [target])

    def do_trace(self) -> None:
        """Its messages."""
        if self._job is not None:
            jobacts.open_trace_of(self, self._job)

    def do_copy(self) -> None:
        """To the clipboard, where the terminal lets us."""
        self.host.copy_to_clipboard(self.query_one(f"#tab-{self._tab}", Lines).plain)
        self.host.say("copied, if the terminal allows it")
