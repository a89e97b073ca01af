"""A view with its layout: what is computed once and drawn many times."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from caroni.core.plan import Plan
from caroni.tui.rail.graph import Graph, graph_of
from caroni.tui.rail.groups import Group, View, fold, groups_of, only, restrict
from caroni.tui.rail.layout import Layout, laid_out
from caroni.tui.rail.paths import neighbourhood


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """What one picture needs. ``kind``: ``all``, ``near`` (a neighbourhood) or ``failed``."""

    view: View
    layout: Layout
    kind: str = "all"

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.layout.order)

    def row_of(self, step: int) -> int:
        """The row of a step or of the group that it is folded in; -1 if the picture leaves it out."""
        if not 0 <= step < len(self.view.node_of) or self.view.node_of[step] < 0:
            return -1
        return self.layout.row_of[self.view.node_of[step]]


def of_plan(plan: Plan) -> Drawing:
    """The first picture of a plan: 10,000 steps take about 0.1 s, so larger ones belong in a thread.

    Raises:
        ValueError: the steps wait for each other in a circle.
    """
    return of_graph(graph_of(plan.steps))


def of_graph(
    graph: Graph, groups: tuple[Group, ...] | None = None, opened: Collection[int] | None = None
) -> Drawing:
    """All of a graph; ``groups`` are what is alike, ``opened`` what a person expects, if not given.

    Raises:
        ValueError: it has a cycle.
    """
    view = fold(graph, groups_of(graph) if groups is None else groups, opened)
    return _drawn(view, "all")


def near(whole: Drawing, step: int, hops: int = 2) -> Drawing:
    """Only a step's node and what is at most ``hops`` edges away."""
    view = whole.view
    nodes = neighbourhood(view.parents, view.children, view.node_of[step], hops)
    return _drawn(restrict(view, nodes), "near")


def failed(whole: Drawing, steps: Collection[int]) -> Drawing:
    """Only these steps, none of them folded."""
    return _drawn(only(whole.view, steps), "failed")


def _drawn(view: View, kind: str) -> Drawing:
    return Drawing(view=view, layout=laid_out(view.parents, view.children), kind=kind)
