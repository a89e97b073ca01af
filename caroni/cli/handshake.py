"""The conversation of manager, agents and submitter, a line for each message."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from caroni.cli import output
from caroni.core.rows import Request, Step
from caroni.services.messagewords import brief, details
from caroni.text import safe_line

if TYPE_CHECKING:
    from caroni.daemon.embedded import Embedded
    from caroni.daemon.engine import Seen
    from caroni.services.workflows import StepOfWorkflow

_COLOURS = {
    "JobFulfillmentRequest": "magenta",
    "JobFulfillmentOffer": "blue",
    "JobFulfillmentOfferAccept": "blue",
    "JobFulfillmentOfferReject": "yellow",
    "JobFulfillmentDecline": "yellow",
    "JobAccepted": "cyan",
    "JobDataAvailable": "green",
    "JobStatusUpdate": "cyan",
    "JobKill": "red",
}
_STATUS_COLOURS = {"failed": "red", "killed": "red", "completed": "green"}


class MessageSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One message that was taken in. ``at`` is in wall microseconds; ``step`` is empty if it is of none."""

    at: int
    sender: str
    receiver: str
    message: str
    step: str
    details: str
    signature: str


class Handshake:
    """Notes every message, and prints it unless ``silent``; also a progress display that shows nothing."""

    def __init__(self, system: Embedded, *, silent: bool = False) -> None:
        self._system = system
        self._silent = silent
        self._steps: dict[bytes, str] = {}
        self._colour = sys.stdout.isatty()
        self.messages: list[MessageSeen] = []

    @property
    def signed(self) -> int:
        """Messages with a good signature."""
        return sum(m.signature == "ok" for m in self.messages)

    def __enter__(self) -> Handshake:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def show(self, state: str, steps: Sequence[StepOfWorkflow]) -> None:
        """Nothing: the messages say it all."""

    def end(self) -> None:
        """Print no more."""
        self._silent = True

    def seen(self, seen: Seen) -> None:
        """Take one message."""
        one = MessageSeen(
            at=seen.at,
            sender=seen.sender,
            receiver=seen.receiver,
            message=type(seen.message).__name__,
            step=self._step(seen.conversation_id),
            details=details(seen.message),
            signature="unsigned" if seen.unsigned else "ok",
        )
        self.messages.append(one)
        if not self._silent:
            self._print(one)

    def _step(self, conversation_id: bytes) -> str:
        """The step that a conversation is about; remembered, for the manager forgets requests that ended."""
        name = self._steps.get(conversation_id)
        if name is None:
            state = self._system.manager.role.state
            request = state.get(Request, conversation_id)
            step = state.get(Step, (request.workflow_uuid, request.step_index)) if request else None
            if step is None:
                return ""
            name = self._steps[conversation_id] = step.name
        return name

    def _print(self, one: MessageSeen) -> None:
        at = time.strftime("%H:%M:%S", time.localtime(one.at / 1e6)) + f".{one.at // 1000 % 1000:03}"
        who = f"{_short(one.sender):>7} -> {_short(one.receiver):<7}"
        name = one.message.ljust(25)
        step = safe_line(one.step, 24).ljust(9)
        ok = "signature ok" if one.signature == "ok" else "UNSIGNED"
        told = safe_line(one.details, 30).ljust(30)
        if not self._colour:
            output.line(f"{at}  {who}  {name}  {step}  {told}  {ok}")
            return
        self._draw(at, who, name, step, told, ok, one)

    def _draw(self, at: str, who: str, name: str, step: str, told: str, ok: str, one: MessageSeen) -> None:
        from rich.text import Text

        status = one.details.partition(" ")[0].rstrip(":")
        colour = _STATUS_COLOURS.get(status) or _COLOURS.get(one.message, "")
        if not hasattr(self, "_console"):
            from rich.console import Console

            self._console = Console(highlight=False, markup=False, emoji=False)
        wide = self._console.size.width >= 112
        parts = Text(no_wrap=True, overflow="ellipsis")
        parts.append(at if wide else at[3:8], style="dim")
        parts.append(f"  {who}  " if wide else f" {who} ")
        parts.append(name if wide else brief(one.message).ljust(16), style=colour)
        parts.append(f"  {step}  " if wide else f" {step} ", style="bold")
        parts.append(told if wide else told[:14].ljust(14))
        parts.append(f"  {ok}" if wide else f" {ok}", style="green" if one.signature == "ok" else "bold red")
        self._console.print(parts, crop=True, overflow="ellipsis", no_wrap=True)


def _short(uri: str) -> str:
    return uri.rpartition("/")[2][:12]
