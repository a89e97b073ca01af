"""Who somebody is: ``caroni://<site>/<role>/<name>``, and the object identifiers of the roles.

The grammar has one spelling for each identity (lower-case ASCII, no escapes, no port, no trailing
slash), so that identities are compared as bytes. It follows SPIFFE's rules for X.509 identities.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec
from cryptography.x509 import ObjectIdentifier

from caroni.errors import MessageRejected

ROLES: Final = ("manager", "agent", "submitter", "operator")
MAX_URI: Final = 200

#: The project's arc: a version-4 uuid, made once, under ITU-T X.667's ``2.25``.
OID_ARC: Final = "2.25.107246287818908820289117964759208835438"
#: Extended key usage of each role's certificates.
ROLE_OIDS: Final = {role: ObjectIdentifier(f"{OID_ARC}.{n}") for n, role in enumerate(ROLES, start=1)}
ROLE_OF_OID: Final = {oid.dotted_string: role for role, oid in ROLE_OIDS.items()}

_SITE = r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?"
_NAME = r"[a-z0-9][a-z0-9-]{0,62}"
_URI = re.compile(rf"caroni://({_SITE})/({'|'.join(ROLES)})/({_NAME})", re.ASCII)
_SITE_ONLY = re.compile(_SITE, re.ASCII)
_NAME_ONLY = re.compile(_NAME, re.ASCII)


class Identity(msgspec.Struct, frozen=True):
    """The three parts of a URI."""

    site: str
    role: str
    name: str

    @property
    def uri(self) -> str:
        """``caroni://site/role/name``."""
        return f"caroni://{self.site}/{self.role}/{self.name}"

    @staticmethod
    def parse(uri: str) -> Identity:
        """The identity of a URI.

        Raises:
            MessageRejected: ``E_IDENTITY``.
        """
        return _parse(uri)

    @staticmethod
    def of(site: str, role: str, name: str) -> Identity:
        """An identity from its parts.

        Raises:
            MessageRejected: ``E_IDENTITY``, saying which part is wrong.
        """
        if not is_site(site):
            raise MessageRejected("E_IDENTITY", f"site {site[:64]!r}: {_RULE_SITE}")
        if role not in ROLES:
            raise MessageRejected("E_IDENTITY", f"role {role[:64]!r} is none of {', '.join(ROLES)}")
        if not _NAME_ONLY.fullmatch(name):
            raise MessageRejected("E_IDENTITY", f"name {name[:64]!r}: {_RULE_NAME}")
        return _parse(f"caroni://{site}/{role}/{name}")


_RULE_SITE = "lower-case letters, digits, dots and hyphens, at most 63, no dot or hyphen at an end"
_RULE_NAME = "lower-case letters, digits and hyphens, at most 63, no hyphen first"


def is_site(text: str) -> bool:
    """Whether a text can name a site."""
    return _SITE_ONLY.fullmatch(text) is not None and ".." not in text


@lru_cache(maxsize=4096)
def _parse(uri: str) -> Identity:
    found = _URI.fullmatch(uri) if len(uri) <= MAX_URI else None
    if found is None or ".." in found[1]:
        raise MessageRejected("E_IDENTITY", "not of the form caroni://site/role/name")
    return Identity(found[1], found[2], found[3])
