"""Folds: steps that are alike are one row until somebody opens them.

Members of a group have the same topological depth, and an edge always leads to a greater depth. So the folded
graph is acyclic, whichever groups are open.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from caroni.tui.rail.graph import Adjacency, Graph, turned

#: fewer steps than this are not worth a fold
LEAST = 4
#: a workflow of at most this many steps starts with all groups open
SMALL = 60

# bwa_s12 -> bwa_s, align-3 -> align, sortA -> sort, shard.b -> shard
_INDEX = re.compile(r"(?<=.)(?:[_\-.]?[0-9]+|[_\-.][A-Za-z]|(?<=[a-z])[A-Z])$")


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Steps that can be shown as one row.

    Args:
        label: their common name with a star for what differs, e.g. ``bwa_s*``.
        members: the steps, ascending.
        kind: why they belong together: ``alike`` (same depth, job type and stem of the name).
    """

    label: str
    members: tuple[int, ...]
    kind: str = "alike"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One row's worth of steps: a step, or a folded group (``group`` is its place in ``View.groups``)."""

    label: str
    members: tuple[int, ...]
    group: int = -1

    @property
    def folded(self) -> bool:
        """Whether this is a folded group."""
        return self.group >= 0


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn: nodes and the edges between them, duplicates merged.

    ``node_of`` gives a step's node, -1 where the view leaves the step out; ``group_of`` its group, or -1.
    """

    graph: Graph
    groups: tuple[Group, ...]
    opened: frozenset[int]
    nodes: tuple[Node, ...]
    parents: Adjacency
    children: Adjacency
    node_of: tuple[int, ...]
    group_of: tuple[int, ...]


def stem(name: str) -> str:
    """A step's name without its trailing number or letter; the whole name if it has none."""
    return _INDEX.sub("", name)


def groups_of(graph: Graph) -> tuple[Group, ...]:
    """The groups of steps that are alike, in the order of their first members."""
    alike: dict[tuple[int, str, str], list[int]] = {}
    for step, (name, job_type, depth) in enumerate(
        zip(graph.names, graph.job_types, graph.depth, strict=True)
    ):
        cut = stem(name)
        if cut != name:
            alike.setdefault((depth, job_type, cut), []).append(step)
    found = [(members, key[2]) for key, members in alike.items() if len(members) >= LEAST]
    found.sort()
    return tuple(Group(label=f"{cut}*", members=tuple(members)) for members, cut in found)


def opened_at_first(graph: Graph, groups: Sequence[Group]) -> frozenset[int]:
    """Which groups are open when nobody has said anything: all of a small workflow, else none."""
    return frozenset(range(len(groups))) if len(graph.names) <= SMALL else frozenset()


def fold(graph: Graph, groups: tuple[Group, ...], opened: Collection[int] | None = None) -> View:
    """The view in which the groups of ``opened`` (places in ``groups``) are open and all others one node.

    Args:
        graph: the steps.
        groups: groups that do not overlap, each of steps of one depth.
        opened: the open ones; ``None`` means :func:`opened_at_first`.
    """
    is_open = frozenset(opened) if opened is not None else opened_at_first(graph, groups)
    group_of = [-1] * len(graph.names)
    for place, group in enumerate(groups):
        for step in group.members:
            group_of[step] = place
    nodes: list[Node] = []
    node_of = [-1] * len(graph.names)
    for step, name in enumerate(graph.names):
        place = group_of[step]
        if place < 0 or place in is_open:
            node_of[step] = len(nodes)
            nodes.append(Node(label=name, members=(step,)))
        elif node_of[step] < 0:
            for member in groups[place].members:
                node_of[member] = len(nodes)
            label = f"{groups[place].label} [{len(groups[place].members)}]"
            nodes.append(Node(label=label, members=groups[place].members, group=place))
    return _view(graph, groups, is_open, nodes, node_of, group_of)


def restrict(view: View, keep: Callable[[int], bool] | Iterable[int]) -> View:
    """The same view with some nodes only, and the edges between those.

    Args:
        view: any view.
        keep: the nodes to keep, or what decides of each.
    """
    wanted = set(filter(keep, range(len(view.nodes)))) if callable(keep) else set(keep)
    nodes = [node for at, node in enumerate(view.nodes) if at in wanted]
    node_of = [-1] * len(view.node_of)
    for at, node in enumerate(nodes):
        for step in node.members:
            node_of[step] = at
    return _view(view.graph, view.groups, view.opened, nodes, node_of, view.group_of)


def only(view: View, steps: Iterable[int]) -> View:
    """Some steps of a view's graph, each a node of its own, and the edges between them."""
    nodes: list[Node] = []
    node_of = [-1] * len(view.node_of)
    for step in sorted(steps):
        node_of[step] = len(nodes)
        nodes.append(Node(label=view.graph.names[step], members=(step,)))
    return _view(view.graph, view.groups, view.opened, nodes, node_of, view.group_of)


def _view(
    graph: Graph,
    groups: tuple[Group, ...],
    opened: frozenset[int],
    nodes: list[Node],
    node_of: Sequence[int],
    group_of: Sequence[int],
) -> View:
    parents: list[tuple[int, ...]] = []
    for node in nodes:
        if len(node.members) == 1:
            found = {node_of[parent] for parent in graph.parents[node.members[0]]}
        else:
            found = {node_of[parent] for step in node.members for parent in graph.parents[step]}
        found.discard(-1)
        parents.append(tuple(sorted(found)))
    return View(
        graph=graph,
        groups=groups,
        opened=opened,
        nodes=tuple(nodes),
        parents=tuple(parents),
        children=turned(parents),
        node_of=tuple(node_of),
        group_of=tuple(group_of),
    )
