"""The trace from real ledgers: what belongs to what, pages, refusals, verification again, files."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from caroni.core.messages import JobFulfillmentRequest, JobStatus, JobStatusUpdate, WorkFlowCreate
from caroni.core.plan import Plan, PlanInput, PlanStep, WorkflowInput, WorkflowOutput
from caroni.core.rows import Job
from caroni.daemon.embedded import Embedded
from caroni.errors import UsageError
from caroni.execution.definition import JobDefinition
from caroni.model.store import Store
from caroni.model.unit import LedgerItem, LedgerRow, QuarantineRow, RejectRow, Unit
from caroni.services import opening
from caroni.services.ledger import trace
from caroni.services.roundtrips import round_trips
from caroni.services.tapping import FIRST_TAPPED, Tapped, TapReader
from caroni.services.traced import TraceEntry, TraceFilter
from caroni.services.traceexport import export
from caroni.services.tracefile import Exported, open_export
from caroni.trust.keys import KeySigner
from caroni.trust.store import TrustStore
from caroni.wire.audit import Auditor
from caroni.wire.bundle import Part, pack
from caroni.wire.codec import encode
from caroni.wire.sealing import Sealer, seal_unsigned
from tests.services import eventually

JOB = JobDefinition(
    name="echo", executor="noop", command=("true",), inputs={"out": "string"}, outputs={"out": "string"}
)
PLAN = Plan(
    inputs=(WorkflowInput(name="start", type="string"),),
    steps=tuple(
        PlanStep(
            name=name,
            job_type="echo",
            inputs=(PlanInput(name="out", type="string", source=source),),
            outputs={"out": "string"},
        )
        for name, source in (("first", "start"), ("second", "first/out"))
    ),
    outputs=(WorkflowOutput(name="result", source="second/out"),),
)
MANAGER = "caroni://local.example/manager/main"
AGENT = "caroni://local.example/agent/north"
CALL = "JobFulfillmentRequest"
OFFER = "JobFulfillmentOffer"


class System(msgspec.Struct):
    """What a manager and an agent have written, and who signed it."""

    manager: Store
    agent: Store
    trust: TrustStore
    signer: KeySigner


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrustStore, KeySigner]:
    """Two agents that have run a workflow of two steps, to its last release."""
    directory = tmp_path_factory.mktemp("ran")

    async def run() -> tuple[Path, TrustStore, KeySigner]:
        made = Embedded(directory, {"north": [JOB], "south": []}, slots=1)
        try:
            await made.start()
            await made.add_template("chain", PLAN)
            create = made.submitter.new_create("chain", {"start": '"\\u001b[2Jx"'}, name="nightly")
            created = await made.submitter.submit(create)
            async for update in made.submitter.follow(created.workflow_uuid):
                last = update
            assert last.workflows[0].state == "completed"
            await eventually(lambda: not made.manager.role.state.tables[Job], 20)
            store = made.manager.store
            async with asyncio.timeout(20):
                while types(await trace(store, MANAGER)).count("JobRelease") < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            await made.stop()
        signer = made.manager.identity.signer
        assert isinstance(signer, KeySigner)
        return directory, made.manager.identity.trust, signer

    return asyncio.run(run())


@pytest.fixture
async def system(ran: tuple[Path, TrustStore, KeySigner], tmp_path: Path) -> AsyncIterator[System]:
    """A copy of what they have written."""
    directory, trust, signer = ran
    shutil.copytree(directory, tmp_path / "copy")
    manager = await Store.open(f"sqlite://{tmp_path}/copy/main/caroni.db", "manager")
    agent = await Store.open(f"sqlite://{tmp_path}/copy/north/caroni.db", "agent")
    yield System(manager, agent, trust, signer)
    await manager.close()
    await agent.close()


async def settled(system: System) -> list[TraceEntry]:
    """The manager's whole trace."""
    return await trace(system.manager, MANAGER, limit=2000)


def auditor(system: System) -> Auditor:
    return Auditor(system.trust)


def types(entries: list[TraceEntry]) -> list[str]:
    return [entry.type for entry in entries]


async def test_every_message_knows_what_it_belongs_to(system: System) -> None:
    found = await settled(system)
    uuid = next(e.workflow for e in found if e.type == "WorkFlowCreated")
    assert [e.rev for e in found] == sorted(e.rev for e in found)
    assert {e.verdict for e in found} == {"ok"}
    assert {e.workflow for e in found if "Status" not in e.type} == {uuid}
    assert {e.workflow_name for e in found if e.workflow} == {"nightly"}
    first = [e for e in found if e.step == "first"]
    names = types(first)
    order = [CALL, OFFER, "JobFulfillmentOfferAccept", "JobAccepted", "JobDataAvailable", "JobStatusUpdate"]
    assert [names.index(name) for name in order] == sorted(names.index(name) for name in order)
    assert {e.attempt for e in first} == {1}
    assert len({e.conversation for e in first}) == 1
    call = first[0]
    assert (call.direction, call.sender, call.receiver) == ("out", MANAGER, "caroni://*/agent/*")
    assert (call.job_type, call.summary) == ("echo", "round 1")
    offer = first[names.index(OFFER)]
    assert (offer.direction, offer.sender, offer.receiver) == ("in", AGENT, MANAGER)
    done = [e for e in first if e.summary == "completed"]
    assert done
    assert done[0].job
    took = round_trips(found)
    assert took[offer.key] >= 0
    assert {e.type for e in found if e.key in took} >= {OFFER, "JobAccepted", "JobRelease", "WorkFlowCreated"}


async def test_an_agents_ledger_tells_job_type_and_attempt(system: System) -> None:
    await settled(system)
    store = system.agent
    found = await trace(store, AGENT)
    assert {CALL, OFFER, "JobAccepted", "JobRelease"} <= set(types(found))
    assert {(e.job_type, e.attempt, e.step) for e in found if e.conversation} == {("echo", 1, "")}
    job = next(e.job for e in found if e.type == "JobAccepted")
    one = await trace(store, AGENT, TraceFilter(job=bytes.fromhex(job)))
    assert CALL in types(one)
    assert len({e.conversation for e in one}) == 1


async def test_filters(system: System) -> None:
    every = await settled(system)
    store = system.manager
    uuid = bytes.fromhex(next(e.workflow for e in every if e.type == "WorkFlowCreated"))

    async def keys(**wanted: object) -> set[tuple[int, int]]:
        found = await trace(store, MANAGER, TraceFilter(**wanted), limit=2000)  # type: ignore[arg-type]
        return {entry.key for entry in found}

    assert await keys(workflow=uuid) >= {e.key for e in every if e.step}
    assert await keys(workflow=uuid, step="second") == {e.key for e in every if e.step == "second"}
    assert await keys(workflow=bytes(16)) == set()
    assert await keys(workflow=uuid, step="third") == set()
    assert await keys(peer="North") == {e.key for e in every if "north" in e.sender + e.receiver}
    assert await keys(peer="agent_north") == set()
    assert await keys(type="offeraccept") == {e.key for e in every if "OfferAccept" in e.type}
    assert await keys(failed=True) == set()
    conversation = next(e.conversation for e in every if e.step == "first")
    assert await keys(conversation=bytes.fromhex(conversation)) == {
        e.key for e in every if e.conversation == conversation
    }
    with pytest.raises(UsageError, match="name the workflow"):
        await trace(store, MANAGER, TraceFilter(step="first"))


async def test_pages_meet_without_gap_or_repeat(system: System) -> None:
    every = await settled(system)
    store = system.manager
    back: list[TraceEntry] = []
    before: int | None = None
    while page := await trace(store, MANAGER, before=before, limit=5):
        back = page + back
        before = page[0].rev
    assert back == every
    forth: list[TraceEntry] = [every[0]]
    while page := await trace(store, MANAGER, after=forth[-1].rev, limit=7):
        forth += page
    assert forth == every


async def test_a_message_in_full(system: System) -> None:
    every = await settled(system)
    entry = next(e for e in every if e.type == "JobDataAvailable" and e.direction == "out")
    body = await envelope_of(system.manager, entry.rev)
    shown = opening.decoded(entry, body, auditor(system))
    assert shown.verdict.good
    assert shown.verdict.words.startswith("signature good, certificate valid until 20")
    assert shown.header.sender == MANAGER
    assert shown.header.audience == (AGENT,)
    assert shown.header.sequence > 0
    assert len(shown.header.fingerprint) == 64
    assert shown.fields["job_uuid"] == entry.job
    assert shown.fields["parameters"] == {"out": "\x1b[2Jx"}
    assert not shown.cut
    # a place of a bundle that is not there, and bytes that are nothing
    assert "not in this envelope" in opening.decoded(msgspec.structs.replace(entry, position=7), body,
                                                     auditor(system)).error  # fmt: skip
    nothing = opening.decoded(entry, b"\xff\xff", auditor(system))
    assert (nothing.verdict.code, nothing.head) == ("E_PARSE", "//8=")


async def envelope_of(store: Store, rev: int) -> bytes:
    ((body,),) = await store.database.fetch(
        "SELECT l.envelope FROM ledger l JOIN ledger_item i ON i.ledger = l.rev WHERE i.rev = ?", rev
    )
    return bytes(body)


async def test_a_tap_shows_the_same(system: System) -> None:
    every = await settled(system)
    bodies = {e.rev: await envelope_of(system.manager, e.rev) for e in every if e.messages == 1}
    reader = TapReader(auditor(system))
    seen = reader.entries(Tapped(at=5, routing_key="wf.x", body=body) for body in bodies.values())
    assert types(seen) == [e.type for e in every if e.rev in bodies]
    assert {(e.verdict, e.direction, e.at) for e in seen} == {("ok", "seen", 5)}
    assert [e.rev for e in seen] == [FIRST_TAPPED + n + 1 for n in range(len(seen))]
    unseen = TapReader().entries([Tapped(at=5, routing_key="wf.x", body=next(iter(bodies.values())))])[0]
    assert (unseen.verdict, unseen.failed, unseen.sender) == ("", False, seen[0].sender)
    strange = reader.entries([Tapped(at=5, routing_key="wf.x", body=b"\xff")])[0]
    assert (strange.kind, strange.verdict, strange.receiver) == ("refused", "E_PARSE", "wf.x")


# --- rows that a test writes -------------------------------------------------------------------------


def sealed(system: System, *messages: object, peer: str = AGENT) -> LedgerRow:
    """An envelope as the manager would send it while the broker was away, in the oldest way."""
    signer = system.signer
    parts = [Part(bytes([n + 1]) * 16, b"\x77" * 16, b"", *encode(m)) for n, m in enumerate(messages)]  # type: ignore[arg-type]
    body = Sealer(signer, MANAGER, "").seal(
        pack(parts), peer, bytes(16), b"", b"", 1_790_000_000_000_000, 1, 1
    )
    return LedgerRow(
        direction="out", peer=peer, message_id=bytes(16), payload_type="Bundle",
        fingerprint=signer.fingerprint.hex(), envelope=body, at=1, items=(LedgerItem(type="Bundle"),),
    )  # fmt: skip


async def test_a_bundle_that_the_ledger_did_not_take_apart(system: System) -> None:
    await settled(system)
    store = system.manager
    last = (await trace(store, MANAGER))[-1].rev
    calls = [JobFulfillmentRequest(request_uuid=bytes([n]) * 16, job_type_name="echo") for n in range(3)]
    await store.commit(Unit(ledger=[sealed(system, *calls)]))
    found = [e for e in await trace(store, MANAGER, after=last) if e.messages == 3]
    assert [(e.type, e.position, e.request) for e in found] == [
        (CALL, n, (bytes([n]) * 16).hex()) for n in range(3)
    ]
    assert {e.conversation for e in found} == {"77" * 16}
    assert len({e.rev for e in found}) == 1
    assert CALL in types(await trace(store, MANAGER, TraceFilter(type="request"), after=last))


async def test_what_failed_stands_where_it_happened(system: System) -> None:
    every = await settled(system)
    store = system.manager
    await store.commit(
        Unit(
            rejects=[
                RejectRow(at=7, reason="E_SIG", detail="signature does not fit", routing_key="wf.manager.x",
                          size=99, head=b"\x0a\x00evil"),
                RejectRow(at=8, reason="E_EXPIRED", detail=f"{AGENT} past its lifetime", size=5),
            ],
            quarantine=[
                QuarantineRow(key=b"\x05" * 16, kind="JobStatusUpdate", sender=AGENT, reason="E_ROLE",
                              error="may not", last_at=9),
                QuarantineRow(key=b"\x06" * 16, kind="workflow", reason="UNREADABLE", last_at=9),
            ],
        )
    )  # fmt: skip
    failed = await trace(store, MANAGER, TraceFilter(failed=True))
    assert [(e.kind, e.verdict, e.sender, e.summary) for e in failed] == [
        ("set aside", "E_ROLE", AGENT, "may not"),
        ("refused", "E_SIG", "", "signature does not fit"),
        ("refused", "E_EXPIRED", AGENT, "past its lifetime"),
    ]
    newest = await trace(store, MANAGER, limit=2000)
    assert [e for e in newest if not e.failed and e.rev <= every[-1].rev] == every
    assert [e for e in newest if e.failed] == failed
    assert [e.verdict for e in await trace(store, MANAGER, TraceFilter(peer="north", failed=True))] == [
        "E_ROLE", "E_EXPIRED",
    ]  # fmt: skip


async def test_huge_envelopes_are_not_read_for_a_line(system: System) -> None:
    await settled(system)
    store = system.manager
    big = WorkFlowCreate(template_name="t", inputs={"x": json.dumps("y" * 700_000)})
    row = msgspec.structs.replace(sealed(system, big), items=(LedgerItem(type="WorkFlowCreate"),))
    await store.commit(Unit(ledger=[row]))
    entry = next(e for e in await trace(store, MANAGER) if e.type == "WorkFlowCreate" and e.size > 600_000)
    assert entry.summary == "684.7 KiB: open it to see"
    shown = opening.decoded(entry, await envelope_of(store, entry.rev), auditor(system))
    assert shown.cut
    assert len(shown.fields["inputs"]["x"]) == opening.MAX_TEXT


# --- files -------------------------------------------------------------------------------------------


async def test_a_file_is_verified_with_nothing_but_a_trust_store(system: System, tmp_path: Path) -> None:
    every = await settled(system)
    store = system.manager
    await store.commit(Unit(rejects=[RejectRow(at=7, reason="E_SIG", detail="bad\x1b[2J", size=3)]))
    every = await trace(store, MANAGER, limit=2000)
    path = tmp_path / "trace.jsonl"
    assert await export(store, MANAGER, path) >= len(every)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="exists already"):
        await export(store, MANAGER, path)
    texts = path.read_text().splitlines()
    assert json.loads(texts[0])["uri"] == MANAGER
    assert sum('"certificate"' in line for line in texts) == len({line for line in texts if '"certi' in line})
    opened = await asyncio.to_thread(open_export, path)
    known = {e.key: e for e in opened.entries}
    for entry in every:
        assert known[entry.key] == msgspec.structs.replace(entry, message_id=known[entry.key].message_id)
    assert opened.own_uri == MANAGER
    judge = Auditor(system.trust, opened.certificates.get)
    for entry in opened.entries:
        if entry.kind == "message":
            assert opened.message(judge, entry.rev, entry.position).verdict.good
    refused = next(e for e in opened.entries if e.failed)
    assert opened.message(judge, refused.rev).verdict.code == "E_SIG"
    with pytest.raises(UsageError, match="no message 999999"):
        opened.message(judge, 999_999)


async def test_a_file_is_filtered_and_paged_like_a_ledger(system: System, tmp_path: Path) -> None:
    every = await settled(system)
    path = tmp_path / "trace.jsonl"
    uuid = next(e.workflow for e in every if e.type == "WorkFlowCreated")
    wanted = TraceFilter(workflow=bytes.fromhex(uuid), step="first")
    count = await export(system.manager, MANAGER, path, wanted)
    opened = open_export(path)
    assert [e.key for e in opened.entries] == [e.key for e in every if e.step == "first"]
    assert count == len(opened.entries)
    assert [e.key for e in opened.trace(TraceFilter(type="offer"), limit=1)] == [
        [e.key for e in opened.entries if "Offer" in e.type][-1]
    ]
    middle = opened.entries[3].rev
    assert opened.trace(after=middle)[0].rev > middle
    assert opened.trace(before=middle, limit=2)[-1].rev < middle


HEADER = b'{"format":"caroni-trace","version":1,"uri":"x","at":1}\n'
LINE = b'{"rev":1,"at":1,"direction":"in","peer":"p","verdict":"ok","envelope":"%s"}\n'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\x00\xff\n", "is no trace"),
        (b"[]\n", "is no trace"),
        (HEADER.replace(b"-trace", b"-other"), "is no trace"),
        (HEADER.replace(b'"version":1', b'"version":2'), "of version 2, known is 1"),
        (HEADER + b"nonsense\n", "line 2: not a line of a trace"),
        (HEADER + b"{}\n", "line 2: not a line of a trace"),
        (HEADER + b'{"certificate":"-----BEGIN"}\n', "line 2: not a line of a trace"),
        (HEADER + LINE % b"!!", "line 2: not a line of a trace"),
        (HEADER + LINE % base64.b64encode(b"\xff\xff"), "line 2: not a line of a trace"),
        (HEADER + LINE.replace(b'"rev":1', b'"rev":-1') % b"", "line 2: not a line of a trace"),
        (HEADER + b"[" * 100_000 + b"\n", "line 2: not a line of a trace"),
        (HEADER + b'{"x":' + b"[" * 100_000 + b"\n", "line 2: not a line of a trace"),
        (HEADER + b'{"x":"' + b"y" * (6 * 1024 * 1024) + b'"}\n', "line 2: longer than"),
        (HEADER + LINE.replace(b'"ok"', b'"ok","about":[{"position":3,"rev":1}]') % b"", "has no message 3"),
    ],
)
def test_a_hostile_file_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "evil\x1b[2J.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=said) as told:
        open_export(path)
    assert "\n" not in str(told.value)
    assert "\x1b" not in str(told.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        open_export(tmp_path / "nothing")
    with pytest.raises(UsageError, match="cannot be read"):
        open_export(tmp_path)


def test_what_a_file_says_of_itself_is_not_believed(tmp_path: Path) -> None:
    """A file may name any verdict; the envelope's own is found again."""
    url, value = encode(JobStatusUpdate(job_uuid=bytes(16), job_status=JobStatus.PENDING))
    path = tmp_path / "forged"
    path.write_bytes(HEADER + LINE % base64.b64encode(seal_unsigned(url, value)))
    opened: Exported = open_export(path)
    assert opened.entries[0].verdict == "ok"
    shown = opened.message(Auditor(TrustStore()), 1)
    assert (shown.verdict.code, shown.verdict.words) == (
        "E_UNSIGNED", "not signed: anybody may have sent it",
    )  # fmt: skip
