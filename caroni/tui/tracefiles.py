"""Asking for the file that a trace is written to, or read from."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from caroni.services.traced import TraceFilter
from caroni.tui.screens.ask import AskScreen, Field, not_a_file
from caroni.tui.tracefilter import cli_words

if TYPE_CHECKING:
    from caroni.services.tracefile import Exported
    from caroni.tui.screens.base import ConsoleScreen


def export_dialogue(screen: ConsoleScreen, filter: TraceFilter, notes: Sequence[str]) -> None:
    """Ask where to, and write what the filter lets pass of the screen's ledger."""
    host, site = screen.host, screen.site
    name = f"caroni-{time.strftime('%Y%m%d-%H%M%S', time.localtime(host.clock()))}.trace"
    lines = ["Sealed envelopes with their certificates; whoever has the file can read them.", *notes]

    async def dialogue() -> None:
        typed = await host.push_screen_wait(
            AskScreen("Export messages", lines, [Field("path", "To a new file", value=name)], _check)
        )
        if typed is None:
            return
        path = _path(typed)

        async def write() -> str:
            from caroni.services.traceexport import export

            count = await site.read(lambda store: export(store, site.uri, path, filter))
            return f"{count} messages are in {path}"

        screen.do("export", screen.cli("trace", *cli_words(filter), "--export", str(path)), write)

    screen.ask(dialogue)


def open_dialogue(screen: ConsoleScreen, then: Callable[[Exported, str], None]) -> None:
    """Ask which, read it, and hand it on with its name."""
    lines = ["Each message is verified against this host's trust store."]

    async def dialogue() -> None:
        from caroni.services.tracefile import open_export

        typed = await screen.host.push_screen_wait(
            AskScreen(
                "Open a trace",
                lines,
                [Field("path", "File", hint="nightly.trace")],
                lambda typed: _check(typed) or not_a_file(_path(typed)),
            )
        )
        if typed is not None:
            path = _path(typed)
            then(await asyncio.to_thread(open_export, path), path.name)

    screen.ask(dialogue)


def _check(typed: dict[str, str]) -> str:
    return "" if typed["path"] else "A file's name is needed."


def _path(typed: dict[str, str]) -> Path:
    return Path(os.path.expanduser(typed["path"]))
