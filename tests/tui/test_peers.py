"""Who is here and who is silent, on real stores with real certificates."""

from __future__ import annotations

from pathlib import Path

from caroni.core.messages import PresenceState
from caroni.core.plan import HOUR, MINUTE, SECOND
from caroni.core.rows import Job, Offer, Peer, Request, Step
from caroni.core.states import JobState, OfferState, RequestState, StepState
from caroni.model.unit import OutboxRow
from caroni.services import trusting
from caroni.tui.screens.trace import TraceScreen
from tests.tui.harness import fill, press, sees, shown, text, until, writing
from tests.tui.partners import EVIL, LONG, Partners, harmless, make_partners, now, unit

GPU, LAPTOP = "caroni://a.example/agent/gpu", "caroni://b.example/agent/laptop"


async def peopled(directory: Path) -> Partners:
    partners, at = await make_partners(directory), now()

    def peer(uri: str, state: PresenceState, heard: int, away: int = 0, gaps: int = 0) -> Peer:
        return Peer(
            uri=uri, first_contact=at - 9 * HOUR, last_contact=at - heard, presence=state,
            away_until=away, gaps=gaps,
        )  # fmt: skip

    rows: list[Step | Request | Offer | Job] = []
    for number in range(10):
        uuid = bytes([number + 1]) * 16
        asked = at - HOUR + number * SECOND
        rows += [
            Step(
                workflow_uuid=b"w" * 16, index=number, name=f"s{number}", job_type="align",
                state=StepState.RUNNING,
            ),
            Request(
                request_uuid=uuid, workflow_uuid=b"w" * 16, step_index=number, attempt=1,
                state=RequestState.OPEN, created_at=asked, declines={LAPTOP: f"BUSY: {EVIL}"},
            ),
            Offer(
                agent=GPU, offer_uuid=uuid, request_uuid=uuid, state=OfferState.ACCEPTED,
                received_at=asked + 500_000,
            ),
            Job(
                agent=GPU, job_uuid=uuid, workflow_uuid=b"w" * 16, step_index=number, attempt=1,
                request_uuid=uuid, offer_uuid=uuid, state=JobState.RUNNING,
            ),
        ]  # fmt: skip
    await fill(
        partners.manager,
        unit(
            peer(GPU, PresenceState.ONLINE, SECOND),
            peer(LAPTOP, PresenceState.OFFLINE, 3 * HOUR, at + 9 * HOUR + MINUTE),
            peer("caroni://b.example/agent/mute", PresenceState.ONLINE, HOUR, gaps=3),
            peer("caroni://x.example/agent/stranger", PresenceState.ONLINE, SECOND),
            *rows,
        ),
    )
    return partners


async def test_state_trust_and_trouble_of_each(tmp_path: Path) -> None:
    partners = await peopled(tmp_path)
    trusting.ban(partners.manager.loaded, LAPTOP, "lent out")
    async with shown(partners.manager, start="peers", size=(140, 45)) as pilot:
        screen = await sees(pilot, "gpu", "banned on")
        rows = {line.split()[2]: line for line in screen.splitlines() if ".example   " in line}
        assert "online" in rows["gpu"]
        assert "  10 100%" in rows["gpu"]  # its jobs, and its answers
        assert "allowed" in rows["gpu"]
        assert "0.5s" in rows["gpu"]
        assert "offline" in rows["laptop"]
        assert "denied" in rows["laptop"]
        assert "silent" in rows["mute"]
        assert "3 messages" in rows["mute"]
        assert "its site" in rows["stranger"]
        # beside it: all of the one under the cursor
        for words in ("caroni://a.example/agent/gpu", "allowed by manager.trust[0]", "10 running",
                      "100%: 10 of 10", "typically 0.5 s"):  # fmt: skip
            assert words in screen


async def test_details_below_the_list_and_on_a_screen_of_their_own(tmp_path: Path) -> None:
    partners = await peopled(tmp_path)
    async with shown(partners.manager, start="peers") as pilot:
        await sees(pilot, "gpu", "caroni://a.example/agent/gpu")
        await press(pilot, "j")
        await sees(pilot, "caroni://b.example/agent/laptop", "it last said: offline until", "(in 9 h")
        await press(pilot, "enter")
        screen = await sees(pilot, "peers › laptop", "10: 10 BUSY", "of the last 10 requests")
        assert "100%: 10 of 10" in screen
        await press(pilot, "escape")
        await sees(pilot, "TROUBLE")
        assert "peers › laptop" not in text(pilot)


async def test_filter_leaves_what_fits_and_escape_brings_all_back(tmp_path: Path) -> None:
    partners = await peopled(tmp_path)
    async with shown(partners.manager, start="peers") as pilot:
        await sees(pilot, "stranger", "laptop")
        await press(pilot, "slash", *"mut", "enter")
        screen = await sees(pilot, "only with 'mut' (1 of 4)")
        assert "laptop" not in screen
        await press(pilot, "slash", *"xx", "enter")
        await sees(pilot, "Nothing here has 'xx'")
        await press(pilot, "escape")
        await sees(pilot, "stranger", "laptop")


async def test_hostile_names_are_harmless(tmp_path: Path) -> None:
    partners = await peopled(tmp_path)
    evil = Peer(uri=f"unsigned:{EVIL}", last_contact=now(), first_contact=now())
    await fill(partners.manager, unit(evil, Peer(uri=f"unsigned:{LONG}", last_contact=now())))
    for size in ((60, 15), (80, 24), (140, 45)):
        async with shown(partners.manager, start="peers", size=size) as pilot:
            await sees(pilot, "gpu")
            for key in ("G", "k", "enter"):
                await press(pilot, key)
                assert harmless(text(pilot))
            screen = await sees(pilot, "\\x1b[2J", "@click=app.quit")
            assert harmless(screen)


async def test_unsent_messages_are_told(tmp_path: Path) -> None:
    partners = await peopled(tmp_path)
    waiting = unit()
    waiting.outbox.append(
        OutboxRow(
            id=b"o" * 16, peer=GPU, routing_key="x", type="JobKill", payload_type="x", payload=b"x",
            created_at=now() - 5 * MINUTE,
        )
    )  # fmt: skip
    await fill(partners.manager, waiting)
    async with shown(partners.manager, start="peers", size=(100, 24)) as pilot:
        await sees(pilot, "1 unsent for 5m")


async def test_trace_of_a_peer(tmp_path: Path) -> None:
    partners = await peopled(tmp_path)
    async with shown(partners.manager, start="peers") as pilot:
        await sees(pilot, "gpu")
        await press(pilot, "t")
        await until(pilot, lambda: isinstance(pilot.app.screen, TraceScreen))


async def test_drain_asks_for_a_deadline_and_leaves_a_command(tmp_path: Path) -> None:
    partners = await peopled(tmp_path)
    async with shown(partners.agent, start="peers", size=(100, 30)) as pilot:
        await sees(pilot, "this agent: ✔ online", "Nobody was ever heard")
        await press(pilot, "D")
        await sees(pilot, "Drain agent g1?")
        await press(pilot, *"soon", "enter")
        await sees(pilot, "is not a duration")
        await press(pilot, *["backspace"] * 4, *"2h", "enter")
        await sees(pilot, "after 2 h is killed")
        await press(pilot, "y")
        # no daemon runs: the command stays for it
        await sees(pilot, "stays (number 1)")
        await press(pilot, "at")
        await sees(pilot, "caroni drain --deadline 2h")
    async with writing(partners.agent) as store:
        (command,) = await store.new_commands()
        assert (command.kind, '"deadline":7200000000' in command.args) == ("drain", True)


async def test_absence_is_asked_for_and_announced(tmp_path: Path) -> None:
    partners = await peopled(tmp_path)
    async with shown(partners.agent, start="peers", size=(100, 30)) as pilot:
        await sees(pilot, "this agent: ✔ online")
        await press(pilot, "o")
        await sees(pilot, "How long will agent g1 be away?")
        await press(pilot, "enter")
        await sees(pilot, "is not a duration")
        await press(pilot, *"12h", "enter")
        await sees(pilot, "agent g1 is away for 12 h?")
        await press(pilot, "n")
        await until(pilot, lambda: "away for" not in text(pilot))
    async with writing(partners.agent) as store:
        assert not await store.new_commands()


async def test_acts_say_why_they_are_refused(tmp_path: Path) -> None:
    partners = await peopled(tmp_path)
    async with shown(partners.manager, partners.agent, start="peers", size=(120, 30)) as pilot:
        await sees(pilot, "gpu")
        await press(pilot, "D")
        await sees(pilot, "an agent does this itself")
    partners.agent.readonly = True
    async with shown(partners.agent, start="peers", size=(120, 30), readonly=True) as pilot:
        await sees(pilot, "this agent")
        await press(pilot, "D")
        await sees(pilot, "this console only looks")
