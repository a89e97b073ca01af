"""Messages as rows of a list, and one in full as text."""

from __future__ import annotations

import time

import msgspec
from rich.style import Style

from caroni.services.messagewords import brief, short_name
from caroni.services.roundtrips import elapsed
from caroni.services.traced import Decoded, TraceEntry
from caroni.services.tracewords import lines, step_words
from caroni.tui.paint import BOLD, DIM
from caroni.tui.widgets.lines import Styled
from caroni.tui.widgets.sequence import signature, type_style
from caroni.tui.widgets.table import Column, Line

COLUMNS = (
    Column("TIME", 12),
    Column("FROM", 8),
    Column("TO", 8),
    Column("MESSAGE", 13),
    Column("STEP", 8, grow=1),
    Column("SAYS", 9, grow=3),
    Column("TOOK", 7, right=True),
    Column("SIG", 3),
)


def row_of(entry: TraceEntry, took: int | None) -> Line:
    """One message; ``took``: microseconds since what it answers."""
    sign = signature(entry)
    at = time.strftime("%H:%M:%S", time.localtime(entry.at / 1e6))
    return Line(
        entry.key,
        (
            (f"{at}.{entry.at // 1000 % 1000:03}", DIM),
            short_name(entry.sender),
            short_name(entry.receiver),
            (brief(entry.type) or entry.kind, type_style(entry)),
            step_words(entry),
            entry.summary if entry.kind == "message" else f"{entry.verdict} {entry.summary}",
            elapsed(took) if took is not None else "",
            (sign.glyph, sign.style),
        ),
        sort=(entry.at, None, None, None, None, None, took if took is not None else -1, sign.word),
    )


def styled(shown: Decoded) -> list[Styled]:
    """A message in full; its verdict stands out."""
    told: list[Styled] = []
    for line in lines(shown):
        if line.startswith("verdict "):
            told.append((line, _verdict_style(shown)))
        elif line.startswith("message "):
            told.append((line, BOLD))
        else:
            told.append(line)
    return told


def _verdict_style(shown: Decoded) -> Style:
    return signature(msgspec.structs.replace(shown.entry, verdict=shown.verdict.code)).style
