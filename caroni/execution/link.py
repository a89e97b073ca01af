"""The agent's end of the launcher process: start it, send it jobs, hear its lines, notice its death."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from caroni.execution import launcher


class LauncherLink:
    """One launcher process. ``on_lines`` gets complete lines, ``on_lost`` one call when it is gone."""

    def __init__(
        self,
        spool: str,
        on_lines: Callable[[list[str]], None],
        on_lost: Callable[[LauncherLink], None],
    ) -> None:
        self._spool = spool
        self._on_lines = on_lines
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._pending_out = bytearray()
        self._pending_in = b""
        self._process: subprocess.Popen[bytes] | None = None
        self._to = self._from = -1

    @property
    def pid(self) -> int:
        """The launcher's process id, 0 before it is open."""
        return self._process.pid if self._process else 0

    async def open(self) -> None:
        """Start the process.

        Raises:
            OSError: it cannot be started.
        """
        self._process = await asyncio.to_thread(self._spawn)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)
        self._loop.add_reader(self._from, self._readable)

    def _spawn(self) -> subprocess.Popen[bytes]:
        fd = os.open(f"{self._spool}/launcher.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return subprocess.Popen(  # noqa: S603 - our own file
                [sys.executable, "-I", "-S", str(Path(launcher.__file__)), self._spool],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=fd,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
                start_new_session=True,
                bufsize=0,
            )
        finally:
            os.close(fd)

    def send(self, jobs: Sequence[str]) -> None:
        """Have jobs started, by the names of their directories."""
        self._pending_out += "".join(f"{job}\n" for job in jobs).encode()
        self._writable()

    def _writable(self) -> None:
        if self._to < 0:
            return
        try:
            while self._pending_out:
                del self._pending_out[: os.write(self._to, self._pending_out)]
        except BlockingIOError:
            self._loop.add_writer(self._to, self._writable)
            return
        except BrokenPipeError:
            self._pending_out.clear()  # its end of output says the same
        self._loop.remove_writer(self._to)

    def _readable(self) -> None:
        try:
            data = os.read(self._from, 1 << 18)
        except BlockingIOError:
            return
        if not data:
            self._detach()
            self._on_lost(self)
            return
        *lines, self._pending_in = (self._pending_in + data).split(b"\n")
        if lines:
            self._on_lines([line.decode("ascii", "replace") for line in lines])

    def _detach(self) -> None:
        if self._from >= 0:
            self._loop.remove_reader(self._from)
            self._loop.remove_writer(self._to)
            self._to = self._from = -1

    async def close(self) -> None:
        """Let the launcher end; the jobs' supervisors go on."""
        self._detach()
        if self._process is not None:
            await asyncio.to_thread(self._end, self._process)
            self._process = None

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
