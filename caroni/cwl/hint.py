"""``caroni:CaroniRequirement``: which job definition a step asks for, and the step's policy.

The hint is looked up in CWL's order: the process that a step runs, then the step, then the workflow.
Each field is taken from the nearest hint that has it, so that a tool's file can name the job and a
workflow can set the number of attempts for all of its steps.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from caroni.core.durations import parse_duration
from caroni.core.plan import StepPolicy
from caroni.core.valuewords import plain, quoted
from caroni.cwl.places import Spot
from caroni.errors import DocumentError, UsageError

NAME = "CaroniRequirement"
#: The namespace of the samples. A document may use any IRI that ends in ``CaroniRequirement``.
NAMESPACE = "urn:caroni:cwl:"

_JOB_NAME = re.compile(r"[!-~]{1,128}\Z")
_MAX_COUNT = 1_000_000


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """What one step's hints say together."""

    job_name: str = ""
    policy: StepPolicy = StepPolicy()
    #: a hint whose class looks misspelt, for the error about a missing one
    lookalike: str = ""


def is_caroni(name: object, namespaces: Mapping[str, str]) -> bool:
    """Whether a hint's class is ours: bare, with a prefix, or as a full IRI."""
    if not isinstance(name, str):
        return False
    prefix, colon, rest = name.partition(":")
    if colon and prefix in namespaces:
        name = namespaces[prefix] + rest
    return re.split(r"[#/:]", name)[-1] == NAME


def look_up(levels: Iterable[tuple[Any, Spot]]) -> Requirement:
    """Merge the hints of (process, step, workflow), nearest first.

    Args:
        levels: parsed objects with ``hints``, and where each stands.

    Raises:
        DocumentError: an unknown field or a wrong value.
    """
    found: dict[str, object] = {}
    lookalike = ""
    for node, spot in levels:
        namespaces = node.loadingOptions.namespaces or {}
        for hint in getattr(node, "hints", None) or ():
            if not isinstance(hint, Mapping):
                continue
            name = hint.get("class")
            if is_caroni(name, namespaces):
                for field, value in _fields(hint, spot.at("hints", str(name))).items():
                    found.setdefault(field, value)
            elif isinstance(name, str) and "caroni" in name.lower():
                lookalike = lookalike or name
    job_name = found.pop("job_name", "")
    policy = msgspec.convert(found, StepPolicy)
    if policy.backoff > policy.backoff_cap:
        # who asks for a longer pause than the cap means it
        policy = msgspec.structs.replace(policy, backoff_cap=policy.backoff)
    return Requirement(job_name=str(job_name), policy=policy, lookalike=lookalike)


def _fields(hint: Mapping[str, Any], spot: Spot) -> dict[str, object]:
    fields: dict[str, object] = {}
    for written, value in hint.items():
        if written == "class":
            continue
        known = _KNOWN.get(written.rpartition(":")[2])
        if known is None:
            near = difflib.get_close_matches(written.rpartition(":")[2][:100], _KNOWN, n=1, cutoff=0.5)
            hint_text = f"did you mean {near[0]}?" if near else f"known are {', '.join(_KNOWN)}"
            raise spot.at(written).error(f"unknown field {quoted(written)} of {NAME}: {hint_text}")
        name, reader = known
        try:
            fields[name] = reader(value)
        except UsageError as error:
            raise spot.at(written).error(f"{written}: {error}") from None
    return fields


def _job_name(value: object) -> str:
    if not isinstance(value, str) or not _JOB_NAME.match(value):
        raise UsageError(f"expected a job definition's name without spaces, got {plain(value)}")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_COUNT:
        raise UsageError(f"expected a whole number from 1, got {plain(value)}")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"expected true or false, got {plain(value)}")
    return value


def _word(value: object) -> str:
    if not isinstance(value, str) or not _JOB_NAME.match(value):
        raise UsageError(f"expected a word without spaces, got {plain(value)}")
    return value


def _exit_codes(value: object) -> tuple[int, ...]:
    codes = value if isinstance(value, list) else [value]
    for code in codes:
        if not isinstance(code, int) or isinstance(code, bool) or not 0 <= code <= 255:
            raise UsageError(f"expected exit codes from 0 to 255, got {plain(code)}")
    return tuple(codes)


def _positive(value: object) -> int:
    duration = parse_duration(value)
    if duration == 0:
        raise UsageError("expected a duration above zero")
    return duration


#: field as written -> (field of StepPolicy, how it is read)
_KNOWN: dict[str, tuple[str, Callable[[object], object]]] = {
    "CaroniJobName": ("job_name", _job_name),
    "maxAttempts": ("max_attempts", _count),
    "maxOtherFailures": ("max_other_failures", _count),
    "backoff": ("backoff", parse_duration),
    "lostAfter": ("lost_after", _positive),
    "maxRuntime": ("max_runtime", parse_duration),
    "atMostOnce": ("at_most_once", _truth),
    "dataClass": ("data_class", _word),
    "nonRetryableExitCodes": ("non_retryable_exit_codes", _exit_codes),
}


def not_a_job(step: str, process: str, requirement: Requirement, spot: Spot) -> DocumentError:
    """The refusal of a step that names no job definition."""
    what = (
        f"running a {process} is not supported yet" if process != "Operation" else "an Operation is abstract"
    )
    misspelt = f" (the hint {quoted(requirement.lookalike)} is not {NAME})" if requirement.lookalike else ""
    return spot.unsupported(
        f"step {quoted(step)} is not a Caroni job: {what}; name a job definition with "
        f"CaroniJobName in a hint {NAME}{misspelt}"
    )
