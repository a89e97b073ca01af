"""Parked bodies stay bounded and come back in time."""

from __future__ import annotations

from caroni.wire import parking
from caroni.wire.envelope import Parked
from caroni.wire.parking import ParkingLot


def test_the_257th_is_dropped() -> None:
    lot = ParkingLot()
    urn = Parked("certificate", 100, "urn:x")
    assert all(lot.park(urn, b"body") for _ in range(256))
    assert not lot.park(urn, b"body")
    assert lot.park(Parked("certificate", 100, "urn:y"), b"body")
    assert (len(lot), lot.dropped) == (257, 1)
    assert len(lot.shown("urn:x")) == 256
    assert lot.shown("urn:x") == []
    assert lot.due(100) == []
    assert (len(lot), lot.dropped) == (0, 2)


def test_time_comes() -> None:
    lot = ParkingLot()
    for until in (30, 10, 20):
        assert lot.park(Parked("future", until, "caroni://a/agent/b"), b"%d" % until)
    assert lot.next_due() == 10
    assert [one.body for one in lot.due(25)] == [b"10", b"20"]
    assert lot.next_due() == 30
    assert [one.body for one in lot.due(30)] == [b"30"]
    assert lot.next_due() == 0


def test_bytes_are_bounded() -> None:
    lot = ParkingLot()
    body = bytes(parking.MAX_BYTES // 4)
    assert sum(lot.park(Parked("future", 1, str(i)), body) for i in range(9)) == 4
    assert lot.dropped == 5
