"""What is flat and what is not, and that the report shows it."""

from __future__ import annotations

import math
import random
from xml.etree import ElementTree

import pytest

from tests.chaos.curves import CURVES, Curves, fits
from tests.chaos.journal import Journal
from tests.chaos.report import html, plot

HOUR = 3600.0


def curves_of(value: object) -> Curves:
    curves = Curves()
    for number in range(360):
        curves.add("memory", "m1", number * 10.0, value(number))  # type: ignore[operator]
    return curves


@pytest.mark.parametrize(
    ("value", "flat"),
    [
        (lambda n: 100.0, True),
        (lambda n: 100.0 * (1 - math.exp(-n / 20)), True),  # grows while it gets warm
        (lambda n: 100.0 + 900.0 * (n % 40 == 0), True),  # the spikes of faults
        (lambda n: 80.0 + (n % 60) / 2, True),  # daemons that are killed and grow again
        (lambda n: 100.0 + random.Random(n).uniform(-20, 20), True),
        (lambda n: 100.0 + n / 6, False),  # sixty MiB an hour
        (lambda n: 100.0 + 15.0 * (n // 40), False),  # by steps
        (lambda n: 100.0 + n / 6 + 900.0 * (n % 40 == 0), False),
    ],
)
def test_flat(value: object, flat: bool) -> None:
    (fit,) = fits(curves_of(value), HOUR)
    assert fit.flat is flat


def test_messages_that_pile_up_are_seen() -> None:
    curves = Curves()
    for number in range(360):
        curves.add("outbox", "a1", number * 10.0, number // 12)
    (fit,) = fits(curves, HOUR)
    assert not fit.flat
    assert fit.rise == pytest.approx(20, abs=2)


def test_the_report_holds_the_four_plots() -> None:
    journal = Journal()
    journal.fault("broker kills", "<at once>")
    curves = curves_of(lambda n: 100.0 + n)
    page = html("Soak", ["one & two"], curves, fits(curves, HOUR), HOUR, journal, "flat means flat")
    assert page.count("<svg") == len(CURVES)
    assert "one &amp; two" in page
    assert "&lt;at once&gt;" in page
    assert "RISES" in page
    for name in CURVES:
        ElementTree.fromstring(plot(name, curves.series[name], HOUR, journal.times))  # noqa: S314 (our own)
