"""One manager or agent as a running thing: role, engine, outbox, bus and store, started and stopped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import psutil
import structlog

from caroni.core.agent import state as agent_state
from caroni.core.agent.state import AgentPolicy, AgentSettings, Connected
from caroni.core.clockjump import ClockJumped, newest_instant
from caroni.core.manager import state as manager_state
from caroni.core.manager.state import ManagerPolicy, ManagerSettings, Unheard, Unreachable
from caroni.daemon.agent import AgentRole, DefinitionsChanged
from caroni.daemon.bus.topology import agent_queues, base_queues, broadcast_keys, manager_queues
from caroni.daemon.clock import JUMP, JumpWatch
from caroni.daemon.dice import SystemDice
from caroni.daemon.engine import Commanded, Engine
from caroni.daemon.manager import ManagerRole
from caroni.daemon.outbox import Outbox
from caroni.daemon.ports import Bus, Clock, QueueSpec
from caroni.errors import MessageRejected
from caroni.execution.executor import Executor
from caroni.model.retention import Retention
from caroni.model.store import Store
from caroni.model.unit import CommandDone, Unit
from caroni.plugins.manager import Plugins
from caroni.services.prune import counted
from caroni.trust.identity import Identity as PeerIdentity
from caroni.trust.keys import Signer
from caroni.trust.store import TrustStore
from caroni.wire.envelope import Opener, Sealer
from caroni.wire.topics import broadcast_key, short_id

log = structlog.get_logger()

#: seconds between looks at the command table (foreign processes write it, nothing announces them)
COMMAND_POLL = 0.5
#: seconds between sweeps of what has had its time
SWEEP = 3600.0
#: seconds between looks at the free disk and the unsent messages
CHECK = 5.0
#: seconds that a clean stop waits for what is on its way to the broker
FLUSH = 10.0


class Identity(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Who a node is and whom it believes."""

    signer: Signer
    trust: TrustStore
    federation: str = "default"
    mode: str = "required"
    skew: int = 300_000_000

    @property
    def uri(self) -> str:
        """The certified identity."""
        return self.signer.uri


async def stream_id(store: Store, clock: Clock) -> int:
    """This database's lineage: fixed when it is first used, higher after a restore."""
    known = (await store.settings()).get("stream_id")
    if known is not None:
        return int(known)
    new = clock.now() // 1000
    await store.commit(Unit(now=clock.now(), settings={"stream_id": str(new)}))
    return new


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Below or above these nothing new is begun; what is begun goes on."""

    directory: Path
    #: bytes that must stay free on the directory's disk
    disk_reserve: int = 1024**3
    outbox_rows: int = 10_000


class Node:
    """A manager or an agent between ``start`` and ``stop``."""

    #: commands that are carried out here; the others are decided by the engine
    COMMANDS: ClassVar[frozenset[str]] = frozenset({"prune", "reload-trust"})

    def __init__(
        self,
        *,
        identity: Identity,
        store: Store,
        bus: Bus,
        clock: Clock,
        stream: int,
        retention: Retention | None = None,
        limits: Limits | None = None,
        in_flight: int = 64,
        base_peers: bool = False,
    ) -> None:
        if base_peers and identity.mode != "lab":
            raise ValueError("peers that sign nothing are for lab mode only")
        self.identity = identity
        #: queues on the exchange of the base protocol's peers
        self._base_queues = (
            base_queues(PeerIdentity.parse(identity.uri).role, short_id(identity.uri)) if base_peers else ()
        )
        self.store = store
        self.bus = bus
        self.clock = clock
        self._retention = retention or Retention()
        self._limits = limits
        dice = SystemDice()
        wake = asyncio.Event()
        self.outbox = Outbox(
            store=store,
            bus=bus,
            sealer=Sealer(identity.signer, identity.uri, identity.federation),
            clock=clock,
            dice=dice,
            stream_id=stream,
            wake=wake.set,
            in_flight=in_flight,
            on_unheard=lambda requests: self.engine.happen(Unheard(requests=requests)),
            base=base_peers,
            on_gone=self._base_peer_gone,
        )
        self.opener = Opener(identity.trust, identity.uri, identity.federation, identity.mode, identity.skew)
        self._dice = dice
        self._wake = wake
        self._tasks: list[asyncio.Task[None]] = []
        #: commands that the engine has and that are not done yet
        self._handed_on: set[int] = set()
        self._pruning = asyncio.Lock()
        self.engine: Engine
        self.role: ManagerRole | AgentRole

    def _make_engine(self, role: ManagerRole | AgentRole) -> None:
        self.role = role
        self.engine = Engine(
            role=role,
            store=self.store,
            bus=self.bus,
            opener=self.opener,
            outbox=self.outbox,
            clock=self.clock,
            dice=self._dice,
            wake=self._wake,
            jumps=JumpWatch(self.clock.now()),
            base_queues=frozenset(queue.name for queue in self._base_queues),
        )

    # --- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Recover first, then work, then listen; the broker may be away."""
        await self.role.load()
        await self.outbox.load()
        for certificate in await self.store.certificates():
            with contextlib.suppress(MessageRejected):
                self.opener.learn(certificate)
        self._check_limits()
        await self._recover()
        await self._before_listening()
        self._tasks.append(asyncio.create_task(self.engine.run(), name=f"engine of {self.identity.uri}"))
        queues = (*self._queues(), *self._base_queues)
        await self.bus.start(queues, self.engine.deliver, self._connected)
        self._tasks.append(asyncio.create_task(self._commands()))
        self._tasks.append(asyncio.create_task(self._sweeps()))
        self._tasks.append(asyncio.create_task(self._checks()))

    async def _recover(self) -> None:
        """What the rows say about the time that this process was not there; decided before anything else."""
        newest, now = newest_instant(self.role.state), self.clock.now()
        if newest > now + JUMP:
            self.engine.happen(ClockJumped(by=now - newest))
        put_back = bool((await self.store.settings()).get("put_back"))
        self.engine.happen(self._started(put_back))

    def _started(self, put_back: bool) -> Any:
        raise NotImplementedError

    async def _before_listening(self) -> None:
        """What a role does once its rows are loaded."""

    def _queues(self) -> Sequence[QueueSpec]:
        raise NotImplementedError

    def _connected(self) -> None:
        self.engine.connected()

    def _base_peer_gone(self, peer: str) -> None:
        """A base peer has no queue any more (the broker's word); who works for it goes on."""

    async def wait(self) -> None:
        """Until the engine ends: by ``stop``, or by a bug of our own (raised)."""
        await asyncio.shield(self._tasks[0])

    async def stop(self) -> None:
        """Finish the current unit of work, let go of what is on its way; jobs run on."""
        await self.bus.pause()
        self.engine.stop()
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.role.close()
        await self.outbox.flush(FLUSH)
        unit = Unit(now=self.clock.now())
        self.outbox.ride_along(unit)
        with contextlib.suppress(Exception):  # a lost mark is a repeat that the receiver's inbox knows
            await self.store.commit(unit)
        await self.bus.close()
        await self.store.close()

    # --- beside the engine -------------------------------------------------------------------

    async def _commands(self) -> None:
        while True:
            try:
                new = await self.store.new_commands()
                self._handed_on &= {c.id for c in new}
                done = []
                for c in new:
                    if c.kind in self.COMMANDS:
                        done.append(await self._command(c.id, c.kind, c.args))
                    elif c.id not in self._handed_on:
                        self._handed_on.add(c.id)
                        self.engine.happen(Commanded(id=c.id, kind=c.kind, args=c.args))
                if done:
                    await self.store.commit(Unit(now=self.clock.now(), commands=done))
            except Exception as error:
                log.warning("commands not read: trying again", error=str(error))
            await asyncio.sleep(COMMAND_POLL)

    async def _command(self, id: int, kind: str, args: str) -> CommandDone:
        now = self.clock.now()
        try:
            result = await self.command(kind, args)
        except Exception as error:
            log.warning("command failed", command=kind, error=str(error))
            return CommandDone(id=id, state="failed", result=msgspec.json.encode(str(error)).decode(), at=now)
        return CommandDone(id=id, state="done", result=result, at=now)

    async def command(self, kind: str, args: str) -> str:
        """Carry out one command from the database; gives JSON text."""
        if kind == "reload-trust":
            # a ban is to count before this is answered; the files are small
            self.identity.trust.reload()
            log.info("trust reloaded", sites=len(self.identity.trust.sites))
            return "{}"
        if kind != "prune":
            raise ValueError(f"unknown command {kind}")
        return msgspec.json.encode(await self.prune()).decode()

    async def _checks(self) -> None:
        while True:
            await asyncio.sleep(CHECK)
            try:
                self._check_limits()
            except OSError as error:
                log.warning("free disk not known: trying again", error=str(error))

    def _check_limits(self) -> None:
        """Begin nothing new while the disk is nearly full or the broker takes nothing."""
        limits, short_of = self._limits, ""
        if limits is None:
            return
        free = psutil.disk_usage(str(limits.directory)).free
        if free < limits.disk_reserve:
            short_of = f"{free >> 20} MiB of disk are free, {limits.disk_reserve >> 20} are kept in reserve"
        elif self.outbox.unsent > limits.outbox_rows:
            short_of = f"{self.outbox.unsent} messages wait for the broker"
        state = self.role.state
        if bool(short_of) != bool(state.short_of):
            if short_of:
                log.warning("nothing new is begun", reason=short_of, see="[limits] in the configuration")
            else:
                log.info("new work is taken again")
        was, state.short_of = state.short_of, short_of
        if was and not short_of:
            self.engine.settle()

    async def _sweeps(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            try:
                await self.prune()
            except Exception as error:
                log.warning("sweep failed: trying again later", error=str(error))

    async def prune(self) -> dict[str, int]:
        """Remove what has had its time; gives how much of each kind went."""
        async with self._pruning:
            files = await self._sweep()  # before the rows that name them
            gone = await self.store.prune(self.clock.now(), self._retention)
            self.engine.forget(gone.jobs)
            return {**counted(gone), **files}

    async def _sweep(self) -> dict[str, int]:
        """What a role removes besides rows."""
        return {}


class ManagerNode(Node):
    """A manager."""

    role: ManagerRole

    def __init__(
        self,
        *,
        identity: Identity,
        store: Store,
        bus: Bus,
        clock: Clock,
        stream: int,
        settings: ManagerSettings,
        policy: ManagerPolicy,
        plugins: Plugins,
        **common: Any,
    ) -> None:
        super().__init__(identity=identity, store=store, bus=bus, clock=clock, stream=stream, **common)
        self._make_engine(
            ManagerRole(
                store=store,
                clock=clock,
                settings=settings,
                policy=policy,
                plugins=plugins,
                say=self.outbox.say,
                uri=identity.uri,
            )
        )

    def _base_peer_gone(self, peer: str) -> None:
        self.engine.happen(Unreachable(peer=peer))

    def _started(self, put_back: bool) -> manager_state.Started:
        return manager_state.Started(put_back=put_back)

    def _queues(self) -> Sequence[QueueSpec]:
        return manager_queues(short_id(self.identity.uri))


class AgentNode(Node):
    """An agent."""

    COMMANDS = Node.COMMANDS | {"reload-definitions"}

    role: AgentRole

    def __init__(
        self,
        *,
        identity: Identity,
        store: Store,
        bus: Bus,
        clock: Clock,
        stream: int,
        settings: AgentSettings,
        policy: AgentPolicy,
        plugins: Plugins,
        executors: Mapping[str, Executor],
        directory: Path,
        log_tail: bool = False,
        presence_interval: float = 60.0,
        **common: Any,
    ) -> None:
        super().__init__(identity=identity, store=store, bus=bus, clock=clock, stream=stream, **common)
        self._presence_interval = presence_interval
        self._announce = asyncio.Event()
        self._make_engine(
            AgentRole(
                store=store,
                clock=clock,
                settings=settings,
                policy=policy,
                plugins=plugins,
                executors=executors,
                stage_dir=directory / "stage",
                say=self.outbox.say,
                uri=identity.uri,
                log_tail=log_tail,
            )
        )

    def _started(self, put_back: bool) -> agent_state.Started:
        return agent_state.Started(put_back=put_back)

    def _keys(self) -> list[str]:
        return [broadcast_key(name).rpartition(".")[2] for name in self.role.job_types]

    def _queues(self) -> Sequence[QueueSpec]:
        return agent_queues(short_id(self.identity.uri), self._keys())

    async def _before_listening(self) -> None:
        await self.role.start(self.engine.happen, self._announce.set)

    async def start(self) -> None:
        await super().start()
        self._tasks.append(asyncio.create_task(self._presence()))

    def _connected(self) -> None:
        super()._connected()
        self.engine.happen(Connected())
        self._announce.set()

    async def _presence(self) -> None:
        """Say that this agent is here: at every connection, when its job types change, and now and then."""
        while True:
            if self.bus.connected:
                try:
                    await self.role.announce()
                except Exception as error:
                    log.warning("presence not sent", error=str(error))
            self._announce.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._presence_interval):
                    await self._announce.wait()

    async def command(self, kind: str, args: str) -> str:
        if kind != "reload-definitions":
            return await super().command(kind, args)
        if await self.role.load_definitions():
            queue = agent_queues(short_id(self.identity.uri), [])[1].name
            await self.bus.bind(queue, broadcast_keys(self._keys()))
        self.engine.happen(DefinitionsChanged())
        self._announce.set()
        log.info("job definitions read", active=len(self.role.job_types))
        return msgspec.json.encode(self.role.job_types).decode()

    async def _sweep(self) -> dict[str, int]:
        return await self.role.sweep(self.clock.now() - self._retention.released_jobs)

    async def goodbye(self) -> None:
        """Tell managers that this agent goes (a clean stop)."""
        if self.bus.connected:
            await self.role.announce(leaving=True)
