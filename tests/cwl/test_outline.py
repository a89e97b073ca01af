"""The outline of a stored plan says the same of its steps as the plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from caroni.cwl import Bundle, load, outline_from_json, plan_from_json, plan_to_json

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.mark.parametrize("name", ["genomics", "second-chance"])
def test_the_outline_of_a_plan(name: str) -> None:
    text = plan_to_json(load(Bundle.from_path(SAMPLES / name / "workflow.cwl")))
    plan, outline = plan_from_json(text), outline_from_json(text)
    assert [
        (s.name, s.job_type, s.policy.max_attempts, [i.source for i in s.inputs]) for s in outline.steps
    ] == [(s.name, s.job_type, s.policy.max_attempts, [i.source for i in s.inputs]) for s in plan.steps]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"steps": [3]}'])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a stored plan"):
        outline_from_json(text)
