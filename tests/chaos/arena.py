"""Two managers and three agents over one broker, each behind a proxy of its own, and their supervisor.

``m2`` keeps its rows in PostgreSQL where there is a cluster, the others in SQLite; ``a3`` lives on a small
disk where there is one. Like systemd the supervisor starts again what has ended, and it knows which ends
were meant.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aio_pika
import aio_pika.exceptions

from caroni.wire.topics import short_id
from tests.acceptance.site import Site
from tests.chaos.books import Books
from tests.chaos.journal import SIGKILLS, Journal
from tests.services import eventually
from tests.services.postgres import PostgresCluster
from tests.services.proxy import Proxy
from tests.services.rabbitmq import RabbitNode

MANAGERS = ("m1", "m2")
AGENTS = ("a1", "a2", "a3")
DAEMONS = (*MANAGERS, *AGENTS)

#: what waits for minutes or hours in earnest must not make a run of minutes wait for it
SETTINGS = {
    "CARONI_AMQP__HEARTBEAT": "2s",
    "CARONI_AMQP__PUBLISH_TIMEOUT": "5s",
    "CARONI_MANAGER__REBROADCAST_MAX": "5s",
    "CARONI_MANAGER__ACCEPT_RESEND_MAX": "5s",
    "CARONI_MANAGER__KILL_RESEND_MIN": "2s",
    "CARONI_MANAGER__KILL_RESEND_MAX": "5s",
    "CARONI_AGENT__RESULT_RESEND_MAX": "6s",
    "CARONI_AGENT__PRESENCE_INTERVAL": "10s",
    "CARONI_AGENT__SLOTS": "4",
}
#: status of a daemon that may be started again; with 2 a supervisor would leave it alone for ever
PASSING = 1
#: seconds after a database or a disk is back during which its daemon may still end for want of it
AFTERMATH = 15.0


class Arena:
    """The federation under fire; :meth:`open` first, :meth:`close` last."""

    def __init__(
        self,
        base: Path,
        node: RabbitNode,
        journal: Journal,
        *,
        cluster: PostgresCluster | None = None,
        disk: Path | None = None,
    ) -> None:
        self.node = node
        self.cluster = cluster
        self.disk = disk
        self.journal = journal
        self.vhost = node.vhost()
        self.site = Site(base, node.url(self.vhost))
        self.site.program = (str(Path(__file__).with_name("daemon.py")),)
        self.site.settings |= SETTINGS
        self.marks = base / "marks"
        self.books = Books()
        self.proxies: dict[str, Proxy] = {}
        #: held by whoever ends or starts a daemon
        self.locks = {name: asyncio.Lock() for name in DAEMONS}
        #: the fault point that a running daemon will die at
        self.armed: dict[str, str] = {}
        #: those that are killed and stopped
        self.victims: tuple[str, ...] = DAEMONS
        #: ends that nobody meant
        self.breaks: list[str] = []
        self._excused: dict[str, float] = {}
        self._supervisor: asyncio.Task[None] | None = None

    # --- making ------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Make directories, databases and proxies. The daemons are started by :meth:`start`."""
        self.marks.mkdir()
        await asyncio.to_thread(self._make)
        for name in DAEMONS:
            proxy = self.proxies[name] = Proxy(self.node.port)
            await proxy.start()

    def _make(self) -> None:
        site = self.site
        site.make("submitter", "s")
        for name in MANAGERS:
            if name == "m2" and self.cluster is not None:
                self._make_on_postgresql(name, self.cluster)
            else:
                site.make("manager", name)
                self.books.places[name] = site.directory(name) / "caroni.db"
        for name in AGENTS:
            site.make("agent", name, base=self.disk if name == "a3" else None)
            self.books.places[name] = site.directory(name) / "caroni.db"

    def _make_on_postgresql(self, name: str, cluster: PostgresCluster) -> None:
        # in a process of its own: one process speaks one SQL dialect
        database = cluster.create_database()
        directory = self.site.adopt(name)
        self.caroni(
            *("init", "manager", str(directory), "--site", self.site.name, "--name", name),
            *("--ca", str(self.site.base / "ca"), "--broker", self.site.url),
            *("--database", cluster.url(database, scheme="postgres")),
        )
        self.books.places[name] = cluster.url(database)

    def template(self, manager: str, name: str, path: Path) -> None:
        """Give a manager a template."""
        if isinstance(self.books.places[manager], Path):
            self.site.template(manager, name, path)
        else:
            directory = str(self.site.directory(manager))
            self.caroni("template", "add", str(path), "--name", name, "--config", directory)

    def caroni(self, *arguments: str) -> str:
        """Run a command as an operator does."""
        done = subprocess.run(
            [sys.executable, "-m", "caroni", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"caroni {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    async def start(self) -> None:
        """Start the daemons and their supervisor."""
        await asyncio.gather(*(self.spawn(name) for name in DAEMONS))
        self._supervisor = asyncio.create_task(self._supervise())

    async def close(self) -> None:
        """End everything that is ours."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        for name in list(self.site.processes):
            self.signal(name, signal.SIGCONT)
        await asyncio.to_thread(self.site.close)
        for proxy in self.proxies.values():
            await proxy.close()

    # --- daemons -----------------------------------------------------------------------------------

    async def spawn(self, name: str, fault: str = "") -> None:
        """Start a daemon and wait until it says so, or dies; its lock is held, or there is no other user."""
        site, seen = self.site, self.site.log_size(name)
        if fault:
            self.armed[name] = fault
        url = f"amqp://guest:guest@127.0.0.1:{self.proxies[name].port}/{self.vhost}"
        await asyncio.to_thread(site.spawn, name, wait=False, CARONI_AMQP__URL=url, CARONI_FAULT=fault)
        await eventually(
            lambda: not site.alive(name) or site.has_started(name, seen),
            90,
            lambda: f"{name} does not start: {site.log_file(name).read_text()[-2000:]}",
        )

    async def kill(self, name: str) -> None:
        """``kill -9``; its lock is held. One that is dead already is judged instead."""
        if self.site.alive(name):
            self.armed.pop(name, None)
            self.journal.counts[SIGKILLS] += 1
        else:
            self._judge(name)
        await asyncio.to_thread(self.site.kill, name)

    async def terminate(self, name: str) -> None:
        """SIGTERM; its lock is held. A clean stop has the status 0."""
        if not self.site.alive(name):
            self._judge(name)
            await asyncio.to_thread(self.site.kill, name)
            return
        fault = self.armed.pop(name, "")
        status = await asyncio.to_thread(self.site.terminate, name, 60)
        if status == -signal.SIGKILL and fault:
            self._fell(name, fault)
        elif status:
            self.breaks.append(f"{name} was asked to stop and ended with status {status}")
            self.journal.say(self.breaks[-1])

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a daemon."""
        with contextlib.suppress(OSError, KeyError):
            os.kill(self.site.pid(name), number)

    def queues(self, name: str) -> tuple[str, str]:
        """The names of a daemon's control queue and of its queue for broadcasts."""
        role, other = ("manager", "presence") if name in MANAGERS else ("agent", "cfp")
        stem = f"caroni.{role}.{short_id(self.site.uri(name))}"
        return f"{stem}.ctl", f"{stem}.{other}"

    async def depths(self) -> dict[str, int]:
        """Messages that wait in each daemon's queues; nothing of those that the broker does not tell."""
        found: dict[str, int] = {}
        with contextlib.suppress(OSError, TimeoutError, aio_pika.exceptions.AMQPError):
            async with asyncio.timeout(8), await aio_pika.connect(self.site.url) as connection:
                for name in DAEMONS:
                    async with connection.channel() as channel:
                        for queue in self.queues(name):
                            declared = await channel.declare_queue(queue, passive=True)
                            count = declared.declaration_result.message_count or 0
                            found[name] = found.get(name, 0) + count
        return found

    async def at_work(self, seconds: float) -> None:
        """Wait, but not for ever, until a few more jobs have been started: faults shall hit work."""
        wanted = len(os.listdir(self.marks)) + 4
        end = time.monotonic() + seconds
        while len(os.listdir(self.marks)) < wanted and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.2)

    def excuse(self, name: str) -> None:
        """This daemon's database or disk is away: it may end for want of it."""
        self._excused[name] = time.monotonic() + AFTERMATH

    async def _supervise(self) -> None:
        """Start again what has ended, and note ends that nobody meant."""
        while True:
            for name in DAEMONS:
                if not self.locks[name].locked() and not self.site.alive(name):
                    async with self.locks[name]:
                        await self.restart(name)
            await asyncio.sleep(0.1)

    async def restart(self, name: str) -> None:
        """A daemon is dead: judge why, and start it again (its lock is held)."""
        self._judge(name)
        await asyncio.to_thread(self.site.kill, name)
        await self.spawn(name)

    def _judge(self, name: str) -> None:
        status = self.site.processes[name].poll()
        fault = self.armed.pop(name, "")
        if status == -signal.SIGKILL and fault:
            self._fell(name, fault)
        elif status == PASSING and time.monotonic() < self._excused.get(name, 0.0):
            self.journal.say(f"{name} ended with status {status} for want of its database or disk")
        else:
            self.breaks.append(f"{name} ended by itself with status {status}")
            self.journal.say(self.breaks[-1])

    def _fell(self, name: str, fault: str) -> None:
        self.journal.counts[SIGKILLS] += 1
        self.journal.fault(f"SIGKILL {fault.partition(':')[0]}", f"{name} ({fault})")

    # --- healing -----------------------------------------------------------------------------------

    async def heal(self) -> None:
        """The end of all faults: what is armed is disarmed, by one more kill."""
        for proxy in self.proxies.values():
            proxy.through()
        if self._supervisor is not None and self._supervisor.done():
            self.breaks.append(f"the supervisor has ended: {self._supervisor.exception()!r}")
        for name in list(self.armed):
            async with self.locks[name]:
                if name not in self.armed:
                    continue
                self.journal.say(f"{name} is disarmed")
                await self.kill(name)
                await self.spawn(name)
        self.journal.say("healed")
