"""The lint knows the ways in which bash evaluates a value once more."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from caroni.core.manager.state import ManagerSettings
from caroni.core.plan import MINUTE
from caroni.execution.definition import JobDefinition
from caroni.execution.lint import QUIET_MANAGER, lint


def rules(script: str, type_: object = "string") -> list[str]:
    definition = JobDefinition(name="x", script=script, inputs={"x": type_})
    return [warning.rule for warning in lint(definition)]


@pytest.mark.parametrize(
    ("script", "rule"),
    [
        ('[[ "$CARONI_INPUT_x" -eq 1 ]]', "arithmetic-test"),
        ('[[ 1 -lt "${CARONI_ENV_x}" ]]', "arithmetic-test"),
        ('y="$((CARONI_INPUT_x + 1))"', "arithmetic"),
        ("(( CARONI_INPUT_x > 1 ))", "arithmetic"),
        ('let "y=$CARONI_INPUT_x"', "let"),
        ('eval "$CARONI_INPUT_x"', "eval"),
        ('declare -i y="$CARONI_INPUT_x"', "declare-integer"),
        ('test -v "$CARONI_INPUT_x"', "test-v"),
        ('bash -c "$CARONI_INPUT_x"', "shell-c"),
        ('python3 -c "print($CARONI_INPUT_x)"', "interpreter"),
        ('printf "$CARONI_INPUT_x"', "printf-format"),
        ('echo "${!CARONI_INPUT_x}"', "indirect"),
        ('echo "${array[$CARONI_INPUT_x]}"', "subscript"),
        ("rm $CARONI_INPUT_x", "unquoted"),
        ("for word in $CARONI_INPUT_x; do :; done", "unquoted"),
        ('y="$CARONI_INPUT_x"\n[[ "$y" -eq 1 ]]', "arithmetic-test"),
        ("y=$CARONI_INPUT_x\nrm $CARONI_INPUT_x", "unquoted"),
    ],
)
def test_traps(script: str, rule: str) -> None:
    assert rule in rules(script)


@pytest.mark.parametrize(
    "script",
    [
        'rm -- "$CARONI_INPUT_x"',
        'y=$CARONI_INPUT_x; [ "$y" = 1 ]',
        "[[ $CARONI_INPUT_x = 1 ]]",
        "printf '%s' \"$CARONI_INPUT_x\"",
        "case $CARONI_INPUT_x in a) ;; esac",
        "# eval $CARONI_INPUT_x",
        "echo '$CARONI_INPUT_x'",
        "tr a b <<< $CARONI_INPUT_x",
        "eval something; (( 1 + 1 ))",
    ],
)
def test_no_false_alarm(script: str) -> None:
    assert rules(script) == []


@pytest.mark.parametrize("type_", ["int", ["null", "double"], {"type": "enum", "symbols": ["a", "b-c"]}])
def test_types_that_keep_text_out(type_: object) -> None:
    assert rules("(( CARONI_INPUT_x ))\nrm $CARONI_INPUT_x", type_) == []


def test_places_and_words() -> None:
    (warning,) = lint(JobDefinition(name="x", script=':\n\neval "$CARONI_INPUT_x"', inputs={"x": "string"}))
    assert (warning.line, warning.rule) == (3, "eval")
    assert "'x'" in warning.text


def test_commands_that_are_scripts() -> None:
    assert lint(JobDefinition(name="x", command=("bash", "-c", "rm $CARONI_INPUT_x"), inputs={"x": "string"}))
    assert not lint(JobDefinition(name="x", command=("echo", "$CARONI_INPUT_x")))


@pytest.mark.parametrize(
    "script",
    ['[[ "$CARONI_INPUT_x" -eq 1 ]]', ': "$(( CARONI_INPUT_x ))"', 'declare -i y="$CARONI_INPUT_x"'],
)
def test_the_traps_are_real(script: str, tmp_path: Path) -> None:
    """What the lint says of bash is so on this host."""
    mark = tmp_path / "mark"
    environment = {"CARONI_INPUT_x": f"a[$(touch {mark})]", "PATH": "/usr/bin:/bin"}
    subprocess.run(["bash", "-c", script], env=environment, stderr=subprocess.DEVNULL, check=False)
    assert mark.exists()
    assert rules(script)


@pytest.mark.parametrize(("minutes", "found"), [(0, []), (10, ["impatient"]), (15, [])])
def test_patience_with_a_silent_manager(minutes: int, found: list[str]) -> None:
    definition = JobDefinition(name="x", script=":", stop_after=minutes * MINUTE)
    assert [(w.line, w.rule) for w in lint(definition)] == [(0, rule) for rule in found]


def test_that_patience_is_longer_than_a_managers_silence() -> None:
    assert ManagerSettings().poll_cap < QUIET_MANAGER
