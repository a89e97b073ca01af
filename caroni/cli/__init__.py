"""The command line: parses arguments, reads the configuration, calls one service, shows its answer.

Each command group is a module of its own, imported when it is used; services and libraries are imported
inside the commands, so that ``caroni --help`` costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; a user's mistake is one line on stderr."""
    from caroni.cli.frame import run

    return run(arguments)
