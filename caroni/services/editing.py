"""Two texts compared, the way people read it: a unified diff."""

from __future__ import annotations

import difflib

import msgspec

#: lines on both sides together beyond which a comparison line by line would take too long
_MANY = 20_000
#: unchanged lines shown around a change
_CONTEXT = 3


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """A unified diff: its lines, and how many lines are new and gone. No lines: the texts are equal."""

    lines: list[str]
    added: int
    removed: int


def diff(before: str, after: str, before_name: str, after_name: str) -> Diff:
    """Compare two texts.

    Only a missing line break at the end is not told apart from one that is there. Beyond 20,000 changed lines
    the parts that differ are shown as one block.
    """
    if before == after:
        return Diff(lines=[], added=0, removed=0)
    old, new = before.splitlines(), after.splitlines()
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    if len(old) + len(new) - 2 * (start + end) > _MANY:
        lines = _block(old, new, start, end, before_name, after_name)
    else:
        # equal ends are cut but for the context: comparing grows with the square of the lengths
        cut = max(0, start - _CONTEXT)
        spare = max(0, end - _CONTEXT)
        lines = list(
            difflib.unified_diff(
                old[cut : len(old) - spare],
                new[cut : len(new) - spare],
                before_name,
                after_name,
                lineterm="",
                n=_CONTEXT,
            )
        )
        lines = [_shifted(line, cut) if line.startswith("@@") else line for line in lines]
    body = [line for line in lines[2:] if line]
    return Diff(
        lines=lines,
        added=sum(line[0] == "+" for line in body),
        removed=sum(line[0] == "-" for line in body),
    )


def diff_documents(before: dict[str, str], after: dict[str, str], before_name: str, after_name: str) -> Diff:
    """Compare the documents of two bundles, one after the other, by name; one that is all is called ""."""
    found = [
        diff(
            before.get(name, ""),
            after.get(name, ""),
            f"{before_name}/{name}" if name else before_name,
            f"{after_name}/{name}" if name else after_name,
        )
        for name in dict.fromkeys([*before, *after])
    ]
    return Diff(
        lines=[line for one in found for line in one.lines],
        added=sum(one.added for one in found),
        removed=sum(one.removed for one in found),
    )


def _common(one: list[str], other: list[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _shifted(line: str, by: int) -> str:
    """A hunk's header for the whole texts, where its own were cut at the front."""
    _, before, after, _ = line.split(" ", 3)

    def moved(part: str) -> str:
        sign, (first, comma, count) = part[0], part[1:].partition(",")
        return f"{sign}{int(first) + by}{comma}{count}"

    return f"@@ {moved(before)} {moved(after)} @@"


def _block(
    old: list[str], new: list[str], start: int, end: int, before_name: str, after_name: str
) -> list[str]:
    gone, come = old[start : len(old) - end], new[start : len(new) - end]
    return [
        f"--- {before_name}",
        f"+++ {after_name}",
        f"@@ -{start + 1},{len(gone)} +{start + 1},{len(come)} @@",
        *(f"-{line}" for line in gone),
        *(f"+{line}" for line in come),
    ]
