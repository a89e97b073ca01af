"""Running the console on a terminal."""

from __future__ import annotations

import locale
import os
import sys
from collections.abc import Mapping

from caroni.errors import UsageError
from caroni.tui.app import ConsoleApp
from caroni.tui.glyphs import use_ascii


def wants_ascii(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the locale cannot show more than ASCII."""
    encoding = locale.getpreferredencoding(False).lower().replace("-", "")
    return "utf8" not in encoding or environ.get("TERM", "") == "dumb"


def require_terminal() -> None:
    """See that there is something to show the console on: a terminal, or a browser (``caroni.tui.web``).

    Raises:
        UsageError: there is none.
    """
    if os.environ.get("TEXTUAL_DRIVER"):
        return
    # Textual draws on the standard error stream
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.__stderr__)):
        raise UsageError("the console needs a terminal (programs use the commands with --json)")


def run(app: ConsoleApp, *, ascii: bool, mouse: bool) -> int:
    """Show the console until it is left; the terminal is restored in any case.

    Returns:
        0, or what a crash left.

    Raises:
        UsageError: there is no terminal.
    """
    require_terminal()
    use_ascii(ascii)
    app.run(mouse=mouse)
    return app.return_code or 0
