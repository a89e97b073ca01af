"""What happens in a simulated world, in words: a transcript that is read like a conversation.

Ids are called by what they are for: ``w1/s2#3`` is the third attempt of step ``s2`` of the first
workflow; its request, offers and jobs are named after it. Lines are made only when somebody reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from caroni.core.commands import Command
from caroni.core.draft import ALL_AGENTS, ALL_MANAGERS, Event, Outgoing
from caroni.core.messages import (
    AgentPresence,
    JobAccepted,
    JobDataAvailable,
    JobFulfillmentDecline,
    JobFulfillmentOffer,
    JobFulfillmentOfferAccept,
    JobFulfillmentOfferReject,
    JobFulfillmentOfferWithdrawn,
    JobFulfillmentRequest,
    JobFulfillmentRequestWithdrawn,
    JobKill,
    JobPause,
    JobRelease,
    JobReport,
    JobReportRequest,
    JobResume,
    JobStatusRequest,
    JobStatusUpdate,
    Message,
    WorkFlowCancel,
    WorkFlowCreate,
    WorkFlowCreated,
    WorkFlowPause,
    WorkFlowRejected,
    WorkFlowResume,
    WorkFlowRetry,
)
from caroni.core.plan import SECOND


def name(uri: str) -> str:
    """``a1`` of ``caroni://s/agent/a1``."""
    if uri == ALL_AGENTS:
        return "all agents"
    if uri == ALL_MANAGERS:
        return "all managers"
    return uri.rpartition("/")[2] or "the operator"


class Names:
    """What ids are called, learned as rows are committed."""

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}

    def learn(self, uuid: bytes, called: str) -> None:
        """The first name stays."""
        self._names.setdefault(uuid, called)

    def of(self, uuid: bytes) -> str:
        """The name, or the beginning of the id."""
        return self._names.get(uuid) or uuid.hex()[:6]

    def workflow(self, uuid: bytes) -> str:
        """A new workflow gets the next number."""
        if uuid not in self._names:
            self._names[uuid] = f"w{1 + sum(1 for n in self._names.values() if n[1:].isdigit())}"
        return self._names[uuid]


Line = Callable[..., str]


class Trace:
    """What happened, in order. Lines are kept as what they are made of."""

    def __init__(self, start: int) -> None:
        self._start = start
        self.names = Names()
        self._entries: list[tuple[int, Any, tuple[Any, ...]]] = []

    def add(self, now: int, text: str) -> None:
        """A line that is made already."""
        self._entries.append((now, text, ()))

    def tell(self, now: int, line: Line, args: tuple[Any, ...]) -> None:
        """A line for later."""
        self._entries.append((now, line, args))

    @property
    def lines(self) -> list[str]:
        """The transcript."""
        return self.tail(0)

    def tail(self, count: int) -> list[str]:
        """Its last lines (0 = all)."""
        made = []
        for now, line, args in self._entries[-count:]:
            text = line if isinstance(line, str) else line(self.names, *args)
            made.append(f"{_clock(now - self._start)}  {text}")
        return made


def _clock(micros: int) -> str:
    seconds, rest = divmod(micros, SECOND)
    days, seconds = divmod(seconds, 86_400)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest // 1000:03}"
    return f"{f'day {days} ' if days else ''}{clock}"


def _span(micros: int) -> str:
    seconds = micros / SECOND
    return f"{seconds:.0f} s" if seconds < 300 else f"{seconds / 60:.0f} min"


def said(names: Names, sender: str, outgoing: Outgoing) -> str:
    """Who says what to whom."""
    return f"{name(sender)} -> {name(outgoing.to)}: {content(names, outgoing.message)}"


def event(names: Names, uri: str, e: Event) -> str:
    """What a node tells its operator."""
    shown = ", ".join(
        f"{key} {names.of(value) if isinstance(value, bytes) else name(value) if key in _URIS else value}"
        for key, value in e.fields.items()
        if value not in (None, "")
    )
    return f"{name(uri)} notes {e.kind.replace('_', ' ')}: {shown}"


_URIS = frozenset({"agent", "manager", "peer", "submitter"})


def command(names: Names, uri: str, c: Command) -> str:
    """What an operator asks for."""
    about = getattr(c, "workflow_uuid", b"") or getattr(c, "job_uuid", b"")
    more = ", ".join(getattr(c, "steps", ()))
    span = getattr(c, "deadline", 0) or getattr(c, "duration", 0)
    words = [c.__struct_config__.tag, names.of(about) if about else "", more, _span(span) if span else ""]
    return f"operator of {name(uri)}: {' '.join(word for word in words if word)}"


def content(names: Names, m: Message) -> str:
    """One message."""
    of = names.of
    match m:
        case JobFulfillmentRequest():
            return f"who can run {m.job_type_name} for {of(m.request_uuid)}? (round {m.round})"
        case JobFulfillmentDecline():
            return f"not me for {of(m.request_uuid)}: {m.decline_message}"
        case JobFulfillmentOffer():
            return f"{of(m.offer_uuid)} for {of(m.request_uuid)}, for {_span(m.ttl)}"
        case JobFulfillmentOfferAccept():
            return f"I accept {of(m.offer_uuid)}"
        case JobFulfillmentOfferReject():
            return f"I reject {of(m.offer_uuid)}: {m.reject_message}"
        case JobFulfillmentOfferWithdrawn():
            return f"I withdraw {of(m.offer_uuid)}: {m.reason}"
        case JobFulfillmentRequestWithdrawn():
            return f"nobody is needed for {of(m.request_uuid)} any more"
        case JobAccepted():
            return f"{of(m.job_uuid)} exists"
        case JobStatusRequest():
            return f"how is {of(m.job_uuid)}?"
        case JobStatusUpdate():
            info = f": {m.status_info}" if m.status_info else ""
            return f"{of(m.job_uuid)} is {m.job_status.name.lower()} (seq {m.seq}){info}"
        case JobDataAvailable():
            return f"values of {of(m.job_uuid)}: {', '.join(m.parameters)}"
        case JobKill():
            return f"stop {of(m.job_uuid)}: {m.kill_info}"
        case JobRelease():
            return f"forget {of(m.job_uuid)}"
        case JobPause() | JobResume():
            return f"{'suspend' if isinstance(m, JobPause) else 'go on with'} {of(m.job_uuid)}"
        case JobReportRequest():
            return f"report all my jobs (I have heard {m.seen_sequence} of {m.seen_stream})"
        case JobReport():
            jobs = ", ".join(f"{of(e.job_uuid)} {e.job_status.name.lower()}" for e in m.jobs) or "none"
            return f"your jobs: {jobs} (I have heard {m.seen_sequence} of {m.seen_stream})"
        case AgentPresence():
            return f"I am {m.state.name.lower()}" + (f" for {_span(m.offline_for)}" if m.offline_for else "")
        case WorkFlowCreate():
            return f"run {m.template_name} (submit {of(m.submit_uuid)})"
        case WorkFlowCreated():
            return f"submit {of(m.submit_uuid)} is {of(m.workflow_uuid)}"
        case WorkFlowRejected():
            return f"submit {of(m.submit_uuid)} is refused: {m.reason}"
        case WorkFlowCancel() | WorkFlowPause() | WorkFlowResume() | WorkFlowRetry():
            verb = type(m).__name__.removeprefix("WorkFlow").lower()
            return f"{verb} {of(m.workflow_uuid)} {', '.join(m.steps)}".rstrip()
        case _:
            return str(m)


def starts(names: Names, uri: str, job_uuid: bytes, fails: bool) -> str:
    """A process begins."""
    return f"{name(uri)} starts the process of {names.of(job_uuid)}{', which will fail' if fails else ''}"


def became(names: Names, uri: str, workflow: bytes, step: str, state: str, why: str) -> str:
    """A workflow or a step changes."""
    reason = f" ({why})" if why else ""
    return f"{name(uri)}: {names.of(workflow)}{f'/{step}' if step else ''} is {state}{reason}"
