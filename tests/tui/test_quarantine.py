"""What was set aside, on the screen: hostile content shown harmlessly, tried again, dropped."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from caroni.core.commands import DropQuarantined
from caroni.core.messages import WorkFlowCancel
from caroni.core.plan import HOUR
from caroni.model.unit import CommandDone, QuarantineRow, Unit
from caroni.tui.site import Site
from caroni.wire import codec
from tests.tui.harness import fill, make_site, press, sees, shown, text, until, writing
from tests.tui.partners import EVIL, LONG, harmless, now


def row(number: int, kind: str, reason: str, body: bytes, error: str = "") -> QuarantineRow:
    at = now()
    return QuarantineRow(
        key=bytes([number]) * 16, kind=kind, body=body, sender="caroni://b.example/agent/g1", reason=reason,
        error=error, first_at=at - 2 * HOUR, last_at=at - number * HOUR, tries=number,
    )  # fmt: skip


async def filled(directory: Path) -> Site:
    site = await make_site(directory, "manager", "m1")
    _, cancel = codec.encode(WorkFlowCancel(workflow_uuid=b"w" * 16, reason=EVIL + LONG[:20_000]))
    rows = [
        row(1, "WorkFlowCancel", "E_CRL_STALE", cancel, "the list of b.example is too old"),
        row(2, "JobStatusUpdate", "E_PARSE", b"\x1b[31m" + LONG.encode(), EVIL),
        row(3, "envelope", "POISON", EVIL.encode()),
        row(4, EVIL, "E_TYPE", b"", LONG),
    ]
    # in the order in which they are listed: the last set aside first
    for one in reversed(rows):
        await fill(site, Unit(quarantine=[one]))
    return site


async def test_lists_why_and_opens_what_is_under_the_cursor(tmp_path: Path) -> None:
    site = await filled(tmp_path)
    async with shown(site, start="quarantine", size=(140, 45)) as pilot:
        screen = await sees(pilot, "E_CRL_STALE", "POISON", "4: 1 ")
        assert "b.example/agent/g1" in screen
        # the content is opened, in words
        screen = await sees(pilot, "it brings new work", "none of it is verified", "workflow_uuid")
        assert harmless(screen)
        await press(pilot, "j")
        await sees(pilot, "its bytes are not what its type says", "cannot be parsed")
        await press(pilot, "k", "enter")
        screen = await sees(pilot, "quarantine › 01010101", "77777777", "reason: \\x1b[2J")
        assert harmless(screen)
        await press(pilot, "slash", *"gnp", "enter")
        await sees(pilot, "1 lines have it")


async def test_hostile_content_is_harmless_everywhere(tmp_path: Path) -> None:
    site = await filled(tmp_path)
    for size in ((60, 15), (80, 24), (140, 45)):
        async with shown(site, start="quarantine", size=size) as pilot:
            await sees(pilot, "E_CRL_STALE")
            for _ in range(4):
                await until(pilot, lambda: "opening it" not in text(pilot))
                assert harmless(text(pilot))
                await press(pilot, "enter")
                await until(pilot, lambda: "what  " in text(pilot))
                assert harmless(text(pilot))
                await press(pilot, "escape")
                await until(pilot, lambda: "WHAT" in text(pilot))
                await press(pilot, "j")


async def test_one_reason_at_a_time(tmp_path: Path) -> None:
    site = await filled(tmp_path)
    async with shown(site, start="quarantine") as pilot:
        await sees(pilot, "POISON", "E_PARSE")
        for reason in ("E_CRL_STALE", "E_PARSE", "E_TYPE", "POISON"):
            await press(pilot, "f")
            await sees(pilot, f"only {reason} (1 of 4)")
            await until(pilot, lambda: len(pilot.app.screen.table.lines) == 1)  # type: ignore[attr-defined]
        await press(pilot, "escape")
        await until(pilot, lambda: len(pilot.app.screen.table.lines) == 4)  # type: ignore[attr-defined]


async def test_replay_asks_and_leaves_a_command(tmp_path: Path) -> None:
    site = await filled(tmp_path)
    async with shown(site, start="quarantine", size=(100, 30)) as pilot:
        await sees(pilot, "POISON")
        await press(pilot, "j", "j", "r")
        await sees(pilot, "03030303 envelope (POISON)", "goes alone")
        await press(pilot, "y")
        await sees(pilot, "stays (number 1)")
        await press(pilot, "at")
        await sees(pilot, "caroni quarantine replay 030303030303")
    async with writing(site) as store:
        (command,) = await store.new_commands()
        assert command.kind == "replay-quarantined"


async def test_drop_wants_its_count_typed_and_tells_what_came_of_it(tmp_path: Path) -> None:
    site = await filled(tmp_path)

    async def daemon() -> None:
        """Answers as a daemon does."""
        async with writing(site) as store:
            while not (found := await store.new_commands()):  # noqa: ASYNC110 - rows announce nothing
                await asyncio.sleep(0.01)
            (command,) = found
            keys = msgspec.json.decode(command.args, type=DropQuarantined).keys
            done = CommandDone(id=command.id, state="done", result='{"dropped":2}', at=now())
            await store.commit(Unit(commands=[done], unquarantine=list(keys)))

    async with shown(site, start="quarantine", size=(100, 30)) as pilot:
        await sees(pilot, "POISON")
        await press(pilot, "space", "space", "X")
        await sees(pilot, "Drop 2 of these for good?", "Type drop 2")
        await press(pilot, *"drop", "enter")
        await sees(pilot, "That was not")
        answered = asyncio.create_task(daemon())
        await press(pilot, "space", "2", "enter")
        await sees(pilot, "2 dropped", "2: 1 ")
        await answered
        assert [line.key for line in pilot.app.screen.table.lines] == ["03" * 16, "04" * 16]  # type: ignore[attr-defined]


async def test_an_empty_one_says_so(tmp_path: Path) -> None:
    site = await make_site(tmp_path, "agent", "g1")
    async with shown(site, start="quarantine") as pilot:
        await sees(pilot, "Nothing was set aside")
        await press(pilot, "r")
        await sees(pilot, "try again: nothing was set aside")
