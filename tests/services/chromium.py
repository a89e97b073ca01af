"""A headless Chromium of this machine, driven over its DevTools protocol: one page, and what it gets."""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.services import Reaper, ServiceMissing, eventually

if TYPE_CHECKING:
    import aiohttp

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def find() -> str:
    """The browser's program.

    Raises:
        ServiceMissing: there is none.
    """
    for name in _NAMES:
        if path := shutil.which(name):
            return path
    raise ServiceMissing("Chromium is not installed: apt-get install chromium-headless-shell")


class Page:
    """One page. ``frames`` is what came over its WebSockets, as text; ``loaded`` what it has loaded."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.frames = ""
        self.loaded: list[str] = []

    async def read(self) -> None:
        """Take in what the browser tells, until it ends."""
        async for message in self._socket:
            told = message.json()
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told.get("result", told.get("error")))
            elif told["method"] == "Network.webSocketFrameReceived":
                frame = told["params"]["response"]
                data = frame["payloadData"]
                binary = frame["opcode"] == 2
                self.frames += base64.b64decode(data).decode(errors="replace") if binary else data
            elif told["method"] == "Network.responseReceived":
                self.loaded.append(told["params"]["response"]["url"])

    async def call(self, method: str, **parameters: Any) -> Any:
        """Ask the browser for something."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(20):
            return await self._answers[number]

    async def evaluate(self, expression: str) -> Any:
        """The value of JavaScript in the page."""
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    async def click(self) -> None:
        """Click into the middle of the page, as somebody does before typing."""
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=500, y=350, button="left", clickCount=1)

    async def type(self, text: str) -> None:
        """Press keys that give these characters."""
        for character in text:
            await self.call("Input.dispatchKeyEvent", type="keyDown", text=character, key=character)
            await self.call("Input.dispatchKeyEvent", type="keyUp", key=character)


@asynccontextmanager
async def page(address: str) -> AsyncIterator[Page]:
    """Open an address in a new browser, which ends afterwards.

    Raises:
        ServiceMissing: there is no browser.
    """
    import aiohttp

    program = find()
    directory = Path(tempfile.mkdtemp(prefix="caroni-chromium-"))
    reaper = Reaper(directory)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run"]
    with (directory / "log").open("wb") as log:
        browser = subprocess.Popen(  # noqa: ASYNC220 (it takes a millisecond)
            [program, *options, f"--user-data-dir={directory}", "--window-size=1000,700", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    reaper.watch(browser.pid)
    try:
        port_file = directory / "DevToolsActivePort"
        port = await eventually(
            lambda: port_file.exists() and port_file.read_text().partition("\n")[0],
            30,
            lambda: (directory / "log").read_text(errors="replace")[-2000:],
        )
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                (target,) = [one for one in await answer.json() if one["type"] == "page"]
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                made = Page(socket)
                reading = asyncio.create_task(made.read())
                try:
                    await made.call("Network.enable")
                    await made.call("Page.enable")
                    await made.call("Page.navigate", url=address)
                    yield made
                finally:
                    reading.cancel()
    finally:
        browser.terminate()
        try:
            await asyncio.to_thread(browser.wait, 10)
        finally:
            await asyncio.to_thread(reaper.close)
