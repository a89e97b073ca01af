"""Reads a drawn gutter as a person does: nothing is known but the characters.

Arms of box characters come from their Unicode names. A line runs down a lane from its node; a row's node
waits for the line that comes down onto it, and for the lines that have an arm towards it.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

NODE = "@"


class Arms(NamedTuple):
    """Weights: 0 none, 1 light, 2 heavy."""

    up: int = 0
    right: int = 0
    down: int = 0
    left: int = 0


def arms(char: str) -> Arms:
    """The arms of a box-drawing character, from its name."""
    if char == " ":
        return Arms()
    words = unicodedata.name(char).removeprefix("BOX DRAWINGS ").split(" ")
    found: dict[str, int] = {}
    weight, pending, has_place = 0, [], False
    for word in [*words, "AND"]:
        if word in ("LIGHT", "HEAVY"):
            # "LIGHT VERTICAL": the weight leads; "UP LIGHT": it follows
            weight = 1 if word == "LIGHT" else 2
            for place in pending:
                found[place] = weight
            has_place = bool(pending)
            pending = []
        elif word == "AND":
            if has_place:
                weight, has_place = 0, False
        else:
            places = {"VERTICAL": ["UP", "DOWN"], "HORIZONTAL": ["LEFT", "RIGHT"]}.get(word, [word])
            if weight and not has_place:
                found.update(dict.fromkeys(places, weight))
            else:
                pending += places
                has_place = False
    assert not pending, char
    return Arms(**{place.lower(): found.get(place, 0) for place in ("UP", "RIGHT", "DOWN", "LEFT")})


class Edge(NamedTuple):
    """Rows of parent and child, and whether it is heavy where it arrives (``None``: nothing shows it)."""

    parent: int
    child: int
    heavy: bool | None = False


def decode_unicode(lines: list[str]) -> set[Edge]:
    """The edges that are drawn; whatever is no sound drawing fails an assertion."""
    edges: set[Edge] = set()
    coming: dict[int, tuple[int, int | None]] = {}  # cell -> (row of its node, weight of what goes down)
    for row, line in enumerate(lines):
        assert line.count(NODE) == 1
        own = line.index(NODE)
        below = lines[row + 1] if row + 1 < len(lines) else ""
        going: dict[int, tuple[int, int | None]] = {}
        for cell in range(0, len(line), 2):
            if cell == own:
                if cell in coming:
                    source, weight = coming[cell]
                    edges.add(Edge(source, row, None if weight is None else weight == 2))
                if cell < len(below) and below[cell] == NODE:
                    going[cell] = (row, None)
                elif cell < len(below) and arms(below[cell]).up:
                    going[cell] = (row, arms(below[cell]).up)
                continue
            found = arms(line[cell])
            assert bool(found.up) == (cell in coming), (row, cell)
            if not found.up:
                assert not found.down, (row, cell)
                continue
            source, weight = coming[cell]
            assert weight == found.up
            towards = found.right if cell < own else found.left
            if found.left or found.right:
                assert towards
                between = line[cell + 1 : own] if cell < own else line[own + 1 : cell]
                assert all(arms(char).left and arms(char).right for char in between[::2]), (row, cell)
                edges.add(Edge(source, row, found.up == 2 and towards == 2))
            if found.down:
                going[cell] = (source, found.down)
        joined = [edge for edge in edges if edge.child == row]
        assert joined or all(char in f"{NODE} │┃" for char in line), "a horizontal that nothing takes part in"
        coming = going
    assert not coming
    return edges


def decode_ascii(lines: list[str]) -> set[Edge]:
    """The edges of an ASCII drawing."""
    edges: set[Edge] = set()
    coming: dict[int, int] = {}
    for row, line in enumerate(lines):
        own = line.index(NODE)
        below = lines[row + 1] if row + 1 < len(lines) else ""
        going: dict[int, int] = {}
        for cell in range(0, len(line), 2):
            char = line[cell]
            if char == NODE:
                if cell in coming:
                    edges.add(Edge(coming[cell], row, None))
                if below[cell : cell + 1] and below[cell] in f"{NODE}|#+%'\"":
                    going[cell] = row
                continue
            if char in "+%'\"":
                between = line[cell + 1 : own] if cell < own else line[own + 1 : cell]
                assert all(other in "-=" for other in between[::2]), (row, cell)
                edges.add(Edge(coming[cell], row, char in '%"'))
            if char in "|#+%":
                going[cell] = coming[cell]
            elif char in " -=":
                assert cell not in coming, (row, cell)
        coming = going
    assert not coming
    return edges
