"""A plan as JSON text, for the template's revision in the database."""

from __future__ import annotations

from typing import Any

import msgspec

from caroni.core.plan import Plan, PlanInput, PlanStep, StepPolicy, WorkflowInput, WorkflowOutput

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(dict[str, list[dict[str, Any]]]).decode


def plan_to_json(plan: Plan) -> str:
    """JSON text that :func:`plan_from_json` reads; equal plans give equal text."""
    return _encode(plan).decode()


def plan_from_json(text: str) -> Plan:
    """The plan that :func:`plan_to_json` wrote.

    Raises:
        ValueError: the text is not a plan.
    """
    # msgspec has no decoder for recursive type aliases, so the structs are made here
    try:
        raw = _decode(text)
        return Plan(
            inputs=tuple(WorkflowInput(**item) for item in raw["inputs"]),
            steps=tuple(_step(item) for item in raw["steps"]),
            outputs=tuple(WorkflowOutput(**item) for item in raw["outputs"]),
        )
    except (msgspec.MsgspecError, TypeError, KeyError) as error:
        raise ValueError(f"not a stored plan: {error}") from None


def _step(item: dict[str, Any]) -> PlanStep:
    return PlanStep(
        name=item["name"],
        job_type=item["job_type"],
        inputs=tuple(PlanInput(**one) for one in item["inputs"]),
        outputs=item["outputs"],
        policy=msgspec.convert(item["policy"], StepPolicy),
    )
