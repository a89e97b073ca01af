"""Documents of the conformance suite either become a plan or are refused with a place; nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caroni.core.plan import Plan
from caroni.cwl import Bundle, load, plan_from_json, plan_to_json
from caroni.cwl.yamldoc import read
from caroni.errors import DocumentError, UnsupportedFeature

DATA = Path(__file__).with_name("data") / "conformance"

HINT = {"class": "CaroniRequirement", "CaroniJobName": "any"}


WORKFLOWS = [path for path in sorted(DATA.rglob("*.cwl")) if "class: Workflow" in path.read_text()]


def as_jobs(bundle: Bundle) -> Bundle:
    """The same workflow with a hint that makes a Caroni job of every step."""
    document = read(bundle.documents[bundle.main])
    for process in document.get("$graph", [document]):
        if process["class"] == "Workflow":
            hints = process.get("hints") or []
            if isinstance(hints, dict):
                hints = [{"class": name, **(value or {})} for name, value in hints.items()]
            process["hints"] = [*hints, HINT]
    documents = {**bundle.documents, bundle.main: json.dumps(document, indent=1)}
    return Bundle(main=bundle.main, documents=documents, origin=bundle.origin)


def loaded(name: str, entry: str | None = None) -> Plan:
    return load(as_jobs(Bundle.from_path(DATA / name)), entry)


def attempt(bundle: Bundle) -> tuple[Plan | None, DocumentError | None]:
    try:
        return load(bundle), None
    except DocumentError as error:
        return None, error


def test_there_is_enough_to_go_by() -> None:
    assert len(WORKFLOWS) >= 30


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.relative_to(DATA).as_posix())
def test_every_workflow_is_a_plan_or_refused_with_a_place(path: Path) -> None:
    bundle = Bundle.from_path(path)
    for candidate in (bundle, as_jobs(bundle)):
        plan, error = attempt(candidate)
        if plan is not None:
            assert plan_from_json(plan_to_json(plan)) == plan
        else:
            assert error is not None
            assert error.line > 0
            assert error.column > 0
            assert error.file in bundle.documents
            assert len(str(error)) < 500
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "name",
    [
        "count-lines11-extra-step-wf-noET.cwl",
        "count-lines11-wf-noET.cwl",
        "count-lines13-wf.cwl",
        "count-lines5-wf.cwl",
        "io-any-wf-1.cwl",
        "io-file-default-wf.cwl",
        "no-inputs-wf.cwl",
        "record-in-secondaryFiles-wf.cwl",
        "schemadef-wf.cwl",
    ],
)
def test_plain_workflows_are_plans_once_their_steps_are_jobs(name: str) -> None:
    with pytest.raises(UnsupportedFeature, match="is not a Caroni job: running a CommandLineTool"):
        load(Bundle.from_path(DATA / name))
    plan = loaded(name)
    assert {step.job_type for step in plan.steps} == {"any"}


@pytest.mark.parametrize(
    ("name", "feature"),
    [
        ("conditionals/cond-wf-002.cwl", "when"),
        ("conditionals/cond-wf-013_nojs.cwl", "scatter"),
        ("scatter/nested-crossproduct-simple-scatter.cwl", "scatter"),
        ("count-lines7-wf.cwl", "linkMerge"),
        ("sum-wf-noET.cwl", "linkMerge"),
        ("count-lines10-wf.cwl", "subworkflow"),
        ("wf-loadContents.cwl", "loadContents"),
        ("basename-fields-test.cwl", "valueFrom with an expression"),
        ("io-int-default-tool-and-wf.cwl", "ExpressionTool"),
        ("env-wf3.cwl", "EnvVarRequirement"),
        ("timelimit-wf.cwl", "ToolTimeLimit"),
        ("dynresreq-workflow.cwl", "ResourceRequirement"),
        ("iwd/iwd-subdir-wf.cwl", "InitialWorkDirRequirement"),
        ("mixed-versions/wf-v10.cwl", "secondaryFiles"),
    ],
)
def test_what_comes_in_later_releases_is_named(name: str, feature: str) -> None:
    with pytest.raises(UnsupportedFeature, match=feature) as caught:
        loaded(name)
    assert caught.value.exit_code == 33


def test_a_static_error_that_the_suite_wants_to_fail_fails() -> None:
    with pytest.raises(DocumentError) as caught:
        loaded("mixed-versions/invalid-wf-v10.cwl")
    assert caught.value.exit_code == 1
    assert caught.value.line


def test_a_packed_document_needs_an_entry_or_main() -> None:
    bundle = Bundle.from_path(DATA / "js-expr-req-wf.cwl")
    with pytest.raises(DocumentError, match=r"several processes and no #main; name one of #tool, #wf"):
        load(bundle)
    with pytest.raises(DocumentError, match="no process #nope"):
        load(bundle, "nope")
    plan = load(as_jobs(bundle), "#wf")
    assert [step.name for step in plan.steps] == ["tool"]


def test_types_and_defaults_come_through() -> None:
    plan = loaded("io-file-default-wf.cwl")
    default: Any = json.loads(plan.inputs[0].default or "")
    assert default["class"] == "File"
    assert default["location"] == (DATA / "whale.txt").as_uri()
    assert default["basename"] == "whale.txt"

    named = loaded("schemadef-wf.cwl").inputs[0].type
    assert isinstance(named, dict)
    assert named["type"] == "record"
