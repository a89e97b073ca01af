"""Real services for tests and benchmarks: a private RabbitMQ node, a private PostgreSQL, a TCP proxy.

Each is started from the packages of this machine on free ports in a temporary directory, and leaves
nothing behind. ``ServiceMissing`` says which package to install.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any


class ServiceMissing(Exception):
    """The programs of a service are not on this machine; the text names the package."""


class ServiceFailed(Exception):
    """A service was there and did not start; the text ends with its log."""


class Reaper:
    """Ends a service's process groups and removes its directory, even if this process is killed.

    A shell waits for the end of its input, which comes with :meth:`close` or with our death.
    """

    _SCRIPT = """
        cat >/dev/null
        for f in "$1"/*.reap; do
            [ -e "$f" ] && kill -9 "-$(cat "$f")"
        done
        rm -rf "$1" || { sleep 1; rm -rf "$1"; }
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", self._SCRIPT, "reaper", str(directory)],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, group: int) -> None:
        """Know a process group that must not outlive us."""
        (self._directory / f"{group}.reap").write_text(str(group))

    def forget(self, group: int) -> None:
        """The group has ended; its number may become somebody else's."""
        (self._directory / f"{group}.reap").unlink(missing_ok=True)

    def close(self) -> None:
        """End everything that is watched and remove the directory."""
        if self._shell.stdin is not None:
            self._shell.stdin.close()
        self._shell.wait()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now; all distinct."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def accepts(port: int) -> bool:
    """Whether something listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(predicate: Callable[[], object], timeout: float, message: str) -> None:
    """Wait (blocking) for a condition; ``ServiceFailed`` with ``message`` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() > deadline:
            raise ServiceFailed(f"{message} (waited {timeout:g} s)")
        time.sleep(0.02)


async def eventually(
    predicate: Callable[[], Any | Awaitable[Any]],
    timeout: float = 10.0,  # noqa: ASYNC109 (the deadline is what it is for)
    message: str | Callable[[], str] = "the condition did not come true",
) -> Any:
    """Wait for a condition (plain or async) and return its first true value.

    Raises:
        AssertionError: with ``message``, when it is still false after ``timeout`` seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    pause = 0.001
    while True:
        value = predicate()
        if asyncio.iscoroutine(value) or isinstance(value, asyncio.Future):
            value = await value
        if value:
            return value
        if loop.time() > deadline:
            raise AssertionError(
                f"{message() if callable(message) else message} (waited {timeout:g} s, last value {value!r})"
            )
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.05)
