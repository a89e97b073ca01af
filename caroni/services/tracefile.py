"""A trace as a file: sealed envelopes that anybody with a trust store can verify again, a JSON line each.

The first line is a header; a certificate stands once, before the first envelope that it signed::

    {"format": "caroni-trace", "version": 1, "uri": "caroni://a.example/manager/m1", "at": 1790000000000000}
    {"certificate": "<PEM>"}
    {"rev": 17, "at": ..., "direction": "out", "peer": "...", "verdict": "ok", "envelope": "<base64>",
     "about": [{"position": 0, "rev": 18, "workflow": "...", "step": "..."}]}
    {"failed": {...}}

Nothing in such a file is believed: names and instants are what the exporting daemon says, envelopes speak
for themselves.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from caroni.errors import MessageRejected, UsageError
from caroni.services.traced import EVERYTHING, Decoded, TraceEntry, TraceFilter
from caroni.text import safe_line

if TYPE_CHECKING:
    from caroni.wire.audit import Auditor

FORMAT = "caroni-trace"
VERSION = 1
#: messages that one file may hold, and bytes of a file and of one line of it
MAX_MESSAGES = 100_000
MAX_FILE = 512 * 1024 * 1024
MAX_LINE = 6 * 1024 * 1024
MAX_CERTIFICATES = 10_000

_Hex = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]*$", max_length=64)]
_Text = Annotated[str, msgspec.Meta(max_length=4096)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Start(msgspec.Struct, kw_only=True):
    """The first line."""

    format: str
    version: int
    uri: _Text
    at: _Number = 0


class About(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What the exporting daemon knew of one message of an envelope."""

    position: Annotated[int, msgspec.Meta(ge=0, le=500)]
    rev: _Number
    workflow: _Hex = ""
    workflow_name: _Text = ""
    step: _Text = ""
    job_type: _Text = ""
    attempt: _Number = 0


class Sealed(msgspec.Struct, kw_only=True):
    """An envelope, base64, and what the exporting daemon's ledger says of it."""

    rev: _Number
    at: _Number
    direction: Literal["in", "out"]
    peer: _Text
    verdict: _Text
    envelope: str
    about: Annotated[list[About], msgspec.Meta(max_length=501)] = []


class Failed(msgspec.Struct, kw_only=True):
    """What was refused or set aside; its bytes are not exported."""

    rev: _Number
    at: _Number
    kind: Literal["refused", "set aside"]
    sender: _Text = ""
    type: _Text = ""
    conversation: _Hex = ""
    message_id: _Hex = ""
    verdict: _Text
    summary: _Text = ""
    size: _Number = 0


class _Line(msgspec.Struct, kw_only=True):
    """Any line behind the first: exactly one of the three."""

    certificate: Annotated[str, msgspec.Meta(max_length=8192)] = ""
    failed: Failed | None = None
    envelope: str | None = None


class Exported:
    """An opened file: filtered, paged, decoded and verified like a ledger."""

    def __init__(
        self,
        own_uri: str,
        at: int,
        entries: tuple[TraceEntry, ...],
        bodies: dict[int, bytes],
        certificates: dict[str, str],
    ) -> None:
        self.own_uri = own_uri
        #: when it was written, wall microseconds
        self.at = at
        self.entries = entries
        self._bodies = bodies
        #: certificates that the file brings, by fingerprint; they are believed only as far as they are signed
        self.certificates = certificates

    def trace(
        self, filter: TraceFilter = EVERYTHING, *, after: int = 0, before: int | None = None, limit: int = 200
    ) -> list[TraceEntry]:
        """A page, see :func:`caroni.services.ledger.trace`."""
        found = [
            entry
            for entry in self.entries
            if entry.rev > after and (before is None or entry.rev < before) and filter.passes(entry)
        ]
        return found[:limit] if after > 0 and before is None else found[-limit:]

    def message(self, auditor: Auditor, rev: int, position: int | None = None) -> Decoded:
        """One message in full, verified now against ``auditor``'s trust store.

        Raises:
            UsageError: the file has no such message.
        """
        from caroni.services import opening

        found = [e for e in self.entries if e.rev == rev and position in (None, e.position)]
        if not found:
            raise UsageError(f"there is no message {rev} in this file")
        body = self._bodies.get(rev)
        if body is None:
            return opening.only_head(found[0], b"")
        return opening.decoded(found[0], body, auditor)


def open_export(path: Path) -> Exported:
    """Read a file that :func:`export` has written, or somebody who wants to be taken for it.

    Raises:
        UsageError: it cannot be read or is no such file; one line with the number of the line at fault.
    """
    shown = safe_line(str(path))
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_FILE:
                raise UsageError(f"{shown} is larger than {MAX_FILE // 1024**2} MiB: export less at once")
            return _Reading(shown).read(_lines(file, shown))
    except OSError as error:
        raise UsageError(f"{shown} cannot be read: {error.strerror}") from None


def _lines(file: Any, shown: str) -> Iterator[tuple[int, bytes]]:
    number, total = 0, 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        total += len(line)
        if len(line) > MAX_LINE:
            raise UsageError(f"{shown}, line {number}: longer than a trace's lines are")
        if total > MAX_FILE:
            raise UsageError(f"{shown} is larger than {MAX_FILE // 1024**2} MiB: export less at once")
        if line.strip():
            yield number, line


class _Reading:
    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._entries: list[TraceEntry] = []
        self._bodies: dict[int, bytes] = {}
        self._certificates: dict[str, str] = {}

    def read(self, lines: Iterator[tuple[int, bytes]]) -> Exported:
        start: Start | None = None
        for number, line in lines:
            try:
                if start is None:
                    start = self._start(line)
                else:
                    self._line(line, start.uri)
            except (msgspec.MsgspecError, ValueError, RecursionError, MessageRejected) as error:
                why = safe_line(str(error), 200)
                raise UsageError(f"{self._shown}, line {number}: not a line of a trace ({why})") from None
        if start is None:
            raise UsageError(f"{self._shown} is empty: a trace begins with a header line")
        self._entries.sort(key=lambda entry: entry.key)
        return Exported(start.uri, start.at, tuple(self._entries), self._bodies, self._certificates)

    def _start(self, line: bytes) -> Start:
        try:
            start = msgspec.json.decode(line, type=Start)
        except msgspec.MsgspecError:
            raise UsageError(f"{self._shown} is no trace: write one with caroni trace --export") from None
        if start.format != FORMAT:
            raise UsageError(f"{self._shown} is no trace: write one with caroni trace --export")
        if start.version != VERSION:
            raise UsageError(
                f"{self._shown} is a trace of version {start.version}, known is {VERSION}: upgrade Caroni"
            )
        return start

    def _line(self, line: bytes, own: str) -> None:
        kind = msgspec.json.decode(line, type=_Line)
        if kind.certificate:
            self._certificate(kind.certificate)
        elif kind.failed is not None:
            self._add([_entry_of(kind.failed, own)])
        elif kind.envelope is not None:
            self._envelope(msgspec.json.decode(line, type=Sealed), own)
        else:
            raise ValueError("neither certificate, envelope nor failed")

    def _add(self, entries: list[TraceEntry]) -> None:
        self._entries += entries
        if len(self._entries) > MAX_MESSAGES + 500:
            raise ValueError(f"more than {MAX_MESSAGES} messages")

    def _certificate(self, text: str) -> None:
        from caroni.trust.certificates import parse_presented

        if len(self._certificates) >= MAX_CERTIFICATES:
            raise ValueError("too many certificates")
        self._certificates[parse_presented(text).fingerprint.hex()] = text

    def _envelope(self, one: Sealed, own: str) -> None:
        from caroni.services.opening import described
        from caroni.wire.glance import glance

        body = base64.b64decode(one.envelope, validate=True)
        parts = glance(body).parts
        outgoing = one.direction == "out"
        known = one.about or [About(position=place, rev=one.rev) for place in range(len(parts))]
        entries = []
        for about in known:
            if about.position >= len(parts):
                raise ValueError(f"the envelope has no message {about.position}")
            entry = TraceEntry(
                rev=about.rev,
                position=about.position,
                at=one.at,
                direction=one.direction,
                sender=own if outgoing else one.peer,
                receiver=one.peer if outgoing else own,
                type="",
                workflow=about.workflow,
                workflow_name=about.workflow_name,
                step=about.step,
                job_type=about.job_type,
                attempt=about.attempt,
                verdict=one.verdict,
                size=len(body),
            )
            entries.append(described(entry, parts[about.position], len(parts)))
            self._bodies[about.rev] = body
        self._add(entries)


def _entry_of(failed: Failed, own: str) -> TraceEntry:
    return TraceEntry(
        rev=failed.rev,
        kind=failed.kind,
        at=failed.at,
        direction="in",
        sender=failed.sender,
        receiver=own,
        type=failed.type,
        summary=failed.summary,
        conversation=failed.conversation,
        message_id=failed.message_id,
        verdict=failed.verdict,
        size=failed.size,
    )


async def auditor_for(trust_dir: Path, exported: Exported) -> Auditor:
    """Verifies a file with nothing but a trust directory.

    Raises:
        ConfigError: the trust directory cannot be read.
    """
    from caroni.trust.store import TrustStore
    from caroni.wire.audit import Auditor

    store = await asyncio.to_thread(TrustStore.load, trust_dir)
    return Auditor(store, exported.certificates.get)
