"""What happened to a workflow and when, from the instants that its rows keep: the newest at the end.

Messages are not among it: they are in the ledger (:mod:`caroni.services.ledger`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from caroni.core.rows import Workflow
from caroni.errors import UsageError
from caroni.services.jobs import rows

if TYPE_CHECKING:
    from caroni.model.store import Store

#: happenings that are given at most
MOST = 500

# Each gives: instant, what, step, attempt, agent, more. Every instant of a row is one happening.
_STEPS = (
    "SELECT {at}, {what}, s.name, {attempt}, {agent}, {more} FROM step s"
    " WHERE s.workflow_uuid = ? AND {at} > 0 ORDER BY 1 DESC LIMIT ?"
)
_OF_STEP = (
    ("s.ready_at", "'ready'", "0", "''", "''"),
    ("s.ended_at", "s.state", "s.attempt", "s.winner_agent", "SUBSTR(s.failure, 1, 500)"),
)
_ROWS = (
    "SELECT {at}, {what}, s.name, r.attempt, {agent}, {more} FROM {table} r"
    ' JOIN step s ON s.workflow_uuid = r.workflow_uuid AND s."index" = r.step_index'
    " WHERE r.workflow_uuid = ? AND {at} > 0 ORDER BY 1 DESC LIMIT ?"
)
_OF_ROW = (
    ("request", "r.created_at", "'asked for'", "''", "''"),
    ("job", "r.accepted_at", "'accepted'", "r.agent", "''"),
    ("job", "r.started_at", "'begun'", "r.agent", "''"),
    ("job", "r.kill_asked_at", "'kill asked'", "r.agent", "SUBSTR(r.kill_info, 1, 500)"),
    ("job", "r.ended_at", "r.state", "r.agent", "SUBSTR(r.info, 1, 500)"),
)
#: within one instant what leads to what
_ORDER = ("submitted", "ready", "asked for", "accepted", "begun", "kill asked")


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened. ``at`` in wall microseconds; ``step`` is empty for the workflow itself.

    ``what`` is ``submitted``, ``ready``, ``asked for``, ``accepted``, ``begun``, ``kill asked``, or the state
    that a job (with ``agent``), a step or the workflow ended in.
    """

    at: int
    what: str
    of: str
    step: str = ""
    attempt: int = 0
    agent: str = ""
    more: str = ""


async def happenings(store: Store, workflow_uuid: bytes, limit: int = MOST) -> list[Happening]:
    """The newest happenings of a workflow, oldest first.

    Raises:
        UsageError: there is no such workflow.
        TransientError: the database is away.
    """
    from caroni.model.mapping import unescape

    found = await rows(store, Workflow, "workflow_uuid = ?", workflow_uuid.hex())
    if not found:
        raise UsageError(f"there is no workflow {workflow_uuid.hex()}; see: caroni list")
    row = found[0]
    events = [Happening(at=row.created_at, what="submitted", of="workflow", more=row.submitter)]
    if row.ended_at:
        events.append(Happening(at=row.ended_at, what=row.state.value, of="workflow", more=row.failure))
    queries = [
        ("step", _STEPS.format(at=at, what=what, attempt=attempt, agent=agent, more=more))
        for at, what, attempt, agent, more in _OF_STEP
    ]
    queries += [
        (table, _ROWS.format(table=table, at=at, what=what, agent=agent, more=more))
        for table, at, what, agent, more in _OF_ROW
    ]
    for of, query in queries:
        records: Any = await store.database.fetch(query, workflow_uuid.hex(), limit)
        events += [
            Happening(
                at=int(at),
                what=what,
                of=of,
                step=unescape(step),
                attempt=int(attempt),
                agent=unescape(agent),
                more=unescape(more),
            )
            for at, what, step, attempt, agent, more in records
        ]
    events.sort(key=lambda event: (event.at, _place(event)))
    return events[-limit:]


def _place(event: Happening) -> tuple[int, int]:
    order = _ORDER.index(event.what) if event.what in _ORDER else len(_ORDER)
    return order, ("request", "job", "step", "workflow").index(event.of)
