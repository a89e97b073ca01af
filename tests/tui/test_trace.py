"""The trace on the screen: envelopes of a real ledger, what passes a broker, files, and many messages."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import cast

import pytest
from textual.pilot import Pilot

from caroni.core.messages import JobFulfillmentRequest, JobStatus, JobStatusUpdate
from caroni.model.unit import RejectRow, Unit
from caroni.services.tapping import AWAY, CLOSED, LIVE, NOT_PERMITTED, Tapped, TapState
from caroni.tui.screens.trace import TraceScreen
from caroni.tui.widgets.lines import Lines
from caroni.tui.widgets.sequence import SequenceView
from tests.tui.conversations import AGENT, ALL, FLOW, HOSTILE, MANAGER, OTHER, Conversations, traced_site
from tests.tui.harness import fill, press, sees, shown, text, until


class FakeTap:
    """A tap that a test fills; the real ones are tried in ``tests/contract/test_tap.py``."""

    def __init__(self, state: TapState = LIVE, reason: str = "") -> None:
        self.wanted: TapState = state
        self.reason = reason
        self.started = 0
        self.received = 0
        self.dropped = 0
        self._kept: list[Tapped] = []

    @property
    def state(self) -> TapState:
        return self.wanted if self.started else CLOSED

    async def start(self) -> None:
        self.started = 1

    def bring(self, *tapped: Tapped) -> None:
        self.received += len(tapped)
        self._kept += tapped

    def drain(self, limit: int = 2000) -> list[Tapped]:
        some, self._kept = self._kept[:limit], self._kept[limit:]
        return some

    async def close(self) -> None:
        self.started = 0


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def screen(pilot: Pilot[None]) -> TraceScreen:
    return cast("TraceScreen", pilot.app.screen)


def arrow(pilot: Pilot[None], *words: str) -> str:
    """The one line of the screen that has all these words."""
    (line,) = [line for line in text(pilot).splitlines() if all(word in line for word in words)]
    return line


async def test_a_sequence_at_80_columns(tmp_path: Path) -> None:
    site, talks = await traced_site(tmp_path, 1)
    clock = time.strftime("%H:%M:%S", time.gmtime(talks.start / 1e6))
    async with shown(site, start="trace") as pilot:
        await sees(pilot, "Release step0")
        head = text(pilot).splitlines()
        assert "caroni › trace" in head[0]
        assert "ledger" in head[1]
        assert "not live: this console does not listen to a broker" in head[1]
        assert head[2].split() == ["time", "m1", "exchange", "with", "took", "sig"]
        call = arrow(pilot, "Request step0 round 1")
        assert call.startswith(f"{clock}.020 ├── Request step0 round 1 ─")
        assert "▶│ all agents" in call
        assert call.endswith("✔")
        offer = arrow(pilot, "Offer step0")
        assert offer.startswith(f"{clock}.179 │◀─")
        assert "├" not in offer
        assert offer.split("┤")[1].split() == ["g1", "159", "ms", "✔"]
        assert "20 ms" in arrow(pilot, "Decline step0 busy")
        assert max(map(len, head)) <= 80


async def test_a_list_and_back_at_the_same_message(tmp_path: Path) -> None:
    site, _ = await traced_site(tmp_path, 2)
    async with shown(site, start="trace") as pilot:
        await sees(pilot, "Release step1")
        await press(pilot, "k", "k", "v")
        shown_list = await sees(pilot, "TIME", "MESSAGE", "SIG")
        assert "step1 #2" in shown_list
        view = screen(pilot).view
        assert view.row == len(view.lines) - 3
        await press(pilot, "v")
        assert isinstance(screen(pilot).view, SequenceView)
        assert screen(pilot).view.row == view.row


async def test_a_message_in_full_beside_and_alone(tmp_path: Path) -> None:
    site, _ = await traced_site(tmp_path, 1)
    async with shown(site, start="trace", size=(140, 40)) as pilot:
        await sees(pilot, "verdict   now: ok, signature good, our own", "JobRelease, number")
        await press(pilot, "k")
        await sees(pilot, "JobStatusUpdate, number", "now: ok, signature good, certificate", "COMPLETED")
        await press(pilot, "enter")
        full = await sees(pilot, "caroni › trace › StatusUpdate", "job_status", "signer")
        assert "from      caroni://a.example/agent/g1" in full
        assert "step      step0" in full
        await press(pilot, "escape")
        await sees(pilot, "StatusUpdate step0 completed")


async def test_filters_by_key_and_by_words(tmp_path: Path) -> None:
    site, _ = await traced_site(tmp_path, 3)
    async with shown(site, start="trace", size=(80, 40)) as pilot:
        await sees(pilot, "Release step2", "Release step0")
        await press(pilot, "c")
        await until(pilot, lambda: "Release step1" not in text(pilot))
        assert "one conversation of step2" in text(pilot)
        await press(pilot, "left_square_bracket")
        await sees(pilot, "Release step1")
        assert "step2" not in text(pilot)
        await press(pilot, "escape")
        await sees(pilot, "Release step0", "Release step2")
        await press(pilot, "slash", *"type:decline", "enter")
        await until(pilot, lambda: "Release" not in text(pilot))
        assert text(pilot).count("Decline step") == 3
        assert "type decline" in text(pilot)
        await press(pilot, "slash", *" step1", "enter")
        await until(pilot, lambda: text(pilot).count("Decline step") == 1)
        await press(pilot, "escape")
        await sees(pilot, "Release step0")
        await press(pilot, "G", "P")
        await until(pilot, lambda: "Decline" not in text(pilot))
        assert "with g1" in text(pilot)
        await press(pilot, "P", "T")
        await until(pilot, lambda: "Accepted" not in text(pilot))
        assert text(pilot).count("Release step") == 3
        await press(pilot, "T", "f")
        await sees(pilot, "No message is like that", "failed only")


async def test_conversations_forward_and_back(tmp_path: Path) -> None:
    site, _ = await traced_site(tmp_path, 3)
    async with shown(site, start="trace", size=(80, 40)) as pilot:
        await sees(pilot, "Release step2")
        await press(pilot, "left_square_bracket", "left_square_bracket")
        assert "step0" in screen(pilot)._entry.step  # type: ignore[union-attr]
        await press(pilot, "left_square_bracket")
        await sees(pilot, "no further conversation")
        await press(pilot, "right_square_bracket")
        assert screen(pilot)._entry.step == "step1"  # type: ignore[union-attr]
        assert screen(pilot)._entry.type == "JobFulfillmentRequest"  # type: ignore[union-attr]


async def test_opened_for_a_step(tmp_path: Path) -> None:
    site, _ = await traced_site(tmp_path, 3)
    async with shown(site, start="health") as pilot:
        from caroni.tui.app import ConsoleApp

        cast("ConsoleApp", pilot.app).open(TraceScreen(site, workflow=FLOW.hex(), step="step1"))
        await sees(pilot, "Release step1", "workflow nightly · step step1")
        assert "step0" not in text(pilot)
        # escape goes back from here, and takes away only what was picked here
        await press(pilot, "f")
        await sees(pilot, "failed only")
        await press(pilot, "escape")
        await sees(pilot, "Release step1")
        await press(pilot, "escape")
        await sees(pilot, "caroni › health")


async def test_what_was_refused_stands_out(tmp_path: Path) -> None:
    site, talks = await traced_site(tmp_path, 1)
    await fill(
        site,
        Unit(rejects=[RejectRow(at=talks.at, reason="E_SIG", detail=f"signature {HOSTILE}", size=9)]),
        Unit(ledger=talks.handshake(talks.id(), says=HOSTILE)),
    )
    async with shown(site, start="trace", size=(120, 40)) as pilot:
        await sees(pilot, "E_SIG")
        line = arrow(pilot, "refused: E_SIG signature \\x1b[2J")
        assert line.rstrip().endswith("✘") or "✘" in line
        assert "┄" in line
        assert "busy\\x1b[2J" in text(pilot)
        assert "\x1b" not in text(pilot)
        assert "\u202e" not in text(pilot)
        await press(pilot, "f")
        await until(pilot, lambda: "Release" not in text(pilot))
        await sees(pilot, "only its first bytes are kept")


async def test_new_messages_come_while_the_end_is_looked_at(tmp_path: Path) -> None:
    site, talks = await traced_site(tmp_path, 1)
    async with shown(site, start="trace") as pilot:
        await sees(pilot, "Release step0")
        await fill(site, Unit(ledger=[message_of(talks, "first")]))
        await sees(pilot, "Request first")
        await press(pilot, "k", "k", "k")
        key = screen(pilot).view.key
        await fill(site, Unit(ledger=[message_of(talks, "second")]))
        await sees(pilot, "Request second")
        assert screen(pilot).view.key == key
        # held still, it stays as it is
        await press(pilot, "f2")
        await sees(pilot, "FROZEN")
        await fill(site, Unit(ledger=[message_of(talks, "third")]))
        await asyncio.sleep(1.5)  # what must not happen has nothing to wait for
        assert "Request third" not in text(pilot)
        await press(pilot, "g", "f2")
        await until(pilot, lambda: "FROZEN" not in text(pilot))
        await press(pilot, "G")
        await sees(pilot, "Request third")


def message_of(talks: Conversations, job_type: str):  # type: ignore[no-untyped-def]
    talk = talks.id()
    return talks.row(MANAGER, ALL, JobFulfillmentRequest(request_uuid=talk, job_type_name=job_type), talk)


async def test_back_to_the_beginning_page_by_page(tmp_path: Path) -> None:
    site, talks = await traced_site(tmp_path, 1)
    await fill(site, *(Unit(ledger=talks.handshake(talks.id())) for _ in range(80)))
    async with shown(site, start="trace") as pilot:
        await sees(pilot, "Release")
        assert len(screen(pilot).view.lines) == 300
        await press(pilot, "g")
        await until(pilot, lambda: len(screen(pilot).view.lines) == 600)
        await press(pilot, "f2", "g")  # also while it is held still
        await until(pilot, lambda: len(screen(pilot).view.lines) == 729)
        await press(pilot, "g")
        await sees(pilot, "Request step0")
        await press(pilot, "k")
        assert screen(pilot).view.row == 0


async def test_live_from_the_broker(tmp_path: Path) -> None:
    site, talks = await traced_site(tmp_path, 1)
    tap = FakeTap()
    async with shown(site, start="trace", tap=tap, size=(100, 40)) as pilot:
        await sees(pilot, "live from the broker", "0 dropped")
        foreign = talks.id()
        tap.bring(
            talks.tapped(
                OTHER, MANAGER, JobStatusUpdate(job_uuid=foreign, job_status=JobStatus.QUEUED), foreign
            ),
            Tapped(at=talks.at + 1, routing_key="wf.y", body=b"\xff\xff"),
        )
        await sees(pilot, "StatusUpdate queued", "E_PARSE")
        # looked at, it is verified
        await until(pilot, lambda: "✔" in arrow(pilot, "StatusUpdate queued"))
        await press(pilot, "G", "k")
        await sees(pilot, "seen on the broker", "it was only seen passing", "signature good")
        # what the ledger has told is not shown twice
        row = message_of(talks, "ours")
        tap.bring(Tapped(at=talks.at, routing_key="wf.agent.fulfillment.x", body=row.envelope))
        await sees(pilot, "Request ours")
        await fill(site, Unit(ledger=[row]))
        await until(pilot, lambda: screen(pilot)._source.book.last > 30)  # type: ignore[union-attr]
        assert text(pilot).count("Request ours") == 1
        tap.dropped = 7
        await sees(pilot, "7 dropped")
        tap.wanted, tap.reason = AWAY, "cannot reach broker:5672"
        await sees(pilot, "ledger", "not live: cannot reach broker:5672")
    assert tap.state == CLOSED


async def test_where_the_broker_may_not_be_read_it_says_so(tmp_path: Path) -> None:
    site, _ = await traced_site(tmp_path, 1)
    tap = FakeTap(NOT_PERMITTED, "user g1 may not read all of caroni (403)")
    async with shown(site, start="trace", tap=tap) as pilot:
        await sees(pilot, "not live: user g1 may not read all of caroni (403)", "Release step0")


async def test_a_file_is_written_and_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, _ = await traced_site(tmp_path, 2)
    monkeypatch.chdir(tmp_path)
    async with shown(site, start="trace", size=(120, 40)) as pilot:
        await sees(pilot, "Release step1")
        await press(pilot, "c", "x")
        await sees(pilot, "Export messages", "one conversation of step1", ".trace")
        await press(pilot, "ctrl+u", *"one.trace", "enter")
        await sees(pilot, "9 messages are in one.trace")
        assert os.stat("one.trace").st_mode & 0o777 == 0o600
        await press(pilot, "escape", "o", *"one.trace", "enter")
        await sees(pilot, "caroni › trace › trace one.trace", "file one.trace of m1", "9 messages", "now: ok")
        assert "step0" not in text(pilot)
        await press(pilot, "x")
        await sees(pilot, "this is a file already")
        await press(pilot, "k", "k", "enter")
        await sees(pilot, "signature good, certificate valid until", "RUNNING")
        await press(pilot, "escape", "o", *"nowhere", "enter")
        await sees(pilot, "there is no file 'nowhere'")


async def test_a_thousand_messages_a_second_do_not_hold_up_keys(tmp_path: Path) -> None:
    site, talks = await traced_site(tmp_path, 1)
    tap = FakeTap()
    foreign = [talks.id() for _ in range(50)]
    bodies = [
        talks.tapped(AGENT, MANAGER, JobStatusUpdate(job_uuid=id, job_status=JobStatus.RUNNING, seq=n), id)
        for n, id in enumerate(foreign * 10)
    ]
    async with shown(site, start="trace", tap=tap, size=(140, 45)) as pilot:
        await sees(pilot, "live from the broker")
        worst = 0.0

        async def lag() -> None:
            nonlocal worst
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.01)
                worst = max(worst, time.monotonic() - before - 0.01)

        watching = asyncio.create_task(lag())
        begun = time.monotonic()
        for part in range(20):
            now = int(time.time() * 1e6)
            tap.bring(*(Tapped(at=now, routing_key="wf.x", body=b.body) for b in bodies[part * 25 :][:100]))
            await press(pilot, "k" if part % 2 else "j")
            await asyncio.sleep(max(begun + (part + 1) * 0.1 - time.monotonic(), 0))
        watching.cancel()
        await sees(pilot, "msg/s")
        print(f"worst lag {worst * 1000:.0f} ms")
        assert worst < 1.0  # a machine that others use; a blocked loop would be seconds late
        assert len(screen(pilot)._source.book._seen) <= 1000  # type: ignore[union-attr]
        view = screen(pilot).view
        await press(pilot, "G")
        assert view.row == len(view.lines) - 1


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (140, 45)])
async def test_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    site, _ = await traced_site(tmp_path, 2)
    async with shown(site, start="trace", size=size) as pilot:
        await sees(pilot, "Release")
        for line in text(pilot).splitlines():
            assert len(line) <= size[0]
        await press(pilot, "v")
        await sees(pilot, "MESSAGE")
        opened = screen(pilot).query_one("#opened", Lines)
        assert bool(opened.size.height) == (size[0] >= 100)


async def test_nothing_yet(tmp_path: Path) -> None:
    from tests.tui.harness import make_site

    site = await make_site(tmp_path, "agent", "g9")
    async with shown(site, start="trace") as pilot:
        await sees(pilot, "No messages yet")
        await press(pilot, "c", "P", "enter", "left_square_bracket", "v", "g", "G")
        await sees(pilot, "No messages yet")
