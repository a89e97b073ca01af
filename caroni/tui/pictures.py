"""Plans and their pictures, made once per template revision, in a thread."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import msgspec

from caroni.core.plan import Plan, PlanStep
from caroni.services.following import step_names, template_plan
from caroni.tui.rail import drawing
from caroni.tui.rail.drawing import Drawing
from caroni.tui.rail.graph import graph_of
from caroni.tui.site import Site

#: pictures that are kept; one of 10,000 steps takes about 30 MB with its plan
_KEEP = 4


class Picture(msgspec.Struct, kw_only=True):
    """A revision's steps and their rail; the plan itself is read when it is asked for (:meth:`whole_plan`).

    ``names`` and ``attempts`` (how many there may be, 0: not known) are by the steps' index. Without its
    template a workflow is its steps alone: ``whole`` is false.
    """

    names: tuple[str, ...]
    attempts: tuple[int, ...]
    drawing: Drawing
    text: str
    whole: bool = True
    plan: Plan | None = None

    async def whole_plan(self) -> Plan:
        """The plan; the first time takes a while."""
        if self.plan is None:
            self.plan = await asyncio.to_thread(self._read)
            self.text = ""
        return self.plan

    def _read(self) -> Plan:
        from caroni.cwl import plan_from_json

        return plan_from_json(self.text)


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
        return await asyncio.to_thread(_bare, await site.read(lambda store: step_names(store, workflow_uuid)))
    _kept[key] = made = await asyncio.to_thread(_make, text)
    while len(_kept) > _KEEP:
        _kept.popitem(last=False)
    return made


def _make(text: str) -> Picture:
    from caroni.cwl import outline_from_json

    steps = outline_from_json(text).steps
    return Picture(
        names=tuple(step.name for step in steps),
        attempts=tuple(step.policy.max_attempts for step in steps),
        drawing=drawing.of_graph(graph_of(steps)),
        text=text,
    )


def _bare(steps: list[tuple[str, str]]) -> Picture:
    plan = Plan(steps=tuple(PlanStep(name=name, job_type=kind) for name, kind in steps))
    return Picture(
        names=tuple(step.name for step in plan.steps),
        attempts=(0,) * len(plan.steps),
        drawing=drawing.of_plan(plan),
        text="",
        whole=False,
        plan=plan,
    )
