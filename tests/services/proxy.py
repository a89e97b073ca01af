"""A TCP proxy between a client and a service that can cut, swallow or slow what passes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl


class Proxy:
    """Forwards 127.0.0.1:``port`` to 127.0.0.1:``target``.

    States: :meth:`through` (forward), :meth:`cut` (connections end, new ones are refused at once),
    :meth:`blackhole` (connections stay and are taken, but nothing moves), :meth:`slow` (each piece late).
    With ``tls`` it speaks TLS to its clients.
    """

    def __init__(self, target: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.target = target
        self._tls = tls
        self.port = 0
        self.delay = 0.0
        self._open = asyncio.Event()
        self._open.set()
        self._refusing = False
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, *, port: int = 0) -> None:
        """Listen on a free (or the given) port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    def through(self) -> None:
        """Forward everything at once."""
        self.delay = 0.0
        self._refusing = False
        self._open.set()

    def cut(self, *, refuse: bool = False) -> None:
        """End all connections; with ``refuse`` new ones end as well, until :meth:`through`."""
        self._refusing = refuse
        for writer in list(self._writers):
            writer.transport.abort()

    def blackhole(self) -> None:
        """Keep connections open and move nothing."""
        self._open.clear()

    def slow(self, delay: float) -> None:
        """Hold back every piece by ``delay`` seconds."""
        self.delay = delay

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        far: asyncio.StreamWriter | None = None
        try:
            if self._refusing:
                return
            await self._open.wait()
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(far)
            pumps = [
                asyncio.create_task(self._pump(reader, far)),
                asyncio.create_task(self._pump(far_reader, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for end in (writer, far):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._open.wait()
                writer.write(piece)
                await writer.drain()

    async def close(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        self.cut(refuse=True)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
