"""The clock guard: signatures and revocations mean nothing to a host whose clock was set back.

The latest instant ever seen is kept in a file; a start more than an hour before it, or before this
version existed, is refused (``docs/security.md`` 2.6).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from caroni.core.plan import HOUR
from caroni.errors import ConfigError
from caroni.trust.instants import to_text
from caroni.trust.keys import write_atomically

#: No clock that is right shows less: 2026-11-01.
BUILD_DATE: Final = 1_793_491_200_000_000


def check_clock(now: int, last_seen: int) -> None:
    """Refuse a clock that is behind what was already seen.

    Raises:
        ConfigError: more than an hour behind ``last_seen``, or before this version was made.
    """
    if now < BUILD_DATE:
        raise ConfigError(f"the clock says {to_text(now)}, before this version was made: set it")
    if now < last_seen - HOUR:
        raise ConfigError(
            f"the clock says {to_text(now)} but was at {to_text(last_seen)} before: set it, or remove the "
            "clock file if it was wrong then"
        )


class ClockFile:
    """The latest instant seen, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> int:
        """Microseconds since the epoch; 0 if nothing is known."""
        try:
            return int(self._path.read_text("ascii"))
        except (OSError, ValueError):
            return 0

    def advance(self, now: int) -> None:
        """Check ``now`` and remember it if it is the latest.

        Raises:
            ConfigError: see :func:`check_clock`; or the file cannot be written.
            TransientError: there is no space for it just now.
        """
        last_seen = self.read()
        check_clock(now, last_seen)
        if now > last_seen:
            write_atomically(self._path, str(now).encode("ascii"), mode=0o600)
