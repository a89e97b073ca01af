"""Durations and instants as words on an operator's screen; every word of others on one safe line."""

from __future__ import annotations

import time

from caroni.core.plan import DAY, HOUR, MINUTE, SECOND
from caroni.text import safe_line

_UNITS = ((DAY, "day"), (HOUR, "h"), (MINUTE, "min"), (SECOND, "s"))


def span(microseconds: int) -> str:
    """A duration in at most two units: ``2 h 10 min``, ``3 days``, ``4 s``."""
    rest = max(microseconds, 0)
    for place, (size, unit) in enumerate(_UNITS):
        if rest < size:
            continue
        count, rest = divmod(rest, size)
        text = _counted(count, unit)
        if place + 1 < len(_UNITS):
            smaller, name = _UNITS[place + 1]
            # a second unit says something only beside a small number of the first
            if (part := rest // smaller) and count < 10:
                text += f" {_counted(part, name)}"
        return text
    return "less than a second"


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}s" if unit == "day" and count != 1 else f"{count} {unit}"


def brief(microseconds: int) -> str:
    """A duration in a few characters: ``4s``, ``12m``, ``3h``, ``5d``; ``0s`` for less than a second."""
    rest = max(microseconds, 0)
    for size, letter in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if rest >= size:
            return f"{rest // size}{letter}"
    return f"{rest // SECOND}s"


def ago(instant: int, now: int) -> str:
    """How long an instant is past: ``4 min ago``, ``just now``, ``never`` for 0."""
    if not instant:
        return "never"
    return f"{span(now - instant)} ago" if now - instant >= SECOND else "just now"


def ahead(instant: int, now: int) -> str:
    """How far an instant is ahead: ``in 4 min``, ``now``."""
    return f"in {span(instant - now)}" if instant - now >= SECOND else "now"


def until(instant: int, now: int) -> str:
    """An instant to wait for, as a clock in UTC shows it and how far off it is."""
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(instant / SECOND))
    return f"until {shown} ({ahead(instant, now)})"


def plural(count: int, one: str, many: str = "") -> str:
    """``1 step``, ``3 steps``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def said(text: str, limit: int = 200) -> str:
    """What somebody else wrote, on one line that cannot act on a terminal."""
    return safe_line(" ".join(text.split()), limit)


def last_line(text: str, limit: int = 300) -> str:
    """The last line of a log tail that says anything."""
    return next((said(line, limit) for line in reversed(text.splitlines()) if line.strip()), "")


def size(count: int) -> str:
    """Bytes for people: ``3.2 GiB``."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
