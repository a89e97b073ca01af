"""What a new template and a new job definition begin with: small, valid, and explained."""

from __future__ import annotations

_TEMPLATE = """\
cwlVersion: v1.2
class: Workflow
doc: What this workflow is for.

$namespaces:
  caroni: "urn:caroni:cwl:"

inputs:
  text: string

outputs:
  result:
    type: string
    outputSource: first/result

steps:
  first:
    # which job definition an agent needs to run this step
    hints:
      caroni:CaroniRequirement:
        CaroniJobName: my-job
    run:
      class: Operation
      inputs:
        text: string
      outputs:
        result: string
    in:
      text: text
    out: [result]
"""

_DEFINITION = """\
name: {name}
version: "1"
description: What this job does
inputs:
  text: string
outputs:
  result: string
script: |
  set -euo pipefail
  # inputs: inputs.json, inputs/NAME, $CARONI_INPUT_NAME; outputs: outputs.json
  python3 - <<'EOF'
  import json
  inputs = json.load(open("inputs.json"))
  json.dump({{"result": inputs["text"].upper()}}, open("outputs.json", "w"))
  EOF
timeout: 10m
"""


def new_template() -> str:
    """A workflow of one step."""
    return _TEMPLATE


def new_definition(name: str = "my-job") -> str:
    """A job that upper-cases a text; it can be tried out at once."""
    return _DEFINITION.format(name=name)


_OPERATION = """\
cwlVersion: v1.2
class: Operation
hints:
  caroni:CaroniRequirement:
    CaroniJobName: my-job
inputs:
  text: string
outputs:
  result: string
$namespaces:
  caroni: "urn:caroni:cwl:"
"""


def new_operation() -> str:
    """What a step runs, in a document of its own."""
    return _OPERATION
