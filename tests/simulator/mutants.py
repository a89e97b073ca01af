"""``python -m tests.simulator.mutants``: leave out one guard at a time, and see that the simulator notices.

A guard is switched off by replacing a function in this process; the product has no switch. For each guard
the seeds are played in order until an invariant breaks. The status is 1 if one is left out and nothing in
500 seeds notices: then it is untested, or not needed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from caroni.core.agent import jobs as agent_jobs
from caroni.core.agent import offers as agent_offers
from caroni.core.agent import routes as agent_routes
from caroni.core.agent import saying
from caroni.core.agent.state import AgentDraft
from caroni.core.draft import Origin
from caroni.core.manager import agents, attempts, fulfilment, restore
from caroni.core.manager import jobs as manager_jobs
from caroni.core.manager.delivery import release
from caroni.core.manager.state import ManagerDraft
from caroni.core.messages import JobDataAvailable, JobFulfillmentOfferAccept, JobKill
from caroni.core.plan import MINUTE
from caroni.core.rows import AgentInput, AgentJob, AgentOffer, Flow, Job, Peer, Step
from caroni.core.states import AgentJobState, AgentOfferState, JobState, StepState
from tests.simulator.__main__ import PROFILES, commit_name
from tests.simulator.directed import forgotten_kill
from tests.simulator.faults import SHORT, Profile
from tests.simulator.host import Host
from tests.simulator.node import Node
from tests.simulator.scenario import play
from tests.simulator.world import World

#: a guard that nothing has missed after so many seeds is not guarded itself
ENOUGH = 500

#: Makes a careless function from the careful one.
Careless = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True)
class Mutant:
    """A guard, and where it is: (module, class or table; name; what stands there without it)."""

    guard: str
    patches: tuple[tuple[Any, Any, Careless], ...]
    #: histories in which it matters
    play: Callable[[int, Profile], World] = play


# --- without each guard ------------------------------------------------------------------------------


def _no_outbox(careful: Callable[..., Any]) -> Callable[..., Any]:
    """What was decided and has not left is only in memory."""

    def down(self: Node) -> None:
        careful(self)
        self.outbox.clear()

    return down


def _no_inbox(careful: Callable[..., Any]) -> Callable[..., Any]:
    """Whatever comes has its effect, however often it comes."""
    return lambda self, mid, fresh: False


def _every_accept(careful: Callable[..., Any]) -> Callable[..., Any]:
    """An accept that is repeated makes the job again."""

    def on_accept(d: AgentDraft, origin: Origin, m: JobFulfillmentOfferAccept) -> None:
        offer = d.get(AgentOffer, (origin.uri, m.offer_uuid))
        careful(d, origin, m)
        if offer is not None and offer.state is AgentOfferState.ACCEPTED:
            agent_jobs.create_job(d, offer)

    return on_accept


def _ask_once(careful: Callable[..., Any]) -> Callable[..., Any]:
    """A request is broadcast once."""
    return lambda d, request, step: d.put(replace(request, due=0))


def _no_lease(careful: Callable[..., Any]) -> Callable[..., Any]:
    """A job is waited for, however long its agent is silent."""
    return lambda d, job, lost_after: 2**62


def _no_fence(careful: Callable[..., Any]) -> Callable[..., Any]:
    """The failure of any job of a step is the failure of its present one."""

    def job_failed(d: ManagerDraft, job: Job, *more: Any, **rest: Any) -> None:
        step = d.step((job.workflow_uuid, job.step_index))
        if step is not None and step.state in (StepState.FULFILLED, StepState.RUNNING):
            d.put(replace(step, agent=job.agent, job_uuid=job.job_uuid))
        careful(d, job, *more, **rest)

    return job_failed


def _no_claim(careful: Callable[..., Any]) -> Callable[..., Any]:
    """Nobody looks whether a job was started before."""
    return lambda self, job_uuid: False


def _last_wins(careful: Callable[..., Any]) -> Callable[..., Any]:
    """Whoever completes a step is its winner, also after another one was."""

    def win(d: ManagerDraft, job: Job, step: Step, values: dict[str, str]) -> None:
        if step.state is not StepState.COMPLETED:
            careful(d, job, step, values)
            return
        d.put(replace(job, state=JobState.COMPLETED, ended_at=d.now, due=0, kill_wanted=False))
        release(d, job.agent, job.job_uuid)
        d.put(replace(step, winner_agent=job.agent, winner_job_uuid=job.job_uuid))
        for name, value in values.items():
            flow = f"{step.name}/{name}"
            d.put(
                Flow(
                    workflow_uuid=step.workflow_uuid,
                    name=flow,
                    value=value,
                    agent=job.agent,
                    job_uuid=job.job_uuid,
                )
            )

    return win


def _every_input(careful: Callable[..., Any]) -> Callable[..., Any]:
    """An input that comes again is taken again."""

    def on_data(d: AgentDraft, origin: Origin, m: JobDataAvailable) -> None:
        job = d.get(AgentJob, (origin.uri, m.job_uuid))
        if job is not None and job.state is AgentJobState.PENDING:
            again = [name for name in m.parameters if d.get(AgentInput, (*job.key, name)) is not None]
            for name in again:
                d.put(
                    AgentInput(
                        manager=job.manager, job_uuid=job.job_uuid, name=name, value=m.parameters[name]
                    )
                )
            if again and job.missing <= len(again):
                agent_jobs._enqueue(d, job)
            elif again:
                d.put(replace(job, missing=job.missing - len(again)))
        careful(d, origin, m)

    return on_data


def _no_tombstone(careful: Callable[..., Any]) -> Callable[..., Any]:
    """The kill of a job that is not known yet is forgotten."""

    def on_kill(d: AgentDraft, origin: Origin, m: JobKill) -> None:
        if d.get(AgentJob, (origin.uri, m.job_uuid)) is None:
            saying.unknown(d, origin.uri, m.job_uuid)
        else:
            careful(d, origin, m)

    return on_kill


def _no_grace(careful: Callable[..., Any]) -> Callable[..., Any]:
    """Silence counts although the manager itself was not there to hear."""

    def lost_instant(d: ManagerDraft, job: Job, lost_after: int) -> int:
        peer = d.get(Peer, job.agent)
        heard = max(peer.last_contact if peer is not None else 0, job.accepted_at)
        away = peer.away_until if peer is not None else 0
        return max(heard + max(lost_after, job.max_offline), away + 15 * MINUTE)

    return lost_instant


def _no_window(careful: Callable[..., Any]) -> Callable[..., Any]:
    """An announced absence is an absence like any other."""

    def lost_instant(d: ManagerDraft, job: Job, lost_after: int) -> int:
        peer = d.get(Peer, job.agent)
        heard = max(peer.last_contact if peer is not None else 0, job.accepted_at)
        return max(heard + max(lost_after, job.max_offline), d.state.started_at + lost_after)

    return lost_instant


def _no_hold(careful: Callable[..., Any]) -> Callable[..., Any]:
    """A restored manager believes that it knows everything."""
    return lambda d: False


def _told_all(careful: Callable[..., Any]) -> Callable[..., Any]:
    return lambda d, agent: True


def _never_gone_on(careful: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, request: False


def _expired_stays(careful: Callable[..., Any]) -> Callable[..., Any]:
    """An agent whose offer has expired does not offer again when the request comes round."""

    def on_request(d: AgentDraft, origin: Origin, m: Any) -> None:
        key = d.state.offer_of_request.get((origin.uri, m.request_uuid))
        offer = d.get(AgentOffer, key) if key is not None else None
        if offer is None or offer.state is not AgentOfferState.EXPIRED:
            careful(d, origin, m)

    return on_request


MUTANTS = (
    Mutant("outbox", ((Node, "_down", _no_outbox),)),
    Mutant("inbox", ((Node, "is_repeat", _no_inbox),)),
    Mutant("idempotent accept", ((agent_routes._HANDLERS, JobFulfillmentOfferAccept, _every_accept),)),
    Mutant("re-broadcast", ((fulfilment, "_ask_again", _ask_once),)),
    Mutant("lease", ((attempts, "lost_instant", _no_lease),)),
    Mutant("fence", ((attempts, "job_failed", _no_fence), (manager_jobs, "job_failed", _no_fence))),
    Mutant("spool claim", ((Host, "is_claimed", _no_claim),)),
    Mutant("winner compare-and-set", ((manager_jobs, "_win", _last_wins),)),
    Mutant("input write-once", ((agent_routes._HANDLERS, JobDataAvailable, _every_input),)),
    Mutant("kill tombstone", ((agent_routes._HANDLERS, JobKill, _no_tombstone),), forgotten_kill),
    Mutant("grace after a start", ((attempts, "lost_instant", _no_grace),)),
    Mutant("announced absence", ((attempts, "lost_instant", _no_window),)),
    Mutant(
        "hold after a restore",
        (
            (restore, "in_hold", _no_hold),
            (agents, "in_hold", _no_hold),
            (restore, "_told_lately", _told_all),
            (ManagerDraft, "may_have_gone_on", _never_gone_on),
        ),
    ),
    Mutant(
        "new offer after expiry",
        ((agent_routes._HANDLERS, agent_offers.JobFulfillmentRequest, _expired_stays),),
    ),
)
BY_GUARD = {mutant.guard: mutant for mutant in MUTANTS}


# --- the gate ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def without(guard: str) -> Iterator[None]:
    """This process does without a guard."""
    undo: list[Callable[[], None]] = []
    for place, name, make in BY_GUARD[guard].patches:
        if isinstance(place, dict):
            careful = place[name]
            place[name] = make(careful)
            undo.append(partial(place.__setitem__, name, careful))
        else:
            careful = getattr(place, name)
            setattr(place, name, make(careful))
            undo.append(partial(setattr, place, name, careful))
    try:
        yield
    finally:
        for one in undo:
            one()


def try_seed(seed: int, *, guard: str, profile: Profile) -> tuple[int, str]:
    """The first violation of one history without the guard; empty if there is none."""
    with without(guard):
        violations = BY_GUARD[guard].play(seed, profile).violations
    return seed, violations[0] if violations else ""


def first_noticed(guard: str, seeds: range, profile: Profile, pool: Any) -> tuple[int, str] | None:
    """The first seed that notices, and what it notices."""
    for seed, violation in pool.imap(partial(try_seed, guard=guard, profile=profile), seeds, chunksize=4):
        if violation:
            return seed, violation
    return None


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=ENOUGH, help="how many are tried for each guard")
    parser.add_argument("--guard", action="append", choices=sorted(BY_GUARD), help="only this one")
    parser.add_argument("--profile", choices=PROFILES, default=SHORT.name, help="the histories' size")
    parser.add_argument("--result", default="", help="append a line of JSON to this file")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    missed = []
    began = time.monotonic()
    for guard in arguments.guard or [mutant.guard for mutant in MUTANTS]:
        with multiprocessing.Pool() as pool:
            noticed = first_noticed(guard, range(arguments.seeds), PROFILES[arguments.profile], pool)
            pool.terminate()
        if noticed is None:
            missed.append(guard)
            found[guard] = None
            print(f"without {guard}: nothing noticed in {arguments.seeds} seeds", flush=True)
        else:
            found[guard] = {"seed": noticed[0], "violation": noticed[1]}
            print(f"without {guard}: seed {noticed[0]}: {noticed[1]}", flush=True)
    seconds = time.monotonic() - began
    print(f"{len(found) - len(missed)} of {len(found)} missing guards noticed in {seconds:.0f} s")
    if arguments.result:
        line = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "commit": commit_name(),
            "command": f"python -m tests.simulator.mutants {' '.join(sys.argv[1:])}".strip(),
            "profile": arguments.profile,
            "seeds": arguments.seeds,
            "mutants": found,
        }
        with Path(arguments.result).open("a") as file:
            file.write(json.dumps(line) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
