"""The hours in which an agent is away, from their text to instants.

A window is wall time in a zone. It lasts from the first moment at which a clock there shows its start to
the last at which that clock shows less than its end: an hour that comes twice belongs to it as a whole,
and one that is left out shortens it. Windows that touch or overlap are one absence.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from caroni.core.plan import DAY
from caroni.text import safe_line

if TYPE_CHECKING:
    from caroni.config.schema import Absence

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: a schedule repeats every week; an absence of less than that began this long ago at the earliest, and the
#: next one ends within that time, a week left out by a change of clocks included
_BACK, _AHEAD = timedelta(days=9), timedelta(days=23)
_DAY = 24 * 60
_WINDOW = re.compile(r"(\d\d):(\d\d)\s*-\s*(\d\d):(\d\d)")
_SECOND = timedelta(seconds=1)
#: noon of 1 July 2026: no clock is changed anywhere near
_SOME_DAY = 1_782_907_200_000_000


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """One window: minutes after midnight at which it begins, how long it lasts, on which days it begins."""

    start: int
    length: int
    days: frozenset[int]
    zone: tzinfo


def parse_hours(text: str) -> tuple[int, int]:
    """Start and length in minutes of ``18:00-06:00``; an end that is not later is on the next day.

    Raises:
        ValueError: it is none; says what is wrong.
    """
    found = _WINDOW.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{safe_line(text, 40)!r} is no window; write for example 18:00-06:00")
    for hour, minute in ((found[1], found[2]), (found[3], found[4])):
        if int(minute) > 59 or int(hour) * 60 + int(minute) > _DAY:
            raise ValueError(f"{hour}:{minute} is no time of day (00:00 to 24:00)")
    start, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    if start == _DAY:
        raise ValueError("a window cannot begin at 24:00; write 00:00 of the next day")
    if start == end:
        raise ValueError(f"{safe_line(text, 40)!r} is empty; the whole day is 00:00-24:00")
    return start, end - start if end > start else end + _DAY - start


def parse_days(names: Iterable[str]) -> frozenset[int]:
    """Numbers (Monday is 0) of ``mon``, ``sat-sun``; no name at all means every day.

    Raises:
        ValueError: an unknown day.
    """
    found: set[int] = set()
    for name in names:
        first, dash, last = name.strip().lower().partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(f"{safe_line(name, 40)!r} is no day; days are {', '.join(DAYS)} and mon-fri")
        begin = DAYS.index(first)
        count = (DAYS.index(last) - begin) % 7 if dash else 0
        found.update((begin + n) % 7 for n in range(count + 1))
    return frozenset(found or range(7))


def parse_zone(name: str) -> tzinfo:
    """The zone of this IANA name; an empty one means the host's.

    Raises:
        ValueError: it is not known here.
    """
    if not name:
        return host_zone()
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"{safe_line(name, 60)!r} is no time zone that this host knows; write for example Europe/Zurich"
        ) from None


def host_zone() -> tzinfo:
    """The host's time zone with its changes of clocks: ``TZ``, ``/etc/localtime``, or UTC."""
    name = os.environ.get("TZ", "").removeprefix(":")
    try:
        if name:
            return ZoneInfo(name)
        with open("/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file)
    except (KeyError, ValueError, OSError):
        return UTC


def parse_windows(schedule: Sequence[Absence]) -> list[Window]:
    """The windows of a configuration.

    Raises:
        ValueError: one is wrong, or they leave no time to work; says which and why.
    """
    windows: list[Window] = []
    for number, one in enumerate(schedule, 1):
        key = "offline"
        try:
            start, length = parse_hours(one.offline)
            key = "days"
            days = parse_days(one.days)
            key = "time_zone"
            zone = parse_zone(one.time_zone)
        except ValueError as error:
            raise ValueError(f"[[agent.schedule]] number {number}, {key}: {error}") from None
        windows.append(Window(start=start, length=length, days=days, zone=zone))
    start, end = absence(windows, _SOME_DAY)
    if end - start >= 14 * DAY:
        raise ValueError("[[agent.schedule]] leaves no time to work: the agent would always be offline")
    return windows


def window_of(schedule: Sequence[Absence]) -> Callable[[int], tuple[int, int]]:
    """What a schedule means, as a function of now.

    It gives start and end (wall microseconds) of the absence that lasts now or comes next; (0, 0) if the
    schedule is empty.

    Raises:
        ValueError: as :func:`parse_windows`.
    """
    windows = parse_windows(schedule)
    known = (0, 0, 0)  # from this instant on, until its end, this is the absence

    def window(now: int) -> tuple[int, int]:
        nonlocal known
        since, start, end = known
        if not since <= now < end:
            start, end = absence(windows, now)
            known = (now, start, end)
        return start, end

    return window if windows else lambda now: (0, 0)


def absence(windows: Sequence[Window], now: int) -> tuple[int, int]:
    """The absence that lasts at ``now`` or comes next, (0, 0) if there is none within three weeks."""
    found: list[tuple[int, int]] = []
    for window in windows:
        today = datetime.fromtimestamp(now // 1_000_000, window.zone).date()
        first, last = today - _BACK, today + _AHEAD
        for day in (first + timedelta(days=n) for n in range((last - first).days)):
            if day.weekday() in window.days:
                start, end = _on(window, day)
                if start < end:
                    found.append((start, end))
    found.sort()
    begun = until = 0
    for start, end in found:
        if begun and start <= until:
            until = max(until, end)
        else:
            if until > now:
                break
            begun, until = start, end
    return (begun, until) if until > now else (0, 0)


def _on(window: Window, day: date) -> tuple[int, int]:
    start = datetime.combine(day, time()) + timedelta(minutes=window.start)
    end = start + timedelta(minutes=window.length)
    return _instant(start, window.zone, last=False), _instant(end, window.zone, last=True)


def _instant(wall: datetime, zone: tzinfo, *, last: bool) -> int:
    """When a clock in the zone shows this time first, or for the last time less than it."""
    earlier = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    later = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if earlier <= later:  # usual, or an hour that comes twice
        comes_back = (later - _SECOND).astimezone(zone).replace(tzinfo=None) < wall
        return _microseconds(later if last and comes_back else earlier)
    # a time that no clock shows: the moment at which it is passed over
    seconds = range(int((earlier - later) / _SECOND) + 1)

    def passed(second: int) -> bool:
        return (later + second * _SECOND).astimezone(zone).replace(tzinfo=None) >= wall

    return _microseconds(later + bisect_left(seconds, True, key=passed) * _SECOND)


def _microseconds(instant: datetime) -> int:
    return int(instant.timestamp()) * 1_000_000
