"""A parsed Workflow as a :class:`~caroni.core.plan.Plan`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
import networkx as nx

from caroni.core.cwltypes import (
    BadType,
    ValueMismatch,
    assignable,
    check,
    describe,
    encode_json,
    is_optional,
)
from caroni.core.messages import Json
from caroni.core.plan import CwlType, Plan, PlanInput, PlanStep, WorkflowInput, WorkflowOutput
from caroni.core.valuewords import quoted
from caroni.cwl.defaults import default_value
from caroni.cwl.documents import Documents, Process
from caroni.cwl.features import check_parameter, check_process, check_requirements, check_sink, check_step
from caroni.cwl.hint import Requirement, look_up, not_a_job
from caroni.cwl.places import Spot
from caroni.cwl.types import NamedTypes, last_name
from caroni.errors import DocumentError

T = TypeVar("T")
R = TypeVar("R")

#: Longest name of a step, input or output, in characters.
MAX_NAME = 200


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A declared input or output of a process."""

    name: str
    type: CwlType
    default: Json | None = None


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """What a step's process takes and gives; the same for every step that runs it."""

    kind: str
    inputs: dict[str, Port]
    outputs: dict[str, Port]


class PlanBuilder:
    """Builds one plan and raises at the first thing that is wrong or not supported.

    With ``faults`` what is wrong in one input, step or output is put there instead and the others are looked
    at too; the plan then lacks it.
    """

    def __init__(
        self, documents: Documents, workflow: Process, faults: list[DocumentError] | None = None
    ) -> None:
        self._faults = faults
        self._documents = documents
        self._workflow = workflow
        self._spot = workflow.spot
        self._types = _named_types(workflow.node)
        #: absolute identifier -> (flow name, type)
        self._flows: dict[str, tuple[str, CwlType]] = {}
        self._interfaces: dict[int, Interface] = {}
        self._requirements: dict[int, Requirement] = {}

    def build(self) -> Plan:
        """Check everything and make the plan.

        Raises:
            DocumentError: the first error.
            UnsupportedFeature: the first feature that cannot be run.
        """
        node = self._workflow.node
        if self._faults is not None:
            self._assume(node)
        with self._noting():
            check_requirements(node, self._spot)
        inputs = self._each(self._input, _unique(node.inputs, self._spot.at("inputs"), "input"))
        opened = self._each(self._open_step, _unique(node.steps, self._spot.at("steps"), "step"))
        steps = self._each(lambda step: self._step(*step), opened)
        outputs = self._each(self._output, _unique(node.outputs, self._spot.at("outputs"), "output"))
        with self._noting():
            self._check_cycles(steps)
        return Plan(inputs=inputs, steps=steps, outputs=outputs)

    def _assume(self, node: Any) -> None:
        """Every value that is named exists: one wrong declaration is not also a fault of all its users."""
        for parameter in node.inputs or ():
            self._flows[parameter.id] = (last_name(parameter.id), "Any")
        for step in node.steps or ():
            for declared in step.out or ():
                identifier = declared if isinstance(declared, str) else declared.id
                self._flows[identifier] = (f"{last_name(step.id)}/{last_name(identifier)}", "Any")

    def _each(self, read: Callable[[T], R], nodes: Iterable[T]) -> tuple[R, ...]:
        found = []
        for node in nodes:
            with self._noting():
                found.append(read(node))
        return tuple(found)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note a fault and go on, where faults are collected."""
        try:
            yield
        except DocumentError as error:
            if self._faults is None:
                raise
            self._faults.append(error)

    # --- workflow parameters ---

    def _input(self, parameter: Any) -> WorkflowInput:
        name = last_name(parameter.id)
        spot = self._spot.at("inputs", name)
        check_parameter(parameter, spot)
        type_ = _type(self._types, parameter.type_, spot)
        # known from here on: a wrong default is no reason to call its users wrong too
        self._flows[parameter.id] = (name, type_)
        default = self._default(parameter, type_, spot)
        doc = parameter.doc if getattr(parameter, "doc", None) else getattr(parameter, "label", None)
        return WorkflowInput(name=name, type=type_, default=default, doc=_text(doc))

    def _output(self, parameter: Any) -> WorkflowOutput:
        name = last_name(parameter.id)
        spot = self._spot.at("outputs", name)
        source = check_sink(parameter, spot, "outputSource")
        check_parameter(parameter, spot)
        type_ = _type(self._types, parameter.type_, spot)
        if source is None:
            raise spot.error(f"output {quoted(name)} has no outputSource")
        flow, given = self._flow(source, spot.at("outputSource"))
        if not assignable(given, type_):
            raise spot.error(
                f"output {quoted(name)} is {describe(type_)}, but its source {quoted(flow)} is "
                f"{describe(given)}"
            )
        return WorkflowOutput(name=name, source=flow, type=type_)

    # --- steps ---

    def _open_step(self, node: Any) -> tuple[Any, str, Spot, Process, Interface]:
        """Find out what a step runs and gives, before any link is looked at."""
        name = last_name(node.id)
        spot = self._spot.at("steps", name)
        check_step(node, spot)
        for parameter in node.in_:
            check_sink(parameter, spot.at("in", last_name(parameter.id)))
        process = self._process(node, spot)
        check_process(process.kind, name, spot.at("run"))
        check_requirements(node, spot)
        interface = self._interface(process)
        for index, declared in enumerate(_unique(node.out, spot.at("out"), "output")):
            identifier = declared if isinstance(declared, str) else declared.id
            output = last_name(identifier)
            port = interface.outputs.get(output)
            if port is None:
                raise spot.at("out", index).error(
                    f"step {quoted(name)} has no output {quoted(output)}"
                    f"{_suggest(output, interface.outputs, 'what it runs gives')}"
                )
            self._flows[identifier] = (f"{name}/{output}", port.type)
        return node, name, spot, process, interface

    def _process(self, node: Any, spot: Spot) -> Process:
        if isinstance(node.run, str):
            return self._documents.run(node.run, spot.at("run"))
        return Process(node.run, spot.at("run"))

    def _interface(self, process: Process) -> Interface:
        key = id(process.node)
        found = self._interfaces.get(key)
        if found is None:
            check_requirements(process.node, process.spot)
            found = self._interfaces[key] = self._read_interface(process)
        return found

    def _read_interface(self, process: Process) -> Interface:
        node, spot = process.node, process.spot
        types = _named_types(node, self._types)
        inputs: dict[str, Port] = {}
        for parameter in _unique(node.inputs, spot.at("inputs"), "input"):
            name = last_name(parameter.id)
            here = spot.at("inputs", name)
            type_ = _type(types, parameter.type_, here)
            default = self._default(parameter, type_, here)
            inputs[name] = Port(name=name, type=type_, default=default)
        outputs = {
            name: Port(name=name, type=_type(types, parameter.type_, spot.at("outputs", name)))
            for parameter in _unique(node.outputs, spot.at("outputs"), "output")
            if (name := last_name(parameter.id))
        }
        return Interface(kind=process.kind, inputs=inputs, outputs=outputs)

    def _step(self, node: Any, name: str, spot: Spot, process: Process, interface: Interface) -> PlanStep:
        requirement = self._requirement(node, spot, process)
        if not requirement.job_name:
            raise not_a_job(name, process.kind, requirement, spot)
        return PlanStep(
            name=name,
            job_type=requirement.job_name,
            inputs=tuple(self._step_inputs(node, name, spot, interface)),
            outputs={port: declared.type for port, declared in interface.outputs.items()},
            policy=requirement.policy,
        )

    def _requirement(self, node: Any, spot: Spot, process: Process) -> Requirement:
        workflow = (self._workflow.node, self._spot)
        levels = [(process.node, process.spot), (node, spot), workflow]
        if getattr(node, "hints", None):
            return look_up(levels)
        key = id(process.node)
        if key not in self._requirements:
            self._requirements[key] = look_up(levels)
        return self._requirements[key]

    def _step_inputs(self, node: Any, name: str, spot: Spot, interface: Interface) -> Iterable[PlanInput]:
        given = {
            last_name(parameter.id): parameter for parameter in _unique(node.in_, spot.at("in"), "input")
        }
        for port in interface.inputs.values():
            parameter = given.get(port.name)
            here = spot.at("in", port.name)
            source: str | None = None
            default: Json | None = None
            if parameter is not None:
                default = self._default(parameter, port.type, here)
                identifier = check_sink(parameter, here)
                if identifier is not None:
                    source, type_ = self._flow(identifier, here.at("source"))
                    if not assignable(type_, port.type):
                        raise here.error(
                            f"step {quoted(name)} needs {describe(port.type)} as {quoted(port.name)}, but "
                            f"its source {quoted(source)} is {describe(type_)}"
                        )
            default = port.default if default is None else default
            if source is not None or default is not None:
                yield PlanInput(name=port.name, type=port.type, source=source, default=default)
            elif not is_optional(port.type):
                raise (here if parameter is not None else spot.at("in")).error(
                    f"step {quoted(name)} lacks its input {quoted(port.name)} ({describe(port.type)}): "
                    f"give it a source or a default{_suggest(port.name, set(given) - set(interface.inputs))}"
                )

    # --- links ---

    def _flow(self, identifier: str, spot: Spot) -> tuple[str, CwlType]:
        found = self._flows.get(identifier)
        if found is not None:
            return found
        base = f"{self._workflow.node.id}"
        wanted = identifier.rpartition("#")[2]
        scope = base.rpartition("#")[2] if "#" in base else ""
        if scope and wanted.startswith(f"{scope}/"):
            wanted = wanted[len(scope) + 1 :]
        known = [flow for flow, _ in self._flows.values()]
        outputs = [flow for flow in known if flow.startswith(f"{wanted}/")]
        hint = f"; write {outputs[0]}" if outputs else _suggest(wanted, known)
        raise spot.error(
            f"the source {quoted(wanted)} is neither an input of the workflow nor an output of a step{hint}"
        )

    def _default(self, parameter: Any, type_: CwlType, spot: Spot) -> Json | None:
        """A default as JSON text; null is the same as none."""
        raw = getattr(parameter, "default", None)
        if raw is None:
            return None
        here = spot.at("default")
        value = default_value(raw, self._documents.bundle, here)
        try:
            check(value, type_)
            return encode_json(value)
        except ValueMismatch as error:
            raise here.error(f"the default does not fit: {error}") from None

    def _check_cycles(self, steps: tuple[PlanStep, ...]) -> None:
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(step.name for step in steps)
        graph.add_edges_from(
            (source.partition("/")[0], step.name)
            for step in steps
            for source in step.sources
            if "/" in source
        )
        try:
            edges = nx.find_cycle(graph)
        except nx.NetworkXNoCycle:
            return
        names = [edge[0] for edge in edges]
        shown = " -> ".join([*names[:12], *(["..."] if len(names) > 12 else []), names[0]])
        raise self._spot.at("steps", names[0]).error(f"steps wait for each other: {shown}")


def _unique(parameters: Iterable[Any] | None, spot: Spot, what: str) -> list[Any]:
    """The parameters, if no two have the same name."""
    found = list(parameters or ())
    seen: set[str] = set()
    for index, parameter in enumerate(found):
        name = last_name(parameter if isinstance(parameter, str) else parameter.id)
        if name in seen:
            raise spot.at(index).error(f"the {what} {quoted(name)} is there twice")
        if not name or len(name) > MAX_NAME or not name.isprintable() or " " in name:
            raise spot.at(index).error(
                f"{quoted(name)} is no name for this {what}: write 1 to {MAX_NAME} characters without spaces"
            )
        seen.add(name)
    return found


def _type(types: NamedTypes, declared: Any, spot: Spot) -> CwlType:
    try:
        return types.expand(declared)
    except BadType as error:
        raise spot.at("type").error(str(error)) from None


def _named_types(node: Any, outer: NamedTypes | None = None) -> NamedTypes:
    types = NamedTypes(outer)
    for requirement in [*(node.requirements or ()), *(node.hints or ())]:
        if getattr(requirement, "class_", None) == "SchemaDefRequirement":
            types.add(requirement.types)
    for parameter in [*(node.inputs or ()), *(node.outputs or ())]:
        types.add(parameter.type_)
    return types


def _suggest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    names = list(known)
    near = difflib.get_close_matches(name[:200], names[:2000], n=1)
    if near:
        return f"; did you mean {near[0]}?"
    if otherwise and names:
        return f"; {otherwise} {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
    return ""


def _text(doc: object) -> str:
    if isinstance(doc, list):
        return "\n".join(str(line) for line in doc)
    return doc.strip() if isinstance(doc, str) else ""
