"""The graph of a plan: steps are nodes, and a step's parents are the steps whose outputs it reads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import msgspec

Adjacency = tuple[tuple[int, ...], ...]


class Graph(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Steps by their index in the plan; ``parents`` and ``children`` name indexes, ascending, each once."""

    names: tuple[str, ...]
    job_types: tuple[str, ...]
    parents: Adjacency
    children: Adjacency

    @cached_property
    def depth(self) -> tuple[int, ...]:
        """Per step the length of the longest chain of steps that it waits for.

        Raises:
            ValueError: the graph has a cycle.
        """
        depths = [0] * len(self.names)
        for node in topological(self.parents, self.children):
            deeper = depths[node] + 1
            for child in self.children[node]:
                if depths[child] < deeper:
                    depths[child] = deeper
        return tuple(depths)


class Given(Protocol):
    """An input of a step."""

    @property
    def source(self) -> str | None:
        """The flow that it reads, as CWL spells it."""
        ...


class Stepping(Protocol):
    """A step of a plan, or of its outline."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def job_type(self) -> str:
        """What is asked for."""
        ...

    @property
    def inputs(self) -> Sequence[Given]:
        """What it reads."""
        ...


def graph_of(steps: Sequence[Stepping]) -> Graph:
    """The graph of steps. Inputs of the workflow are no nodes; a source of no known step makes no edge."""
    index = {step.name: at for at, step in enumerate(steps)}
    parents: list[tuple[int, ...]] = []
    for step in steps:
        waits = {
            index[name]
            for source in {given.source for given in step.inputs}
            if source is not None and "/" in source and (name := source.rpartition("/")[0]) in index
        }
        parents.append(tuple(sorted(waits)))
    return Graph(
        names=tuple(step.name for step in steps),
        job_types=tuple(step.job_type for step in steps),
        parents=tuple(parents),
        children=turned(parents),
    )


def turned(edges: Sequence[Sequence[int]]) -> Adjacency:
    """The same edges the other way round: children of parents, or parents of children."""
    found: list[list[int]] = [[] for _ in edges]
    for node, others in enumerate(edges):
        for other in others:
            found[other].append(node)
    return tuple(map(tuple, found))


def topological(parents: Sequence[Sequence[int]], children: Sequence[Sequence[int]]) -> list[int]:
    """The nodes in an order in which each comes after its parents.

    Raises:
        ValueError: the graph has a cycle.
    """
    waits = [len(p) for p in parents]
    order = [node for node, count in enumerate(waits) if not count]
    for node in order:  # grows while it is read
        for child in children[node]:
            waits[child] -= 1
            if not waits[child]:
                order.append(child)
    if len(order) < len(waits):
        raise ValueError("the graph has a cycle")
    return order
