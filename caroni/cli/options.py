"""Options that many commands have, spelled once, and what is asked on the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from caroni.errors import DocumentError, UsageError

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Configuration = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="CARONI_CONFIG",
        help="The caroni.toml to use, or its directory.",
        show_default=False,
    ),
]
ManagerUri = Annotated[
    str | None,
    typer.Option(
        "--manager",
        help="The manager, caroni://SITE/manager/NAME (default: the configuration's).",
        show_default=False,
    ),
]
Which = Annotated[
    str,
    typer.Argument(help="A workflow's id, its first characters, or its name.", metavar="WORKFLOW"),
]
Ca = Annotated[Path, typer.Option("--ca", help="Directory of the site's CA.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="File (mode 0600) with the CA's passphrase; otherwise it is asked for.",
        show_default=False,
    ),
]


def example(*lines: str) -> str:
    """The end of a command's help: commands that can be copied."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def ca_passphrase(directory: Path, file: Path | None) -> bytes | None:
    """The passphrase of a CA: from its file, or asked for; None where the key has none.

    Raises:
        UsageError: it is needed, and there is neither a file nor a terminal.
        ConfigError: no CA, or a file that others can read.
    """
    from caroni.services.authority import needs_passphrase, read_passphrase

    if not needs_passphrase(directory):
        return None
    return read_passphrase(file) if file is not None else ask_passphrase(f"passphrase of {directory}")


def ask_passphrase(prompt: str, *, twice: bool = False) -> bytes:
    """Ask for a passphrase without showing it.

    Raises:
        UsageError: there is no terminal, it is empty, or the second time it was another one.
    """
    import getpass

    if not sys.stdin.isatty():
        raise UsageError("a passphrase is needed: give --passphrase-file (there is no terminal to ask on)")
    first = getpass.getpass(f"{prompt}: ")
    if twice and getpass.getpass("once more: ") != first:
        raise UsageError("the two passphrases differ")
    if not first:
        raise UsageError("the passphrase is empty")
    return first.encode()


def text_from_stdin(limit: int = 16 << 20) -> str:
    """A document from standard input, for commands that take ``-`` for a file.

    Raises:
        DocumentError: it is larger than ``limit`` bytes, or not UTF-8.
    """
    data = sys.stdin.buffer.read(limit + 1)
    if len(data) > limit:
        raise DocumentError(f"larger than {limit >> 20} MiB", file="stdin")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"not UTF-8 text (byte {error.start})", file="stdin") from None
