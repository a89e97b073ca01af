"""The state tables under faults: seeded histories, and proof that the simulator bites."""

from __future__ import annotations

import pytest

from tests.simulator.scenario import play

SEEDS = 200
BATCH = 20


def story(world: object) -> str:
    lines = world.trace.lines  # type: ignore[attr-defined]
    return "\n".join([*lines[-60:], *world.violations])  # type: ignore[attr-defined]


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_no_invariant_breaks(first: int) -> None:
    for seed in range(first, first + BATCH):
        world = play(seed)
        assert not world.violations, f"seed {seed}\n{story(world)}"


def test_a_seed_replays_exactly() -> None:
    assert play(7).trace.lines == play(7).trace.lines


@pytest.mark.parametrize("mutant", ["spool claim", "re-broadcast", "lease"])
def test_a_missing_guard_is_noticed(mutant: str) -> None:
    assert any(play(seed, mutant).violations for seed in range(120)), f"nothing notices a missing {mutant}"
