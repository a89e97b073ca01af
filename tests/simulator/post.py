"""A simulated daemon's connection to the broker: its queue, its outbox, and what may happen to both."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from caroni.core.draft import Outgoing
from caroni.core.plan import MINUTE, SECOND
from tests.simulator import words
from tests.simulator.faults import Crash
from tests.simulator.network import BROADCAST_TTL, Posted, sealed

if TYPE_CHECKING:
    from tests.simulator.world import World

#: pauses between tries to publish what nobody has a queue for
RETRY_FIRST = 5 * SECOND
RETRY_CAP = 10 * MINUTE


class Post:
    """What a node has of the broker, and of letters."""

    uri: str
    up: bool
    epoch: int

    def __init__(self, world: World) -> None:
        self.world = world
        self.outbox: dict[bytes, Posted] = {}
        self.sequences: dict[str, int] = {}
        self.stream = world.now // 1000
        #: the broker's durable queue for this identity
        self.queue: list[tuple[str, Posted]] = []
        #: what came lately, which a broker may give again
        self.received: deque[tuple[str, Posted]] = deque(maxlen=60)
        #: cut off from the broker, in either direction
        self.mute = False
        self.deaf = False

    @property
    def now(self) -> int:
        """The wall clock here."""
        raise NotImplementedError

    def wake(self, when: int) -> None:
        """Have a unit of work at this (true) instant, or earlier."""
        raise NotImplementedError

    def crash_here(self, where: str) -> None:
        """Perhaps the process dies at this point."""
        raise NotImplementedError

    # -- what comes ----------------------------------------------------------------------------

    def deliver(self, sender: str, posted: Posted) -> None:
        """The broker has put a letter into the queue."""
        posted.arrived = self.world.now
        self.queue.append((sender, posted))
        if not posted.broadcast:
            self.received.append((sender, posted))
        if self.up and not self.deaf:
            self.wake(self.world.now)

    def listens_to(self, job_type: str) -> bool:
        """Whether calls for this job type come here."""
        return False

    def _expire_broadcasts(self) -> None:
        cut = self.world.now - BROADCAST_TTL
        self.queue = [(s, p) for s, p in self.queue if not (p.broadcast and p.arrived < cut)]

    # -- trouble -------------------------------------------------------------------------------

    def cut_off(self, mute: bool, deaf: bool) -> None:
        """The line to the broker: nothing leaves, nothing comes, or both are back."""
        came_back = (self.mute and not mute) or (self.deaf and not deaf)
        self.mute, self.deaf = mute, deaf
        if came_back and self.up:
            self.connected()

    def broker_gone(self) -> None:
        """The broker was wiped: the queue is gone until it is declared again."""
        self.world.lost.update(posted.id for _, posted in self.queue)
        self.queue.clear()
        if self.up:
            epoch = self.epoch
            wait = int((1 + 60 * self.world.dice.random()) * SECOND)

            def declare() -> None:
                if self.up and self.epoch == epoch:
                    self.world.network.bound.add(self.uri)
                    self.connected()

            self.world.at(self.world.now + wait, declare)

    def redeliver(self) -> None:
        """The broker has forgotten acknowledgements: it gives again what it gave, in any order."""
        again = list(self.received)
        self.world.dice.shuffle(again)
        for sender, posted in again:
            self.queue.append((sender, posted))
        if self.up and not self.deaf:
            self.wake(self.world.now)

    def connected(self) -> None:
        """The broker is in reach again."""
        for posted in self.outbox.values():
            posted.next_try = 0
        self.wake(self.world.now)

    # -- what goes -----------------------------------------------------------------------------

    def compose(self, draft: Any) -> list[Posted]:
        """The unit's messages as letters, numbered in our stream."""
        letters = []
        for outgoing in draft.messages:
            sequence = 0
            if not outgoing.to.startswith("caroni://*"):
                sequence = self.sequences.get(outgoing.to, 1)
                self.sequences[outgoing.to] = sequence + 1
            posted = sealed(self.world.dice.randbytes(16), outgoing, self.stream, sequence)
            letters.append(posted)
            self.world.committed[posted.id] = (self.uri, outgoing.to)
            self.world.storm(self.uri, outgoing)
        return letters

    def pump(self) -> None:
        """Publish what has not left; what has no queue to go to is tried again later."""
        if not self.mute:
            waiting = [p for p in self.outbox.values() if not p.sent and p.next_try <= self.now]
            for posted in waiting:
                if not posted.tries:
                    self.world.tell(words.said, self.uri, posted.outgoing)
            outcomes = list(zip(waiting, self.world.network.post(self.uri, waiting), strict=True))
            try:
                if outcomes:
                    self.crash_here("after publish, before mark")
            except Crash:
                del outcomes[self.world.dice.randrange(len(outcomes)) :]
                raise
            finally:
                for posted, routed in outcomes:
                    self._published(posted, routed)
        self.outbox = {i: p for i, p in self.outbox.items() if not p.sent}

    def _published(self, posted: Posted, routed: bool) -> None:
        if routed or posted.broadcast or "/submitter/" in posted.outgoing.to:
            posted.sent = True
            if posted.tries:
                self.world.saw("unroutable, then routed")
            if not routed:
                self.unheard(posted)
            return
        recipient = self.world.nodes.get(posted.outgoing.to)
        if recipient is not None and recipient.gone:
            posted.sent = True  # the operator has retired it
            self.world.lost.add(posted.id)
            return
        self.world.saw("unroutable")
        posted.tries += 1
        wait = min(RETRY_FIRST * 2 ** min(posted.tries - 1, 12), RETRY_CAP)
        posted.next_try = self.now + wait

    def unheard(self, posted: Posted) -> None:
        """Nobody is bound to the key of a broadcast."""

    def say(self, outgoing: Outgoing) -> None:
        """Send what nothing keeps."""
        if self.mute or not self.up:
            return
        self.world.tell(words.said, self.uri, outgoing)
        posted = sealed(self.world.dice.randbytes(16), outgoing, self.stream, 0)
        self.world.network.post(self.uri, [posted])
