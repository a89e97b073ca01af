"""Whom this host believes: partner sites, revocation lists, bans, and its own certificate."""

from __future__ import annotations

from pathlib import Path

import msgspec

from caroni.config import Loaded
from caroni.core.commands import ReloadTrust
from caroni.errors import ConfigError, MessageRejected, UsageError
from caroni.services import control
from caroni.services.stores import now
from caroni.services.trustlist import Trust, TrustedSite, trust
from caroni.text import safe_line
from caroni.trust import exchange, keys
from caroni.trust.certificates import parse_presented
from caroni.trust.identity import ROLES
from caroni.trust.store import TrustStore, as_ban_subject

__all__ = [
    "Preview",
    "Trust",
    "TrustedSite",
    "ban",
    "ban_subject",
    "import_site",
    "install_certificate",
    "install_list",
    "missing_rule",
    "preview_import",
    "tell_daemon",
    "trust",
    "unban",
]


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What importing a bundle would do.

    ``fits``: the fingerprint that was given is the bundle's. ``before`` are the roles that the site is
    believed for already; ``rule`` is what the configuration lacks for it to matter (:func:`missing_rule`).
    ``lines`` say what the bundle holds.
    """

    site: str
    offered: list[str]
    roles: list[str]
    before: list[str]
    fingerprints: list[str]
    fits: bool
    rule: str
    lines: list[str]


def preview_import(
    loaded: Loaded, bundle: Path, fingerprint: str, roles: tuple[str, ...] | None = None
) -> Preview:
    """What :func:`import_site` would do with the same arguments; nothing is written.

    Raises:
        UsageError: the bundle is damaged, or does not offer these roles.
        ConfigError: a file cannot be read.
    """
    text = keys.read_text(bundle)
    found = exchange.read_bundle(text)
    granted = found.roles if roles is None else roles
    if not granted or (more := sorted(set(granted) - set(found.roles))):
        wrong = f", not {safe_line(more[0], 40)!r}" if granted else ""
        raise UsageError(f"{found.site} offers {', '.join(found.roles)}{wrong}")
    present = next((s for s in trust(loaded).sites if s.site == found.site), None)
    given = tuple(sorted(exchange.bare(part) for part in fingerprint.split(",")))
    fingerprints = [exchange.spaced(one) for one in found.fingerprints]
    return Preview(
        site=found.site,
        offered=list(found.roles),
        roles=list(granted),
        before=present.roles if present is not None else [],
        fingerprints=fingerprints,
        fits=given == found.fingerprints,
        rule=missing_rule(
            loaded, TrustedSite(site=found.site, roles=list(granted), fingerprints=fingerprints)
        ),
        lines=exchange.describe(text, now=now()),
    )


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


def ban_subject(text: str) -> str:
    """Who a ban would be of, as bans name him: a URI, or the SHA-256 of a certificate.

    Raises:
        UsageError: it is neither.
    """
    try:
        return as_ban_subject(text)
    except MessageRejected:
        raise UsageError(
            f"{safe_line(text, 200)!r} is neither caroni://site/role/name nor a SHA-256 fingerprint"
        ) from None


def ban(loaded: Loaded, subject: str, reason: str) -> None:
    """Refuse an identity, or one certificate by its fingerprint, from now on.

    Raises:
        UsageError: it is neither.
        ConfigError: the bans cannot be written.
    """
    subject = ban_subject(subject)
    _changed(loaded).ban(subject, reason)


def unban(loaded: Loaded, subject: str) -> None:
    """Take a ban back.

    Raises:
        UsageError: there is no such ban.
        ConfigError: the bans cannot be written.
    """
    if not _changed(loaded).unban(ban_subject(subject)):
        raise UsageError(f"{safe_line(subject, 200)} is not banned; see: caroni trust list")


def _changed(loaded: Loaded) -> TrustStore:
    directory = loaded.config.security.trust_dir
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return TrustStore.load(directory)


async def tell_daemon(loaded: Loaded) -> str:
    """Have a daemon that runs read trust and bans again; says in words when they count.

    Raises:
        CommandRefused: the daemon keeps what it had, because a file is wrong; says which.
        LeftForLater: it has not answered yet; it reads them when it can.
        ConfigError: its database cannot be used.
        TransientError: its database is away.
    """
    role = loaded.config.role
    if role == "submitter":
        return "it counts from now on"
    if not control.daemon_runs(loaded.lock_file):
        return f"the {role} does not run, and reads it when it starts"
    async with control.to_daemon(loaded) as store:
        await control.give(loaded, store, ReloadTrust())
    return f"the {role} has read it"


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
