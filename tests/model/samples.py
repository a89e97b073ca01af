"""Rows and units of work for tests, and strategies that make hostile ones."""

from __future__ import annotations

import random
from enum import Enum
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from caroni.core.messages import FailureClass
from caroni.core.rows import (
    Flow,
    Job,
    JobOutput,
    Offer,
    Request,
    Row,
    Step,
    Workflow,
)
from caroni.core.states import JobState, OfferState, RequestState, StepState, WorkflowState
from caroni.model.unit import LedgerItem, LedgerRow, OutboxRow, Unit

AGENT = "caroni://esa.example/agent/gpu1"
MANAGER = "caroni://esa.example/manager/main"
NOW = 1_790_000_000_000_000


class Ids:
    """Ids from a seed, so that a failure repeats."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)

    def __call__(self) -> bytes:
        return self.random.randbytes(16)


def workflow_rows(
    ids: Ids,
    *,
    steps: int = 1,
    state: WorkflowState = WorkflowState.RUNNING,
    step_state: StepState = StepState.RUNNING,
    job_state: JobState = JobState.RUNNING,
    ended_at: int = 0,
) -> dict[type[Row], list[Row]]:
    """A workflow whose steps each have a request, an offer, a job, an output and a value."""
    workflow = Workflow(
        workflow_uuid=ids(),
        state=state,
        name="demo",
        template="demo",
        submitter="caroni://esa.example/user/ada",
        submit_uuid=ids(),
        steps_total=steps,
        created_at=NOW,
        ended_at=ended_at,
    )
    rows: dict[type[Row], list[Row]] = {Workflow: [workflow]}
    for index in range(steps):
        request, offer, job = ids(), ids(), ids()
        made: list[Row] = [
            Step(
                workflow_uuid=workflow.workflow_uuid,
                index=index,
                name=f"convert{index}",
                job_type="convert",
                state=step_state,
                attempt=1,
                request_uuid=request,
                agent=AGENT,
                job_uuid=job,
                jobs=((AGENT, job),),
                ready_at=NOW,
            ),
            Request(
                request_uuid=request,
                workflow_uuid=workflow.workflow_uuid,
                step_index=index,
                attempt=1,
                state=RequestState.FULFILLED,
                offers=((AGENT, offer),),
                agent=AGENT,
                offer_uuid=offer,
                created_at=NOW,
            ),
            Offer(agent=AGENT, offer_uuid=offer, request_uuid=request, state=OfferState.ACCEPTED),
            Job(
                agent=AGENT,
                job_uuid=job,
                workflow_uuid=workflow.workflow_uuid,
                step_index=index,
                attempt=1,
                request_uuid=request,
                offer_uuid=offer,
                state=job_state,
                manifest={"image": ids() + ids()},
                failure_class=FailureClass.UNSPECIFIED,
                stdout_tail="converted 12 tiles\n",
            ),
            JobOutput(agent=AGENT, job_uuid=job, name="image", value='{"class": "File"}'),
            Flow(workflow_uuid=workflow.workflow_uuid, name=f"convert{index}/image", value="1"),
        ]
        for row in made:
            rows.setdefault(type(row), []).append(row)
    return rows


def outbox_row(ids: Ids) -> OutboxRow:
    """An envelope to publish."""
    return OutboxRow(
        id=ids(),
        peer=AGENT,
        routing_key="wf.agent.x",
        type="JobRelease",
        payload_type="type.googleapis.com/caroni.JobRelease",
        payload=ids.random.randbytes(200),
        conversation_id=ids(),
        created_at=NOW,
    )


def ledger_row(ids: Ids, *, at: int = NOW, items: int = 1, **keys: Any) -> LedgerRow:
    """A ledger row with ``items`` messages that name ``keys``."""
    return LedgerRow(
        direction="in",
        peer=AGENT,
        message_id=ids(),
        payload_type="type.googleapis.com/caroni.Bundle",
        fingerprint="ab" * 32,
        envelope=ids.random.randbytes(600),
        at=at,
        items=tuple(LedgerItem(type="JobStatusUpdate", conversation_id=ids(), **keys) for _ in range(items)),
    )


def full_unit(ids: Ids, steps: int = 3) -> Unit:
    """A unit that touches every table of the hot path, each with ``steps`` rows."""
    rows = workflow_rows(ids, steps=steps)
    return Unit(
        inbox=[(AGENT, ids(), NOW) for _ in range(steps)],
        rows=rows,
        outbox=[outbox_row(ids) for _ in range(steps)],
        ledger=[ledger_row(ids, items=2) for _ in range(steps)],
        certificates={"ab" * 32: "-----BEGIN CERTIFICATE-----"},
        sequences={AGENT: 7},
        settings={"stream_id": "12"},
        now=NOW,
    )


_text = st.text(st.characters(exclude_categories=()), max_size=20)
_plain = st.text(st.characters(codec="utf-8"), max_size=12)
_int64 = st.integers(-(2**63), 2**63 - 1)


def _values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of one field's type, as hostile as the type allows."""
    if type(None) in get_args(hint):
        return st.none() | _values(next(a for a in get_args(hint) if a is not type(None)))
    if hint is str:
        return _text | st.sampled_from(
            ["\0", "a\0b", "\x01", "\x010000", "\ud800", "𝄞", "' OR 1=1 --", "e\u0301"]
        )
    if hint is bytes:
        return st.binary(min_size=16, max_size=16) | st.just(b"")
    if hint is int:
        return _int64
    if hint is bool:
        return st.booleans()
    if hint is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    return _inner(hint)


def _inner(hint: Any) -> st.SearchStrategy[Any]:
    """Values inside JSON."""
    if hint is str:
        return _plain
    if get_origin(hint) is tuple:
        args = get_args(hint)
        if args[-1] is Ellipsis:
            return st.lists(_inner(args[0]), max_size=3).map(tuple)
        return st.tuples(*map(_inner, args))
    if get_origin(hint) is dict:
        key, value = get_args(hint)
        return st.dictionaries(_inner(key), _inner(value), max_size=3)
    return _values(hint)


def rows_of(row_type: type[Row]) -> st.SearchStrategy[Row]:
    """Any row of a class."""
    hints = get_type_hints(row_type)
    fields = {field.name: _values(hints[field.name]) for field in msgspec.structs.fields(row_type)}
    return st.builds(row_type, **fields)
