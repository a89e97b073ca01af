"""What nature and operators do to nodes, links and the broker while a history is in its faulty half."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from caroni.core.plan import SECOND
from tests.simulator import words
from tests.simulator.agent import AgentNode
from tests.simulator.faults import JUMPS
from tests.simulator.manager import ManagerNode
from tests.simulator.node import Durable, Node
from tests.simulator.people import AgentOperator, ManagerOperator

if TYPE_CHECKING:
    from tests.simulator.world import World

Happening = tuple[float, Callable[[], None]]


class Troubles:
    """The troubles of one world."""

    def __init__(self, world: World, until: int) -> None:
        self.world = world
        self.until = until
        self.managers = {
            n.uri: ManagerOperator(n) for n in world.nodes.values() if isinstance(n, ManagerNode)
        }
        self.agents = {n.uri: AgentOperator(n) for n in world.nodes.values() if isinstance(n, AgentNode)}
        self._backups: dict[str, Durable] = {}

    def begin(self) -> None:
        """Schedule all of it."""
        for node in self.world.nodes.values():
            self._again(lambda node=node: self._at(node), first=True)
        for node in self.world.nodes.values():
            node.before_agreement = partial(self._back_up, node)
        self._again(self._elsewhere, first=True)
        if self.world.dice.random() < self.world.faults.agent_death:
            when = self.world.now + int(self.world.dice.random() * (self.until - self.world.now))
            self.world.at(when, self._death)

    def _again(self, what: Callable[[], None], first: bool = False) -> None:
        world, dice = self.world, self.world.dice
        wait = world.profile.pause * (dice.random() if first else 0.2 + dice.random())

        def happens() -> None:
            if world.now < self.until:
                what()
                self._again(what)

        world.at(world.now + int(wait), happens)

    def _one_of(self, happenings: list[Happening]) -> None:
        """The first that happens, in random order."""
        dice = self.world.dice
        dice.shuffle(happenings)
        for chance, happen in happenings:
            if dice.random() < chance:
                happen()
                return

    def _span(self) -> int:
        dice = self.world.dice
        return int(dice.choice(self.world.profile.absences) * (0.5 + dice.random()) * SECOND)

    # -- at a node -----------------------------------------------------------------------------

    def _at(self, node: Any) -> None:
        faults = self.world.faults
        happenings: list[Happening] = [
            (faults.long_absence, lambda: node.stop(self._span())),
            (faults.partition, lambda: self._cut_off(node)),
            (faults.clock_jump, lambda: self._clock(node)),
            (faults.disk_full, lambda: self._disk(node)),
            (faults.restore, lambda: self._restore(node)),
            (faults.restore, lambda: self._back_up(node)),
            (faults.redelivery, lambda: self._redeliver(node)),
        ]
        if isinstance(node, AgentNode):
            operator = self.agents[node.uri]
            happenings += [
                (faults.reboot, lambda: node.reboot(int(60 * self.world.dice.random() * SECOND))),
                (faults.agent_wipe, lambda: self._wipe(node)),
                (faults.announced, operator.go_away),
                (faults.drain, operator.drain),
                (faults.job_steering, operator.steer_job),
            ]
        else:
            manager = self.managers[node.uri]
            happenings += [
                (faults.steering, manager.steer_workflow),
                (faults.steering, manager.steer_workflow),
                (faults.job_steering, manager.steer_job),
            ]
        if not node.gone:
            self._one_of(happenings)

    def _note(self, node: Node, text: str) -> None:
        self.world.trace.add(self.world.now, f"{words.name(node.uri)} {text}")

    def _cut_off(self, node: Node) -> None:
        mute, deaf = self.world.dice.choice([(True, True), (True, False), (False, True)])
        span = self._span()
        self.world.saw("cut off" if mute and deaf else "cut off one way")
        self._note(node, f"is cut off: mute {mute}, deaf {deaf}, for {span / SECOND:.0f} s")
        node.cut_off(mute, deaf)
        self.world.at(self.world.now + span, lambda: node.cut_off(False, False))

    def _clock(self, node: Node) -> None:
        by = self.world.dice.choice(JUMPS)
        self.world.saw("clock set forward" if by > 0 else "clock set back")
        self._note(node, f"has its clock set by {by / SECOND:.0f} s")
        node.set_clock(by)

    def _disk(self, node: Node) -> None:
        span = int(self.world.dice.choice([60, 1800]) * self.world.dice.random() * SECOND)
        self.world.saw("disk full")
        self._note(node, f"has no disk left for {span / SECOND:.0f} s")
        node.fill_disk(True)
        self.world.at(self.world.now + span, lambda: node.fill_disk(False))

    def _back_up(self, node: Node) -> None:
        self._backups[node.uri] = node.snapshot()
        self._note(node, "makes a backup")

    def _restore(self, node: Any) -> None:
        """Yesterday's database; the operator says so, or forgets to."""
        backup = self._backups.get(node.uri)
        if backup is None:
            self._back_up(node)
            return
        told = self.world.dice.random() < 0.6
        self.world.saw(f"{node.role} put back, {'told' if told else 'not told'}")
        self._note(node, f"is put back to its backup; the operator {'says so' if told else 'says nothing'}")
        before = node.snapshot()
        node.kill_process()
        node.put_back(backup)
        if told:
            node.facts["put_back"] = "1"
        self._was_put_back(node, before, told)
        if self.world.dice.random() < 0.5:
            self._redeliver(node)
        self.world.at(self.world.now + int(60 * self.world.dice.random() * SECOND), node.start)

    def _redeliver(self, node: Node) -> None:
        self.world.saw("redelivered")
        self._note(node, "is given again what it had acknowledged")
        node.redeliver()

    def _was_put_back(self, node: Any, before: Durable, told: bool) -> None:
        node.put_back_count += 1
        node.put_back_at = self.world.now
        node.put_back_told = node.put_back_told and told
        if isinstance(node, ManagerNode):
            node.oracle.put_back(before, node.snapshot())
        else:
            node.oracle.put_back()

    def _wipe(self, node: AgentNode) -> None:
        """Its database and its spool are gone, its processes with them."""
        self.world.saw("agent wiped")
        self._note(node, "loses its database and its spool")
        before = node.snapshot()
        node.kill_process()
        node.put_back(Durable({}, set(), {}, {}, {}, {}, node.now // 1000))
        node.host.reboot()
        node.host.spool.clear()
        self._backups.pop(node.uri, None)
        self._was_put_back(node, before, True)
        self.world.at(self.world.now + int(600 * self.world.dice.random() * SECOND), node.start)

    def _death(self) -> None:
        node = next(iter(self.agents.values())).node
        self.world.saw("agent gone for good")
        self._note(node, "is gone for good")
        node.kill_process()
        node.gone = True

    # -- elsewhere -----------------------------------------------------------------------------

    def _elsewhere(self) -> None:
        faults = self.world.faults
        self._one_of([(faults.broker_wipe, self._broker), (faults.partition, self._link)])

    def _broker(self) -> None:
        self.world.saw("broker wiped")
        self.world.trace.add(self.world.now, "the broker loses all queues")
        self.world.network.wipe()

    def _link(self) -> None:
        """Between two sites; what is sent meanwhile is lost, or waits."""
        world, dice = self.world, self.world.dice
        pair = [dice.choice(list(self.managers)), dice.choice(list(self.agents))]
        dice.shuffle(pair)
        both, held = dice.random() < 0.5, dice.random() < 0.5
        span = self._span()
        world.saw("link cut" if both else "link cut one way")
        world.trace.add(
            world.now,
            f"nothing passes from {words.name(pair[0])} to {words.name(pair[1])}"
            f"{' and back' if both else ''} for {span / SECOND:.0f} s; it {'waits' if held else 'is lost'}",
        )
        world.network.sever(pair[0], pair[1], both, held)
        world.at(world.now + span, lambda: world.network.mend(pair[0], pair[1]))

    # -- peace ---------------------------------------------------------------------------------

    def end(self) -> None:
        """Everything that is broken is mended, except what is gone for good."""
        world = self.world
        world.at_peace = True
        world.faults.heal()
        world.trace.add(world.now, "--- peace ---")
        for pair in list(world.network.severed):
            world.network.mend(*pair)
        for node in world.nodes.values():
            if node.mute or node.deaf:
                node.cut_off(False, False)
            if node.disk_full:
                node.fill_disk(False)
            if isinstance(node, AgentNode) and node.up:
                node.presence()
