"""Rows and lanes of a graph: which node comes when, and in which lane its line runs down.

A node with children opens a lane at its row; the lane lives until the row of its last child. A node's row
joins the lanes of its parents. It takes over the leftmost of those that end with it, else the leftmost free
lane. A node without children has no line below it, so nobody may stand right below it: its lane stays
empty for one row. So a line reaches a node from above exactly if the node waits for its owner.

Everything is a pure function of the edges: O((nodes + edges) log nodes), whatever the number of lanes is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import msgspec

Edges = Sequence[Sequence[int]]


class Lane(NamedTuple):
    """What a lane has at one row: whose line, and whether it comes from above and goes on below."""

    owner: int
    up: bool
    down: bool


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is. Lists are by row, except ``row_of`` and ``ends`` (by node) and the lanes' own.

    Args:
        order: the node of each row.
        row_of: the row of each node.
        lane: the node's lane.
        joins: the other lanes that the node's row joins, ascending.
        ends: per node the row at which its line ends (its own row if it has no children).
        reach: the rightmost lane that is in use at a row, joins included.
        width: how many lanes there are.
        starts: per lane the rows at which a line starts in it, ascending.
        owners: per lane the nodes of those lines.
    """

    order: list[int]
    row_of: list[int]
    lane: list[int]
    joins: list[tuple[int, ...]]
    ends: list[int]
    reach: list[int]
    width: int
    starts: list[list[int]]
    owners: list[list[int]]

    def at(self, row: int, lane: int) -> Lane | None:
        """The line in a lane at a row; ``None`` if there is none."""
        starts = self.starts[lane]
        found = bisect_right(starts, row) - 1
        if found < 0:
            return None
        owner = self.owners[lane][found]
        end = self.ends[owner]
        return Lane(owner, starts[found] < row, row < end) if row <= end else None


def ordered(parents: Edges, children: Edges) -> list[int]:
    """The nodes in the order of their rows.

    Of those whose parents have come, the next one is that which leaves the fewest lanes; of several such, the
    one that became ready last, which keeps a branch together; of several such, the first.

    Raises:
        ValueError: the graph has a cycle.
    """
    count = len(parents)
    waits = [len(p) for p in parents]
    left = [len(c) for c in children]
    # The exclusive or of the children still to come: when one is left, this is its number.
    coming = [0] * count
    # lanes freed by a node, less the one that it opens
    frees = [-1 if c else 0 for c in children]
    for node, below in enumerate(children):
        for child in below:
            coming[node] ^= child
        if left[node] == 1:
            frees[below[0]] += 1
    size = count + 1
    ready = [-1] * count  # the time at which a node became ready, counted in rows
    placed = [False] * count
    heap: list[int] = []
    # One number is one key: lanes freed (more first), time (later first), node (lower first).
    for node in range(count):
        if not waits[node]:
            ready[node] = 0
            heap.append(((size - frees[node]) * size + size) * size + node)
    heap.sort()
    order: list[int] = []
    while heap:
        node = heappop(heap) % size
        if placed[node]:
            continue  # it was moved up by a later entry
        placed[node] = True
        order.append(node)
        now = len(order)
        for parent in parents[node]:
            left[parent] -= 1
            coming[parent] ^= node
            if left[parent] == 1:
                last = coming[parent]
                frees[last] += 1
                if ready[last] >= 0:
                    heappush(heap, ((size - frees[last]) * size + size - ready[last]) * size + last)
        for child in children[node]:
            waits[child] -= 1
            if not waits[child]:
                ready[child] = now
                heappush(heap, ((size - frees[child]) * size + size - now) * size + child)
    if len(order) < count:
        raise ValueError("the graph has a cycle")
    return order


def laid_out(parents: Edges, children: Edges) -> Layout:
    """Rows and lanes of a graph.

    Raises:
        ValueError: the graph has a cycle.
    """
    order = ordered(parents, children)
    count = len(order)
    row_of = [0] * count
    for row, node in enumerate(order):
        row_of[node] = row
    ends = [max([row_of[child] for child in below]) if below else row_of[node]
            for node, below in enumerate(children)]  # fmt: skip
    lane_of = [0] * count  # by node
    lanes: list[int] = []
    joins: list[tuple[int, ...]] = []
    reach: list[int] = []
    starts: list[list[int]] = []
    owners: list[list[int]] = []
    free: list[int] = []
    resting = -1
    alive: list[int] = []  # lanes in use as negative numbers, with those that ended since (a lazy heap)
    used: list[bool] = []
    for row, node in enumerate(order):
        joined = [lane_of[parent] for parent in parents[node]]
        ended = [lane_of[parent] for parent in parents[node] if ends[parent] == row]
        while alive and not used[-alive[0]]:
            heappop(alive)
        top = -alive[0] if alive else -1
        if ended:
            own = min(ended)
            joined.remove(own)
        elif free:
            own = heappop(free)
        else:
            own = len(starts)
            starts.append([])
            owners.append([])
            used.append(False)
        if resting >= 0:
            heappush(free, resting)
            resting = -1
        for lane in ended:
            if lane != own:
                used[lane] = False
                heappush(free, lane)
        if children[node]:
            starts[own].append(row)
            owners[own].append(node)
            if not used[own]:
                used[own] = True
                heappush(alive, -own)
        else:
            used[own] = False
            resting = own
        joined.sort()
        lane_of[node] = own
        lanes.append(own)
        joins.append(tuple(joined))
        reach.append(max(top, own))
    return Layout(
        order=order,
        row_of=row_of,
        lane=lanes,
        joins=joins,
        ends=ends,
        reach=reach,
        width=len(starts),
        starts=starts,
        owners=owners,
    )
