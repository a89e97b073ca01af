"""The state tables under faults: seeded histories, and proof that the simulator bites."""

from __future__ import annotations

import pytest

from tests.simulator.faults import SHORT
from tests.simulator.scenario import play
from tests.simulator.world import World

SEEDS = 300
BATCH = 30


def story(world: World) -> str:
    return "\n".join([*world.trace.tail(60), *world.violations])


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_no_invariant_breaks(first: int) -> None:
    for seed in range(first, first + BATCH):
        world = play(seed, SHORT)
        assert not world.violations, f"seed {seed}\n{story(world)}"


def test_a_seed_replays_exactly() -> None:
    one, other = play(7, SHORT), play(7, SHORT)
    assert one.digest.hexdigest() == other.digest.hexdigest()
    assert one.trace.lines == other.trace.lines
