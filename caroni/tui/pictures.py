"""Plans and their pictures, made once per template revision, in a thread."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import msgspec

from caroni.core.plan import Plan, PlanStep
from caroni.services.following import step_names, template_plan
from caroni.tui.rail import drawing
from caroni.tui.rail.drawing import Drawing
from caroni.tui.site import Site

#: pictures that are kept; one of 10,000 steps takes about 30 MB with its plan
_KEEP = 4


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A plan and its rail. Without its template a workflow is its steps alone (``whole`` is false)."""

    plan: Plan
    drawing: Drawing
    whole: bool = True


_kept: OrderedDict[tuple[str, str, int], Picture] = OrderedDict()


async def picture_of(site: Site, workflow_uuid: bytes, template: str, revision: int) -> Picture:
    """The picture of a workflow's plan.

    Raises:
        TransientError: the database is away.
    """
    key = (str(site.loaded.path), template, revision)
    if key in _kept:
        _kept.move_to_end(key)
        return _kept[key]
    text = await site.read(lambda store: template_plan(store, template, revision))
    if text is None:
        names = await site.read(lambda store: step_names(store, workflow_uuid))
        plan = Plan(steps=tuple(PlanStep(name=name, job_type=kind) for name, kind in names))
        return Picture(plan=plan, drawing=await asyncio.to_thread(drawing.of_plan, plan), whole=False)
    _kept[key] = made = await asyncio.to_thread(_make, text)
    while len(_kept) > _KEEP:
        _kept.popitem(last=False)
    return made


def _make(text: str) -> Picture:
    from caroni.cwl import plan_from_json

    plan = plan_from_json(text)
    return Picture(plan=plan, drawing=drawing.of_plan(plan))
