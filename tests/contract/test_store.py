"""What a store promises, on the database that ``CARONI_TEST_DB`` names."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caroni.core.messages import FailureClass
from caroni.core.rows import AGENT_ROWS, MANAGER_ROWS, Flow, Job, Peer, Row, Workflow
from caroni.core.states import StepState
from caroni.errors import ConfigError
from caroni.model.store import Store
from caroni.model.unit import (
    CommandDone,
    JobDefinitionRow,
    OutboxRetry,
    QuarantineRow,
    RejectRow,
    Sealed,
    Unit,
)
from tests.model.databases import *  # noqa: F403
from tests.model.samples import AGENT, MANAGER, NOW, Ids, full_unit, outbox_row, rows_of, workflow_rows

Open = Callable[..., Any]
ALL_ROWS = tuple(dict.fromkeys((*MANAGER_ROWS, *AGENT_ROWS)))


async def counts(store: Store, *tables: str) -> list[int]:
    found = []
    for table in tables:
        ((count,),) = await store.database.fetch(f'SELECT COUNT(*) FROM "{table}"')  # noqa: S608
        found.append(count)
    return found


@pytest.mark.parametrize("row_type", ALL_ROWS, ids=lambda t: t.__name__)
def test_every_row_comes_back_equal(row_type: type[Row], database_url: str) -> None:
    async def round_trip(drawn: list[list[Row]]) -> None:
        store = await Store.open(database_url, "manager")
        try:
            for rows in drawn:
                last = {row.key: row for row in rows}
                await store.commit(Unit(rows={row_type: list(last.values())}))
                found = {
                    r.key: r
                    for r in await store.load_slice([(row_type, k) for k in last])
                    if type(r) is row_type
                }
                assert {key: found[key] for key in last} == last
        finally:
            await store.close()

    @settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.lists(rows_of(row_type), min_size=1, max_size=8), min_size=1, max_size=8))
    def check(drawn: list[list[Row]]) -> None:
        asyncio.run(round_trip(drawn))

    check()


async def test_an_integer_beyond_64_bits_becomes_the_nearest(open_store: Open) -> None:
    store = await open_store()
    row = Peer(uri=AGENT, sequence=2**64 - 1, presence_number=-(2**70))
    await store.commit(Unit(rows={Peer: [row]}))
    (found,) = await store.load_slice([(Peer, AGENT)])
    assert (found.sequence, found.presence_number) == (2**63 - 1, -(2**63))


async def test_text_that_is_not_unicode_inside_json_loses_only_that_character(open_store: Open) -> None:
    store = await open_store()
    (row,) = workflow_rows(Ids())[Job]
    hostile = type(row)(
        **{f: getattr(row, f) for f in row.__struct_fields__} | {"manifest": {"a\ud800": b"1"}}
    )
    await store.commit(Unit(rows={Job: [hostile]}))
    (found,) = [r for r in await store.load_slice([(Job, row.key)]) if isinstance(r, Job)]
    assert found.manifest == {"a?": b"1"}


async def test_a_number_that_is_none_is_stored_as_zero(open_store: Open) -> None:
    store = await open_store()
    (row,) = workflow_rows(Ids())[Job]
    row = type(row)(**{f: getattr(row, f) for f in row.__struct_fields__} | {"progress": float("nan")})
    await store.commit(Unit(rows={Job: [row]}))
    (found,) = [r for r in await store.load_slice([(Job, row.key)]) if isinstance(r, Job)]
    assert found.progress == 0.0


async def test_the_last_write_of_a_row_wins_and_rev_rises(open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    rows = workflow_rows(ids, steps=3)
    first = await store.commit(Unit(rows=rows))
    flow = rows[Flow][0]
    assert isinstance(flow, Flow)
    second = await store.commit(
        Unit(rows={Flow: [Flow(workflow_uuid=flow.workflow_uuid, name=flow.name, value='"later"')]})
    )
    assert second == first + 1 == store.rev
    found = await store.flows(flow.workflow_uuid)
    assert [f.value for f in found] == ['"later"', "1", "1"]
    revs = [r[0] for r in await store.database.fetch("SELECT rev FROM flow ORDER BY rev")]
    assert len(set(revs)) == 3
    assert revs[-1] == second


async def test_change_numbers_rise_over_restarts_even_when_the_last_rows_are_gone(open_store: Open) -> None:
    store = await open_store()
    row = outbox_row(Ids())
    await store.commit(Unit(outbox=[row]))
    last = await store.commit(Unit(outbox_sent=[row.id], settings={"a": "b"}))
    await store.close()
    store = await open_store()
    assert await store.commit(Unit(rows={Peer: [Peer(uri=AGENT)]})) > last


async def test_seen_knows_exactly_the_pairs_of_sender_and_id(open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    mine = [(AGENT, ids()) for _ in range(300)]
    await store.commit(Unit(inbox=[(s, i, NOW) for s, i in mine]))
    others = [(MANAGER, mine[0][1]), (AGENT, ids())]
    assert await store.seen([*mine[:200], *others]) == set(mine[:200])
    assert await store.seen([]) == set()


async def test_a_message_cannot_take_effect_twice(open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    unit = full_unit(ids)
    await store.commit(unit)
    again = full_unit(ids)
    again.inbox.append(unit.inbox[0])
    before = await counts(store, "workflow", "outbox", "ledger")
    with pytest.raises(Exception, match=r"(?i)unique"):
        await store.commit(again)
    assert await counts(store, "workflow", "outbox", "ledger") == before


async def test_outbox_from_decision_to_confirm(open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    rows = [outbox_row(ids) for _ in range(4)]
    await store.commit(Unit(outbox=rows))
    assert [row for _, row in await store.pending_outbox(10)] == rows
    one, two, three, four = rows
    await store.commit(
        Unit(
            sealed=[Sealed(id=one.id, sealed=b"\0\xff", stream_id=2**60, sequence=3)],
            outbox_retry=[
                OutboxRetry(id=three.id, tries=2, next_try=NOW + 5),
                OutboxRetry(id=four.id, tries=9, next_try=0, state="dead"),
            ],
            sequences={AGENT: 4},
        )
    )
    await store.commit(Unit(outbox_sent=[two.id], sequences={AGENT: 5, "caroni://*/agent/*": 1}))
    pending = await store.pending_outbox(10)
    assert {row.id for _, row in pending} == {one.id, three.id}
    sealed = next(row for _, row in pending if row.id == one.id)
    assert (sealed.sealed, sealed.stream_id, sealed.sequence) == (b"\0\xff", 2**60, 3)
    assert [row.state for _, row in pending if row.id == three.id] == ["unroutable"]
    first = await store.pending_outbox(1)
    assert [*first, *await store.pending_outbox(10, after=first[0][0])] == pending
    assert await store.sequences() == {AGENT: 5, "caroni://*/agent/*": 1}


async def test_ledger_items_lie_behind_their_row(open_store: Open) -> None:
    store = await open_store()
    await store.commit(full_unit(Ids(), steps=2))
    ledger = [r[0] for r in await store.database.fetch("SELECT rev FROM ledger ORDER BY rev")]
    items = await store.database.fetch("SELECT ledger, rev, position FROM ledger_item ORDER BY rev")
    assert [tuple(i) for i in items] == [(rev, rev + 1 + n, n) for rev in ledger for n in (0, 1)]
    assert await counts(store, "certificate") == [1]


async def test_refused_messages_are_counted_and_the_ring_is_bounded(open_store: Open) -> None:
    store = await open_store()
    for n in range(6):
        rejects = [RejectRow(at=NOW + n, reason="E_SIG", detail="\0bad", head=b"\0") for _ in range(99)]
        await store.commit(Unit(rejects=rejects))
    await store.close()
    store = await open_store()
    await store.commit(Unit(rejects=[RejectRow(at=NOW + 9, reason="E_CHAIN")]))
    assert await counts(store, "reject") == [256]
    totals = await store.database.fetch('SELECT reason, "count", last_at FROM reject_count ORDER BY reason')
    assert [tuple(t) for t in totals] == [("E_CHAIN", 1, NOW + 9), ("E_SIG", 594, NOW + 5)]
    ((slot,),) = await store.database.fetch("SELECT slot FROM reject WHERE reason = 'E_CHAIN'")
    assert slot == 594 % 256


async def test_quarantine_counts_tries_and_lets_go(open_store: Open) -> None:
    store = await open_store()
    key = Ids()()
    for tries in (1, 2):
        row = QuarantineRow(key=key, kind="message", body=b"\0", error="x", first_at=NOW, tries=tries)
        await store.commit(Unit(quarantine=[row]))
    assert [tuple(r) for r in await store.database.fetch("SELECT tries FROM quarantine")] == [(2,)]
    await store.commit(Unit(unquarantine=[key]))
    assert await counts(store, "quarantine") == [0]


async def test_deletes_leave_tombstones_for_readers(open_store: Open) -> None:
    store = await open_store()
    rows = workflow_rows(Ids())
    await store.commit(Unit(rows=rows))
    (flow,), (workflow,) = rows[Flow], rows[Workflow]
    last = await store.commit(Unit(deletes={Flow: [flow.key], Workflow: [workflow.key]}, now=NOW))
    assert await store.load_slice([(Flow, flow.key), (Workflow, workflow.key)]) == []
    stones = await store.database.fetch('SELECT "table", "key", at, rev FROM tombstone ORDER BY rev')
    assert [s[0] for s in stones] == ["flow", "workflow"]
    assert stones[1][1] == workflow.key.hex()  # type: ignore[attr-defined]
    assert stones[1][3] == last


async def test_commands_wait_for_the_daemon(open_store: Open) -> None:
    store = await open_store()
    first = await store.add_command("workflow.cancel", '{"workflow": "\\u0000"}', NOW)
    second = await store.add_command("drain", "{}", NOW)
    assert [(c.id, c.kind) for c in await store.new_commands()] == [
        (first, "workflow.cancel"),
        (second, "drain"),
    ]
    await store.commit(Unit(commands=[CommandDone(id=first, state="failed", result='"no"', at=NOW + 1)]))
    assert [c.id for c in await store.new_commands()] == [second]
    done = await store.command(first)
    assert done is not None
    assert (done.state, done.result, done.done_at) == ("failed", '"no"', NOW + 1)
    assert await store.command(99) is None


async def test_template_revisions_are_immutable(open_store: Open) -> None:
    store = await open_store()
    assert await store.add_template("demo", "d1", "[1]", "{}", NOW) == 1
    assert await store.add_template("demo", "d1", "[9]", "{}", NOW) == 1
    assert await store.add_template("demo", "d2", "[2]", "{}", NOW) == 2
    assert await store.add_template("demo", "d1", "[1]", "{}", NOW) == 3
    assert await store.add_template("other\0", "d1", "\0", "{}", NOW) == 1
    newest, second = await store.template("demo"), await store.template("demo", 2)
    assert newest is not None
    assert second is not None
    assert (newest.revision, newest.documents, second.documents) == (3, "[1]", "[2]")
    other = await store.template("other\0")
    assert other is not None
    assert other.documents == "\0"
    assert [(t.name, t.revision, t.plan) for t in await store.templates()] == [
        ("demo", 3, ""),
        ("other\0", 1, ""),
    ]
    assert await store.template("none") is None


async def test_writers_of_one_template_get_each_a_revision(open_store: Open) -> None:
    stores = [await open_store() for _ in range(4)]
    given = await asyncio.gather(
        *(
            s.add_template("demo", f"d{n}-{m}", "[]", "{}", NOW)
            for n, s in enumerate(stores)
            for m in range(5)
        )
    )
    assert max(given) == 20
    ((count, highest),) = await stores[0].database.fetch("SELECT COUNT(*), MAX(revision) FROM template")
    assert (count, highest) == (20, 20)


async def test_a_revision_is_added_only_to_the_one_that_was_read(open_store: Open) -> None:
    one, other = await open_store(), await open_store()
    assert await one.add_template("demo", "d1", "[1]", "{}", NOW, expected=0) == 1
    assert await other.add_template("demo", "d2", "[2]", "{}", NOW, expected=0) == 0
    assert await other.add_template("demo", "d1", "[1]", "{}", NOW, expected=0) == 1
    assert await other.add_template("demo", "d2", "[2]", "{}", NOW, expected=1) == 2
    assert await one.add_template("demo", "d1", "[1]", "{}", NOW, expected=1) == 0
    assert await one.add_template("demo", "d2", "[2]", "{}", NOW, expected=2) == 2
    assert [t.revision for t in await one.template_revisions("demo")] == [2, 1]
    given = await asyncio.gather(
        *(s.add_template("demo", f"x{n}", "[]", "{}", NOW, expected=2) for n, s in enumerate((one, other)))
    )
    assert sorted(given) == [0, 3]


async def test_one_revision_of_a_job_definition_is_active(open_store: Open) -> None:
    store = await open_store("agent")

    def definition(digest: str) -> JobDefinitionRow:
        return JobDefinitionRow(
            name="thumb",
            version="1.0",
            revision=0,
            digest=digest,
            body="{}",
            yaml="name: thumb",
            active=False,
            created_at=NOW,
        )

    assert await store.add_job_definition(definition("a")) == 1
    assert await store.add_job_definition(definition("a"), expected=1) == 1
    assert await store.add_job_definition(definition("b"), expected=1) == 2
    assert await store.add_job_definition(definition("c"), expected=1) == 0
    assert [(d.revision, d.digest) for d in await store.job_definition_revisions("thumb")] == [
        (2, "b"),
        (1, "a"),
    ]
    commented = msgspec.structs.replace(definition("b"), yaml="name: thumb # small")
    assert await store.add_job_definition(commented) == 3
    await store.set_active("thumb", 1, True)
    await store.set_active("thumb", 3, True)
    first, newest = await store.job_definition("thumb", 1), (await store.job_definitions())[0]
    assert first is not None
    assert (first.active, newest.active, newest.revision) == (False, True, 3)
    await store.set_active("thumb", 3, False)
    assert not (await store.job_definitions())[0].active


async def test_workflows_are_listed_with_their_steps_counted(open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    made = []
    for n in range(5):
        rows = workflow_rows(ids, steps=n, step_state=StepState.COMPLETED if n % 2 else StepState.RUNNING)
        await store.commit(Unit(rows=rows))
        made.append(rows[Workflow][0])
    page = await store.workflows(limit=3)
    assert [s.workflow for s in page] == made[:1:-1]
    assert page[1].steps == {StepState.COMPLETED: 3}
    rest = await store.workflows(limit=3, before=page[-1].rev)
    assert [s.workflow for s in rest] == made[1::-1]
    assert await store.workflows(submitter="caroni://esa.example/user/eve") == []
    one = await store.workflow(made[4].key)
    assert one is not None
    assert one.steps == {StepState.RUNNING: 4}
    assert await store.workflow(bytes(16)) is None
    uuid = made[4].key
    assert [s.index for s in await store.steps(uuid, limit=2, after=0)] == [1, 2]
    assert await store.steps(uuid, state="failed") == []
    assert [f.name for f in await store.flows(uuid, limit=2, after="convert0/image")] == [
        "convert1/image",
        "convert2/image",
    ]
    assert len(await store.job_outputs(uuid, limit=3, skip=2)) == 2


async def test_a_database_belongs_to_one_role(open_store: Open) -> None:
    await open_store("manager")
    with pytest.raises(ConfigError, match="belongs to a manager"):
        await open_store("agent")


async def test_read_only_writes_nothing(open_store: Open) -> None:
    store = await open_store("manager")
    await store.commit(Unit(rows=workflow_rows(Ids())))
    reader = await open_store("manager", read_only=True)
    assert len(await reader.workflows()) == 1
    with pytest.raises(Exception, match=r"(?i)read-?only"):
        await reader.commit(Unit(settings={"a": "b"}))
    assert "a" not in await store.settings()


async def test_cancelled_callers_leave_whole_units_and_a_working_store(open_store: Open) -> None:
    store = await open_store()
    ids, dice = Ids(), random.Random(1)
    for _ in range(40):
        task = asyncio.create_task(store.commit(full_unit(ids, steps=2)))
        for _ in range(dice.randrange(8)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    await asyncio.wait_for(store.commit(full_unit(ids, steps=2)), 10)
    workflows, steps, outbox, inbox = await counts(store, "workflow", "step", "outbox", "inbox")
    assert 1 <= workflows <= 41
    assert steps == outbox == inbox == 2 * workflows


async def test_reads_wait_for_nothing_but_the_unit_before_them(open_store: Open) -> None:
    store = await open_store()
    ids = Ids()
    units = [full_unit(ids, steps=1) for _ in range(20)]
    results = await asyncio.gather(
        *(store.commit(u) for u in units), *(store.seen([u.inbox[0][:2]]) for u in units)
    )
    assert sorted(results[:20]) == results[:20]


def test_failure_class_is_kept_as_its_number() -> None:
    assert FailureClass.JOB._value_ == 1
