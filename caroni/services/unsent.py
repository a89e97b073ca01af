"""A submitter's workflows on their way: kept in its directory until the manager has answered.

Saved before they are sent, so that neither a broker out of reach nor a crash loses one; sending one again
is harmless, because its ``submit_uuid`` stays.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from caroni.config import Loaded
from caroni.core.messages import WorkFlowCreate
from caroni.errors import ConfigError
from caroni.text import safe_line
from caroni.trust.keys import write_atomically


class Unsent(msgspec.Struct, frozen=True, kw_only=True):
    """One workflow for one manager. ``saved_at`` is in wall microseconds."""

    manager: str
    create: WorkFlowCreate
    saved_at: int


def directory(loaded: Loaded) -> Path:
    """Where they are kept."""
    return loaded.directory / "unsent"


def save(loaded: Loaded, one: Unsent) -> Path:
    """Keep one (mode 0600); gives its file.

    Raises:
        ConfigError: it cannot be written.
    """
    place = directory(loaded)
    path = place / f"{one.saved_at:016}-{one.create.submit_uuid.hex()}.json"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        write_atomically(path, msgspec.json.encode(one), mode=0o600)
    except OSError as error:
        raise ConfigError(f"{safe_line(str(path))} cannot be written: {error.strerror}") from None
    return path


def waiting(loaded: Loaded) -> list[tuple[Path, Unsent]]:
    """Those that wait, oldest first.

    Raises:
        ConfigError: a file is damaged.
    """
    found = []
    for path in sorted(directory(loaded).glob("*.json")):
        try:
            found.append((path, msgspec.json.decode(path.read_bytes(), type=Unsent)))
        except FileNotFoundError:
            continue  # another command has just sent it
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigError(f"{safe_line(str(path))} cannot be read ({error}): remove it") from None
    return found
