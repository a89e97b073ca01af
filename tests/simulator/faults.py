"""How hostile a simulated world is: knobs that each seed draws anew (swarm testing), in two sizes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from caroni.core.plan import DAY, HOUR, MINUTE, SECOND


class Crash(Exception):
    """The node stops here; everything volatile is gone."""


@dataclass(frozen=True)
class Profile:
    """How large a history may become. Durations in microseconds."""

    name: str
    #: faults happen for so long, and for so many events
    faulty: int
    faulty_events: int
    #: and then there is peace, at most for so long
    healed: int
    #: more events than this are a message storm
    max_events: int
    #: steps of a workflow, workflows of a manager
    steps: int
    workflows: int
    #: what a slow message may take, seconds
    delays: tuple[int, ...]
    #: what a job may take, seconds
    jobs: tuple[int, ...]
    #: what an absence may take, seconds
    absences: tuple[int, ...]
    #: for how long an agent with a schedule is closed each day
    closed: tuple[int, ...]
    #: between two happenings at one node
    pause: int
    #: the longest pause between two questions about a silent job, and the end of telling an absent agent
    poll_caps: tuple[int, ...]
    abandon_after: int
    #: how long an agent waits for inputs
    input_timeout: int
    #: seconds between presences that nothing occasions, 0 = none
    presences: tuple[int, ...]


SHORT = Profile(
    name="short",
    faulty=90 * MINUTE,
    faulty_events=550,
    healed=30 * DAY,
    max_events=4_000,
    steps=3,
    workflows=2,
    delays=(1, 30, 300, 3600),
    jobs=(1, 60, 1200),
    absences=(10, 300, 900, 3600),
    closed=(20 * MINUTE, HOUR),
    pause=15 * MINUTE,
    poll_caps=(30 * MINUTE, 2 * HOUR),
    abandon_after=2 * DAY,
    input_timeout=3 * HOUR,
    presences=(0,),
)

LONG = Profile(
    name="long",
    faulty=8 * HOUR,
    faulty_events=100_000,
    healed=60 * DAY,
    max_events=200_000,
    steps=8,
    workflows=3,
    delays=(1, 30, 300, 3600, 20_000, 300_000),
    jobs=(1, 20, 600, 3 * 3600),
    absences=(10, 600, 4 * 3600, 40 * 3600),
    closed=(HOUR, 8 * HOUR),
    pause=30 * MINUTE,
    poll_caps=(10 * MINUTE, HOUR),
    abandon_after=30 * DAY,
    input_timeout=DAY,
    presences=(0, 0, 600, 3600),
)


@dataclass
class Faults:
    """Chances of each kind of trouble; ``heal`` switches all of it off."""

    # each message, each unit of work
    drop: float = 0.0
    duplicate: float = 0.0
    slow: float = 0.0
    crash: float = 0.0
    slow_handler: float = 0.0
    # each job
    job_failure: float = 0.0
    # each time that something may happen to a node
    reboot: float = 0.0
    cancel: float = 0.0
    long_absence: float = 0.0
    partition: float = 0.0
    broker_wipe: float = 0.0
    agent_wipe: float = 0.0
    agent_death: float = 0.0
    announced: float = 0.0
    clock_jump: float = 0.0
    restore: float = 0.0
    redelivery: float = 0.0
    disk_full: float = 0.0
    steering: float = 0.0
    job_steering: float = 0.0
    drain: float = 0.0
    #: letters to one recipient travel in bundles
    bundle: bool = field(default=False)

    @classmethod
    def draw(cls, dice: random.Random) -> Faults:
        """Most kinds are absent from a given history, so that the others are seen alone too."""

        def some(limit: float, chance: float = 0.6) -> float:
            return dice.random() * limit if dice.random() < chance else 0.0

        return cls(
            drop=some(0.1) if dice.random() < 0.9 else some(0.6),
            duplicate=some(0.3),
            slow=some(0.3),
            crash=some(0.05),
            slow_handler=some(0.1, 0.2),
            job_failure=some(0.3),
            reboot=some(0.3),
            cancel=0.3 if dice.random() < 0.3 else 0.0,
            long_absence=some(0.3),
            partition=some(0.4, 0.4),
            broker_wipe=some(0.3, 0.25),
            agent_wipe=some(0.3, 0.15),
            agent_death=0.4 if dice.random() < 0.3 else 0.0,
            announced=some(0.4, 0.3),
            clock_jump=some(0.5, 0.25),
            restore=some(0.5, 0.25),
            redelivery=some(0.3, 0.2),
            disk_full=some(0.4, 0.25),
            steering=some(0.6, 0.4),
            job_steering=some(0.6, 0.3),
            drain=some(0.5, 0.3),
            bundle=dice.random() < 0.5,
        )

    def heal(self) -> None:
        """Peace: nothing goes wrong any more."""
        for name in self.__dataclass_fields__:
            if name != "bundle":
                setattr(self, name, 0.0)


#: what the wall clock of a node may be set by, microseconds
JUMPS = (-2 * DAY, -HOUR, -30 * SECOND, 30 * SECOND, HOUR, 2 * DAY)
