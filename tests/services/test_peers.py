"""What is known of peers: on a real store, with real certificates, and as two daemons leave it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from caroni.config import Loaded, load_config
from caroni.core.commands import Drain, Undrain
from caroni.core.messages import PresenceState
from caroni.core.plan import DAY, HOUR, MINUTE, SECOND
from caroni.core.rows import Offer, Peer, Request, Row, Step
from caroni.core.states import OfferState, RequestState, StepState
from caroni.model.store import Store
from caroni.model.unit import Unit
from caroni.services import authority, trusting
from caroni.services.answers import answers
from caroni.services.clocks import delays
from caroni.services.peers import clock_in_words, facts_of, peers, with_facts
from caroni.services.setup import make_directory
from caroni.services.standing import standing_of
from tests.daemon.test_engine import JOB as ECHO
from tests.daemon.test_engine import PLAN, Federation, run_one
from tests.daemon.test_recovery import carried_out

NOW = 1_790_000_000_000_000
GOOD, BAD = "caroni://a.example/agent/good", "caroni://a.example/agent/bad"


@pytest.fixture
async def manager(tmp_path: Path) -> Loaded:
    await make_directory("manager", tmp_path / "m1", site="a.example", name="m1")
    return load_config(tmp_path / "m1")


@pytest.fixture
async def store(manager: Loaded) -> AsyncIterator[Store]:
    opened = await Store.open(f"sqlite://{manager.directory / 'caroni.db'}", "manager")
    yield opened
    await opened.close()


def unit(*rows: Row) -> Unit:
    """Rows in one unit of work."""
    made = Unit(now=NOW)
    for row in rows:
        made.rows.setdefault(type(row), []).append(row)
    return made


def believe(loaded: Loaded, site: str, roles: tuple[str, ...]) -> None:
    """Have a site believed, with a CA of its own."""
    directory = loaded.directory.parent / f"ca-{site}"
    made = authority.init_ca(directory, site, None, years=1)
    bundle = directory.with_suffix(".bundle")
    bundle.write_text(authority.export(directory, None)[0])
    trusting.import_site(loaded, bundle, made.fingerprint, roles)


async def test_presence_in_a_word(store: Store) -> None:
    def peer(name: str, state: PresenceState, heard: int, away: int = 0) -> Peer:
        return Peer(
            uri=f"caroni://a.example/agent/{name}",
            last_contact=NOW - heard,
            presence=state,
            away_until=away,
        )

    known = (
        peer("here", PresenceState.ONLINE, SECOND),
        peer("away", PresenceState.OFFLINE, HOUR, NOW + HOUR),
        peer("late", PresenceState.OFFLINE, DAY, NOW - HOUR),
        peer("mute", PresenceState.ONLINE, HOUR),
        peer("slow", PresenceState.ONLINE, 2 * MINUTE),
        peer("tired", PresenceState.DRAINING, SECOND),
        peer("odd", PresenceState.UNSPECIFIED, SECOND),
    )
    await store.commit(unit(*known, Peer(uri="caroni://a.example/manager/m2")))
    states = {p.uri.rpartition("/")[2]: p.state for p in await peers(store, NOW)}
    assert states == {
        "here": "online",
        "away": "offline",
        "late": "silent",
        "mute": "silent",
        "slow": "online",
        "tired": "draining",
        "odd": "unknown",
        "m2": "",
    }
    impatient = {p.uri.rpartition("/")[2]: p.state for p in await peers(store, NOW, silence=MINUTE)}
    assert impatient["slow"] == "silent"


async def test_answers_of_agents_are_counted_over_the_last_requests(store: Store) -> None:
    rows: list[Step | Request | Offer] = []
    for number in range(10):
        uuid, job_type = bytes([number]) * 16, "wide" if number < 8 else "other"
        rows.append(
            Step(
                workflow_uuid=b"w" * 16, index=number, name=f"s{number}", job_type=job_type,
                state=StepState.FULFILLING,
            )
        )  # fmt: skip
        rows.append(
            Request(
                request_uuid=uuid, workflow_uuid=b"w" * 16, step_index=number, attempt=1,
                state=RequestState.OPEN, created_at=NOW + number * SECOND,
                declines={BAD: "BUSY: \x1b[31mcome later", GOOD: "BUSY: x"} if number == 0
                else {BAD: "POLICY: no"} if number in (1, 2) else {},
            )
        )  # fmt: skip
        if number < 6:
            state = OfferState.ACCEPTED if number < 4 else OfferState.REJECTED
            at = NOW + number * SECOND + (number + 1) * 100_000
            rows.append(Offer(agent=GOOD, offer_uuid=uuid, request_uuid=uuid, state=state, received_at=at))
    await store.commit(unit(*rows))
    found = await answers(store)
    good, bad = found[GOOD], found[BAD]
    assert (good.requests, good.since) == (10, NOW)
    # what it has never answered to does not count as silence
    assert (good.asked, good.answered, good.offered, good.taken, good.declined) == (8, 6, 6, 4, 1)
    assert good.offer_time == 350_000
    assert (bad.asked, bad.answered, bad.declined, bad.offer_time) == (8, 3, 3, 0)
    assert bad.declines == {"POLICY": 2, "BUSY": 1}


async def test_answers_look_at_no_more_than_the_last_thousand(store: Store) -> None:
    step = Step(workflow_uuid=b"w" * 16, index=0, name="s", job_type="t", state=StepState.FULFILLING)
    requests = tuple(
        Request(
            request_uuid=number.to_bytes(16, "big"), workflow_uuid=b"w" * 16, step_index=0, attempt=number,
            state=RequestState.OPEN, created_at=NOW + number, declines={BAD: "BUSY: x"},
        )
        for number in range(1, 1201)
    )  # fmt: skip
    await store.commit(unit(step, *requests))
    (one,) = (await answers(store)).values()
    assert (one.requests, one.declined, one.since) == (1000, 1000, NOW + 201)


async def test_standing_names_the_rule_or_says_why_not(manager: Loaded) -> None:
    uri = "caroni://a.example/agent/g1"
    assert "its site a.example is not trusted" in standing_of(manager)(uri).text
    believe(manager, "a.example", ("agent", "submitter"))
    allowed = standing_of(manager)(uri)
    assert (allowed.allowed, allowed.rule, allowed.text) == (True, "manager.trust[0]", "job types *")
    assert standing_of(manager)("caroni://a.example/submitter/s1").rule == "manager.allow_submitter[0]"
    assert "not trusted for managers" in standing_of(manager)("caroni://a.example/manager/m2").text
    trusting.ban(manager, uri, "lent out")
    banned = standing_of(manager)(uri)
    assert (banned.allowed, banned.text) == (False, "banned on this host")
    assert not standing_of(manager)("unsigned:wf.agent.x").allowed


async def test_a_site_without_a_rule_is_told(manager: Loaded) -> None:
    believe(manager, "b.example", ("agent", "manager"))
    assert "no rule" in standing_of(manager)("caroni://b.example/agent/g1").text
    assert (
        "a manager takes nothing from a manager" in standing_of(manager)("caroni://b.example/manager/m").text
    )


async def test_two_daemons_leave_what_is_shown(tmp_path: Path) -> None:
    federation = Federation(tmp_path, {"a": [ECHO]}, slots=1)
    await federation.start()
    try:
        await federation.add_template("w", PLAN)
        await run_one(federation)
        store, agent = federation.manager.store, federation.agents[0]
        clocks = await delays(store)
        assert clocks.keys() >= {agent.identity.uri}
        assert abs(clocks[agent.identity.uri]) < 20 * SECOND
        one = (await answers(store))[agent.identity.uri]
        assert (one.asked, one.answered, one.taken, one.declined) == (one.requests,) * 3 + (0,)
        assert 0 < one.offer_time < 20 * SECOND
        await carried_out(agent, Drain())

        async with asyncio.timeout(20):
            state = ""
            while state != "draining":
                found = await peers(store, federation.manager.clock.now())
                state = next(p.state for p in found if p.uri == agent.identity.uri)
        await carried_out(agent, Undrain())
    finally:
        await federation.stop()


def test_a_clock_in_words() -> None:
    assert clock_in_words(None) == ""
    assert clock_in_words(100_000) == "agrees"
    assert clock_in_words(-2 * MINUTE) == "ahead by 2 min"
    assert clock_in_words(2 * MINUTE) == "behind, or slow, by 2 min"


async def test_damaged_trust_is_told_and_the_rest_shown(manager: Loaded, store: Store) -> None:
    (manager.config.security.trust_dir).mkdir(mode=0o700, exist_ok=True)
    (manager.config.security.trust_dir / "bans").write_text("nonsense\n")
    await store.commit(unit(Peer(uri=GOOD, last_contact=NOW)))
    (peer,) = with_facts(await peers(store, NOW), await facts_of(manager, store))
    assert peer.allowed is None
    assert "neither a URI nor" in peer.standing
