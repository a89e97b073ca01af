"""The agent's schedule against a clock on the wall that is looked at every minute."""

# Times on a wall have no zone.
# ruff: noqa: DTZ001

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caroni.config.load import build
from caroni.config.schedule import DAYS, Window, absence, parse_days, parse_hours, parse_windows, window_of
from caroni.config.schema import Absence
from caroni.errors import ConfigError

MINUTE = 60_000_000
DAY = 24 * 60 * MINUTE
#: a time near a change of clocks (or an ordinary one) in a zone; Lord Howe changes by half an hour, Beirut
#: and Santiago at midnight, Apia has left out a whole day
MOMENTS = [
    ("UTC", datetime(2026, 11, 24, 12)),
    ("Europe/Zurich", datetime(2026, 3, 29, 1)),
    ("Europe/Zurich", datetime(2026, 10, 25, 1)),
    ("America/New_York", datetime(2026, 3, 8, 7)),
    ("America/New_York", datetime(2026, 11, 1, 6)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15)),
    ("Asia/Beirut", datetime(2026, 3, 28, 22)),
    ("Asia/Beirut", datetime(2026, 10, 24, 21)),
    ("America/Santiago", datetime(2026, 9, 6, 4)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10)),
]


def instant(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp()) * 1_000_000


class Wall:
    """What clocks showed, minute by minute, for some days around a moment."""

    def __init__(self, moment: datetime, before: int = 4, after: int = 5) -> None:
        first = moment.replace(tzinfo=UTC) - timedelta(days=before)
        self.first = instant(moment) - before * DAY
        self.minutes = [first + timedelta(minutes=n) for n in range((before + after) * 24 * 60)]

    def closed(self, windows: Sequence[Window]) -> list[bool]:
        closed = [False] * len(self.minutes)
        for window in windows:
            shown = [m.astimezone(window.zone).replace(tzinfo=None) for m in self.minutes]
            day = shown[0].date() - timedelta(days=2)
            while day <= shown[-1].date() + timedelta(days=1):
                start = datetime(day.year, day.month, day.day) + timedelta(minutes=window.start)
                end = start + timedelta(minutes=window.length)
                if day.weekday() in window.days:
                    begin = next((n for n, s in enumerate(shown) if s >= start), len(shown))
                    last = next((n for n in reversed(range(len(shown))) if shown[n] < end), -1)
                    for n in range(begin, last + 1):
                        closed[n] = True
                day += timedelta(days=1)
        return closed


windows_ = st.lists(
    st.builds(
        lambda start, length, days, zone: Window(
            start=start, length=length, days=frozenset(days), zone=ZoneInfo(zone)
        ),
        st.one_of(st.integers(0, 1439), st.sampled_from([0, 60, 90, 120, 150, 180, 1410])),
        st.one_of(st.integers(1, 1440), st.sampled_from([30, 60, 1440])),
        st.sets(st.integers(0, 6), min_size=1),
        st.sampled_from([zone for zone, _ in MOMENTS]),
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.parametrize("zone_moment", MOMENTS, ids=[f"{z}-{m:%Y%m%d}" for z, m in MOMENTS])
@given(windows=windows_, own=st.booleans())
@settings(max_examples=8, deadline=None)
def test_every_minute(zone_moment: tuple[str, datetime], windows: list[Window], own: bool) -> None:
    zone, moment = zone_moment
    if own:
        windows = [Window(start=w.start, length=w.length, days=w.days, zone=ZoneInfo(zone)) for w in windows]
    wall = Wall(moment)
    closed = wall.closed(windows)
    now, end_of_wall = wall.first + 2 * DAY, wall.first + 8 * DAY
    said = [False] * len(closed)
    while now < end_of_wall:
        start, end = absence(windows, now)
        if end == 0:
            break
        assert start < end
        assert end > now
        for at in range(max(start, now), min(end, end_of_wall), MINUTE):
            said[(at - wall.first) // MINUTE] = True
        now = end
    span = slice(2 * 24 * 60, 8 * 24 * 60)
    assert said[span] == closed[span]


@given(
    st.lists(st.integers(-40 * DAY, 40 * DAY), min_size=1, max_size=30),
    st.sampled_from(["18:00-06:00", "02:15-02:45", "00:00-24:00"]),
)
@settings(max_examples=40, deadline=None)
def test_what_is_remembered_changes_nothing(jumps: list[int], hours: str) -> None:
    schedule = [Absence(offline=hours, days=("sat", "mon"), time_zone="Europe/Zurich")]
    remembering, windows = window_of(schedule), parse_windows(schedule)
    now = instant(datetime(2026, 3, 1))
    for jump in jumps:
        assert remembering(now + jump) == absence(windows, now + jump)
        assert remembering(now + jump + MINUTE) == absence(windows, now + jump + MINUTE)


def test_windows_that_touch_are_one_absence() -> None:
    window = window_of(
        [
            Absence(offline="18:00-24:00", time_zone="UTC"),
            Absence(offline="00:00-06:00", time_zone="UTC"),
            Absence(offline="05:00-07:30", days=("mon-fri",), time_zone="UTC"),
            Absence(offline="00:00-24:00", days=("sun",), time_zone="UTC"),
        ]
    )
    friday = instant(datetime(2026, 11, 27, 12))
    start, end = window(friday)
    assert (start, end) == (instant(datetime(2026, 11, 27, 18)), instant(datetime(2026, 11, 28, 6)))
    start, end = window(end)
    assert (start, end) == (instant(datetime(2026, 11, 28, 18)), instant(datetime(2026, 11, 30, 7, 30)))
    assert window(start + DAY) == (start, end)


def test_hours_that_come_twice_and_hours_that_are_left_out() -> None:
    zone = "Europe/Zurich"
    night = window_of([Absence(offline="02:00-03:00", time_zone=zone)])
    # in autumn it is from two to three for two hours
    start, end = night(instant(datetime(2026, 10, 24, 12)))
    assert (start, end) == (instant(datetime(2026, 10, 25, 0)), instant(datetime(2026, 10, 25, 2)))
    # in spring no clock shows that hour: the next absence is that of the day after
    start, end = night(instant(datetime(2026, 3, 28, 12)))
    assert start == instant(datetime(2026, 3, 30, 0))
    half = window_of([Absence(offline="02:30-04:00", time_zone=zone)])
    start, end = half(instant(datetime(2026, 3, 28, 12)))
    assert (start, end) == (instant(datetime(2026, 3, 29, 1)), instant(datetime(2026, 3, 29, 2)))


def test_nothing_is_planned() -> None:
    assert window_of([])(instant(datetime(2026, 1, 1))) == (0, 0)


def test_days() -> None:
    assert parse_days(()) == frozenset(range(7))
    assert parse_days(("mon-fri",)) == frozenset(range(5))
    assert parse_days(("Sat-mon", "wed")) == frozenset({5, 6, 0, 2})
    assert all(parse_days((a,)) == {n} for n, a in enumerate(DAYS))
    assert all(parse_days((f"{a}-{b}",)) for a, b in pairwise(DAYS))


def test_hours() -> None:
    assert parse_hours("18:00-06:00") == (18 * 60, 12 * 60)
    assert parse_hours("00:00 - 24:00") == (0, 24 * 60)
    assert parse_hours("09:15-09:16") == (9 * 60 + 15, 1)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"offline": "18-6"}, "number 1, offline: '18-6' is no window; write for example 18:00-06:00"),
        ({"offline": "24:30-06:00"}, "number 1, offline: 24:30 is no time of day"),
        ({"offline": "10:60-11:00"}, "number 1, offline: 10:60 is no time of day"),
        ({"offline": "24:00-06:00"}, "cannot begin at 24:00"),
        ({"offline": "10:00-10:00"}, "is empty; the whole day is 00:00-24:00"),
        ({"offline": "10:00-11:00", "days": ["monday"]}, "number 1, days: 'monday' is no day"),
        ({"offline": "10:00-11:00", "days": ["mon-xyz"]}, "number 1, days: 'mon-xyz' is no day"),
        ({"offline": "10:00-11:00", "time_zone": "Mars/Base"}, "number 1, time_zone: 'Mars/Base' is no time"),
        ({"offline": "10:00-11:00", "time_zone": "../../x"}, "is no time zone"),
        ({"offline": "00:00-24:00"}, "leaves no time to work"),
        ({"offline": "10:00-11:00", "day": ["mon"]}, "did you mean days?"),
        ({"days": ["mon"]}, "missing key"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, entry: dict[str, Any], problem: str) -> None:
    raw = {"role": "agent", "site": "a.example", "name": "g1", "agent": {"schedule": [entry]}}
    with pytest.raises(ConfigError) as caught:
        build(raw, path=tmp_path / "caroni.toml", environ={})
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/caroni.toml: ")
    assert "\n" not in str(caught.value)


def test_a_schedule_from_a_file(tmp_path: Path) -> None:
    raw = {
        "role": "agent",
        "site": "a.example",
        "name": "g1",
        "agent": {"schedule": [{"offline": "18:00-06:00", "days": ["mon-fri"], "time_zone": "UTC"}]},
    }
    loaded = build(raw, path=tmp_path / "caroni.toml", environ={})
    window = window_of(loaded.config.agent.schedule)
    assert window(instant(datetime(2026, 11, 27, 20))) == (
        instant(datetime(2026, 11, 27, 18)),
        instant(datetime(2026, 11, 28, 6)),
    )
