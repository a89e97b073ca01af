"""The list of jobs: what runs and the queue on an agent, attempts on a manager, and what is done to them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from caroni.core.commands import AgentCommand, Command, ManagerCommand
from caroni.core.states import AgentJobState
from caroni.tui.acts import REGISTRY
from caroni.tui.app import ConsoleApp
from caroni.tui.screens.jobs import JobsScreen
from caroni.tui.site import Site
from caroni.tui.widgets.table import LineTable
from tests.tui import jobs
from tests.tui.harness import NOON, fill, make_site, press, sees, shown, text, until, writing


@pytest.fixture
async def agent(tmp_path: Path) -> Site:
    site = await make_site(tmp_path, "agent", "g1")
    await fill(site, jobs.of_agent())
    return site


@pytest.fixture
async def manager(tmp_path: Path) -> Site:
    site = await make_site(tmp_path, "manager", "m1")
    await fill(site, jobs.of_manager())
    return site


def rows(pilot: Pilot[None]) -> list[str]:
    """The rows of the table, with single blanks."""
    lines = text(pilot).splitlines()[2:-2]
    return [" ".join(line.split()) for line in lines if line.strip()]


def put_on(pilot: Pilot[None], number: int) -> None:
    assert pilot.app.screen.query_one(LineTable).move_to(jobs.uuid(number).hex())


async def left(site: Site) -> list[Command]:
    """The commands that wait for the daemon."""
    kind: object = ManagerCommand if site.role == "manager" else AgentCommand
    async with writing(site) as store:
        return [msgspec.json.decode(row.args, type=kind) for row in await store.new_commands()]


async def test_the_queue_in_its_order(agent: Site) -> None:
    async with shown(agent, start="jobs", clock=lambda: NOON) as pilot:
        await sees(pilot, "running")
        assert rows(pilot) == [
            "▶ running 12121212 bwa-align 2 01:40 m1",
            "‖ paused 16161616 bwa-align 00:10 m1",
            "⊘ killing 17171717 bwa-align 00:10 m1",
            "◑ queued 1 11111111 bwa-align 00:30 m1",
            "◑ queued 2 10101010 bwa-align 00:20 m1",
            "○ pending 13131313 bwa-align 05:00 m1",
        ]
        await press(pilot, "j", "j", "j")
        await sees(pilot, "─ 111111111111 for caroni://a.example/manager/m1: next")


async def test_ended_jobs_are_shown_when_asked_for(agent: Site) -> None:
    async with shown(agent, start="jobs", size=(140, 30), clock=lambda: NOON) as pilot:
        await sees(pilot, "running")
        await press(pilot, "a")
        await sees(pilot, "exit code 137, it \\x1b[2Jbroke, waits", "done")
        await press(pilot, "a")
        await until(pilot, lambda: "✘ failed" not in text(pilot))


async def test_states_and_failed_ones_alone(agent: Site) -> None:
    async with shown(agent, start="jobs") as pilot:
        await sees(pilot, "running")
        await press(pilot, "f")
        await sees(pilot, "✘ failed", "─ failed only")
        assert len(rows(pilot)) == 1
        await press(pilot, "a")
        await sees(pilot, "all: only failed ones")
        await press(pilot, "escape")
        await sees(pilot, "running", "queued")
        await press(pilot, "x", "x")
        await until(pilot, lambda: len(rows(pilot)) == 2)
        await sees(pilot, "─ queued only")
        await press(pilot, "X")
        await sees(pilot, "pending", "─ pending only")
        await press(pilot, "X", "X")
        await sees(pilot, "─ killed only", "No job is killed: esc shows all again.")


async def test_a_text_is_looked_for_in_rows_and_ids(agent: Site) -> None:
    async with shown(agent, start="jobs") as pilot:
        await sees(pilot, "running")
        await press(pilot, "slash", *"queued", "enter")
        await until(pilot, lambda: len(rows(pilot)) == 2)
        await press(pilot, "slash")
        pilot.app.screen.query_one("#find", Input).value = "1111111111"
        await press(pilot, "enter")
        await until(pilot, lambda: len(rows(pilot)) == 1)
        await press(pilot, "slash")
        pilot.app.screen.query_one("#find", Input).value = "nowhere"
        await sees(pilot, "No job has this in its row or id")
        await press(pilot, "enter", "escape")
        await until(pilot, lambda: len(rows(pilot)) == 6)


async def test_attempts_what_runs_first(manager: Site) -> None:
    async with shown(manager, start="jobs", size=(120, 24), clock=lambda: NOON) as pilot:
        await sees(pilot, "running")
        assert rows(pilot) == [
            "▶ running 10101010 bwa_s1 geno\\x1b[2Jmics 1 g1 00:50 25%",
            "‖ pausing 14141414 bwa_s1 geno\\x1b[2Jmics 1 g1 00:40",
            "◑ queued 13131313 bwa_s1 geno\\x1b[2Jmics 1 g1 06:40",
            "? orphan 20202020 - g1 its agent says: running",
            "⊘ kill asked 11111111 bwa_s1 geno\\x1b[2Jmics 1 g1 10:00 agent silent",
        ]


async def test_what_changes_is_seen(agent: Site) -> None:
    async with shown(agent, start="jobs") as pilot:
        await sees(pilot, "running")
        put_on(pilot, 0x10)
        await fill(agent, jobs.unit(jobs.here(0x11, AgentJobState.RUNNING, started_at=jobs.NOW)))
        await until(pilot, lambda: "queued 1 10101010" in " ".join(rows(pilot)))
        assert pilot.app.screen.query_one(LineTable).key == jobs.uuid(0x10).hex(), "the cursor stays"


async def test_nothing_is_read_again_that_has_not_changed(agent: Site) -> None:
    async with shown(agent, start="jobs") as pilot:
        await sees(pilot, "running")
        screen = pilot.app.screen
        assert isinstance(screen, JobsScreen)
        before = screen._snapshot
        fetched = screen.fetched_at
        screen.refetch()
        await until(pilot, lambda: screen.fetched_at > fetched)
        assert screen._snapshot is before
        await press(pilot, "ctrl+r")
        await until(pilot, lambda: screen._snapshot is not before)


async def test_a_kill_wants_the_beginning_of_the_id(manager: Site) -> None:
    async with shown(manager, start="jobs") as pilot:
        await sees(pilot, "running")
        await press(pilot, "K")
        await sees(pilot, "Kill job 101010101010?", "bwa_s1 of geno\\x1b[2Jmics: running", "Type 1010")
        await press(pilot, "y", "enter")
        await sees(pilot, "That was not 1010")
        await press(pilot, "escape")
        assert await left(manager) == []
        await press(pilot, "K")
        await sees(pilot, "Type 1010")
        await press(pilot, *"1010", "enter")

        async def commands() -> list[Command]:
            return await left(manager)

        await until(pilot, lambda: "kill 101010101010" in text(pilot), 20)
        (command,) = await commands()
        assert msgspec.to_builtins(command) == {
            "kind": "kill-job", "peer": jobs.AGENT, "job_uuid": command_uuid(0x10), "reason": "",
        }  # fmt: skip
        await press(pilot, "at")
        await sees(pilot, "caroni kill 101010101010 --config")


def command_uuid(number: int) -> str:
    return str(msgspec.to_builtins(jobs.uuid(number)))


async def test_marked_jobs_are_killed_together(agent: Site) -> None:
    async with shown(agent, start="jobs") as pilot:
        await sees(pilot, "running")
        await press(pilot, "space", "space", "K")
        await sees(pilot, "Kill 2 jobs?", "Type kill 2")
        await press(pilot, *"kill", "space", "2", "enter")
        log = cast("ConsoleApp", pilot.app).log_of_commands
        await until(pilot, lambda: all(done.outcome for done in log.entries), 20)
        assert [done.line.partition(" --config")[0] for done in log.entries] == [
            "caroni kill 121212121212",
            "caroni kill 161616161616",
        ]
        assert {command.kind for command in map(_builtins, await left(agent))} == {"kill-job"}
        assert len(await left(agent)) == 2


class _Kind(msgspec.Struct):
    kind: str


def _builtins(command: Command) -> _Kind:
    return msgspec.convert(msgspec.to_builtins(command), _Kind)


async def test_pause_and_resume_by_the_same_key(agent: Site) -> None:
    async with shown(agent, start="jobs") as pilot:
        await sees(pilot, "running")
        await press(pilot, "p")
        await sees(pilot, "Pause job 121212121212?", "suspended where they are")
        await press(pilot, "n", "j", "p")
        await sees(pilot, "Resume job 161616161616?")
        await press(pilot, "n", "j", "p")
        await sees(pilot, "pause: its kill is asked for")
        assert await left(agent) == []


async def test_what_makes_no_sense_says_why(manager: Site) -> None:
    async with shown(manager, start="jobs") as pilot:
        await sees(pilot, "running")
        put_on(pilot, 0x20)
        await press(pilot, "p")
        await sees(pilot, "it can only be killed")
        await press(pilot, "m")
        await sees(pilot, "these are all")
        await press(pilot, "f")
        await sees(pilot, "✘ failed")
        await press(pilot, "K")
        await sees(pilot, "kill: it is failed")


async def test_a_console_that_only_looks_refuses(agent: Site) -> None:
    agent.readonly = True
    async with shown(agent, start="jobs", readonly=True) as pilot:
        await sees(pilot, "running")
        for act in JobsScreen.ACTS:
            if act.writes:
                await press(pilot, act.keys.partition(",")[0])
                await sees(pilot, f"{act.label}: this console only looks")
        assert await left(agent) == []


async def test_every_act_has_its_method() -> None:
    for act in JobsScreen.ACTS:
        assert callable(getattr(JobsScreen, f"do_{act.what}"))
        assert REGISTRY[act.id] is act


async def test_the_messages_about_a_job(agent: Site, manager: Site) -> None:
    async with shown(agent, manager, start="jobs") as pilot:
        await sees(pilot, "running")
        await press(pilot, "t")
        await sees(pilot, "caroni › jobs › trace", "with m1")
        await press(pilot, "escape", "w")
        await sees(pilot, "bwa_s1")
        await press(pilot, "t")
        await sees(pilot, "caroni › jobs › trace", "bwa_s1")
        await press(pilot, "escape")
        await sees(pilot, "pausing")
        put_on(pilot, 0x20)
        await press(pilot, "t")
        await sees(pilot, "trace: the database")


async def test_without_jobs_a_key_that_helps(tmp_path: Path) -> None:
    site = await make_site(tmp_path, "agent", "g1")
    async with shown(site, start="jobs") as pilot:
        await sees(pilot, "Nothing runs or waits. a shows also what has ended.")
        await press(pilot, "K")
        await sees(pilot, "kill: there is no job")
        await press(pilot, "a")
        await sees(pilot, "There was no job yet.")


async def test_more_jobs_than_a_page(tmp_path: Path) -> None:
    site = await make_site(tmp_path, "agent", "g1")
    many = (jobs.here(0x20, AgentJobState.QUEUED, queued_at=jobs.NOW + n) for n in range(250))
    queue = [msgspec.structs.replace(job, job_uuid=n.to_bytes(16, "big")) for n, job in enumerate(many)]
    await fill(site, jobs.unit(*queue))
    async with shown(site, start="jobs") as pilot:
        await sees(pilot, "queued", "200 shown, m shows more")
        await press(pilot, "m")
        await until(pilot, lambda: len(pilot.app.screen.query_one(LineTable).lines) == 250)
