"""Sealing: header, signature, envelope. What is sealed once is never sealed or changed again.

Signed is DSSE's pre-authentication encoding of the header's bytes; the header binds the payload by type,
length and SHA-256, so a token signs half a kilobyte whatever the payload.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from caroni.trust.certificates import urn_of
from caroni.trust.keys import Signer
from caroni.wire import caroni_pb2 as pb
from caroni.wire.bundle import Payload
from caroni.wire.fields import to_timestamp
from caroni.wire.rules import MAX_ENVELOPE
from caroni.wire.topics import topic_of

HEADER_TYPE: Final = b"application/vnd.caroni.header.v1+protobuf"
HEADER_VERSION: Final = 1


def pre_authentication_encoding(kind: bytes, body: bytes) -> bytes:
    """DSSE version 1: what is signed for a body of a kind."""
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


class Sealer:
    """Seals payloads for one identity in one federation.

    Raises:
        ValueError: ``own_uri`` is not what the signer's certificate says.
    """

    def __init__(self, signer: Signer, own_uri: str, federation: str) -> None:
        if signer.uri != own_uri:
            raise ValueError(f"the certificate is {signer.uri}'s, not {own_uri}'s")
        self.signer = signer
        self.own_uri = own_uri
        self.federation = federation
        self._topic = topic_of(own_uri)

    def seal(
        self,
        payload: Payload,
        audience: str,
        message_id: bytes,
        conversation_id: bytes,
        in_reply_to: bytes,
        now: int,
        stream_id: int,
        sequence: int,
        *,
        known_by_recipient: bool = False,
    ) -> bytes:
        """The bytes of an envelope, to be stored before they leave.

        Args:
            payload: from :func:`caroni.wire.bundle.pack`.
            audience: one URI, or a wildcard audience for a broadcast.
            message_id: 16 random bytes, the key of replays.
            conversation_id: 16 bytes or none.
            in_reply_to: 16 bytes or none.
            now: microseconds since the epoch.
            stream_id: of the sender's database lineage.
            sequence: within the stream and recipient; 0 for broadcasts.
            known_by_recipient: send the certificate's fingerprint instead of the certificate.

        Raises:
            ValueError: the envelope would be larger than 4 MiB, or an id has not 16 bytes.
        """
        if len(message_id) != 16 or len(conversation_id) not in (0, 16) or len(in_reply_to) not in (0, 16):
            raise ValueError("an id has not 16 bytes")
        signer = self.signer
        value = payload.value
        header = pb.SignedHeader(
            version=HEADER_VERSION,
            federation=self.federation,
            message_id=message_id,
            sender=self.own_uri,
            audience=[audience],
            sent_at=to_timestamp(now),
            expires_at=to_timestamp(now + payload.lifetime),
            payload_type=payload.type_url,
            payload_sha256=hashlib.sha256(value).digest(),
            payload_length=len(value),
            stream_id=stream_id.to_bytes(8, "big"),
            sequence=sequence,
            reply_topic=self._topic,
            certificate_sha256=signer.fingerprint,
        )
        if conversation_id:
            header.conversation_id = conversation_id
        if in_reply_to:
            header.in_reply_to = in_reply_to
        signed = header.SerializeToString()
        signature = signer.sign(pre_authentication_encoding(HEADER_TYPE, signed))
        envelope = pb.CaroniEnvelope(signed_header=signed)
        envelope.signature.signator_certificate = (
            urn_of(signer.fingerprint) if known_by_recipient else signer.certificate
        )
        envelope.signature.payload_signature = base64.b64encode(signature).decode("ascii")
        envelope.payload.type_url = payload.type_url
        envelope.payload.value = value
        body: bytes = envelope.SerializeToString()
        if len(body) > MAX_ENVELOPE:
            raise ValueError("an envelope is at most 4 MiB: pass a File instead of its content")
        return body


def seal_unsigned(type_url: str, value: bytes) -> bytes:
    """The envelope of the base protocol (lab mode): an empty signature and the payload."""
    envelope = pb.CaroniEnvelope()
    envelope.signature.SetInParent()
    envelope.payload.type_url = type_url
    envelope.payload.value = value
    body: bytes = envelope.SerializeToString()
    return body
