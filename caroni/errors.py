"""The error tree: who is at fault decides the family, the text is what the user reads.

Every text names the cause and, where one exists, the remedy, on one line.
"""

from __future__ import annotations

import errno


class CaroniError(Exception):
    """Base of every error that Caroni raises on purpose.

    ``exit_code`` is what a command ends with when this error reaches the user.
    """

    exit_code = 1


class UsageError(CaroniError):
    """The command line, or a value given on it, cannot be used."""

    exit_code = 2


class ConfigError(CaroniError):
    """The configuration, an identity file or a database setting stops the start."""

    exit_code = 2


class DocumentError(CaroniError):
    """A user's document (CWL, job definition, inputs) is wrong.

    The text begins with ``file:line:column:`` where they are known.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str = "",
        line: int = 0,
        column: int = 0,
    ) -> None:
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        where = ":".join(str(part) for part in (file, line, column) if part)
        super().__init__(f"{where}: {message}" if where else message)


class UnsupportedFeature(DocumentError):
    """The document is valid CWL that this version cannot run (exit code 33, as cwltest expects)."""

    exit_code = 33


class MessageRejected(CaroniError):
    """A peer's bytes are refused: counted, acknowledged, never requeued.

    ``code`` is one of the verdict names (``E_SIG``, ``E_STATE``, ...); ``docs/protocol.md`` lists them.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}" if detail else code)


class TransientError(CaroniError):
    """Broker, database or disk is away for now; the same thing is tried again."""


#: reasons of the system that pass: a daemon that meets them at its start is to be started again
_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})


def of_system(error: OSError, text: str) -> CaroniError:
    """``text`` with the system's reason: transient if space or the like is short, else a wrong setting."""
    kind = TransientError if error.errno in _PASSING else ConfigError
    return kind(f"{text}: {error.strerror}")


class NotSent(TransientError):
    """A message has certainly not left: there is no connection. It may be sent as if it were new."""


class CommandRefused(CaroniError):
    """A daemon cannot carry out an operator's command; the text says why and what to do instead."""


class InvalidTransition(CaroniError):
    """A row was about to leave its state table: our own bug, kept with its story."""

    def __init__(self, what: str, start: str, end: str) -> None:
        self.what = what
        self.start = start
        self.end = end
        super().__init__(f"{what} cannot go from {start} to {end}")
