"""What the engine needs of a role: the pure core's entrances, and the shell around its memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Hashable, Iterable, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from caroni.core.draft import Action, Dice, Draft, Event, Origin, State
from caroni.core.messages import Message
from caroni.core.rows import Row
from caroni.errors import CommandRefused
from caroni.logs import caused_by
from caroni.model.live import Live
from caroni.model.store import Store
from caroni.model.unit import QuarantineRow, Unit

log = structlog.get_logger()

#: what happens for every job is only interesting to who looks closely
_QUIET = frozenset({"job_accepted", "job_ended", "step_completed"})
_LOUD = frozenset(
    {
        "clock_jumped",
        "database_was_put_back",
        "job_found",
        "job_failed",
        "orphan_job",
        "peer_was_put_back",
        "request_unanswered",
        "step_failed",
        "step_held",
        "workflow_failed",
    }
)

Need = tuple[type[Row], Hashable]

#: Sends a message that nothing keeps: to whom, what, in which conversation.
Say = Callable[[str, Message, bytes], Coroutine[Any, Any, None]]


def log_event(event: Event) -> None:
    """One log line, with the id of the message that caused it."""
    level = (
        logging.DEBUG if event.kind in _QUIET else logging.WARNING if event.kind in _LOUD else logging.INFO
    )
    if not log.is_enabled_for(level):
        return
    shown = {k: v.hex() if isinstance(v, bytes) else v for k, v in event.fields.items()}
    with caused_by(event.cause):
        log.log(level, event.kind.replace("_", " "), **shown)


def decode_command(args: str, commands: msgspec.json.Decoder[Any]) -> Any:
    """The command that a row of the command table holds.

    Raises:
        CommandRefused: this role has no such command, or its arguments cannot be read.
    """
    try:
        return commands.decode(args)
    except msgspec.MsgspecError as error:
        raise CommandRefused(f"not a command of this daemon: {error}") from error


async def quarantine_broken(store: Store, kind: str, broken: Sequence[tuple[bytes, str]], now: int) -> None:
    """What cannot be read is shown to the operator and left alone; everything else goes on."""
    rows = []
    for key, error in broken:
        log.error(
            f"{kind} cannot be read: left alone", id=key.hex(), error=error, see="caroni quarantine list"
        )
        rows.append(
            QuarantineRow(
                key=key, kind=kind, reason="UNREADABLE", error=error[:1000], first_at=now, last_at=now
            )
        )
    if rows:
        await store.commit(Unit(now=now, quarantine=rows))


def readable(live: Live, state: State) -> list[Row]:
    """Rows of one owner that are not in memory, in the order in which they may be taken there.

    Raises:
        CommandRefused: one of them cannot be read.
    """
    if live.broken:
        raise CommandRefused(live.broken[0][1])
    order = {row_type: place for place, row_type in enumerate(state.tables)}
    new = [row for row in live.rows if row.key not in state.tables[type(row)]]
    return sorted(new, key=lambda row: order[type(row)])


class Role(Protocol):
    """A manager or an agent behind the engine. Only ``load`` and what prepares wait."""

    @property
    def state(self) -> State:
        """The rows in memory."""
        ...

    async def load(self) -> None:
        """Replace the memory by what the database holds (at a start, or after an unknown outcome)."""
        ...

    async def take_up(self, owner: bytes) -> list[Row]:
        """Read again what could not be read; gives the rows, which are in memory then.

        Raises:
            CommandRefused: it still cannot be read; says why.
        """
        ...

    async def prepare(self, messages: Sequence[tuple[str, Message]]) -> None:
        """Fetch what decisions on these messages read besides rows (templates, plans)."""
        ...

    async def prepare_commands(self, commands: Sequence[str]) -> None:
        """The same for operators' commands (their JSON)."""
        ...

    def draft(self, now: int, dice: Dice) -> Draft:
        """A new unit of work over the memory."""
        ...

    def contact(self, draft: Draft, origin: Origin, sequence: int) -> None:
        """A verified envelope of this sender is here, whatever is in it."""
        ...

    def operate(self, draft: Draft, args: str) -> dict[str, Any]:
        """Carry out an operator's command; ``CommandRefused`` says why not."""
        ...

    def needs(self, sender: str, message: Message) -> list[Need]:
        """Rows that the decision reads and that are not in memory."""
        ...

    def command_needs(self, args: str) -> list[Need]:
        """The same for an operator's command (its JSON)."""
        ...

    def handle(self, draft: Draft, origin: Origin, message: Message) -> bool:
        """Decide on a peer's message."""
        ...

    def happened(self, draft: Draft, event: Any) -> None:
        """Decide on something local: a process, a command, a connection."""
        ...

    def fire(self, draft: Draft, row_type: type[Row], key: Hashable) -> None:
        """Decide on a timer."""
        ...

    def settle(self, draft: Draft) -> bool:
        """End the unit of work; True: another one has work at once."""
        ...

    def evictable(self, touched: Iterable[Row]) -> list[tuple[type[Row], object]]:
        """Rows that memory need not keep after the commit."""
        ...

    def locate(self, draft: Draft, conversation_id: bytes) -> tuple[bytes, int | None]:
        """The workflow and step that a conversation is about, as far as known here."""
        ...

    def act(self, actions: Sequence[Action]) -> None:
        """Begin what was decided, after the commit; must not wait."""
        ...

    def tell(self, events: Sequence[Event]) -> None:
        """Tell operators (logs, plugins), after the commit; must not wait."""
        ...
