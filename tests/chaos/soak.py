"""``python -m tests.chaos.soak [--hours 1] [--seed 0] [--result FILE]``: hours of work with rare faults.

A fault every 30 to 120 seconds, of all kinds. ``m1`` and ``a1`` are never killed, so what leaks shows in
them. Every ten seconds memory, descriptors, queues and outboxes are sampled; at the end they must be flat,
and the promises of the chaos run must hold. Writes an HTML report and prints where it is.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shlex
import sys
import time
from pathlib import Path

from caroni import logs
from tests.chaos import curves as curves_module
from tests.chaos import results
from tests.chaos.__main__ import summary, told
from tests.chaos.arena import Arena
from tests.chaos.curves import Curves, fits, watch
from tests.chaos.faults import LANES, Fault, lane
from tests.chaos.journal import SIGKILLS, Journal
from tests.chaos.load import Load
from tests.chaos.oracle import Verdict
from tests.chaos.report import html
from tests.chaos.run import account, directory, end_cleanly, play, postgresql, rabbitmq, running, small_disk

#: seconds between two faults
PAUSE = (30.0, 120.0)
#: daemons that live from the start to the end
SPARED = ("m1", "a1")


def kinds() -> dict[Fault, int]:
    """All kinds, each lane as likely as the others."""
    return {
        kind: max(1, round(60 * weight / sum(of_lane.values())))
        for of_lane, _ in LANES.values()
        for kind, weight in of_lane.items()
    }


async def soak(
    arena: Arena, load: Load, journal: Journal, curves: Curves, seed: int, seconds: float
) -> tuple[Verdict, str]:
    """The run, and what to show if it failed."""
    async with running(arena, load):
        watcher = asyncio.create_task(watch(arena, journal, curves))
        try:
            dice = random.Random(f"{seed} soak")
            work = play(arena, load, lambda: lane(arena, dice, kinds(), PAUSE, seconds))
            verdict = await told(work, journal, load)
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        if watcher.done() and not watcher.cancelled() and (error := watcher.exception()):
            verdict.breaks.append(f"the samples ended: {error!r}")
        for fit in fits(curves, seconds):
            if not fit.flat:
                verdict.breaks.append(
                    f"{fit.curve} of {fit.daemon} rises by {fit.rise:.1f} from {fit.level:.1f},"
                    f" {fit.allowed:.1f} is allowed"
                )
        return verdict, account(arena, verdict, journal) if verdict.breaks else ""


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--width", type=int, default=2, help="workflows in progress on each manager")
    parser.add_argument("--result", default="", help="file that gets the figures as one more line of JSON")
    parser.add_argument("--report", default="", help="the HTML file (default: in build/)")
    options = parser.parse_args()
    end_cleanly()
    logs.configure("error", "human", sys.stderr)  # of the submitters in this process
    command = shlex.join(["make", "soak", f"HOURS={options.hours:g}", f"SEED={options.seed}"])
    began = time.time()
    curves = Curves()
    with rabbitmq() as node, postgresql() as cluster, directory() as base, small_disk(base, 1024) as disk:
        journal = Journal()
        arena = Arena(base, node, journal, cluster=cluster, disk=disk)
        arena.victims = tuple(name for name in arena.victims if name not in SPARED)
        load = Load(arena, options.width)
        work = soak(arena, load, journal, curves, options.seed, options.hours * 3600)
        verdict, text = asyncio.run(work)
    found = fits(curves, options.hours * 3600)
    if verdict.breaks:
        print(text)
        print(f"seed {options.seed}; again: {command}")
    lines = summary(journal, verdict)
    print("\n".join(lines))
    path = Path(options.report or time.strftime("build/soak-%Y%m%d-%H%M%S.html", time.gmtime(began)))
    path.parent.mkdir(parents=True, exist_ok=True)
    head = [
        f"{command}, {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(began))}, commit {results.commit()}",
        f"{journal.faults} faults, {journal.counts[SIGKILLS]} of them a daemon's SIGKILL; {lines[-1]}",
        f"{', '.join(SPARED)} were never killed; m2's rows are in "
        + ("PostgreSQL" if cluster is not None else "SQLite"),
        *verdict.breaks,
    ]
    shown = max(journal.times[-1:] + [p[-1][0] for p in curves.series["memory"].values()], default=1.0)
    criterion = " ".join((curves_module.__doc__ or "").split("\n\n", 1)[1].split())
    path.write_text(html("Soak", head, curves, found, shown, journal, criterion))
    print(f"report: {path.absolute()}")
    if options.result:
        results.write(
            Path(options.result),
            proof="soak",
            command=command,
            began=began,
            seed=options.seed,
            faults=dict(sorted(journal.counts.items())),
            workflows=verdict.workflows,
            steps=verdict.steps,
            jobs_started=verdict.jobs_started,
            steps_retried=verdict.retried,
            jobs_given_up=verdict.given_up,
            rises={
                f"{fit.curve} {fit.daemon}": [round(fit.level, 1), round(fit.rise, 1), round(fit.allowed, 1)]
                for fit in found
            },
            breaks=verdict.breaks[:20],
            verdict="broken" if verdict.breaks else "kept",
        )
    return 1 if verdict.breaks else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
