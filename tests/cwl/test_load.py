from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caroni.core.plan import HOUR, SECOND, Plan, PlanInput, PlanStep, StepPolicy
from caroni.cwl import Bundle, inspect, load, plan_from_json, plan_to_json
from caroni.cwl.yamldoc import read
from caroni.errors import DocumentError, UnsupportedFeature
from tests.cwl.generate import chain_bundle, embedded_text

HEAD = 'cwlVersion: v1.2\nclass: Workflow\n$namespaces: {caroni: "urn:caroni:cwl:"}\n'

STEP = """  {name}:
    hints: {{caroni:CaroniRequirement: {{CaroniJobName: job-{name}}}}}
    run:
      class: Operation
      inputs: {{text: string, times: int?}}
      outputs: {{out: string}}
    in: {links}
    out: [out]
"""


def step(name: str, links: str) -> str:
    return STEP.format(name=name, links=links)


def workflow(*steps: str, inputs: str = "{message: string}", outputs: str = "[]", more: str = "") -> str:
    return f"{HEAD}{more}inputs: {inputs}\noutputs: {outputs}\nsteps:\n{''.join(steps)}"


ONE = step("a", "{text: message}")
JS = "class: ExpressionTool\n      expression: $({})"
EXTRA_FILE = "{message: string, f: {type: File, secondaryFiles: [.bai]}}"
TWO_SOURCES = "{o: {type: Any, outputSource: [a/out, message]}}"
DOCKER = "    requirements: {DockerRequirement: {dockerPull: x}}\n"
CORES = "requirements:\n- class: ResourceRequirement\n  coresMin: 2\n"
ALONE = "cwlVersion: v1.2\nclass: Operation\ninputs: []\noutputs: []\n"


def plan_of(text: str) -> Plan:
    return load(Bundle.from_text(text))


def refusal(text: str) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        plan_of(text)
    assert caught.value.file == "workflow.cwl"
    assert caught.value.line > 0
    return caught.value


def place(text: str, part: str) -> tuple[int, int]:
    """Line and column of the first place where ``part`` stands."""
    before = text[: text.index(part)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def test_a_plan_says_what_the_document_says() -> None:
    plan = plan_of(
        workflow(
            step("a", "{text: message}"),
            step("b", "{text: {source: [a/out]}, times: {source: n, default: 7}}"),
            inputs="{message: {type: string, doc: Say it.}, n: {type: int?, default: 2}}",
            outputs="{said: {type: string, outputSource: b/out}, asked: {type: Any, outputSource: message}}",
        )
    )
    assert [(i.name, i.type, i.default, i.doc) for i in plan.inputs] == [
        ("message", "string", None, "Say it."),
        ("n", ["null", "int"], "2", ""),
    ]
    assert [(o.name, o.source, o.type) for o in plan.outputs] == [
        ("said", "b/out", "string"),
        ("asked", "message", "Any"),
    ]
    first, second = plan.steps
    assert first.job_type == "job-a"
    # an optional input that nothing feeds is not asked for
    assert first.inputs == (PlanInput(name="text", type="string", source="message"),)
    assert first.outputs == {"out": "string"}
    assert first.policy == StepPolicy()
    assert second.inputs == (
        PlanInput(name="text", type="string", source="a/out"),
        PlanInput(name="times", type=["null", "int"], source="n", default="7"),
    )
    assert plan.consumers == {"message": (0,), "a/out": (1,), "n": (1,)}
    assert plan_from_json(plan_to_json(plan)) == plan


def test_no_steps_is_a_workflow_too() -> None:
    plan = plan_of(HEAD + "inputs: {a: int}\noutputs: {b: {type: int, outputSource: a}}\nsteps: []\n")
    assert plan.steps == ()
    assert plan.outputs[0].source == "a"


def test_all_types_come_through() -> None:
    inputs = """
  a: boolean
  b: long[]
  c: {type: enum, symbols: [red, green]}
  d:
    type:
      type: record
      fields: {x: int, y: {type: {type: array, items: [int, string]}}}
  e: Directory?
  f: Any
  g: {type: ["null", float, double]}
  h: string[][]
"""
    inputs = inputs.replace(
        "c: {type: enum, symbols: [red, green]}", "c: {type: {type: enum, symbols: [red, green]}}"
    )
    plan = plan_of(HEAD + f"inputs:{inputs}outputs: []\nsteps: []\n")
    assert {i.name: i.type for i in plan.inputs} == {
        "a": "boolean",
        "b": {"type": "array", "items": "long"},
        "c": {"type": "enum", "symbols": ["red", "green"]},
        "d": {
            "type": "record",
            "fields": [
                {"name": "x", "type": "int"},
                {"name": "y", "type": {"type": "array", "items": ["int", "string"]}},
            ],
        },
        "e": ["null", "Directory"],
        "f": "Any",
        "g": ["null", "float", "double"],
        "h": {"type": "array", "items": {"type": "array", "items": "string"}},
    }


@pytest.mark.parametrize("version", ["v1.0", "v1.1", "v1.2"])
def test_older_versions_with_a_tool_that_is_a_job(version: str) -> None:
    text = f"""cwlVersion: {version}
class: Workflow
inputs: {{message: string}}
outputs: {{o: {{type: File, outputSource: s/out}}}}
steps:
  s:
    run: tool.cwl
    in: {{text: message}}
    out: [out]
"""
    tool = f"""cwlVersion: {version}
class: CommandLineTool
baseCommand: [echo]
hints: [{{class: CaroniRequirement, CaroniJobName: echo}}]
inputs: {{text: {{type: string, inputBinding: {{position: 1, valueFrom: $(self)}}}}}}
outputs: {{out: stdout}}
stdout: out.txt
"""
    plan = load(Bundle(main="workflow.cwl", documents={"workflow.cwl": text, "tool.cwl": tool}))
    assert plan.steps[0].job_type == "echo"
    assert plan.steps[0].outputs == {"out": "File"}


def test_a_packed_workflow_and_a_fragment_of_another_file() -> None:
    main = """cwlVersion: v1.2
$graph:
- id: main
  class: Workflow
  inputs: {message: string}
  outputs: []
  steps:
    a: {run: "#shout", in: {text: message}, out: [out]}
    b: {run: "tools/all.cwl#whisper", in: {text: a/out}, out: [out]}
- id: shout
  class: Operation
  hints: [{class: CaroniRequirement, CaroniJobName: shout}]
  inputs: {text: string}
  outputs: {out: string}
"""
    tools = """cwlVersion: v1.2
$graph:
- id: whisper
  class: Operation
  hints: [{class: CaroniRequirement, CaroniJobName: whisper}]
  inputs: {text: string}
  outputs: {out: string}
"""
    documents = {"wf.cwl": main, "tools/all.cwl": tools}
    plan = load(Bundle(main="wf.cwl", documents=documents))
    assert [(s.name, s.job_type) for s in plan.steps] == [("a", "shout"), ("b", "whisper")]
    assert plan.steps[1].inputs[0].source == "a/out"
    documents["wf.cwl"] = main.replace("#whisper", "#wisper")
    with pytest.raises(
        DocumentError,
        match=r'wf.cwl:9:9: run: "tools/all.cwl" has no process #wisper; did you mean #whisper\?',
    ):
        load(Bundle(main="wf.cwl", documents=documents))


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        pytest.param(
            workflow(step("a", "{text: c/out}"), step("b", "{text: a/out}"), step("c", "{text: b/out}")),
            None,
            "steps wait for each other: ",
            id="cycle",
        ),
        pytest.param(
            workflow(step("a", "{text: a/out}")),
            "a:\n    hints",
            "steps wait for each other: a -> a",
            id="waits for itself",
        ),
        pytest.param(
            workflow(step("a", "{text: mesage}")),
            "text: mesage",
            'the source "mesage" is neither an input of the workflow nor an output of a step; did you mean',
            id="dangling",
        ),
        pytest.param(
            workflow(step("a", "{text: message}"), step("b", "{text: a}")),
            "text: a}",
            "write a/out",
            id="a step is not a source",
        ),
        pytest.param(
            workflow(step("a", "{times: message}")),
            "in: {times",
            'step "a" lacks its input "text" (string): give it a source or a default',
            id="missing input",
        ),
        pytest.param(
            workflow(step("a", "{txt: message}")),
            "in: {txt",
            "did you mean txt?",
            id="misspelt input",
        ),
        pytest.param(
            workflow(step("a", "{text: {}}")),
            "text: {}",
            'lacks its input "text"',
            id="input without anything",
        ),
        pytest.param(
            workflow(step("a", "{text: message}"), inputs="{message: int}"),
            "text: message",
            'step "a" needs string as "text", but its source "message" is int',
            id="types cannot meet",
        ),
        pytest.param(
            workflow(step("a", "{text: message, times: message}")),
            "times: message",
            'needs int? as "times", but its source "message" is string',
            id="types cannot meet, optional",
        ),
        pytest.param(
            workflow(step("a", "{text: message}"), outputs="{o: {type: 'int[]', outputSource: a/out}}"),
            "o: {type",
            'output "o" is int[], but its source "a/out" is string',
            id="output type",
        ),
        pytest.param(
            workflow(step("a", "{text: message}"), outputs="{o: {type: string, outputSource: a/nothing}}"),
            "outputSource: a/nothing",
            'the source "a/nothing"',
            id="output source",
        ),
        pytest.param(
            workflow(step("a", "{text: message}"), outputs="{o: {type: string}}"),
            "o: {type",
            "has no outputSource",
            id="output without source",
        ),
        pytest.param(
            workflow(step("a", "{text: message}").replace("out: [out]", "out: [out, ouut]")),
            "ouut",
            'step "a" has no output "ouut"; did you mean out?',
            id="unknown output",
        ),
        pytest.param(
            workflow(step("a", "{text: {default: 3}}")),
            "default: 3",
            "the default does not fit: expected string, got 3 (an int)",
            id="default",
        ),
        pytest.param(
            workflow(step("a", "{text: message}"), inputs="{message: {type: string, default: [x]}}"),
            "default: [x]",
            "the default does not fit: expected string, got an array",
            id="workflow default",
        ),
        pytest.param(
            workflow(step("a", "{text: message}"), step("a", "{text: message}")),
            None,
            'the key "a" is there twice',
            id="step twice",
        ),
        pytest.param(
            workflow(ONE, inputs="[{id: message, type: string}, {type: int, id: message}]"),
            "{type: int, id: message}",
            'the input "message" is there twice',
            id="input twice in a list",
        ),
        pytest.param(
            workflow(step("a", "{text: message}"), inputs="{message: sting}"),
            "message: sting",
            'unknown type "sting"',
            id="unknown type",
        ),
        pytest.param(
            workflow(step("a", "{text: message}").replace("out: [out]", "otu: [out]")),
            None,
            "invalid field `otu`",
            id="unknown field",
        ),
    ],
)  # fmt: skip
def test_static_errors_have_a_place(text: str, at: str | None, says: str) -> None:
    error = refusal(text)
    assert says in str(error)
    assert not isinstance(error, UnsupportedFeature)
    if at is not None:
        assert (error.line, error.column) == place(text, at)


def linked(link: str) -> str:
    return workflow(step("a", f"{{text: {link}}}"))


def nested() -> str:
    inner = ONE.replace("class: Operation", "class: Workflow\n      steps: []")
    return workflow(inner.replace("{out: string}", "[]").replace("[out]", "[]"))


def versioned(version: str) -> str:
    return workflow(ONE).replace("v1.2", version)


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        (workflow(ONE + "    scatter: text\n"), "scatter", "scatter is not supported yet"),
        (workflow(ONE + "    when: $(true)\n"), "when", "when (conditional steps)"),
        (linked("{source: message, valueFrom: $(self)}"), "valueFrom", "valueFrom with an expression"),
        (linked("{valueFrom: constant}"), "valueFrom", "valueFrom is not supported yet"),
        (linked("{source: [message, message]}"), "source", "several sources"),
        (linked("{source: message, linkMerge: merge_nested}"), "linkMerge", "linkMerge"),
        (linked("{source: message, pickValue: first_non_null}"), "pickValue", "pickValue"),
        (linked("{source: message, loadContents: true}"), "loadContents", "loadContents"),
        (workflow(ONE, outputs=TWO_SOURCES), "outputSource", "several sources"),
        (workflow(ONE, inputs=EXTRA_FILE), "secondaryFiles", "secondaryFiles"),
        (workflow(ONE + DOCKER), "DockerRequirement", "DockerRequirement"),
        (workflow(ONE, more=CORES), "class: ResourceRequirement", "ResourceRequirement"),
        (workflow(ONE.replace("class: Operation", JS)), "run", "ExpressionTool"),
        (nested(), "run", "a subworkflow"),
        (versioned("v1.3"), "cwlVersion", 'cwlVersion "v1.3"'),
        (versioned("draft-3"), "cwlVersion", "known are v1.0, v1.1, v1.2"),
        (versioned("1.2"), "cwlVersion", "cwlVersion 1.2 is not supported"),
        (ALONE, "class", "an Operation cannot be run by itself yet"),
    ],
)
def test_what_cannot_run_yet_is_refused_with_its_place(text: str, at: str, says: str) -> None:
    error = refusal(text)
    assert isinstance(error, UnsupportedFeature), error
    assert error.exit_code == 33
    assert says in str(error)
    if at.startswith("class: "):
        assert error.line == place(text, at)[0]
    else:
        assert (error.line, error.column) == place(text, f"{at}:")


def test_permissions_alone_change_nothing() -> None:
    more = (
        "requirements: {InlineJavascriptRequirement: {}, ScatterFeatureRequirement: {}, "
        "MultipleInputFeatureRequirement: {}, StepInputExpressionRequirement: {}, "
        "SubworkflowFeatureRequirement: {}}\n"
        "hints: {DockerRequirement: {dockerPull: x}, 'other:Thing': {a: 1}}\n"
    )
    assert plan_of(workflow(step("a", "{text: message}"), more=more)).steps[0].job_type == "job-a"


@pytest.mark.parametrize("name", ['"a\\x1b[2Jb"', '"a b"', '""', "x" * 201, '"a\\u202eb"'])
def test_names_are_words(name: str) -> None:
    inputs = f"{{message: string, {name}: int}}"
    one_of_steps = ONE.replace("  a:", f"  {name}:", 1)
    for text in (workflow(ONE, inputs=inputs), workflow(one_of_steps)):
        error = refusal(text)
        assert "is no name for this" in str(error)
        assert str(error).isprintable()


# --- the hint ---


def hinted(hint: str, workflow_hint: str = "{}", process_hint: str = "{}", namespaces: str = "") -> PlanStep:
    text = f"""cwlVersion: v1.2
class: Workflow
{namespaces}
hints: {workflow_hint}
inputs: []
outputs: []
steps:
  a:
    hints: {hint}
    run: {{class: Operation, hints: {process_hint}, inputs: [], outputs: []}}
    in: []
    out: []
"""
    return load(Bundle.from_text(text)).steps[0]


@pytest.mark.parametrize(
    ("name", "namespaces"),
    [
        ("CaroniRequirement", ""),
        ("caroni:CaroniRequirement", '$namespaces: {caroni: "urn:caroni:cwl:"}'),
        ("x:CaroniRequirement", '$namespaces: {x: "https://example.org/caroni#"}'),
        ("x:Requirement", '$namespaces: {x: "https://example.org/caroni#Caroni"}'),
        ("https://example.org/caroni#CaroniRequirement", ""),
        ("caroni:CaroniRequirement", ""),
    ],
)
def test_the_hint_has_several_spellings(name: str, namespaces: str) -> None:
    for hint in (f"{{'{name}': {{CaroniJobName: j}}}}", f"[{{class: '{name}', CaroniJobName: j}}]"):
        assert hinted(hint, namespaces=namespaces).job_type == "j"


def test_each_field_comes_from_the_nearest_hint() -> None:
    found = hinted(
        "{CaroniRequirement: {CaroniJobName: of-step, maxAttempts: 2, backoff: 1s}}",
        "{CaroniRequirement: {CaroniJobName: of-workflow, maxAttempts: 9, lostAfter: 12h}}",
        "{CaroniRequirement: {CaroniJobName: of-process, backoff: 2s}}",
    )
    assert found.job_type == "of-process"
    assert found.policy == StepPolicy(max_attempts=2, backoff=2 * SECOND, lost_after=12 * HOUR)


def test_all_fields_of_the_hint() -> None:
    found = hinted(
        "{CaroniRequirement: {CaroniJobName: j, maxAttempts: 3, maxOtherFailures: 7, backoff: 90m,"
        " lostAfter: PT2H, maxRuntime: 90, atMostOnce: true, dataClass: internal,"
        " nonRetryableExitCodes: [2, 64]}}"
    )
    assert found.policy == StepPolicy(
        max_attempts=3,
        max_other_failures=7,
        backoff=5400 * SECOND,
        backoff_cap=5400 * SECOND,
        lost_after=2 * HOUR,
        max_runtime=90 * SECOND,
        at_most_once=True,
        data_class="internal",
        non_retryable_exit_codes=(2, 64),
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("maxAtempts: 3", 'unknown field "maxAtempts" of CaroniRequirement: did you mean maxAttempts?'),
        ("zzz: 3", "known are CaroniJobName, maxAttempts"),
        ("maxAttempts: 0", "maxAttempts: expected a whole number from 1, got 0"),
        ("maxAttempts: true", "got true (a boolean)"),
        ("maxAttempts: 1.5", "got 1.5"),
        ("backoff: soon", 'backoff: "soon" is not a duration'),
        ("lostAfter: 0", "above zero"),
        ("atMostOnce: 1", "expected true or false"),
        ("nonRetryableExitCodes: [256]", "from 0 to 255"),
        ("dataClass: [x]", "expected a word"),
    ],
)
def test_a_wrong_field_of_the_hint_is_an_error(fields: str, says: str) -> None:
    with pytest.raises(DocumentError) as caught:
        hinted(f"{{CaroniRequirement: {{CaroniJobName: j, {fields}}}}}")
    assert says in str(caught.value)
    assert caught.value.line == 9
    assert caught.value.column > 40


@pytest.mark.parametrize("name", ["''", "'a b'", "3", "[x]", '"a\\nb"', "x" * 200])
def test_a_job_name_is_a_word(name: str) -> None:
    with pytest.raises(DocumentError, match="CaroniJobName: expected a job definition's name"):
        hinted(f"{{CaroniRequirement: {{CaroniJobName: {name}}}}}")


def test_a_step_without_the_hint_is_told_what_to_do() -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        hinted("{}")
    assert 'step "a" is not a Caroni job' in str(caught.value)
    assert "CaroniJobName" in str(caught.value)
    with pytest.raises(
        UnsupportedFeature, match='the hint "caroni:CaroniRequirment" is not CaroniRequirement'
    ):
        hinted("{caroni:CaroniRequirment: {CaroniJobName: j}}")


def test_the_hint_under_requirements_is_told_where_it_belongs() -> None:
    text = workflow(step("a", "{text: message}")).replace("hints:", "requirements:")
    error = refusal(text)
    assert "belongs under hints" in str(error)
    assert (error.line, error.column) == place(text, "caroni:CaroniRequirement")


# --- size ---


def test_a_thousand_steps_load_and_keep_their_order() -> None:
    plan = load(chain_bundle(1000, width=10))
    assert [s.name for s in plan.steps] == [f"s{i}" for i in range(1000)]
    assert plan.steps[999].inputs[0].source == "s989/out"
    assert len(plan.outputs) == 10
    assert plan_from_json(plan_to_json(plan)) == plan
    assert len(load(Bundle.from_text(embedded_text(50))).steps) == 50


def test_a_cycle_in_a_large_workflow_is_named_short() -> None:
    bundle = chain_bundle(500)
    text = bundle.documents["workflow.cwl"].replace("text: message", "text: s499/out")
    with pytest.raises(DocumentError, match=r"wait for each other: s.* -> \.\.\. -> s") as caught:
        load(Bundle(main=bundle.main, documents={**bundle.documents, "workflow.cwl": text}))
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"inputs": 3}', '{"inputs": [], "steps": [], "outputs": []}x']
)
def test_what_is_no_stored_plan(text: str) -> None:
    with pytest.raises(ValueError, match="not a stored plan"):
        plan_from_json(text)


# --- anything ---

WHOLE = read(
    workflow(
        step("a", "{text: message}"),
        step("b", "{text: {source: a/out, default: x}}"),
        outputs="{o: {type: string, outputSource: b/out}}",
    )
)

junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["", "a", "#a", "string", "a/out", "http://x", "$(x)"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "class",
                    "type",
                    "run",
                    "in",
                    "out",
                    "$import",
                    "$include",
                    "$graph",
                    "source",
                    "items",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def spots(node: object, way: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    found = [way] if way else []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        found += spots(value, (*way, key))
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(spots(WHOLE)), junk)
def test_a_document_with_anything_in_it_loads_or_is_refused(way: tuple[object, ...], value: object) -> None:
    document = json.loads(json.dumps(WHOLE))
    node = document
    for key in way[:-1]:
        node = node[key]
    node[way[-1]] = value
    said = ""
    try:
        load(Bundle.from_text(json.dumps(document)))
    except DocumentError as error:
        said = str(error)
    assert len(said) < 700
    assert "\n" not in said


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = (Path(__file__).parents[2] / "samples" / "text-chain" / "workflow.cwl").read_text("utf-8")
    broken = text.replace("    type: string\n    doc", "    type: strng\n    doc").replace(
        "        default: ", "        # default: "
    )
    found = inspect(Bundle.from_text(broken, "chain.cwl"))
    assert [(f.line, f.message.split(";")[0].split(" (")[0]) for f in found.faults] == [
        (10, 'unknown type "strng"'),
        (65, 'step "append" lacks its input "suffix"'),
    ]
    assert found.plan is not None
    assert [s.name for s in found.plan.steps] == ["upper", "prepend"]
    with pytest.raises(DocumentError) as first:
        load(Bundle.from_text(broken, "chain.cwl"))
    assert str(first.value) == str(found.faults[0])
    right = inspect(Bundle.from_text(text))
    assert (right.plan, right.faults, right.advice) == (load(Bundle.from_text(text)), [], [])
    nothing = inspect(Bundle.from_text("class: Workflow\n  x: [", "w.cwl"))
    assert nothing.plan is None
    assert [f.line for f in nothing.faults] == [2]


def test_what_is_probably_not_meant() -> None:
    idle = workflow(ONE, inputs="{message: string, spare: int}")
    assert [(f.line, f.message) for f in inspect(Bundle.from_text(idle)).advice] == [
        (4, 'the input "spare" is used by no step and no output'),
        (7, 'nothing uses what the step "a" gives'),
    ]


def test_a_bundle_without_what_nobody_names() -> None:
    whole = Bundle.from_path(Path(__file__).parents[2] / "samples" / "genomics" / "workflow.cwl")
    more = Bundle(main=whole.main, documents={**whole.documents, "old.cwl": "x"}, origin=whole.origin)
    assert more.without_unused() == whole
