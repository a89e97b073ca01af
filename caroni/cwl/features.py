"""What this version cannot run, found before anything runs (CWL v1.2; ``docs/workflows.md`` has the list)."""

from __future__ import annotations

from typing import Any

from caroni.core.valuewords import quoted
from caroni.cwl.places import Spot

#: Requirements that only allow a feature to be used; its use is what is refused.
PERMISSIONS = frozenset(
    {
        "InlineJavascriptRequirement",
        "MultipleInputFeatureRequirement",
        "ScatterFeatureRequirement",
        "SchemaDefRequirement",
        "StepInputExpressionRequirement",
        "SubworkflowFeatureRequirement",
    }
)

_LATER = "is not supported yet"


def check_requirements(node: Any, spot: Spot) -> None:
    """Refuse a requirement that this version does not honour; hints may be ignored, requirements not.

    Raises:
        UnsupportedFeature: names the requirement.
    """
    for requirement in getattr(node, "requirements", None) or ():
        name = getattr(requirement, "class_", None)
        if name is None and isinstance(requirement, dict):
            name = requirement.get("class")
        if name not in PERMISSIONS:
            shown = str(name).rpartition("#")[2]
            raise spot.at("requirements", shown).unsupported(
                f"{shown} {_LATER}: a job's needs are part of its job definition; remove it or make it a hint"
            )


def check_sink(node: Any, spot: Spot, sources: str = "source") -> str | None:
    """The one source of a step input or workflow output, or None.

    A list of one is the same as its item (CWL v1.2, Workflow, input linking).

    Raises:
        UnsupportedFeature: several sources, linkMerge, pickValue, loadContents or valueFrom.
    """
    for attribute, name in (("linkMerge", "linkMerge"), ("pickValue", "pickValue")):
        if getattr(node, attribute, None) is not None:
            raise spot.at(name).unsupported(f"{name} {_LATER}")
    source = getattr(node, sources, None)
    if isinstance(source, list):
        if len(source) > 1:
            raise spot.at(sources).unsupported(
                f"several sources for one input or output (linkMerge) {_LATER}"
            )
        source = source[0] if source else None
    value_from = getattr(node, "valueFrom", None)
    if value_from is not None:
        kind = "valueFrom with an expression" if _is_expression(value_from) else "valueFrom"
        raise spot.at("valueFrom").unsupported(f"{kind} {_LATER}")
    _check_contents(node, spot)
    return source


def check_parameter(node: Any, spot: Spot) -> None:
    """Refuse what would have to be done to a workflow's Files.

    Raises:
        UnsupportedFeature: loadContents, loadListing, secondaryFiles or an expression.
    """
    _check_contents(node, spot)
    _check_contents(getattr(node, "inputBinding", None), spot.at("inputBinding"))
    if getattr(node, "secondaryFiles", None):
        raise spot.at("secondaryFiles").unsupported(f"secondaryFiles of a workflow's parameter {_LATER}")
    formats = getattr(node, "format", None)
    for one in formats if isinstance(formats, list) else [formats]:
        if _is_expression(one):
            raise spot.at("format").unsupported(f"a JavaScript expression (format) {_LATER}")


def _check_contents(node: Any, spot: Spot) -> None:
    if getattr(node, "loadContents", None):
        raise spot.at("loadContents").unsupported(f"loadContents {_LATER}")
    if getattr(node, "loadListing", None) not in (None, "no_listing"):
        raise spot.at("loadListing").unsupported(f"loadListing {_LATER}")


def check_step(node: Any, spot: Spot) -> None:
    """Refuse scatter and when.

    Raises:
        UnsupportedFeature: names the feature.
    """
    if getattr(node, "scatter", None):
        raise spot.at("scatter").unsupported(f"scatter {_LATER}")
    if getattr(node, "when", None) is not None:
        raise spot.at("when").unsupported(f"when (conditional steps) {_LATER}")


def check_process(kind: str, step: str, spot: Spot) -> None:
    """Refuse what a step may run in CWL but not here.

    Raises:
        UnsupportedFeature: a subworkflow, an ExpressionTool or anything but a tool or an Operation.
    """
    if kind == "Workflow":
        raise spot.unsupported(f"step {quoted(step)} runs a Workflow: a subworkflow {_LATER}")
    if kind == "ExpressionTool":
        raise spot.unsupported(f"step {quoted(step)} runs an ExpressionTool: JavaScript {_LATER}")
    if kind not in ("CommandLineTool", "Operation"):
        raise spot.unsupported(f"step {quoted(step)} runs a {kind}, which {_LATER}")


def _is_expression(value: object) -> bool:
    return isinstance(value, str) and ("$(" in value or "${" in value)
