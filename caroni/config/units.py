"""Durations and sizes as people write them: ``40m``, ``1h30m``, ``64MiB``."""

from __future__ import annotations

from caroni.core import durations
from caroni.core.durations import MILLISECOND
from caroni.core.plan import DAY, HOUR, MINUTE, SECOND
from caroni.core.sizes import SIZE_UNITS
from caroni.errors import UsageError

_DURATION_UNITS = {"d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND, "ms": MILLISECOND}


def parse_duration(text: str) -> int:
    """Microseconds of ``text``: numbers with ``ms``, ``s``, ``m``, ``h``, ``d`` or ``w``, or a plain 0.

    Raises:
        ValueError: anything else; a number without a unit says nothing.
    """
    if text == "0":
        return 0
    try:
        if not text[-1:].isalpha():
            raise ValueError
        return durations.parse_duration(text)
    except (ValueError, UsageError):
        raise ValueError(f"{text!r} is not a duration; write for example 30s, 40m, 12h or 7d") from None


def format_duration(microseconds: int) -> str:
    """The shortest text that :func:`parse_duration` reads as ``microseconds`` (whole milliseconds)."""
    parts, rest = [], microseconds
    for unit, size in _DURATION_UNITS.items():
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def format_size(size: int) -> str:
    """The shortest text that :func:`parse_size` reads as ``size`` bytes."""
    for unit in ("TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB", "kB"):
        if size and size % SIZE_UNITS[unit] == 0:
            return f"{size // SIZE_UNITS[unit]}{unit}"
    return f"{size}B"
