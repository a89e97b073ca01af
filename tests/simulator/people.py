"""Who uses the federation: submitters with messages, operators with commands.

Submitters repeat themselves until they are answered. What somebody has stopped he lets go on again in the
end; what he has not stopped he does not touch, so that nobody repairs by chance what is broken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from caroni.core.commands import (
    CancelWorkflow,
    Drain,
    GoOffline,
    GoOnline,
    KillJob,
    PauseJob,
    PauseWorkflow,
    ResumeJob,
    ResumeWorkflow,
    RetrySteps,
    Undrain,
)
from caroni.core.draft import Outgoing
from caroni.core.manager.state import LIVE_JOB
from caroni.core.messages import (
    Message,
    OnFailure,
    Reserve,
    WorkFlowCancel,
    WorkFlowCreate,
    WorkFlowCreated,
    WorkFlowPause,
    WorkFlowResume,
    WorkFlowRetry,
)
from caroni.core.plan import DAY, HOUR, MINUTE, SECOND
from caroni.core.rows import AgentJob, Job, JobKey, Step, Workflow
from caroni.core.states import AgentJobState, StepState, is_terminal
from tests.simulator import words
from tests.simulator.network import Posted, sealed

if TYPE_CHECKING:
    from tests.simulator.agent import AgentNode
    from tests.simulator.manager import ManagerNode
    from tests.simulator.world import World

#: when those who have stopped something look after it, counted from the beginning of peace
ROUNDS = (0, HOUR, 6 * HOUR, DAY, 5 * DAY)


class Person:
    """A submitter: one workflow."""

    def __init__(self, world: World, name: str, manager: str, create: WorkFlowCreate) -> None:
        self.world = world
        self.uri = f"caroni://s/submitter/{name}"
        self.manager = manager
        self.create = create
        self.workflow_uuid = b""
        self._paused = False
        self._wait = MINUTE
        world.people[self.uri] = self
        world.network.bound.add(self.uri)

    def deliver(self, sender: str, posted: Posted) -> None:
        """An answer."""
        m = posted.outgoing.message
        if isinstance(m, WorkFlowCreated):
            self.workflow_uuid = m.workflow_uuid

    def broker_gone(self) -> None:
        """He connects again at once."""
        self.world.network.bound.add(self.uri)

    def submit(self) -> None:
        """Say it, and say it again."""
        if self.workflow_uuid:
            return
        self._say(self.create)
        self._wait = min(self._wait * 2, 2 * HOUR)
        self.world.at(self.world.now + self._wait, self.submit)

    def _say(self, message: Message) -> None:
        world = self.world
        posted = sealed(world.dice.randbytes(16), Outgoing(to=self.manager, message=message), 1, 0)
        world.committed[posted.id] = (self.uri, self.manager)
        world.tell(words.said, self.uri, posted.outgoing)
        world.network.post(self.uri, [posted])

    def steer(self) -> None:
        """Something a submitter may want."""
        if not self.workflow_uuid:
            return
        wish = self.world.dice.choice([WorkFlowPause, WorkFlowPause, WorkFlowResume, WorkFlowRetry])
        self._paused |= wish is WorkFlowPause
        self.world.saw(f"submitter: {wish.__name__}")
        self._say(wish(workflow_uuid=self.workflow_uuid))

    def cancel(self) -> None:
        """He wants it no more."""
        if self.workflow_uuid:
            self.world.saw("submitter: WorkFlowCancel")
            self._say(WorkFlowCancel(workflow_uuid=self.workflow_uuid))

    def look_after(self) -> None:
        """Let go on what he has stopped."""
        if self._paused:
            self._say(WorkFlowResume(workflow_uuid=self.workflow_uuid))


def random_create(world: World, node: ManagerNode, number: int) -> WorkFlowCreate:
    """A submit."""
    dice = world.dice
    return WorkFlowCreate(
        template_name=dice.choice(list(node.plans)),
        inputs={"start": f'"{node.uri}-{number}"'},
        submit_uuid=dice.randbytes(16),
        on_failure=dice.choice([OnFailure.DRAIN, OnFailure.KILL]),
        reserve=dice.choice([Reserve.READY, Reserve.READY, Reserve.READY, Reserve.ALL]),
    )


class ManagerOperator:
    """Who has the shell of a manager's host."""

    def __init__(self, node: ManagerNode) -> None:
        self.node = node
        self.world = node.world
        #: what he has paused: workflows, and steps by name in a workflow
        self._workflows: set[bytes] = set()
        self._steps: set[tuple[bytes, str]] = set()
        self._jobs: set[JobKey] = set()
        #: steps that are held in the end are left so by some
        self._leaves_held = world_leaves(self.world)

    def _live(self) -> list[Workflow]:
        return [w for w in self.node.of(Workflow) if not is_terminal(w.state)]

    def steer_workflow(self) -> None:
        """A command about a workflow or some of its steps."""
        dice, live = self.world.dice, self._live()
        if not live:
            return
        workflow = dice.choice(live)
        uuid = workflow.workflow_uuid
        steps = [s.name for s in self.node.of(Step) if s.workflow_uuid == uuid]
        some = (dice.choice(steps),) if dice.random() < 0.4 else ()
        match dice.choice(["pause", "pause", "resume", "retry", "retry", "cancel"]):
            case "pause":
                if some:
                    self._steps.update((uuid, name) for name in some)
                else:
                    self._workflows.add(uuid)
                self.node.command(PauseWorkflow(workflow_uuid=uuid, steps=some))
                later = ResumeWorkflow(workflow_uuid=uuid, steps=some)
                self._later(lambda: self.node.command(later))
            case "resume":
                self.node.command(ResumeWorkflow(workflow_uuid=uuid, steps=some))
            case "retry":
                self.node.command(RetrySteps(workflow_uuid=uuid, steps=some))
            case "cancel" if dice.random() < 0.3:
                self.node.command(CancelWorkflow(workflow_uuid=uuid, steps=some, reason="not wanted"))

    def steer_job(self) -> None:
        """A command about one job."""
        dice = self.world.dice
        jobs = [j for j in self.node.of(Job) if j.state in LIVE_JOB]
        if not jobs:
            return
        key: JobKey = dice.choice(jobs).key
        peer, job_uuid = key
        match dice.choice(["kill", "pause", "pause", "resume"]):
            case "kill":
                self.node.command(KillJob(peer=peer, job_uuid=job_uuid))
            case "pause":
                self._jobs.add(key)
                self.node.command(PauseJob(peer=peer, job_uuid=job_uuid))
                self._later(lambda: self.node.command(ResumeJob(peer=peer, job_uuid=job_uuid)))
            case "resume":
                self.node.command(ResumeJob(peer=peer, job_uuid=job_uuid))

    def _later(self, do: Callable[[], None]) -> None:
        dice = self.world.dice
        self.world.at(self.world.now + int(dice.choice([0, 10, 600]) * dice.random() * SECOND), do)

    def look_after(self) -> None:
        """Let go on what he has stopped, and have held steps tried again."""
        node = self.node
        for workflow in self._live():
            uuid = workflow.workflow_uuid
            if workflow.paused and uuid in self._workflows:
                node.command(ResumeWorkflow(workflow_uuid=uuid))
            names = tuple(name for of, name in sorted(self._steps) if of == uuid)
            wanted = [
                j for j in node.of(Job) if j.workflow_uuid == uuid and j.pause_wanted and j.state in LIVE_JOB
            ]
            if names and wanted:
                node.command(ResumeWorkflow(workflow_uuid=uuid, steps=names))
            for job in wanted:
                if job.key in self._jobs:
                    node.command(ResumeJob(peer=job.agent, job_uuid=job.job_uuid))
            held = [s for s in node.of(Step) if s.workflow_uuid == uuid and s.state is StepState.HELD]
            # (reserved jobs of such a workflow would wait, and be tried again, for as long as he does)
            if held and (workflow.reserve_all or not self._leaves_held):
                node.command(RetrySteps(workflow_uuid=uuid))


def world_leaves(world: World) -> bool:
    """Whether an operator never decides about held steps."""
    return world.dice.random() < 0.3


class AgentOperator:
    """Who has the shell of an agent's host."""

    def __init__(self, node: AgentNode) -> None:
        self.node = node
        self.world = node.world
        self._jobs: set[JobKey] = set()

    def drain(self) -> None:
        """Drain, and take it back some time."""
        dice = self.world.dice
        self.node.command(Drain(deadline=dice.choice([0, MINUTE, 10 * MINUTE])))
        back = int(dice.choice([60, 3600]) * dice.random() * SECOND)
        self.world.at(self.world.now + back, lambda: self.node.command(Undrain()))

    def go_away(self) -> None:
        """Announce an absence, go, and come back about then."""
        world, dice, node = self.world, self.world.dice, self.node
        span = int(dice.choice([1800, *world.profile.absences]) * (0.5 + dice.random()) * SECOND)
        node.command(GoOffline(duration=span))
        if dice.random() < 0.2:
            world.at(world.now + int(span * dice.random()), lambda: node.command(GoOnline()))
            return
        real = int(span * (0.7 + 0.5 * dice.random()))
        world.saw("announced absence")
        world.at(world.now + 10 * SECOND, lambda: node.stop(real))

    def steer_job(self) -> None:
        """A command about one job."""
        dice = self.world.dice
        jobs = [j for j in self.node.of(AgentJob) if not is_terminal(j.state)]
        if not jobs:
            return
        key: Any = dice.choice(jobs).key
        peer, job_uuid = key
        match dice.choice(["kill", "pause", "pause", "resume"]):
            case "kill":
                self.node.command(KillJob(peer=peer, job_uuid=job_uuid))
            case "pause":
                self._jobs.add(key)
                self.node.command(PauseJob(peer=peer, job_uuid=job_uuid))
            case "resume":
                self.node.command(ResumeJob(peer=peer, job_uuid=job_uuid))

    def look_after(self) -> None:
        """Let go on what he has stopped."""
        node = self.node
        row = node.state.availability
        if row.draining:
            node.command(Undrain())
        if row.away_until:
            node.command(GoOnline())
        for job in node.of(AgentJob):
            if job.state is AgentJobState.PAUSED and job.key in self._jobs:
                node.command(ResumeJob(peer=job.manager, job_uuid=job.job_uuid))
