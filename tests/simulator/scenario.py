"""One seeded history: two managers, three agents, random graphs, faults, then peace, then the invariants."""

from __future__ import annotations

import random
from typing import Any

from caroni.core.agent.state import JobType
from caroni.core.messages import OnFailure, Reserve, WorkFlowCancel, WorkFlowCreate
from caroni.core.plan import HOUR, MINUTE, SECOND, Plan, PlanInput, PlanStep, StepPolicy, WorkflowInput
from caroni.core.rows import AgentJob, AgentOffer, Flow, Job, JobOutput, Request, Step, Workflow
from caroni.core.states import JobState, StepState, WorkflowState, is_terminal
from tests.simulator.world import START, AgentNode, ManagerNode, World

FAULTY = 6 * HOUR
HEALED = 40 * 24 * HOUR
MAX_EVENTS = 60_000


def random_plan(dice: random.Random, types: list[str]) -> Plan:
    """A graph of up to eight steps: chains, diamonds, joins; each step takes outputs of earlier ones."""
    steps: list[PlanStep] = []
    once = dice.random() < 0.2
    for index in range(dice.randint(1, 8)):
        inputs = [PlanInput(name="a", type="Any", source="start")]
        if index:
            inputs[0] = PlanInput(name="a", type="Any", source=f"s{dice.randrange(index)}/out")
        if index > 1 and dice.random() < 0.5:
            inputs.append(PlanInput(name="b", type="Any", source=f"s{dice.randrange(index)}/out"))
        policy = StepPolicy(
            max_attempts=dice.choice([3, 20]),
            max_other_failures=1000,
            backoff=dice.choice([0, 10 * SECOND]),
            lost_after=dice.choice([40 * MINUTE, 2 * HOUR]),
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


def build(seed: int, mutant: str = "") -> World:
    world = World(seed, mutant=mutant)
    dice = world.dice
    types = ["t0", "t1", "t2"]
    for name in ("m0", "m1"):
        plans = {f"p{i}": random_plan(dice, types) for i in range(2)}
        ManagerNode(world, f"caroni://s/manager/{name}", plans, window=dice.choice([0, 0, 2 * SECOND]))
    for index in range(3):
        # every type on two agents, so that a failed one has an alternative
        held = [t for n, t in enumerate(types) if (n + index) % 3 != 0]
        kinds = {
            t: JobType(
                name=t,
                version="1",
                revision=1,
                inputs={"a": "Any", "b": ["null", "string"]},
                required=frozenset("a"),
            )
            for t in held
        }
        AgentNode(world, f"caroni://s/agent/a{index}", kinds)
    for node in world.nodes.values():
        node.start()
    for node in list(world.nodes.values()):
        if isinstance(node, ManagerNode):
            for number in range(dice.randint(1, 3)):
                _submit_later(world, node, number)
        _trouble_later(world, node)
    if dice.random() < 0.2:
        world.at(START + int(dice.random() * FAULTY), lambda: _die(world, "caroni://s/agent/a0"))
    return world


def _die(world: World, uri: str) -> None:
    node = world.nodes[uri]
    node.stop(0)
    node.gone = True
    world.seen["agent gone for good"] = world.seen.get("agent gone for good", 0) + 1


def _submit_later(world: World, node: ManagerNode, number: int) -> None:
    dice = world.dice
    create = WorkFlowCreate(
        template_name=dice.choice(list(node.plans)),
        inputs={"start": f'"{node.uri}-{number}"'},
        submit_uuid=dice.randbytes(16),
        on_failure=dice.choice([OnFailure.DRAIN, OnFailure.KILL]),
        reserve=dice.choice([Reserve.READY, Reserve.READY, Reserve.ALL]),
    )
    when = START + int(dice.random() * FAULTY / 2)

    def submit() -> None:
        if not node.up:  # the submitter asks again until he hears
            world.at(world.now + MINUTE, submit)
            return
        node.happen(create)

    for _ in range(dice.choice([1, 1, 2])):  # twice is one workflow
        world.at(when, submit)
    if dice.random() < world.faults.cancel:

        def cancel() -> None:
            for workflow in node.of(Workflow):
                if (
                    workflow.submit_uuid == create.submit_uuid
                    and node.up
                    and workflow.workflow_uuid in node.state.tables[Workflow]
                ):
                    node.happen(WorkFlowCancel(workflow_uuid=workflow.workflow_uuid))
                    world.seen["cancel"] = world.seen.get("cancel", 0) + 1

        world.at(when + int(dice.random() * HOUR), cancel)


def _trouble_later(world: World, node: Any) -> None:
    dice = world.dice

    def trouble() -> None:
        if world.now > START + FAULTY:
            return
        if dice.random() < world.faults.long_absence:
            node.stop(int(dice.choice([10, 600, 4 * 3600]) * (0.5 + dice.random()) * SECOND))
        elif isinstance(node, AgentNode) and dice.random() < world.faults.reboot:
            node.reboot(int(60 * dice.random() * SECOND))
        world.at(world.now + int(HOUR * (0.2 + dice.random())), trouble)

    world.at(START + int(dice.random() * HOUR), trouble)


def play(seed: int, mutant: str = "") -> World:
    """Run one seed to its end and check everything; ``world.violations`` is the verdict."""
    world = build(seed, mutant)
    try:
        calm = world.run(START + FAULTY, MAX_EVENTS)
        world.faults.heal()
        for node in world.nodes.values():
            if isinstance(node, AgentNode) and node.up:
                world.at(world.now, node.presence)
        calm = world.run(START + HEALED, MAX_EVENTS) and calm
    except Exception as error:
        world.violate(f"I11 {error!r}")
        return world
    if not calm:
        world.violate(f"I17 more than {MAX_EVENTS} events: a message storm")
        return world
    check(world)
    return world


def check(world: World) -> None:
    """The invariants at rest (numbers as in docs/reliability.md, section 4)."""
    for uuid, count in world.starts.items():
        if count > 1:
            world.violate(f"I1 job {uuid.hex()[:6]} was started {count} times")
    managers = [n for n in world.nodes.values() if isinstance(n, ManagerNode)]
    agents = [n for n in world.nodes.values() if isinstance(n, AgentNode)]
    for node in world.nodes.values():
        if not node.gone and any(not posted.sent for posted in node.outbox.values()):
            world.violate(f"I9 outbox of {node.uri} is not empty")
    for manager in managers:
        _check_manager(world, manager, {a.uri: a for a in agents})
    for agent in agents:
        if agent.gone:
            continue
        for job in agent.of(AgentJob):
            if not is_terminal(job.state):
                world.violate(f"I6 {agent.uri} still has job {job.job_uuid.hex()[:6]} {job.state}")
            elif not job.released:
                world.violate(f"I19 {agent.uri} job {job.job_uuid.hex()[:6]} was never released")
        if any(offer.state == "open" for offer in agent.of(AgentOffer)):
            world.violate(f"I20 {agent.uri} keeps a reservation open")
        if agent.state.running or agent.state.waiting_of or agent.state.open_offers:
            world.violate(f"I20 {agent.uri} counts wrong: {agent.state.running} {agent.state.waiting_of}")


def _check_manager(world: World, manager: ManagerNode, agents: dict[str, AgentNode]) -> None:
    flows = {f.key: f for f in manager.of(Flow)}
    outputs = {o.key: o for o in manager.of(JobOutput)}
    submits = [w.submit_uuid for w in manager.of(Workflow)]
    if len(submits) != len(set(submits)):
        world.violate(f"{manager.uri}: one submit made two workflows")
    for workflow in manager.of(Workflow):
        plan = manager.plans[workflow.template]
        short = workflow.workflow_uuid.hex()[:6]
        if not is_terminal(workflow.state) and workflow.state is not WorkflowState.HELD:
            world.violate(f"I5 workflow {short} is {workflow.state}")
        for step in (s for s in manager.of(Step) if s.workflow_uuid == workflow.workflow_uuid):
            policy = plan.steps[step.index].policy
            world.seen[f"step {step.state}"] = world.seen.get(f"step {step.state}", 0) + 1
            if workflow.state is WorkflowState.COMPLETED and step.state is not StepState.COMPLETED:
                world.violate(f"I5 workflow {short} completed with step {step.name} {step.state}")
            if (
                not is_terminal(step.state)
                and step.state is not StepState.HELD
                and is_terminal(workflow.state)
            ):
                world.violate(f"I5 workflow {short} ended with step {step.name} {step.state}")
            if step.job_failures > policy.max_attempts:
                world.violate(f"I8 step {step.name} used {step.job_failures} attempts")
            if step.state is StepState.COMPLETED:
                value = flows.get((workflow.workflow_uuid, f"{step.name}/out"))
                staged = outputs.get((*step.winner, "out"))
                if value is None or staged is None or staged.value != value.value:
                    world.violate(f"I7 step {step.name} completed without its winner's output")
                elif (value.agent, value.job_uuid) != step.winner:
                    world.violate(f"I3 value of {step.name} is not the winner's")
            started = [key for key in step.jobs if world.starts.get(key[1])]
            if policy.at_most_once and len(started) > 1:
                world.violate(f"I13 at-most-once step {step.name} started {len(started)} jobs")
            for agent_uri, job_uuid in started:
                process = agents[agent_uri].spool[job_uuid]
                for item in plan.steps[step.index].inputs:
                    flow = flows.get((workflow.workflow_uuid, item.source or ""))
                    if flow is None or process.inputs.get(item.name) != flow.value:
                        world.violate(f"I3 job of {step.name} ran with another input {item.name}")
    live = {JobState.PENDING, JobState.QUEUED, JobState.RUNNING, JobState.PAUSED}
    for job in manager.of(Job):
        step = manager.rows.get((Step, (job.workflow_uuid, job.step_index)))
        if job.state in live and isinstance(step, Step) and is_terminal(step.state):
            world.violate(f"I6 job {job.job_uuid.hex()[:6]} is {job.state} for a step that is {step.state}")
    for request in manager.of(Request):
        step = manager.rows.get((Step, (request.workflow_uuid, request.step_index)))
        if request.state in ("open", "accepting") and isinstance(step, Step) and is_terminal(step.state):
            world.violate(f"I6 request of {step.name} is {request.state} for a step that is {step.state}")
