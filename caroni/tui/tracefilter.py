"""What is typed to find messages: ``peer:g1 type:offer failed`` filters, any other words are looked for."""

from __future__ import annotations

import msgspec

from caroni.services.messagewords import short_name
from caroni.services.traced import TraceEntry, TraceFilter


def parsed(text: str, base: TraceFilter) -> tuple[TraceFilter, str]:
    """The filter that a text makes of another one, and the words that are left."""
    changes: dict[str, object] = {}
    words: list[str] = []
    for part in text.split():
        name, colon, value = part.partition(":")
        if colon and value and name in ("peer", "type"):
            changes[name] = value
        elif part == "failed":
            changes["failed"] = True
        else:
            words.append(part)
    return msgspec.structs.replace(base, **changes), " ".join(words)


def described(filter: TraceFilter, words: str, known: TraceEntry | None) -> str:
    """The filter in words; ``known`` is any message that it let pass, which may tell a name."""
    parts: list[str] = []
    if filter.workflow:
        name = known.workflow_name if known is not None else ""
        parts.append(f"workflow {name or filter.workflow.hex()[:12]}")
    if filter.step:
        parts.append(f"step {filter.step}")
    if filter.job:
        parts.append(f"job {filter.job.hex()[:12]}")
    if filter.conversation:
        of = f" of {known.step}" if known is not None and known.step and not filter.step else ""
        parts.append(f"one conversation{of}")
    if filter.peer:
        parts.append(f"with {short_name(filter.peer)}")
    if filter.type:
        parts.append(f"type {filter.type}")
    if filter.failed:
        parts.append("failed only")
    if words:
        parts.append(f"with {words!r}")
    return " · ".join(parts)


def cli_words(filter: TraceFilter) -> list[str]:
    """The same filter as arguments of ``caroni trace``."""
    words: list[str] = []
    if filter.workflow:
        words.append(filter.workflow.hex())
    for option, value in (
        ("--step", filter.step),
        ("--job", filter.job.hex()),
        ("--peer", filter.peer),
        ("--type", filter.type),
    ):
        if value:
            words += [option, value]
    return [*words, "--failed"] if filter.failed else words
