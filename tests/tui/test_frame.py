"""What every screen has: crumbs, trouble, keys, help, going elsewhere, and refusals with their reason."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import cast

import pytest
from textual.app import ComposeResult

from caroni.errors import ConfigError
from caroni.tui import keymap
from caroni.tui.app import ConsoleApp
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.widgets.lines import Lines
from tests.tui.harness import make_site, press, sees, shown, text, until


async def test_header_says_whose_data_it_is(tmp_path: Path) -> None:
    site = await make_site(tmp_path, "manager", "m1")
    async with shown(site, start="health", readonly=True) as pilot:
        screen = await sees(pilot, "database")
        head = screen.splitlines()[0]
        assert "caroni › health" in head
        assert "manager m1" in head
        assert "READ-ONLY" in head


async def test_help_lists_keys_and_runs_one(tmp_path: Path) -> None:
    site = await make_site(tmp_path, "manager", "m1")
    async with shown(site, start="health") as pilot:
        await sees(pilot, "database")
        await press(pilot, "question_mark")
        await sees(pilot, "Keys that work here", "One row down")
        table = pilot.app.screen.query_one("LineTable")
        row = next(n for n, line in enumerate(table.lines) if "Hold the picture" in str(line.cells))  # type: ignore[attr-defined]
        await press(pilot, *["down"] * row, "enter")
        await until(pilot, lambda: "FROZEN" in text(pilot))


async def test_goes_to_a_screen_by_name(tmp_path: Path) -> None:
    site = await make_site(tmp_path, "agent", "g1")
    async with shown(site, start="health") as pilot:
        await sees(pilot, "database")
        await press(pilot, "at")
        await sees(pilot, "caroni › health › log", "Nothing has been done")
        await press(pilot, "colon", *"heal", "enter")
        head = (await sees(pilot, "database")).splitlines()[0]
        assert "caroni › health" in head
        assert "log" not in head


async def test_screens_of_the_other_role_say_what_is_missing(tmp_path: Path) -> None:
    site = await make_site(tmp_path, "agent", "g1")
    async with shown(site, start="health", size=(100, 24)) as pilot:
        await sees(pilot, "database")
        await press(pilot, "1")
        await sees(pilot, "workflows are a matter")


class Counting(ConsoleScreen):
    """Reads one number."""

    NAME = "counting"

    def body(self) -> ComposeResult:
        yield Lines(classes="main")

    async def fetch(self) -> int:
        return await self.site.read(lambda store: store.count_outbox())

    def paint(self, snapshot: int) -> None:
        self.query_one(Lines).set_lines([f"{snapshot} envelopes"])


async def test_database_away_is_told_with_a_countdown_and_the_age(tmp_path: Path) -> None:
    site = await make_site(tmp_path, "manager", "m1")
    async with shown(site, start="health", size=(120, 30)) as pilot:
        cast("ConsoleApp", pilot.app).open(Counting(site))
        await sees(pilot, "0 envelopes")
        database = site.loaded.directory / "caroni.db"
        os.rename(database, database.with_suffix(".away"))
        await sees(pilot, "again in", "0 envelopes")
        assert re.search(r"what you see is \d+ s old", text(pilot))
        os.rename(database.with_suffix(".away"), database)
        await press(pilot, "ctrl+r")
        await until(pilot, lambda: "again in" not in text(pilot), 15)


class Faulty(Counting):
    """Its fetch has a fault that nobody has thought of."""

    NAME = "faulty"

    async def fetch(self) -> int:
        raise KeyError("\x1b[31m nobody")


async def test_a_fault_of_ours_does_not_end_the_console(tmp_path: Path) -> None:
    site = await make_site(tmp_path, "manager", "m1")
    async with shown(site, start="health", size=(120, 30), forgiving=True) as pilot:
        cast("ConsoleApp", pilot.app).open(Faulty(site))
        assert "\x1b" not in await sees(pilot, "internal error: KeyError", "again in")
        await press(pilot, "escape")
        await sees(pilot, "database")

        async def fails() -> str:
            raise OSError("no such thing")

        screen = cast("ConsoleScreen", pilot.app.screen)
        screen.do("try", "caroni try", fails)
        await sees(pilot, "internal error: OSError")
        assert cast("ConsoleApp", pilot.app).log_of_commands.entries[-1].failed


async def test_a_screen_may_go_while_it_reads(tmp_path: Path) -> None:
    site = await make_site(tmp_path, "manager", "m1")
    async with shown(site, start="health") as pilot:
        app = cast("ConsoleApp", pilot.app)
        for _ in range(20):
            app.open(Counting(site))
            await pilot.press("escape")
        app.open(Counting(site))  # and the console is left with it


async def test_too_small_a_terminal_is_told(tmp_path: Path) -> None:
    site = await make_site(tmp_path, "manager", "m1")
    async with shown(site, start="health", size=(50, 12)) as pilot:
        await sees(pilot, "60 columns and 15 rows")
        await pilot.resize_terminal(80, 24)
        await sees(pilot, "database")


def test_keymap_names_keys_that_no_terminal_delivers(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text('[keys]\n"jobs.kill" = "ctrl+h"\n')
    with pytest.raises(ConfigError, match="arrives as backspace"):
        keymap.load(path)
    path.write_text('[keys]\n"screen.find" = "f7"\n')
    assert keymap.load(path) == {"screen.find": "f7"}


@pytest.mark.parametrize("content", ["keys = 3", "[other]\na=1", "[keys]\na = 1", "[keys", "\udcff"])
def test_a_wrong_keymap_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as told:
        keymap.load(path)
    assert "\n" not in str(told.value)


async def test_the_users_keys_replace_ours(tmp_path: Path) -> None:
    site = await make_site(tmp_path, "manager", "m1")
    keys = tmp_path / "keys.toml"
    keys.write_text('[keys]\n"screen.freeze" = "f7"\n')
    async with shown(site, start="health", keymap=keys) as pilot:
        await sees(pilot, "database")
        await press(pilot, "f7")
        await until(pilot, lambda: "FROZEN" in text(pilot))
