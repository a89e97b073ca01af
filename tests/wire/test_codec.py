"""Every message goes out and comes back the same; what is out of bounds is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caroni.core import messages as m
from caroni.errors import MessageRejected
from caroni.wire import caroni_pb2 as pb
from caroni.wire import fields, values
from caroni.wire.codec import TYPE_PREFIX, decode, encode, message_name
from tests.wire.samples import _JSON, KINDS, strategy

QUICK = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
MORE = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
ID = bytes(range(16))


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_round_trip(kind: type[m.Message]) -> None:
    @QUICK
    @given(strategy(kind))
    def check(message: m.Message) -> None:
        assert decode(*encode(message)) == message

    check()


@MORE
@given(st.sampled_from(KINDS), st.binary(max_size=200))
def test_any_bytes_give_a_message_or_a_verdict(kind: type[m.Message], data: bytes) -> None:
    try:
        message = decode(TYPE_PREFIX + kind.__name__, data)
    except MessageRejected:
        return
    assert decode(*encode(message)) == message


def _raw(name: str, **fields: Any) -> tuple[str, bytes]:
    return TYPE_PREFIX + name, getattr(pb, name)(**fields).SerializeToString()


def _data(**parameter: Any) -> tuple[str, bytes]:
    return _raw("JobDataAvailable", job_uuid=ID, parameters=[pb.JobParameter(**parameter)])


BAD = {
    "unknown type": ((TYPE_PREFIX + "JobExplode", b""), "E_TYPE"),
    "foreign type": (("x/caroni.JobKill", b""), "E_TYPE"),
    "a part is no message": ((TYPE_PREFIX + "Site", b""), "E_TYPE"),
    "garbage": ((TYPE_PREFIX + "JobKill", b"\xff"), "E_PARSE"),
    "bad utf-8": ((TYPE_PREFIX + "JobKill", b"\x12\x10" + ID + b"\x1a\x01\xff"), "E_PARSE"),
    "uuid missing": (_raw("JobKill"), "E_LIMIT"),
    "uuid of 15": (_raw("JobKill", job_uuid=ID[:15]), "E_LIMIT"),
    "uuid of 17": (_raw("JobKill", job_uuid=ID + b"x"), "E_LIMIT"),
    "long text": (_raw("JobKill", job_uuid=ID, kill_info="x" * 4097), "E_LIMIT"),
    "long key": (_data(key="k" * 257), "E_LIMIT"),
    "NUL in a key": (_data(key="k\0"), "E_LIMIT"),
    "long tail": (
        _raw("JobStatusUpdate", job_uuid=ID, stdout_tail="x" * (fields.MAX_TAIL + 1)),
        "E_LIMIT",
    ),
    "progress of 2": (_raw("JobStatusUpdate", job_uuid=ID, progress=2.0), "E_LIMIT"),
    "progress NaN": (_raw("JobStatusUpdate", job_uuid=ID, progress=float("nan")), "E_LIMIT"),
    "seq of 64 bits": (_raw("JobStatusUpdate", job_uuid=ID, seq=2**63), "E_LIMIT"),
    "short digest": (_raw("JobStatusUpdate", job_uuid=ID, manifest={"a": b"x"}), "E_LIMIT"),
    "negative duration": (
        _raw("JobFulfillmentOffer", request_uuid=ID, offer_uuid=ID, ttl={"seconds": -1}),
        "E_LIMIT",
    ),
    "endless duration": (
        _raw("JobFulfillmentOffer", request_uuid=ID, offer_uuid=ID, ttl={"seconds": 2**62}),
        "E_LIMIT",
    ),
    "odd nanoseconds": (
        _raw("JobFulfillmentOffer", request_uuid=ID, offer_uuid=ID, ttl={"nanos": -(2**31)}),
        "E_LIMIT",
    ),
    "many hints": (
        _raw("JobFulfillmentRequest", request_uuid=ID, hints={str(i): "" for i in range(65)}),
        "E_LIMIT",
    ),
    "a name twice": (
        _raw("JobDataAvailable", job_uuid=ID, parameters=[pb.JobParameter(key="a")] * 2),
        "E_LIMIT",
    ),
    "no JSON": (_data(key="a", json_value="{"), "E_PARSE"),
    "empty JSON": (_data(key="a", json_value=""), "E_PARSE"),
    "two JSON": (_data(key="a", json_value="1 2"), "E_PARSE"),
    "NaN": (_data(key="a", json_value="NaN"), "E_PARSE"),
    "Infinity": (_data(key="a", json_value="[-Infinity]"), "E_PARSE"),
    "beyond floats": (_data(key="a", json_value="1e999"), "E_PARSE"),
    "duplicate key": (_data(key="a", json_value='[{"x": 1, "x": 2}]'), "E_PARSE"),
    "duplicate key, spelled otherwise": (_data(key="a", json_value='{"x": 1, "\\u0078": 2}'), "E_PARSE"),
    "half a surrogate": (_data(key="a", json_value='["\\ud800"]'), "E_PARSE"),
    "65 deep": (_data(key="a", json_value="[" * 65 + "]" * 65), "E_LIMIT"),
    "65 deep, mixed": (_data(key="a", json_value='{"a":[' * 32 + "[]" + "]}" * 32), "E_LIMIT"),
    "5000 deep": (_data(key="a", json_value="[" * 5000), "E_LIMIT"),
    "too large": (_data(key="a", value="x" * (3 * 1024 * 1024)), "E_LIMIT"),
}


@pytest.mark.parametrize("case", BAD)
def test_out_of_bounds(case: str) -> None:
    (type_url, value), code = BAD[case]
    with pytest.raises(MessageRejected) as refused:
        decode(type_url, value)
    assert refused.value.code == code


def test_64_levels_and_brackets_in_strings() -> None:
    for text in (
        "[" * 64 + "]" * 64,
        '["' + "[" * 100 + '"]',
        '"' + "\\" * 200 + "[" * 70 + '"',
        "[[]," * 40 + "1" + "]" * 40,
    ):
        assert decode(*_data(key="a", json_value=text)).parameters == {"a": text}  # type: ignore[attr-defined]


@MORE
@given(_JSON)
def test_a_value_keeps_its_text(text: str) -> None:
    assert values.from_wire(*values.to_wire(text)) == text


@MORE
@given(st.text(st.sampled_from('[]{}",\\:1a \n'), max_size=40) | st.text(max_size=10))
def test_what_is_no_json_is_never_taken(text: str) -> None:
    try:
        values.check_json(text)
    except MessageRejected:
        with pytest.raises(MessageRejected):
            values.to_wire(text if text[:1] != '"' else f"[{text}]")
        return
    assert values.from_wire(*values.to_wire(text)) == text


@pytest.mark.parametrize(
    ("text", "wire", "base"),
    [
        ('"a b"', ("a b", None), "a b"),
        ('""', ("", None), ""),
        ('"\\u0041"', ("A", '"\\u0041"'), "A"),
        ("12", ("12", "12"), "12"),
        ("true", ("true", "true"), "true"),
        ("null", ("", "null"), ""),
        ("[1]", ("", "[1]"), "[1]"),
        ('{"class":"File"}', ("", '{"class":"File"}'), '{"class":"File"}'),
        (" 1", ("", " 1"), " 1"),
        (
            "123456789012345678901234567890",
            ("123456789012345678901234567890",) * 2,
            "123456789012345678901234567890",
        ),
    ],
)
def test_how_values_travel(text: str, wire: tuple[str, str | None], base: str) -> None:
    assert values.to_wire(text) == wire
    assert values.to_base(text) == base
    assert values.from_wire(*wire) == text


def test_a_large_value_says_what_to_do() -> None:
    with pytest.raises(MessageRejected, match="pass a File"):
        encode(m.JobDataAvailable(job_uuid=ID, parameters={"a": '"' + "é" * 2_000_000 + '"'}))


def test_text_for_people_is_cut_not_refused() -> None:
    tail = "x" * 20_000 + "\0\udc80é"
    sent = m.JobStatusUpdate(
        job_uuid=ID, job_status=m.JobStatus.FAILED, status_info="a\0b\udc80", stderr_tail=tail
    )
    got = decode(*encode(sent))
    assert isinstance(got, m.JobStatusUpdate)
    assert got.status_info == "a\ufffdb\\udc80"
    assert len(got.stderr_tail) == fields.MAX_TAIL


def test_our_own_mistakes_do_not_leave() -> None:
    with pytest.raises(ValueError, match="job_uuid"):
        encode(m.JobKill(job_uuid=b"short"))
    with pytest.raises(ValueError, match="job_type_name"):
        encode(m.JobFulfillmentRequest(request_uuid=ID, job_type_name="x" * 300))


def test_newer_enum_values_are_unspecified_and_counted() -> None:
    before = fields.unknown_enums["JobStatus"]
    raw = pb.JobStatusUpdate(job_uuid=ID).SerializeToString() + b"\x18\x63"
    got = decode(TYPE_PREFIX + "JobStatusUpdate", raw)
    assert isinstance(got, m.JobStatusUpdate)
    assert got.job_status is m.JobStatus.UNSPECIFIED
    assert fields.unknown_enums["JobStatus"] == before + 1


def test_unknown_fields_of_newer_peers_are_ignored() -> None:
    kill = m.JobKill(job_uuid=ID)
    assert decode(TYPE_PREFIX + "JobKill", encode(kill)[1] + b"\x82\x7d\x03abc") == kill


def test_exit_code_keeps_its_presence() -> None:
    for code in (None, 0, 3, -9):
        update = m.JobStatusUpdate(job_uuid=ID, job_status=m.JobStatus.COMPLETED, exit_code=code)
        assert decode(*encode(update)) == update


def test_message_name() -> None:
    assert message_name(TYPE_PREFIX + "JobQueued") == "JobAccepted"
    with pytest.raises(MessageRejected, match="E_TYPE"):
        message_name("x.JobQueued")
