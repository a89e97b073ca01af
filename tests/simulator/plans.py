"""Random workflows, job types and schedules."""

from __future__ import annotations

import random
from collections.abc import Callable

from caroni.core.agent.state import JobType
from caroni.core.plan import DAY, HOUR, MINUTE, SECOND, Plan, PlanInput, PlanStep, StepPolicy, WorkflowInput

TYPES = ("t0", "t1", "t2")


def random_plan(dice: random.Random, types: list[str], most: int = 8) -> Plan:
    """A graph of up to ``most`` steps: chains, diamonds, joins; each step takes outputs of earlier ones."""
    steps: list[PlanStep] = []
    once = dice.random() < 0.35
    for index in range(dice.randint(1, most)):
        inputs = [PlanInput(name="a", type="Any", source="start")]
        if index:
            inputs[0] = PlanInput(name="a", type="Any", source=f"s{dice.randrange(index)}/out")
        if index > 1 and dice.random() < 0.5:
            inputs.append(PlanInput(name="b", type="Any", source=f"s{dice.randrange(index)}/out"))
        policy = StepPolicy(
            max_attempts=dice.choice([3, 20]),
            max_other_failures=dice.choice([20, 1000]),
            backoff=dice.choice([0, 10 * SECOND]),
            lost_after=dice.choice([0, 5 * MINUTE, 40 * MINUTE, 2 * HOUR]),
            at_most_once=once and dice.random() < 0.5,
        )
        steps.append(
            PlanStep(
                name=f"s{index}",
                job_type=dice.choice(types),
                inputs=tuple(inputs),
                outputs={"out": "string"},
                policy=policy,
            )
        )
    return Plan(inputs=(WorkflowInput(name="start", type="string"),), steps=tuple(steps), outputs=())


def job_types(dice: random.Random, place: int) -> dict[str, JobType]:
    """What the agent at this place of three holds: every type is on two, so that there is always another."""
    stop_after = dice.choice([0, 0, 10 * MINUTE, HOUR])
    return {
        name: JobType(
            name=name,
            version="1",
            revision=1,
            inputs={"a": "Any", "b": ["null", "string"]},
            required=frozenset("a"),
            stop_after=stop_after,
        )
        for number, name in enumerate(TYPES)
        if (number + place) % 3 != 0
    }


def daily(first: int, length: int, last: int) -> Callable[[int], tuple[int, int]]:
    """A schedule: closed for ``length`` from ``first`` on and at the same time of each day until ``last``."""

    def window(now: int) -> tuple[int, int]:
        start = first + max(0, (now - first) // DAY) * DAY
        if now >= start + length:
            start += DAY
        return (start, start + length) if start < last else (0, 0)

    return window
