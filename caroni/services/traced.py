"""A message as the handshake trace shows it, wherever it was seen: in a ledger, in a file, on the broker."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Kind = Literal["message", "refused", "set aside"]
Heard = Literal["in", "out", "seen"]

#: the verdict of a message that was taken, and of one that was not looked at closely
OK, UNVERIFIED = "ok", ""


class TraceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One message. Ids are hexadecimal, empty where they are not known; instants are wall microseconds.

    ``refused`` ones failed before their sender was proven, ``set aside`` ones are in quarantine. Texts are
    as others wrote them: whoever shows them makes them safe.
    """

    #: change number; rises, and several messages of one envelope may share it
    rev: int
    #: its place in an envelope of ``messages``
    position: int = 0
    messages: int = 1
    kind: Kind = "message"
    at: int
    #: ``in`` or ``out`` of the daemon whose ledger this is; ``seen`` on the broker
    direction: Heard
    sender: str
    receiver: str
    type: str
    summary: str = ""
    conversation: str = ""
    request: str = ""
    offer: str = ""
    job: str = ""
    workflow: str = ""
    workflow_name: str = ""
    step: str = ""
    job_type: str = ""
    attempt: int = 0
    #: ``ok``, the code of what was wrong with it, or nothing: it was only seen passing
    verdict: str = OK
    message_id: str = ""
    #: bytes of the envelope
    size: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """What tells it from all others of one trace."""
        return (self.rev, self.position)

    @property
    def failed(self) -> bool:
        """Whether anything was wrong with it when it came, as far as it was looked at."""
        return self.verdict not in (OK, UNVERIFIED)


class TraceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages are wanted; empty fields let all pass.

    ``peer`` and ``type`` are parts of a URI and of a message's name, whatever their case. ``step`` needs
    ``workflow``. ``failed``: only what was refused, set aside, or has another verdict than ``ok``.
    """

    workflow: bytes = b""
    step: str = ""
    peer: str = ""
    type: str = ""
    job: bytes = b""
    conversation: bytes = b""
    failed: bool = False

    def passes(self, entry: TraceEntry) -> bool:
        """Whether an entry is wanted, by what is known of it without a database."""
        if self.failed and not entry.failed:
            return False
        if self.peer and not _within(self.peer, entry.sender) and not _within(self.peer, entry.receiver):
            return False
        if self.type and not _within(self.type, entry.type):
            return False
        if self.conversation and entry.conversation != self.conversation.hex():
            return False
        if self.workflow and entry.workflow != self.workflow.hex():
            return False
        if self.step and entry.step != self.step:
            return False
        return not self.job or entry.job == self.job.hex()


def _within(part: str, text: str) -> bool:
    return part.casefold() in text.casefold()


EVERYTHING = TraceFilter()


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What an envelope says of itself; only a good verdict makes it true."""

    sender: str = ""
    audience: tuple[str, ...] = ()
    federation: str = ""
    message_id: str = ""
    conversation: str = ""
    in_reply_to: str = ""
    payload_type: str = ""
    sent_at: int = 0
    expires_at: int = 0
    stream_id: int = 0
    sequence: int = 0
    #: SHA-256 of the signer's certificate, hexadecimal
    fingerprint: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an envelope is believed, now: ``ok`` or a code, and the same in words."""

    code: str
    words: str

    @property
    def good(self) -> bool:
        """Whether the signature and everything behind it is good."""
        return self.code == OK


class Decoded(msgspec.Struct, frozen=True, kw_only=True):
    """A message with everything in it. ``fields`` is bounded: ``cut`` says that something was left out."""

    entry: TraceEntry
    header: Header
    #: what the envelope is found to be worth now
    verdict: Verdict
    #: why it cannot be decoded, or why it was refused when it came
    error: str = ""
    fields: dict[str, Any] = {}
    cut: bool = False
    #: the first bytes of what cannot be decoded, base64
    head: str = ""
