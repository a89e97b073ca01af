"""Certificate revocation lists: checked against their issuer, compared by number, looked up by serial."""

from __future__ import annotations

from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from caroni.errors import MessageRejected
from caroni.trust.chain import key_id
from caroni.trust.instants import to_micros

#: Reasons after which what was signed before stays good. Any other reason, or none, undoes everything:
#: whoever stole a key can write any date.
HARMLESS: Final = frozenset({x509.ReasonFlags.superseded, x509.ReasonFlags.cessation_of_operation})
MAX_LIST: Final = 4 * 1024 * 1024


class RevocationList(msgspec.Struct, frozen=True, kw_only=True):
    """One issuer's list, verified."""

    issuer: bytes
    number: int
    this_update: int
    next_update: int
    #: serial -> from when on it is refused (0: always)
    revoked: dict[int, int]
    der: bytes

    def refuses(self, serial: int, sent_at: int) -> bool:
        """Whether what this certificate signed at that instant is refused."""
        since = self.revoked.get(serial)
        return since is not None and sent_at >= since


def refused_list(detail: str) -> MessageRejected:
    """The verdict on a list that cannot be used."""
    return MessageRejected("E_CRL", detail)


def read_list(data: bytes, anchors: tuple[x509.Certificate, ...]) -> RevocationList:
    """A list from its DER or PEM, if one of the anchors signed it.

    Raises:
        MessageRejected: ``E_CRL``: no list, too large, or of another issuer.
    """
    if len(data) > MAX_LIST:
        raise refused_list("revocation list is larger than 4 MiB")
    try:
        parse = x509.load_pem_x509_crl if data.startswith(b"-----BEGIN") else x509.load_der_x509_crl
        loaded = parse(data)
        for anchor in anchors:
            if loaded.issuer == anchor.subject and loaded.is_signature_valid(anchor.public_key()):  # type: ignore[arg-type]
                return _read(loaded, key_id(anchor))
    except Exception as error:  # the library names no closed set of errors for hostile DER
        raise refused_list(f"revocation list cannot be read ({type(error).__name__})") from None
    raise refused_list("revocation list is not signed by a CA that is trusted here")


def _read(loaded: x509.CertificateRevocationList, issuer: bytes) -> RevocationList:
    if loaded.next_update_utc is None:
        raise ValueError("no next update")
    for extension in loaded.extensions:
        # an indirect, delta or partial list says something other than "these serials are revoked"
        if extension.critical:
            raise ValueError("critical extension")
    revoked: dict[int, int] = {}
    for entry in loaded:
        try:
            reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
        except x509.ExtensionNotFound:
            reason = x509.ReasonFlags.unspecified
        since = to_micros(entry.revocation_date_utc) if reason in HARMLESS else 0
        revoked[entry.serial_number] = since
    return RevocationList(
        issuer=issuer,
        number=loaded.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number,
        this_update=to_micros(loaded.last_update_utc),
        next_update=to_micros(loaded.next_update_utc),
        revoked=revoked,
        der=loaded.public_bytes(Encoding.DER),
    )
