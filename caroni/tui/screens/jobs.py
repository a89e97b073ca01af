"""Jobs, live: on an agent what runs and the queue in its order, on a manager every attempt."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult

from caroni.core.states import AgentJobState, JobState
from caroni.services.jobs import JobOfAgent, JobOfManager, jobs_of_agent, jobs_of_manager, last_change
from caroni.services.words import plural
from caroni.tui import glyphs, jobacts
from caroni.tui.acts import Act
from caroni.tui.jobacts import JobTarget, hindrance, pause_or_resume
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.site import Site
from caroni.tui.widgets.note import Note
from caroni.tui.widgets.railrow import agent_name, took
from caroni.tui.widgets.table import Cell, Column, Line, LineTable

if TYPE_CHECKING:
    from caroni.model.store import Store

Job = JobOfManager | JobOfAgent

#: jobs on the screen; `m` adds as many
PAGE = 200
#: a look may take this share of the time
_SHARE = 0.05
#: seconds after which it is read again although nothing seems to have changed
_AGAIN = 30.0
#: of a manager's attempts that live
_ORDER = ("running", "paused", "queued", "pending")
_STATES: dict[str, tuple[str, ...]] = {
    "manager": (*(state.value for state in JobState), "orphan"),
    "agent": tuple(state.value for state in AgentJobState),
}


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found, under which of the screen's wishes."""

    jobs: tuple[Job, ...]
    more: bool
    ended: bool
    state: str


class JobsScreen(ConsoleScreen):
    """A row a job; the line below says more of the one under the cursor."""

    NAME = "jobs"

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act("jobs.log", "l", "log", "What the job writes"),
        Act("jobs.kill", "K", "kill", "End jobs: the beginning of the id must be typed", writes=True),
        Act("jobs.pause", "p", "pause", "Suspend jobs, or let them go on", writes=True),
        Act("jobs.all", "a", "all", "Also those that have ended, or only what lives"),
        Act("jobs.failed", "f", "failed", "Failed jobs only, or all again"),
        Act("jobs.state", "x", "state", "Only those in the next state; X goes back", show=False),
        Act("jobs.previous-state", "X", "state before", "Only those in the state before", show=False),
        Act("jobs.trace", "t", "trace", "The messages about the job's step, or with its manager", show=False),
        Act("jobs.more", "m", "more", f"{PAGE} more jobs", show=False),
    )

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._ended = False
        self._state = ""
        self._limit = PAGE
        self._text = ""
        self._more = False
        self._rows: dict[str, Job] = {}
        self._known: tuple[tuple[object, ...], float, Snapshot | None] = ((), 0.0, None)
        self._cost = 0.0

    def body(self) -> ComposeResult:
        yield LineTable(_columns(self.site.role), empty="Looking ...", marks=True, classes="main")
        yield Note(id="about")

    def on_mount(self) -> None:
        """Let times go on between two looks."""
        super().on_mount()
        self.set_interval(5.0 if self.host.slow else 1.0, self._tick)

    # --- reading ---------------------------------------------------------------------------------

    @property
    def period(self) -> float:
        return max(super().period, self._cost / _SHARE)

    async def fetch(self) -> Snapshot:
        begun = time.monotonic()
        state, ended, limit = self._state, self._ended, self._limit
        found = await self.site.read(lambda store: self._look(store, state, ended, limit))
        self._cost = time.monotonic() - begun
        return found

    async def _look(self, store: Store, state: str, ended: bool, limit: int) -> Snapshot:
        key = (*await last_change(store), state, ended, limit)
        known, at, snapshot = self._known
        if snapshot is not None and key == known and time.monotonic() - at < _AGAIN:
            return snapshot
        read = jobs_of_manager if store.role == "manager" else jobs_of_agent
        jobs = await read(store, state=state or None, all=ended, limit=limit + 1)
        snapshot = Snapshot(jobs=tuple(jobs[:limit]), more=len(jobs) > limit, ended=ended, state=state)
        self._known = (key, time.monotonic(), snapshot)
        return snapshot

    def do_refresh(self) -> None:
        """Now, whether something seems to have changed or not."""
        self._known = ((), 0.0, None)
        super().do_refresh()

    # --- painting --------------------------------------------------------------------------------

    def paint(self, snapshot: Snapshot) -> None:
        self._rows = {job.job: job for job in sorted(snapshot.jobs, key=_place)}
        self._more = snapshot.more
        self._show()

    def _tick(self) -> None:
        if self.is_current and not self.frozen and self._fetched:
            self._show()

    def _show(self) -> None:
        table, now = self.query_one(LineTable), self.host.now()
        needle = self._text.casefold()
        lines = [_line(job, now) for job in self._rows.values()]
        if needle:
            lines = [line for line in lines if needle in self._words(line)]
        table.empty = self._nothing()
        table.set_rows(lines)
        self._say(len(lines))
        self.refresh_bindings()

    def _words(self, line: Line) -> str:
        cells = " ".join(cell if isinstance(cell, str) else cell[0] for cell in line.cells)
        job = self._rows[str(line.key)]
        return f"{cells} {job.job} {_peer(job)}".casefold()

    def _nothing(self) -> str:
        if self._text:
            return "No job has this in its row or id: / for something else, esc for all."
        if self._state:
            return f"No job is {self._state}: esc shows all again."
        if self._ended:
            return "There was no job yet."
        return "Nothing runs or waits. a shows also what has ended."

    def _wishes(self) -> str:
        parts = [f"{self._state} only"] if self._state else ["all"] if self._ended else []
        if self._text:
            parts.append(f"/{self._text}")
        return ", ".join(parts)

    def _say(self, shown: int) -> None:
        job = self._rows.get(str(self.query_one(LineTable).key))
        parts = [self._wishes()]
        if job is not None:
            parts.append(_about(job))
        if self._more:
            parts.append(f"{shown} shown, m shows more")
        elif len(parts) > 1 and parts[0] and job is None:
            parts.append(plural(shown, "job"))
        text = "; ".join(part for part in parts if part)
        self.query_one("#about", Note).say(f"─ {text}" if text else "")

    @on(LineTable.Moved)
    def _moved(self) -> None:
        if self._fetched:
            self._say(len(self.query_one(LineTable).lines))
            self.refresh_bindings()

    @on(LineTable.Chosen)
    def _open(self, event: LineTable.Chosen) -> None:
        self._open_job(self._rows.get(str(event.key)), "details")

    def _open_job(self, job: Job | None, tab: str) -> None:
        from caroni.tui.screens.job import JobScreen

        if job is not None:
            self.host.open(JobScreen(self.site, _peer(job), bytes.fromhex(job.job), tab))

    # --- filtering -------------------------------------------------------------------------------

    def find(self, text: str, final: bool) -> None:
        self._text = text.strip()
        if self._fetched:
            self._show()

    def leave(self) -> bool:
        if self._text or self._state:
            self._sought = ""
            self._only("", "")
            return False
        return True

    def _only(self, state: str, text: str) -> None:
        self._state, self._text = state, text
        if self._fetched:
            self._show()
        self.refetch()

    # --- acts ------------------------------------------------------------------------------------

    def _targets(self) -> list[JobTarget]:
        keys = self.query_one(LineTable).chosen() if self.is_mounted else []
        return [target(self._rows[str(key)]) for key in keys if str(key) in self._rows]

    def reason(self, act: Act) -> str:
        """What makes no sense for the chosen rows."""
        if act.id == "jobs.more":
            return "" if self._more else "these are all"
        if act.id == "jobs.all":
            return f"only {self._state} ones are shown: esc first" if self._state else ""
        if act.id not in ("jobs.kill", "jobs.pause", "jobs.log", "jobs.trace"):
            return ""
        targets = self._targets()
        if not targets:
            return "there is no job"
        if act.id == "jobs.trace" and targets[0].state == "orphan":
            return "the database does not know which step it is of"
        if act.id == "jobs.log" or act.id == "jobs.trace":
            return ""
        verb = "kill" if act.id == "jobs.kill" else pause_or_resume(targets)
        reasons = [hindrance(verb, one) for one in targets]
        return "" if "" in reasons else reasons[0]

    def do_log(self) -> None:
        """Its output."""
        self._open_job(self._rows.get(str(self.query_one(LineTable).key)), "")

    def do_kill(self) -> None:
        """End them."""
        jobacts.steer(self, "kill", self._targets())

    def do_pause(self) -> None:
        """Suspend them, or let them go on if all are suspended."""
        targets = self._targets()
        jobacts.steer(self, pause_or_resume(targets), targets)

    def do_all(self) -> None:
        """Also the ended, or not."""
        self._ended = not self._ended
        self.refetch()

    def do_failed(self) -> None:
        """Failed, or all."""
        self._only("" if self._state == "failed" else "failed", self._text)

    def do_state(self) -> None:
        """The next state."""
        self._turn(1)

    def do_previous_state(self) -> None:
        """The state before."""
        self._turn(-1)

    def _turn(self, step: int) -> None:
        states = ("", *_STATES[self.site.role])
        self._only(states[(states.index(self._state) + step) % len(states)], self._text)

    def do_more(self) -> None:
        """A page more."""
        self._limit += PAGE
        self.refetch()

    def do_trace(self) -> None:
        """Its messages."""
        job = self._rows.get(str(self.query_one(LineTable).key))
        if job is not None:
            jobacts.open_trace_of(self, job)


# --- words ---------------------------------------------------------------------------------------


def _columns(role: str) -> list[Column]:
    if role == "agent":
        return [
            Column("STATE", 12),
            Column("#", 3, right=True),
            Column("JOB", 8),
            Column("JOB TYPE", 14, grow=2),
            Column("TRY", 3, right=True),
            Column("TIME", 8, right=True),
            Column("FROM", 10, grow=1, least=72),
            Column("WHY", 16, grow=4, least=90),
        ]
    return [
        Column("STATE", 13),
        Column("JOB", 8),
        Column("STEP", 12, grow=2),
        Column("WORKFLOW", 12, grow=1),
        Column("TRY", 3, right=True),
        Column("AGENT", 10, grow=1),
        Column("TIME", 8, right=True),
        Column("WHY", 16, grow=4, least=100),
    ]


def _place(job: Job) -> tuple[int, int, str]:
    """What runs, the longest first, then what waits, then what has ended, the last first.

    An agent's come in the order of its queue already.
    """
    if isinstance(job, JobOfAgent):
        return (0, 0, "")
    if job.ended_at:
        return (9, -job.ended_at, job.job)
    group = _ORDER.index(job.state) if job.state in _ORDER else len(_ORDER)
    return (group, job.started_at or job.accepted_at, job.job)


def _peer(job: Job) -> str:
    return job.agent if isinstance(job, JobOfManager) else job.manager


def target(job: Job) -> JobTarget:
    """A row as something that can be steered."""
    if isinstance(job, JobOfAgent):
        ended = bool(job.ended_at)
        return JobTarget(
            job=job.job, peer=job.manager, state=job.state, words=job.job_type, ended=ended,
            paused=job.state == "paused", kill_asked=job.state == "killing",
        )  # fmt: skip
    words = f"{job.step} of {job.workflow_name or job.workflow[:12]}" if job.step else ""
    return JobTarget(
        job=job.job, peer=job.agent, state=job.state, words=words, ended=bool(job.ended_at),
        paused=bool(job.pause), kill_asked=job.kill in ("asked", "unreachable"),
    )  # fmt: skip


def _state(job: Job) -> Cell:
    """Glyph and word; a wish that is not fulfilled yet comes before the state that it will change."""
    if isinstance(job, JobOfManager) and not job.ended_at:
        if job.kill in ("asked", "unreachable"):
            return (f"{glyphs.mark('job', 'killed').glyph} kill asked", glyphs.mark("job", "killed").style)
        if job.pause == "wanted":
            return (f"{glyphs.mark('job', 'paused').glyph} pausing", glyphs.mark("job", "paused").style)
    mark = glyphs.mark("job", job.state)
    return (mark.text, mark.style)


def _line(job: Job, now: int) -> Line:
    state, why = _state(job), _why(job)
    tried = str(job.attempt) if job.attempt else ""
    if isinstance(job, JobOfAgent):
        since = job.started_at or (0 if job.ended_at else job.queued_at or job.created_at)
        return Line(
            job.job,
            (state, str(job.position or ""), job.job[:8], job.job_type, tried,
             took(since, job.ended_at, now), agent_name(job.manager), why),
            sort=(job.state, job.position or 1 << 30, job.job, job.job_type, job.attempt, -since,
                  job.manager, why),
            dim=bool(job.ended_at),
        )  # fmt: skip
    since = job.started_at or (0 if job.ended_at else job.accepted_at)
    return Line(
        job.job,
        (state, job.job[:8], job.step or "-", job.workflow_name or job.workflow[:8], tried,
         agent_name(job.agent), took(since, job.ended_at, now), why),
        sort=(job.state, job.job, job.step, job.workflow_name, job.attempt, job.agent, -since, why),
        dim=bool(job.ended_at) and job.state != "failed",
    )  # fmt: skip


def _why(job: Job) -> str:
    """What is not as usual, or how far it is, in a few words."""
    code = f"exit code {job.exit_code}" if job.exit_code else ""
    parts = ["" if code and job.failure == "job" else job.failure, code, job.info]
    if isinstance(job, JobOfManager):
        if job.kill == "unreachable" or job.suspect:
            parts.insert(0, "agent silent")
        if job.progress and not job.ended_at:
            parts.insert(0, f"{job.progress:.0%}")
    elif not job.ended_at and job.missing:
        parts.insert(0, f"{plural(job.missing, 'input')} missing")
    elif job.ended_at and not job.released:
        parts.append("waits for release")
    return ", ".join(part for part in parts if part)


def _about(job: Job) -> str:
    """The row under the cursor in a line: what no column has room for."""
    other = f"on {job.agent}" if isinstance(job, JobOfManager) else f"for {job.manager}"
    parts = [f"{job.job[:12]} {other}"]
    if isinstance(job, JobOfAgent) and job.state == "queued":
        parts.append("next" if job.position == 1 else f"place {job.position} in the queue")
    if why := _why(job):
        parts.append(why)
    return ": ".join([parts[0], ", ".join(parts[1:])]) if len(parts) > 1 else parts[0]
