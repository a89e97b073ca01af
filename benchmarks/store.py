"""What the store costs: units of work of N messages, look-ups and the load at a start.

A unit is what a manager writes for N messages: in turn N new steps (each with request, offer, job, output
and value) and N changed steps, requests and jobs; with the inbox, outbox and ledger rows of the bundles
they came and leave in. Encoding is part of it, and so is the flush to the disk.

    python -m benchmarks.store [--messages 500] [--seconds 5] [--postgresql]

prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from caroni.core.rows import Job, Request, Row, Step, Workflow
from caroni.core.states import JobState, StepState
from caroni.model.schema import migrate
from caroni.model.statements import Statements
from caroni.model.store import Store
from caroni.model.unit import LedgerItem, LedgerRow, Unit
from tests.model.samples import AGENT, NOW, Ids, outbox_row, workflow_rows
from tests.services.postgres import PostgresCluster

Rows = dict[type[Row], list[Row]]


def unit_of(ids: Ids, rows: Rows, messages: int, sent: list[bytes]) -> Unit:
    """The unit that writes ``rows`` for one bundle of messages in and one out."""
    bundle = msgspec.structs.replace(outbox_row(ids), payload=os.urandom(120 * messages))
    items = tuple(
        LedgerItem(type="JobStatusUpdate", conversation_id=ids(), job_uuid=ids()) for _ in range(messages)
    )
    ledger = [
        LedgerRow(
            direction=direction,
            peer=AGENT,
            message_id=ids(),
            payload_type="type.googleapis.com/caroni.Bundle",
            fingerprint="ab" * 32,
            envelope=os.urandom(140 * messages),
            at=NOW,
            items=items,
        )
        for direction in ("in", "out")
    ]
    unit = Unit(
        inbox=[(AGENT, ids(), NOW)],
        rows=rows,
        outbox=[bundle],
        outbox_sent=list(sent),
        ledger=ledger,
        sequences={AGENT: 1},
        now=NOW,
    )
    sent[:] = [bundle.id]
    return unit


def changed(rows: Rows) -> Rows:
    """The same steps when their job has ended."""
    return {
        Workflow: rows[Workflow],
        Step: [msgspec.structs.replace(r, state=StepState.COMPLETED) for r in rows[Step]],
        Request: rows[Request],
        Job: [msgspec.structs.replace(r, state=JobState.COMPLETED) for r in rows[Job]],
    }


def count(unit: Unit) -> int:
    """Rows that a unit writes."""
    single = len(unit.inbox) + len(unit.outbox) + len(unit.outbox_sent) + len(unit.sequences)
    ledger = len(unit.ledger) + sum(len(row.items) for row in unit.ledger)
    return single + ledger + sum(map(len, unit.rows.values()))


async def measure(url: str, messages: int, seconds: float) -> dict[str, object]:
    """Commit units for a while, then look things up."""
    await migrate(url)
    store = await Store.open(url, "manager")
    ids, sent = Ids(1), list[bytes]()
    busy = encoding = cpu = 0.0
    written = units = 0
    known: list[Row] = []
    statements = Statements(store.database.dialect)
    while busy < seconds:
        rows = workflow_rows(ids, steps=messages)
        known = rows[Job]
        for part in (rows, changed(rows)):
            unit = unit_of(ids, part, messages, sent)
            began = time.perf_counter()
            statements.of(unit, 0, 0)
            encoding += time.perf_counter() - began
            began, used = time.perf_counter(), time.process_time()
            await store.commit(unit)
            busy += time.perf_counter() - began
            cpu += time.process_time() - used
            written += count(unit)
            units += 1
    began = time.perf_counter()
    await store.seen([(AGENT, ids()) for _ in range(500)])
    seen = time.perf_counter() - began
    began = time.perf_counter()
    await store.load_slice({(Job, (AGENT, ids())) for _ in range(500)})
    absent = time.perf_counter() - began
    began = time.perf_counter()
    slice_rows = len(await store.load_slice({(Job, row.key) for row in known}))
    present = time.perf_counter() - began
    began = time.perf_counter()
    live = len((await store.load_live_manager()).rows)
    loading = time.perf_counter() - began
    await store.close()
    return {
        "database": store.database.dialect.name,
        "messages_a_unit": messages,
        "rows_a_unit": written // units,
        "ms_a_unit": round(busy / units * 1e3, 2),
        "rows_per_s": round(written / busy),
        "messages_per_s": round(units * messages / busy),
        "own_cpu_us_a_row": round(cpu / written * 1e6, 2),
        "encoding_us_a_row": round(encoding / written * 1e6, 2),
        "seen_500_ms": round(seen * 1e3, 2),
        "slice_of_500_absent_ms": round(absent * 1e3, 2),
        f"slice_of_{slice_rows}_rows_ms": round(present * 1e3, 2),
        f"load_of_{live}_live_rows_ms": round(loading * 1e3),
    }


@contextmanager
def database(postgresql: bool) -> Iterator[str]:
    """A new database, with every flush real."""
    if not postgresql:
        with tempfile.TemporaryDirectory() as directory:
            yield f"sqlite://{directory}/caroni.db"
        return
    cluster = PostgresCluster()
    try:
        cluster.start()
        yield cluster.url(cluster.create_database())
    finally:
        cluster.close()


def main() -> None:
    """Run one configuration and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--postgresql", action="store_true")
    options = parser.parse_args()
    with database(options.postgresql) as url:
        print(json.dumps(asyncio.run(measure(url, options.messages, options.seconds))))


if __name__ == "__main__":
    main()
