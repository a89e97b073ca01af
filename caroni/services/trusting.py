"""Whom this host believes: partner sites, revocation lists, bans, and its own certificate."""

from __future__ import annotations

from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import hashes

from caroni.config import Loaded
from caroni.errors import ConfigError, MessageRejected, UsageError
from caroni.services.stores import now
from caroni.text import safe_line
from caroni.trust import exchange, keys
from caroni.trust.certificates import parse_presented
from caroni.trust.identity import ROLES
from caroni.trust.instants import to_text
from caroni.trust.store import TrustStore


class TrustedSite(msgspec.Struct, frozen=True, kw_only=True):
    """A site that is believed. ``next_list`` says when a newer revocation list is due."""

    site: str
    roles: list[str]
    fingerprints: list[str]
    list_number: int | None = None
    next_list: str = ""


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """All sites that are believed, and all bans of this host."""

    sites: list[TrustedSite]
    bans: list[str]


def import_site(loaded: Loaded, bundle: Path, fingerprint: str, roles: tuple[str, ...] | None) -> TrustedSite:
    """Believe a site from now on.

    Raises:
        UsageError: the bundle is damaged, of another fingerprint, or does not offer these roles.
        ConfigError: a file cannot be read or written.
    """
    text = keys.read_text(bundle)
    if roles is not None and (unknown := sorted(set(roles) - set(ROLES))):
        raise UsageError(f"unknown role {safe_line(unknown[0], 40)!r}; known: {', '.join(ROLES)}")
    found = exchange.import_bundle(
        loaded.config.security.trust_dir, text, expect_fingerprint=fingerprint, roles=roles
    )
    return next(s for s in trust(loaded).sites if s.site == found.site)


def missing_rule(loaded: Loaded, site: TrustedSite) -> str:
    """The rule without which a newly believed site may still do nothing here; empty if there is one.

    Trust says who somebody is; what he may do is a rule of the configuration.
    """
    config = loaded.config
    if config.role == "manager" and "agent" in site.roles:
        named, table, key = [r.agent for r in config.manager.trust], "manager.trust", "agent"
    elif config.role == "agent" and "manager" in site.roles:
        named, table, key = [r.manager for r in config.agent.allow], "agent.allow", "manager"
    else:
        return ""
    if any(pattern.startswith(f"caroni://{site.site}/") for pattern in named):
        return ""
    return f'[[{table}]]\n{key} = "caroni://{site.site}/{key}/*"\njob_types = ["*"]'


def trust(loaded: Loaded) -> Trust:
    """What is believed now.

    Raises:
        ConfigError: a trust file is wrong or unsafe.
    """
    store = TrustStore.load(loaded.config.security.trust_dir)
    sites = []
    for site in store.sites.values():
        newest = max(site.lists.values(), key=lambda one: one.number, default=None)
        sites.append(
            TrustedSite(
                site=site.site,
                roles=sorted(site.roles),
                fingerprints=[exchange.spaced(a.fingerprint(hashes.SHA256()).hex()) for a in site.anchors],
                list_number=newest.number if newest else None,
                next_list=to_text(newest.next_update) if newest else "",
            )
        )
    return Trust(sites=sites, bans=sorted(store.bans))


def install_list(loaded: Loaded, path: Path) -> TrustedSite:
    """Take a newer revocation list of a site that is believed.

    Raises:
        UsageError: it is of a foreign CA, damaged, or not newer.
        ConfigError: a file cannot be read or written.
    """
    store = TrustStore.load(loaded.config.security.trust_dir)
    try:
        site = store.install_list(keys.read_text(path).encode("ascii"))
    except MessageRejected as error:
        raise UsageError(f"{safe_line(str(path))}: {error.detail}") from None
    return next(s for s in trust(loaded).sites if s.site == site)


def ban(loaded: Loaded, subject: str, reason: str) -> None:
    """Refuse an identity, or one certificate by its fingerprint, from now on.

    Raises:
        UsageError: it is neither.
        ConfigError: the bans cannot be written.
    """
    _ban(lambda store: store.ban(subject, reason), loaded, subject)


def unban(loaded: Loaded, subject: str) -> None:
    """Take a ban back.

    Raises:
        UsageError: there is no such ban.
        ConfigError: the bans cannot be written.
    """
    if not _ban(lambda store: store.unban(subject), loaded, subject):
        raise UsageError(f"{safe_line(subject, 200)} is not banned; see: caroni trust list")


def _ban(change: object, loaded: Loaded, subject: str) -> bool:
    directory = loaded.config.security.trust_dir
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return bool(change(TrustStore.load(directory)))  # type: ignore[operator]
    except MessageRejected:
        raise UsageError(
            f"{safe_line(subject, 200)!r} is neither caroni://site/role/name nor a SHA-256 fingerprint"
        ) from None


def install_certificate(loaded: Loaded, certificate: Path) -> str:
    """Put this identity's certificate in place, once its own site is believed; gives the identity.

    Raises:
        ConfigError: the certificate is not this identity's, not for its key, or not of its site's CA.
    """
    security, uri = loaded.config.security, loaded.config.uri
    text = keys.read_text(certificate)
    try:
        presented = parse_presented(text.replace("\r\n", "\n"))
    except MessageRejected as error:
        raise ConfigError(f"{safe_line(str(certificate))}: {error.detail or error.code}") from None
    if presented.identity.uri != uri:
        raise ConfigError(
            f"{safe_line(str(certificate))} is of {presented.identity.uri}, but this is {uri}:"
            " ask the CA's operator for role and name of this one"
        )
    anchors = security.trust_dir / f"{loaded.config.site}.pem"
    if not anchors.is_file():
        raise ConfigError(
            f"{loaded.config.site} is not trusted here yet; first: caroni trust import BUNDLE"
            " --expect-fingerprint ..."
        )
    exchange.install_certificate(
        text, security.key_file, security.certificate_file, keys.read_text(anchors), now=now()
    )
    return uri
