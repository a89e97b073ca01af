"""What was set aside, tried again or dropped at an operator's word, within the engine's unit of work.

A message is judged as if it came now (bans, permissions, lifetimes), an envelope is opened anew, a workflow
or job whose rows could not be read is read again. What comes of it, the row's removal and the end of the
command are one unit of work; what fails again stays, with its newer reason.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from caroni.core.commands import DaemonCommand, DropQuarantined, ReplayQuarantined
from caroni.core.rows import Row
from caroni.daemon.ports import Delivery
from caroni.daemon.role import Role, decode_command
from caroni.daemon.suspects import MAX_TRIES, Suspects
from caroni.errors import CommandRefused, MessageRejected
from caroni.model.store import Store
from caroni.model.unit import QuarantineRow, Unit
from caroni.wire.envelope import Opened, Opener, Parked
from caroni.wire.kept import kept

#: The commands that are decided here.
KINDS = frozenset({"replay-quarantined", "drop-quarantined"})
#: rows that one command may name
MAX_KEYS = 200
#: Reason of rows of our own database that could not be read.
UNREADABLE = "UNREADABLE"

_COMMANDS: msgspec.json.Decoder[Any] = msgspec.json.Decoder(DaemonCommand)


class Replaying(msgspec.Struct, kw_only=True):
    """What one unit of work tries again."""

    #: to be decided on with what has arrived
    opened: list[tuple[Delivery, Opened]] = []
    #: what a crash would be counted on
    deliveries: list[Delivery] = []
    #: rows that were read again
    loaded: list[Row] = []
    #: key -> row that leaves the quarantine unless it is refused again
    tried: dict[bytes, QuarantineRow] = {}
    #: key -> why it stays
    refused: dict[bytes, tuple[str, str]] = {}
    #: number of the command -> what its answer will say
    answers: dict[int, _Answer] = {}

    def again(self, row: QuarantineRow) -> QuarantineRow:
        """A message was refused: if it was one of ours, it keeps its place, its age and its count."""
        former = self.tried.get(row.key)
        if former is None:
            return row
        self.refused[row.key] = (row.reason, row.error)
        return replace(row, first_at=former.first_at, tries=former.tries + 1, body=former.body)

    def end(self, unit: Unit) -> None:
        """Let go of what is done; what an envelope or a reading refused stays with the newer reason."""
        written = {row.key for row in unit.quarantine}
        for key, row in self.tried.items():
            refusal = self.refused.get(key)
            if refusal is None:
                unit.unquarantine.append(key)
            elif key not in written:
                reason, error = refusal
                unit.quarantine.append(
                    replace(row, reason=reason, error=error[:1000], tries=row.tries + 1, last_at=unit.now)
                )

    def answer(self, command: int) -> dict[str, Any]:
        """What a command of ours gives, or its refusal.

        Raises:
            CommandRefused: it could not be understood, or nothing that it names is here.
        """
        answer = self.answers[command]
        if answer.refusal:
            raise CommandRefused(answer.refusal)
        if answer.dropped is not None:
            return {"dropped": answer.dropped}
        refused = {key.hex(): ": ".join(self.refused[key]) for key in answer.keys if key in self.refused}
        return {"replayed": len(answer.keys) - len(refused), "refused": refused}


class _Answer(msgspec.Struct, kw_only=True):
    keys: tuple[bytes, ...] = ()
    dropped: int | None = None
    refusal: str = ""


class Quarantine:
    """The quarantine of one daemon. The engine is its only user."""

    def __init__(self, store: Store, opener: Opener, role: Role, suspects: Suspects) -> None:
        self._store = store
        self._opener = opener
        self._role = role
        self._suspects = suspects

    async def begin(self, commands: list[tuple[int, str]], unit: Unit) -> Replaying:
        """Take up these commands, ``(number, JSON)``; their decisions follow with the unit's others."""
        work = Replaying()
        for number, args in commands:
            answer = work.answers[number] = _Answer()
            try:
                command = decode_command(args, _COMMANDS)
            except CommandRefused as refusal:
                answer.refusal = str(refusal)
                continue
            if len(command.keys) > MAX_KEYS:
                answer.refusal = f"one command names at most {MAX_KEYS} rows"
                continue
            rows = [row for row in await self._store.quarantined(command.keys) if row.key not in work.tried]
            if not rows:
                answer.refusal = "nothing of this is in quarantine (any more)"
            elif isinstance(command, DropQuarantined):
                answer.dropped = len(rows)
                unit.unquarantine.extend(row.key for row in rows)
            elif isinstance(command, ReplayQuarantined):
                answer.keys = tuple(row.key for row in rows)
                for row in rows:
                    work.tried[row.key] = row
                    await self._try(row, work, unit.now)
        return work

    async def _try(self, row: QuarantineRow, work: Replaying, now: int) -> None:
        try:
            if row.reason == UNREADABLE:
                work.loaded += await self._role.take_up(row.key)
            elif not row.body or row.kind == "outgoing":
                raise CommandRefused("its content was not kept")
            else:
                await self._open(row, work, now)
        except MessageRejected as verdict:
            work.refused[row.key] = (verdict.code, verdict.detail)
        except CommandRefused as refusal:
            work.refused[row.key] = (row.reason, str(refusal))

    async def _open(self, row: QuarantineRow, work: Replaying, now: int) -> None:
        delivery = Delivery(body=row.body, routing_key="", queue="", redelivered=True)
        # as for the broker's: what ends the daemon again and again is left alone in the end
        work.deliveries.append(delivery)
        (tries,) = await self._suspects.tries([delivery])
        if tries >= MAX_TRIES:
            raise CommandRefused(f"the daemon ended {tries} times while it tried this again")
        if row.kind != "envelope":
            item = kept(row.body)
            if item is None:
                raise CommandRefused("an older version kept it, without what is needed to judge it again")
            opened = self._opener.reopen(row.sender, item, now)
            if opened.items[0].error is not None:
                raise opened.items[0].error
            work.opened.append((delivery, opened))
            return
        try:
            opened = self._opener.open(row.body, now)
        except Parked as parked:
            raise CommandRefused(f"it cannot be judged yet ({parked.reason})") from None
        if not await self._store.seen([(opened.sender, opened.message_id)]):
            work.opened.append((delivery, replace(opened, replayed=True)))
