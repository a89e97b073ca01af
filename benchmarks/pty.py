"""A program on a pseudo-terminal: what it sends, when, and what it costs."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psutil

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_].*?\x1b\\|.)", re.DOTALL
)


class OnTerminal:
    """One program. ``total`` counts the bytes that it has sent."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int, begun: float) -> None:
        self.process = psutil.Process(process.pid)
        self._popen = process
        self._descriptor = descriptor
        self.begun = begun
        self.total = 0
        self._chunks: list[tuple[float, bytes]] = []
        self._changed = threading.Condition()
        self._over = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._descriptor, 65536)
            except OSError:
                data = b""
            with self._changed:
                if data:
                    self._chunks.append((time.perf_counter(), data))
                    self.total += len(data)
                self._over = not data
                self._changed.notify_all()
            if not data:
                return

    def mark(self) -> int:
        """Where the output has come to, for :meth:`when`."""
        with self._changed:
            return len(self._chunks)

    def when(self, *words: str, since: int = 0, seconds: float = 60.0) -> float:
        """The instant (``perf_counter``) at which all words had been drawn, in this order or another.

        Raises:
            TimeoutError: they are not within ``seconds``; ends with what was drawn.
        """
        end = time.monotonic() + seconds
        drawn, place = "", since
        with self._changed:
            while True:
                while place < len(self._chunks):
                    at, data = self._chunks[place]
                    drawn += data.decode(errors="replace")
                    place += 1
                    text = _ESCAPES.sub("", drawn)
                    if all(word in text for word in words):
                        return at
                left = end - time.monotonic()
                if left <= 0 or self._over:
                    raise TimeoutError(f"{words} not drawn; the end was: {_ESCAPES.sub('', drawn)[-2000:]}")
                self._changed.wait(left)

    def press(self, keys: str) -> float:
        """Send keys; gives the instant."""
        at = time.perf_counter()
        os.write(self._descriptor, keys.encode())
        return at

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        times = self.process.cpu_times()
        return times.user + times.system

    def memory(self) -> int:
        """Resident bytes."""
        return int(self.process.memory_info().rss)

    def over(self, seconds: float) -> tuple[float, float]:
        """Share of a core, and bytes a second, over so many seconds from now."""
        begin, cpu, total = time.perf_counter(), self.cpu(), self.total
        time.sleep(seconds)
        took = time.perf_counter() - begin
        return (self.cpu() - cpu) / took, (self.total - total) / took

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)


@contextmanager
def on_terminal(
    command: Sequence[str], environment: Mapping[str, str], size: tuple[int, int] = (120, 40)
) -> Iterator[OnTerminal]:
    """Run a program on a terminal of its own; it is killed at the end."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("SSH_CONNECTION", "NO_COLOR", "COLUMNS", "LINES")}
    begun = time.perf_counter()
    process = subprocess.Popen(
        list(command),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**env, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8", **environment},
        start_new_session=True,
    )
    os.close(slave)
    made = OnTerminal(process, master, begun)
    try:
        yield made
    finally:
        process.kill()
        process.wait()
        os.close(master)
