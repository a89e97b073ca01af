"""What is drawn is the graph: no more edges, no fewer, in both sets of characters, light and heavy."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caroni.tui.rail.graph import turned
from caroni.tui.rail.gutter import ASCII, UNICODE, Cells, Heavy, cells_wide, gutter, heavy_of
from caroni.tui.rail.layout import Layout, laid_out
from caroni.tui.rail.paths import reached
from tests.tui.rail.decode import NODE, arms, decode_ascii, decode_unicode
from tests.tui.rail.graphs import Parents, graphs

SETS = pytest.mark.parametrize(
    ("cells", "decode"), [(UNICODE, decode_unicode), (ASCII, decode_ascii)], ids=["unicode", "ascii"]
)


def drawn(layout: Layout, cells: Cells, heavy: Heavy | None = None) -> list[str]:
    width = cells_wide(layout)
    return [
        gutter(layout, row, NODE, width=width, cells=cells, heavy=heavy)[0]
        for row in range(len(layout.order))
    ]


def edges_by_row(layout: Layout, parents: Parents) -> set[tuple[int, int]]:
    rows = layout.row_of
    return {(rows[parent], rows[child]) for child, found in enumerate(parents) for parent in found}


@SETS
@given(parents=graphs)
def test_the_drawing_decodes_to_the_edges(cells, decode, parents):
    layout = laid_out(parents, turned(parents))
    assert {(e.parent, e.child) for e in decode(drawn(layout, cells))} == edges_by_row(layout, parents)


@SETS
@given(parents=graphs, data=st.data())
def test_heavy_lines_are_what_the_node_waits_for_and_what_waits_for_it(cells, decode, parents, data):
    if not parents:
        return
    children = turned(parents)
    layout = laid_out(parents, children)
    node = data.draw(st.integers(0, len(parents) - 1))
    above, below = reached(parents, node), reached(children, node)
    heavy = heavy_of(layout, children, node, above, below)
    found = decode(drawn(layout, cells, heavy))
    assert {(e.parent, e.child) for e in found} == edges_by_row(layout, parents)
    for edge in found:
        parent, child = layout.order[edge.parent], layout.order[edge.child]
        wanted = {parent, child} <= above | {node} or {parent, child} <= below | {node}
        if edge.heavy is not None:
            assert edge.heavy == wanted
    if not above and not below:
        assert drawn(layout, cells, heavy) == drawn(layout, cells)


@given(parents=graphs, width=st.integers(0, 30), first=st.integers(0, 12), ascii_only=st.booleans())
def test_a_window_shows_the_same_cells_and_marks_where_it_cuts(parents, width, first, ascii_only):
    cells = ASCII if ascii_only else UNICODE
    layout = laid_out(parents, turned(parents))
    whole = [line.ljust(100) for line in drawn(layout, cells)]
    for row, line in enumerate(whole):
        text, place = gutter(layout, row, NODE, width=width, first=first, cells=cells)
        assert len(text) == width
        assert (place >= 0) == (NODE in text)
        if place >= 0:
            assert text[place] == NODE
        cut = line[2 * first : 2 * first + width]
        marked_left = int(bool(first and width))
        hidden = line[2 * (first + (width + 1) // 2) :].strip()
        marked_right = int(bool(width) and text[-1] in (cells.more[1], cells.away[1]))
        assert text[marked_left : width - marked_right] == cut[marked_left : width - marked_right]
        if width > 1 and hidden and first < layout.width:
            assert marked_right
        if width > 1 and place < 0:
            assert text[0] == cells.away[0] or text[-1] == cells.away[1]


def test_each_joint_has_the_arms_that_its_place_says():
    from caroni.tui.rail.gutter import _ARMS

    for (up, down), joints in UNICODE.joints.items():
        for (left, right), place in _ARMS.items():
            found = arms(joints[place])
            assert found == (up, right, down, left), unicodedata.name(joints[place])


def test_no_ascii_line_looks_like_a_state():
    from caroni.tui.glyphs import look, use_ascii

    use_ascii(True)
    try:
        names = ("waiting", "asked", "taken", "running", "done", "failed", "held", "ended", "unknown")
        states = {look(name).glyph for name in names}
    finally:
        use_ascii(False)
    lines = {*ASCII.vertical, *ASCII.horizontal, *ASCII.more, *ASCII.away, *"".join(ASCII.joints.values())}
    assert not states & lines


def test_a_diamond_reads_as_one():
    parents: Parents = [(), (0,), (0,), (1, 2), (3,)]
    layout = laid_out(parents, turned(parents))
    assert [line.rstrip() for line in drawn(layout, UNICODE)] == ["@", "├─@", "@ │", "@─┘", "@"]
    assert [line.rstrip() for line in drawn(layout, ASCII)] == ["@", "+-@", "@ |", "@-'", "@"]
