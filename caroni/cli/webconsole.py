"""``caroni tui --web``: the console in a browser, and how to reach it from elsewhere."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from caroni.cli import output

if TYPE_CHECKING:
    from caroni.config import Loaded


def serve(options: Sequence[str], loaded: Sequence[Loaded], port: int) -> None:
    """Serve until Ctrl-C; a visitor's console gets these options and configurations.

    Raises:
        UsageError: textual-serve is not installed, or the port is taken.
    """
    from caroni.tui import web

    def announce(address: str) -> None:
        output.line(f"The console is at {address}")
        output.line("Whoever has this address has your rights here. Ctrl-C ends it.")
        output.line("From another host, through a tunnel:")
        output.line(f"  {_tunnel(address)}")
        output.flush()

    web.serve([*options, *(f"--config={one.path}" for one in loaded)], port, announce)


def _tunnel(address: str) -> str:
    """The line for the operator's laptop; the port is the same there, or the page would not find its way."""
    port = urlsplit(address).port
    # the address that this very session came in by is one that the laptop can reach
    through = os.environ.get("SSH_CONNECTION", "").split()
    host = through[2] if len(through) == 4 else socket.gethostname()
    return f"ssh -N -L {port}:127.0.0.1:{port} {getpass.getuser()}@{host}"
