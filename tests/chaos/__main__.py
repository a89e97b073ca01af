"""``python -m tests.chaos [--minutes 10] [--seed 0] [--result FILE]``: real daemons under a seed's faults.

Prints progress and, at the end, how many faults there were of each kind. When a promise is broken it prints
the seed, the schedule with its times and the end of each daemon's log; the status is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
import time
from collections.abc import Awaitable
from pathlib import Path

from caroni import logs
from tests.chaos.arena import Arena
from tests.chaos.faults import all_lanes
from tests.chaos.journal import SIGKILLS, Journal
from tests.chaos.load import Load
from tests.chaos.oracle import Verdict
from tests.chaos.results import write
from tests.chaos.run import account, directory, end_cleanly, play, postgresql, rabbitmq, running, small_disk

#: seconds between two lines of progress
TELL = 15.0


async def tell(journal: Journal, load: Load) -> None:
    """A line of progress now and then."""
    while True:
        await asyncio.sleep(TELL)
        print(progress(journal, load), flush=True)


def progress(journal: Journal, load: Load) -> str:
    """One line."""
    counts, ended = journal.counts, load.ended_of_submitted
    return (
        f"{journal.seconds:7.0f} s: {counts['broker kills']} broker kills, {counts[SIGKILLS]} SIGKILLs,"
        f" {journal.faults} faults; {len(load.submitted)} workflows submitted, {ended} ended"
    )


async def told(work: Awaitable[Verdict], journal: Journal, load: Load) -> Verdict:
    """Do the work with lines of progress."""
    teller = asyncio.create_task(tell(journal, load))
    try:
        return await work
    finally:
        teller.cancel()


def summary(journal: Journal, verdict: Verdict) -> list[str]:
    """One line for each kind of fault, then the figures."""
    lines = [f"{number:7,}  {kind}" for kind, number in sorted(journal.counts.items())]
    lines.append(
        f"{verdict.workflows:,} workflows, {verdict.steps:,} steps, {verdict.jobs_started:,} jobs started,"
        f" {verdict.retried:,} steps retried, {verdict.given_up:,} jobs given up,"
        f" {len(verdict.breaks)} broken promises"
    )
    return lines


async def chaos(arena: Arena, load: Load, journal: Journal, seed: int, seconds: float) -> tuple[Verdict, str]:
    """The run, and what to show if it failed."""
    async with running(arena, load):
        work = play(arena, load, lambda: all_lanes(arena, seed, seconds))
        verdict = await told(work, journal, load)
        return verdict, account(arena, verdict, journal) if verdict.breaks else ""


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long faults go on")
    parser.add_argument("--seed", type=int, default=0, help="of the schedule")
    parser.add_argument("--width", type=int, default=3, help="workflows in progress on each manager")
    parser.add_argument("--result", default="", help="file that gets the figures as one more line of JSON")
    parser.add_argument("--echo", action="store_true", help="print each fault as it comes")
    options = parser.parse_args()
    end_cleanly()
    logs.configure("error", "human", sys.stderr)  # of the submitters in this process
    command = shlex.join(["make", "chaos", f"MINUTES={options.minutes:g}", f"SEED={options.seed}"])
    began = time.time()
    with rabbitmq() as node, postgresql() as cluster, directory() as base, small_disk(base, 512) as disk:
        journal = Journal(echo=options.echo)
        arena = Arena(base, node, journal, cluster=cluster, disk=disk)
        load = Load(arena, options.width)
        verdict, text = asyncio.run(chaos(arena, load, journal, options.seed, options.minutes * 60))
    if verdict.breaks:
        print(text)
        print(f"seed {options.seed}; again: {command}")
    print("\n".join(summary(journal, verdict)))
    if options.result:
        write(
            Path(options.result),
            proof="chaos",
            command=command,
            began=began,
            seed=options.seed,
            postgresql=cluster is not None,
            full_disk=disk is not None,
            faults=dict(sorted(journal.counts.items())),
            workflows=verdict.workflows,
            steps=verdict.steps,
            jobs_started=verdict.jobs_started,
            steps_retried=verdict.retried,
            jobs_given_up=verdict.given_up,
            breaks=verdict.breaks[:20],
            verdict="broken" if verdict.breaks else "kept",
        )
    return 1 if verdict.breaks else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
