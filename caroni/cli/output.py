"""What commands print: tables, lines and JSON. Everything shown is made safe for a terminal first."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from caroni.text import safe_json, safe_line, safe_text


class OutputClosed(Exception):
    """The reader of our output has gone (``caroni list | head -1``)."""


def line(text: str = "") -> None:
    """Print text that may hold words of others."""
    _write(safe_text(text, 1_000_000) + "\n")


def as_json(value: Any) -> None:
    """Print one JSON document, with whatever acts on a terminal escaped."""
    _write(safe_json(json.dumps(value, indent=2, ensure_ascii=not _is_utf8(), default=_plain)) + "\n")


def json_line(value: Any) -> None:
    """Print one JSON document on one line, and let it be seen now."""
    _write(safe_json(json.dumps(value, ensure_ascii=not _is_utf8(), default=_plain)) + "\n")
    flush()


def note(text: str) -> None:
    """Say something on stderr that is no part of the answer."""
    try:
        sys.stderr.write(safe_text(text) + "\n")
    except BrokenPipeError:
        raise OutputClosed from None


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> None:
    """Print a table: drawn on a terminal, aligned plain text elsewhere.

    Args:
        columns: the headings.
        rows: cells; None is shown as an empty cell.
        empty: printed on stderr in place of a table without rows.
    """
    cells = [["" if cell is None else safe_line(str(cell), 2000) for cell in row] for row in rows]
    if not cells and empty:
        note(empty)
        return
    if sys.stdout.isatty():
        _draw(columns, cells)
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in ([c.upper() for c in columns], *cells):
        _write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


def _draw(columns: Sequence[str], cells: list[list[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, highlight=False)
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in cells:
        drawn.add_row(*map(Text, row))  # Text: nothing in a cell is markup
    try:
        Console(highlight=False, markup=False, emoji=False).print(drawn)
    except BrokenPipeError:
        raise OutputClosed from None


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "__struct_fields__"):
        return plain(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)


def plain(value: Any) -> dict[str, Any]:
    """A struct as a dictionary, to add to before it is printed as JSON."""
    return {name: getattr(value, name) for name in value.__struct_fields__}


def instant(microseconds: int) -> str:
    """A wall instant for people, in UTC; empty for 0."""
    if not microseconds:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(microseconds / 1_000_000))


def took(start: int, end: int) -> str:
    """The time between two wall instants for people; empty unless both are known."""
    if not start or not end:
        return ""
    seconds = max(end - start, 0) / 1_000_000
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def _is_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        raise OutputClosed from None
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def flush() -> None:
    """Let everything printed so far be seen now, also in a pipe."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise OutputClosed from None
