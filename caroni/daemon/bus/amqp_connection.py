"""A connection to RabbitMQ that can be aborted, and what its errors mean in words.

With ``amqp_link`` the only module that knows aio-pika.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from typing import Any, cast

import aio_pika
from aiormq import Channel
from aiormq.connection import TransportFactory
from aiormq.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    ChannelAccessRefused,
    IncompatibleProtocolError,
    ProbableAuthenticationError,
)
from yarl import URL

from caroni.daemon.bus.broker_url import BrokerOptions, place, user

#: seconds that saying good-bye may take
CLOSE_TIMEOUT = 3.0

#: What a broker, a network or the client library throws at us. The library's own faults are among it: a
#: daemon must outlive them. A dying connection cancels what waits on it, though nobody cancelled that task.
BROKER_ERRORS = (Exception, asyncio.CancelledError)


def quiet_libraries() -> None:
    """The client library logs a line and a traceback per failed attempt; ours are one per change of state."""
    for name in ("aiormq", "aio_pika"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)


def explain(error: BaseException, options: BrokerOptions) -> str:
    """One line for the operator: cause and remedy."""
    where = place(options.url)
    text = " ".join(str(error).split()) or type(error).__name__
    # ``ProbableAuthenticationError`` is what a refused login looks like with a broker that says so.
    if isinstance(error, ProbableAuthenticationError | AuthenticationError):
        return f"login of user {user(options.url)} refused by {where}: check user, password and amqp.url"
    # Here the library drops the broker's reason; the only thing refused at this step is the vhost.
    if "Connection.OpenOk" in text or "NOT_ALLOWED" in text:
        return (
            f"{where}: no such vhost, or user {user(options.url)} may not use it: ask the broker's operator"
        )
    if isinstance(error, ChannelAccessRefused):
        wanted = "ask its operator for the permissions of docs/operations.md"
        return f"{where}: permission refused ({text}): {wanted}"
    if isinstance(error, TimeoutError):
        return f"{where} does not answer within {options.connect_timeout:g} s: is it a broker, or frozen?"
    if isinstance(error, IncompatibleProtocolError | EOFError | asyncio.IncompleteReadError):
        return f"{where} closed the connection during the handshake: is it an AMQP port, with TLS or without?"
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLError):
        return f"TLS with {where} failed ({cause}): check amqp.ca_file and the host name"
    if isinstance(error, OSError | AMQPConnectionError):
        return f"cannot reach {where} ({text}): is the broker running, and amqp.url right?"
    return f"{where}: {type(error).__name__}: {text}"


class _Transport(TransportFactory):
    """Opens the socket and keeps it, so that a dead peer's connection can be aborted instead of awaited."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            reader, writer = await asyncio.open_connection(url.host, url.port, ssl=self._context)
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self._writer = writer
        return reader, writer

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


class BrokerConnection:
    """A connection whose end is reported once."""

    def __init__(self, options: BrokerOptions, context: ssl.SSLContext | None, purpose: str) -> None:
        name = f"{options.name} {purpose}"
        url = URL(options.url).update_query(heartbeat=str(options.heartbeat), name=name)
        self._transport = _Transport(context)
        self.amqp = aio_pika.Connection(url, ssl_context=context)
        self.amqp.kwargs["transport_factory"] = self._transport

    async def open(self, on_close: Callable[[BaseException | None], None]) -> None:
        await self.amqp.connect()
        self.amqp.close_callbacks.add(lambda _, error: on_close(error))

    @property
    def version(self) -> str:
        transport = self.amqp.transport
        properties = {} if transport is None else getattr(transport.connection, "server_properties", {})
        return str(properties.get("version", ""))

    async def channel(self, *, confirms: bool) -> tuple[aio_pika.abc.AbstractChannel, Channel]:
        channel = self.amqp.channel(publisher_confirms=confirms, on_return_raises=False)
        await channel.initialize()
        return channel, cast("Channel", await channel.get_underlay_channel())

    async def close(self, *, graceful: bool) -> None:
        if not graceful:
            self._transport.abort()
        with contextlib.suppress(*BROKER_ERRORS):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.amqp.close()
                return
        self._transport.abort()
        with contextlib.suppress(*BROKER_ERRORS):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.amqp.close()


def in_words(error: BaseException | None) -> str:
    """An error's text on one line, or at least its kind."""
    return " ".join(str(error).split()) if error is not None and str(error) else type(error).__name__
