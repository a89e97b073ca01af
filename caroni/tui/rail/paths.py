"""What waits for what, and which chain of steps decides how long all takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from caroni.tui.rail.layout import Edges


def reached(edges: Edges, start: int) -> frozenset[int]:
    """Every node that is reached from one along the edges, without itself.

    With parents as edges these are its ancestors, with children its descendants.
    """
    found: set[int] = set()
    todo = [start]
    while todo:
        for other in edges[todo.pop()]:
            if other not in found:
                found.add(other)
                todo.append(other)
    return frozenset(found)


def neighbourhood(parents: Edges, children: Edges, start: int, hops: int = 2) -> frozenset[int]:
    """A node, what it waits for and what waits for it, up to ``hops`` edges away each way."""
    found = {start}
    for edges in (parents, children):
        ring = {start}
        for _ in range(hops):
            ring = {other for node in ring for other in edges[node]}
            found |= ring
    return frozenset(found)


def span(started_at: int, ended_at: int, now: int) -> int:
    """Microseconds that a step took or has taken until ``now``; 0 if it has not begun."""
    if not started_at:
        return 0
    return max((ended_at or now) - started_at, 1)


def weights(spans: Sequence[int]) -> list[int]:
    """What each step counts for: its span; where it has none the median of the others', or 1."""
    known = sorted(s for s in spans if s)
    usual = known[len(known) // 2] if known else 1
    return [s or usual for s in spans]


def critical(order: Iterable[int], parents: Edges, weight: Sequence[int]) -> tuple[int, ...]:
    """The chain of nodes with the greatest sum of weights, first to last.

    Args:
        order: the nodes, each after its parents.
        parents: the edges.
        weight: per node, at least 1.
    """
    until = [0] * len(parents)
    before = [-1] * len(parents)
    best = -1
    for node in order:
        longest, via = 0, -1
        for parent in parents[node]:
            if until[parent] > longest:
                longest, via = until[parent], parent
        until[node] = longest + weight[node]
        before[node] = via
        if best < 0 or until[node] > until[best]:
            best = node
    chain: list[int] = []
    while best >= 0:
        chain.append(best)
        best = before[best]
    return tuple(reversed(chain))
