"""The invariants at rest: faults have stopped long ago, everything must have come to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caroni.core.manager.state import LIVE_JOB
from caroni.core.rows import AgentJob, AgentOffer, Flow, Job, JobOutput, Request, Step, Workflow
from caroni.core.states import AgentOfferState, RequestState, StepState, WorkflowState, is_terminal
from tests.simulator import words
from tests.simulator.agent import AgentNode
from tests.simulator.manager import ManagerNode
from tests.simulator.node import Node

if TYPE_CHECKING:
    from tests.simulator.world import World


def check(world: World) -> None:
    """Look at everything (numbers as in docs/reliability.md)."""
    for uuid, count in world.starts.items():
        if count > 1:
            world.violate(f"I1 {world.trace.names.of(uuid)} was started {count} times")
    nodes = [node for node in world.nodes.values() if not node.gone]
    managers = [n for n in nodes if isinstance(n, ManagerNode)]
    agents = [n for n in world.nodes.values() if isinstance(n, AgentNode)]
    for node in nodes:
        _check_node(world, node)
    for manager in managers:
        _Manager(world, manager, {a.uri: a for a in agents}).check()
    for agent in agents:
        if not agent.gone:
            _check_agent(world, agent)
    _check_letters(world)
    for person in world.people.values():
        if not person.workflow_uuid:
            world.violate(f"I5 {words.name(person.uri)} was never answered")
            continue
        manager = world.nodes[person.manager]
        if (Workflow, person.workflow_uuid) not in manager.rows and not manager.put_back_count:
            world.violate(f"G1 workflow {world.trace.names.of(person.workflow_uuid)} is gone")


def _check_letters(world: World) -> None:
    """G2: what was committed to an outbox, and was not lost by the broker, has had its effect."""
    for id_, (sender, to) in world.committed.items():
        recipient = world.nodes.get(to)
        if recipient is None or recipient.gone or recipient.put_back_count or id_ in world.lost:
            continue
        origin = world.nodes.get(sender)
        if origin is None or origin.gone or origin.put_back_count:
            continue  # a submitter has no outbox, he says it again
        if (sender, id_) not in recipient.inbox:
            world.violate(f"G2 a letter of {words.name(sender)} has never come to {words.name(to)}")
            return


def _check_node(world: World, node: Node) -> None:
    name = words.name(node.uri)
    if any(not posted.sent for posted in node.outbox.values()):
        world.violate(f"I9 the outbox of {name} is not empty")
    if not node.up:
        world.violate(f"I5 {name} has not come back")
        return
    for table in node.state.tables.values():
        for row in table.values():
            if node.rows.get((type(row), row.key)) != row:
                world.violate(f"memory of {name} is not what is durable: {row}")


def _check_agent(world: World, agent: AgentNode) -> None:
    name = words.name(agent.uri)
    for job in agent.of(AgentJob):
        called = world.trace.names.of(job.job_uuid)
        if not is_terminal(job.state):
            world.violate(f"I6 {name} still has {called} {job.state}")
        elif not job.released:
            world.violate(f"I19 {name} was never told to forget {called}")
    if any(offer.state is AgentOfferState.OPEN for offer in agent.of(AgentOffer)):
        world.violate(f"I20 {name} keeps a reservation open")
    if agent.state.running or agent.state.waiting_of or agent.state.open_offers:
        world.violate(f"I20 {name} counts wrong: {agent.state.running} {agent.state.waiting_of}")


class _Manager:
    def __init__(self, world: World, manager: ManagerNode, agents: dict[str, AgentNode]) -> None:
        self.world = world
        self.manager = manager
        self.agents = agents
        self.flows = {f.key: f for f in manager.of(Flow)}
        self.outputs = {o.key: o for o in manager.of(JobOutput)}
        self.steps: dict[Any, Step] = {s.key: s for s in manager.of(Step)}

    def check(self) -> None:
        submits = [w.submit_uuid for w in self.manager.of(Workflow)]
        if len(submits) != len(set(submits)):
            self._violate("I9", "one submit made two workflows")
        for workflow in self.manager.of(Workflow):
            self._workflow(workflow)
        for job in self.manager.of(Job):
            step = self.steps.get((job.workflow_uuid, job.step_index))
            if job.state in LIVE_JOB and step is not None and is_terminal(step.state):
                self._violate("I6", f"{self._name(job.job_uuid)} is {job.state}, its step is {step.state}")
        for request in self.manager.of(Request):
            step = self.steps.get((request.workflow_uuid, request.step_index))
            still = request.state in (RequestState.OPEN, RequestState.ACCEPTING)
            if still and step is not None and is_terminal(step.state):
                self._violate(
                    "I6", f"{self._name(request.request_uuid)} is {request.state}, its step is {step.state}"
                )

    def _workflow(self, workflow: Workflow) -> None:
        called = self._name(workflow.workflow_uuid)
        if not is_terminal(workflow.state) and workflow.state is not WorkflowState.HELD:
            self._violate("I5", f"{called} is {workflow.state}{' and paused' if workflow.paused else ''}")
        for step in self.steps.values():
            if step.workflow_uuid != workflow.workflow_uuid:
                continue
            name = f"{called}/{step.name}"
            if workflow.state is WorkflowState.COMPLETED and step.state is not StepState.COMPLETED:
                self._violate("I7", f"{called} completed with {step.name} {step.state}")
            ended = is_terminal(step.state)
            if not ended and step.state is not StepState.HELD and is_terminal(workflow.state):
                self._violate("I5", f"{called} ended with {step.name} {step.state}")
            if workflow.state is WorkflowState.HELD and not ended and step.state not in _MAY_WAIT:
                self._violate("I5", f"{name} is {step.state} although only another step is held")
            self._outputs(workflow, step, name)
            self._jobs(workflow, step, name)

    def _outputs(self, workflow: Workflow, step: Step, name: str) -> None:
        if step.state is not StepState.COMPLETED:
            return
        value = self.flows.get((workflow.workflow_uuid, f"{step.name}/out"))
        staged = self.outputs.get((*step.winner, "out"))
        if value is None or staged is None or staged.value != value.value:
            self._violate("I7", f"{name} completed without its winner's output")
        elif (value.agent, value.job_uuid) != step.winner:
            self._violate("I3", f"the value of {name} is not the winner's")
        elif value.value != f'"{value.job_uuid.hex()}"':
            self._violate("I3", f"the value of {name} is of another job")

    def _jobs(self, workflow: Workflow, step: Step, name: str) -> None:
        plan = self.manager.plans[workflow.template].steps[step.index]
        started = [key for key in step.jobs if self.world.starts.get(key[1])]
        told = self.manager.put_back_told and all(self.agents[a].put_back_told for a, _ in started)
        retried = step.key in self.manager.oracle.retried
        if plan.policy.at_most_once and len(started) > 1 and told and not retried:
            self._violate("I13", f"{name} must run at most once, and {len(started)} jobs were started")
        for agent_uri, job_uuid in started:
            process = self.agents[agent_uri].spool.get(job_uuid)
            if process is None:  # wiped
                continue
            if workflow.reserve_all and self.manager.put_back_count:
                continue  # it was given what a winner made that the restore has forgotten
            for item in plan.inputs:
                flow = self.flows.get((workflow.workflow_uuid, item.source or ""))
                if flow is None or process.inputs.get(item.name) != flow.value:
                    self._violate("I3", f"{self._name(job_uuid)} ran with another {item.name}")

    def _name(self, uuid: bytes) -> str:
        return self.world.trace.names.of(uuid)

    def _violate(self, number: str, text: str) -> None:
        self.world.violate(f"{number} {words.name(self.manager.uri)}: {text}")


#: what a step of a held workflow may be for ever: held, or waiting for the held one
_MAY_WAIT = frozenset({StepState.HELD, StepState.WAITING, StepState.FULFILLING, StepState.FULFILLED})
