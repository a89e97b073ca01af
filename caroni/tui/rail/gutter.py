"""The lanes of one row as text: two cells a lane, drawn only when the row is looked at.

How to read it: a line with an arm towards the node takes part, i.e. the node waits for that line's owner; a
plain vertical inside the node's horizontal passes under it; a vertical right above the node takes part too.
Heavy lines are what the cursor's node waits for, and what waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from caroni.tui.rail.layout import Edges, Layout


class Cells(msgspec.Struct, frozen=True, kw_only=True):
    """A set of characters. ``joints`` is by (weight above, weight below), then by arms; see ``_ARMS``.

    ``more`` stands at the left or right where lanes are cut, ``away`` where the row's node is cut with them.
    """

    vertical: tuple[str, str]
    horizontal: tuple[str, str]
    joints: dict[tuple[int, int], str]
    more: tuple[str, str]
    away: tuple[str, str]
    #: whether a joint's weight tells of the join alone (ASCII has no mixed weights)
    plain: bool = False


#: (left, right) weights of a joint -> its place in a string of ``Cells.joints``
_ARMS = {(0, 1): 0, (0, 2): 1, (1, 0): 2, (2, 0): 3, (1, 1): 4, (1, 2): 5, (2, 1): 6, (2, 2): 7}

UNICODE = Cells(
    vertical=("│", "┃"),
    horizontal=("─", "━"),
    joints={
        (1, 0): "└┕┘┙┴┶┵┷",
        (2, 0): "┖┗┚┛┸┺┹┻",
        (1, 1): "├┝┤┥┼┾┽┿",
        (2, 1): "┞┡┦┩╀╄╃╇",
        (2, 2): "┠┣┨┫╂╊╉╋",
    },
    more=("‹", "›"),
    away=("«", "»"),
)
#: None of these is a state's glyph. ``+`` goes on below, ``'`` ends; ``%`` and ``"`` are their heavy twins.
ASCII = Cells(
    vertical=("|", "#"),
    horizontal=("-", "="),
    joints={(1, 0): "'" * 8, (2, 0): '"' * 8, (1, 1): "+" * 8, (2, 2): "%" * 8},
    more=(":", ":"),
    away=(";", ";"),
    plain=True,
)


class Heavy(msgspec.Struct, frozen=True, kw_only=True):
    """Which edges are heavy: those among a node and what it waits for, and among it and what waits for it.

    ``ends`` is, per owner of a heavy line, the row at which its heavy part ends.
    """

    above: frozenset[int]
    below: frozenset[int]
    ends: dict[int, int]

    def edge(self, parent: int, child: int) -> bool:
        """Whether the edge is heavy."""
        above, below = self.above, self.below
        return (parent in above and child in above) or (parent in below and child in below)


def heavy_of(
    layout: Layout, children: Edges, node: int, ancestors: frozenset[int], descendants: frozenset[int]
) -> Heavy:
    """The heavy edges for a node with these ancestors and descendants (both without itself)."""
    above = ancestors | {node}
    row_of = layout.row_of
    ends = {other: max(row_of[child] for child in children[other] if child in above) for other in ancestors}
    ends.update((other, layout.ends[other]) for other in descendants if children[other])
    if children[node]:
        ends[node] = layout.ends[node]
    return Heavy(above=above, below=descendants | {node}, ends=ends)


def cells_wide(layout: Layout) -> int:
    """How many cells the whole gutter takes."""
    return max(2 * layout.width - 1, 0)


def gutter(
    layout: Layout,
    row: int,
    glyph: str,
    *,
    width: int,
    first: int = 0,
    cells: Cells = UNICODE,
    heavy: Heavy | None = None,
) -> tuple[str, int]:
    """The text of one row's lanes, ``width`` cells, and the cell of the node (-1: outside of the window).

    Args:
        layout: rows and lanes.
        row: which row.
        glyph: one cell that stands for the node.
        width: cells there are; what does not fit is cut, and a mark says so.
        first: the leftmost lane that is shown.
        cells: what to draw with.
        heavy: what is drawn heavy.
    """
    own = layout.lane[row]
    joins = layout.joins[row]
    low = min(own, joins[0]) if joins else own
    high = max(own, joins[-1]) if joins else own
    heavy_joins = _heavy_joins(layout, row, heavy)
    heavy_low = min(own, heavy_joins[0]) if heavy_joins else own
    heavy_high = max(own, heavy_joins[-1]) if heavy_joins else own
    shown = (width + 1) // 2
    after = min(first + shown, layout.width)
    joined = set(joins) if len(joins) < 2 * shown else {lane for lane in joins if first <= lane < after}
    parts: list[str] = []
    for lane in range(first, after):
        inside = low <= lane <= high
        line = None if lane == own else layout.at(row, lane)
        if lane == own:
            parts.append(glyph)
        elif line is None:
            parts.append(
                cells.horizontal[heavy_low <= lane <= heavy_high and bool(heavy_joins)] if inside else " "
            )
        else:
            until = heavy.ends.get(line.owner, -1) if heavy is not None else -1
            up = 2 if row <= until else 1
            down = 0 if not line.down else 2 if row < until else 1
            if lane in joined:
                left = 0 if lane == low else 2 if heavy_low < lane <= heavy_high else 1
                right = 0 if lane == high else 2 if heavy_low <= lane < heavy_high else 1
                if cells.plain:
                    up = 2 if lane in heavy_joins else 1
                    down = down and up
                parts.append(cells.joints[up, down][_ARMS[left, right]])
            else:
                parts.append(cells.vertical[up - 1])
        if low <= lane < high:
            parts.append(cells.horizontal[bool(heavy_joins) and heavy_low <= lane < heavy_high])
        else:
            parts.append(" ")
    text = "".join(parts)[:width].ljust(width)
    place = 2 * (own - first)
    left, right = 0, width - 1
    if width and (own >= after or layout.reach[row] >= after):
        text = text[:-1] + (cells.away if place >= right else cells.more)[1]
        right -= 1
    if width and first:
        text = (cells.away if place <= left else cells.more)[0] + text[1:]
        left += 1
    return text, place if left <= place <= right else -1


def _heavy_joins(layout: Layout, row: int, heavy: Heavy | None) -> Sequence[int]:
    """The joined lanes whose edge to the row's node is heavy, ascending."""
    if heavy is None:
        return ()
    node = layout.order[row]
    if node not in heavy.above and node not in heavy.below:
        return ()
    found: list[int] = []
    for lane in layout.joins[row]:
        line = layout.at(row, lane)
        if line is not None and heavy.edge(line.owner, node):
            found.append(lane)
    return found
