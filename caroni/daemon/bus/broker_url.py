"""Where the broker is and how it is reached safely: URL, TLS and what connection errors mean.

A broker is not trusted with content (envelopes are signed), but its login and everybody's traffic
pattern must not cross a network in the clear (``docs/security.md`` section 5).
"""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from caroni.errors import ConfigError


class BrokerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about the connection to a RabbitMQ broker. Times are seconds.

    ``url`` is ``amqp[s]://user:password@host:port/vhost``; ``?auth=external`` logs in with the client
    certificate. ``queue_type`` (``classic`` or, on clusters, ``quorum``) is that of control queues.
    """

    url: str
    exchange: str = "caroni"
    exchange_durable: bool = True
    #: exchange of the base protocol's peers, topic and not durable; empty: there is none
    base_exchange: str = ""
    queue_type: str = "classic"
    prefetch: int = 128
    publish_timeout: float = 30.0
    #: unconfirmed publishes at a time; one more raises ``TransientError``
    max_in_flight: int = 256
    heartbeat: int = 15
    #: for connecting and declaring everything, over a slow link too
    connect_timeout: float = 30.0
    reconnect_min: float = 0.2
    reconnect_max: float = 30.0
    ping_interval: float = 60.0
    #: this many self-pings unanswered in a row: connections are torn down and built again
    ping_misses: int = 3
    #: so long without an answer: ``healthy`` becomes false
    unhealthy_after: float = 600.0
    #: name that operators see in RabbitMQ's list of connections
    name: str = "caroni"
    allow_plain: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_options(options: BrokerOptions) -> None:
    """Refuse what can never work or must not be used.

    Raises:
        ConfigError: the URL is unusable, or it would send a login over a network in the clear.
    """
    try:
        parts = urlsplit(options.url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(
            f"amqp.url cannot be read ({error}): write amqps://user:password@host:5671/vhost"
        ) from error
    if parts.scheme not in ("amqp", "amqps"):
        raise ConfigError(f"amqp.url must begin with amqps:// or amqp://, not {parts.scheme or 'nothing'}://")
    if not host:
        raise ConfigError("amqp.url names no host: write amqps://user:password@host:5671/vhost")
    if parts.scheme == "amqp" and not is_loopback(host) and not options.allow_plain:
        raise ConfigError(
            f"amqp.url would send the login to {host} unencrypted: use amqps://,"
            " or set amqp.allow_plain = true on a network you trust"
        )
    if options.queue_type not in ("classic", "quorum"):
        raise ConfigError(f"amqp.queue_type must be classic or quorum, not {options.queue_type}")
    if bool(options.cert_file) != bool(options.key_file):
        raise ConfigError("amqp.cert_file and amqp.key_file belong together: set both or none")


def tls_context(options: BrokerOptions) -> ssl.SSLContext | None:
    """TLS settings for ``amqps://``, host name always verified; ``None`` for ``amqp://``.

    Raises:
        ConfigError: a certificate or key file cannot be read.
    """
    if not options.url.startswith("amqps:"):
        return None
    for what in ("ca_file", "cert_file", "key_file"):
        file = getattr(options, what)
        if file and not Path(file).is_file():
            raise ConfigError(f"amqp.{what}: there is no file {file}")
    try:
        context = ssl.create_default_context(cafile=options.ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if options.cert_file:
            context.load_cert_chain(options.cert_file, options.key_file)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"amqp: the TLS files cannot be used ({error}): they must be PEM") from error
    return context


def place(url: str) -> str:
    """Host, port and vhost of a URL, fit for logs: never the login."""
    parts = urlsplit(url)
    port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
    vhost = unquote(parts.path[1:]) or "/"
    return f"{parts.hostname}:{port} vhost {vhost}"


def user(url: str) -> str:
    """Login name of a URL."""
    return unquote(urlsplit(url).username or "guest")
