"""What is allowed in a workflow and yet probably not meant."""

from __future__ import annotations

from collections.abc import Iterator

from caroni.core.plan import Plan
from caroni.core.valuewords import quoted
from caroni.cwl.places import Spot
from caroni.errors import DocumentError


def advise(plan: Plan, spot: Spot) -> Iterator[DocumentError]:
    """Remarks about a workflow, each with its place; ``spot`` is where the workflow stands."""
    used = {source for step in plan.steps for source in step.sources}
    used.update(output.source for output in plan.outputs)
    for parameter in plan.inputs:
        if parameter.name not in used:
            here = spot.at("inputs", parameter.name)
            yield here.error(f"the input {quoted(parameter.name)} is used by no step and no output")
    steps_used = {source.partition("/")[0] for source in used if "/" in source}
    for step in plan.steps:
        if step.name not in steps_used and step.outputs:
            here = spot.at("steps", step.name)
            yield here.error(f"nothing uses what the step {quoted(step.name)} gives")
