"""Histories that are made for one rare meeting of faults, which random ones hardly ever arrange."""

from __future__ import annotations

from caroni.core.agent.state import Allowance, JobType
from caroni.core.commands import KillJob
from caroni.core.messages import WorkFlowCreate
from caroni.core.plan import HOUR, SECOND, Plan, PlanInput, PlanStep, WorkflowInput
from caroni.core.rows import Job
from caroni.core.states import JobState
from tests.simulator.faults import SHORT, Faults, Profile
from tests.simulator.node import Durable
from tests.simulator.people import Person
from tests.simulator.rest import check
from tests.simulator.world import START, AgentNode, ManagerNode, World

_EVERYTHING = Allowance()


def forgotten_kill(seed: int, profile: Profile = SHORT) -> World:
    """A job is killed while it is queued; then its agent is put back to the time before it was accepted.

    The broker has forgotten the acknowledgements too: accept, inputs and kill come again, in any order.
    Whatever the order, what was to be stopped does not start (the guard ``kill tombstone``).
    """
    world = World(seed, profile)
    world.faults = Faults()
    step = PlanInput(name="a", type="Any", source="start")
    steps = tuple(
        PlanStep(name=name, job_type="t", inputs=(step,), outputs={"out": "string"}) for name in ("s0", "s1")
    )
    plan = Plan(inputs=(WorkflowInput(name="start", type="string"),), steps=steps)
    manager = ManagerNode(world, "caroni://s/manager/m0", {"p": plan}, window=2 * SECOND)
    manager.settings = type(manager.settings)(offer_window=2 * SECOND)
    kind = JobType(name="t", version="1", revision=1, inputs={"a": "Any"}, required=frozenset("a"))
    agent = AgentNode(world, "caroni://s/agent/a0", {"t": kind})
    agent.settings = type(agent.settings)(slots=1)
    agent.policy = type(agent.policy)(
        allow=lambda manager, job_type: _EVERYTHING, decide=agent.policy.decide, window=agent.policy.window
    )
    for node in (manager, agent):
        node.start()
    create = WorkFlowCreate(template_name="p", inputs={"start": '"s"'}, submit_uuid=world.dice.randbytes(16))
    person = Person(world, "m0-0", manager.uri, create)
    backups: list[Durable] = []

    def kill() -> None:
        for job in manager.of(Job):
            if job.state is JobState.QUEUED:
                manager.command(KillJob(peer=job.agent, job_uuid=job.job_uuid))

    def restore() -> None:
        agent.kill_process()
        agent.put_back(backups[0])
        agent.facts["put_back"] = "1"
        agent.put_back_count += 1
        agent.put_back_at = world.now
        agent.oracle.put_back()
        agent.redeliver()
        agent.start()

    world.at(START + SECOND, person.submit)
    world.at(START + 2 * SECOND, lambda: backups.append(agent.snapshot()))
    world.at(START + 4 * SECOND, kill)
    world.at(START + 5 * SECOND, restore)
    if not world.run(START + HOUR, profile.max_events):
        world.violate("I17 a message storm")
    world.at_peace = True
    world.run(START + profile.healed, profile.max_events)
    check(world)
    return world
