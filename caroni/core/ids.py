"""Ids that follow from other ids."""

from __future__ import annotations

import hashlib


def job_uuid_of(offer_uuid: bytes) -> bytes:
    """The job of an accepted offer: the version-5 uuid (RFC 9562) of ``job`` in the offer's namespace.

    An accept that arrives twice, or again after a crash, therefore names the same job.
    """
    digest = bytearray(hashlib.sha1(offer_uuid + b"job", usedforsecurity=False).digest()[:16])
    digest[6] = (digest[6] & 0x0F) | 0x50
    digest[8] = (digest[8] & 0x3F) | 0x80
    return bytes(digest)


def value_digest(value: str) -> bytes:
    """SHA-256 of a value's JSON text, as manifests carry it."""
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()
