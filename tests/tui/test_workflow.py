"""One workflow: what its tabs show, what follows changes, why a step waits, what is done to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from caroni.core.states import StepState
from caroni.tui import pictures
from caroni.tui.screens.job import JobScreen
from caroni.tui.screens.step import StepScreen
from caroni.tui.screens.trace import TraceScreen
from caroni.tui.screens.workflow import WorkflowScreen
from caroni.tui.site import Site
from caroni.tui.widgets.lines import Lines
from caroni.tui.widgets.note import Note
from caroni.tui.widgets.rail import Rail
from tests.tui import workflows
from tests.tui.harness import NOON, press, sees, shown, text, until
from tests.tui.workflows import DONE, FAILED, NOW, RUNS, SECOND


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    return await workflows.filled(tmp_path)


def rail(pilot) -> Rail:
    return pilot.app.screen.query_one(Rail)


async def opened(pilot, site: Site, uuid: bytes = RUNS) -> WorkflowScreen:
    await sees(pilot, "genomics-2026")
    screen = WorkflowScreen(site, uuid.hex())
    pilot.app.open(screen)
    await until(pilot, lambda: screen.query(Rail) and rail(pilot).steps.totals)
    return screen


async def on(pilot, step: str) -> None:
    """The cursor on a step, and its explanation read."""
    names = rail(pilot)._shown.view.graph.names
    assert rail(pilot).select(names.index(step))
    await until(pilot, lambda: pilot.app.screen._snapshot.members == rail(pilot).members)


async def test_the_rail_and_why_a_step_waits_beside_it(site: Site) -> None:
    async with shown(site, size=(140, 45), clock=lambda: NOON) as pilot:
        await opened(pilot, site)
        screen = await sees(pilot, "▶ running 6/30", "30 steps", "fetch_reference", "report")
        assert "2/3   north" in screen
        await on(pilot, "index_a")
        await sees(pilot, "step index_a", "nobody offers", "queue is full", "next: asks again in 30 s")
        await on(pilot, "report")
        await sees(pilot, "step report", "waits for", "input")
        assert "┃" in text(pilot)


async def test_on_a_small_terminal_a_line_says_why(site: Site) -> None:
    async with shown(site, size=(80, 24), clock=lambda: NOON) as pilot:
        await opened(pilot, site)
        await on(pilot, "index_a")
        await sees(pilot, "─ index_a: 1 agent declined, nobody offers; south declined: the queue is ")
        await on(pilot, "merge")
        assert "merge: waits for" in pilot.app.screen.query_one("#detail", Note).text
        await press(pilot, "enter")
        await sees(pilot, "› genomics-2026 › merge", "step merge", "INPUTS")


async def test_changes_are_read_alone_and_seen(site: Site) -> None:
    async with shown(site, clock=lambda: NOON) as pilot:
        screen = await opened(pilot, site)
        before = screen._rev
        await workflows.change(
            site, RUNS, 6, state=StepState.FAILED, ended_at=NOW, failure="disk full", exit_code=1
        )
        await press(pilot, "ctrl+r")
        await sees(pilot, "✘1", "✘ failed")
        assert screen._rev > before
        await press(pilot, "f")
        await until(pilot, lambda: rail(pilot).rows == 1)
        await press(pilot, "escape")
        await until(pilot, lambda: rail(pilot).rows == 30)


async def test_nothing_that_comes_while_it_is_frozen_is_lost(site: Site) -> None:
    async with shown(site, clock=lambda: NOON) as pilot:
        screen = await opened(pilot, site)
        await press(pilot, "f2")
        await workflows.change(site, RUNS, 6, state=StepState.COMPLETED, ended_at=NOW)
        await press(pilot, "ctrl+r")
        await until(pilot, lambda: screen._unpainted)
        await workflows.change(site, RUNS, 7, state=StepState.HELD)
        await press(pilot, "ctrl+r")
        await until(pilot, lambda: len(screen._unpainted) == 2)
        assert "running 6/30" in text(pilot)
        await press(pilot, "f2")
        await sees(pilot, "running 7/30", "held")


async def test_tabs(site: Site) -> None:
    async with shown(site, size=(110, 40), clock=lambda: NOON) as pilot:
        await opened(pilot, site)
        await press(pilot, "right_square_bracket")
        screen = await sees(pilot, "[Steps]", "JOB TYPE", "sort-alignments")
        assert "job failed: exit" in screen
        await press(pilot, "right_square_bracket")
        await sees(
            pilot, "[I/O]", 'accession (string): "NC_\\u001b[31m001"', "not there yet  (from report/report)"
        )
        await press(pilot, "right_square_bracket")
        await sees(
            pilot,
            "submitted: caroni://a.example/submitter/mary",
            "job failed on south: exit code 137",
            "begun on north (attempt 2)",
        )
        await press(pilot, "right_square_bracket")
        await sees(pilot, "# workflow.cwl, revision 1", "class: Workflow")
        await press(pilot, "slash", *"fetch_reference", "enter")
        await sees(pilot, "fetch-reference.cwl")
        await press(pilot, "right_square_bracket")
        await sees(pilot, "[Rail]", "qc_a")
        await press(pilot, "left_square_bracket")
        await sees(pilot, "[CWL]")


async def test_outputs_of_what_is_done(site: Site) -> None:
    async with shown(site, size=(110, 40)) as pilot:
        await opened(pilot, site, DONE)
        await press(pilot, *["right_square_bracket"] * 2)
        await sees(pilot, 'report (string): "# Report"')


async def test_finding_a_step(site: Site) -> None:
    async with shown(site) as pilot:
        await opened(pilot, site)
        await press(pilot, "slash", *"QC_", "enter")
        await sees(pilot, "3 matches for QC_; n, N")
        names = rail(pilot)._shown.view.graph.names
        found = [names[rail(pilot).step]]
        for _ in range(2):
            await press(pilot, "n")
            found.append(names[rail(pilot).step])
        assert sorted(found) == ["qc_a", "qc_b", "qc_c"]
        await press(pilot, "right_square_bracket", "slash", *"report", "enter")
        await until(pilot, lambda: pilot.app.screen.query_one("StepTable").step == names.index("report"))


async def test_a_step_with_all_that_is_known_of_it(site: Site) -> None:
    async with shown(site, size=(100, 40), clock=lambda: NOON) as pilot:
        await opened(pilot, site, FAILED)
        await on(pilot, "trim_b")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, StepScreen))
        screen = await sees(pilot, "✘ failed", "exit code 137", "END OF ITS ERROR OUTPUT")
        assert "\\x1b]0;owned\\x07out of memory" in screen
        assert "\x1b" not in screen
        await press(pilot, "r")
        await sees(pilot, "retry: it is failed")
        await press(pilot, "l")
        await sees(pilot, "has had no job yet")


async def test_to_the_log_and_the_messages_of_a_step(site: Site) -> None:
    async with shown(site, clock=lambda: NOON) as pilot:
        screen = await opened(pilot, site)
        await on(pilot, "report")
        await press(pilot, "l")
        await sees(pilot, "the step has had no job yet")
        await on(pilot, "sort_a")
        await press(pilot, "l")
        await until(pilot, lambda: isinstance(pilot.app.screen, JobScreen))
        await press(pilot, "escape")
        await until(pilot, lambda: screen.is_current)
        await press(pilot, "t")
        await until(pilot, lambda: isinstance(pilot.app.screen, TraceScreen))


async def test_what_is_done_to_it(site: Site) -> None:
    async with shown(site, clock=lambda: NOON) as pilot:
        await opened(pilot, site)
        await workflows.change(site, RUNS, 7, state=StepState.HELD)
        await press(pilot, "ctrl+r")
        await sees(pilot, "held")
        await on(pilot, "index_a")
        await press(pilot, "r")
        await sees(pilot, "Retry step index_a?", "A held step may run a second time")
        await press(pilot, "y")
        for _ in range(100):
            if found := await workflows.commands(site):
                break
            await pilot.pause(0.02)
        assert found[0][0] == "retry"
        assert json.loads(found[0][1])["steps"] == ["index_a"]
        await workflows.answer(site, {"affected": 1})
        await sees(pilot, "1 step affected")
        await press(pilot, "C")
        await sees(pilot, "Cancel step index_a?", "Type a1a1")
        await press(pilot, "escape", "c")
        await sees(pilot, "Cancel workflow genomics-2026?")
        await press(pilot, "escape")


async def test_without_its_template_the_steps_are_still_there(site: Site) -> None:
    pictures._kept.clear()
    import sqlite3

    with sqlite3.connect(site.loaded.directory / "caroni.db") as database:
        database.execute("DELETE FROM template")
    database.close()
    async with shown(site) as pilot:
        await opened(pilot, site)
        await sees(pilot, "sort_a", "fetch_reference")
        await press(pilot, "left_square_bracket")
        await sees(pilot, "The template genomics, revision 1, is gone.")


async def test_the_picture_of_a_revision_is_made_once(site: Site) -> None:
    async with shown(site) as pilot:
        first = await opened(pilot, site)
        await press(pilot, "escape")
        second = await opened(pilot, site, DONE)
        assert first._picture is second._picture


async def test_times_go_on(site: Site) -> None:
    at = [NOON]
    async with shown(site, clock=lambda: at[0]) as pilot:
        await opened(pilot, site)
        await sees(pilot, "01:10")
        at[0] += 5
        await sees(pilot, "01:15")
        assert pilot.app.screen.query_one(Lines) is not None
        assert int(NOON) == NOW // SECOND


async def test_it_opens_on_what_matters_most(site: Site) -> None:
    async with shown(site) as pilot:
        await opened(pilot, site, FAILED)
        names = rail(pilot)._shown.view.graph.names
        await until(pilot, lambda: names[rail(pilot).step] in ("trim_b", "align_b"))
        await press(pilot, "escape")
        await opened(pilot, site)
        await until(pilot, lambda: names[rail(pilot).step] == "sort_a")
