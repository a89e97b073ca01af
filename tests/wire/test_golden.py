"""Bytes that are frozen: the capture of base peers, one message of every type, and DSSE's own vector."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from caroni.core import messages as m
from caroni.wire import caroni_pb2 as pb
from caroni.wire.codec import ALIASES, TYPE_PREFIX, decode, encode
from caroni.wire.envelope import pre_authentication_encoding, seal_unsigned
from caroni.wire.rules import RULES, RULES_BY_NAME
from tests.wire.samples import KINDS, filled

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parents[2]
CAPTURE = [json.loads(line) for line in (DATA / "base-capture.jsonl").read_text().splitlines()]
GOLDEN: dict[str, str] = json.loads((DATA / "golden.json").read_text())

U1, U2 = bytes(range(16)), bytes(range(16, 32))
#: Base messages as a base peer encodes them, written by hand: tag, length, content of each field.
BASE_BY_HAND: dict[str, tuple[m.Message, bytes]] = {
    "JobFulfillmentDecline": (
        m.JobFulfillmentDecline(request_uuid=U1, decline_message="no"),
        b"\x0a\x00" + b"\x12\x10" + U1 + b"\x1a\x00" + b"\x22\x02no",
    ),
    "JobFulfillmentOfferReject": (
        m.JobFulfillmentOfferReject(request_uuid=U1, offer_uuid=U2),
        b"\x0a\x00" + b"\x12\x10" + U1 + b"\x1a\x10" + U2 + b"\x22\x00",
    ),
    "JobKill": (
        m.JobKill(job_uuid=U1, kill_info="stop"),
        b"\x0a\x00" + b"\x12\x10" + U1 + b"\x1a\x04stop",
    ),
    "JobFulfillmentOffer": (
        m.JobFulfillmentOffer(
            request_uuid=U1,
            offer_uuid=U2,
            site=m.Site(site_identifier="esa", site_uuid=U1, site_contact="x"),
            offer_message="",
            expiration=3_000_002,
            ttl=5,
            queue_depth=2,
        ),
        b"\x0a\x00"
        + b"\x12\x10"
        + U1
        + b"\x1a\x10"
        + U2
        + b"\x22\x1a\x0a\x03esa\x12\x10"
        + U1
        + b"\x1a\x01x"
        + b"\x2a\x00"
        + b"\x32\x05\x08\x03\x10\xd0\x0f",
    ),
    "JobStatusUpdate": (
        m.JobStatusUpdate(job_uuid=U1, job_status=m.JobStatus.FAILED, status_info="", seq=4, exit_code=1),
        b"\x0a\x00" + b"\x12\x10" + U1 + b"\x18\x05" + b"\x22\x00",
    ),
    "JobDataAvailable": (
        m.JobDataAvailable(job_uuid=U1, parameters={"n": "12", "s": '"a"', "l": "[1]", "z": "null"}),
        b"\x0a\x00"
        + b"\x12\x10"
        + U1
        + b"\x1a\x07\x0a\x01n\x12\x0212"
        + b"\x1a\x06\x0a\x01s\x12\x01a"
        + b"\x1a\x08\x0a\x01l\x12\x03[1]"
        + b"\x1a\x05\x0a\x01z\x12\x00",
    ),
}


@pytest.mark.parametrize("record", CAPTURE, ids=lambda r: r["message"])
def test_capture_of_base_peers(record: dict[str, Any]) -> None:
    body = base64.b64decode(record["body"])
    payload = pb.CaroniEnvelope.FromString(body).payload
    message = decode(payload.type_url, payload.value)
    assert type(message).__name__ == record["message"]
    for form in (encode(message), encode(message, base=True)):
        assert form == (payload.type_url, payload.value)
        assert seal_unsigned(*form) == body


def test_the_capture_is_whole() -> None:
    assert len(CAPTURE) == 34


@pytest.mark.parametrize("name", BASE_BY_HAND)
def test_base_messages_by_hand(name: str) -> None:
    message, expected = BASE_BY_HAND[name]
    assert encode(message, base=True) == (TYPE_PREFIX + name, expected)
    decode(TYPE_PREFIX + name, expected)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_golden_bytes(kind: type[m.Message]) -> None:
    message = filled(kind)
    type_url, value = encode(message)
    assert type_url == TYPE_PREFIX + kind.__name__
    assert value.hex() == GOLDEN[kind.__name__]
    assert decode(type_url, value) == message


@pytest.mark.parametrize(("old", "new"), ALIASES.items())
def test_older_names(old: str, new: str) -> None:
    message = filled(next(kind for kind in KINDS if kind.__name__ == new))
    assert decode(TYPE_PREFIX + old, encode(message)[1]) == message


def test_dsse_vector() -> None:
    """The pre-authentication encoding of DSSE's own protocol page."""
    made = pre_authentication_encoding(b"http://example.com/HelloWorld", b"hello world")
    assert made == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pre_authentication_encoding(b"", b"") == b"DSSEv1 0  0 "


def test_generated_code_is_current(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            "-Iproto",
            f"--python_out={tmp_path}",
            f"--pyi_out={tmp_path}",
            "proto/caroni.proto",
        ],
        cwd=ROOT,
        check=True,
    )
    for name in ("caroni_pb2.py", "caroni_pb2.pyi"):
        assert (tmp_path / name).read_bytes() == (ROOT / "caroni/wire" / name).read_bytes(), "run make proto"


def test_every_message_has_its_rule() -> None:
    for name, descriptor in pb.DESCRIPTOR.message_types_by_name.items():
        options = descriptor.GetOptions()
        is_part = options.Extensions[pb.part]  # type: ignore[index, var-annotated]
        has_rule = options.HasExtension(pb.rule)  # type: ignore[arg-type]
        assert is_part != has_rule, f"{name} needs either a rule or part"
        if not has_rule:
            continue
        rule = options.Extensions[pb.rule]  # type: ignore[index, var-annotated]
        assert rule.senders, name
        assert rule.recipient, name
        assert rule.repeated_by, name
        assert rule.lifetime_seconds or name == "RevocationNotice", name
        assert name in RULES_BY_NAME, f"{name} has no value class in core.messages"
        if name != "RevocationNotice":
            first = descriptor.fields_by_number[1]
            assert first.name == "signature", name
            assert first.message_type == pb.Signature.DESCRIPTOR, name
        assert RULES_BY_NAME[name].broadcast == bool(RULES_BY_NAME[name].audience)


def test_base_rules() -> None:
    base = {rule.name for rule in RULES.values() if rule.base}
    assert len(base) == 11
    for name in base:
        numbers = pb.DESCRIPTOR.message_types_by_name[name].fields_by_number
        assert not [n for n in numbers if 6 < n < 16]
    with pytest.raises(ValueError, match="do not know"):
        encode(m.JobRelease(job_uuid=U1), base=True)
    with pytest.raises(ValueError, match="KILLED"):
        encode(m.JobStatusUpdate(job_uuid=U1, job_status=m.JobStatus.KILLED), base=True)
