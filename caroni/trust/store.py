"""What this host trusts: one file per site, revocation lists, local bans; and what it has verified so far.

``<directory>/<site>.toml``::

    site = "nasa.example"
    ca = "nasa.example.pem"              # beside this file; several anchors while a CA is replaced
    ca_sha256 = ["<64 hex digits>"]      # exactly the anchors in that file
    roles = ["agent"]                    # what this site may send
    crl = "nasa.example.crl"             # optional; several lists, PEM
    max_staleness = "30d"                # beyond a list's next update
    crl_fail = "deny-new-work"           # or "deny-all", "ignore"

``<directory>/bans`` holds a URI or a certificate's SHA-256 per line. A change raises ``generation`` and
drops everything that was cached under the old one.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tomllib
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from caroni.core.plan import DAY
from caroni.errors import ConfigError, MessageRejected
from caroni.trust.certificates import Presented, parse_presented
from caroni.trust.chain import Chain, SiteVerifier, key_id
from caroni.trust.identity import ROLES, Identity, is_site
from caroni.trust.keys import certificates_of, read_text, write_atomically
from caroni.trust.revocation import RevocationList, read_list, refused_list

CRL_FAIL: Final = ("deny-new-work", "deny-all", "ignore")
CACHED_CHAINS: Final = 10_000
CACHED_REFUSALS: Final = 1_000
REFUSAL_KEPT: Final = 60 * 1_000_000
BANS: Final = "bans"

_DURATION = re.compile(r"([0-9]{1,6})(m|h|d)")
_UNITS = {"m": 60_000_000, "h": 3_600_000_000, "d": DAY}
_PEM_LIST = re.compile(r"-----BEGIN X509 CRL-----\n[A-Za-z0-9+/=\n]+-----END X509 CRL-----\n?")


class _File(msgspec.Struct, forbid_unknown_fields=True):
    site: str
    ca: str
    ca_sha256: str | list[str]
    roles: list[str]
    crl: str = ""
    max_staleness: str = "30d"
    crl_fail: str = CRL_FAIL[0]


class SiteTrust(msgspec.Struct, kw_only=True, eq=False):
    """One trusted site. ``lists`` is by issuer; ``list_path`` is where a newer list is kept."""

    site: str
    anchors: tuple[x509.Certificate, ...]
    roles: frozenset[str]
    lists: dict[bytes, RevocationList] = {}
    list_path: Path | None = None
    max_staleness: int = 30 * DAY
    crl_fail: str = CRL_FAIL[0]
    verifier: SiteVerifier = msgspec.field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.verifier = SiteVerifier(self.anchors)


class Known(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A certificate text whose chain has been verified under the present generation."""

    presented: Presented
    chain: Chain


class TrustStore:
    """The sites that are trusted, what is revoked or banned, and verified chains by certificate text."""

    def __init__(self, sites: Iterable[SiteTrust] = (), *, directory: Path | None = None) -> None:
        self.directory = directory
        self.generation = 0
        self.sites: dict[str, SiteTrust] = {site.site: site for site in sites}
        self.bans: frozenset[str] = frozenset()
        self._chains: OrderedDict[bytes, Known] = OrderedDict()
        self._refusals: OrderedDict[bytes, tuple[int, str, str]] = OrderedDict()

    @classmethod
    def load(cls, directory: Path) -> TrustStore:
        """Read a trust directory; one that does not exist trusts nobody.

        Raises:
            ConfigError: naming the file and what is wrong with it.
        """
        store = cls(directory=directory)
        store.reload()
        return store

    def reload(self) -> None:
        """Read the directory again, all or nothing.

        Raises:
            ConfigError: as :meth:`load`; what was loaded before stays.
        """
        if self.directory is None:
            return
        sites = {}
        for path in sorted(self.directory.glob("*.toml")):
            site = read_site(path)
            if site.site in sites:
                raise ConfigError(f"{path}: {site.site} stands in two files: remove one")
            sites[site.site] = site
        bans = _read_bans(self.directory / BANS)
        self.sites, self.bans = sites, bans
        self._changed()

    def _changed(self) -> None:
        self.generation += 1
        self._chains.clear()
        self._refusals.clear()

    # --- certificates ----------------------------------------------------------------------------

    def known(self, text: str) -> tuple[bytes, Known | None]:
        """The cache key of a certificate text, and what is known of it."""
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._chains.get(key)
        if known is not None:
            self._chains.move_to_end(key)
        return key, known

    def parse(self, key: bytes, text: str, now: int) -> Presented:
        """Take a certificate text apart; a bad one is refused from memory for a minute.

        Raises:
            MessageRejected: ``E_CERT_FORMAT``, ``E_KEYTYPE``, ``E_IDENTITY``; also ``E_NAMESPACE`` and
                ``E_CHAIN``, when the same text was refused for that a moment ago.
        """
        refusal = self._refusals.get(key)
        if refusal is not None:
            if now - refusal[0] < REFUSAL_KEPT:
                raise MessageRejected(refusal[1], refusal[2])
            del self._refusals[key]
        try:
            return parse_presented(text)
        except MessageRejected as error:
            self._refuse(key, now, error)
            raise

    def verify(self, key: bytes, presented: Presented, at: int, now: int) -> Known:
        """Validate the chain to the anchors of the claimed site, and remember it.

        Raises:
            MessageRejected: ``E_NAMESPACE`` the site is unknown or may not have the role, ``E_CHAIN``,
                ``E_CERT_TIME``.
        """
        identity = presented.identity
        site = self.sites.get(identity.site)
        try:
            if site is None:
                raise MessageRejected("E_NAMESPACE", f"site {identity.site} is not trusted here")
            if identity.role not in site.roles:
                raise MessageRejected("E_NAMESPACE", f"{identity.site} is not trusted for {identity.role}s")
            known = Known(presented=presented, chain=site.verifier.verify(presented, at))
        except MessageRejected as error:
            if error.code != "E_CERT_TIME":
                self._refuse(key, now, error)
            raise
        self._chains[key] = known
        if len(self._chains) > CACHED_CHAINS:
            self._chains.popitem(last=False)
        return known

    def _refuse(self, key: bytes, now: int, error: MessageRejected) -> None:
        self._refusals[key] = (now, error.code, error.detail)
        if len(self._refusals) > CACHED_REFUSALS:
            self._refusals.popitem(last=False)

    # --- what may have changed since a chain was verified -------------------------------------------

    def check(self, known: Known, sent_at: int, now: int) -> bool:
        """Bans and revocations as of now (``docs/security.md`` 2.5 step 10, 2.9).

        Gives True when the sender's revocation list is so old that no new work is taken from it.

        Raises:
            MessageRejected: ``E_BANNED``, ``E_REVOKED``; ``E_CRL_STALE`` where such a site is denied all.
        """
        presented = known.presented
        if self.bans and (presented.identity.uri in self.bans or presented.fingerprint.hex() in self.bans):
            raise MessageRejected("E_BANNED", "banned on this host")
        site = self.sites[presented.identity.site]
        stale = False
        for issuer, serial in known.chain.serials:
            listed = site.lists.get(issuer)
            if listed is None:
                continue
            if listed.refuses(serial, sent_at):
                raise MessageRejected("E_REVOKED", "the certificate is revoked")
            stale = stale or now > listed.next_update + site.max_staleness
        if stale and site.crl_fail == "deny-all":
            raise MessageRejected("E_CRL_STALE", "the site's revocation list is too old")
        return stale and site.crl_fail == "deny-new-work"

    # --- changes -----------------------------------------------------------------------------------

    def add(self, site: SiteTrust) -> None:
        """Trust a site (or trust it otherwise) until the next reload: for the embedded system."""
        self.sites = {**self.sites, site.site: site}
        self._changed()

    def install_list(self, data: bytes) -> str:
        """Take a newer revocation list of a trusted CA; gives the site's name.

        It authenticates itself, so it may come from anybody, by file or as ``RevocationNotice``.

        Raises:
            MessageRejected: ``E_CRL``: unreadable, of a foreign CA, or not newer than what is here.
            ConfigError: it cannot be written.
        """
        for site in self.sites.values():
            try:
                new = read_list(data, site.anchors)
            except MessageRejected:
                continue
            old = site.lists.get(new.issuer)
            if old is not None and new.number <= old.number:
                raise refused_list(f"list {new.number} of {site.site} is not newer than {old.number}")
            lists = {**site.lists, new.issuer: new}
            if site.list_path is not None:
                write_atomically(site.list_path, lists_text(lists.values()).encode("ascii"))
            site.lists = lists
            self._changed()
            return site.site
        raise refused_list("revocation list is not signed by a CA that is trusted here")

    def ban(self, subject: str, reason: str = "") -> None:
        """Refuse a URI, or a certificate by its SHA-256 (hex), from now on.

        Raises:
            MessageRejected: ``E_IDENTITY``: neither of the two.
            ConfigError: the bans cannot be written.
        """
        subject = as_ban_subject(subject)
        if self.directory is not None:
            path = self.directory / BANS
            before = path.read_text("utf-8") if path.exists() else ""
            note = f"  # {' '.join(reason.split())}" if reason.strip() else ""
            write_atomically(path, f"{before}{subject}{note}\n".encode())
        self.bans |= {subject}
        self._changed()

    def unban(self, subject: str) -> bool:
        """Take a ban back; False if there was none.

        Raises:
            ConfigError: the bans cannot be written.
        """
        subject = as_ban_subject(subject)
        if subject not in self.bans:
            return False
        if self.directory is not None:
            path = self.directory / BANS
            kept = [line for line in path.read_text("utf-8").splitlines() if _ban_of(line) != subject]
            write_atomically(path, "".join(f"{line}\n" for line in kept).encode())
        self.bans -= {subject}
        self._changed()
        return True


def lists_text(lists: Iterable[RevocationList]) -> str:
    """Revocation lists as PEM, one after the other."""
    return "".join(
        x509.load_der_x509_crl(one.der).public_bytes(Encoding.PEM).decode("ascii") for one in lists
    )


def read_lists(text: str, anchors: tuple[x509.Certificate, ...]) -> dict[bytes, RevocationList]:
    """The newest list of each anchor in a PEM text.

    Raises:
        MessageRejected: ``E_CRL``.
    """
    found: dict[bytes, RevocationList] = {}
    for block in _PEM_LIST.findall(text):
        one = read_list(block.encode("ascii"), anchors)
        if one.issuer not in found or found[one.issuer].number < one.number:
            found[one.issuer] = one
    return found


def read_site(path: Path) -> SiteTrust:
    """One site's file with its anchors and lists.

    Raises:
        ConfigError: naming the file, what is wrong and what would be right.
    """
    _check_writers(path)
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
        file = msgspec.convert(raw, _File)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if not is_site(file.site):
        raise ConfigError(f"{path}: site {file.site!r} is not a site's name")
    if unknown := sorted(set(file.roles) - set(ROLES)):
        raise ConfigError(f"{path}: unknown role {unknown[0]!r}, known are {', '.join(ROLES)}")
    if not file.roles:
        raise ConfigError(f"{path}: roles is empty: remove the file to trust the site for nothing")
    if file.crl_fail not in CRL_FAIL:
        raise ConfigError(f"{path}: crl_fail must be one of {', '.join(CRL_FAIL)}")
    if not (staleness := _DURATION.fullmatch(file.max_staleness)):
        raise ConfigError(f"{path}: max_staleness {file.max_staleness!r} is not like 30d, 12h or 90m")
    ca_path = _beside(path, file.ca)
    anchors = tuple(certificates_of(read_text(ca_path), ca_path))
    _check_anchors(path, anchors, [file.ca_sha256] if isinstance(file.ca_sha256, str) else file.ca_sha256)
    list_path = _beside(path, file.crl or f"{file.site}.crl")
    lists: dict[bytes, RevocationList] = {}
    if file.crl or list_path.exists():
        try:
            lists = read_lists(read_text(list_path), anchors)
        except MessageRejected as error:
            raise ConfigError(f"{list_path}: {error.detail}") from None
        if not lists:
            raise ConfigError(f"{list_path}: no PEM revocation list")
    return SiteTrust(
        site=file.site,
        anchors=anchors,
        roles=frozenset(file.roles),
        lists=lists,
        list_path=list_path,
        max_staleness=int(staleness[1]) * _UNITS[staleness[2]],
        crl_fail=file.crl_fail,
    )


def _check_anchors(path: Path, anchors: tuple[x509.Certificate, ...], expected: list[str]) -> None:
    found = {hashlib.sha256(a.public_bytes(Encoding.DER)).hexdigest() for a in anchors}
    if found != {text.replace(" ", "").replace(":", "").lower() for text in expected}:
        raise ConfigError(f"{path}: ca_sha256 is not the fingerprint of what {path.stem}'s ca file holds")
    for anchor in anchors:
        check_anchor(anchor, path)


def check_anchor(anchor: x509.Certificate, source: object) -> None:
    """Refuse as an anchor what is no CA (the library would verify a leaf against itself).

    Raises:
        ConfigError: the certificate is no CA's.
    """
    try:
        constraints = anchor.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = anchor.extensions.get_extension_for_class(x509.KeyUsage).value
        key_id(anchor)
    except Exception:  # hostile or foreign DER
        raise ConfigError(f"{source}: the certificate is not a CA's") from None
    if not (constraints.ca and usage.key_cert_sign):
        raise ConfigError(f"{source}: the certificate is not a CA's")


def _beside(path: Path, name: str) -> Path:
    if not name or name != os.path.basename(name) or name.startswith("."):
        raise ConfigError(f"{path}: {name!r} must be the name of a file in the same directory")
    return path.parent / name


def _check_writers(path: Path) -> None:
    for checked in (path.parent, path):
        status = checked.stat()
        if status.st_uid not in (0, os.geteuid()):
            raise ConfigError(f"{checked} belongs to another user, who could add a site: run chown")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigError(f"{checked} can be changed by others: run chmod go-w {checked}")


def _ban_of(line: str) -> str:
    return line.partition("#")[0].strip()


def as_ban_subject(text: str) -> str:
    """A URI, or a certificate's SHA-256 without its spelling, as bans name it.

    Raises:
        MessageRejected: ``E_IDENTITY``: neither of the two.
    """
    bare = text.strip().replace(" ", "").replace(":", "").lower()
    if re.fullmatch(r"[0-9a-f]{64}", bare):
        return bare
    return Identity.parse(text.strip()).uri


def _read_bans(path: Path) -> frozenset[str]:
    if not path.exists():
        return frozenset()
    _check_writers(path)
    bans = set()
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if subject := _ban_of(line):
            try:
                bans.add(as_ban_subject(subject))
            except MessageRejected:
                raise ConfigError(f"{path}:{number}: neither a URI nor a SHA-256 fingerprint") from None
    return frozenset(bans)
