"""Random graphs: layered, dense, isolated; edges lead from lower to higher numbers or are shuffled."""

from __future__ import annotations

from hypothesis import strategies as st

Parents = list[tuple[int, ...]]


@st.composite
def any_graph(draw: st.DrawFn, *, most: int = 24) -> Parents:
    """A DAG of any shape. Numbers are no hint of the order."""
    count = draw(st.integers(0, most))
    parents: list[set[int]] = [set() for _ in range(count)]
    if count > 1:
        dense = draw(st.integers(0, count * 3))
        for _ in range(dense):
            child = draw(st.integers(1, count - 1))
            parents[child].add(draw(st.integers(0, child - 1)))
    names = draw(st.permutations(range(count)))
    mixed: Parents = [()] * count
    for node, found in enumerate(parents):
        mixed[names[node]] = tuple(sorted(names[parent] for parent in found))
    return mixed


@st.composite
def layered_graph(draw: st.DrawFn) -> Parents:
    """Layers of different width, each waiting for the one before: what workflows look like."""
    parents: Parents = []
    before: range = range(0)
    for width in draw(st.lists(st.integers(1, 7), max_size=7)):
        start = len(parents)
        for _ in range(width):
            chosen = draw(st.sets(st.sampled_from(before), max_size=4)) if before else set()
            parents.append(tuple(sorted(chosen)))
        before = range(start, len(parents))
    return parents


graphs = st.one_of(any_graph(), any_graph(most=9), layered_graph())
