"""Durations as people write them: ``40m``, ``1h30m``, ``90`` (seconds), ``PT12H`` (ISO 8601)."""

from __future__ import annotations

import re

from caroni.core.plan import DAY, HOUR, MINUTE, SECOND
from caroni.core.valuewords import show
from caroni.errors import UsageError

MILLISECOND = 1_000
_UNITS = {"ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*(ms|s|m|h|d|w)\s*")
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?\Z")
_ISO = re.compile(
    r"P(?:(?P<w>[0-9]{1,9})W)?(?:(?P<d>[0-9]{1,9})D)?"
    r"(?:T(?:(?P<h>[0-9]{1,9})H)?(?:(?P<m>[0-9]{1,9})M)?(?:(?P<s>[0-9]{1,9}(?:\.[0-9]{1,6})?)S)?)?\Z"
)
#: Longest duration: a hundred years, far from any integer limit.
MAX_DURATION = 100 * 366 * DAY


def parse_duration(written: object) -> int:
    """Microseconds of a duration that is not negative.

    Args:
        written: seconds as a number, or text: a number of seconds, numbers with the units ``ms``, ``s``,
            ``m``, ``h``, ``d``, ``w`` (``1h30m``), or an ISO 8601 duration without years and months.

    Raises:
        UsageError: it is none of these.
    """
    micros = _micros(written)
    if micros is None or not 0 <= micros <= MAX_DURATION:
        raise UsageError(f"{show(written)} is not a duration: write 40m, 12h, 1h30m, seconds or PT12H")
    return micros


def _micros(written: object) -> int | None:
    if isinstance(written, bool):
        return None
    if isinstance(written, int):
        return written * SECOND
    if isinstance(written, float):
        return round(written * SECOND) if 0 <= written < 1e12 else None
    if not isinstance(written, str) or len(written) > 64:
        return None
    text = written.strip()
    if _NUMBER.match(text):
        return round(float(text) * SECOND)
    if iso := _ISO.match(text):
        given = {unit: value for unit, value in iso.groupdict().items() if value is not None}
        return sum(round(float(v) * _UNITS[u]) for u, v in given.items()) if given else None
    total, position = 0, 0
    while part := _PART.match(text, position):
        total += round(float(part[1]) * _UNITS[part[2]])
        position = part.end()
    return total if position == len(text) and position else None
