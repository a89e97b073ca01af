"""The list of workflows: states, filters, what failed, and what is done to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from caroni.core.states import WorkflowState
from caroni.model.unit import Unit
from caroni.tui.app import ConsoleApp
from caroni.tui.screens import workflows as screens
from caroni.tui.screens.workflows import WorkflowsScreen
from caroni.tui.site import Site
from caroni.tui.widgets.note import Note
from caroni.tui.widgets.table import LineTable
from tests.tui import workflows
from tests.tui.harness import NOON, fill, press, sees, shown, text, until
from tests.tui.workflows import DONE, FAILED, PAUSED, RUNS


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    return await workflows.filled(tmp_path)


def table(pilot) -> LineTable:
    return pilot.app.screen.query_one(LineTable)


async def at(pilot, uuid: bytes) -> None:
    """The cursor on a workflow, and what belongs to it read."""
    await sees(pilot, "genomics-2026")
    assert table(pilot).move_to(uuid.hex())
    await until(pilot, lambda: pilot.app.screen._snapshot.chosen == uuid.hex())


async def test_states_progress_and_counts(site: Site) -> None:
    async with shown(site, clock=lambda: NOON) as pilot:
        screen = await sees(pilot, "genomics-2026", "first night")
        rows = {line.split()[1]: " ".join(line.split()) for line in screen.splitlines()[2:6]}
        assert rows["running"] == "▶ running genomics-2026 ██░░░░░░░░ 20% 6 1 0 41:40"
        assert rows["failed"] == "✘ failed rnaseq \\x1b[2J[bold]7 ████░░░░░░ 40% 12 0 2 41:40"
        assert rows["paused"] == "‖ paused qc nightly ░░░░░░░░░░ 0% 0 0 0 41:40"
        assert rows["done"] == "✔ done first night ██████████ 100% 30 0 0 1d 01h"
    async with shown(site, clock=lambda: NOON, size=(140, 30)) as pilot:
        assert "a1a1a1a1" in await sees(pilot, "mary", "ID", "FROM")


async def test_failed_steps_of_the_one_under_the_cursor(site: Site) -> None:
    async with shown(site, size=(120, 24)) as pilot:
        await at(pilot, FAILED)
        await sees(
            pilot, "─ failed in rnaseq \\x1b[2J[bold]7: trim_b exit 137 (north), align_b exit 137 (north)"
        )
        await at(pilot, DONE)
        assert pilot.app.screen.query_one(Note).text == ""


async def test_failed_only_and_filters(site: Site) -> None:
    async with shown(site) as pilot:
        await sees(pilot, "genomics-2026")
        await press(pilot, "f")
        await until(pilot, lambda: len(table(pilot).lines) == 1)
        assert table(pilot).key == FAILED.hex()
        await press(pilot, "escape")
        await until(pilot, lambda: len(table(pilot).lines) == 4)
        await press(pilot, "slash", *"NIGHT", "enter")
        await until(pilot, lambda: len(table(pilot).lines) == 2)
        await press(pilot, "slash", "ctrl+u", *"a1a1", "enter")
        await until(pilot, lambda: [line.key for line in table(pilot).lines] == [RUNS.hex()])
        await press(pilot, "slash", "ctrl+u", *"100%_", "enter")
        await sees(pilot, "No workflow has this in its name")


async def test_changes_are_seen(site: Site) -> None:
    async with shown(site) as pilot:
        await sees(pilot, "genomics-2026")
        assert " 20% " in text(pilot)
        from caroni.core.states import StepState

        await workflows.change(site, RUNS, 6, state=StepState.COMPLETED)
        await press(pilot, "ctrl+r")
        await sees(pilot, " 23% ")


async def test_an_empty_manager_says_what_helps(tmp_path: Path) -> None:
    site = await workflows.manager(tmp_path)
    async with shown(site) as pilot:
        await sees(pilot, "No workflows yet. a begins one; 6 shows the templates.")
        await press(pilot, "c")
        await sees(pilot, "there is no workflow")
    async with shown(site, readonly=True) as pilot:
        await sees(pilot, "No workflows yet.")
        await press(pilot, "a")
        await sees(pilot, "only looks")


async def test_more_than_a_page(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screens, "PAGE", 3)
    rows = [workflows.workflow(bytes([1, n]) * 8, WorkflowState.COMPLETED, f"old {n}", 0) for n in range(5)]
    await fill(site, Unit(rows={type(rows[0]): rows}, now=workflows.NOW))
    async with shown(site) as pilot:
        await until(pilot, lambda: len(table(pilot).lines) == 3)
        await sees(pilot, "m shows more")
        await press(pilot, "m")
        await until(pilot, lambda: len(table(pilot).lines) == 6)
        await press(pilot, "m")
        await until(pilot, lambda: len(table(pilot).lines) == 9)
        await press(pilot, "m")
        await sees(pilot, "these are all")


async def test_cancel_wants_its_id_typed_and_says_what_is_affected(site: Site) -> None:
    async with shown(site) as pilot:
        await at(pilot, RUNS)
        await press(pilot, "c")
        await sees(pilot, "Cancel workflow genomics-2026?", "24 steps not done", "1 live job")
        await press(pilot, *"b2b2", "enter")
        await sees(pilot, "That was not a1a1")
        assert await workflows.commands(site) == []
        await press(pilot, "ctrl+u", *"a1a1", "enter")
        for _ in range(100):
            if found := await workflows.commands(site):
                break
            await pilot.pause(0.02)
        kind, arguments = found[0]
        assert kind == "cancel"
        assert json.loads(arguments)["steps"] == []
        await workflows.answer(site, {"affected": 24})
        await sees(pilot, "affected")
        await press(pilot, "at")
        await sees(pilot, "caroni cancel a1a1a1a1a1a1 --config")


async def test_marked_workflows_are_paused_together(site: Site) -> None:
    async with shown(site) as pilot:
        await at(pilot, RUNS)
        await press(pilot, "p")
        await sees(pilot, "Pause workflow genomics-2026?", "what runs goes on")
        await press(pilot, "n")
        table(pilot).marked = {RUNS.hex(), PAUSED.hex(), DONE.hex()}
        await press(pilot, "c")
        await sees(pilot, "Cancel 2 workflows?", "Type cancel 2")
        await press(pilot, "escape")
        assert await workflows.commands(site) == []


async def test_what_has_ended_cannot_be_steered_and_says_so(site: Site) -> None:
    async with shown(site) as pilot:
        await at(pilot, FAILED)
        await press(pilot, "c")
        await sees(pilot, "cancel: it is failed")
    async with shown(site, readonly=True) as pilot:
        await at(pilot, RUNS)
        await press(pilot, "c")
        await sees(pilot, "this console only looks")


async def test_enter_opens_and_escape_comes_back(site: Site) -> None:
    async with shown(site) as pilot:
        await at(pilot, RUNS)
        await press(pilot, "enter")
        await sees(pilot, "caroni › workflows › genomics-2026", "[Rail]")
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, WorkflowsScreen))
        app = pilot.app
        assert isinstance(app, ConsoleApp)
        assert app.crumbs() == ["workflows"]
