"""Integer microseconds (how Caroni tells time) to and from the ``datetime`` that X.509 speaks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: Bounds within which a datetime exists and means something to a certificate.
_FIRST, _LAST = 0, 253_402_300_799_000_000


def to_datetime(micros: int) -> datetime:
    """The instant as an aware datetime, clamped to 1970 to 9999."""
    return _EPOCH + timedelta(microseconds=min(max(micros, _FIRST), _LAST))


def to_micros(moment: datetime) -> int:
    """Microseconds since the epoch of an aware datetime."""
    return (moment - _EPOCH) // _MICROSECOND


def to_text(micros: int) -> str:
    """Date and time for people, in UTC to the minute."""
    return to_datetime(micros).strftime("%Y-%m-%d %H:%M UTC")
