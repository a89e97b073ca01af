"""CWL documents as plans: ``Bundle`` (the closed set of files), ``load``, ``inspect``, ``load_inputs``.

The parser behind it (cwl-utils) is imported at the first ``load``; importing this package is cheap.
"""

from caroni.cwl.bundle import Bundle
from caroni.cwl.inputs import load_inputs, load_untyped_inputs
from caroni.cwl.load import Inspection, inspect, load
from caroni.cwl.store import PlanOutline, StepOutline, outline_from_json, plan_from_json, plan_to_json

__all__ = [
    "Bundle",
    "Inspection",
    "PlanOutline",
    "StepOutline",
    "inspect",
    "load",
    "load_inputs",
    "load_untyped_inputs",
    "outline_from_json",
    "plan_from_json",
    "plan_to_json",
]
