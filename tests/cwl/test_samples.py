"""The samples load, their definitions fit their workflows, and their scripts do what the README says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from caroni.core.cwltypes import assignable, check_json, decode_json, encode_json, is_optional
from caroni.core.inputs import bind_inputs
from caroni.core.plan import Plan, PlanStep
from caroni.cwl import Bundle, load, load_inputs
from caroni.execution.definition import JobDefinition, load_definition

SAMPLES = Path(__file__).parents[2] / "samples"
NAMES = ["text-chain", "diamond", "second-chance", "genomics", "night-run"]

#: what a hostile submitter would put into a text
HOSTILE = '"$(touch X)`touch X`\\n\\ \' -rf ; touch X # \u00e9\u2028\t\r\n\x01[{"a": 1}]\n'


class JobFailed(Exception):
    pass


def definitions(sample: str) -> dict[str, dict[str, JobDefinition]]:
    """Agent -> job type -> definition."""
    return {
        folder.name: {d.name: d for d in map(load_definition, sorted(folder.glob("*.yml")))}
        for folder in sorted((SAMPLES / sample / "jobs").iterdir())
    }


def run_job(definition: JobDefinition, values: dict[str, str], folder: Path) -> dict[str, str]:
    """Run one script as an agent would: fresh folder, inputs as files, outputs as JSON."""
    (folder / "inputs").mkdir(parents=True)
    (folder / "inputs.json").write_text("{" + ",".join(f'"{k}":{v}' for k, v in values.items()) + "}")
    for name, value in values.items():
        decoded = decode_json(value)
        text = decoded if isinstance(decoded, str) else value
        (folder / "inputs" / name).write_bytes(text.encode())
    run = subprocess.run(
        ["bash", "-c", definition.script],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        timeout=30,
        check=False,
    )
    if run.returncode not in definition.success_codes:
        raise JobFailed(f"{definition.name}: exit code {run.returncode}: {run.stderr.decode()}")
    assert not list(folder.rglob("X")), "a value was run as a command"
    written = run.stdout if definition.outputs_from == "stdout" else (folder / "outputs.json").read_bytes()
    outputs = {k: encode_json(v) for k, v in decode_json(written.decode()).items()}
    assert set(outputs) == set(definition.outputs)
    for name, type_ in definition.outputs.items():
        check_json(outputs[name], type_)
    return outputs


def run_plan(plan: Plan, jobs: dict[str, JobDefinition], given: dict[str, str], base: Path) -> dict[str, str]:
    flows = dict(bind_inputs(plan, given))
    waiting = list(plan.steps)
    while waiting:
        step = next(s for s in waiting if s.sources <= set(flows))
        waiting.remove(step)
        values = {}
        for item in step.inputs:
            value = flows[item.source] if item.source else "null"
            values[item.name] = item.default if value == "null" and item.default is not None else value
        for name, value in run_job(jobs[step.job_type], values, base / step.name).items():
            flows[f"{step.name}/{name}"] = value
    return {output.name: flows[output.source] for output in plan.outputs}


def sample(name: str) -> tuple[Plan, dict[str, str]]:
    folder = SAMPLES / name
    plan = load(Bundle.from_path(folder / "workflow.cwl"))
    return plan, load_inputs(folder / "inputs.yml", plan)


def fits(step: PlanStep, definition: JobDefinition) -> bool:
    """Whether a definition takes everything the step gives and gives everything the step declares."""
    given = {item.name: item.type for item in step.inputs}
    return (
        all(n in definition.inputs and assignable(t, definition.inputs[n]) for n, t in given.items())
        and all(n in given or is_optional(t) for n, t in definition.inputs.items())
        and all(
            n in definition.outputs and assignable(definition.outputs[n], t) for n, t in step.outputs.items()
        )
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_step_has_a_definition_on_an_agent_and_agents_differ(name: str) -> None:
    plan, given = sample(name)
    agents = definitions(name)
    assert len(agents) == (3 if name == "night-run" else 2)
    assert len({frozenset(jobs) for jobs in agents.values()}) == len(agents)
    for step in plan.steps:
        holders = [jobs[step.job_type] for jobs in agents.values() if step.job_type in jobs]
        assert holders, step.job_type
        assert all(fits(step, definition) for definition in holders), step.name
    bind_inputs(plan, given)
    assert (SAMPLES / name / "README.md").is_file()


def merged(name: str, last: str) -> dict[str, JobDefinition]:
    jobs: dict[str, JobDefinition] = {}
    agents = definitions(name)
    for agent in sorted(agents, key=lambda a: a == last):
        jobs.update(agents[agent])
    return jobs


@pytest.mark.parametrize(
    ("name", "agent", "output", "expected"),
    [
        ("text-chain", "north", "final_text", "prepend CARONI ROCKS append"),
        ("diamond", "left", "summary", "16 words, 72 letters"),
        ("second-chance", "steady", "announcement", "Good morning! Tobago: sunny, 31 degrees"),
    ],
)
def test_the_readme_names_the_result(
    name: str, agent: str, output: str, expected: str, tmp_path: Path
) -> None:
    plan, given = sample(name)
    outputs = run_plan(plan, merged(name, agent), given, tmp_path)
    assert json.loads(outputs[output]) == expected
    assert f"`{expected}`" in (SAMPLES / name / "README.md").read_text().replace("\n", " ")


def test_the_flaky_agent_fails_with_its_exit_code(tmp_path: Path) -> None:
    plan, given = sample("second-chance")
    with pytest.raises(JobFailed, match="exit code 3"):
        run_plan(plan, merged("second-chance", "flaky"), given, tmp_path)
    assert plan.steps[0].policy.backoff == 0
    assert plan.steps[0].policy.max_attempts == 4
    assert plan.steps[0].policy.non_retryable_exit_codes == (64,)


def test_genomics_has_thirty_jobs_and_the_same_report_every_time(tmp_path: Path) -> None:
    plan, given = sample("genomics")
    assert len(plan.steps) == 30
    jobs = merged("genomics", "lab")
    first = run_plan(plan, jobs, given, tmp_path / "1")
    assert first == run_plan(plan, jobs, given, tmp_path / "2")
    report = json.loads(first["report"])
    assert report.startswith("Reference: NC_000017\n")
    assert sum(json.loads(first["variants"])) > 0
    assert all(q["reads"] == 80 and 0.2 < q["gc"] < 0.8 for q in json.loads(first["quality"]))
    assert any(
        line.split()[4] in ("tumour", "normal", "parent")
        for line in json.loads(first["annotated"]).splitlines()
    )


@pytest.mark.parametrize("text", [HOSTILE, "", "\n\n", "\x00\x7f", "é" * 3000, "%s%n\\u0041", "a\nb\n"])
def test_texts_go_through_the_chain_unharmed(text: str, tmp_path: Path) -> None:
    plan, _ = sample("text-chain")
    given = {"message": json.dumps(text), "prefix": json.dumps(text)}
    outputs = run_plan(plan, merged("text-chain", "north"), given, tmp_path)
    shouted = text.translate({i: i - 32 for i in range(97, 123)})
    assert json.loads(outputs["final_text"]) == text + shouted + " append"


def test_a_night_ends_with_a_bulletin_and_without_a_harbour_it_fails_at_once(tmp_path: Path) -> None:
    plan, given = sample("night-run")
    outputs = run_plan(plan, merged("night-run", "vault"), {**given, "pace": "0"}, tmp_path / "1")
    assert json.loads(outputs["bulletin"]).startswith("Tide of the night of 1 March\nHigh water ")
    with pytest.raises(JobFailed, match="exit code 64: no gauge has an empty name"):
        run_plan(plan, merged("night-run", "vault"), {**given, "harbour_b": '""'}, tmp_path / "2")
    assert plan.steps[1].policy.non_retryable_exit_codes == (64,)


@pytest.mark.parametrize("name", ["diamond", "second-chance", "genomics", "night-run"])
def test_hostile_texts_stay_data(name: str, tmp_path: Path) -> None:
    plan, given = sample(name)
    for wanted in plan.inputs:
        if wanted.type == "string":
            given[wanted.name] = json.dumps(HOSTILE)
        elif wanted.name == "genes":
            given["genes"] = json.dumps([HOSTILE, "BRCA1"])
    run_plan(plan, merged(name, "steady"), given, tmp_path)
