"""What a daemon has set aside: looking at it, having it tried again, dropping it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from caroni.config import Loaded
from caroni.core.commands import Command, DropQuarantined, ReplayQuarantined
from caroni.errors import UsageError
from caroni.services.control import give
from caroni.text import safe_line

if TYPE_CHECKING:
    from caroni.model.store import Store
    from caroni.model.unit import QuarantineRow
    from caroni.wire.inspect import Inspected

#: rows that one command names
CHUNK = 100
#: rows that ``--all`` takes at once; the command can be given again
MOST = 10_000

#: What a reason means. Verdicts (``E_...``) are those of the protocol.
REASONS = {
    "POISON": "the daemon ended three times while it worked on this message",
    "BUG": "a bug of ours: the message could not be decided on, or its outcome not be stored",
    "UNREADABLE": "rows of our own database cannot be read: what they belong to is left alone",
    "E_PARSE": "its bytes are not what its type says",
    "E_TYPE": "its type is unknown here, perhaps of a newer version",
    "E_LIMIT": "something in it is longer, larger or more than is taken",
    "E_DECRYPT": "it is encrypted, and there is no key for it here",
    "E_ROLE": "its sender's role may not say this, or this daemon has no use for it",
    "E_EXPIRED": "it is past its lifetime",
    "E_CRL_STALE": "it brings new work, and its site's revocation list is too old",
}


class SetAside(msgspec.Struct, frozen=True, kw_only=True):
    """One row. ``kind`` is ``envelope``, a message's type, ``workflow``, ``job`` or ``outgoing``.

    Instants in wall microseconds. ``meaning`` says what ``reason`` stands for.
    """

    key: str
    kind: str
    sender: str
    reason: str
    meaning: str
    error: str
    first_at: int
    last_at: int
    tries: int


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A row with what is in it; nothing of the content is verified or believed."""

    row: SetAside
    size: int
    claims: dict[str, Any]
    messages: list[dict[str, Any]]
    more: int
    error: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of rows that were tried again or dropped; ``refused``: key -> why it stays."""

    done: int
    refused: dict[str, str]


async def set_aside(store: Store, *, limit: int = 100, reason: str = "") -> list[SetAside]:
    """What is in quarantine, the last set aside first."""
    return [_shown(row) for _, row in await store.quarantine(limit=limit, reason=reason)]


async def find(store: Store, which: str) -> QuarantineRow:
    """The row that is meant by its key or the first characters of it (4 or more).

    Raises:
        UsageError: there is none, or more than one.
    """
    digits = which.replace("-", "").lower()
    keys: list[str] = []
    if re.fullmatch(r"[0-9a-f]{4,64}", digits):
        rows = await store.database.fetch("SELECT key FROM quarantine WHERE key LIKE ? LIMIT 2", f"{digits}%")
        keys = [str(row[0]) for row in rows]
    if len(keys) > 1:
        raise UsageError(f"{safe_line(which, 60)!r} could be more than one: give more of the key")
    found = await store.quarantined([bytes.fromhex(key) for key in keys])
    if not found:
        raise UsageError(
            f"there is nothing {safe_line(which, 60)!r} in quarantine; see: caroni quarantine list"
        )
    return found[0]


async def show(store: Store, which: str) -> Shown:
    """One row with its content.

    Raises:
        UsageError: there is none, or more than one.
    """
    row = await find(store, which)
    # it may be large, and what opens it is slow to import
    seen = await asyncio.to_thread(_inspect, row)
    return Shown(
        row=_shown(row),
        size=seen.size,
        claims=seen.claims,
        messages=[msgspec.to_builtins(message) for message in seen.messages],
        more=seen.more,
        error=seen.error,
    )


def _inspect(row: QuarantineRow) -> Inspected:
    from caroni.wire.inspect import inspect

    return inspect(row.kind, row.body)


async def counts(store: Store) -> dict[str, int]:
    """How many rows there are of each reason, most first."""
    from caroni.model.mapping import unescape

    rows = await store.database.fetch(
        "SELECT reason, COUNT(*) FROM quarantine GROUP BY reason ORDER BY COUNT(*) DESC, reason"
    )
    return {unescape(reason): int(count) for reason, count in rows}


async def keys_of(store: Store, which: Sequence[str], *, all: bool, reason: str) -> list[bytes]:
    """The keys that a command is about.

    Raises:
        UsageError: none are named, or one is not there.
    """
    if bool(which) == (all or bool(reason)):
        raise UsageError("name rows by their keys, or give --all or --reason")
    if which:
        return [(await find(store, one)).key for one in dict.fromkeys(which)]
    return [row.key for _, row in await store.quarantine(limit=MOST, reason=reason)]


async def replay(loaded: Loaded, store: Store, keys: Sequence[bytes]) -> Outcome:
    """Have the daemon try these again.

    Raises:
        CommandRefused: nothing of it is there any more.
        LeftForLater: the daemon does not answer; the command stays for it.
    """
    done, refused = 0, dict[str, str]()
    rows = await store.quarantined(keys)
    # what has ended the daemon before goes alone, so that it costs nobody else if it does so again
    alone = [row.key for row in rows if row.reason == "POISON"]
    others = [row.key for row in rows if row.reason != "POISON"]
    for part in [*_chunks(others), *([key] for key in alone)]:
        answer = await give(loaded, store, ReplayQuarantined(keys=tuple(part)))
        done += int(answer.result.get("replayed", 0))
        refused |= {str(k): str(v) for k, v in dict(answer.result.get("refused", {})).items()}
    return Outcome(done=done, refused=refused)


async def drop(loaded: Loaded, store: Store, keys: Sequence[bytes]) -> Outcome:
    """Have the daemon forget these.

    Raises:
        CommandRefused: nothing of it is there any more.
        LeftForLater: the daemon does not answer; the command stays for it.
    """
    done = 0
    for part in _chunks(keys):
        command: Command = DropQuarantined(keys=tuple(part))
        done += int((await give(loaded, store, command)).result.get("dropped", 0))
    return Outcome(done=done, refused={})


def _chunks(keys: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK)]


def _shown(row: QuarantineRow) -> SetAside:
    return SetAside(
        key=row.key.hex(),
        kind=row.kind,
        sender=row.sender,
        reason=row.reason,
        meaning="this host could not send it" if row.kind == "outgoing" else REASONS.get(row.reason, ""),
        error=row.error,
        first_at=row.first_at,
        last_at=row.last_at,
        tries=row.tries,
    )
