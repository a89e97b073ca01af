"""Starting, watching and ending the process behind ``caroni tui --demo`` (see ``caroni.cli.demoserver``)."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from caroni.errors import CaroniError
from caroni.services.tapping import AWAY, CLOSED, LIVE, Tapped, TapState
from caroni.text import safe_line

#: seconds until everybody runs, and until everybody has ended
START, END = 60.0, 10.0
#: envelopes that are kept until the console takes them
KEPT = 2000
#: bytes that one line may have: an envelope is bounded, base64 adds a third
LINE = 8 * 1024 * 1024


class DemoFailed(CaroniError):
    """The system did not start."""


class _Ready(msgspec.Struct, frozen=True, kw_only=True):
    configurations: list[str]


class DemoTap:
    """What passes the bus of the demo system, as its process tells; a :class:`caroni.tui.tap.Tap`."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._kept: deque[Tapped] = deque(maxlen=KEPT)
        self._task: asyncio.Task[None] | None = None
        self._since = 0
        self._received = self._dropped = 0

    @property
    def state(self) -> TapState:
        """See :class:`caroni.tui.tap.Tap`."""
        if not self._since:
            return CLOSED
        return AWAY if self._task is None or self._task.done() else LIVE

    @property
    def reason(self) -> str:
        """See :class:`caroni.tui.tap.Tap`."""
        return "the demo system has ended" if self.state == AWAY else ""

    @property
    def received(self) -> int:
        """See :class:`caroni.tui.tap.Tap`."""
        return self._received

    @property
    def dropped(self) -> int:
        """See :class:`caroni.tui.tap.Tap`."""
        return self._dropped

    async def start(self) -> None:
        """See :class:`caroni.tui.tap.Tap`."""
        self._since = time.time_ns() // 1000
        if self._task is None:
            self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        """All the time, open or closed: the pipe can be taken up only once."""
        reader = asyncio.StreamReader(limit=LINE)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._pipe)
        try:
            while line := await reader.readline():
                tapped = msgspec.json.decode(line, type=Tapped)
                if self._since and tapped.at >= self._since:
                    self._received += 1
                    self._dropped += len(self._kept) == KEPT
                    self._kept.append(tapped)
        finally:
            transport.close()

    def drain(self, limit: int = KEPT) -> list[Tapped]:
        """See :class:`caroni.tui.tap.Tap`."""
        return [self._kept.popleft() for _ in range(min(limit, len(self._kept)))]

    async def close(self) -> None:
        """See :class:`caroni.tui.tap.Tap`."""
        self._since = 0
        self._kept.clear()


class Demo:
    """A manager and agents that run in a process of their own."""

    def __init__(self, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        assert process.stdout is not None
        self._process = process
        self._said = said
        self.tap = DemoTap(process.stdout)

    def configurations(self) -> list[Path]:
        """Wait until everybody runs; gives the configurations, the manager's first. To be called once.

        Raises:
            DemoFailed: it did not start; says why.
        """
        return [Path(path) for path in _first_line(self._process, self._said).configurations]


@contextmanager
def demo_system() -> Iterator[Demo]:
    """Begin the system of ``caroni tui --demo``; it ends with this process too, however that ends."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "caroni", "demo", "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,  # keys of the terminal are the console's alone
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Demo(process, said)
        finally:
            process.stdin.close()
            try:
                process.wait(END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def _first_line(process: subprocess.Popen[bytes], said: IO[bytes]) -> _Ready:
    """Wait for it without reading beyond it: the rest is the tap's."""
    assert process.stdout is not None
    end = time.monotonic() + START
    line = b""
    descriptor = process.stdout.fileno()
    while not line.endswith(b"\n"):
        if not select.select([descriptor], [], [], max(end - time.monotonic(), 0.0))[0]:
            raise DemoFailed(f"the demo system has not started within {START:.0f} s")
        byte = os.read(descriptor, 1)
        if not byte:
            process.wait(END)
            said.seek(0)
            last = said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise DemoFailed(f"the demo system did not start: {safe_line(last[-1], 500)}")
        line += byte
    return msgspec.json.decode(line, type=_Ready)
