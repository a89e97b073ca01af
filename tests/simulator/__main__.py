"""``python -m tests.simulator FIRST COUNT``: play seeded histories on all cores and check the invariants.

Prints progress, the transcript of a history that breaks an invariant, and the figures. The status is 1 if
one broke. A single history (COUNT 1) is told whole: this is how a failing seed is read.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial

from caroni.core.plan import HOUR
from tests.simulator.scenario import play
from tests.simulator.world import START

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


def history(seed: int, *, mutant: str, whole: bool) -> History:
    """Play one seed."""
    world = play(seed, mutant)
    lines = world.trace.lines
    transcript = lines if whole else lines[-TAIL:] if world.violations else []
    return History(seed, world.steps, world.now - START, world.violations, transcript, world.seen)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("first", type=int, help="the first seed")
    parser.add_argument("count", type=int, help="how many histories")
    parser.add_argument("--mutant", default="", help="leave one guard out, to see it noticed")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.count)
    one = partial(history, mutant=arguments.mutant, whole=len(seeds) == 1)
    broken: list[int] = []
    seen: Counter[str] = Counter()
    events = elapsed = done = 0
    began = told = time.monotonic()
    with multiprocessing.Pool(min(multiprocessing.cpu_count(), max(1, len(seeds)))) as pool:
        for result in pool.imap(one, seeds):
            done += 1
            events += result.events
            elapsed += result.elapsed
            seen.update(result.seen)
            if result.violations:
                broken.append(result.seed)
            if result.transcript and len(broken) <= SHOWN:
                print("\n".join(result.transcript))
            if result.violations and len(broken) <= SHOWN:
                print(f"seed {result.seed}: " + "; ".join(result.violations), flush=True)
            if time.monotonic() - told > 5:
                told = time.monotonic()
                print(f"{done} of {len(seeds)} histories, {len(broken)} broken", flush=True)
    took = time.monotonic() - began
    print("met: " + ", ".join(f"{name} {count:,}" for name, count in sorted(seen.items())))
    print(
        f"{done:,} histories from seed {arguments.first} in {took:.1f} s ({done / took:.0f}/s): "
        f"{events:,} events, {elapsed / YEAR:,.1f} simulated years, {len(broken)} broken"
    )
    if broken:
        again = " ".join(str(seed) for seed in broken[:20]) + (" ..." if len(broken) > 20 else "")
        print(f"broken: {again}; read one: make simulate SEEDS=1 SEED={broken[0]}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
