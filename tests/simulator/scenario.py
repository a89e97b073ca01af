"""One seeded history: random graphs on a small federation, faults, then peace, then the invariants."""

from __future__ import annotations

from msgspec.structs import replace

from caroni.core.plan import DAY, HOUR, SECOND
from tests.simulator.faults import LONG, Profile
from tests.simulator.people import ROUNDS, Person, random_create
from tests.simulator.plans import TYPES, daily, job_types
from tests.simulator.plans import random_plan as random_plan
from tests.simulator.rest import check as check
from tests.simulator.troubles import Troubles
from tests.simulator.world import START, AgentNode, ManagerNode, World

#: as in the long profile
HEALED = LONG.healed


def build(seed: int, profile: Profile = LONG) -> tuple[World, Troubles]:
    """Two managers, three agents, and what will happen to them."""
    world = World(seed, profile)
    dice = world.dice
    for name in ("m0", "m1"):
        plans = {f"p{i}": random_plan(dice, list(TYPES), profile.steps) for i in range(2)}
        ManagerNode(world, f"caroni://s/manager/{name}", plans, window=dice.choice([0, 0, 2 * SECOND]))
    for place in range(3):
        agent = AgentNode(world, f"caroni://s/agent/a{place}", job_types(dice, place))
        if dice.random() < 0.15:
            _close_daily(world, agent)
    for node in world.nodes.values():
        node.start()
    for node in list(world.nodes.values()):
        if isinstance(node, ManagerNode):
            for number in range(dice.randint(1, profile.workflows)):
                _submit(world, node, number)
    troubles = Troubles(world, START + profile.faulty)
    troubles.begin()
    return world, troubles


def _close_daily(world: World, agent: AgentNode) -> None:
    """Some hours of each day; switched off meanwhile, or only closed."""
    dice, profile = world.dice, world.profile
    first = START + int(dice.random() * profile.faulty)
    length = int(dice.choice(profile.closed) * (0.5 + dice.random() / 2))
    agent.policy = replace(agent.policy, window=daily(first, length, START + profile.faulty + DAY))
    world.saw("daily schedule")
    if dice.random() < 0.5:
        world.at(first + 30 * SECOND, lambda: agent.stop(length))


def _submit(world: World, node: ManagerNode, number: int) -> None:
    dice, faulty = world.dice, world.profile.faulty
    name = f"{node.uri.rpartition('/')[2]}-{number}"
    person = Person(world, name, node.uri, random_create(world, node, number))
    world.trace.names.learn(person.create.submit_uuid, f"of {name}")
    when = START + int(dice.random() * faulty / 2)
    for _ in range(dice.choice([1, 1, 2])):  # twice is one workflow
        world.at(when, person.submit)
    if dice.random() < world.faults.cancel:
        world.at(when + int(dice.random() * HOUR), person.cancel)
    if dice.random() < world.faults.steering:
        world.at(when + int(dice.random() * HOUR), person.steer)


def play(seed: int, profile: Profile = LONG) -> World:
    """Run one seed to its end and check everything; ``world.violations`` is the verdict."""
    world, troubles = build(seed, profile)
    try:
        world.run(START + profile.faulty, profile.faulty_events)
        troubles.end()
        for after in ROUNDS:
            for one in (*troubles.managers.values(), *troubles.agents.values(), *world.people.values()):
                world.at(world.now + after, one.look_after)
        calm = world.run(START + profile.faulty + profile.healed, profile.max_events)
    except Exception as error:
        if not world.violations:
            world.violate(f"I11 {error!r}")
        return world
    if not calm:
        world.violate(f"I17 more than {profile.max_events} events: a message storm")
        return world
    check(world)
    return world
