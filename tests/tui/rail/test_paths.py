"""What waits for what, and the longest chain."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from caroni.tui.rail.graph import topological, turned
from caroni.tui.rail.paths import critical, neighbourhood, reached, span, weights
from tests.tui.rail.graphs import Parents, graphs

#  0 -> 1 -> 2 -> 3 ; 0 -> 4 -> 3
KITE: Parents = [(), (0,), (1,), (2, 4), (0,)]


def test_ancestors_and_descendants():
    assert reached(KITE, 2) == {0, 1}
    assert reached(turned(KITE), 4) == {3}


def test_neighbourhood():
    assert neighbourhood(KITE, turned(KITE), 1, 1) == {0, 1, 2}
    assert neighbourhood(KITE, turned(KITE), 3, 1) == {2, 3, 4}
    assert neighbourhood(KITE, turned(KITE), 3, 2) == {0, 1, 2, 3, 4}


def test_the_critical_path_follows_measured_time():
    order = topological(KITE, turned(KITE))
    assert critical(order, KITE, [1, 1, 1, 1, 1]) == (0, 1, 2, 3)
    assert critical(order, KITE, [1, 1, 1, 1, 9]) == (0, 4, 3)
    assert critical([], [], []) == ()


def test_what_has_not_begun_counts_as_usual():
    assert span(0, 0, 50) == 0
    assert span(10, 0, 50) == 40
    assert span(10, 30, 50) == 20
    assert weights([0, 10, 30, 20]) == [20, 10, 30, 20]
    assert weights([0, 0]) == [1, 1]


@given(parents=graphs, data=st.data())
def test_no_chain_is_longer(parents, data):
    weight = [data.draw(st.integers(1, 9)) for _ in parents]
    chain = critical(topological(parents, turned(parents)), parents, weight)
    assert all(a in parents[b] for a, b in pairwise(chain))
    best = {}
    for node in topological(parents, turned(parents)):
        best[node] = weight[node] + max((best[p] for p in parents[node]), default=0)
    assert sum(weight[n] for n in chain) == max(best.values(), default=0)
