"""What was set aside and is tried again: it passes every check anew, and has its effect once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from caroni.core.commands import Command, DropQuarantined, Prune, ReplayQuarantined
from caroni.core.draft import Origin
from caroni.core.messages import JobKill, WorkFlowCancel, WorkFlowCreate
from caroni.core.plan import DAY
from caroni.core.rows import AgentJob, Workflow
from caroni.core.states import AgentJobState
from caroni.daemon.node import Node
from caroni.daemon.suspects import MAX_TRIES, digest_of
from caroni.model.retention import Retention
from caroni.model.unit import QuarantineRow, Unit
from caroni.services.quarantine import REASONS, set_aside, show
from caroni.wire import codec
from caroni.wire.codec import TYPE_PREFIX
from caroni.wire.inspect import inspect
from tests.daemon.test_engine import JOB as ECHO
from tests.daemon.test_engine import PLAN, Federation, run_one
from tests.daemon.test_recovery import Again, carried_out, delivery

NOW = 4_000_000_000_000_000
CREATE = TYPE_PREFIX + "WorkFlowCreate"


@pytest.fixture
async def federation(tmp_path: Path) -> AsyncIterator[Federation]:
    made = Federation(tmp_path, {"a": [ECHO]}, slots=1)
    await made.start()
    await made.add_template("w", PLAN)
    yield made
    await made.stop()


async def quarantined(node: Node, count: int = 1) -> list[QuarantineRow]:
    """The rows that are in quarantine, once there are so many."""
    async with asyncio.timeout(20):
        while True:
            found = await node.store.quarantine()
            if len(found) == count:
                return await node.store.quarantined([row.key for _, row in found])
            await asyncio.sleep(0.01)


async def answer(node: Node, command: Command) -> dict[str, Any]:
    row = await carried_out(node, command)
    assert row.state == "done", row.result
    return msgspec.json.decode(row.result, type=dict)


async def set_aside_a_create(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> QuarantineRow:
    """A submit that this version does not know yet."""
    submitter = federation.submitter
    with monkeypatch.context() as before_the_upgrade:
        before_the_upgrade.delitem(codec._READERS, CREATE)
        create = submitter.new_create("w", {"start": '"x"'})
        await submitter._send(create, create.submit_uuid)
        (row,) = await quarantined(federation.manager)
    assert (row.kind, row.reason, row.tries) == ("WorkFlowCreate", "E_TYPE", 1)
    assert not federation.manager.role.state.tables[Workflow]
    return row


async def test_an_unknown_type_is_taken_after_an_upgrade(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await set_aside_a_create(federation, monkeypatch)
    manager = federation.manager
    contact = await manager.store.database.fetch("SELECT last_contact FROM peer WHERE uri = ?", row.sender)
    assert await answer(manager, ReplayQuarantined(keys=(row.key,))) == {"replayed": 1, "refused": {}}
    assert not await manager.store.quarantine()
    again = await manager.store.database.fetch("SELECT last_contact FROM peer WHERE uri = ?", row.sender)
    assert again == contact, "what is tried again is no sign of life"
    (summary,) = await manager.store.workflows()
    async for update in federation.submitter.follow(summary.workflow.workflow_uuid):
        last = update
    assert last.workflows[0].state == "completed"
    gone = await carried_out(manager, ReplayQuarantined(keys=(row.key,)))
    assert gone.state == "failed"
    assert "nothing of this is in quarantine" in gone.result
    assert len(await manager.store.workflows()) == 1


async def test_who_is_banned_by_then_is_refused_and_it_stays(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await set_aside_a_create(federation, monkeypatch)
    manager = federation.manager
    manager.identity.trust.ban(row.sender)
    result = await answer(manager, ReplayQuarantined(keys=(row.key,)))
    assert result["replayed"] == 0
    assert result["refused"][row.key.hex()].startswith("E_BANNED")
    (stays,) = await quarantined(manager)
    assert (stays.reason, stays.tries, stays.first_at) == ("E_BANNED", 2, row.first_at)
    assert stays.body == row.body
    assert not await manager.store.workflows()
    manager.identity.trust.unban(row.sender)
    assert (await answer(manager, ReplayQuarantined(keys=(row.key,))))["replayed"] == 1
    assert len(await manager.store.workflows()) == 1


async def test_who_may_not_say_it_is_refused_again(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitter = federation.submitter
    url = TYPE_PREFIX + "WorkFlowCancel"
    from caroni.wire import rules

    pair = ("submitter", WorkFlowCancel)
    with monkeypatch.context() as strict:
        strict.setattr(rules, "_PERMITTED", rules._PERMITTED - {pair})
        await submitter.cancel(bytes(16))
        (row,) = await quarantined(federation.manager)
        assert (row.kind, row.reason) == (url.rpartition(".")[2], "E_ROLE")
        result = await answer(federation.manager, ReplayQuarantined(keys=(row.key,)))
        assert "E_ROLE" in result["refused"][row.key.hex()]
    (stays,) = await quarantined(federation.manager)
    assert (stays.tries, stays.body, stays.first_at) == (2, row.body, row.first_at)
    assert await answer(federation.manager, DropQuarantined(keys=(row.key, bytes(16)))) == {"dropped": 1}
    assert not await federation.manager.store.quarantine()


async def test_a_bug_that_was_repaired(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, submitter = federation.manager, federation.submitter
    with monkeypatch.context() as broken:
        whole = manager.role.handle

        def handle(draft: Any, origin: Any, message: Any) -> bool:
            if isinstance(message, WorkFlowCreate):
                raise RuntimeError("a bug")
            return whole(draft, origin, message)

        broken.setattr(manager.role, "handle", handle)
        create = submitter.new_create("w", {"start": '"x"'})
        await submitter._send(create, create.submit_uuid)
        (row,) = await quarantined(manager)
        assert (row.reason, row.error) == ("BUG", "RuntimeError: a bug")
        result = await answer(manager, ReplayQuarantined(keys=(row.key,)))
        assert result["refused"] == {row.key.hex(): "BUG: RuntimeError: a bug"}
    assert (await answer(manager, ReplayQuarantined(keys=(row.key,))))["replayed"] == 1
    assert len(await manager.store.workflows()) == 1


async def seal_for(federation: Federation, catch: Callable[[bytes], bool]) -> bytes:
    """The envelope of a submit, from the manager's ledger."""
    rows = await federation.manager.store.database.fetch(
        "SELECT envelope FROM ledger WHERE direction = 'in' AND payload_type = 'WorkFlowCreate'"
    )
    (body,) = [bytes(row[0]) for row in rows]
    assert catch(body)
    return body


async def test_a_whole_envelope(federation: Federation) -> None:
    """One that ended the daemon, it is said: it has no effect where it had one already, and one elsewhere."""
    await run_one(federation)
    manager = federation.manager
    body = await seal_for(federation, bool)

    async def put_aside() -> bytes:
        row = QuarantineRow(key=b"e" * 16, kind="envelope", body=body, reason="POISON", first_at=1, last_at=1)
        await manager.store.commit(Unit(now=1, quarantine=[row]))
        return row.key

    key = await put_aside()
    assert (await answer(manager, ReplayQuarantined(keys=(key,))))["replayed"] == 1
    assert len(await manager.store.workflows()) == 1, "its effect was there"
    assert not await manager.store.quarantine()
    await manager.store.database.run("DELETE FROM inbox")
    await manager.store.database.run("UPDATE workflow SET submit_uuid = ''")
    key = await put_aside()
    assert (await answer(manager, ReplayQuarantined(keys=(key,))))["replayed"] == 1
    assert len(await manager.store.workflows()) == 2
    # what ends the daemon when it is tried again is not tried for ever
    key = await put_aside()
    digest = digest_of(delivery(body))
    await manager.store.commit(Unit(now=1, suspects={digest: MAX_TRIES}))
    result = await answer(manager, ReplayQuarantined(keys=(key,)))
    assert "ended 3 times while it tried this again" in result["refused"][key.hex()]
    assert len(await manager.store.workflows()) == 2


async def test_an_envelope_that_is_no_good_stays(federation: Federation) -> None:
    manager = federation.manager
    rows = [
        QuarantineRow(key=bytes([n]) * 16, kind=kind, body=body, reason="E_PARSE", first_at=5, last_at=5)
        for n, (kind, body) in enumerate(
            [("envelope", b"\xff"), ("JobOfTomorrow", b"old"), ("outgoing", b""), ("JobKill", b"")]
        )
    ]
    await manager.store.commit(Unit(now=5, quarantine=rows))
    result = await answer(manager, ReplayQuarantined(keys=tuple(row.key for row in rows)))
    assert result["replayed"] == 0
    assert len(result["refused"]) == 4
    assert {row.tries for row in await quarantined(manager, 4)} == {2}
    assert await answer(manager, DropQuarantined(keys=tuple(r.key for r in rows))) == {"dropped": 4}


async def test_a_workflow_that_can_be_read_again(tmp_path: Path) -> None:
    first = Federation(tmp_path, {}, slots=1)
    await first.start()
    await first.add_template("w", PLAN)
    submitter = first.submitter
    created = await submitter.submit(submitter.new_create("w", {"start": '"x"'}))
    await first.stop()
    uuid = created.workflow_uuid
    second = Again(tmp_path, {}, slots=1)
    store = await second._store("main", "manager")
    await store.database.run("UPDATE step SET state = 'dancing'")
    await store.close()
    await second.start()
    manager = second.manager
    try:
        (row,) = await quarantined(manager)
        assert (row.key, row.kind, row.reason) == (uuid, "workflow", "UNREADABLE")
        assert not manager.role.state.tables[Workflow]
        result = await answer(manager, ReplayQuarantined(keys=(uuid,)))
        assert "dancing" in result["refused"][uuid.hex()]
        await manager.store.database.run("UPDATE step SET state = 'fulfilling'")
        assert (await answer(manager, ReplayQuarantined(keys=(uuid,))))["replayed"] == 1
        assert list(manager.role.state.tables[Workflow]) == [uuid]
        assert manager.role.state.open_requests == 1
        assert manager.role.state.timers.next_due()
        assert not await manager.store.quarantine()
    finally:
        await second.stop()


async def test_an_agents_job_that_can_be_read_again(tmp_path: Path) -> None:
    first = Federation(tmp_path, {"a": [ECHO]}, slots=1)
    await first.start()
    manager, uuid = first.manager.identity.uri, b"j" * 16
    job = AgentJob(
        manager=manager, job_uuid=uuid, offer_uuid=b"o" * 16, request_uuid=b"r" * 16, created_at=NOW,
        state=AgentJobState.PENDING, job_type="echo", definition_revision=1, parameters=("out",), missing=1,
        due=NOW + DAY,
    )  # fmt: skip
    await first.agents[0].store.commit(Unit(now=NOW, rows={AgentJob: [job]}))
    await first.agents[0].store.database.run("UPDATE agent_job SET state = 'dancing'")
    await first.stop()
    second = Again(tmp_path, {"a": [ECHO]}, slots=1)
    await second.start()
    agent = second.agents[0]
    try:
        (row,) = await quarantined(agent)
        assert (row.key, row.kind, row.reason) == (uuid, "job", "UNREADABLE")
        await agent.store.database.run("UPDATE agent_job SET state = 'pending'")
        assert (await answer(agent, ReplayQuarantined(keys=(uuid,))))["replayed"] == 1
        assert agent.role.state.get(AgentJob, job.key) == job
        assert agent.role.state.waiting_of == {manager: 1}
        assert not await agent.store.quarantine()
    finally:
        await second.stop()


async def test_what_an_operator_sees(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    row = await set_aside_a_create(federation, monkeypatch)
    store = federation.manager.store
    (one,) = await set_aside(store)
    assert (one.key, one.kind, one.meaning) == (row.key.hex(), "WorkFlowCreate", REASONS["E_TYPE"])
    assert one.sender == federation.uri("submitter", "you")
    assert await set_aside(store, reason="BUG") == []
    shown = await show(store, row.key.hex()[:8])
    (message,) = shown.messages
    assert message["type"] == "WorkFlowCreate"
    assert message["fields"]["template_name"] == "w"
    assert message["fields"]["inputs"] == {"start": '"x"'}


async def test_a_command_that_cannot_be_committed_is_answered(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = federation.manager
    row = QuarantineRow(key=b"k" * 16, kind="x", reason="E_TYPE", first_at=1, last_at=1)
    await manager.store.commit(Unit(now=1, quarantine=[row]))
    whole = manager.store.commit

    async def commit(unit: Unit) -> int:
        if unit.unquarantine:
            raise ValueError("this unit cannot be written")
        return await whole(unit)

    with monkeypatch.context() as broken:
        broken.setattr(manager.store, "commit", commit)
        done = await carried_out(manager, DropQuarantined(keys=(row.key,)))
        assert done.state == "failed"
        assert "cannot be written" in done.result
    assert await answer(manager, DropQuarantined(keys=(row.key,))) == {"dropped": 1}
    await run_one(federation)


async def test_memories_of_kills_leave_memory_when_their_time_is_over(federation: Federation) -> None:
    agent = federation.agents[0]
    agent._retention = Retention(released_jobs=0)
    key = (federation.manager.identity.uri, b"j" * 16)
    draft = agent.role.draft(agent.clock.now(), agent._dice)
    agent.role.handle(draft, Origin(uri=key[0]), JobKill(job_uuid=key[1]))
    await agent.store.commit(Unit(now=1, rows=draft.changes()))
    assert agent.role.state.get(AgentJob, key) is not None
    gone = await answer(agent, Prune())
    assert gone["jobs"] >= 1
    await run_one(federation)  # a unit of work
    assert agent.role.state.get(AgentJob, key) is None
    assert agent.role.state.tombstones == {}


def test_nothing_that_was_kept_stops_who_looks_at_it() -> None:
    for kind in ("envelope", "JobKill", "Bundle", "no/such", ""):
        for body in (b"", b"\xff" * 40, b"caroni item 1\n", b"caroni item 1\n\x91\xa1x", b"\x0a\x03abc"):
            found = inspect(kind, body)
            assert found.error or all(
                re.match(r"E_\w+", m.error) or m.error for m in found.messages if not m.fields
            )
            msgspec.json.encode(found)
