"""Running the console on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from caroni.errors import UsageError
from caroni.tui.app import ConsoleApp
from caroni.tui.glyphs import use_ascii


def wants_ascii(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal cannot show more than ASCII, as far as the environment tells.

    The console of Linux knows UTF-8, but its fonts have no such signs. Where no locale is named at all, as in
    containers, the terminal is most likely a modern one.
    """
    if environ.get("TERM", "") in ("dumb", "linux"):
        return True
    ctype = environ.get("LC_CTYPE", "")
    if ctype == "C.UTF-8" and sys.flags.utf8_mode:
        ctype = ""  # Python has put it there, because it was given another one (PEP 538)
    named = environ.get("LC_ALL", "") or ctype or environ.get("LANG", "")
    return bool(named) and "utf8" not in named.lower().replace("-", "")


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
    if not os.environ.get("TEXTUAL_DRIVER"):
        # a shell may export them; the terminal itself knows better, and later too
        for name in ("COLUMNS", "LINES"):
            os.environ.pop(name, None)
    use_ascii(ascii)
    app.run(mouse=mouse)
    return app.return_code or 0
