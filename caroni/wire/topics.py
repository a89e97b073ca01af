"""Routing keys: one's own topic from one's identity, and the broadcast key of a job type.

A topic is derived, never believed: whoever knows a URI knows where its owner listens.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache
from typing import Final

from caroni.core.base_peers import UNSIGNED_PREFIX
from caroni.trust.identity import Identity

#: Where every agent of base peers listens, and ours while one is about.
FULFILLMENT: Final = "wf.agent.fulfillment"
#: Where managers listen for presence.
PRESENCE: Final = "wf.manager.presence"
#: Longest routing key that AMQP carries, in bytes.
MAX_KEY: Final = 255

_TOPIC = re.compile(r"wf\.(?:manager|agent|submitter|operator)\.[A-Za-z0-9_-]{22}")
_PLAIN = re.compile(rb"[A-Za-z0-9_-]")
_ESCAPED = re.compile(r"(?:[A-Za-z0-9_-]|=[0-9A-F]{2})+")


@lru_cache(maxsize=4096)
def topic_of(uri: str) -> str:
    """The topic of an identity: ``wf.<role>.<22 characters>``; an unsigned peer's is its name.

    Raises:
        MessageRejected: ``E_IDENTITY``: not a Caroni URI.
    """
    if uri.startswith(UNSIGNED_PREFIX):
        return uri[len(UNSIGNED_PREFIX) :]
    identity = Identity.parse(uri)
    return f"wf.{identity.role}.{short_id(uri)}"


def short_id(uri: str) -> str:
    """22 characters that stand for a URI in topics and queue names."""
    digest = hashlib.sha256(uri.encode()).digest()[:16]
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_topic(text: str) -> bool:
    """Whether this is one participant's topic."""
    return _TOPIC.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def broadcast_key(job_type: str) -> str:
    """The routing key of requests for one job type; its name escaped to one topic word.

    Letters, digits, ``_`` and ``-`` stand for themselves, every other byte (UTF-8) is ``=XX``.

    Raises:
        ValueError: the name is empty, or its key is longer than AMQP carries.
    """
    word = "".join(
        chr(byte) if _PLAIN.match(bytes((byte,))) else f"={byte:02X}" for byte in job_type.encode()
    )
    key = f"{FULFILLMENT}.{word}"
    if not word or len(key) > MAX_KEY:
        raise ValueError(f"job type name {job_type[:40]!r} is empty or too long for a routing key")
    return key


def job_type_of(key: str) -> str | None:
    """The job type of a broadcast key; None for any other key."""
    prefix, _, word = key.partition(FULFILLMENT + ".")
    if prefix or not _ESCAPED.fullmatch(word):
        return None
    raw = re.sub(r"=(..)", lambda found: chr(int(found[1], 16)), word)
    try:
        return raw.encode("latin-1").decode()
    except UnicodeDecodeError:
        return None
