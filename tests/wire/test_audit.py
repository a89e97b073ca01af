"""What an operator is told of an envelope that was kept: verified again, whoever it was meant for."""

from __future__ import annotations

import pytest

from caroni.core import messages as m
from caroni.core.plan import DAY
from caroni.trust.store import TrustStore
from caroni.wire import caroni_pb2 as pb
from caroni.wire.audit import Auditor
from caroni.wire.codec import encode
from caroni.wire.sealing import seal_unsigned
from tests.wire.world import AGENT, MANAGER, NOW, World, payload, seal, some_id

STATUS = m.JobStatusUpdate(job_uuid=some_id(), job_status=m.JobStatus.RUNNING)


@pytest.fixture
def world() -> World:
    return World()


def changed(body: bytes, **parts: object) -> bytes:
    envelope = pb.CaroniEnvelope.FromString(body)
    for name, value in parts.items():
        if name == "value":
            envelope.payload.value = value
        elif name == "signed_header":
            envelope.signed_header = value
        else:
            setattr(envelope.signature, name, value)
    return envelope.SerializeToString()


def verdict(world: World, body: bytes, **options: object) -> tuple[str, str]:
    audit = Auditor(world.store, **options).audit(body, NOW)  # type: ignore[arg-type]
    return audit.code, audit.words


def test_good_whoever_it_was_for_and_however_old(world: World) -> None:
    body = seal(world.sealer(), STATUS)
    audit = Auditor(world.store).audit(body, NOW)
    assert (audit.code, audit.sender) == ("ok", AGENT)
    assert audit.words.startswith("signature good, certificate valid until 20")
    assert audit.fingerprint == world.agent.fingerprint.hex()
    code, _ = verdict(world, seal(world.sealer(), STATUS, audience="caroni://else.example/manager/x"))
    assert code == "ok"
    later = Auditor(world.store).audit(body, NOW + 2000 * DAY)
    assert later.code == "ok"
    assert later.words.startswith("signature good, certificate valid when it was sent, expired since 20")


def test_changed_on_the_way(world: World) -> None:
    body = seal(world.sealer(), STATUS)
    other = payload(m.JobStatusUpdate(job_uuid=some_id(), job_status=m.JobStatus.FAILED)).value
    assert verdict(world, changed(body, value=other)) == (
        "E_DIGEST", "signature good, but the content is not what was signed",
    )  # fmt: skip
    header = pb.SignedHeader.FromString(pb.CaroniEnvelope.FromString(body).signed_header)
    header.audience.append("caroni://b.example/agent/x")
    code, words = verdict(world, changed(body, signed_header=header.SerializeToString()))
    assert (code, words) == (
        "E_SIG", "signature does not fit: what it signed was changed, or another key signed it",
    )  # fmt: skip
    assert verdict(world, changed(body, payload_signature="!!"))[0] == "E_SIG"
    assert verdict(world, changed(body, signator_certificate=world.other.certificate))[0] == "E_SIG"


def test_signed_by_who_is_not_trusted(world: World) -> None:
    foreign = World()  # the same names, other keys
    code, words = verdict(world, seal(foreign.sealer(), STATUS))
    assert code == "E_CHAIN"
    assert words.startswith("signature good, but its certificate was not issued by a CA that is trusted")
    body = seal(world.sealer(), STATUS)
    assert Auditor(TrustStore()).audit(body, NOW).words == (
        "signature good, but its signer is not trusted: site nasa.example is not trusted here"
    )
    # and again, from the store's memory of what it refused
    store = TrustStore()
    assert [Auditor(store).audit(body, NOW).code for _ in range(2)] == ["E_NAMESPACE"] * 2


def test_banned_or_revoked_since(world: World) -> None:
    body = seal(world.sealer(), STATUS)
    assert verdict(world, body)[0] == "ok"
    world.store.ban(AGENT)
    assert verdict(world, body) == ("E_BANNED", "signature good, but its signer is banned on this host")
    world.store.unban(AGENT)
    assert verdict(world, body)[0] == "ok"


def test_our_own_where_our_site_is_not_trusted_for_our_role(world: World) -> None:
    world.store = TrustStore([world.esa.trust(("agent",))])
    body = seal(world.sealer(world.manager), m.JobKill(job_uuid=some_id()), audience=AGENT)
    assert verdict(world, body)[0] == "E_NAMESPACE"
    code, words = verdict(world, body, own=[world.manager.fingerprint.hex()])
    assert code == "ok"
    assert words.startswith("signature good, our own certificate, valid until 20")


def test_a_certificate_that_is_only_named(world: World) -> None:
    sealer = world.sealer()
    body = sealer.seal(payload(STATUS), MANAGER, some_id(), b"", b"", NOW, 5, 1, known_by_recipient=True)
    code, words = verdict(world, body)
    assert code == "E_CERT_UNKNOWN"
    assert "not known here" in words
    known = {world.agent.fingerprint.hex(): world.agent.certificate}
    assert verdict(world, body, certificate=known.get)[0] == "ok"


def test_nothing_that_could_be_believed(world: World) -> None:
    assert verdict(world, seal_unsigned(*encode(STATUS))) == (
        "E_UNSIGNED", "not signed: anybody may have sent it",
    )  # fmt: skip
    assert verdict(world, b"\xff\xff")[0] == "E_PARSE"
    assert verdict(world, b"x" * (4 * 1024 * 1024 + 1))[0] == "E_SIZE"
    assert verdict(world, seal(world.sealer(federation="other"), STATUS), federation="prod")[0] == (
        "E_FEDERATION"
    )


def test_any_byte_may_be_anything(world: World) -> None:
    body = seal(world.sealer(), STATUS)
    auditor = Auditor(world.store)
    for place in range(0, len(body), 7):
        broken = bytearray(body)
        broken[place] ^= 0x55
        auditor.audit(bytes(broken), NOW)
        auditor.audit(body[:place], NOW)
