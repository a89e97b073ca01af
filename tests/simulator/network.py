"""The broker between simulated nodes: it loses, repeats, delays, reorders, is cut off, and forgets.

Every letter crosses as bytes: encoded by the real codec in the sender's unit of work, packed into a real
bundle where the world says so, and decoded for the recipient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from caroni.core.draft import ALL_AGENTS, ALL_MANAGERS, Outgoing
from caroni.core.messages import Message
from caroni.core.plan import MINUTE, SECOND
from caroni.wire.bundle import BUNDLE_URL, Part, batches, pack, unpack
from caroni.wire.codec import decode, encode

if TYPE_CHECKING:
    from tests.simulator.world import World

#: the broker keeps a call for proposals that nobody takes for so long
BROADCAST_TTL = 15 * MINUTE


@dataclass
class Posted:
    """An outbox row: one message, encoded, with its number in the sender's stream."""

    id: bytes
    outgoing: Outgoing
    sent: bool = False
    type_url: str = ""
    value: bytes = b""
    stream: int = 0
    sequence: int = 0
    tries: int = 0
    #: wall time of the sender
    next_try: int = 0
    #: true time at which it came to the recipient's queue
    arrived: int = 0

    @property
    def broadcast(self) -> bool:
        """To an audience, not to one."""
        return self.outgoing.to in (ALL_AGENTS, ALL_MANAGERS)


def sealed(id_: bytes, outgoing: Outgoing, stream: int, sequence: int) -> Posted:
    """A letter, encoded."""
    type_url, value = encode(outgoing.message)
    return Posted(id=id_, outgoing=outgoing, type_url=type_url, value=value, stream=stream, sequence=sequence)


class Network:
    """Queues that exist, links that are cut, and what is on its way."""

    def __init__(self, world: World) -> None:
        self.world = world
        #: who has a queue at the broker
        self.bound: set[str] = set()
        #: (sender, recipient) between whom nothing passes; True: it waits, False: it is lost
        self.severed: dict[tuple[str, str], bool] = {}
        self._waiting: list[tuple[str, str, list[Posted]]] = []
        self._generation = 0

    # -- publishing ----------------------------------------------------------------------------

    def recipients(self, posted: Posted) -> list[str]:
        """Whose queues the broker puts this into."""
        to, message = posted.outgoing.to, posted.outgoing.message
        nodes = self.world.nodes
        if to == ALL_AGENTS:
            wanted = getattr(message, "job_type_name", "")
            return [u for u in nodes if u in self.bound and nodes[u].listens_to(wanted)]
        if to == ALL_MANAGERS:
            return [u for u in nodes if u in self.bound and nodes[u].role == "manager"]
        return [to] if to in self.bound else []

    def post(self, sender: str, letters: Sequence[Posted]) -> list[bool]:
        """The broker's confirms: whether each letter had a queue to go to."""
        world = self.world
        routed = []
        groups: dict[str, list[Posted]] = {}
        for posted in letters:
            world.digest.update(posted.id + posted.value)
            names = self.recipients(posted)
            routed.append(bool(names))
            for name in names:
                groups.setdefault(name, []).append(posted)
        for name, group in groups.items():
            if world.faults.bundle and len(group) > 1:
                self._bundled(sender, name, group)
            else:
                for posted in group:
                    self._send(sender, name, [opened(posted)])
        return routed

    def _bundled(self, sender: str, name: str, group: list[Posted]) -> None:
        parts = [
            Part(p.id, p.outgoing.conversation_id, p.outgoing.in_reply_to, p.type_url, p.value) for p in group
        ]
        by_id = {p.id: p for p in group}
        for batch in batches(parts):
            payload = pack(batch)
            if payload.type_url != BUNDLE_URL:
                self._send(sender, name, [opened(by_id[batch[0].message_id])])
                continue
            self.world.saw("bundle")
            found = []
            for part in unpack(payload.value):
                posted = by_id[part.message_id]
                message = decode(part.type_url, part.value)
                outgoing = Outgoing(
                    to=posted.outgoing.to,
                    message=message,
                    conversation_id=part.conversation_id,
                    in_reply_to=part.in_reply_to,
                )
                found.append(Posted(part.message_id, outgoing, True, part.type_url, part.value))
                found[-1].stream, found[-1].sequence = posted.stream, posted.sequence
            self._send(sender, name, found)

    def _send(self, sender: str, name: str, letters: list[Posted]) -> None:
        """From here on they may still be lost, late, or come more than once; together."""
        held = self.severed.get((sender, name))
        if held is not None:
            if held:
                self._waiting.append((sender, name, letters))
            else:
                self.world.saw("lost between sites", len(letters))
                self.world.lost.update(posted.id for posted in letters)
            return
        world, faults, dice = self.world, self.world.faults, self.world.dice
        if dice.random() < faults.drop:
            world.saw("dropped", len(letters))
            world.lost.update(posted.id for posted in letters)
            return
        copies = 1
        if dice.random() < faults.duplicate:
            world.saw("duplicated", len(letters))
            copies = 2 if dice.random() < 0.8 else 5
        generation = self._generation
        for _ in range(copies):
            delay = int(dice.random() * 0.1 * SECOND)
            if dice.random() < faults.slow:
                longest = dice.choice(world.profile.delays)
                delay += int(longest * dice.random() * SECOND)
                if longest > 86_400:
                    world.saw("slow by days")
            world.at(world.now + delay, lambda: self._arrive(generation, name, sender, letters))

    def _arrive(self, generation: int, name: str, sender: str, letters: list[Posted]) -> None:
        if generation != self._generation or name not in self.bound:
            self.world.lost.update(posted.id for posted in letters)
            return
        node: Any = self.world.nodes.get(name) or self.world.people.get(name)
        for posted in letters:
            node.deliver(sender, posted)

    # -- trouble -------------------------------------------------------------------------------

    def sever(self, one: str, other: str, both_ways: bool, held: bool) -> None:
        """Nothing passes from one to the other (and back)."""
        self.severed[one, other] = held
        if both_ways:
            self.severed[other, one] = held

    def mend(self, one: str, other: str) -> None:
        """The link is back; what waited comes now."""
        self.severed.pop((one, other), None)
        self.severed.pop((other, one), None)
        waiting, self._waiting = self._waiting, []
        for sender, name, letters in waiting:
            self._send(sender, name, letters)

    def wipe(self) -> None:
        """All queues are gone, with everything in them and on its way to them."""
        self.bound.clear()
        self._generation += 1
        for _, _, letters in self._waiting:
            self.world.lost.update(posted.id for posted in letters)
        self._waiting.clear()
        for node in [*self.world.nodes.values(), *self.world.people.values()]:
            node.broker_gone()


def opened(posted: Posted) -> Posted:
    """What the recipient reads from the letter's bytes."""
    message = decode(posted.type_url, posted.value)
    outgoing = posted.outgoing
    if message != outgoing.message and encode(message)[1] != posted.value:
        raise AssertionError(f"the codec changed {outgoing.message} to {message}")
    return Posted(
        posted.id,
        Outgoing(
            to=outgoing.to,
            message=message,
            conversation_id=outgoing.conversation_id,
            in_reply_to=outgoing.in_reply_to,
        ),
        True,
        posted.type_url,
        posted.value,
        posted.stream,
        posted.sequence,
    )


def roundtrip(message: Message) -> Message:
    """A message as its recipient has it."""
    return decode(*encode(message))
