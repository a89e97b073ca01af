"""The rail as a widget: what is painted and when, what keys do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.strip import Strip

from caroni.tui import glyphs
from caroni.tui.rail import drawing
from caroni.tui.rail.graph import Graph, turned
from caroni.tui.rail.steps import StepView
from caroni.tui.widgets.rail import Rail
from caroni.tui.widgets.railrow import took
from tests.tui.harness import press, sees, text, until

NOW = 1_772_366_400_000_000
SECOND = 1_000_000


class Counting(Rail):
    """Knows which of its lines were painted."""

    def __init__(self) -> None:
        super().__init__(empty="No steps. : goes elsewhere", id="rail")
        self.painted: list[int] = []

    def render_line(self, y: int) -> Strip:
        self.painted.append(y)
        return super().render_line(y)


class Host(App[None]):
    """Only a rail."""

    readonly: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.got: list[object] = []

    def compose(self) -> ComposeResult:
        yield Counting()

    def say(self, words: str, severity: str = "") -> None:
        self.said.append(words)

    def on_rail_moved(self, event: Rail.Moved) -> None:
        self.got.append(("moved", event.members))

    def on_rail_opened(self, event: Rail.Opened) -> None:
        self.got.append(("opened", event.step))


@asynccontextmanager
async def rail_of(
    graph: Graph, size: tuple[int, int] = (80, 24), **more: object
) -> AsyncIterator[Pilot[None]]:
    app = Host()
    async with app.run_test(size=size) as pilot:
        rail = app.query_one(Rail)
        rail.set_view(drawing.of_graph(graph, **more))  # type: ignore[arg-type]
        rail.set_now(NOW)
        rail.focus()
        await pilot.pause()
        yield pilot


def rail(pilot: Pilot[None]) -> Counting:
    return pilot.app.query_one(Counting)


def genomics(samples: int) -> Graph:
    """A chain of two steps a sample between a fetch and a report."""
    names, kinds, parents = ["fetch"], ["fetch"], [()]
    for sample in range(samples):
        parents += [(0,), (len(parents),)]
        names += [f"bwa_s{sample + 1}", f"sort_s{sample + 1}"]
        kinds += ["bwa", "sort"]
    parents.append(tuple(range(2, len(parents), 2)))
    names.append("report")
    kinds.append("report")
    return Graph(names=tuple(names), job_types=tuple(kinds), parents=tuple(parents), children=turned(parents))


def step(graph: Graph, index: int, state: str, **more: object) -> StepView:
    return StepView(index=index, name=graph.names[index], state=state, **more)  # type: ignore[arg-type]


async def test_a_row_says_it_all() -> None:
    graph = genomics(3)
    async with rail_of(graph) as pilot:
        rail(pilot).set_steps(
            {
                0: step(graph, 0, "completed", attempt=1, attempts=5, agent="caroni://a/agent/g1",
                        started_at=NOW - 70 * SECOND, ended_at=NOW - 5 * SECOND),
                1: step(graph, 1, "running", attempt=2, attempts=5, agent="caroni://a/agent/g2",
                        started_at=NOW - 250 * SECOND),
                3: step(graph, 3, "failed", attempt=5, attempts=5, exit_code=137),
            }
        )  # fmt: skip
        screen = await sees(pilot, "running")
        assert [" ".join(line.split()) for line in screen.splitlines()[:3]] == [
            "STEP STATE TRY AGENT TIME WHY",
            "✔ *fetch ✔ done 1/5 g1 01:05",
            "┣━▶ *bwa_s1 ▶ running 2/5 g2 04:10",
        ]
        assert "✘ failed" in screen
        assert "exit code 137" in screen


async def test_only_rows_that_changed_and_are_seen_are_painted() -> None:
    graph = genomics(200)
    async with rail_of(graph, opened=range(2)) as pilot:
        layout = drawing.of_graph(graph, opened=range(2))
        here, away = layout.layout.order[7], layout.layout.order[300]
        rail(pilot).set_steps({here: step(graph, here, "waiting"), away: step(graph, away, "waiting")})
        await pilot.pause()
        rail(pilot).painted.clear()
        rail(pilot).set_steps({away: step(graph, away, "running")})
        rail(pilot).set_steps({here: step(graph, here, "waiting")})  # nothing new
        await pilot.pause()
        assert rail(pilot).painted == []
        rail(pilot).set_steps({here: step(graph, here, "running", started_at=NOW)})
        await until(pilot, lambda: set(rail(pilot).painted) == {8})
        rail(pilot).painted.clear()
        rail(pilot).set_now(NOW + 61 * SECOND)
        await until(pilot, lambda: set(rail(pilot).painted) == {8})
        assert "01:01" in text(pilot).splitlines()[8]


async def test_groups_unfold_and_fold_with_the_cursor_kept() -> None:
    graph = genomics(40)
    async with rail_of(graph) as pilot:
        rail(pilot).set_steps({n: step(graph, n, "completed") for n in range(1, 60, 2)})
        rail(pilot).set_steps({61: step(graph, 61, "failed"), 63: step(graph, 63, "running")})
        await sees(pilot, "bwa_s*", "[30/40 ████░░ 1✘ 1▶]")
        assert rail(pilot).caption == "82 steps, 2 groups folded"
        await press(pilot, "j", "enter")
        await sees(pilot, "bwa_s1 ", "bwa_s9 ")
        assert rail(pilot).step == 1
        await press(pilot, "j", "j", "z")
        assert rail(pilot).members[0] == 1
        await press(pilot, "Z", "z")
        await press(pilot, "g", "z")
        assert pilot.app.said[-1] == "fold: this step belongs to no group"  # type: ignore[attr-defined]


async def test_failed_steps_alone_follow_what_fails() -> None:
    graph = genomics(40)
    async with rail_of(graph) as pilot:
        await press(pilot, "f")
        assert pilot.app.said == ["failed: no step has failed"]  # type: ignore[attr-defined]
        rail(pilot).set_steps({5: step(graph, 5, "failed"), 6: step(graph, 6, "cancelled")})
        await press(pilot, "f")
        await sees(pilot, "bwa_s3")
        assert rail(pilot).caption == "1 failed of 82 steps"
        rail(pilot).set_steps({9: step(graph, 9, "failed")})
        await sees(pilot, "bwa_s3", "bwa_s5")
        rail(pilot).set_steps({9: step(graph, 9, "waiting"), 5: step(graph, 5, "waiting")})
        await sees(pilot, "No step has failed: f shows all again.")
        await press(pilot, "f")
        await sees(pilot, "fetch", "bwa_s*")


async def test_the_neighbourhood_of_a_step() -> None:
    graph = genomics(5)
    async with rail_of(graph) as pilot:
        rail(pilot).select(3)
        await press(pilot, "v")
        screen = await sees(pilot, "fetch", "bwa_s2", "sort_s2", "report")
        assert "bwa_s1" not in screen
        assert rail(pilot).step == 3
        await press(pilot, "v")
        await sees(pilot, "bwa_s1")
        assert rail(pilot).step == 3


async def test_what_it_waits_for_is_heavy_and_reached_by_arrows() -> None:
    graph = genomics(4)
    async with rail_of(graph) as pilot:
        await press(pilot, "G")
        assert "┃" in text(pilot)
        await press(pilot, "left")
        assert graph.names[rail(pilot).step].startswith("sort_s")
        await press(pilot, "left", "left", "left")
        assert graph.names[rail(pilot).step] == "fetch"
        await press(pilot, "right")
        assert graph.names[rail(pilot).step].startswith("bwa_s")
        assert pilot.app.got[-1] == ("moved", rail(pilot).members)  # type: ignore[attr-defined]
        await press(pilot, "enter")
        assert pilot.app.got[-1] == ("opened", rail(pilot).step)  # type: ignore[attr-defined]


async def test_finds_by_name() -> None:
    graph = genomics(8)
    async with rail_of(graph) as pilot:
        assert rail(pilot).find("SORT_") == 8
        first = rail(pilot).step
        rail(pilot).find_next(1)
        second = rail(pilot).step
        rail(pilot).find_next(-1)
        assert first == rail(pilot).step != second
        assert rail(pilot).find("nothing like it") == 0


async def test_wide_graphs_are_cut_and_shifted() -> None:
    graph = genomics(40)
    async with rail_of(graph, opened=range(2)) as pilot:
        await press(pilot, "G", "k")
        assert "›" in text(pilot)
        before = text(pilot)
        await press(pilot, "shift+right")
        assert rail(pilot).first_lane == 4
        assert "‹" in text(pilot)
        await press(pilot, "shift+left")
        assert text(pilot) == before


@pytest.mark.parametrize("width", [60, 80, 140])
async def test_hostile_names_are_harmless_and_everything_fits(width: int) -> None:
    names = ("a\x1b[31m\n", "[bold]b[/]" + "x" * 200, "漢字" * 30)
    graph = Graph(names=names, job_types=("t",) * 3, parents=((), (0,), (1,)), children=((1,), (2,), ()))
    async with rail_of(graph, (width, 15)) as pilot:
        rail(pilot).set_steps(
            {n: step(graph, n, "failed", agent="x/\x1b]0;", info="\x07\u202e", attempt=2) for n in range(3)}
        )
        screen = await sees(pilot, "\\x1b[31m\\x0a" if width > 60 else "a\\x1b")
        assert "[bold]b[/]xx" in screen
        assert "\x1b" not in screen
        assert "\u202e" not in screen


async def test_ascii_only() -> None:
    graph = genomics(3)
    glyphs.use_ascii(True)
    try:
        async with rail_of(graph) as pilot:
            rail(pilot).set_steps({0: step(graph, 0, "completed")})
            await press(pilot, "G")
            assert text(pilot).isascii()
            assert "v *fetch" in " ".join(text(pilot).split())
    finally:
        glyphs.use_ascii(False)


async def test_an_empty_rail_says_what_helps() -> None:
    empty = Graph(names=(), job_types=(), parents=(), children=())
    async with rail_of(empty) as pilot:
        await sees(pilot, "No steps. : goes elsewhere")
        await press(pilot, "enter", "v", "z", "f", "j", "G", "left", "shift+right")


def test_times_as_a_clock_shows_them() -> None:
    assert took(0, 0, NOW) == ""
    assert took(NOW, NOW + 400_000, NOW) == "0.4 s"
    assert took(NOW, 0, NOW + 9 * SECOND) == "00:09"
    assert took(NOW, 0, NOW + 3_750 * SECOND) == "1:02:30"
    assert took(NOW, 0, NOW + 183_600 * SECOND) == "2d 03h"
