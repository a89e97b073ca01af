"""What must be true when all faults are gone: nothing lost, nothing started twice, nothing left over."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from caroni.daemon.submitter import NoAnswer
from caroni.errors import CaroniError, TransientError
from tests.chaos.arena import AGENTS, DAEMONS, MANAGERS, Arena
from tests.chaos.books import Unreadable
from tests.chaos.faults import FULL_DISKS
from tests.chaos.load import Load, Submitted, expected

#: of each kind of break, so many are told one by one
SHOWN = 10
#: seconds that a submitter has to find the broker again when all faults have ended
RECONNECTS = 90.0


@dataclass
class Verdict:
    """``breaks`` is empty when every promise was kept."""

    breaks: list[str] = field(default_factory=list)
    workflows: int = 0
    steps: int = 0
    jobs_started: int = 0
    retried: int = 0
    given_up: int = 0
    notes: list[str] = field(default_factory=list)


async def settle(arena: Arena, load: Load, seconds: float) -> list[str]:
    """Wait until everything has ended and come to rest; gives what has not by then."""
    end = time.monotonic() + seconds
    await load.finish(seconds)
    while (left := await leftovers(arena)) and time.monotonic() < end:  # noqa: ASYNC110 (others' state)
        await asyncio.sleep(0.5)
    return left


async def leftovers(arena: Arena) -> list[str]:
    """What is still on the way or not let go of; G10: in the end nothing is."""
    found = []
    open_rows = {
        **{
            name: {
                "outbox": "",
                "workflow": "WHERE ended_at = 0",
                "step": "WHERE state NOT IN ('completed', 'failed', 'cancelled')",
                "request": "WHERE state IN ('open', 'accepting')",
            }
            for name in MANAGERS
        },
        **{
            name: {
                "outbox": "",
                "agent_job": "WHERE state NOT IN ('completed', 'failed', 'killed') OR NOT released",
            }
            for name in AGENTS
        },
    }
    for name, tables in open_rows.items():
        for table, where in tables.items():
            try:
                if number := await arena.books.count(name, table, where):
                    found.append(f"{name} has {number} rows of {table} that are not done")
            except Unreadable as error:
                found.append(str(error))
    depths = await arena.depths()
    found += [f"the broker tells nothing of {name}'s queues" for name in DAEMONS if name not in depths]
    found += [f"{depth} messages wait in {name}'s queues" for name, depth in depths.items() if depth]
    if running := await asyncio.to_thread(live_jobs, arena.marks):
        found.append(f"{len(running)} jobs still run: {running[:SHOWN]}")
    return found


def live_jobs(marks: Path) -> list[str]:
    """Ids of our jobs that have a process."""
    found = set()
    for process in psutil.process_iter():
        try:
            if process.name() in ("bash", "sleep") and (job := process.environ().get("CARONI_JOB_ID")):
                found.add(job)
        except psutil.Error:
            continue
    return sorted(job for job in found if (marks / job).exists())


async def judge(arena: Arena, load: Load, left: list[str]) -> Verdict:
    """Everything, after :func:`settle`, which gave what is ``left``."""
    verdict = Verdict()
    breaks = verdict.breaks
    breaks += arena.breaks + load.breaks
    breaks += [f"{name} is not alive" for name in DAEMONS if not arena.site.alive(name)]
    breaks += left
    try:
        await _workflows(arena, load, verdict)
        await _starts(arena, verdict)
        for name in DAEMONS:
            rows = await arena.books.rows(name, "SELECT kind, sender, reason, error FROM quarantine")
            breaks += [f"quarantine of {name}: {row}" for row in rows[:SHOWN]]
            counts = await arena.books.rows(name, 'SELECT reason, "count" FROM reject_count')
            breaks += [f"{name} refused {count} messages: {reason}" for reason, count in counts]
    except Unreadable as error:
        breaks.append(str(error))
    breaks += await _outputs(load)
    breaks += [f"a bug: {line[:2000]}" for line in (await asyncio.to_thread(arena.site.bugs))[:SHOWN]]
    return verdict


async def _workflows(arena: Arena, load: Load, verdict: Verdict) -> None:
    """Each submit gave one workflow, which has completed; each step has one winner, whose values it gave."""
    for manager in MANAGERS:
        rows = await arena.books.rows(
            manager, "SELECT workflow_uuid, state, submit_uuid, failure FROM workflow"
        )
        submitted = {one.uuid.hex() for one in load.submitted if one.manager == manager}
        verdict.workflows += len(rows)
        known = {row[0] for row in rows}
        _tell(verdict, f"{manager} has lost workflow", sorted(submitted - known))
        # a submit whose answer never came, because the run ended, is a workflow all the same
        twice = [uuid for uuid, number in Counter(row[2] for row in rows).items() if number > 1]
        _tell(verdict, f"{manager} made two workflows of submit", twice)
        other = [f"{row[0]}: {row[1]} {row[3]}" for row in rows if row[1] != "completed"]
        _tell(verdict, f"{manager} did not complete", other)
        steps = await arena.books.rows(
            manager, "SELECT workflow_uuid, name, state, attempt, winner_job_uuid, cause FROM step"
        )
        verdict.steps += len(steps)
        verdict.retried += sum(step[3] > 1 for step in steps)
        verdict.notes += [f"{manager} {s[0][:8]} {s[1]}: attempt {s[3]}, {s[5]}" for s in steps if s[3] > 1]
        _tell(
            verdict,
            f"{manager} has a step without a winner",
            [f"{step[0]} {step[1]}: {step[2]}" for step in steps if not step[4]],
        )
        jobs = {
            row[0]: row[1:]
            for row in await arena.books.rows(
                manager, "SELECT job_uuid, workflow_uuid, state, agent, info FROM job"
            )
        }
        # G7: no fault but a full disk is a reason for a job to fail. An acceptance unanswered for a minute is
        # one to ask another agent: the job that comes of it after all is killed by the manager.
        full = arena.site.uri("a3") if arena.journal.counts[FULL_DISKS] else ""
        given_up = {job: row for job, row in jobs.items() if row[1] == "killed"}
        verdict.given_up += len(given_up)
        verdict.notes += [f"{manager} gave up {job}: {row}" for job, row in given_up.items()]
        _tell(
            verdict,
            f"{manager}: job that did not complete, without a reason",
            [
                f"{job} {row}"
                for job, row in jobs.items()
                if row[1] not in ("completed", "killed") and row[2] != full
            ],
        )
        _tell(
            verdict,
            f"{manager}: winner that did not complete, or of another workflow",
            [f"{s[0]} {s[1]}" for s in steps if s[4] and jobs.get(s[4], ("", ""))[:2] != (s[0], "completed")],
        )
        flows = await arena.books.rows(manager, "SELECT workflow_uuid, name, job_uuid FROM flow")
        winners = {step[4] for step in steps}
        _tell(
            verdict,
            f"{manager}: value of a job that did not win",
            [f"{flow[0]} {flow[1]}" for flow in flows if flow[2] and flow[2] not in winners],
        )


async def _starts(arena: Arena, verdict: Verdict) -> None:
    """G6: one start for each job; and no job that no manager has asked for."""
    starts = await asyncio.to_thread(
        lambda: {path.name: path.read_text().splitlines() for path in arena.marks.iterdir()}
    )
    verdict.jobs_started = len(starts)
    _tell(verdict, "started twice", [f"{job}: {lines}" for job, lines in starts.items() if len(lines) > 1])
    jobs: set[str] = set()
    winners: set[str] = set()
    for manager in MANAGERS:
        jobs |= {row[0] for row in await arena.books.rows(manager, "SELECT job_uuid FROM job")}
        winners |= {row[0] for row in await arena.books.rows(manager, "SELECT winner_job_uuid FROM step")}
    _tell(verdict, "started, and no manager knows it", sorted(set(starts) - jobs))
    _tell(verdict, "won without a start", sorted(winners - {""} - set(starts)))


async def _outputs(load: Load) -> list[str]:
    """What the submitter is told, over the broker."""
    breaks = []
    for one in load.submitted:
        told = await _told(load, one)
        if told != {"out": json.dumps(expected(one.template, one.text))}:
            breaks.append(f"outputs of {one.uuid.hex()} ({one.template} {one.text}): {told}")
        if len(breaks) >= SHOWN:
            break
    return breaks


async def _told(load: Load, one: Submitted) -> dict[str, str] | str:
    """Its outputs, or why there are none. A seat that has lost the broker may still be on its way back."""
    end = time.monotonic() + RECONNECTS
    while True:
        try:
            return (await load.submitters[one.manager].status(one.uuid, 20)).outputs
        except (NoAnswer, TransientError) as error:
            if time.monotonic() > end:
                return f"no answer: {error}"
            await asyncio.sleep(0.5)
        except CaroniError as error:
            return f"refused: {error}"


def _tell(verdict: Verdict, what: str, which: list[str]) -> None:
    verdict.breaks += [f"{what}: {one}" for one in which[:SHOWN]]
    if len(which) > SHOWN:
        verdict.breaks.append(f"{what}: {len(which) - SHOWN} more")
