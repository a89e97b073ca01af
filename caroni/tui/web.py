"""The console in a browser, through textual-serve: on this host's loopback, for whoever holds the key.

textual-serve itself asks nobody who he is, and answers any page that any browser of this host has open. So
here (``docs/security.md``):

- it listens on 127.0.0.1 only, and answers only requests that were made to that name;
- the address that is printed holds a key, made for this run; it becomes a cookie, without which nothing is
  served, to other users of this host neither;
- a WebSocket must come from our own page;
- the page may load nothing from elsewhere.

Each visitor has a console of his own, a process that ends with his page.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
import shlex
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from caroni.errors import UsageError

if TYPE_CHECKING:
    from aiohttp import web

HOST = "127.0.0.1"
PORT = 8765

_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; font-src 'self' data:; connect-src 'self' ws://{place};"
    " frame-ancestors 'none'; base-uri 'none'"
)


def serve(arguments: Sequence[str], port: int, announce: Callable[[str], None]) -> None:
    """Serve ``caroni tui`` with these arguments until SIGINT or SIGTERM.

    Args:
        arguments: of ``caroni tui``.
        port: of 127.0.0.1; 0 takes any that is free.
        announce: is told the address, with its key, once it is listened on.

    Raises:
        UsageError: textual-serve is not installed, or the port is taken.
    """
    try:
        from aiohttp import web
        from textual_serve.server import Server
    except ImportError:
        raise UsageError(
            "the console in a browser needs textual-serve: install it with pip install 'caroni[web]'"
        ) from None
    listening = _listen(port)
    port = listening.getsockname()[1]
    place = f"{HOST}:{port}"
    door = _Door(place, secrets.token_urlsafe(24))
    command = shlex.join([sys.executable, "-m", "caroni", "tui", *arguments])

    class Quiet(Server):
        async def on_startup(self, app: web.Application) -> None:
            """Nothing: else a logo, and an address without the key."""

    @web.middleware
    async def admit(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        return await door.admit(request, handler)

    server = Quiet(command, host=HOST, port=port, title="caroni")

    async def run() -> None:
        application = await server._make_app()
        application.middlewares.append(admit)
        runner = web.AppRunner(application, handle_signals=True, shutdown_timeout=5.0, access_log=None)
        await runner.setup()
        try:
            await web.SockSite(runner, listening).start()
            announce(f"http://{place}/?key={door.key}")
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    with contextlib.suppress(web.GracefulExit):
        asyncio.run(run())


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listening.close()
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"port {port} of {HOST} cannot be used ({why}): give another --port") from None
    listening.listen()
    return listening


class _Door:
    """Lets in who has the key."""

    def __init__(self, place: str, key: str) -> None:
        self.key = key
        self._place = place
        # a cookie counts for all ports of a host
        self._cookie = f"caroni-{place.rpartition(':')[2]}"

    async def admit(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer, or say why not."""
        from aiohttp import web

        if request.host != self._place:
            return self._refused(f"open it as http://{self._place}/ with the key that was printed")
        if request.headers.get("Origin", f"http://{self._place}") != f"http://{self._place}":
            return self._refused("other pages have no business here")
        if self._is_key(request.query.get("key", "")):
            answer: web.StreamResponse = web.Response(status=303, headers={"Location": "/"})
            answer.set_cookie(self._cookie, self.key, httponly=True, samesite="Lax", path="/")
            return answer
        if not self._is_key(request.cookies.get(self._cookie, "")):
            return self._refused("the address must be the one that was printed, with its key")
        answer = await handler(request)
        if not answer.prepared:
            answer.headers["Content-Security-Policy"] = _POLICY.format(place=self._place)
            answer.headers["Referrer-Policy"] = "no-referrer"
            answer.headers["Cache-Control"] = "no-store"
        return answer

    def _is_key(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.key.encode())

    def _refused(self, why: str) -> web.Response:
        from aiohttp import web

        return web.Response(status=403, text=f"caroni: {why}\n")
