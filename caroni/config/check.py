"""Checks that need more than one key, or know what a key means."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from caroni.config.schedule import parse_windows
from caroni.config.schema import Config
from caroni.core.base_peers import UNSIGNED
from caroni.core.patterns import identity_pattern_problem
from caroni.errors import ConfigError
from caroni.text import safe_line

_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


def check(config: Config, raw: dict[str, Any], shown: str) -> None:
    """Refuse what would be ignored, cannot work, or gives a secret away.

    Raises:
        ConfigError: one line, beginning with ``shown`` (the file).
    """
    for role in ("manager", "agent", "submitter"):
        if role in raw and role != config.role:
            raise ConfigError(f"{shown}: [{role}] has no meaning in the file of role {config.role}")
    if ".." in config.site:
        raise ConfigError(f"{shown}: site has two dots in a row")
    manager = config.submitter.manager
    if manager and ("*" in manager or identity_pattern_problem(manager, "manager")):
        wrong = safe_line(manager, 100)
        raise ConfigError(f"{shown}: [submitter] manager = {wrong!r} is not caroni://SITE/manager/NAME")
    _rules(config, shown)
    try:
        parse_windows(config.agent.schedule)
    except ValueError as error:
        raise ConfigError(f"{shown}: {error}") from None
    _order(config, shown)
    _broker(config, shown)
    _database(config, shown)


def _rules(config: Config, shown: str) -> None:
    patterns = [
        *(("manager.allow_submitter", "submitter", r.submitter) for r in config.manager.allow_submitter),
        *(("manager.trust", "agent", r.agent) for r in config.manager.trust),
        *(("agent.allow", "manager", r.manager) for r in config.agent.allow),
    ]
    for table, key, pattern in patterns:
        if problem := identity_pattern_problem(pattern, key):
            raise ConfigError(f"{shown}: [[{table}]] {key} = {safe_line(pattern, 100)!r}: {problem}")
        if pattern == UNSIGNED and config.security.mode != "lab":
            raise ConfigError(
                f"{shown}: [[{table}]] {key} = {UNSIGNED!r} is for peers that sign nothing; it needs "
                '[security] mode = "lab"'
            )


def _order(config: Config, shown: str) -> None:
    for section, low, high in (
        ("manager", "rebroadcast_min", "rebroadcast_max"),
        ("manager", "accept_resend_min", "accept_resend_max"),
        ("manager", "kill_resend_min", "kill_resend_max"),
        ("manager", "suspect_after", "lost_after"),
        ("agent", "result_resend_min", "result_resend_max"),
    ):
        table = getattr(config, section)
        if getattr(table, low) > getattr(table, high):
            raise ConfigError(f"{shown}: [{section}] {low} is longer than {high}")


def _broker(config: Config, shown: str) -> None:
    amqp = config.amqp
    try:
        url = urlsplit(amqp.url)
        host, _ = url.hostname or "", url.port
    except ValueError as error:
        raise ConfigError(f"{shown}: [amqp] url: {error}") from None
    if url.scheme not in ("amqp", "amqps") or not host:
        raise ConfigError(f"{shown}: [amqp] url must be amqps://HOST/ or amqp://HOST/")
    if url.password and (url.username, url.password) != ("guest", "guest"):
        raise ConfigError(
            f"{shown}: [amqp] url holds a password; put it in a file of mode 0600 and name that in "
            "password_file"
        )
    if amqp.password_file is not None and not url.username:
        raise ConfigError(f"{shown}: [amqp] password_file needs a user in url: amqps://USER@HOST/")
    if url.scheme == "amqp" and not (
        amqp.allow_plain or config.security.mode == "lab" or host in _LOCAL_HOSTS
    ):
        raise ConfigError(
            f"{shown}: [amqp] url is not encrypted and leaves this host; use amqps:// or set "
            "allow_plain = true"
        )
    if amqp.base_exchange and config.security.mode != "lab":
        raise ConfigError(
            f'{shown}: [amqp] base_exchange is for peers that sign nothing; it needs [security] mode = "lab"'
        )
    if amqp.base_exchange == amqp.exchange:
        raise ConfigError(f"{shown}: [amqp] base_exchange must be another one than exchange")
    if (amqp.cert_file is None) != (amqp.key_file is None):
        raise ConfigError(f"{shown}: [amqp] cert_file and key_file belong together; give both")


def _database(config: Config, shown: str) -> None:
    try:
        url = urlsplit(config.database.url)
        _ = url.port
    except ValueError as error:
        raise ConfigError(f"{shown}: [database] url: {error}") from None
    if url.scheme not in ("sqlite", "postgres", "postgresql") or not config.database.url.partition("://")[2]:
        raise ConfigError(f"{shown}: [database] url must be sqlite://FILE or postgres://USER@HOST:5432/NAME")
    if url.scheme != "sqlite" and url.password:
        raise ConfigError(
            f"{shown}: [database] url holds a password; put it in a file of mode 0600 and name that in "
            "password_file"
        )
