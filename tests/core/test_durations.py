from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caroni.core.durations import MAX_DURATION, parse_duration
from caroni.errors import UsageError


@pytest.mark.parametrize(
    ("written", "micros"),
    [
        ("40m", 2_400_000_000),
        ("12h", 43_200_000_000),
        ("1h30m", 5_400_000_000),
        ("1 h 30 m", 5_400_000_000),
        ("500ms", 500_000),
        ("0s", 0),
        ("0", 0),
        (0, 0),
        (90, 90_000_000),
        (0.5, 500_000),
        ("1.5s", 1_500_000),
        ("2w", 14 * 86_400_000_000),
        ("PT12H", 43_200_000_000),
        ("P1DT1H1M1.5S", 90_061_500_000),
        ("P2W", 14 * 86_400_000_000),
    ],
)
def test_durations(written: object, micros: int) -> None:
    assert parse_duration(written) == micros


@pytest.mark.parametrize(
    "written",
    ["", "soon", "P", "PT", "-3s", -3, "3y", "1h 3x", True, None, [3], 1e300, float("nan"), "9" * 100, "P1Y"],
)
def test_what_is_no_duration(written: object) -> None:
    with pytest.raises(UsageError, match="not a duration"):
        parse_duration(written)


@given(st.text() | st.integers() | st.floats())
def test_anything_is_a_duration_or_refused(written: object) -> None:
    with contextlib.suppress(UsageError):
        assert 0 <= parse_duration(written) <= MAX_DURATION
