"""The checks as they are answered, what to do about them, and the console's own figures."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from caroni.config import Loaded
from caroni.services.checks import Check, problem
from caroni.tui.app import ConsoleApp, Settings
from tests.tui.harness import make_site, press, sees, shown, text, until
from tests.tui.partners import EVIL, LONG, harmless, make_partners


async def test_what_is_worst_comes_first_with_its_remedy(tmp_path: Path) -> None:
    partners = await make_partners(tmp_path, days=12)
    async with shown(partners.manager, start="health", size=(100, 30)) as pilot:
        screen = await sees(pilot, "✔ ok       database", "ms late at", "takes ")
        await until(pilot, lambda: "looking" not in text(pilot))
        first = text(pilot).splitlines()[3]
        assert first.split()[1] in ("problem", "warning")
        assert "what to do" in screen
        await press(pilot, "slash", *"certificate ends", "enter")
        await sees(pilot, "ends in 11 days", "identity.csr signed")
        await press(pilot, "enter")
        await sees(pilot, "health › certificate", "have identity.csr signed again")


async def test_a_slow_broker_does_not_hold_the_other_answers_back(tmp_path: Path) -> None:
    site = await make_site(tmp_path, "manager", "m1")
    gone_on, asked = asyncio.Event(), list[Loaded]()

    async def probe(loaded: Loaded) -> list[Check]:
        asked.append(loaded)
        await gone_on.wait()
        return [problem("broker", f"refused: {EVIL}{LONG}", f"ask its operator {EVIL}")]

    app = ConsoleApp([site], Settings(start="health"), probe=probe)
    async with app.run_test(size=(100, 30)) as pilot:
        await sees(pilot, "✔ ok       database", "looking ...")
        gone_on.set()
        screen = await sees(pilot, "✘ problem  broker", "\\x1b[2J\\x1b[31mowned")
        assert harmless(screen)
        await press(pilot, "slash", *"refused:", "enter", "enter")
        assert harmless(await sees(pilot, "health › broker", "[@click=app.quit]"))
    assert asked == [site.loaded]


async def test_dropped_messages_of_the_tap_are_told(tmp_path: Path) -> None:
    class Overrun:
        state, reason, received, dropped = "live", "", 70_000, 12

        def __getattr__(self, name: str) -> Any:
            async def nothing(*_: Any) -> None:
                return None

            return nothing

    site = await make_site(tmp_path, "agent", "g1")
    async with shown(site, start="health", tap=Overrun(), size=(150, 40)) as pilot:
        await sees(pilot, "70000 messages heard, 12 dropped")


async def test_looks_again_when_told_to(tmp_path: Path) -> None:
    site = await make_site(tmp_path, "manager", "m1")
    asked = list[Loaded]()

    async def probe(loaded: Loaded) -> list[Check]:
        asked.append(loaded)
        return []

    app = ConsoleApp([site], Settings(start="health"), probe=probe)
    async with app.run_test(size=(80, 24)) as pilot:
        await sees(pilot, " ok")
        await until(pilot, lambda: "looking" not in text(pilot).lower())
        await press(pilot, "r")
        await until(pilot, lambda: len(asked) == 2)


async def test_an_answer_that_is_not_given_any_more_goes(tmp_path: Path) -> None:
    site = await make_site(tmp_path, "manager", "m1")
    answers = [[problem("broker", "is away")], list[Check]()]

    async def probe(loaded: Loaded) -> list[Check]:
        return answers.pop(0) if answers else []

    app = ConsoleApp([site], Settings(start="health"), probe=probe)
    async with app.run_test(size=(80, 24)) as pilot:
        await sees(pilot, "is away", " ok")
        await until(pilot, lambda: "looking" not in text(pilot))
        await press(pilot, "r")
        await until(pilot, lambda: "is away" not in text(pilot))
