"""A whole federation in one thread: the real core under a virtual clock, with seeded faults.

Nodes hold durable rows, an inbox and an outbox, as the daemons do; what is volatile is lost in a crash.
The network loses, repeats, delays and reorders. Processes and their spool survive their agent. A seed
decides everything, so a failing seed replays.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from caroni.core.draft import Outgoing
from caroni.core.plan import HOUR, SECOND
from tests.simulator.agent import AgentNode as AgentNode
from tests.simulator.agent import plain_policy as plain_policy
from tests.simulator.faults import LONG, Profile
from tests.simulator.faults import Crash as Crash
from tests.simulator.faults import Faults as Faults
from tests.simulator.host import Process as Process
from tests.simulator.manager import ManagerNode as ManagerNode
from tests.simulator.network import Network
from tests.simulator.network import Posted as Posted
from tests.simulator.node import Node as Node
from tests.simulator.words import Trace

if TYPE_CHECKING:
    from tests.simulator.people import Person

START = 1_800_000_000 * SECOND
#: one node says one thing about one job or request to one other at most so often in an hour (I17)
STORM = 150


class World:
    """Clock, network and nodes."""

    def __init__(self, seed: int, profile: Profile = LONG) -> None:
        self.seed = seed
        self.profile = profile
        self.dice = random.Random(seed)
        self.faults = Faults.draw(self.dice)
        self.now = START
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.count = 0
        self.steps = 0
        self.nodes: dict[str, Any] = {}
        self.people: dict[str, Person] = {}
        self.network = Network(self)
        self.trace = Trace(START)
        #: all bytes that were published, in order (I21)
        self.digest = hashlib.blake2b(digest_size=16)
        self.violations: list[str] = []
        #: job_uuid -> how often its process was started (I1)
        self.starts: dict[bytes, int] = {}
        #: letters that were once in a committed outbox (I16): id -> (sender, recipient)
        self.committed: dict[bytes, tuple[str, str]] = {}
        #: letters that the broker has lost after it confirmed them
        self.lost: set[bytes] = set()
        #: (agent, number) -> when this presence was sent
        self.presences: dict[tuple[str, int], int] = {}
        self.seen: dict[str, int] = {}
        #: no more faults
        self.at_peace = False
        self._said: dict[tuple[str, str, str, bytes], tuple[int, int]] = {}

    # -- clock ---------------------------------------------------------------------------------

    def at(self, when: int, do: Callable[[], None]) -> None:
        """Have something done at a (true) instant."""
        self.count += 1
        heapq.heappush(self.events, (max(when, self.now), self.count, do))

    def run(self, until: int, max_events: int) -> bool:
        """Run to an instant; False if there were more events than a quiet world should have."""
        while self.events and self.events[0][0] <= until:
            if self.steps >= max_events:
                return False
            self.steps += 1
            self.now, _, do = heapq.heappop(self.events)
            do()
        self.now = until
        return True

    # -- what is noticed -----------------------------------------------------------------------

    def saw(self, what: str, times: int = 1) -> None:
        """Something happened that a run should have seen."""
        self.seen[what] = self.seen.get(what, 0) + times

    def tell(self, line: Callable[..., str], *args: Any) -> None:
        """Add to the transcript."""
        self.trace.tell(self.now, line, args)

    def violate(self, text: str) -> None:
        """An invariant is broken."""
        self.violations.append(text)
        self.trace.add(self.now, f"VIOLATION {text}")

    def storm(self, uri: str, outgoing: Outgoing) -> None:
        """I17: nobody repeats himself without end."""
        m = outgoing.message
        about = (
            getattr(m, "job_uuid", b"") or getattr(m, "offer_uuid", b"") or getattr(m, "request_uuid", b"")
        )
        key = (uri, outgoing.to, type(m).__name__, about)
        since, count = self._said.get(key, (self.now, 0))
        if self.now - since > HOUR:
            since, count = self.now, 0
        self._said[key] = (since, count + 1)
        if count == STORM:
            self.violate(f"I17 {uri} said {key[2]} to {outgoing.to} {STORM} times within an hour")
