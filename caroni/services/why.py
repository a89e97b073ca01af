"""Why a workflow or one of its steps is not running, asked of an open store: for command line and console."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from caroni.config import Loaded
from caroni.core.plan import Plan
from caroni.services.explain import explain
from caroni.services.explained import Explained
from caroni.services.hindrances import hindrances
from caroni.services.stores import now
from caroni.services.testimony import MAX_STEPS
from caroni.services.timers import manager_settings

if TYPE_CHECKING:
    from caroni.model.store import Store

_NO_PLANS: Mapping[tuple[str, int], Plan] = MappingProxyType({})


async def why(
    loaded: Loaded,
    store: Store,
    workflow_uuid: bytes,
    *,
    step: str = "",
    limit: int = MAX_STEPS,
    plans: Mapping[tuple[str, int], Plan] = _NO_PLANS,
    at: int = 0,
) -> Explained:
    """The testimony of the rows, with what keeps the whole manager from its work.

    Args:
        loaded: the manager's configuration.
        store: its database.
        workflow_uuid: which.
        step: name of the one step; empty for all that are not done.
        limit: at most so many steps.
        plans: those that are in memory already, by template and revision.
        at: wall microseconds for "now"; 0: look at the clock.

    Raises:
        UsageError: there is no such workflow, or no such step.
        CaroniError: the workflow's own row is damaged.
        TransientError: the database is away.
    """
    notes = await hindrances(loaded, store)
    return await explain(
        store,
        workflow_uuid,
        manager_settings(loaded.config),
        at or now(),
        step=step,
        limit=limit,
        notes=notes,
        plans=plans,
    )
