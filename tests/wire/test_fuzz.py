"""Whatever arrives: a verdict, and nothing but a verdict."""

from __future__ import annotations

import base64
import contextlib
import random
import time
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caroni.errors import MessageRejected
from caroni.trust.certificates import parse_presented
from caroni.trust.identity import Identity
from caroni.trust.revocation import read_list
from caroni.wire import caroni_pb2 as pb
from caroni.wire.codec import TYPE_PREFIX
from caroni.wire.envelope import Opened, Parked, pre_authentication_encoding
from caroni.wire.rules import MAX_ENVELOPE
from caroni.wire.sealing import HEADER_TYPE
from tests.wire import world as w
from tests.wire.samples import KINDS
from tests.wire.world import NOW, STATUS, World

FUZZ = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
WORLD = World()
LAB = WORLD.opener(mode="lab")
REQUIRED = WORLD.opener()
GOOD = w.seal(WORLD.sealer(), STATUS)
TOPIC = "wf.agent.AAAAAAAAAAAAAAAAAAAAAA"
TYPES = st.sampled_from([TYPE_PREFIX + kind.__name__ for kind in KINDS] + [TYPE_PREFIX + "Bundle", "x", ""])


def outcome(opener: Any, body: bytes) -> Opened | str:
    try:
        opened: Opened = opener.open(body, NOW, TOPIC)
    except MessageRejected as error:
        return error.code
    except Parked as parked:
        return parked.reason
    return opened


@FUZZ
@given(st.binary(max_size=400))
def test_any_body(body: bytes) -> None:
    for opener in (REQUIRED, LAB):
        outcome(opener, body)


@FUZZ
@given(st.binary(max_size=60), st.integers(0, len(GOOD)), st.integers(0, 60))
def test_spliced_body(insert: bytes, position: int, cut: int) -> None:
    result = outcome(REQUIRED, GOOD[:position] + insert + GOOD[position + cut :])
    assert isinstance(result, str) or result.items[0].message == STATUS


@FUZZ
@given(st.binary(max_size=200), st.text(max_size=40), st.text(max_size=20), TYPES, st.binary(max_size=99))
def test_any_envelope(header: bytes, certificate: str, signature: str, url: str, value: bytes) -> None:
    made = pb.CaroniEnvelope(signed_header=header)
    made.signature.signator_certificate = certificate.encode("utf-8", "replace").decode()
    made.signature.payload_signature = signature.encode("utf-8", "replace").decode()
    made.payload.type_url, made.payload.value = url, value
    for opener in (REQUIRED, LAB):
        outcome(opener, made.SerializeToString())


@FUZZ
@given(st.binary(max_size=300), TYPES, st.binary(max_size=200))
def test_any_header_under_a_good_signature(header: bytes, url: str, value: bytes) -> None:
    signature = WORLD.agent.sign(pre_authentication_encoding(HEADER_TYPE, header))
    body = w.envelope(header, signature, WORLD.agent.certificate, url, value).SerializeToString()
    assert outcome(REQUIRED, body) == "E_HEADER"


@FUZZ
@given(TYPES, st.binary(max_size=200))
def test_any_payload_under_a_good_header(url: str, value: bytes) -> None:
    outcome(REQUIRED, w.forge(WORLD.agent, type_url=url, value=value))
    bundle = pb.Bundle()
    item = bundle.items.add(message_id=bytes(16))
    item.payload.type_url, item.payload.value = url, value
    body = w.forge(WORLD.agent, type_url=TYPE_PREFIX + "Bundle", value=bundle.SerializeToString())
    opened = outcome(REQUIRED, body)
    assert isinstance(opened, Opened)
    assert (opened.items[0].message is None) != (opened.items[0].error is None)


@FUZZ
@given(st.data())
def test_spoiled_certificates(data: st.DataObject) -> None:
    der = bytearray(base64.b64decode("".join(WORLD.agent.certificate.split("\n")[1:-2])))
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    text = base64.encodebytes(bytes(der)).decode().replace("\n", "")
    lines = "\n".join(text[i : i + 64] for i in range(0, len(text), 64))
    pem = f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"
    with contextlib.suppress(MessageRejected):
        parse_presented(pem)
    result = outcome(REQUIRED, w.forge(WORLD.agent, STATUS, certificate=pem))
    assert isinstance(result, str) or pem == WORLD.agent.certificate


@FUZZ
@given(st.data())
def test_spoiled_lists(data: st.DataObject) -> None:
    der = bytearray(LIST)
    for _ in range(data.draw(st.integers(0, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_list(bytes(der), (WORLD.nasa.certificate,))
    except MessageRejected:
        return
    assert bytes(der) == LIST


LIST = w.list_of(WORLD.nasa, 3, {7: (NOW, None)})


@FUZZ
@given(
    st.text(max_size=60)
    | st.from_regex(r"caroni://[a-z0-9.-]{0,5}/(agent|manager)/[a-z0-9-]{0,5}", fullmatch=True)
)
def test_identities_have_one_spelling(text: str) -> None:
    try:
        identity = Identity.parse(text)
    except MessageRejected:
        return
    assert identity.uri == text
    assert Identity.of(identity.site, identity.role, identity.name) == identity


@FUZZ
@given(st.binary(max_size=9), st.binary(max_size=9), st.binary(max_size=9), st.binary(max_size=9))
def test_encoding_before_signing_is_injective(t1: bytes, b1: bytes, t2: bytes, b2: bytes) -> None:
    same = pre_authentication_encoding(t1, b1) == pre_authentication_encoding(t2, b2)
    assert same == ((t1, b1) == (t2, b2))


def test_large_hostile_bodies_are_judged_quickly() -> None:
    """Bounds of the plan are 100 ms on an idle core; this allows for a busy one."""
    noise = random.Random(1).randbytes(MAX_ENVELOPE - 10)
    huge_header = pb.CaroniEnvelope(signed_header=noise[: MAX_ENVELOPE // 2])
    huge_header.signature.signator_certificate = WORLD.agent.certificate
    huge_header.signature.payload_signature = base64.b64encode(bytes(64)).decode()
    many = pb.JobDataAvailable(job_uuid=bytes(16)).SerializeToString() + b"\x1a\x00" * 1_500_000
    brackets = pb.JobDataAvailable(
        job_uuid=bytes(16), parameters=[{"key": "a", "json_value": "[" + "[]," * 900_000 + "1]"}]
    ).SerializeToString()
    url = TYPE_PREFIX + "JobDataAvailable"
    for body, expected in (
        (noise, "E_PARSE"),
        (huge_header.SerializeToString(), "E_HEADER"),
        (w.forge(WORLD.agent, type_url=url, value=many), "E_LIMIT"),
        (w.forge(WORLD.agent, type_url=url, value=brackets), None),
    ):
        start = time.process_time()
        result = outcome(REQUIRED, body)
        assert time.process_time() - start < 3.0
        if isinstance(result, Opened):
            error = result.items[0].error
            assert (error.code if error else None) == expected
        else:
            assert result == expected
