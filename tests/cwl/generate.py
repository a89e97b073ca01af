"""Workflows of any size, for tests and benchmarks."""

from __future__ import annotations

from caroni.cwl import Bundle

TOOL = """cwlVersion: v1.2
class: Operation
$namespaces: {caroni: "urn:caroni:cwl:"}
hints:
  caroni:CaroniRequirement: {CaroniJobName: %s}
inputs: {text: string}
outputs: {out: string}
"""


def chain_text(steps: int, *, width: int = 1, run: str = "tool.cwl") -> str:
    """A workflow of ``width`` chains side by side, ``steps`` steps in all.

    Every step takes a string ``text`` and gives a string ``out``; the workflow's input is ``message`` and
    its outputs are ``final_0``, ``final_1``, ... with the end of each chain.
    """
    ends: dict[int, str] = {}
    lines = []
    for index in range(steps):
        column = index % width
        source = ends.get(column, "message")
        lines.append(f"  s{index}: {{run: {run}, in: {{text: {source}}}, out: [out]}}")
        ends[column] = f"s{index}/out"
    outputs = [f"  final_{c}: {{type: string, outputSource: {end}}}" for c, end in ends.items()]
    head = [
        "cwlVersion: v1.2",
        "class: Workflow",
        '$namespaces: {caroni: "urn:caroni:cwl:"}',
        "inputs: {message: string}",
        "outputs:" if outputs else "outputs: {}",
        *outputs,
        "steps:" if lines else "steps: {}",
    ]
    return "\n".join([*head, *lines]) + "\n"


def chain_bundle(steps: int, *, width: int = 1, job: str = "echo") -> Bundle:
    """The workflow of :func:`chain_text` with the file its steps run."""
    documents = {"workflow.cwl": chain_text(steps, width=width), "tool.cwl": TOOL % job}
    return Bundle(main="workflow.cwl", documents=documents)


def embedded_text(steps: int, job: str = "echo") -> str:
    """A chain whose steps carry what they run."""
    body = "\n".join("      " + line for line in (TOOL % job).splitlines() if "$namespaces" not in line)
    lines = []
    for index in range(steps):
        source = f"s{index - 1}/out" if index else "message"
        lines.append(f"  s{index}:\n    in: {{text: {source}}}\n    out: [out]\n    run:\n{body}")
    return (
        'cwlVersion: v1.2\nclass: Workflow\n$namespaces: {caroni: "urn:caroni:cwl:"}\n'
        "inputs: {message: string}\noutputs: []\nsteps:\n" + "\n".join(lines) + "\n"
    )
