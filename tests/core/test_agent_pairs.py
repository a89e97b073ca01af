"""Every message, event, command and timer, in every state of the agent's row that it is about: none raises.

An agent is brought into each state by real messages; then all is tried there, also drained and away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

import pytest

from caroni.core.agent import routes as agent_routes
from caroni.core.agent.state import Allowance, Connected, JobExited, JobStarted
from caroni.core.agent.state import Started as AgentStarted
from caroni.core.clockjump import ClockJumped
from caroni.core.commands import (
    Drain,
    GoOffline,
    GoOnline,
    KillJob,
    PauseJob,
    ResumeJob,
    Undrain,
)
from caroni.core.draft import Origin
from caroni.core.ids import job_uuid_of
from caroni.core.messages import (
    FailureClass,
    JobDataAvailable,
    JobFulfillmentOfferAccept,
    JobFulfillmentOfferReject,
    JobFulfillmentRequest,
    JobFulfillmentRequestWithdrawn,
    JobKill,
    JobLogRequest,
    JobPause,
    JobRelease,
    JobReportRequest,
    JobResume,
    JobStatusRequest,
    Message,
)
from caroni.core.plan import DAY, HOUR, MINUTE
from caroni.core.rows import (
    AgentJob,
    AgentOffer,
    Availability,
    Row,
)
from caroni.core.states import (
    AgentJobState,
    AgentOfferState,
    is_terminal,
)
from tests.core.build import (
    MANAGER,
    NOW,
    OTHER_MANAGER,
    OUT,
    AgentSide,
)
from tests.core.pairs import Decide, commanded, found, try_all


def agent(**settings: Any) -> AgentSide:
    return AgentSide(Allowance(max_queued=3, offers_outstanding=3), slots=1, **settings)


def offered() -> AgentSide:
    side = agent()
    side.offered()
    side.offered(b"q" * 16, by=OTHER_MANAGER)
    return side


def pending() -> AgentSide:
    side = agent()
    side.pending()
    return side


def rejected() -> AgentSide:
    side = agent()
    offer = side.offered()
    side.say(JobFulfillmentOfferReject(request_uuid=b"r" * 16, offer_uuid=offer), MANAGER)
    return side


def run_out() -> AgentSide:
    side = offered()
    side.wait(2 * HOUR)
    return side


def revoked() -> AgentSide:
    side = offered()
    side.command(Drain())
    return side


def starting() -> AgentSide:
    side = agent()
    side.starting()
    return side


def waiting_for_a_slot() -> AgentSide:
    side = starting()
    side.starting(b"q" * 16, by=OTHER_MANAGER)
    return side


def running(then: type[Message] | None = None) -> AgentSide:
    side = agent()
    offer = side.running()
    if then is not None:
        side.say(then(job_uuid=job_uuid_of(offer)), MANAGER)
    return side


def ended(state: AgentJobState, released: bool = False) -> AgentSide:
    side = agent()
    offer = side.running()
    if state is AgentJobState.KILLED:
        side.say(JobKill(job_uuid=job_uuid_of(offer)), MANAGER)
    side.exited(offer, state)
    if released:
        side.say(JobRelease(job_uuid=job_uuid_of(offer)), MANAGER)
    return side


AGENTS: list[tuple[StrEnum, type[Row], Callable[[], AgentSide]]] = [
    (AgentOfferState.OPEN, AgentOffer, offered),
    (AgentOfferState.ACCEPTED, AgentOffer, pending),
    (AgentOfferState.REJECTED, AgentOffer, rejected),
    (AgentOfferState.EXPIRED, AgentOffer, run_out),
    (AgentOfferState.REVOKED, AgentOffer, revoked),
    (AgentJobState.PENDING, AgentJob, pending),
    (AgentJobState.QUEUED, AgentJob, waiting_for_a_slot),
    (AgentJobState.STARTING, AgentJob, starting),
    (AgentJobState.RUNNING, AgentJob, running),
    (AgentJobState.PAUSED, AgentJob, lambda: running(JobPause)),
    (AgentJobState.KILLING, AgentJob, lambda: running(JobKill)),
    (AgentJobState.COMPLETED, AgentJob, lambda: ended(AgentJobState.COMPLETED)),
    (AgentJobState.FAILED, AgentJob, lambda: ended(AgentJobState.FAILED)),
    (AgentJobState.KILLED, AgentJob, lambda: ended(AgentJobState.KILLED)),
]


def of_agent(side: AgentSide) -> Iterator[tuple[str, Decide]]:
    """All that can come, about every row there is."""
    say: Any = side.hear
    state: Any = side.state
    managers = (MANAGER, OTHER_MANAGER, "caroni://elsewhere/manager/x")
    offers = [*state.tables[AgentOffer], (MANAGER, b"?" * 16)]
    jobs = [*state.tables[AgentJob], (MANAGER, b"?" * 16)]

    def heard(m: Message, by: str, sequence: int = 0) -> tuple[str, Decide]:
        def decide(draft: Any) -> None:
            side.sequence = sequence
            say(draft, Origin(uri=by, stream_id=1), m)

        return f"{m} by {by}", decide

    for owner, offer in offers:
        row = state.get(AgentOffer, (owner, offer))
        request = row.request_uuid if row is not None else b"?" * 16
        for by in {owner, *managers}:
            yield heard(JobFulfillmentOfferAccept(request_uuid=request, offer_uuid=offer), by)
            yield heard(JobFulfillmentOfferReject(request_uuid=request, offer_uuid=offer), by)
            yield heard(JobFulfillmentRequestWithdrawn(request_uuid=request, job_type_name="t"), by)
            for round in (1, 2, 9):
                for job_type, parameters in (("t", ("a",)), ("t", ("n",)), ("idle", ()), ("x", ())):
                    m = JobFulfillmentRequest(
                        request_uuid=request,
                        job_type_name=job_type,
                        parameters=parameters,
                        round=round,
                        attempt=1,
                    )
                    yield heard(m, by)
    for owner, uuid in jobs:
        for by in {owner, OTHER_MANAGER}:
            for kind in (JobStatusRequest, JobKill, JobRelease, JobPause, JobResume, JobLogRequest):
                yield heard(kind(job_uuid=uuid), by)
            for name in ("a", "n", "z"):
                for value in ("1", '"s"', "["):
                    yield heard(JobDataAvailable(job_uuid=uuid, parameters={name: value}), by)
        for order in (KillJob, PauseJob, ResumeJob):
            yield str(order), commanded(side, order(peer=owner, job_uuid=uuid))
        events: list[Any] = [JobStarted(key=(owner, uuid), at=NOW)]
        for end in (s for s in AgentJobState if is_terminal(s)):
            for cls in FailureClass:
                outputs = {"out": OUT} if end is AgentJobState.COMPLETED else {}
                exited = JobExited(key=(owner, uuid), state=end, failure_class=cls, outputs=outputs)
                events.append(exited)
        for event in events:
            yield str(event), lambda draft, event=event: agent_routes.happened(draft, event)  # type: ignore[misc]
    for by in managers:
        for seen in (0, 7):
            for sequence in (0, 1):
                report = JobReportRequest(
                    report_uuid=b"R" * 16, seen_stream=state.own_stream, seen_sequence=seen
                )
                yield heard(report, by, sequence)
    for command in (
        Drain(),
        Drain(deadline=MINUTE),
        Drain(deadline=-1),
        Undrain(),
        GoOffline(duration=HOUR),
        GoOffline(duration=999 * DAY),
        GoOnline(),
    ):
        yield str(command), commanded(side, command)
    for local in (
        AgentStarted(),
        AgentStarted(put_back=True),
        Connected(),
        ClockJumped(by=-DAY),
        ClockJumped(by=DAY),
    ):
        yield str(local), lambda draft, local=local: agent_routes.happened(draft, local)  # type: ignore[misc]
    for row_type in (AgentOffer, AgentJob, Availability):
        for key in [*state.tables[row_type], "?"]:
            yield (
                f"timer of {row_type.__name__}",
                lambda draft, row_type=row_type, key=key: agent_routes.fire(draft, row_type, key),  # type: ignore[misc]
            )


@pytest.mark.parametrize(
    ("state", "row_type", "recipe"), AGENTS, ids=[f"{t.__name__}-{s}" for s, t, _ in AGENTS]
)
@pytest.mark.parametrize(
    "order", [None, Drain(deadline=HOUR), GoOffline(duration=HOUR)], ids=["", "drained", "away"]
)
def test_an_agent_takes_anything(
    state: StrEnum, row_type: type[Row], recipe: Callable[[], AgentSide], order: Any
) -> None:
    side = recipe()
    assert found(side, state, row_type), f"the recipe leads to no {row_type.__name__} that is {state}"
    if order is not None:
        side.command(order)
    try_all(side, of_agent(side))


@pytest.mark.parametrize("released", [False, True])
def test_an_agent_with_a_tombstone_or_a_released_job_takes_anything(released: bool) -> None:
    side = ended(AgentJobState.COMPLETED, released) if released else agent()
    side.say(JobKill(job_uuid=b"t" * 16), MANAGER)
    try_all(side, of_agent(side))


def test_no_state_of_an_agent_is_left_out() -> None:
    assert {s for s, _, _ in AGENTS} == {s for kind in (AgentOfferState, AgentJobState) for s in kind}
    assert len(AGENTS) == len(AgentOfferState) + len(AgentJobState)


def test_every_message_is_tried() -> None:
    """What an agent has a handler for is among what was tried."""
    tried = {what.split("(")[0] for what, _ in of_agent(pending())}
    assert {kind.__name__ for kind in agent_routes._HANDLERS} <= tried
