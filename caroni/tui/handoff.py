"""A text in the operator's own editor (``$VISUAL``, ``$EDITOR``), with the terminal lent to it meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

from caroni.errors import UsageError
from caroni.text import safe_line

if TYPE_CHECKING:
    from textual.app import App

#: bytes of a text that are taken back
MAX_BYTES = 16 << 20
#: an editor that ends sooner has probably only opened a window
_SUSPICIOUS = 0.7


def editor_command() -> list[str]:
    """The words of the operator's editor.

    Raises:
        UsageError: none is named and none is there, or it cannot be found.
    """
    named = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    try:
        words = shlex.split(named)
    except ValueError:
        raise UsageError(f"$EDITOR cannot be read: {safe_line(named, 80)}") from None
    if not words:
        found = next((name for name in ("sensible-editor", "vi", "nano") if shutil.which(name)), "")
        if not found:
            raise UsageError("no editor is named: set $EDITOR")
        words = [found]
    if shutil.which(words[0]) is None:
        raise UsageError(f"$EDITOR: there is no program {safe_line(words[0], 80)}")
    return words


async def edited(app: App[None], text: str, name: str, suffix: str) -> str:
    """Let the operator edit a text outside of the console.

    The text goes through a file that only this user can read. Nothing is drawn meanwhile, but the console
    goes on to listen.

    Args:
        app: the console.
        text: what is edited.
        name: for the file's name.
        suffix: of the file, by which editors tell its kind (``.cwl``).

    Returns:
        the text as it was left.

    Raises:
        UsageError: no editor, the terminal cannot be lent (in a browser), or the editor failed.
    """
    words = editor_command()
    with tempfile.TemporaryDirectory(prefix="caroni-edit-") as directory:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "text"
        path = Path(directory) / f"{stem}{suffix}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        await run_editor(app, words, path)
        with path.open("rb") as left:
            data = left.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(f"the text is larger than {MAX_BYTES >> 20} MiB now: nothing is taken")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"the text is not UTF-8 any more (byte {error.start}): nothing is taken") from None


async def run_editor(app: App[None], words: list[str], path: Path) -> None:
    """Lend the terminal to an editor until it ends.

    Raises:
        UsageError: the terminal cannot be lent, or the editor failed or did not wait.
    """
    before, began = os.stat(path).st_mtime_ns, time.monotonic()
    try:
        with app.suspend(), app.batch_update(), _no_interrupts():
            process = await asyncio.create_subprocess_exec(*words, str(path))
            code = await process.wait()
    except SuspendNotSupported:
        raise UsageError("this terminal cannot be lent to $EDITOR: edit here") from None
    except OSError as error:
        raise UsageError(f"{safe_line(words[0], 80)}: {error.strerror}") from None
    finally:
        app.refresh(layout=True)
    if code != 0:
        raise UsageError(f"{safe_line(words[0], 80)} ended with {code}: nothing is taken")
    if time.monotonic() - began < _SUSPICIOUS and os.stat(path).st_mtime_ns == before:
        raise UsageError(
            f"{safe_line(words[0], 80)} ended at once and changed nothing: an editor with a window of its own"
            " must wait, e.g. EDITOR='code --wait'"
        )


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Ctrl+C belongs to the editor. A handler, not "ignore", which the editor would inherit."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
