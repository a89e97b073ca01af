"""A workflow template as the core sees it: steps, what feeds them, and each step's policy.

``caroni.cwl`` makes a :class:`Plan` from a CWL document; a workflow pins one immutable plan (a template
revision). A *flow* is a named value of one workflow: a workflow input (``name``) or a step's output
(``step/output``), as CWL spells its sources.
"""

from __future__ import annotations

from functools import cached_property

import msgspec

from caroni.core.messages import Json

#: A CWL type in its expanded JSON form: ``"string"``, ``["null", "int"]``,
#: ``{"type": "array", "items": ...}``, ``{"type": "record", "fields": [...]}``, ``{"type": "enum", ...}``.
CwlType = str | list["CwlType"] | dict[str, object]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class StepPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a step is fulfilled again, from ``caroni:CaroniRequirement``. Durations in microseconds."""

    #: failures of class JOB, INPUT or TIMEOUT that end the step
    max_attempts: int = 5
    #: failures of any other class that end the step
    max_other_failures: int = 20
    backoff: int = 10 * SECOND
    backoff_cap: int = HOUR
    #: an agent without contact for longer than this has lost the job; 0: the manager's own patience
    lost_after: int = 0
    #: 0 means the job definition's own limit
    max_runtime: int = 0
    at_most_once: bool = False
    data_class: str = ""
    non_retryable_exit_codes: tuple[int, ...] = ()


class PlanInput(msgspec.Struct, frozen=True, kw_only=True):
    """One input of a step. ``default`` replaces an absent or null source value."""

    name: str
    type: CwlType = "Any"
    source: str | None = None
    default: Json | None = None


class PlanStep(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One step: the job type that is asked for, its inputs and its declared outputs."""

    name: str
    job_type: str
    inputs: tuple[PlanInput, ...] = ()
    #: output name -> type
    outputs: dict[str, CwlType] = {}
    policy: StepPolicy = StepPolicy()

    @cached_property
    def sources(self) -> frozenset[str]:
        """The flows this step waits for."""
        return frozenset(i.source for i in self.inputs if i.source is not None)


class WorkflowInput(msgspec.Struct, frozen=True, kw_only=True):
    """One input of the workflow; ``default`` replaces an absent or null value."""

    name: str
    type: CwlType = "Any"
    default: Json | None = None
    doc: str = ""


class WorkflowOutput(msgspec.Struct, frozen=True, kw_only=True):
    """One output of the workflow and the flow it shows."""

    name: str
    source: str
    type: CwlType = "Any"


class Plan(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The whole workflow; steps keep their place: ``(workflow, index)`` is a step's key."""

    inputs: tuple[WorkflowInput, ...] = ()
    steps: tuple[PlanStep, ...] = ()
    outputs: tuple[WorkflowOutput, ...] = ()

    @cached_property
    def consumers(self) -> dict[str, tuple[int, ...]]:
        """Flow name -> indexes of the steps that read it."""
        found: dict[str, list[int]] = {}
        for index, step in enumerate(self.steps):
            for source in step.sources:
                found.setdefault(source, []).append(index)
        return {flow: tuple(indexes) for flow, indexes in found.items()}
