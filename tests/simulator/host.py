"""The host of a simulated agent: processes and the spool, which survive the agent's daemon."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from caroni.core.agent.state import FoundJob, JobExited, JobStarted, SignalKind
from caroni.core.messages import FailureClass
from caroni.core.plan import SECOND
from caroni.core.rows import AgentJob, JobKey
from caroni.core.states import AgentJobState
from tests.simulator import words

if TYPE_CHECKING:
    from tests.simulator.agent import AgentNode

_NOT_STARTED = (AgentJobState.PENDING, AgentJobState.QUEUED)
#: seconds that a process is given to end by itself
GRACE = 30


@dataclass
class Process:
    """A job's process and its directory in the spool: what it was given, how it ended."""

    key: JobKey
    boot: int
    started_at: int
    ends_at: int
    inputs: dict[str, str]
    #: what the directory says of the job; None for one that only holds the wish that it never starts
    spec: AgentJob | None = None
    fails: bool = False
    alive: bool = True
    paused: bool = False
    #: what was left to do when it was suspended
    left: int = 0
    exit: JobExited | None = None
    #: a daemon of this epoch follows it; another one has to find it again
    followed: int = 0
    #: counts the changes of its end, so that only the last one comes
    turn: int = field(default=0)


class Host:
    """Processes by the uuid of their job: one directory, one claim, one start."""

    def __init__(self, agent: AgentNode) -> None:
        self.agent = agent
        self.world = agent.world
        self.spool: dict[bytes, Process] = {}
        self.boot = 1

    # -- starting ------------------------------------------------------------------------------

    def launch(self, job: AgentJob) -> None:
        """Start the job's process, or find out what became of the one that has claimed the job."""
        if self.is_claimed(job.job_uuid):
            self.look(job.key)
            return
        world, dice = self.world, self.world.dice
        world.starts[job.job_uuid] = world.starts.get(job.job_uuid, 0) + 1
        self.agent.oracle.started(job)
        inputs = self.agent.inputs_of(job.key)
        lasts = int(dice.choice(world.profile.jobs) * dice.random() * SECOND)
        process = Process(job.key, self.boot, world.now, world.now + lasts, inputs, spec=job)
        process.fails = dice.random() < world.faults.job_failure
        process.followed = self.agent.epoch
        self.spool[job.job_uuid] = process
        world.tell(words.starts, self.agent.uri, job.job_uuid, process.fails)
        self.agent.happen(JobStarted(key=job.key, at=self.agent.now))
        self._ends(process)

    def is_claimed(self, job_uuid: bytes) -> bool:
        """The guard ``spool claim``: whoever comes second does not start the job."""
        return job_uuid in self.spool

    def look(self, key: JobKey) -> None:
        """What the spool says of a job that was claimed."""
        process = self.spool[key[1]]
        process.followed = self.agent.epoch
        if process.exit is None and process.boot != self.boot:
            process.alive = False
            process.exit = self._failed(
                process, FailureClass.AGENT, "the host was rebooted while the job ran"
            )
        if process.exit is not None:
            self.tell(process)
        else:
            self.agent.happen(JobStarted(key=process.key, at=self.agent.now))

    # -- ending --------------------------------------------------------------------------------

    def _ends(self, process: Process) -> None:
        process.turn += 1
        turn = process.turn
        self.world.at(process.ends_at, lambda: self._end(process, turn))

    def _alive(self, process: Process, turn: int) -> bool:
        return process.alive and process.turn == turn and process.boot == self.boot

    def _end(self, process: Process, turn: int) -> None:
        if not self._alive(process, turn) or process.paused:
            return
        process.alive = False
        if self.agent.disk_full and self.world.dice.random() < 0.5:
            self.world.saw("outputs not written")
            process.exit = self._failed(process, FailureClass.AGENT, "the job's output could not be stored")
        elif process.fails:
            process.exit = self._failed(process, FailureClass.JOB, "exit code 3", exit_code=3)
        else:
            # the value names its job, so that a value from the wrong job is noticed
            process.exit = JobExited(
                key=process.key,
                state=AgentJobState.COMPLETED,
                exit_code=0,
                outputs={"out": f'"{process.key[1].hex()}"'},
            )
        self.tell(process)

    def _failed(
        self, process: Process, why: FailureClass, info: str, exit_code: int | None = None
    ) -> JobExited:
        return JobExited(
            key=process.key,
            state=AgentJobState.FAILED,
            exit_code=exit_code,
            failure_class=why,
            info=info,
        )

    def tell(self, process: Process) -> None:
        """The daemon that follows the process learns its end; after a restart the spool tells."""
        if process.exit is not None and self.agent.up and process.followed == self.agent.epoch:
            self.agent.happen(process.exit)

    # -- signals -------------------------------------------------------------------------------

    def signal(self, key: JobKey, kind: SignalKind) -> None:
        """What the agent wants of a process."""
        process = self.spool.get(key[1])
        if kind is SignalKind.KILL:
            self._kill(key, process)
        elif process is None or not process.alive or process.boot != self.boot:
            return
        elif kind is SignalKind.PAUSE and not process.paused:
            process.paused = True
            process.left = max(process.ends_at - self.world.now, 1)
        elif kind is SignalKind.RESUME and process.paused:
            process.paused = False
            process.ends_at = self.world.now + process.left
            self._ends(process)

    def _kill(self, key: JobKey, process: Process | None) -> None:
        world = self.world
        if process is None:
            # before it was started: the wish lies in the spool, so that it never is
            process = Process(key, self.boot, world.now, world.now, {}, alive=False)
            process.exit = JobExited(key=key, state=AgentJobState.KILLED, info="killed before it was started")
            self.spool[key[1]] = process
        process.followed = self.agent.epoch
        if not process.alive or process.boot != self.boot:
            self.look(key)
            return
        process.paused = False
        patience = int(world.dice.choice([0, GRACE, GRACE]) * world.dice.random() * SECOND)
        turn = process.turn

        def dies() -> None:
            if not self._alive(process, turn):
                return
            if world.dice.random() < 0.1:
                process.paused = False
                self._end(process, turn)  # it takes the signal for a wish to come to its end
                return
            process.alive = False
            process.exit = JobExited(
                key=key, state=AgentJobState.KILLED, exit_code=None, info="killed", wall=1
            )
            self.tell(process)

        world.at(world.now + patience, dies)

    # -- after a restore -----------------------------------------------------------------------

    def forgotten(self) -> list[FoundJob]:
        """Jobs with files here that the database does not know, or believes never started."""
        found = []
        for process in self.spool.values():
            row = self.agent.rows.get((AgentJob, process.key))
            known = isinstance(row, AgentJob) and row.state not in _NOT_STARTED
            job = process.spec
            if known or job is None:
                continue
            found.append(
                FoundJob(
                    key=job.key,
                    offer_uuid=job.offer_uuid,
                    request_uuid=job.request_uuid,
                    job_type=job.job_type,
                    job_type_version=job.job_type_version,
                    definition_revision=job.definition_revision,
                    parameters=job.parameters,
                    attempt=job.attempt,
                    max_runtime=job.max_runtime,
                    inputs=process.inputs,
                    paused=process.paused,
                )
            )
        return found

    # -- the host itself -----------------------------------------------------------------------

    def reboot(self) -> None:
        """Every process is gone; what they have written is there."""
        if any(p.alive and p.boot == self.boot for p in self.spool.values()):
            self.world.saw("reboot with a running job")
        self.boot += 1

    def running(self) -> int:
        """Processes that live, suspended ones too."""
        return sum(1 for p in self.spool.values() if p.alive and p.boot == self.boot)
