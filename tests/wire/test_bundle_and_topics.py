"""Bundles are cut within their bounds; topics are derived, and job types survive in routing keys."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caroni.core import messages as m
from caroni.core.plan import DAY
from caroni.errors import MessageRejected
from caroni.wire.bundle import BUNDLE_URL, Part, batches, pack, unpack
from caroni.wire.codec import encode
from caroni.wire.rules import MAX_BUNDLE_BYTES, MAX_BUNDLE_ITEMS, RULES, permit
from caroni.wire.topics import broadcast_key, is_topic, job_type_of, topic_of
from tests.wire.samples import KINDS, filled
from tests.wire.world import some_id


def _part(size: int = 0) -> Part:
    return Part(some_id(), b"", b"", *encode(m.JobKill(job_uuid=bytes(16)))) if not size else _sized(size)


def _sized(size: int) -> Part:
    return Part(some_id(), some_id(), some_id(), "type.googleapis.com/caroni.JobDataAvailable", bytes(size))


def test_one_message_is_no_bundle() -> None:
    part = _part()
    payload = pack([part])
    assert (payload.type_url, payload.value) == (part.type_url, part.value)
    assert payload.lifetime == 14 * DAY


def test_several_messages() -> None:
    parts = [_part(), _sized(10)]
    payload = pack(parts)
    assert payload.type_url == BUNDLE_URL
    assert payload.lifetime == 30 * DAY
    assert unpack(payload.value) == parts


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([0, 1, 5_000, 200_000, 300_000]), max_size=20), st.integers(0, 1200))
def test_batches_fit_and_keep_order(sizes: list[int], small: int) -> None:
    parts = [_sized(size) for size in sizes] + [_part()] * small
    runs = list(batches(parts))
    assert [part for run in runs for part in run] == parts
    for run in runs:
        assert 1 <= len(run) <= MAX_BUNDLE_ITEMS
        if len(run) > 1:
            assert len(pack(run).value) <= MAX_BUNDLE_BYTES


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="holds 1 to 500"):
        pack([])
    with pytest.raises(ValueError, match="holds 1 to 500"):
        pack([_part()] * 501)
    with pytest.raises(ValueError, match="at most"):
        pack([_sized(200_000)] * 2)
    nested = pack([_part(), _part()])
    with pytest.raises(ValueError, match="does not hold"):
        pack([_part(), Part(some_id(), b"", b"", nested.type_url, nested.value)])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=19))
def test_job_types_as_routing_keys(job_type: str) -> None:
    key = broadcast_key(job_type)
    assert key.startswith("wf.agent.fulfillment.")
    assert len(key) <= 255
    assert not set(key.removeprefix("wf.agent.fulfillment.")) & set(".#* ")
    assert job_type_of(key) == job_type


def test_other_keys_are_no_job_types() -> None:
    for key in (
        "wf.agent.fulfillment",
        "wf.agent.fulfillment.",
        "wf.agent.fulfillment.a.b",
        "x.a",
        "wf.agent.fulfillment.=FF",
    ):
        assert job_type_of(key) is None
    for name in ("", "x" * 250):
        with pytest.raises(ValueError, match="job type"):
            broadcast_key(name)


def test_topics() -> None:
    topic = topic_of("caroni://esa.example/agent/gpu1")
    assert is_topic(topic)
    assert topic == "wf.agent.N_UUibV0kmGe8Y_UHcnNsA"
    assert topic_of("unsigned:wf.agent.abc") == "wf.agent.abc"
    assert not is_topic("wf.agent.fulfillment")
    with pytest.raises(MessageRejected, match="E_IDENTITY"):
        topic_of("caroni://esa.example/agent/GPU")


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_only_the_senders_of_the_rule(kind: type[m.Message]) -> None:
    message = filled(kind)
    for role in ("manager", "agent", "submitter", "operator"):
        if role in RULES[kind].roles:
            permit(role, message)
        else:
            with pytest.raises(MessageRejected, match="E_ROLE"):
                permit(role, message)
    with pytest.raises(MessageRejected, match="E_ROLE"):
        permit("root", message)
