"""Pages of a ledger on each database: every filter, both ways to find a workflow's conversations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from caroni.core.messages import JobKill
from caroni.core.rows import AgentJob, AgentOffer, Job, Request, Step, Workflow
from caroni.core.states import (
    AgentJobState,
    AgentOfferState,
    JobState,
    RequestState,
    StepState,
    WorkflowState,
)
from caroni.model.store import Store
from caroni.model.unit import LedgerItem, LedgerRow, QuarantineRow, RejectRow, Unit
from caroni.services import ledger
from caroni.services.ledger import trace
from caroni.services.traced import TraceFilter
from caroni.services.traceexport import export
from caroni.services.tracefile import open_export
from caroni.wire.codec import encode
from caroni.wire.sealing import seal_unsigned
from tests.model.databases import *  # noqa: F403

M, A = "caroni://a.example/manager/m1", "caroni://b.example/agent/g%1"
FLOWS = [bytes([0xF0 + n]) * 16 for n in range(2)]
TALKS = [bytes([0x70 + n]) * 16 for n in range(6)]
BODY = seal_unsigned(*encode(JobKill(job_uuid=bytes(16), kill_info="x\x00y")))

Open = Callable[..., Awaitable[Store]]


def row(talk: bytes, type: str, peer: str, *, verdict: str = "ok", body: bytes = BODY) -> LedgerRow:
    items = (LedgerItem(type=type, conversation_id=talk, request_uuid=talk),)
    return LedgerRow(
        direction="in", peer=peer, message_id=talk, payload_type=type, fingerprint="", envelope=body, at=1,
        verdict=verdict, items=items,
    )  # fmt: skip


@pytest.fixture
async def store(open_store: Open) -> Store:
    """Two workflows of three steps, two messages each; of the third talk one of another verdict."""
    store = await open_store("manager")
    unit = Unit(now=1)
    unit.rows[Workflow] = [
        Workflow(
            workflow_uuid=uuid, state=WorkflowState.RUNNING, name=f"w{n}\x00", submit_uuid=bytes([n]) * 16
        )
        for n, uuid in enumerate(FLOWS)
    ]
    unit.rows[Step] = [
        Step(workflow_uuid=uuid, index=n, name=f"s{n}\x00", job_type="t", state=StepState.RUNNING)
        for uuid in FLOWS
        for n in range(3)
    ]
    unit.rows[Request] = [
        Request(
            request_uuid=talk,
            workflow_uuid=FLOWS[n // 3],
            step_index=n % 3,
            attempt=n,
            state=RequestState.OPEN,
        )
        for n, talk in enumerate(TALKS)
    ]
    unit.rows[Job] = [
        Job(agent=A, job_uuid=bytes([9]) * 16, workflow_uuid=FLOWS[0], step_index=1, attempt=1,
            request_uuid=TALKS[1], offer_uuid=b"", state=JobState.RUNNING)
    ]  # fmt: skip
    for n, talk in enumerate(TALKS):
        unit.ledger.append(row(talk, "JobFulfillmentOffer", A, verdict="E_ROLE" if n == 2 else "ok"))
        unit.ledger.append(row(talk, "JobKill", M))
    unit.ledger.append(row(bytes([1]) * 16, "WorkFlowCreate", "caroni://a.example/submitter/s", body=b"\xff"))
    unit.rejects.append(RejectRow(at=2, reason="E_SIG", detail="no\x00"))
    unit.quarantine.append(QuarantineRow(key=bytes(16), kind="JobKill", sender=A, reason="E_ROLE", body=b"x"))
    await store.commit(unit)
    return store


async def found(store: Store, **wanted: object) -> list[tuple[str, str, str]]:
    entries = await trace(store, M, TraceFilter(**wanted))  # type: ignore[arg-type]
    return [(e.type, e.step, e.verdict) for e in entries]


@pytest.mark.parametrize("looked_up", [1500, 1], ids=["by the index", "walking back"])
async def test_a_workflow(store: Store, looked_up: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "LOOKED_UP", looked_up)
    names = await found(store, workflow=FLOWS[0])
    assert [n for n in names if n[1]] == [
        (type, f"s{n}\x00", "E_ROLE" if n == 2 and type == "JobFulfillmentOffer" else "ok")
        for n in range(3)
        for type in ("JobFulfillmentOffer", "JobKill")
    ]
    assert await found(store, workflow=FLOWS[1], step="s1\x00", type="kill") == [("JobKill", "s1\x00", "ok")]
    both = await trace(store, M, TraceFilter(workflow=FLOWS[1]), limit=3)
    assert [e.attempt for e in both if e.step] in ([4, 5, 5], [5, 5])
    assert {e.workflow_name for e in both} == {"w1\x00"}


async def test_every_other_filter(store: Store) -> None:
    assert len(await found(store)) == 15
    assert len(await found(store, peer="AGENT/G%1")) == 7
    assert len(await found(store, peer="agent/g_1")) == 0
    assert len(await found(store, type="joBkill")) == 7
    assert {v for _, _, v in await found(store, failed=True)} == {"E_ROLE", "E_SIG"}
    assert len(await found(store, failed=True)) == 3
    assert await found(store, job=bytes([9]) * 16) == await found(store, conversation=TALKS[1])
    assert await found(store, job=bytes([8]) * 16) == []
    create = [e for e in await trace(store, M) if e.type == "WorkFlowCreate"]
    assert create[0].workflow == FLOWS[1].hex()
    assert create[0].summary == "1 B: open it to see"


async def test_pages(store: Store) -> None:
    every = await trace(store, M)
    back = [e for e in await trace(store, M, limit=4)]
    while page := await trace(store, M, before=back[0].rev, limit=4):
        back = page + back
    assert back == every
    assert await trace(store, M, after=every[4].rev, limit=3) == every[5:8]
    assert await trace(store, M, after=every[-1].rev) == []


async def test_a_file(store: Store, tmp_path) -> None:  # type: ignore[no-untyped-def]
    await export(store, M, tmp_path / "x", TraceFilter(workflow=FLOWS[0], step="s0\x00"))
    opened = open_export(tmp_path / "x")
    assert [(e.type, e.step, e.workflow_name) for e in opened.entries] == [
        ("JobKill", "s0\x00", "w0\x00")
    ] * 2


async def test_an_agent(open_store: Open) -> None:
    store = await open_store("agent")
    await store.commit(
        Unit(
            rows={
                AgentOffer: [
                    AgentOffer(manager=M, offer_uuid=b"o" * 16, request_uuid=TALKS[0],
                               state=AgentOfferState.ACCEPTED, job_type="t\x00", attempt=3)
                ],
                AgentJob: [
                    AgentJob(manager=M, job_uuid=b"j" * 16, offer_uuid=b"o" * 16, request_uuid=TALKS[0],
                             state=AgentJobState.RUNNING, job_type="t\x00")
                ],
            },
            ledger=[row(TALKS[0], "JobFulfillmentRequest", M), row(TALKS[1], "JobFulfillmentRequest", M)],
            now=1,
        )
    )  # fmt: skip
    (entry,) = await trace(store, A, TraceFilter(job=b"j" * 16))
    assert (entry.job_type, entry.attempt, entry.workflow) == ("t\x00", 3, "")
    assert await trace(store, A, TraceFilter(workflow=FLOWS[0])) == []
