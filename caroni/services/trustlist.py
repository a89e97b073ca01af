"""What this host believes, listed with what runs out: its own certificate, sites, revocation lists, bans."""

from __future__ import annotations

import msgspec
from cryptography.hazmat.primitives import hashes

from caroni.config import Loaded
from caroni.core.plan import DAY
from caroni.errors import CaroniError, MessageRejected
from caroni.services.checks import RENEW, CheckState
from caroni.services.stores import now
from caroni.services.words import ago, plural, said
from caroni.trust import exchange, keys
from caroni.trust.certificates import parse_presented
from caroni.trust.instants import to_micros, to_text
from caroni.trust.store import BANS, SiteTrust, TrustStore


class TrustedSite(msgspec.Struct, frozen=True, kw_only=True):
    """A site that is believed. Instants in wall microseconds, 0 = there is no list.

    ``expires_at`` is the end of its CA's certificate, of the last of several; ``next_list`` says when a newer
    revocation list is due. ``state`` and ``text`` say how CA and list stand.
    """

    site: str
    roles: list[str]
    fingerprints: list[str]
    list_number: int | None = None
    next_list: str = ""
    expires_at: int = 0
    expires_in_days: int = 0
    list_made_at: int = 0
    list_due_at: int = 0
    revoked: int = 0
    crl_fail: str = ""
    state: CheckState = "ok"
    text: str = ""


class OwnCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate that this daemon signs with; without one ``fingerprint`` is empty ``text`` says why."""

    uri: str
    path: str
    fingerprint: str = ""
    serial: str = ""
    starts_at: int = 0
    expires_at: int = 0
    expires_in_days: int = 0
    state: CheckState = "ok"
    text: str = ""


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """The own certificate, all sites that are believed, and all bans of this host with their notes."""

    own: OwnCertificate
    sites: list[TrustedSite]
    bans: list[str]
    notes: dict[str, str] = {}


def expiry(ends: int, at: int) -> tuple[CheckState, int, str]:
    """How the end of a certificate stands: a state, whole days until then (negative: since), and words."""
    days = (ends - at) // DAY
    if ends <= at:
        return "problem", days, f"expired {ago(ends, at)}: renew now"
    if ends <= at + RENEW:
        when = f"in {plural(days, 'day')}" if days else "today"
        return "warning", days, f"expires {when}: renew soon"
    return "ok", days, f"good for another {plural(days, 'day')}"


def own_certificate(loaded: Loaded, at: int) -> OwnCertificate:
    """The certificate in place; what is wrong with it is in its text."""
    security, uri = loaded.config.security, loaded.config.uri
    path = str(security.certificate_file)
    if not security.certificate_file.exists():
        return OwnCertificate(
            uri=uri, path=path, state="problem", text="there is none yet: install what the CA issued"
        )
    try:
        presented = parse_presented(
            keys.load_signer(security.key_file, security.certificate_file).certificate
        )
    except (CaroniError, MessageRejected) as error:
        return OwnCertificate(uri=uri, path=path, state="problem", text=said(str(error), 500))
    leaf = presented.leaf
    ends = to_micros(leaf.not_valid_after_utc)
    state, days, text = expiry(ends, at)
    if presented.identity.uri != uri:
        state, text = "problem", f"it is of {presented.identity.uri}, not of {uri}"
    elif to_micros(leaf.not_valid_before_utc) > at:
        state, text = "problem", f"not valid before {to_text(to_micros(leaf.not_valid_before_utc))}"
    return OwnCertificate(
        uri=uri,
        path=path,
        fingerprint=exchange.spaced(presented.fingerprint.hex()),
        serial=f"{leaf.serial_number:x}",
        starts_at=to_micros(leaf.not_valid_before_utc),
        expires_at=ends,
        expires_in_days=days,
        state=state,
        text=text,
    )


def trust(loaded: Loaded) -> Trust:
    """What is believed now, by the files; a running daemon has read them when it was last told to.

    Raises:
        ConfigError: a trust file is wrong or unsafe.
    """
    at = now()
    store = TrustStore.load(loaded.config.security.trust_dir)
    notes = _notes(loaded)
    return Trust(
        own=own_certificate(loaded, at),
        sites=[_site(site, at) for _, site in sorted(store.sites.items())],
        bans=sorted(store.bans),
        notes={subject: note for subject, note in notes.items() if subject in store.bans},
    )


def _site(site: SiteTrust, at: int) -> TrustedSite:
    ends = max((to_micros(anchor.not_valid_after_utc) for anchor in site.anchors), default=0)
    state, days, text = expiry(ends, at)
    newest = max(site.lists.values(), key=lambda one: one.number, default=None)
    text = f"its CA is {text}" if state == "ok" else f"its CA {text}"
    if newest is None:
        # a site that has never given a list cannot take a certificate back
        text += "; it has given no revocation list"
    else:
        list_state, words = _list(site, newest.next_update, at)
        text += f"; {words}"
        state = max(state, list_state, key=_SEVERITY.index)
    return TrustedSite(
        site=site.site,
        roles=sorted(site.roles),
        fingerprints=[exchange.spaced(a.fingerprint(hashes.SHA256()).hex()) for a in site.anchors],
        list_number=newest.number if newest else None,
        next_list=to_text(newest.next_update) if newest else "",
        expires_at=ends,
        expires_in_days=days,
        list_made_at=newest.this_update if newest else 0,
        list_due_at=newest.next_update if newest else 0,
        revoked=len(newest.revoked) if newest else 0,
        crl_fail=site.crl_fail,
        state=state,
        text=text,
    )


_SEVERITY: tuple[CheckState, ...] = ("ok", "warning", "problem")
_CONSEQUENCE = {
    "deny-new-work": "no new work is taken from it",
    "deny-all": "nothing is taken from it",
    "ignore": "it is believed all the same",
}


def _list(site: SiteTrust, due: int, at: int) -> tuple[CheckState, str]:
    if at <= due:
        return "ok", "its revocation list is fresh"
    if at <= due + site.max_staleness:
        return "warning", f"its revocation list should have been renewed {ago(due, at)}: ask for a new one"
    return "problem", f"its revocation list is too old ({ago(due, at)}): {_CONSEQUENCE[site.crl_fail]}"


def _notes(loaded: Loaded) -> dict[str, str]:
    """The note behind each ban."""
    try:
        lines = (loaded.config.security.trust_dir / BANS).read_text("utf-8").splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        subject, _, note = line.partition("#")
        bare = subject.strip().replace(" ", "").lower()
        found[bare if len(bare) == 64 else subject.strip()] = note.strip()
    return found
