"""Daemons with real stores: commands, drains, clocks that are set, restores, and messages that kill."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from caroni.core.commands import (
    CancelWorkflow,
    Command,
    Drain,
    GoOffline,
    PauseWorkflow,
    ReloadTrust,
    ResumeWorkflow,
    Undrain,
)
from caroni.core.messages import PresenceState
from caroni.core.plan import DAY, HOUR
from caroni.core.rows import Peer, Request
from caroni.daemon.clock import JUMP, JumpWatch
from caroni.daemon.node import Node, stream_id
from caroni.daemon.ports import Delivery
from caroni.daemon.suspects import MAX_TRIES, Suspects, digest_of
from caroni.model.store import Role, Store
from caroni.model.unit import CommandRow, Unit
from tests.daemon.test_engine import JOB as ECHO
from tests.daemon.test_engine import PLAN, Federation, run_one
from tests.daemon.waiting import until


class Again(Federation):
    """The same databases in another life."""

    async def _store(self, name: str, role: Role) -> Store:
        return await Store.open(f"sqlite://{self._directory / name}/caroni.db", role)


@pytest.fixture
async def federation(tmp_path: Path) -> AsyncIterator[Federation]:
    made = Federation(tmp_path, {"a": [ECHO]}, slots=1)
    await made.start()
    await made.add_template("w", PLAN)
    yield made
    await made.stop()


async def carried_out(node: Node, command: Command) -> CommandRow:
    """Leave a command as the command line does; gives its row when it is done."""
    args = msgspec.json.encode(command).decode()
    id = await node.store.add_command(command.__struct_config__.tag, args, node.clock.now())  # type: ignore[arg-type]
    row: list[CommandRow] = []

    async def done() -> bool:
        found = await node.store.command(id)
        assert found is not None
        row[:] = [found]
        return found.state != "new"

    while not await done():  # bounded by the suite's time limit
        await until(lambda: node.engine is not None)
    return row[0]


def told(federation: Federation) -> PresenceState:
    (agent,) = (
        row
        for row in federation.manager.role.state.tables[Peer].values()
        if isinstance(row, Peer) and "/agent/" in row.uri
    )
    return agent.presence


# --- commands --------------------------------------------------------------------------------------


async def test_commands_are_carried_out_and_their_answers_kept(federation: Federation) -> None:
    agent, manager = federation.agents[0], federation.manager
    assert (await carried_out(agent, Drain())).state == "done"
    await until(lambda: told(federation) is PresenceState.DRAINING)
    submitter = federation.submitter
    created = await submitter.submit(submitter.new_create("w", {"start": '"x"'}))
    await until(
        lambda: any(
            isinstance(r, Request) and r.declines for r in manager.role.state.tables[Request].values()
        )
    )
    paused = await carried_out(manager, PauseWorkflow(workflow_uuid=created.workflow_uuid))
    assert msgspec.json.decode(paused.result) == {"state": "running", "paused": True, "affected": 1}
    await carried_out(manager, ResumeWorkflow(workflow_uuid=created.workflow_uuid))
    undrained = msgspec.json.decode((await carried_out(agent, Undrain())).result)
    assert undrained["draining"] is False
    async for update in submitter.follow(created.workflow_uuid):
        last = update
    assert last.workflows[0].state == "completed"
    late = await carried_out(manager, CancelWorkflow(workflow_uuid=created.workflow_uuid))
    assert late.state == "failed"
    assert "has ended" in late.result


async def test_trust_is_read_again_on_a_command(federation: Federation, tmp_path: Path) -> None:
    manager = federation.manager
    trust, before = manager.identity.trust, manager.identity.trust.generation
    assert (await carried_out(manager, ReloadTrust())).state == "done"
    trust.directory = tmp_path / "trust"
    trust.directory.mkdir(mode=0o700)
    (trust.directory / "bans").write_text("caroni://a.example/agent/g1  # lent out\n")
    (trust.directory / "bans").chmod(0o600)
    sites = trust.sites
    assert (await carried_out(manager, ReloadTrust())).state == "done"
    assert trust.generation == before + 1
    assert trust.bans == {"caroni://a.example/agent/g1"}
    (trust.directory / "bans").write_text("nonsense\n")
    wrong = await carried_out(manager, ReloadTrust())
    assert wrong.state == "failed"
    assert "bans:1: neither a URI" in wrong.result
    assert trust.bans == {"caroni://a.example/agent/g1"}  # what was there stays
    trust.directory, trust.sites = None, sites


async def test_a_command_that_cannot_be_read_or_is_not_ours_is_refused(federation: Federation) -> None:
    store = federation.manager.store
    ids = [
        await store.add_command("drain", '{"kind":"drain"}', 1),
        await store.add_command("nonsense", "[", 1),
    ]

    async def states() -> set[str]:
        rows = [await store.command(id) for id in ids]
        return {row.state for row in rows if row is not None}

    while await states() != {"failed"}:
        await until(lambda: True)
    await run_one(federation)


async def test_an_announced_absence_survives_a_restart(tmp_path: Path) -> None:
    federation = Federation(tmp_path, {"a": [ECHO]}, slots=1)
    await federation.start()
    try:
        await carried_out(federation.agents[0], GoOffline(duration=12 * HOUR))
        await until(lambda: told(federation) is PresenceState.OFFLINE)
    finally:
        await federation.stop()
    again = Again(tmp_path, {"a": [ECHO]}, slots=1)
    await again.start()
    try:
        state = again.agents[0].role.state
        await until(lambda: state.timers.next_due())
        now = again.agents[0].clock.now()
        assert 11 * HOUR < state.closed_until(now) - now <= 12 * HOUR
    finally:
        await again.stop()


# --- clocks ----------------------------------------------------------------------------------------


def test_only_a_clock_that_is_set_is_a_jump() -> None:
    steady = [1_000]
    watch = JumpWatch(5_000_000, lambda: steady[0])
    steady[0] += DAY
    assert watch.jumped(5_000_000 + DAY) == 0, "a day of sleep is no jump"
    assert watch.jumped(5_000_000 + DAY + JUMP) == 0, "the clock is slewed a little all the time"
    assert watch.jumped(5_000_000 + 3 * DAY) == 2 * DAY
    assert watch.jumped(5_000_000 + 3 * DAY) == 0, "it is told once"
    assert watch.jumped(5_000_000 + DAY) == -2 * DAY


async def test_timers_move_with_a_clock_that_is_set(federation: Federation) -> None:
    await run_one(federation)
    manager = federation.manager
    offset = [0]
    watch = JumpWatch(manager.clock.now(), lambda: manager.clock.now() - offset[0])
    manager.engine._jumps = watch
    before = max(r.last_contact for r in manager.role.state.tables[Peer].values() if isinstance(r, Peer))
    offset[0] = 2 * DAY
    manager.engine.settle()
    await until(
        lambda: (
            min(r.last_contact for r in manager.role.state.tables[Peer].values() if isinstance(r, Peer))
            > before
        )
    )
    await run_one(federation)


# --- restores --------------------------------------------------------------------------------------


async def test_a_database_that_was_put_back_speaks_in_a_new_stream_and_holds(tmp_path: Path) -> None:
    federation = Federation(tmp_path, {"a": [ECHO]}, slots=1)
    await federation.start()
    await federation.add_template("w", PLAN)
    await run_one(federation)
    store, clock = federation.manager.store, federation.manager.clock
    before = await stream_id(store, clock)
    await store.commit(Unit(now=clock.now(), settings={"put_back": "1"}))
    await federation.stop()

    again = Again(tmp_path, {"a": [ECHO]}, slots=1)
    await again.start()
    try:
        manager = again.manager
        await until(lambda: manager.outbox.stream_id > before)
        assert manager.role.state.hold_until > manager.clock.now()
        settings = await manager.store.settings()
        assert settings["put_back"] == ""
        assert int(settings["stream_id"]) == manager.outbox.stream_id
        await run_one(again)
        (agent,) = again.agents
        (known,) = (
            r for r in agent.role.state.tables[Peer].values() if isinstance(r, Peer) and "/manager/" in r.uri
        )
        assert known.stream_id == manager.outbox.stream_id
        assert known.gaps <= 1, "what could not be routed yet comes later"
    finally:
        await again.stop()


# --- messages that kill ----------------------------------------------------------------------------


def delivery(body: bytes, *, redelivered: bool = True) -> Delivery:
    return Delivery(body=body, routing_key="", queue="", redelivered=redelivered)


async def test_only_a_delivery_that_comes_again_and_never_ends_is_counted(federation: Federation) -> None:
    store: Store = federation.manager.store
    bad, good = delivery(b"bad"), delivery(b"good")
    for life in range(MAX_TRIES):
        suspects = Suspects(store)  # a process that begins, and dies
        assert await suspects.tries([bad, delivery(b"new", redelivered=False)]) == [life, 0]
        assert await suspects.tries([bad]) == [life], "a repeat in one life is no death"
        assert await suspects.tries([good]) == [0]
        unit = Unit(now=1)
        suspects.clear([good], unit)
        await store.commit(unit)
        suspects.cleared(unit)
    assert await store.suspects([digest_of(good)]) == {}
    assert await store.suspects([digest_of(bad)]) == {digest_of(bad): MAX_TRIES}


async def test_a_delivery_that_ended_the_daemon_three_times_is_set_aside(federation: Federation) -> None:
    manager = federation.manager
    bad, innocent = delivery(b"kills"), delivery(b"does not")
    tries: dict[bytes, int] = {digest_of(bad): MAX_TRIES, digest_of(innocent): 1}
    await manager.store.commit(Unit(now=1, suspects=tries))
    manager.engine.deliver(innocent)
    manager.engine.deliver(bad)

    async def rows(query: str) -> list[Any]:
        return [tuple(row) for row in await manager.store.database.fetch(query)]

    while not (found := await rows("SELECT reason, kind FROM quarantine")):
        await until(lambda: True)
    assert found == [("POISON", "envelope")]
    while await rows("SELECT digest FROM suspect"):
        await until(lambda: True)
    assert len(await rows("SELECT reason FROM reject")) == 1, "the innocent one is judged on its merits"
    await run_one(federation)
