"""The attacks 01 to 41, by number (docs/security.md, section 6).

What needs a database or a daemon is tested there: 29 (exact replay), 30 (replay after a restart), 42 (the
budget of ids), 44 (reordered states). Here is their half: the replay key is stable, and the id is
remembered for as long as the bytes would be accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from caroni.core import messages as m
from caroni.core.plan import DAY, HOUR
from caroni.errors import ConfigError, MessageRejected
from caroni.trust.authority import CertificateAuthority
from caroni.trust.certificates import urn_of
from caroni.trust.clock import check_clock
from caroni.trust.identity import ROLE_OIDS
from caroni.trust.keys import KeySigner
from caroni.trust.store import TrustStore
from caroni.wire import caroni_pb2 as pb
from caroni.wire.bundle import Payload, pack
from caroni.wire.codec import TYPE_PREFIX, encode
from caroni.wire.envelope import Item, Parked, Sealer, permit, seal_unsigned
from caroni.wire.fields import to_timestamp
from caroni.wire.rules import AGENTS, MANAGERS
from caroni.wire.topics import topic_of
from tests.wire import world as w
from tests.wire.world import ACCEPT, AGENT, MANAGER, NOW, PRESENCE, REJECT, REQUEST, STATUS, World


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def code(world: World, body: bytes, now: int = NOW, uri: str = MANAGER, **options: Any) -> str:
    """The verdict on a body; for an item that fails alone, its own."""
    try:
        opened = world.opener(uri, **options).open(body, now, "wf.agent.AAAAAAAAAAAAAAAAAAAAAA")
    except MessageRejected as error:
        return error.code
    except Parked as parked:
        return f"parked: {parked.reason}"
    errors = [item.error.code for item in opened.items if item.error]
    return errors[0] if errors else "accepted"


def test_what_is_not_attacked_is_accepted(world: World) -> None:
    opened = world.opener().open(w.seal(world.sealer(), STATUS), NOW)
    assert (opened.sender, opened.role, opened.sequence, opened.stream_id) == (AGENT, "agent", 1, 5)
    assert opened.items[0].message == STATUS
    assert not opened.unsigned
    permit(opened.role, STATUS)


# --- A. envelope ---------------------------------------------------------------------------------


def test_01_every_bit(world: World) -> None:
    """A flipped bit is refused, or changes nothing that was said."""
    body = w.seal(world.sealer(), STATUS)
    opener = world.opener()
    whole = opener.open(body, NOW)
    changed = 0
    for position in range(len(body) * 8):
        flipped = bytearray(body)
        flipped[position // 8] ^= 1 << position % 8
        try:
            opened = opener.open(bytes(flipped), NOW)
        except (MessageRejected, Parked):
            continue
        changed += opened != whole
    assert changed == 0


def _edit(body: bytes, change: Callable[[pb.CaroniEnvelope], object]) -> bytes:
    envelope = pb.CaroniEnvelope.FromString(body)
    change(envelope)
    return envelope.SerializeToString()


def test_02_swapped_payloads(world: World) -> None:
    other = pb.CaroniEnvelope.FromString(
        w.seal(world.sealer(), m.JobStatusUpdate(job_uuid=bytes(16), job_status=m.JobStatus.FAILED))
    )
    body = w.seal(world.sealer(), STATUS)
    assert code(world, _edit(body, lambda e: e.payload.CopyFrom(other.payload))) == "E_DIGEST"


def test_03_accept_and_reject_have_the_same_layout(world: World) -> None:
    assert encode(ACCEPT)[1] == encode(REJECT)[1]
    body = w.seal(world.sealer(world.manager), REJECT, AGENT)

    def swap(envelope: pb.CaroniEnvelope) -> None:
        envelope.payload.type_url = TYPE_PREFIX + "JobFulfillmentOfferAccept"

    assert code(world, _edit(body, swap), uri=AGENT) == "E_TYPE"


def test_04_foreign_prefix(world: World) -> None:
    url, value = "evil.example/caroni.JobKill", encode(m.JobKill(job_uuid=bytes(16)))[1]
    assert (
        code(world, w.forge(world.manager, type_url=url, value=value, audience=[AGENT]), uri=AGENT)
        == "E_TYPE"
    )


@pytest.mark.parametrize("mode", ["required", "lab"])
def test_05_stripped_signature(world: World, mode: str) -> None:
    def strip(envelope: pb.CaroniEnvelope) -> None:
        envelope.signature.payload_signature = ""

    assert code(world, _edit(w.seal(world.sealer(), STATUS), strip), mode=mode) == "E_UNSIGNED"


def test_06_unsigned_in_lab_mode(world: World) -> None:
    body = seal_unsigned(*encode(STATUS, base=True))
    topic = topic_of(AGENT)
    opener = world.opener(mode="lab")
    opened = opener.open(body, NOW, topic)
    assert opened.unsigned
    assert opened.sender == f"unsigned:{topic}"
    permit(opened.role, STATUS)
    with pytest.raises(MessageRejected, match="E_ROLE"):
        permit(opened.role, PRESENCE)
    opener.open(w.seal(world.sealer(), STATUS), NOW)
    with pytest.raises(MessageRejected, match="E_UNSIGNED"):
        opener.open(body, NOW, topic)
    with pytest.raises(MessageRejected, match="E_UNSIGNED"):
        world.opener(mode="lab", signed=[AGENT]).open(body, NOW, topic)
    with pytest.raises(MessageRejected, match="E_UNSIGNED"):
        opener.open(body, NOW, "")
    assert code(world, body) == "E_UNSIGNED"


def test_07_appended_fields(world: World) -> None:
    """Protobuf takes the last of a doubled scalar and merges doubled messages."""
    body = w.seal(world.sealer(), STATUS)
    header = pb.CaroniEnvelope(signed_header=b"\x08\x01").SerializeToString()
    assert code(world, body + header) == "E_SIG"
    kind = pb.CaroniEnvelope()
    kind.payload.type_url = TYPE_PREFIX + "JobKill"
    assert code(world, body + kind.SerializeToString()) == "E_TYPE"
    value = pb.CaroniEnvelope()
    value.payload.value = b"\x0a\x00"
    assert code(world, body + value.SerializeToString()) == "E_DIGEST"


@pytest.mark.parametrize("pae_type", [None, b"application/json"])
def test_08_signature_over_something_else(world: World, pae_type: bytes | None) -> None:
    assert code(world, w.forge(world.agent, STATUS, pae_type=pae_type)) == "E_SIG"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: s.rstrip("="),
        lambda s: s + "\n",
        lambda s: " " + s,
        lambda s: s[:4] + "\n" + s[4:],
        lambda s: s.replace(s[0], "é", 1),
        lambda s: "AAAA",
    ],
)
def test_09_base64_has_one_spelling(world: World, spoil: Callable[[str], str]) -> None:
    def change(envelope: pb.CaroniEnvelope) -> None:
        envelope.signature.payload_signature = spoil(envelope.signature.payload_signature)

    assert code(world, _edit(w.seal(world.sealer(), STATUS), change)) == "E_SIG"


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(lambda: rsa.generate_private_key(65537, 1024), id="rsa-1024"),  # noqa: S505
        pytest.param(lambda: ec.generate_private_key(ec.SECP384R1()), id="p-384"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_10_keys_of_other_kinds(world: World, key: Callable[[], Any]) -> None:
    signer = w.odd_leaf(world.nasa, key=key())
    assert code(world, w.forge(signer, STATUS)) == "E_KEYTYPE"


def test_p256_leaf_is_accepted(world: World) -> None:
    signer = w.odd_leaf(world.nasa, key=ec.generate_private_key(ec.SECP256R1()))
    assert code(world, w.forge(signer, STATUS)) == "accepted"


def test_p256_signer(world: World) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    signer = KeySigner(key, world.nasa.certify(key.public_key(), "agent", "token1", now=NOW))
    assert code(world, w.seal(world.sealer(signer), STATUS)) == "accepted"


def test_options_that_make_no_sense(world: World) -> None:
    for options in ({"mode": "off"}, {"skew": -1}, {"skew": 2 * DAY}, {"caps": {"JobExplode": 1}}):
        with pytest.raises(ValueError, match=r"mode|skew|unknown"):
            world.opener(**options)
    with pytest.raises(ValueError, match="certificate is"):
        Sealer(world.agent, MANAGER, "prod")
    with pytest.raises(ValueError, match="16 bytes"):
        world.sealer().seal(w.payload(STATUS), MANAGER, b"", b"", b"", NOW, 1, 1)
    large = Payload(type_url=w.STATUS_URL, value=bytes(4 * 1024 * 1024), lifetime=DAY)
    with pytest.raises(ValueError, match="pass a File"):
        world.sealer().seal(large, MANAGER, w.some_id(), b"", b"", NOW, 1, 1)


def test_11_header_serialised_again(world: World) -> None:
    def reorder(envelope: pb.CaroniEnvelope) -> None:
        first, rest = envelope.signed_header[:2], envelope.signed_header[2:]
        envelope.signed_header = rest + first
        assert pb.SignedHeader.FromString(envelope.signed_header).version == 1

    assert code(world, _edit(w.seal(world.sealer(), STATUS), reorder)) == "E_SIG"


@pytest.mark.parametrize(
    "header",
    [
        {"padding": pb.SignedHeader(federation="x" * 5000).SerializeToString()},
        {"version": 2},
        {"version": 0},
        {"message_id": b"short"},
        {"stream_id": b""},
        {"stream_id": b"\xff" * 8},
        {"sequence": 2**63},
        {"conversation_id": b"short"},
        {"in_reply_to": bytes(17)},
        {"sent_at": {"seconds": -5}},
        {"sent_at": {"seconds": 2**60}},
        {"expires_at": {"seconds": 1, "nanos": -7}},
        {"padding": b"\xff\xff"},
    ],
    ids=str,
)
def test_12_header_out_of_bounds(world: World, header: dict[str, Any]) -> None:
    assert code(world, w.forge(world.agent, STATUS, **header)) == "E_HEADER"


def test_13_inner_signature_is_ignored(world: World) -> None:
    inner = pb.JobStatusUpdate.FromString(encode(STATUS)[1])
    inner.signature.signator_certificate = world.other.certificate
    inner.signature.payload_signature = "AAAA"
    body = w.forge(world.agent, type_url=w.STATUS_URL, value=inner.SerializeToString())
    opened = world.opener().open(body, NOW)
    assert opened.sender == AGENT
    assert opened.items[0].message == STATUS


# --- B. identity ---------------------------------------------------------------------------------


def test_14_self_signed(world: World) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    signer = w.odd_leaf(world.nasa, key=key, issuer_key=key)
    assert code(world, w.forge(signer, STATUS)) == "E_CHAIN"


def test_15_other_root(world: World) -> None:
    impostor = CertificateAuthority.in_memory("nasa.example", now=NOW - DAY)
    assert code(world, w.forge(impostor.issue_key("agent", "a1", now=NOW), STATUS)) == "E_CHAIN"


def test_16_leaf_issues_leaf(world: World) -> None:
    issuer = x509.load_pem_x509_certificates(world.agent.certificate.encode())[0]
    signer = w.odd_leaf(world.nasa, issuer=issuer, issuer_key=world.agent._key, chain=world.agent.certificate)
    assert code(world, w.forge(signer, STATUS)) == "E_CHAIN"


def test_17_ca_as_signer(world: World) -> None:
    signer = w.odd_leaf(world.nasa, ca=True)
    assert code(world, w.forge(signer, STATUS)) == "E_IDENTITY"


def test_18_two_names(world: World) -> None:
    signer = w.odd_leaf(world.nasa, uris=[AGENT, w.OTHER_AGENT])
    assert code(world, w.forge(signer, STATUS)) == "E_IDENTITY"


@pytest.mark.parametrize(
    "usages",
    [
        [],
        [ExtendedKeyUsageOID.CLIENT_AUTH],
        [ROLE_OIDS["agent"], ROLE_OIDS["manager"]],
        [ROLE_OIDS["agent"], ExtendedKeyUsageOID.CLIENT_AUTH],
    ],
    ids=["none", "clientAuth", "two roles", "role and clientAuth"],
)
def test_19_not_exactly_one_role(world: World, usages: list[x509.ObjectIdentifier]) -> None:
    assert code(world, w.forge(w.odd_leaf(world.nasa, usages=usages), STATUS)) == "E_IDENTITY"


def test_20_role_and_name_differ(world: World) -> None:
    signer = w.odd_leaf(world.nasa, "caroni://nasa.example/manager/m9", usages=[ROLE_OIDS["agent"]])
    assert code(world, w.forge(signer, STATUS)) == "E_IDENTITY"


def test_21_one_site_does_not_speak_for_another(world: World) -> None:
    signer = w.odd_leaf(world.nasa, "caroni://esa.example/manager/m9")
    assert code(world, w.forge(signer, ACCEPT)) == "E_CHAIN"
    signer = w.odd_leaf(world.nasa, "caroni://elsewhere.example/agent/a1")
    assert code(world, w.forge(signer, STATUS)) == "E_NAMESPACE"


def test_22_role_not_granted(world: World) -> None:
    signer = w.odd_leaf(world.nasa, "caroni://nasa.example/manager/m9")
    assert code(world, w.forge(signer, ACCEPT)) == "E_NAMESPACE"


@pytest.mark.parametrize(
    "uri",
    [
        "caroni://nasa..example/agent/a1",
        "caroni://nasa.example/agent/../a1",
        "caroni://nasa.example/agent/a%2f1",
        "caroni://NASA.example/agent/a1",
        "caroni://nasa.example/agent/A1",
        "caroni://nasa.example/agent/a1\0",
        "caroni://xn--nasa.example:5671/agent/a1",
        "caroni://nasa.example/agent/a1/",
        "caroni://nasa.example/agent/a1?x",
        "caroni://nasa.example/agent/a1#x",
        "caroni://nasa.example/root/a1",
        "spiffe://nasa.example/agent/a1",
        "caroni://nasa.example/agent/",
        "caroni://nasa.example/agent/" + "a" * 64,
        "caroni://nasa.example/agent/a1\n",
    ],
)
def test_23_uri_grammar(world: World, uri: str) -> None:
    signer = w.odd_leaf(world.nasa, AGENT, uris=[uri], usages=[ROLE_OIDS["agent"]])
    assert code(world, w.forge(signer, STATUS)) == "E_IDENTITY"


def test_24_header_names_another_sender(world: World) -> None:
    other: dict[str, Any] = {"sender": w.OTHER_AGENT, "reply_topic": topic_of(w.OTHER_AGENT)}
    assert code(world, w.forge(world.agent, STATUS, **other)) == "E_HEADER"
    assert code(world, w.forge(world.agent, STATUS, certificate_sha256=bytes(32))) == "E_HEADER"


def test_25_another_ones_certificate(world: World) -> None:
    body = w.forge(world.other, STATUS, certificate=world.agent.certificate)
    assert code(world, body) == "E_SIG"


@pytest.mark.parametrize(
    "text",
    [
        lambda pem: pem * 4,
        lambda pem: pem + "#" * 9000,
        lambda pem: pem + "\n",
        lambda pem: "# who\n" + pem,
        lambda pem: pem.replace("\n", "\r\n"),
        lambda pem: pem.rstrip("\n"),
        lambda pem: pem.replace("M", "N"),
        lambda pem: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        lambda pem: "urn:caroni:cert:sha256:xyz",
        lambda pem: "é",
    ],
)
def test_26_certificate_text(world: World, text: Callable[[str], str]) -> None:
    body = w.forge(world.agent, STATUS, certificate=text(world.agent.certificate))
    assert code(world, body) == "E_CERT_FORMAT"


def test_27_unknown_fingerprint_waits(world: World) -> None:
    opener = world.opener()
    body = world.sealer().seal(
        w.payload(STATUS), MANAGER, w.some_id(), b"", b"", NOW, 1, 1, known_by_recipient=True
    )
    with pytest.raises(Parked) as parked:
        opener.open(body, NOW)
    assert (parked.value.reason, parked.value.until) == ("certificate", NOW + DAY)
    assert parked.value.bucket == urn_of(world.agent.fingerprint)
    opener.open(w.seal(world.sealer(), STATUS), NOW)
    assert opener.open(body, NOW).sender == AGENT
    again = world.opener()
    assert again.learn(world.agent.certificate) == world.agent.fingerprint
    assert again.open(body, NOW).sender == AGENT


def test_27_eight_certificates_a_name(world: World) -> None:
    opener = world.opener()
    signers = [w.odd_leaf(world.nasa) for _ in range(9)]
    for signer in signers:
        opener.open(w.forge(signer, STATUS), NOW)
    assert opener.certificate(signers[0].fingerprint) is None
    assert all(opener.certificate(signer.fingerprint) for signer in signers[1:])


def test_28_what_was_accepted_once_can_be_refused() -> None:
    def fresh() -> tuple[World, Any, bytes]:
        made = World()
        opener = made.opener()
        body = w.seal(made.sealer(), STATUS)
        opener.open(body, NOW)
        return made, opener, body

    made, opener, body = fresh()
    made.store.install_list(w.list_of(made.nasa, 1, {w.serial_of(made.agent): (NOW, None)}))
    with pytest.raises(MessageRejected, match="E_REVOKED"):
        opener.open(body, NOW)

    for subject in (AGENT, fresh()[0].agent.fingerprint.hex()):
        made, opener, body = fresh()
        subject = subject if "/" in subject else made.agent.fingerprint.hex()
        made.store.ban(subject, "seen misbehaving")
        with pytest.raises(MessageRejected, match="E_BANNED") as refused:
            opener.open(body, NOW)
        assert refused.value.sender == AGENT  # type: ignore[attr-defined]
        assert made.store.unban(subject)
        opener.open(body, NOW)

    made, opener, body = fresh()
    late = NOW + 366 * DAY
    with pytest.raises(MessageRejected, match="E_CERT_TIME"):
        opener.open(w.seal(made.sealer(), STATUS, now=late), late)


# --- C. time and replay --------------------------------------------------------------------------


def test_29_30_replays_have_one_key(world: World) -> None:
    """The daemon's inbox does the rest: the key is the same, and kept until the bytes are refused."""
    body = w.seal(world.sealer(), STATUS)
    first, again = (world.opener().open(body, NOW) for _ in range(2))
    assert (first.sender, first.message_id) == (again.sender, again.message_id)
    assert code(world, body, first.deadline) == "accepted"
    assert code(world, body, first.deadline + 1) == "E_EXPIRED"


def test_31_another_recipient(world: World) -> None:
    body = w.seal(world.sealer(world.manager), ACCEPT, AGENT)
    assert code(world, body, uri=AGENT) == "accepted"
    assert code(world, body, uri=w.OTHER_AGENT) == "E_AUDIENCE"
    assert code(world, w.forge(world.agent, STATUS, audience=[])) == "E_AUDIENCE"
    assert code(world, w.forge(world.agent, STATUS, audience=[MANAGER] * 17)) == "E_AUDIENCE"


def test_32_another_federation(world: World) -> None:
    assert code(world, w.seal(world.sealer(federation="test"), STATUS)) == "E_FEDERATION"


def test_33_wildcards_are_for_broadcasts(world: World) -> None:
    manager = world.sealer(world.manager)
    assert code(world, w.seal(manager, REQUEST, AGENTS), uri=AGENT) == "accepted"
    assert code(world, w.seal(world.sealer(), PRESENCE, MANAGERS)) == "accepted"
    assert code(world, w.seal(manager, ACCEPT, AGENTS), uri=AGENT) == "E_AUDIENCE"
    assert code(world, w.seal(manager, REQUEST, MANAGERS), uri=AGENT) == "E_AUDIENCE"
    assert code(world, w.seal(world.sealer(), PRESENCE, AGENTS), uri=AGENT) == "E_AUDIENCE"
    assert code(world, w.seal(manager, REQUEST, "caroni://*/*/*"), uri=AGENT) == "E_AUDIENCE"
    withdrawn = m.JobFulfillmentRequestWithdrawn(request_uuid=bytes(16))
    good = manager.seal(w.payload(REQUEST, withdrawn), AGENTS, w.some_id(), b"", b"", NOW, 1, 0)
    assert code(world, good, uri=AGENT) == "accepted"
    bad = manager.seal(w.payload(REQUEST, ACCEPT), AGENTS, w.some_id(), b"", b"", NOW, 1, 0)
    assert code(world, bad, uri=AGENT) == "E_AUDIENCE"


def test_34_clocks_ahead(world: World) -> None:
    body = w.seal(world.sealer(), STATUS, now=NOW + HOUR)
    with pytest.raises(Parked) as parked:
        world.opener().open(body, NOW)
    assert (parked.value.reason, parked.value.bucket) == ("future", AGENT)
    assert code(world, body, parked.value.until) == "accepted"
    assert code(world, w.seal(world.sealer(), STATUS, now=NOW + 4 * 60_000_000)) == "accepted"
    assert code(world, w.seal(world.sealer(), STATUS, now=NOW + 10 * DAY)) == "E_FUTURE"


def test_35_36_late_messages(world: World) -> None:
    assert code(world, w.seal(world.sealer(), STATUS), NOW + 20 * DAY) == "accepted"
    request = w.seal(world.sealer(world.manager), REQUEST, AGENTS)
    assert code(world, request, NOW + 23 * HOUR, uri=AGENT) == "accepted"
    assert code(world, request, NOW + 25 * HOUR, uri=AGENT) == "E_EXPIRED"
    forged = w.forge(world.manager, REQUEST, audience=[AGENTS], expires_at=to_timestamp(NOW + 90 * DAY))
    assert code(world, forged, NOW + 25 * HOUR, uri=AGENT) == "E_EXPIRED"
    early = w.forge(world.agent, STATUS, expires_at=to_timestamp(NOW + HOUR))
    assert code(world, early, NOW + 2 * HOUR) == "E_EXPIRED"
    lowered = {"JobStatusUpdate": DAY}
    assert code(world, w.seal(world.sealer(), STATUS), NOW + 2 * DAY, caps=lowered) == "E_EXPIRED"


def test_36_within_a_bundle_each_message_has_its_own_lifetime(world: World) -> None:
    both = w.payload(REQUEST, m.JobStatusRequest(job_uuid=bytes(16)))
    body = world.sealer(world.manager).seal(both, AGENT, w.some_id(), b"", b"", NOW, 1, 1)
    late, fresh = world.opener(AGENT).open(body, NOW + 25 * HOUR).items
    assert late.message is None
    assert late.error is not None
    assert late.error.code == "E_EXPIRED"
    assert fresh.error is None


def test_37_certificate_expired_since(world: World) -> None:
    signer = w.odd_leaf(world.nasa, start=NOW - 10 * DAY, end=NOW + DAY)
    body = w.forge(signer, STATUS)
    assert code(world, body, NOW + 20 * DAY) == "accepted"
    dead = w.odd_leaf(world.nasa, start=NOW - 20 * DAY, end=NOW - 10 * DAY)
    assert code(world, w.forge(dead, STATUS)) == "E_CERT_TIME"
    backdated = w.forge(dead, STATUS, now=NOW - 11 * DAY)
    assert code(world, backdated, NOW) == "accepted"
    assert code(world, backdated, NOW + 21 * DAY) == "E_EXPIRED"
    young = w.odd_leaf(world.nasa, start=NOW + HOUR, end=NOW + DAY)
    assert code(world, w.forge(young, STATUS)) == "E_CERT_TIME"


@pytest.mark.parametrize(
    ("reason", "sent_before", "sent_after"),
    [
        (x509.ReasonFlags.key_compromise, "E_REVOKED", "E_REVOKED"),
        (None, "E_REVOKED", "E_REVOKED"),
        (x509.ReasonFlags.privilege_withdrawn, "E_REVOKED", "E_REVOKED"),
        (x509.ReasonFlags.superseded, "accepted", "E_REVOKED"),
        (x509.ReasonFlags.cessation_of_operation, "accepted", "E_REVOKED"),
    ],
)
def test_38_39_revocation(reason: x509.ReasonFlags | None, sent_before: str, sent_after: str) -> None:
    world = World()
    world.store.install_list(w.list_of(world.nasa, 1, {w.serial_of(world.agent): (NOW, reason)}))
    assert code(world, w.seal(world.sealer(), STATUS, now=NOW - HOUR)) == sent_before
    assert code(world, w.seal(world.sealer(), STATUS, now=NOW)) == sent_after
    assert code(world, w.seal(world.sealer(world.other), STATUS)) == "accepted"
    renewed = world.nasa.issue_key("agent", "a1", now=NOW - HOUR)
    assert code(world, w.seal(world.sealer(renewed), STATUS)) == "accepted"


def test_40_lists_do_not_go_back() -> None:
    world = World()
    assert world.store.install_list(w.list_of(world.nasa, 5)) == "nasa.example"
    for number in (5, 4):
        with pytest.raises(MessageRejected, match="not newer"):
            world.store.install_list(w.list_of(world.nasa, number))
    with pytest.raises(MessageRejected, match="not signed by a CA"):
        world.store.install_list(w.list_of(world.nasa, 6, key=ec.generate_private_key(ec.SECP384R1())))
    stranger = CertificateAuthority.in_memory("nasa.example", now=NOW)
    with pytest.raises(MessageRejected, match="not signed by a CA"):
        world.store.install_list(w.list_of(stranger, 7))
    with pytest.raises(MessageRejected, match="E_CRL"):
        world.store.install_list(b"\x30\x80junk")
    world.store.install_list(w.list_of(world.nasa, 6))


def test_41_stale_list() -> None:
    world = World()
    site = world.store.sites["esa.example"]
    world.store.install_list(w.list_of(world.esa, 1, now=NOW - 61 * DAY))
    manager = world.sealer(world.manager)
    assert code(world, w.seal(manager, REQUEST, AGENTS), uri=AGENT) == "E_CRL_STALE"
    assert code(world, w.seal(manager, ACCEPT, AGENT), uri=AGENT) == "E_CRL_STALE"
    kill = m.JobKill(job_uuid=bytes(16))
    assert code(world, w.seal(manager, kill, AGENT), uri=AGENT) == "accepted"
    both = manager.seal(w.payload(kill, ACCEPT), AGENT, w.some_id(), b"", b"", NOW, 1, 1)
    old, new = world.opener(AGENT).open(both, NOW).items
    assert old.error is None
    assert new.error is not None
    assert new.error.code == "E_CRL_STALE"
    site.crl_fail = "deny-all"
    assert code(world, w.seal(manager, kill, AGENT), uri=AGENT) == "E_CRL_STALE"
    site.crl_fail = "ignore"
    assert code(world, w.seal(manager, ACCEPT, AGENT), uri=AGENT) == "accepted"


def test_43_clock_set_back() -> None:
    check_clock(NOW, NOW - DAY)
    check_clock(NOW - HOUR // 2, NOW)
    with pytest.raises(ConfigError, match="the clock says"):
        check_clock(NOW - 2 * DAY, NOW)
    with pytest.raises(ConfigError, match="before this version"):
        check_clock(1_000_000_000_000_000, 0)


# --- what sections D to F leave to the envelope --------------------------------------------------


def test_48_roles() -> None:
    for message in (REQUEST, m.JobKill(job_uuid=bytes(16)), m.WorkFlowCreate(template_name="t")):
        with pytest.raises(MessageRejected, match="E_ROLE"):
            permit("agent", message)


def test_56_forged_reply_topic(world: World) -> None:
    body = w.forge(world.agent, STATUS, reply_topic=topic_of(w.OTHER_AGENT))
    assert code(world, body) == "E_HEADER"


def test_63_size_before_parsing(world: World) -> None:
    assert code(world, b"\xff" * (5 * 1024 * 1024)) == "E_SIZE"


def test_64_counts_before_iterating(world: World) -> None:
    value = encode(m.JobDataAvailable(job_uuid=bytes(16)))[1] + b"\x1a\x00" * 500_000
    body = w.forge(world.agent, type_url=TYPE_PREFIX + "JobDataAvailable", value=value)
    assert code(world, body) == "E_LIMIT"
    short = pb.JobKill(job_uuid=bytes(15)).SerializeToString()
    assert code(world, w.forge(world.agent, type_url=TYPE_PREFIX + "JobKill", value=short)) == "E_LIMIT"


def test_65_nesting(world: World) -> None:
    deep = b""
    for _ in range(2000):
        inner = pb.CaroniEnvelope()
        inner.payload.type_url = TYPE_PREFIX + "Bundle"
        inner.payload.value = deep[:100_000]
        deep = inner.payload.SerializeToString()
    for value in (deep, b"\x0b" * 5000, b"\x1a\xff\xff\xff\xff\x0f"):
        body = w.forge(world.agent, type_url=w.STATUS_URL, value=value)
        assert code(world, body) in ("E_PARSE", "E_LIMIT", "E_DIGEST")
        assert code(world, value) in ("E_PARSE", "E_UNSIGNED")


# --- bundles -------------------------------------------------------------------------------------


def _raw_bundle(world: World, value: bytes) -> bytes:
    return w.forge(world.agent, type_url=TYPE_PREFIX + "Bundle", value=value)


def test_bundle_items_fail_alone(world: World) -> None:
    good = encode(STATUS)
    parts = [
        (w.some_id(), w.some_id(), b"", *good),
        (b"short", b"", b"", *good),
        (w.some_id(), b"", b"", TYPE_PREFIX + "JobFromTheFuture", b""),
        (w.some_id(), b"", b"", w.STATUS_URL, b"\xff"),
        (w.some_id(), b"", b"", TYPE_PREFIX + "EncryptedPayload", b""),
        (w.some_id(), b"", w.some_id(), *good),
    ]
    body = _raw_bundle(world, pack(parts).value)
    opened = world.opener().open(body, NOW)
    assert opened.payload_type == "Bundle"

    def verdict(item: Item) -> str:
        return item.error.code if item.error else "accepted"

    expected = ["accepted", "E_LIMIT", "E_TYPE", "E_PARSE", "E_DECRYPT", "accepted"]
    assert [verdict(item) for item in opened.items] == expected
    assert opened.items[0].message_id == parts[0][0]
    assert opened.items[5].in_reply_to == parts[5][2]


def test_bundle_is_not_nested_empty_or_too_large(world: World) -> None:
    inner = pb.Bundle()
    inner.items.add(message_id=w.some_id()).payload.type_url = TYPE_PREFIX + "Bundle"
    assert code(world, _raw_bundle(world, inner.SerializeToString())) == "E_TYPE"
    assert code(world, _raw_bundle(world, b"")) == "E_LIMIT"
    many = pb.Bundle(items=[pb.BundledMessage()] * 501).SerializeToString()
    assert code(world, _raw_bundle(world, many)) == "E_LIMIT"
    large = pb.Bundle(items=[pb.BundledMessage(message_id=bytes(300_000))]).SerializeToString()
    assert code(world, _raw_bundle(world, large)) == "E_LIMIT"
    assert code(world, _raw_bundle(world, b"\xff")) == "E_PARSE"


def test_the_offers_site_is_the_certificates(world: World) -> None:
    def offer(site: str) -> m.JobFulfillmentOffer:
        return m.JobFulfillmentOffer(
            request_uuid=bytes(16), offer_uuid=bytes(16), site=m.Site(site_identifier=site)
        )

    assert code(world, w.seal(world.sealer(), offer("nasa.example"))) == "accepted"
    assert code(world, w.seal(world.sealer(), offer(""))) == "accepted"
    assert code(world, w.seal(world.sealer(), offer("esa.example"))) == "E_LIMIT"


def test_intermediate_ca() -> None:
    """A site may issue through an intermediate CA; its anchor's list can revoke that one."""
    root_key = ec.generate_private_key(ec.SECP384R1())
    base = CertificateAuthority.in_memory("nasa.example", now=NOW - DAY)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")])
    root = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=root_key.public_key())
        .serial_number(7)
        .not_valid_before(base.certificate.not_valid_before_utc)
        .not_valid_after(base.certificate.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False)
        .sign(root_key, base.certificate.signature_hash_algorithm)  # type: ignore[arg-type]
    )
    root_ca = CertificateAuthority("nasa.example", root_key, root, None)
    middle_key = ec.generate_private_key(ec.SECP256R1())
    middle_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "middle")])
    middle = (
        x509.CertificateBuilder(
            subject_name=middle_name, issuer_name=name, public_key=middle_key.public_key()
        )
        .serial_number(8)
        .not_valid_before(root.not_valid_before_utc)
        .not_valid_after(root.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(middle_key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False
        )
        .sign(root_key, root.signature_hash_algorithm)  # type: ignore[arg-type]
    )
    world = World()
    world.store = TrustStore([root_ca.trust(("agent",))])
    pem = middle.public_bytes(Encoding.PEM).decode()
    signer = w.odd_leaf(base, issuer=middle, issuer_key=middle_key, chain=pem)
    body = w.forge(signer, STATUS)
    assert code(world, body) == "accepted"
    without = w.odd_leaf(base, issuer=middle, issuer_key=middle_key)
    assert code(world, w.forge(without, STATUS)) == "E_CHAIN"
    world.store.install_list(w.list_of(root_ca, 1, {8: (NOW, None)}))
    assert code(world, body) == "E_REVOKED"
