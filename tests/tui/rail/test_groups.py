"""Folds keep the graph acyclic and its edges; the smaller views do too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caroni.core.plan import Plan, PlanInput, PlanStep
from caroni.tui.rail.graph import Graph, graph_of, topological, turned
from caroni.tui.rail.groups import fold, groups_of, restrict, stem
from tests.tui.rail.graphs import Parents, graphs


def graph(parents: Parents, names: list[str] | None = None, job_types: list[str] | None = None) -> Graph:
    return Graph(
        names=tuple(names or [f"align_s{at}" for at in range(len(parents))]),
        job_types=tuple(job_types or ["align"] * len(parents)),
        parents=tuple(parents),
        children=turned(parents),
    )


@given(parents=graphs, data=st.data())
def test_a_folded_graph_has_the_same_edges_and_no_cycle(parents, data):
    job_types = [data.draw(st.sampled_from("ab")) for _ in parents] if len(parents) < 12 else None
    g = graph(parents, job_types=job_types)
    groups = groups_of(g)
    opened = data.draw(st.sets(st.sampled_from(range(len(groups))))) if groups else set()
    view = fold(g, groups, opened)
    topological(view.parents, view.children)
    members = sorted(step for node in view.nodes for step in node.members)
    assert members == list(range(len(parents)))
    wanted = {(view.node_of[p], view.node_of[c]) for c, found in enumerate(parents) for p in found}
    assert {(p, c) for c, found in enumerate(view.parents) for p in found} == wanted
    assert view.children == turned(view.parents)
    for place, group in enumerate(groups):
        assert len(group.members) >= 4
        nodes = {view.node_of[step] for step in group.members}
        assert len(nodes) == (len(group.members) if place in opened else 1)
    assert fold(g, groups, range(len(groups))).parents == g.parents


@given(parents=graphs, data=st.data())
def test_a_smaller_view_has_the_edges_among_its_nodes(parents, data):
    view = fold(graph(parents), (), ())
    keep = data.draw(st.sets(st.sampled_from(range(len(parents))))) if parents else set()
    small = restrict(view, keep)
    found = {(small.nodes[p].members[0], small.nodes[c].members[0])
             for c, ps in enumerate(small.parents) for p in ps}  # fmt: skip
    assert found == {(p, c) for c, ps in enumerate(parents) for p in ps if p in keep and c in keep}
    assert restrict(view, lambda node: node in keep) == small


def test_folds_are_what_is_alike():
    names = ["fetch", *(f"bwa_s{n}" for n in range(1, 6)), "sort_1", "sort_2", "sort_3", "report"]
    parents: Parents = [(), *[(0,)] * 5, (1,), (2,), (3,), (4, 5, 6, 7, 8)]
    g = graph(parents, names, ["fetch", *["bwa"] * 5, *["sort"] * 3, "report"])
    groups = groups_of(g)
    assert [(group.label, group.members, group.kind) for group in groups] == [
        ("bwa_s*", (1, 2, 3, 4, 5), "alike")
    ]
    assert [n.label for n in fold(g, groups).nodes] == names  # small: open
    view = fold(g, groups, ())
    assert [n.label for n in view.nodes] == ["fetch", "bwa_s* [5]", "sort_1", "sort_2", "sort_3", "report"]
    assert view.nodes[1].folded
    assert not view.nodes[0].folded


def test_many_steps_start_folded():
    g = graph([()] * 61)
    assert len(fold(g, groups_of(g)).nodes) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [("bwa_s12", "bwa_s"), ("align-3", "align"), ("shard.b", "shard"), ("sort_A", "sort"), ("sortA", "sort"),
     ("merge", "merge"), ("7", "7"), ("x1", "x"), ("bqsr", "bqsr"), ("multiQC", "multiQC")],
)  # fmt: skip
def test_stem(name, expected):
    assert stem(name) == expected


def test_the_graph_of_a_plan():
    def step(name: str, *sources: str | None) -> PlanStep:
        return PlanStep(
            name=name,
            job_type=name,
            inputs=tuple(PlanInput(name=f"i{at}", source=source) for at, source in enumerate(sources)),
        )

    plan = Plan(steps=(step("c", "a/x", "a/y", "b/x"), step("a", "number"), step("b", "a/x", None, "gone/x")))
    found = graph_of(plan.steps)
    assert found.parents == ((1, 2), (), (1,))
    assert found.children == ((), (0, 2), (0,))
    assert found.depth == (2, 0, 1)
