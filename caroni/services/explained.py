"""The shape of an explanation: what ``caroni explain --json`` prints and the console shows.

Ids are hexadecimal text, instants wall microseconds (0 = not yet, never or not known).
"""

from __future__ import annotations

import msgspec


class WaitsFor(msgspec.Struct, frozen=True, kw_only=True):
    """An input that has no value: where it comes from, and how that step stands."""

    input: str
    source: str
    step: str
    state: str


class Declined(msgspec.Struct, frozen=True, kw_only=True):
    """An agent's latest word that it does not offer; ``at`` is 0 where the ledger does not tell."""

    agent: str
    reason: str
    message: str
    at: int


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """An offer and what became of it. ``queue_depth``: jobs that waited at the agent when it offered."""

    agent: str
    offer: str
    state: str
    received_at: int
    expires_at: int
    queue_depth: int
    excluded: bool


class AgentSeen(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that has not answered: what it last said of itself, and when it was last heard."""

    agent: str
    presence: str
    away_until: int
    last_contact: int


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A call for proposals. ``due`` is when it (or the acceptance) is said again, 0 = never."""

    request: str
    state: str
    round: int
    opened_at: int
    asked_at: int
    due: int
    #: the broker said that nobody is bound to this job type
    unheard: bool
    #: since when the call waits for the broker, 0 = it has left
    unsent_since: int
    declines: tuple[Declined, ...]
    offers: tuple[Offered, ...]
    silent: tuple[AgentSeen, ...]
    silent_more: int
    accepting: str
    accept_tries: int


class Works(msgspec.Struct, frozen=True, kw_only=True):
    """The step's present job, and how its agent's lease stands.

    ``kill`` as in :class:`caroni.services.control.JobFate`; ``promise`` is why ``lost_at`` is so late.
    """

    job: str
    agent: str
    state: str
    reported_at: int
    accepted_at: int
    started_at: int
    progress: float
    info: str
    last_contact: int
    lost_at: int
    promise: str
    presence: str
    away_until: int
    suspect: bool
    kill: str
    kill_asked_at: int
    kill_info: str
    pause_wanted: bool
    queue_depth: int | None
    due: int
    unsent_since: int


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A job that this step had. ``stderr`` is its last line."""

    attempt: int
    agent: str
    job: str
    state: str
    failure: str
    exit_code: int | None
    info: str
    stderr: str
    kill: str
    accepted_at: int
    ended_at: int


class StepExplained(msgspec.Struct, frozen=True, kw_only=True):
    """Why one step stands where it does; ``next`` and ``next_at`` say what happens by itself, and when."""

    step: str
    index: int
    state: str
    job_type: str
    attempt: int
    why: str
    remedy: str = ""
    next: str = ""
    next_at: int = 0
    waits_for: tuple[WaitsFor, ...] = ()
    asked: Asked | None = None
    works: Works | None = None
    attempts: tuple[Attempt, ...] = ()
    #: agent -> the attempt from which it may serve again
    excluded: dict[str, int] = {}
    failure: str = ""
    cause: str = ""
    doubtful: bool = False


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """Why a workflow stands where it does. ``at`` is when this was so, wall microseconds."""

    workflow: str
    name: str
    template: str
    revision: int
    state: str
    paused: bool
    steps_total: int
    steps_left: int
    at: int
    why: str
    remedy: str = ""
    #: what holds more than one step back
    notes: tuple[str, ...] = ()
    steps: tuple[StepExplained, ...] = ()
    #: unfinished steps that are not listed
    left_out: int = 0
