from __future__ import annotations

import pytest

from caroni.core.inputs import InputError, bind_inputs
from caroni.core.plan import Plan, WorkflowInput

PLAN = Plan(
    inputs=(
        WorkflowInput(name="message", type="string"),
        WorkflowInput(name="count", type="int", default="3"),
        WorkflowInput(name="flag", type="boolean", default="true"),
        WorkflowInput(name="note", type=["null", "string"]),
    )
)


def test_absent_and_null_take_the_default_and_optional_becomes_null() -> None:
    expected = {"message": '"hi"', "count": "3", "flag": "true", "note": "null"}
    assert bind_inputs(PLAN, {"message": '"hi"'}) == expected
    assert (
        bind_inputs(PLAN, {"message": '"hi"', "count": "null", "flag": " null ", "note": "null"}) == expected
    )


def test_falsy_values_are_values() -> None:
    bound = bind_inputs(PLAN, {"message": '""', "count": "0", "flag": "false", "note": '""'})
    assert bound == {"message": '""', "count": "0", "flag": "false", "note": '""'}


@pytest.mark.parametrize(
    ("given", "name", "says"),
    [
        ({}, "message", 'input "message" is missing: the workflow needs string'),
        ({"message": "null"}, "message", "is missing"),
        ({"message": "3"}, "message", "input message: expected string, got 3 (an int)"),
        ({"message": '"x"', "count": '"many"'}, "count", 'input count: expected int, got the string "many"'),
        ({"message": '"x"', "cout": "3"}, "cout", 'no input "cout": did you mean "count"?'),
        ({"message": '"x"', "zzzz": "3"}, "zzzz", 'it has "message", "count"'),
        ({"message": "oops"}, "message", "not JSON"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, str], name: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        bind_inputs(PLAN, given)
    assert caught.value.input_name == name
    assert says in str(caught.value)


def test_unknown_names_can_be_left_aside() -> None:
    assert "zzzz" not in bind_inputs(PLAN, {"message": '"x"', "zzzz": "3"}, ignore_unknown=True)


def test_a_huge_wrong_value_is_shown_short() -> None:
    with pytest.raises(InputError) as caught:
        bind_inputs(PLAN, {"message": "[" + "1," * 100_000 + "1]"})
    assert len(str(caught.value)) < 200
