"""A workflow's input object against its plan: what is missing, ill-typed or unknown, and the defaults.

CWL v1.2, Workflow, input object: an absent key is the same as null, and a default replaces both;
``false``, ``0``, ``""`` and ``[]`` are values and stay.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from caroni.core.cwltypes import ValueMismatch, check_json, describe, is_optional
from caroni.core.messages import Json
from caroni.core.plan import Plan
from caroni.core.valuewords import quoted
from caroni.errors import UsageError


class InputError(UsageError):
    """A workflow input is missing, unknown or does not fit; ``input_name`` is which."""

    def __init__(self, input_name: str, message: str) -> None:
        self.input_name = input_name
        super().__init__(message)


def bind_inputs(plan: Plan, given: Mapping[str, Json], *, ignore_unknown: bool = False) -> dict[str, Json]:
    """The value of every input of the workflow, as JSON text; optional ones without a value are ``null``.

    Args:
        plan: the workflow.
        given: input name to JSON text.
        ignore_unknown: leave names aside that the workflow does not have (as CWL wants for input files)
            instead of refusing them.

    Raises:
        InputError: an input is missing, does not fit its type, or is unknown.
    """
    bound: dict[str, Json] = {}
    for wanted in plan.inputs:
        name = wanted.name
        value = given.get(name)
        if value is None or value == "null" or (len(value) < 64 and value.strip() == "null"):
            value = wanted.default
            if value is None:
                if not is_optional(wanted.type):
                    raise InputError(
                        name, f"input {quoted(name)} is missing: the workflow needs {describe(wanted.type)}"
                    )
                value = "null"
        try:
            check_json(value, wanted.type)
        except ValueMismatch as error:
            raise InputError(name, f"input {error.under(name)}") from None
        bound[name] = value
    if not ignore_unknown and len(given) > 0:
        for name in given:
            if name not in bound:
                raise InputError(name, unknown_input(name, bound))
    return bound


def unknown_input(name: str, known: Iterable[str]) -> str:
    """Say that the workflow has no input of this name, and which name may have been meant."""
    names = list(known)
    near = difflib.get_close_matches(name[:200], names, n=1)
    if near:
        hint = f"did you mean {quoted(near[0])}?"
    elif names:
        hint = f"it has {', '.join(quoted(n) for n in names[:8])}{', ...' if len(names) > 8 else ''}"
    else:
        hint = "it has none"
    return f"the workflow has no input {quoted(name)}: {hint}"
