"""Making the directory of a manager, an agent or a submitter: ``caroni init``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from caroni.config import FILE_NAME, Loaded, build, database_url
from caroni.core.patterns import identity_pattern_problem
from caroni.errors import ConfigError, MessageRejected, UsageError
from caroni.services.starter import starter
from caroni.services.stores import now, opened
from caroni.text import safe_line
from caroni.trust import exchange, keys
from caroni.trust.authority import CertificateAuthority
from caroni.trust.identity import ROLES, Identity

#: Role that each role can be made for, and must be one that has a directory of its own.
SETUP_ROLES = ("manager", "agent", "submitter")


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What ``init`` made. ``fingerprint`` is of the CA, where one issued the certificate at once."""

    uri: str
    role: str
    directory: str
    config: str
    request: str
    certificate: str = ""
    fingerprint: str = ""


async def make_directory(
    role: str,
    directory: Path,
    *,
    site: str,
    name: str,
    broker: str = "amqp://localhost/",
    database: str = "sqlite://caroni.db",
    database_password_file: Path | None = None,
    allow_managers: Sequence[str] = (),
    trust_agents: Sequence[str] = (),
    manager: str = "",
    ca: Path | None = None,
    ca_passphrase: bytes | None = None,
    days: int = 365,
) -> Made:
    """Make a directory (0700) with key, request, configuration and database; all of it or nothing.

    Args:
        role: ``manager``, ``agent`` or ``submitter``.
        directory: must not exist, or be empty.
        site: who vouches for the identity.
        name: its name within site and role.
        broker: URL of the broker.
        database: URL of the database; a file in the directory by default.
        database_password_file: file (0600) that holds its password, for PostgreSQL.
        allow_managers: identity patterns of the managers an agent works for; its own site's by default.
        trust_agents: identity patterns of the agents a manager takes offers of; likewise.
        manager: identity of the manager that a submitter's workflows go to.
        ca: directory of the site's CA, if it is on this host: the certificate is issued at once.
        ca_passphrase: of the CA's key.
        days: lifetime of that certificate.

    Raises:
        UsageError: a name, pattern or URL cannot be used.
        ConfigError: the directory is in use or cannot be made, or the CA cannot be used.
    """
    identity = _identity(site, role, name)
    _patterns("--allow-manager", allow_managers, "manager", only_for="agent", role=role)
    _patterns("--trust-agent", trust_agents, "agent", only_for="manager", role=role)
    if manager:
        _patterns("--manager", (manager,), "manager", only_for="submitter", role=role)
    directory = _absolute(directory)
    text = starter(
        role,
        site,
        name,
        broker=broker,
        database=database,
        database_password_file=str(_absolute(database_password_file)) if database_password_file else "",
        allow_managers=allow_managers,
        trust_agents=trust_agents,
        manager=manager,
    )
    loaded = _understood(text, directory)
    authority = CertificateAuthority.load(ca, ca_passphrase) if ca is not None else None
    if authority is not None and authority.site != site:
        raise UsageError(f"the CA in {safe_line(str(ca))} is of {authority.site}, not of {site}")
    existed = _claim(directory)
    try:
        return await _fill(directory, identity, text, loaded, authority, days)
    except BaseException:
        _undo(directory, existed)
        raise


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _identity(site: str, role: str, name: str) -> Identity:
    if role not in SETUP_ROLES:
        raise UsageError(f"{safe_line(role, 40)!r} is none of: {', '.join(SETUP_ROLES)}")
    try:
        return Identity.of(site, role, name)
    except MessageRejected as error:
        raise UsageError(error.detail) from None


def _patterns(option: str, patterns: Sequence[str], named: str, *, only_for: str, role: str) -> None:
    for pattern in patterns:
        if role != only_for:
            raise UsageError(f"{option} is for {only_for}s, this is to be a {role}")
        if problem := identity_pattern_problem(pattern, named):
            raise UsageError(f"{option} {safe_line(pattern, 100)!r}: {problem}")


def _understood(text: str, directory: Path) -> Loaded:
    """The configuration as it will be read: what is wrong with it is wrong with an option."""
    import tomllib

    try:
        return build(tomllib.loads(text), path=directory / FILE_NAME, environ={})
    except ConfigError as error:
        raise UsageError(str(error).removeprefix(f"{directory / FILE_NAME}: ")) from None


def _claim(directory: Path) -> bool:
    """Make the directory, or take an empty one; says whether it was there."""
    shown = safe_line(str(directory))
    try:
        existed = directory.exists()
        if existed and (not directory.is_dir() or any(directory.iterdir())):
            raise ConfigError(f"{shown} exists and is not empty: choose another directory")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"{shown} cannot be made: {error.strerror}") from None
    return existed


def _undo(directory: Path, existed: bool) -> None:
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if not existed:
        directory.rmdir()


async def _fill(
    directory: Path,
    identity: Identity,
    text: str,
    loaded: Loaded,
    authority: CertificateAuthority | None,
    days: int,
) -> Made:
    security = loaded.config.security
    key = keys.generate_key()
    keys.store_private_key(security.key_file, key)
    request = exchange.make_request(key, identity)
    keys.write_atomically(directory / "identity.csr", request.encode("ascii"))
    keys.write_atomically(loaded.path, text.encode(), mode=0o600)
    security.trust_dir.mkdir(mode=0o700)
    if identity.role == "agent":
        loaded.config.agent.spool_dir.mkdir(mode=0o700)
        loaded.config.agent.definitions_dir.mkdir(mode=0o700)
    if identity.role != "submitter":
        from caroni.model.schema import migrate

        await migrate(database_url(loaded), loaded.lock_file)
        async with opened(loaded, identity.role, "databases", read_only=False):
            pass  # the first opening makes it this role's
    if authority is not None:
        certificate = authority.issue(request, identity.role, identity.name, now=now(), days=days)
        exchange.install_certificate(
            certificate, security.key_file, security.certificate_file, authority.pem, now=now()
        )
        bundle = exchange.export_bundle(authority, ROLES, now=now())
        exchange.import_bundle(security.trust_dir, bundle, expect_fingerprint=authority.fingerprint)
    return Made(
        uri=identity.uri,
        role=identity.role,
        directory=str(directory),
        config=str(loaded.path),
        request=str(directory / "identity.csr"),
        certificate=str(security.certificate_file) if authority is not None else "",
        fingerprint=exchange.spaced(authority.fingerprint) if authority is not None else "",
    )
