"""Release skew: databases and envelopes of an older release work with the present code.

And the other way round, as far as it can be had without the future: what a newer peer says that this
code does not know costs nothing but itself.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from caroni.core import messages as m
from caroni.daemon.bus.memory import MemoryBus
from caroni.daemon.ports import Publish
from caroni.errors import ConfigError
from caroni.execution.definition import JobDefinition
from caroni.model.database import Database
from caroni.model.schema import known_migrations, migrate
from caroni.model.store import Store
from caroni.wire import caroni_pb2 as pb
from caroni.wire import codec
from caroni.wire.bundle import Payload
from caroni.wire.codec import TYPE_PREFIX, encode
from caroni.wire.envelope import Sealer
from caroni.wire.fields import unknown_enums
from caroni.wire.kept import kept
from caroni.wire.rules import RULES
from caroni.wire.topics import short_id
from tests.daemon.waiting import until
from tests.model.databases import DIALECT
from tests.skew.release import RELEASES, Release, Restarted
from tests.wire.samples import filled

#: a job type that no agent had when the release stopped
LATER = JobDefinition(
    name="later", executor="noop", command=("true",), inputs={"out": "string"}, outputs={"out": "string"}
)


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> Release:
    """Each recorded release."""
    return Release(request.param)


@pytest.fixture
async def old_databases(
    request: pytest.FixtureRequest, release: Release, tmp_path: Path
) -> AsyncIterator[dict[str, str]]:
    """The URLs of the release's databases as it left them, by role."""
    urls: dict[str, str] = {}
    made: list[str] = []
    for role in ("manager", "agent"):
        if DIALECT == "sqlite":
            path = tmp_path / f"{role}.db"
            with closing(sqlite3.connect(path)) as connection:
                connection.executescript(release.script(role))
            urls[role] = f"sqlite://{path}"
            continue
        cluster = request.getfixturevalue("postgres_cluster")
        made.append(cluster.create_database())
        urls[role] = cluster.url(made[-1])
        await migrate(urls[role], target=release.world["migrations"][-1])
        database = await Database.open(urls[role])
        await release.fill(database, role)
        await database.close()
    yield urls
    for name in made:
        request.getfixturevalue("postgres_cluster").drop_database(name)


@pytest.fixture
async def restarted(
    release: Release, old_databases: dict[str, str], tmp_path: Path
) -> AsyncIterator[Restarted]:
    """The present daemons, not started, on the release's migrated databases."""
    for role, url in old_databases.items():
        await migrate(url, tmp_path / f"{role}.lock")
    agent = tmp_path / "agent"
    release.unpack_spool(agent / "spool")
    made = Restarted(release, agent, old_databases["manager"], old_databases["agent"])
    yield made
    await made.stop()


async def _count(store: Store, table: str) -> int:
    ((count,),) = await store.database.fetch(f"SELECT COUNT(*) FROM {table}")  # noqa: S608
    return int(count)


# --- databases ------------------------------------------------------------------------------------


@pytest.mark.database
async def test_an_old_database_is_refused_until_it_is_migrated(
    release: Release, old_databases: dict[str, str], tmp_path: Path
) -> None:
    newer = [name for name in known_migrations() if name not in release.world["migrations"]]
    for role, url in old_databases.items():
        if newer:
            with pytest.raises(ConfigError, match=r"is out of date .* run caroni db migrate"):
                await Store.open(url, "manager" if role == "manager" else "agent")
        assert list(await migrate(url, tmp_path / "lock")) == newer
        store = await Store.open(url, "manager" if role == "manager" else "agent")
        kept = {table: len(rows) for table, _, rows in release.rows(role)}
        assert {table: await _count(store, table) for table in kept} == kept
        await store.close()


@pytest.mark.database
async def test_running_workflows_go_on_and_complete(release: Release, restarted: Restarted) -> None:
    await restarted.start(LATER)
    before = {table: len(rows) for table, _, rows in release.rows("manager")}
    submitter = restarted.submitter
    listed = {w.wf_name: w for w in (await submitter.status()).workflows}
    expected: dict[str, str] = release.world["results"]
    assert listed.keys() == expected.keys()
    assert listed["completed"].state == "completed"
    for name, result in expected.items():
        async for update in submitter.watch(listed[name].workflow_uuid):
            last = update
        assert (name, last.workflows[0].state, last.outputs) == (name, "completed", {"result": result})
    await until(lambda: not restarted.manager.outbox.unsent and not restarted.agent.outbox.unsent)
    store = restarted.manager.store
    assert await _count(store, "quarantine") == before["quarantine"]
    assert await _count(store, "ledger") > before["ledger"]
    # what ended in the spool while nobody looked was not run again
    attempts = await store.database.fetch("SELECT attempt FROM job")
    assert {attempt for (attempt,) in attempts} == {1}


# --- envelopes ------------------------------------------------------------------------------------


def test_every_message_type_of_a_release_was_recorded(release: Release) -> None:
    recorded = {message["type"] for record in release.envelopes() for message in record["messages"]}
    assert recorded <= {kind.__name__ for kind in RULES}, "a message type of a release is gone"
    assert len(recorded) >= 30


def test_recorded_envelopes_open_to_the_values_that_were_sealed(release: Release) -> None:
    openers = {role: release.opener(role) for role in ("manager", "agent", "submitter")}
    for record in release.envelopes():
        opened = openers[record["receiver"]].open(base64.b64decode(record["body"]), release.now)
        assert opened.sender == release.world[record["sender"]]
        found = [item.message for item in opened.items]
        # fields that came later have their defaults
        expected = [msgspec.convert(r["value"], getattr(m, r["type"])) for r in record["messages"]]
        assert found == expected, record["name"]
        assert [type(message) for message in found] == [type(message) for message in expected]


# --- what a newer peer says -----------------------------------------------------------------------


def _sealed(release: Release, type_url: str, value: bytes) -> tuple[bytes, bytes]:
    """Message id and envelope of any payload from the agent to the manager."""
    signer = release.signer("agent")
    message_id = hashlib.sha256(type_url.encode() + value).digest()[:16]
    payload = Payload(type_url=type_url, value=value, lifetime=3_600_000_000)
    manager = release.world["manager"]
    sealer = Sealer(signer, signer.uri, "default")
    return message_id, sealer.seal(payload, manager, message_id, b"", b"", release.now, 1, 0)


@pytest.mark.database
async def test_an_unknown_message_type_is_set_aside_and_can_be_read_later(
    release: Release, restarted: Restarted, monkeypatch: pytest.MonkeyPatch
) -> None:
    await restarted.start(LATER)
    unknown = TYPE_PREFIX + "JobOfTomorrow"
    _, value = encode(m.JobAccepted(job_uuid=bytes(range(16)), offer_uuid=bytes(16)))
    message_id, body = _sealed(release, unknown, value)
    bus = MemoryBus(restarted.broker)
    await bus.start((), lambda delivery: None, lambda: None)
    key = f"wf.manager.{short_id(release.world['manager'])}"
    await bus.publish(Publish(routing_key=key, body=body, message_id="", type=""))
    store = restarted.manager.store
    wanted = "SELECT reason, error, kind, body FROM quarantine WHERE key = ?"
    found = await _eventually(store, wanted, message_id.hex())
    assert found[0][0] == "E_TYPE"
    assert "JobOfTomorrow" in found[0][1]
    remembered = kept(bytes(found[0][3]))
    assert remembered is not None
    assert (found[0][2], remembered.value) == ("JobOfTomorrow", value)
    await bus.close()
    # a later version that knows the type reads it from the ledger
    ((envelope,),) = await store.database.fetch(
        "SELECT envelope FROM ledger WHERE message_id = ? AND direction = 'in'", message_id.hex()
    )
    monkeypatch.setitem(codec._READERS, unknown, codec._READERS[TYPE_PREFIX + "JobAccepted"])
    opened = release.opener("manager").open(bytes(envelope), release.now)
    assert opened.items[0].message == codec.decode(TYPE_PREFIX + "JobAccepted", value)


async def _eventually(store: Store, query: str, *arguments: Any) -> Any:
    async with asyncio.timeout(20):
        while not (found := await store.database.fetch(query, *arguments)):  # noqa: ASYNC110 - rows announce nothing
            await asyncio.sleep(0.01)
    return found


def _with_enum(kind: type[Any], field: str, number: int) -> bytes:
    """A filled message with one enum set to a number that nobody has assigned."""
    type_url, value = encode(filled(kind))
    proto = getattr(pb, kind.__name__).FromString(value)
    setattr(proto, field, number)
    assert type_url.endswith(kind.__name__)
    data: bytes = proto.SerializeToString()
    return data


@pytest.mark.parametrize(
    ("kind", "field", "enum"),
    [
        (m.JobStatusUpdate, "job_status", m.JobStatus),
        (m.JobStatusUpdate, "failure_class", m.FailureClass),
        (m.JobFulfillmentDecline, "reason", m.DeclineReason),
        (m.AgentPresence, "state", m.PresenceState),
        (m.WorkFlowCreate, "on_failure", m.OnFailure),
        (m.WorkFlowCreate, "reserve", m.Reserve),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_an_unknown_enum_value_is_unspecified_and_counted(
    kind: type[m.Message], field: str, enum: Callable[[int], Any]
) -> None:
    before = unknown_enums[enum.__name__]
    message = codec.decode(TYPE_PREFIX + kind.__name__, _with_enum(kind, field, 99))
    assert getattr(message, field) == enum(0)
    assert message == msgspec.structs.replace(filled(kind), **{field: enum(0)})
    assert unknown_enums[enum.__name__] == before + 1


@pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.__name__)
def test_unknown_fields_are_passed_over(kind: type[m.Message]) -> None:
    type_url, value = encode(filled(kind))
    # field 1000: varint 7; field 1001: three bytes
    later = value + b"\xc0\x3e\x07" + b"\xca\x3e\x03new"
    assert codec.decode(type_url, later) == filled(kind)
    assert encode(codec.decode(type_url, later)) == (type_url, value)
