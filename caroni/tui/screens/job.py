"""One job: what it writes to stdout and stderr, followed while it runs, and all that is known of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.widgets import ContentSwitcher

from caroni.errors import CaroniError, CommandRefused
from caroni.services.control import LeftForLater
from caroni.services.jobdetail import JobShown, job_shown
from caroni.services.joblogs import STREAMS, LogPart, Stream, ask, part
from caroni.services.words import ago, plural, size
from caroni.tui import glyphs, jobacts, jobtext
from caroni.tui.acts import Act
from caroni.tui.jobacts import JobTarget, hindrance, pause_or_resume
from caroni.tui.logtext import Painted, StreamText
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
#: bytes of the end that are shown at first, and that one look may take
_AT_FIRST, _AT_ONCE = 256 * 1024, 1024 * 1024
#: seconds between two questions to the agent: while it writes, on a slow line, where it is quiet or refuses
_ASK, _ASK_SLOW, _ASK_QUIET, _ASK_REFUSED = 2.0, 10.0, 15.0, 30.0
#: seconds after which its silence is spoken of
_SILENT = 6.0


class _Log:
    """A stream: its text so far, how much of that is painted, and how the last look went."""

    def __init__(self) -> None:
        self.text = StreamText()
        self.painted = Painted()
        #: where the next part begins; -1: nothing was read yet
        self.next = -1
        #: lines that came while the end was not followed
        self.fresh = 0
        self.last: LogPart | None = None
        self.lines_before = 0
        #: what stood in the way of asking
        self.trouble = ""
        self.asked = 0.0
        self.asked_after_end = False
        #: questions in a row that brought nothing new
        self.quiet = 0
        self.taken_then = 0


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
        self._logs: dict[str, _Log] = {stream: _Log() for stream in STREAMS}
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
            stream: Stream = "stderr" if tab == "stderr" else "stdout"
            await self._read_on(stream)
            self._ask_again(stream, job)
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

    async def _read_on(self, stream: Stream) -> None:
        log = self._logs[stream]
        taken = 0
        while taken < _AT_ONCE:
            found = await self._part(stream, log.next if log.next >= 0 else -_AT_FIRST)
            if log.last is not None and (found.total < 0) is not (log.last.total < 0) and log.text.taken:
                self._logs[stream] = log = _anew(log)  # its end alone is known now, counted anew
                continue
            if found.total - found.offset > 2 * _AT_ONCE:
                found = await self._part(stream, -_AT_FIRST)  # more than anybody reads: go on near the end
            self._gap(log, found)
            log.last, log.next = found, found.offset + len(found.data)
            log.text.feed(found.data)
            taken += len(found.data)
            if not found.data or (found.total >= 0 and log.next >= found.total):
                return

    async def _part(self, stream: Stream, offset: int) -> LogPart:
        return await self.site.read(
            lambda store: part(self.site.loaded, store, self._peer, self._uuid, stream, offset)
        )

    @staticmethod
    def _gap(log: _Log, found: LogPart) -> None:
        if found.total < 0:
            return
        if log.next < 0 and found.offset:
            log.text.note(f"... {size(found.offset)} before this ...")
        elif 0 <= log.next < found.offset:
            log.text.note(f"... {size(found.offset - log.next)} are not shown ...")

    def _ask_again(self, stream: Stream, job: JobShown) -> None:
        """Have the agent asked for the end, of a running job now and then, of an ended one once."""
        log = self._logs[stream]
        if self.site.role != "manager" or self.host.readonly or job.state == "orphan":
            return
        if log.asked and (time.monotonic() - log.asked < self._pause(log) or log.asked_after_end):
            return
        log.quiet = 0 if log.text.taken != log.taken_then else log.quiet + 1
        log.taken_then = log.text.taken
        first, log.asked, log.asked_after_end = not log.asked, time.monotonic(), job.ended
        entry = None
        if first:
            words = ("logs", job.job[:12], "--stream", stream, "--follow")
            entry = self.host.log_of_commands.begin(self.cli(*words))
            entry.outcome = "asks the agent, again and again"

        async def asking() -> None:
            try:
                await self.site.write(
                    lambda store: ask(self.site.loaded, store, self._peer, self._uuid, stream)
                )
                log.trouble = ""
            except (CommandRefused, LeftForLater) as error:
                log.trouble = str(error)
            except CaroniError as error:
                log.trouble = f"not asked: {error}"
            if entry is not None and log.trouble:
                entry.outcome = log.trouble
            self.refetch()

        self.run_worker(asking(), group=f"ask-{stream}", exclusive=True, exit_on_error=True)

    def _pause(self, log: _Log) -> float:
        """Seconds between two questions: fewer of them where there is nothing new, or where it is refused."""
        if log.trouble or (log.last is not None and log.last.refusal):
            return _ASK_REFUSED
        least = _ASK_SLOW if self.host.slow else _ASK
        return min(least * 1.3 ** min(log.quiet, 20), max(_ASK_QUIET, least))

    # --- painting --------------------------------------------------------------------------------

    def paint(self, snapshot: Snapshot) -> None:
        if not self._placed:
            self._placed = True
            self._switch(snapshot.tab)
        self._status(snapshot.job)
        for stream in STREAMS:
            self._paint_stream(stream, snapshot.job)
        if snapshot.tab == "details":
            lines = jobtext.details(snapshot.job, self.host.now())
            self.query_one("#tab-details", Lines).set_lines(lines)
        self._say()
        self.refresh_bindings()

    def _paint_stream(self, stream: str, job: JobShown) -> None:
        log = self._logs[stream]
        if log.last is None:
            return
        lines = self.query_one(f"#tab-{stream}", Lines)
        lines.empty = self._nothing(log, job)
        before = log.lines_before
        log.lines_before = log.text.count
        fresh = log.painted.next(log.text)
        if fresh is None or log.text.count < before:
            lines.set_lines(log.text.lines)
        else:
            lines.append(*fresh)
        log.fresh = 0 if lines.follow else log.fresh + max(log.text.count - before, 0)
        lines.refresh()

    @staticmethod
    def _nothing(log: _Log, job: JobShown) -> str:
        last = log.last
        assert last is not None
        if last.refusal:
            return "The agent gives no logs of a job that runs; the end comes with the job's end."
        if job.ended:
            return "The job wrote nothing."
        if not job.started_at and job.role == "agent":
            return "The job has not started."
        if last.waiting:
            return "The agent is asked ..."
        return "Nothing was written yet."

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
        log, lines = self._logs[tab], self.query_one(f"#tab-{tab}", Lines)
        last = log.last
        parts: list[str] = []
        if not lines.follow:
            new = f"{plural(log.fresh, 'new line')} below" if log.fresh else "not following"
            parts.append(f"{new}, ctrl+t follows")
        elif not job.ended:
            parts.append("following")
        if last is not None:
            parts += self._source(job, log, last)
        return " · ".join(part for part in parts if part)

    def _source(self, job: JobShown, log: _Log, last: LogPart) -> list[str]:
        """Where the text is from, how old it is, and what the agent says to it."""
        parts = []
        if last.gone:
            parts.append("its files are gone, this is the end that was kept")
        elif last.total < 0:
            parts.append("the end that came with the job's end")
        elif last.total:
            parts.append(size(last.total))
        if job.role == "agent":
            return parts
        now = self.host.now()
        if last.at and not job.ended:
            parts.append(f"as of {ago(last.at, now)}")
        if log.trouble:
            parts.append(log.trouble)
        elif self.host.readonly and not job.ended:
            parts.append("the agent is not asked (--readonly)")
        elif last.refusal and not last.waiting:
            parts.append(f"the agent says: {last.refusal}")
        elif last.waiting and (now - last.asked_at) / 1e6 > _SILENT:
            parts.append(f"the agent has not answered since {ago(last.asked_at, now)}")
        return parts

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
            self._logs[self._tab].fresh = 0
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


def _anew(log: _Log) -> _Log:
    """A stream that is read from its beginning again."""
    fresh = _Log()
    fresh.asked, fresh.asked_after_end, fresh.trouble = log.asked, log.asked_after_end, log.trouble
    fresh.lines_before = log.lines_before
    return fresh
