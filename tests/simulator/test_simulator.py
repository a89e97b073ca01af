"""The state tables under faults: seeded histories, and proof that the simulator bites."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulator import mutants
from tests.simulator.directed import forgotten_kill
from tests.simulator.faults import SHORT
from tests.simulator.scenario import play
from tests.simulator.sometimes import BOUNDARIES, REQUIRED, missing
from tests.simulator.world import World

SEEDS = 300
BATCH = 30
#: seeds that are tried for a guard that is missed early; the rest is in ``make mutants``
EARLY = 60
QUICK = ("idempotent accept", "inbox", "outbox", "re-broadcast", "spool claim", "kill tombstone")


def story(world: World) -> str:
    return "\n".join([*world.trace.tail(60), *world.violations])


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_no_invariant_breaks(first: int) -> None:
    for seed in range(first, first + BATCH):
        world = play(seed, SHORT)
        assert not world.violations, f"seed {seed}\n{story(world)}"


def test_a_kill_that_an_agent_has_forgotten() -> None:
    for seed in range(20):
        world = forgotten_kill(seed)
        assert not world.violations, f"seed {seed}\n{story(world)}"


def test_a_seed_replays_exactly() -> None:
    for seed in (7, 8, 9):
        one, other = play(seed, SHORT), play(seed, SHORT)
        assert one.digest.hexdigest() == other.digest.hexdigest()
        assert one.trace.lines == other.trace.lines


def test_a_seed_replays_exactly_in_another_process() -> None:
    code = (
        "from tests.simulator.scenario import play; from tests.simulator.faults import SHORT;"
        "print(*(play(seed, SHORT).digest.hexdigest() for seed in range(5)))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


@pytest.mark.parametrize("guard", QUICK)
def test_a_missing_guard_is_noticed(guard: str) -> None:
    noticed = (mutants.try_seed(seed, guard=guard, profile=SHORT)[1] for seed in range(EARLY))
    assert any(noticed), f"nothing notices that {guard} is missing"


def test_a_guard_that_was_left_out_is_back() -> None:
    with mutants.without("spool claim"):
        pass
    assert not play(1, SHORT).violations


def test_what_was_never_met_is_told() -> None:
    assert set(missing(dict.fromkeys(BOUNDARIES, 1))) == set(REQUIRED) - set(BOUNDARIES)
