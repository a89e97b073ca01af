"""``caroni tui --web``: in a real browser, and to nobody else."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from caroni.services.setup import make_directory
from tests.conftest import missing
from tests.services import ServiceMissing, eventually, wait_until
from tests.services.chromium import find, page

aiohttp = pytest.importorskip("aiohttp", reason="textual-serve is not installed: pip install 'caroni[web]'")


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    await make_directory("manager", tmp_path / "m1", site="a.example", name="m1")
    return tmp_path / "m1"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "caroni", "tui", "--web", *arguments]
    env = {**os.environ, **environment, "CARONI_DEBUG": ""}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


@contextlib.contextmanager
def served(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The console, served; what it has said until it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "caroni", "tui", "--web", "--port=0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("  ssh "):
                break
        yield process, said
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        process.stdout.close()


async def test_in_a_browser(directory: Path) -> None:
    try:
        find()
    except ServiceMissing as error:
        missing(error)
    with served(f"--config={directory}", "--screen=health", "--readonly") as (process, said):
        address = re.search(r"http://127\.0\.0\.1:\d+/\?key=\S+", said[0])
        assert address, said
        async with page(address[0]) as shown:
            await eventually(lambda: "health" in shown.frames and "READ-ONLY" in shown.frames, 30)
            await eventually(lambda: "manager m1" in shown.frames, 10)
            assert "-first-byte" in await shown.evaluate("document.body.className")
            assert await shown.evaluate("document.cookie") == ""  # scripts do not see the key
            assert all(url.startswith("http://127.0.0.1:") for url in shown.loaded)  # nothing from elsewhere
            await shown.click()
            await shown.type("?")
            await eventually(lambda: "Keys that work here" in shown.frames, 10)
            children = psutil.Process(process.pid).children(recursive=True)
            assert children
        # his console ends with his page
        wait_until(lambda: not any(child.is_running() for child in children), 20, "the console runs on")


async def test_nobody_else_is_let_in(directory: Path) -> None:
    with served(f"--config={directory}") as (_, said):
        found = re.search(r"http://(127\.0\.0\.1:(\d+))/\?key=(\S+)", said[0])
        assert found, said
        place, port, key = found.groups()
        assert said[-1].startswith(f"  ssh -N -L {port}:127.0.0.1:{port} ")
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:

            async def status(path: str, **headers: str) -> int:
                url = f"http://{place}{path}"
                async with session.get(url, headers=headers, allow_redirects=False) as answer:
                    return int(answer.status)

            cookie = f"caroni-{port}={key}"
            assert await status("/") == 403
            assert await status("/?key=wrong") == 403
            assert await status("/static/js/textual.js") == 403
            assert await status("/ws") == 403
            assert await status(f"/?key={key}") == 303
            assert await status("/", Cookie=cookie) == 200
            # a page of somebody else, in a browser that has the cookie; and a name that leads here
            assert await status("/ws", Cookie=cookie, Origin="http://elsewhere.example") == 403
            assert await status("/", Cookie=cookie, Host=f"elsewhere.example:{port}") == 403


async def test_a_taken_port_is_one_line(directory: Path) -> None:
    with served(f"--config={directory}") as (_, said):
        port = said[0].partition("127.0.0.1:")[2].partition("/")[0]
        ran = run(f"--port={port}", f"--config={directory}")
    assert ran.returncode == 2
    assert ran.stderr == (
        f"caroni: port {port} of 127.0.0.1 cannot be used (Address already in use): give another --port\n"
    )


def test_without_the_extra_the_remedy_is_told(tmp_path: Path) -> None:
    (tmp_path / "textual_serve.py").write_text("raise ImportError('not here')")
    ran = run("--demo", PYTHONPATH=str(tmp_path))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "caroni: the console in a browser needs textual-serve: install it with pip install 'caroni[web]'\n"
    )
