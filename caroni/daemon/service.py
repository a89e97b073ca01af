"""A daemon from its configuration: what ``caroni manager`` and ``caroni agent`` run until a signal.

Start order: lock, clock, identity, database, plugins, recovery, then the broker, which may be away.
Stop order: no more deliveries, finish the unit of work, let publishes end, leave jobs running.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from filelock import FileLock, Timeout

from caroni.config import Config, Loaded, broker_url, database_url
from caroni.daemon.agent import AgentRole
from caroni.daemon.bus.amqp import AmqpBus
from caroni.daemon.bus.broker_url import BrokerOptions
from caroni.daemon.clock import SystemClock
from caroni.daemon.node import AgentNode, Identity, Limits, ManagerNode, Node, stream_id
from caroni.daemon.ready import notify
from caroni.daemon.settings import agent_policy, agent_settings, manager_policy
from caroni.daemon.submitter import Submitter
from caroni.errors import CaroniError, ConfigError, TransientError
from caroni.model.store import Store
from caroni.plugins.isolation import Fault
from caroni.plugins.manager import Plugins
from caroni.services.prune import retention_of
from caroni.services.timers import manager_settings
from caroni.trust.clock import ClockFile
from caroni.trust.keys import load_signer
from caroni.trust.store import TrustStore

log = structlog.get_logger()

#: seconds between two notes of the latest instant seen
CLOCK_NOTE = 60.0


class Unhealthy(CaroniError):
    """The broker has swallowed everything for too long: the supervisor should start us again."""


def load_identity(loaded: Loaded) -> Identity:
    """Key, certificate and trust of a configuration.

    Raises:
        ConfigError: a file is missing, unsafe, or is not this identity's.
    """
    config = loaded.config
    security = config.security
    signer = load_signer(security.key_file, security.certificate_file)
    if signer.uri != config.uri:
        raise ConfigError(
            f"{security.certificate_file} is {signer.uri}'s certificate, but {loaded.path} says {config.uri}"
        )
    return Identity(
        signer=signer,
        trust=TrustStore.load(security.trust_dir),
        federation=config.federation,
        mode=security.mode,
        skew=security.skew,
    )


def broker_options(loaded: Loaded) -> BrokerOptions:
    """How the broker that a configuration names is reached.

    Raises:
        ConfigError: its password file cannot be used.
    """
    amqp = loaded.config.amqp
    return BrokerOptions(
        url=broker_url(loaded),
        exchange=amqp.exchange,
        base_exchange=amqp.base_exchange if loaded.config.role != "submitter" else "",
        queue_type=amqp.queue_type,
        prefetch=amqp.prefetch,
        publish_timeout=amqp.publish_timeout / 1e6,
        # an abandoned publish still counts until the broker has answered
        max_in_flight=2 * amqp.in_flight,
        heartbeat=max(1, amqp.heartbeat // 1_000_000),
        name=loaded.config.uri,
        allow_plain=amqp.allow_plain or loaded.config.security.mode == "lab",
        ca_file=str(amqp.ca_file or ""),
        cert_file=str(amqp.cert_file or ""),
        key_file=str(amqp.key_file or ""),
    )


def make_bus(loaded: Loaded, on_unhealthy: Callable[[], None] | None = None) -> AmqpBus:
    """The bus that a configuration names.

    Raises:
        ConfigError: its options can never work.
    """
    return AmqpBus(broker_options(loaded), on_unhealthy=on_unhealthy)


def make_submitter(loaded: Loaded, manager: str) -> Submitter:
    """A submitter's seat from its configuration.

    Raises:
        ConfigError: a file is missing or unsafe.
    """
    return Submitter(
        identity=load_identity(loaded), manager=manager, bus=make_bus(loaded), clock=SystemClock()
    )


async def serve(loaded: Loaded) -> None:
    """Run the daemon of a configuration until SIGTERM or SIGINT.

    Raises:
        ConfigError: it cannot start; names the remedy.
        Unhealthy: the supervisor should start it again.
    """
    async with _locked(loaded):
        clock = SystemClock()
        clock_file = ClockFile(loaded.directory / "clock")
        clock_file.advance(clock.now())
        stopping = asyncio.Event()
        sick = asyncio.Event()

        def unhealthy() -> None:
            sick.set()
            stopping.set()

        node = await _make_node(loaded, clock, unhealthy)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        loop.add_signal_handler(signal.SIGHUP, _reload_trust, node)
        try:
            await node.start()
        except BaseException:
            await node.stop()
            raise
        _log_start(loaded.config, node)
        # rows and messages make no cycles: what lives long is not looked at again and again
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        notify("READY=1")
        engine = asyncio.create_task(node.wait())
        stopped = asyncio.create_task(stopping.wait())
        note = asyncio.create_task(_note_clock(clock_file, clock))
        try:
            await asyncio.wait({engine, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            notify("STOPPING=1")
            log.info("stopping", jobs="left running" if isinstance(node, AgentNode) else "")
            note.cancel()
            stopped.cancel()
            if isinstance(node, AgentNode):
                with contextlib.suppress(Exception):
                    await node.goodbye()
            await node.stop()
            if engine.done():
                engine.result()  # a bug of our own ended it: say so
        if sick.is_set():
            raise Unhealthy("the broker has answered nothing for too long: restart me")


@asynccontextmanager
async def _locked(loaded: Loaded) -> AsyncIterator[None]:
    """One daemon per identity and database on this host."""
    lock = FileLock(loaded.lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"{loaded.lock_file} is held: this daemon runs already, or its database is being migrated"
        ) from None
    except OSError as error:
        raise ConfigError(f"{loaded.lock_file} cannot be locked: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


async def _make_node(loaded: Loaded, clock: SystemClock, unhealthy: Callable[[], None]) -> Node:
    config = loaded.config
    if config.role == "submitter":
        raise ConfigError(f"{loaded.path} is a submitter's: there is no daemon to run")
    identity = load_identity(loaded)
    bus = make_bus(loaded, unhealthy)
    plugins = Plugins.load(config.plugins.disabled, on_fault=_plugin_fault)
    store = await Store.open(database_url(loaded), config.role)
    try:
        stream = await stream_id(store, clock)
        common: dict[str, Any] = {
            "retention": retention_of(config),
            "in_flight": config.amqp.in_flight,
            "base_peers": bool(config.amqp.base_exchange),
            "limits": Limits(
                directory=loaded.directory,
                disk_reserve=config.limits.disk_reserve,
                outbox_rows=config.limits.outbox_rows,
            ),
        }
        if config.role == "manager":
            return ManagerNode(
                identity=identity,
                store=store,
                bus=bus,
                clock=clock,
                stream=stream,
                settings=manager_settings(config),
                policy=manager_policy(config),
                plugins=plugins,
                **common,
            )
        spool = config.agent.spool_dir
        options = {"grace": config.agent.kill_grace, "user": config.agent.job_user}
        executors = {
            name: make(spool, options if name == "local" else {})
            for name, make in plugins.executors().items()
        }
        if config.agent.definitions == "files":
            await AgentRole.take_files(store, config.agent.definitions_dir, clock.now())
        return AgentNode(
            identity=identity,
            store=store,
            bus=bus,
            clock=clock,
            stream=stream,
            settings=agent_settings(config),
            policy=agent_policy(config),
            plugins=plugins,
            executors=executors,
            directory=loaded.directory,
            log_tail=config.agent.log_tail,
            presence_interval=config.agent.presence_interval / 1e6,
            **common,
        )
    except BaseException:
        await store.close()
        raise


def _plugin_fault(fault: Fault) -> None:
    log.warning("plugin misbehaves", plugin=fault.plugin, hook=fault.hook, text=fault.text)


def _reload_trust(node: Node) -> None:
    try:
        node.identity.trust.reload()
    except ConfigError as error:
        log.error("trust not reloaded: what was there stays", error=str(error))
    else:
        log.info("trust reloaded", sites=len(node.identity.trust.sites))


def _log_start(config: Config, node: Node) -> None:
    if config.security.mode == "lab":
        log.warning(
            "LAB MODE: unsigned peers are accepted; never face a network you do not control",
            base_exchange=config.amqp.base_exchange or "none",
        )
    extra = {"slots": config.agent.slots} if isinstance(node, AgentNode) else {}
    log.info("started", identity=config.uri, pid=os.getpid(), security=config.security.mode, **extra)


async def _note_clock(clock_file: ClockFile, clock: SystemClock) -> None:
    while True:
        await asyncio.sleep(CLOCK_NOTE)
        try:
            clock_file.advance(clock.now())
        except ConfigError as error:
            log.error("clock", error=str(error))
        except (OSError, TransientError) as error:
            log.warning("clock not noted", error=str(error))
