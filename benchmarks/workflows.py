"""Plans and job definitions that the benchmarks run."""

from __future__ import annotations

from caroni.core.plan import Plan, PlanInput, PlanStep, WorkflowInput, WorkflowOutput
from caroni.execution.definition import JobDefinition, load_definition

NOOP = load_definition("name: noop\ninputs: {n: int}\noutputs: {n: int}\nscript: 'true'\nexecutor: noop\n")
BASH = load_definition(
    "name: bash\ninputs: {n: int}\noutputs: {n: int}\n"
    'script: |\n  printf \'{"n": %s}\' "$CARONI_INPUT_n" > outputs.json\n'
)
TEXT: list[JobDefinition] = [
    load_definition(
        f"name: {name}\ninputs: {{text: string}}\noutputs: {{text: string}}\noutputs_from: stdout\n"
        f'script: |\n  printf \'{{"text": "%s"}}\' "{body}"\n'
    )
    for name, body in (
        ("upper", "$(tr a-z A-Z < inputs/text)"),
        ("prepend", "prepend $(cat inputs/text)"),
        ("append", "$(cat inputs/text) append"),
    )
]


def independent(job_type: str, count: int) -> Plan:
    """Steps that wait for nothing but one workflow input."""
    steps = tuple(
        PlanStep(
            name=f"s{index}",
            job_type=job_type,
            inputs=(PlanInput(name="n", type="int", source="n"),),
            outputs={"n": "int"},
        )
        for index in range(count)
    )
    return Plan(inputs=(WorkflowInput(name="n", type="int"),), steps=steps)


def chain3() -> Plan:
    """Three text jobs, one after the other."""
    steps = []
    source = "text"
    for name in ("upper", "prepend", "append"):
        steps.append(
            PlanStep(
                name=name,
                job_type=name,
                inputs=(PlanInput(name="text", type="string", source=source),),
                outputs={"text": "string"},
            )
        )
        source = f"{name}/text"
    return Plan(
        inputs=(WorkflowInput(name="text", type="string"),),
        steps=tuple(steps),
        outputs=(WorkflowOutput(name="text", source=source, type="string"),),
    )
