"""A trace in words: what a line of it says, and a message in full. Texts of others are made safe here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from caroni.services.tapping import FIRST_TAPPED
from caroni.services.traced import Decoded, Header, TraceEntry
from caroni.text import safe_line

#: characters of one line
WIDTH = 1000


def clock(at: int) -> str:
    """A wall instant to the millisecond, in UTC."""
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(at / 1e6))}.{at // 1000 % 1000:03}Z"


def title(entry: TraceEntry) -> str:
    """What a message is: its type, or what became of it."""
    if entry.kind == "message":
        return entry.type
    return f"{entry.type} ({entry.kind})" if entry.type else f"({entry.kind})"


def step_words(entry: TraceEntry) -> str:
    """The step, and its attempt if it is not the first; on an agent the job type."""
    name = entry.step or entry.job_type
    return f"{name} #{entry.attempt}" if entry.attempt > 1 and name else name


def lines(shown: Decoded) -> list[str]:
    """A message in full, ready for a terminal."""
    return [safe_line(line, WIDTH) for line in _lines(shown)]


def _lines(shown: Decoded) -> Iterator[str]:
    entry = shown.entry
    place = f", {entry.position + 1} of {entry.messages} in its envelope" if entry.messages > 1 else ""
    number = f", number {entry.rev}" if entry.rev < FIRST_TAPPED else ""
    yield f"message   {title(entry)}{number}{place}"
    yield f"at        {clock(entry.at)}, {_direction(entry)}"
    yield f"from      {entry.sender or '(not proven)'}"
    yield f"to        {entry.receiver}"
    if entry.workflow:
        yield f"workflow  {entry.workflow_name} {entry.workflow}".rstrip()
    if name := step_words(entry):
        yield f"{'step     ' if entry.step else 'job type '} {name}"
    for name, value in (("job", entry.job), ("talk", entry.conversation)):
        if value:
            yield f"{name:<9} {value}"
    yield f"verdict   now: {shown.verdict.code}, {shown.verdict.words}"
    yield f"          when it came: {_then(entry)}"
    if shown.error:
        yield f"error     {shown.error}"
    yield from _header(shown.header, entry.size)
    if shown.head:
        yield f"begins    {shown.head} (base64)"
    if shown.fields:
        yield ""
        yield from _fields(shown.fields)
    if shown.cut:
        yield "… more is left out here; --export has everything"


def _direction(entry: TraceEntry) -> str:
    words = {"in": "received", "out": "sent", "seen": "seen on the broker"}
    return words[entry.direction] if entry.kind == "message" else entry.kind


def _then(entry: TraceEntry) -> str:
    if entry.kind == "message" and entry.direction != "in":
        return "our own" if entry.direction == "out" else "it was only seen passing"
    return entry.verdict if entry.kind == "message" else f"{entry.verdict} {entry.summary}"


def _header(header: Header, size: int) -> Iterator[str]:
    if header.audience and list(header.audience) != [""]:
        yield f"audience  {', '.join(header.audience)}"
    if header.sent_at:
        yield f"sent      {clock(header.sent_at)}" + (
            f", counts until {clock(header.expires_at)}" if header.expires_at else ""
        )
    if header.stream_id:
        number = str(header.sequence) if header.sequence else "none: a broadcast"
        yield f"sequence  {number}, stream {header.stream_id}"
    if header.fingerprint:
        yield f"signer    certificate sha256 {header.fingerprint}"
    if header.message_id:
        yield f"id        {header.message_id}"
    if header.in_reply_to:
        yield f"reply to  {header.in_reply_to}"
    yield f"envelope  {size} bytes" + (f", {header.payload_type}" if header.payload_type else "")


def _fields(fields: dict[str, Any], indent: str = "") -> Iterator[str]:
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{name}"
            yield from _fields(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{indent}{name}"
            for one in value:
                yield from _fields(one, indent + "  ")
        else:
            yield from _texts(f"{indent}{name:<{width}}  ", value)


def _texts(head: str, value: Any) -> Iterator[str]:
    """A value on its line; a text of several lines below it."""
    if not isinstance(value, str):
        yield head + msgspec.json.encode(value).decode()
        return
    first, *rest = value.split("\n")
    if not rest:
        yield head + value
        return
    yield head.rstrip()
    for line in (first, *rest):
        yield f"    {line}"
