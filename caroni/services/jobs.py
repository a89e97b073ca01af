"""A manager's attempts and an agent's jobs as people ask for them; which one is meant by a prefix."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from caroni.core.manager.state import GIVEN_UP_JOB
from caroni.core.rows import Job, Row
from caroni.core.states import JobState, is_terminal
from caroni.errors import UsageError
from caroni.text import safe_line

if TYPE_CHECKING:
    from caroni.model.store import Store

R = TypeVar("R", bound=Row)


async def rows(store: Store, row_type: type[R], condition: str, *parameters: object) -> list[R]:
    """Rows of a daemon's database. ``condition`` is our own text, values are parameters."""
    from caroni.model.mapping import mapping
    from caroni.model.sql import quote

    table = mapping(row_type, store.database.dialect)
    columns = ", ".join(quote(column) for column in table.columns)
    query = f"SELECT {columns} FROM {quote(table.table)} WHERE {condition}"  # noqa: S608
    return [table.decode(record) for record in await store.database.fetch(query, *parameters)]


async def find_job(store: Store, which: str) -> tuple[str, bytes]:
    """Peer and id of the job that is meant by its id or the first characters of it (4 or more).

    Raises:
        UsageError: there is none, or more than one.
    """
    from caroni.model.mapping import unescape

    digits = which.replace("-", "").lower()
    found: list[tuple[str, bytes]] = []
    if re.fullmatch(r"[0-9a-f]{4,32}", digits):
        column, tables = (
            ("agent", ("job", "orphan")) if store.role == "manager" else ("manager", ("agent_job",))
        )
        for table in tables:
            query = f"SELECT {column}, job_uuid FROM {table} WHERE job_uuid LIKE ? ORDER BY job_uuid LIMIT 6"  # noqa: S608
            found += [
                (unescape(str(row[0])), bytes.fromhex(row[1]))
                for row in await store.database.fetch(query, f"{digits}%")
            ]
    if not found:
        raise UsageError(f"there is no job {safe_line(which, 60)!r}; see: caroni jobs")
    found = list(dict.fromkeys(found))  # an orphan that was adopted is a job too
    if len(found) > 1:
        some = ", ".join(uuid.hex()[:12] for _, uuid in found[:5]) + (", ..." if len(found) > 5 else "")
        raise UsageError(f"{safe_line(which, 60)!r} could be any of {some}: give more of the id")
    return found[0]


def kill_of(job: Job) -> str:
    """How the wish to end a job stands, as a manager knows it.

    ``""`` (nobody wants it ended), ``asked``, ``unreachable`` (asked, and its agent is silent), ``confirmed``
    (it was ended), ``over`` (it had ended by itself), ``gave up`` (its agent was not reached for so long that
    it is not told any more).
    """
    if is_terminal(job.state):
        return "confirmed" if job.state is JobState.KILLED else "over"
    if not job.kill_wanted:
        return ""
    if job.state in GIVEN_UP_JOB and not job.due:
        return "gave up"
    return "unreachable" if job.suspect else "asked"
