"""How agents have answered a manager's requests lately."""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from caroni.model.store import Store

#: requests that are looked at: those that changed last
REQUESTS = 1000
#: kinds of declines that are kept of one agent
KINDS = 10

_REQUESTS = (
    "SELECT r.request_uuid, r.declines, r.created_at, s.job_type FROM request r"
    ' JOIN step s ON s.workflow_uuid = r.workflow_uuid AND s."index" = r.step_index'
    " ORDER BY r.rev DESC LIMIT ?"
)


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """One agent's answers to the last requests of a manager.

    ``asked`` counts those requests for a job type that the agent has answered at least once of them, so that
    types it does not have do not count as silence. A request may be declined first and offered later.
    ``offer_time`` is the median time from a request to the agent's offer, microseconds, 0 = it made none.
    ``declines`` counts reasons. All are counted over ``requests`` requests, the oldest made at ``since``.
    """

    requests: int
    since: int
    asked: int = 0
    answered: int = 0
    offered: int = 0
    taken: int = 0
    declined: int = 0
    offer_time: int = 0
    declines: dict[str, int] = {}


async def answers(store: Store) -> dict[str, Answers]:
    """Agent -> how it has answered the manager's last requests; agents that answered none are left out.

    Raises:
        TransientError: the database is away.
    """
    from caroni.model.mapping import unescape

    requests: dict[str, tuple[int, str]] = {}
    made: dict[str, _Agent] = {}
    for uuid, declines, created, job_type in await store.database.fetch(_REQUESTS, REQUESTS):
        requests[str(uuid)] = (int(created), str(job_type))
        for agent, why in _declines(declines).items():
            made.setdefault(agent, _Agent()).decline(str(uuid), str(job_type), why)
    dialect = store.database.dialect
    wanted = dialect.any_of("request_uuid")
    offers = f"SELECT agent, request_uuid, state, received_at FROM offer WHERE {wanted}"  # noqa: S608
    for agent, uuid, state, at in await store.database.fetch(offers, dialect.texts(requests)):
        created, job_type = requests[str(uuid)]
        made.setdefault(unescape(agent), _Agent()).offer(str(uuid), job_type, state, int(at) - created)
    types = Counter(job_type for _, job_type in requests.values())
    since = min((created for created, _ in requests.values()), default=0)
    return {agent: one.answers(types, len(requests), since) for agent, one in made.items()}


def _declines(text: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.MsgspecError:  # a damaged row says nothing
        return {}


class _Agent:
    def __init__(self) -> None:
        self.types: set[str] = set()
        self.answered: set[str] = set()
        self.offered: set[str] = set()
        self.declined: set[str] = set()
        self.reasons: Counter[str] = Counter()
        self.taken = 0
        self.times: list[int] = []

    def decline(self, request: str, job_type: str, why: str) -> None:
        self.types.add(job_type)
        self.answered.add(request)
        self.declined.add(request)
        self.reasons[why.partition(":")[0][:60]] += 1

    def offer(self, request: str, job_type: str, state: Any, took: int) -> None:
        self.types.add(job_type)
        self.answered.add(request)
        self.offered.add(request)
        self.times.append(max(took, 0))
        self.taken += state == "accepted"

    def answers(self, types: Counter[str], requests: int, since: int) -> Answers:
        return Answers(
            requests=requests,
            since=since,
            asked=sum(types[name] for name in self.types),
            answered=len(self.answered),
            offered=len(self.offered),
            taken=self.taken,
            declined=len(self.declined),
            offer_time=round(median(self.times)) if self.times else 0,
            declines=dict(self.reasons.most_common(KINDS)),
        )
