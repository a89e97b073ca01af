"""Log lines: for people on a terminal, one JSON object a line elsewhere; always on stderr.

A line says which message caused it: :func:`caused_by` sets the id for everything logged inside it. Text
of peers passes through :func:`caroni.text.safe_text`, so that nobody writes to an operator's terminal.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from typing import Any, Literal, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from caroni.text import safe_line

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "human", "json"]

_LEVELS: dict[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_cause: contextvars.ContextVar[bytes] = contextvars.ContextVar("caroni_log_cause", default=b"")

#: Depth and number of items of a logged value; the rest is left out.
_DEPTH, _ITEMS = 4, 50


@contextlib.contextmanager
def caused_by(message_id: bytes) -> Iterator[None]:
    """Put ``cause=<message id in hex>`` on every line that is logged inside."""
    token = _cause.set(message_id)
    try:
        yield
    finally:
        _cause.reset(token)


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose lines say ``name`` (a short word: ``pump``, ``bus``, ``job``).

    It follows every :func:`configure`. A busy loop takes ``.bind()`` of it once after that: a line below
    the level then costs a tenth of a microsecond instead of two and a half.
    """
    return cast("FilteringBoundLogger", structlog.get_logger(part=name))


def configure(level: Level = "info", format: Format = "auto", stream: TextIO | None = None) -> None:
    """Set up logging for this process, the libraries' included (theirs from ``warning`` up).

    Args:
        level: the least important line written.
        format: ``auto`` is ``human`` on a terminal and ``json`` otherwise.
        stream: where lines go; stderr if not given.
    """
    out = stream if stream is not None else sys.stderr
    human = format == "human" or (format == "auto" and out.isatty())
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_cause,
        _flatten_exception,
        _make_safe,
        _Human(color=human and out.isatty()) if human else _as_json,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Bridge()]
    root.setLevel(max(_LEVELS[level], logging.WARNING))
    logging.captureWarnings(True)


class _Bridge(logging.Handler):
    """Takes the lines of libraries into our own stream and form."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):  # a broken library line must not stop what logged it
            log = structlog.get_logger(part=record.name)
            log.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)


def _add_cause(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    cause = _cause.get()
    if cause and "cause" not in event:
        event["cause"] = cause.hex()
    return event


def _flatten_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace ``exc_info`` by where and what: types and places, never values of variables."""
    found = event.pop("exc_info", None)
    if not found:
        return event
    if isinstance(found, BaseException):
        error: BaseException | None = found
    else:
        error = found[1] if isinstance(found, tuple) else sys.exc_info()[1]
    if error is not None:
        frames = traceback.extract_tb(error.__traceback__)[-12:]
        event["error"] = f"{type(error).__name__}: {error}"
        event["where"] = " < ".join(f"{f.filename}:{f.lineno} {f.name}" for f in reversed(frames))
    return event


def _make_safe(_: WrappedLogger, __: str, event: EventDict) -> MutableMapping[str, Any]:
    return {
        key if key.isidentifier() else safe_line(key, 64): _safe(value, 0) for key, value in event.items()
    }


def _safe(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return safe_line(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes):
        return value[:64].hex()
    if depth < _DEPTH:
        if isinstance(value, dict):
            return {safe_line(str(k), 64): _safe(v, depth + 1) for k, v in list(value.items())[:_ITEMS]}
        if isinstance(value, list | tuple | set | frozenset):
            return [_safe(v, depth + 1) for v in list(value)[:_ITEMS]]
    return safe_line(str(value))


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    first = {
        "time": event.pop("timestamp", ""),
        "level": event.pop("level", ""),
        "event": event.pop("event", ""),
    }
    return msgspec.json.encode({**first, **event}).decode()


class _Human:
    """``12:34:56 warning pump: cannot publish  peer=caroni://... cause=...``."""

    COLORS = {
        "debug": "\x1b[2m",
        "info": "",
        "warning": "\x1b[33m",
        "error": "\x1b[31m",
        "critical": "\x1b[31m",
    }

    def __init__(self, *, color: bool) -> None:
        self.color = color

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> str:
        time = str(event.pop("timestamp", ""))[11:19]
        level = str(event.pop("level", "info"))
        part = event.pop("part", "")
        text = str(event.pop("event", ""))
        fields = " ".join(f"{key}={_shown(value)}" for key, value in event.items())
        start = self.COLORS.get(level, "") if self.color else ""
        end = "\x1b[0m" if start else ""
        line = f"{time} {start}{level:<7}{end} {part + ': ' if part else ''}{text}"
        return f"{line}  {fields}" if fields else line


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return f'"{text}"' if " " in text or not text else text
