"""Rows and lanes: pure, sound, as few as the order allows."""

from __future__ import annotations

import pytest
from hypothesis import given

from caroni.tui.rail.graph import topological, turned
from caroni.tui.rail.layout import laid_out, ordered
from tests.tui.rail.graphs import Parents, graphs


@given(parents=graphs)
def test_each_node_has_one_row_after_its_parents(parents):
    order = ordered(parents, turned(parents))
    assert sorted(order) == list(range(len(parents)))
    rows = {node: row for row, node in enumerate(order)}
    assert all(rows[parent] < rows[child] for child, found in enumerate(parents) for parent in found)


@given(parents=graphs)
def test_the_same_edges_give_the_same_layout(parents):
    children = turned(parents)
    assert laid_out(parents, children) == laid_out(list(map(list, parents)), list(map(list, children)))


@given(parents=graphs)
def test_lanes_are_as_many_as_live_lines_need(parents):
    """At most the greatest number of lines at one row, and one for a node and the rest below one."""
    children = turned(parents)
    layout = laid_out(parents, children)
    rows = range(len(parents))
    live = [sum(layout.row_of[n] < row <= layout.ends[n] for n in rows) for row in rows]
    assert layout.width <= max(live, default=0) + 2
    for row in rows:
        used = [lane for lane in range(layout.width) if layout.at(row, lane) or layout.lane[row] == lane]
        assert layout.reach[row] == max(used)


def test_a_branch_stays_together():
    parents: Parents = [(), (0,), (0,), (1,), (2,), (3,), (4,), (5, 6)]
    assert ordered(parents, turned(parents)) == [0, 1, 3, 5, 2, 4, 6, 7]


def test_a_cycle_is_told():
    parents: Parents = [(1,), (0,)]
    for function in (laid_out, topological):
        with pytest.raises(ValueError, match="cycle"):
            function(parents, turned(parents))
