"""Every sample through daemons on RabbitMQ; on SQLite and, in the second process, on PostgreSQL."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.site import Site, sample_inputs

pytestmark = pytest.mark.database

NAMES = ("text-chain", "diamond", "second-chance", "genomics")
RESULTS = {
    "text-chain": {"final_text": "prepend CARONI ROCKS append"},
    "diamond": {"summary": "16 words, 72 letters"},
    "second-chance": {"announcement": "Good morning! Tobago: sunny, 31 degrees"},
}


@pytest.mark.parametrize("name", NAMES)
async def test_sample(name: str, lab: Site) -> None:
    end = await lab.run(name, sample_inputs(name))
    (summary,) = end.workflows
    assert (summary.state, summary.failure) == ("completed", "")
    outputs = {k: json.loads(v) for k, v in end.outputs.items()}
    for output, value in RESULTS.get(name, {}).items():
        assert outputs[output] == value
    if name == "genomics":
        assert outputs["report"].startswith("Reference: NC_000017\n")
        assert sum(outputs["variants"]) > 0
        assert summary.step_counts == {"completed": 30}
