"""``python -m tests.simulator FIRST COUNT``: play seeded histories on all cores and check the invariants.

Prints progress, the transcript of a history that breaks an invariant, what was met on the way, and the
figures. The status is 1 if an invariant broke, or if a large run has not met all that it should. A single
history (COUNT 1) is told whole: this is how a failing seed is read.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import shlex
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from caroni.core.plan import HOUR
from tests.simulator.faults import LONG, SHORT, Profile
from tests.simulator.scenario import play
from tests.simulator.sometimes import ENOUGH, missing
from tests.simulator.world import START

PROFILES = {profile.name: profile for profile in (SHORT, LONG)}
#: lines of a transcript before the end, which is where the violation is noticed
TAIL = 200
#: transcripts shown; the rest is named by its seed
SHOWN = 3
YEAR = 365.25 * 24 * HOUR


@dataclass
class History:
    """What is kept of a world, small enough to cross to the parent."""

    seed: int
    events: int
    elapsed: int
    violations: list[str]
    transcript: list[str]
    seen: dict[str, int]
    digest: str


def history(seed: int, *, profile: Profile, whole: bool) -> History:
    """Play one seed."""
    world = play(seed, profile)
    transcript = world.trace.tail(0) if whole else world.trace.tail(TAIL) if world.violations else []
    return History(
        seed,
        world.steps,
        world.now - START,
        world.violations,
        transcript,
        world.seen,
        world.digest.hexdigest(),
    )


@dataclass
class Figures:
    """The sum of many histories."""

    seen: Counter[str]
    broken: dict[int, list[str]]
    events: int = 0
    most_events: int = 0
    elapsed: int = 0
    seconds: float = 0.0


def run(seeds: range, profile: Profile) -> Figures:
    """Play all of them, telling how it goes."""
    figures = Figures(Counter(), {})
    one = partial(history, profile=profile, whole=len(seeds) == 1)
    began = told = time.monotonic()
    with multiprocessing.Pool(min(multiprocessing.cpu_count(), max(1, len(seeds)))) as pool:
        for done, result in enumerate(pool.imap(one, seeds, chunksize=4), 1):
            figures.events += result.events
            figures.most_events = max(figures.most_events, result.events)
            figures.elapsed += result.elapsed
            figures.seen.update(result.seen)
            if result.violations:
                figures.broken[result.seed] = result.violations
            if result.transcript and len(figures.broken) <= SHOWN:
                print("\n".join(result.transcript))
            if result.violations and len(figures.broken) <= SHOWN:
                print(f"seed {result.seed}: " + "; ".join(result.violations), flush=True)
            if len(seeds) == 1:
                print(f"all that was published has the digest {result.digest}")
            if time.monotonic() - told > 5:
                told = time.monotonic()
                print(f"{done} of {len(seeds)} histories, {len(figures.broken)} broken", flush=True)
    figures.seconds = time.monotonic() - began
    return figures


def commit_name() -> str:
    """What the figures belong to."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def record(path: Path, seeds: range, profile: Profile, figures: Figures) -> None:
    """Append the figures to a file, as one line of JSON."""
    line: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit_name(),
        "command": f"python -m tests.simulator {shlex.join(sys.argv[1:])}",
        "profile": profile.name,
        "seeds": [seeds.start, seeds.stop],
        "seconds": round(figures.seconds, 1),
        "events": figures.events,
        "simulated_years": round(figures.elapsed / YEAR, 2),
        "broken": {str(seed): texts for seed, texts in figures.broken.items()},
        "never_seen": missing(figures.seen),
        "seen": dict(sorted(figures.seen.items())),
    }
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("first", type=int, help="the first seed")
    parser.add_argument("count", type=int, help="how many histories")
    parser.add_argument("--profile", choices=PROFILES, default=SHORT.name, help="how large they are")
    parser.add_argument("--result", default="", help="append the figures to this file, as a line of JSON")
    arguments = parser.parse_args()
    profile = PROFILES[arguments.profile]
    seeds = range(arguments.first, arguments.first + arguments.count)
    figures = run(seeds, profile)
    print("met: " + ", ".join(f"{name} {count:,}" for name, count in sorted(figures.seen.items())))
    print(
        f"{len(seeds):,} {profile.name} histories from seed {seeds.start} in {figures.seconds:.1f} s "
        f"({len(seeds) / figures.seconds:.0f}/s): {figures.events:,} events (most {figures.most_events:,}), "
        f"{figures.elapsed / YEAR:,.1f} simulated years, {len(figures.broken)} broken"
    )
    if arguments.result:
        record(Path(arguments.result), seeds, profile, figures)
    if figures.broken:
        again = " ".join(str(seed) for seed in list(figures.broken)[:20])
        more = " ..." if len(figures.broken) > 20 else ""
        first = next(iter(figures.broken))
        print(f"broken: {again}{more}; read one: make simulate SEEDS=1 SEED={first} PROFILE={profile.name}")
        kinds = Counter(text for texts in figures.broken.values() for text in {_kind(t) for t in texts})
        print("by invariant: " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()))
    never = missing(figures.seen) if len(seeds) >= ENOUGH else []
    if never:
        print(f"never met, so not tested by this run: {', '.join(never)}")
    return 1 if figures.broken or never else 0


def _kind(text: str) -> str:
    return text.split()[0]


if __name__ == "__main__":
    sys.exit(main())
