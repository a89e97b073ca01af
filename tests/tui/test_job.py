"""One job: its streams are followed in real files, its manager's side asks, hostile output is harmless."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from textual.pilot import Pilot

from caroni.core.commands import ManagerCommand, RequestLog
from caroni.core.rows import JobLog, Row
from caroni.core.states import AgentJobState, JobState
from caroni.model.unit import CommandDone, Unit
from caroni.tui.acts import REGISTRY
from caroni.tui.app import ConsoleApp
from caroni.tui.screens.job import JobScreen
from caroni.tui.site import Site
from caroni.tui.widgets.lines import Lines
from tests.tui import jobs
from tests.tui.harness import NOON, fill, make_site, press, sees, shown, text, until, writing

RUNS, DONE, FAILED = jobs.uuid(0x12), jobs.uuid(0x15), jobs.uuid(0x14)


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


async def open_job(pilot: Pilot[None], site: Site, job: bytes, tab: str = "") -> JobScreen:
    peer = jobs.MANAGER if site.role == "agent" else jobs.AGENT
    screen = JobScreen(site, peer, job, tab)
    await sees(pilot, "running")
    pilot.app.open(screen)  # type: ignore[attr-defined]
    await until(pilot, lambda: pilot.app.screen is screen and screen.fetched_at)
    return screen


def lines(pilot: Pilot[None]) -> list[str]:
    """What stands between the tabs and the note, without the scroll bar."""
    found = [line[:78].rstrip() for line in text(pilot).splitlines()[2:-2]]
    return [line for line in found if line]


def pane(pilot: Pilot[None], stream: str = "stdout") -> Lines:
    return pilot.app.screen.query_one(f"#tab-{stream}", Lines)


# --- an agent's ------------------------------------------------------------------------------------


async def test_the_end_is_followed_while_the_job_writes(agent: Site) -> None:
    jobs.write(agent, RUNS, "stdout", b"".join(b"line %d\n" % n for n in range(100)) + b"half a")
    async with shown(agent, start="jobs") as pilot:
        await open_job(pilot, agent, RUNS)
        await sees(pilot, "▶ running", "[stdout]", "line 99", "half a", "─ following")
        jobs.write(agent, RUNS, "stdout", b" line\nmore\n")
        await sees(pilot, "half a line")
        assert lines(pilot)[-2:] == ["half a line", "more"]


async def test_new_lines_are_counted_where_the_end_is_out_of_sight(agent: Site) -> None:
    jobs.write(agent, RUNS, "stdout", b"".join(b"line %d\n" % n for n in range(100)))
    async with shown(agent, start="jobs") as pilot:
        await open_job(pilot, agent, RUNS)
        await sees(pilot, "line 99")
        await press(pilot, "k", "k")
        await sees(pilot, "not following, ctrl+t follows")
        before = lines(pilot)
        jobs.write(agent, RUNS, "stdout", b"one\ntwo\nthree\n")
        await sees(pilot, "3 new lines below, ctrl+t follows")
        assert lines(pilot) == before
        await press(pilot, "ctrl+t")
        await sees(pilot, "three", "─ following")
        await press(pilot, "ctrl+t")
        jobs.write(agent, RUNS, "stdout", b"four\n")
        await sees(pilot, "1 new line below")
        await press(pilot, "G")
        await sees(pilot, "four", "─ following")


async def test_nothing_is_lost_while_the_picture_is_held(agent: Site) -> None:
    jobs.write(agent, RUNS, "stdout", b"before\n")
    async with shown(agent, start="jobs") as pilot:
        screen = await open_job(pilot, agent, RUNS)
        await sees(pilot, "before")
        await press(pilot, "f2")
        for word in (b"one\n", b"two\n"):
            jobs.write(agent, RUNS, "stdout", word)
            taken = screen._logs["stdout"].text.taken
            await until(pilot, lambda taken=taken: screen._logs["stdout"].text.taken > taken)  # type: ignore[misc]
        assert lines(pilot) == ["before"]
        await press(pilot, "f2")
        await sees(pilot, "two")
        assert lines(pilot) == ["before", "one", "two"]


async def test_hostile_output_is_shown_for_what_it_is(agent: Site) -> None:
    jobs.write(agent, RUNS, "stdout", b"\x1b[2J\x1b]0;owned\x07 [red]markup[/] \xe2\x80\xae\x9b31m \xff\n")
    jobs.write(agent, RUNS, "stdout", b"\x1b" * (1 << 20) + b"\nafter\n")
    async with shown(agent, start="jobs") as pilot:
        await open_job(pilot, agent, RUNS)
        await sees(pilot, "after")
        assert max(len(line) for line in pane(pilot).plain.splitlines()) <= 1001
        assert not set(pane(pilot).plain) & set("\x1b\x07\x9b\u202e")
        jobs.write(agent, RUNS, "stdout", b"[red]mark[/] \x1b[1;1H\xe2\x80\xae\n")
        await sees(pilot, "[red]mark[/] \\x1b[1;1H\\u202e")


async def test_of_a_large_file_the_end(agent: Site) -> None:
    jobs.write(agent, RUNS, "stdout", b"".join(b"%07d\n" % n for n in range(500_000)))
    async with shown(agent, start="jobs") as pilot:
        await open_job(pilot, agent, RUNS)
        await sees(pilot, "0499999", "3.8 MiB")
        await press(pilot, "g")
        # the rest of 256 KiB is more than the lines that are kept
        await until(pilot, lambda: "0495000" in text(pilot))


async def test_what_is_written_too_fast_is_skipped_and_said(agent: Site) -> None:
    jobs.write(agent, RUNS, "stdout", b"slow\n")
    async with shown(agent, start="jobs") as pilot:
        screen = await open_job(pilot, agent, RUNS)
        await sees(pilot, "slow")
        jobs.write(agent, RUNS, "stdout", b"x" * 80 + b"\n" + b"fast\n" * 1_000_000 + b"last\n")
        await sees(pilot, "last")
        assert "MiB are not shown" in str(screen._logs["stdout"].text.lines) or pane(pilot).dropped


async def test_the_stream_that_matters_comes_first(agent: Site) -> None:
    jobs.write(agent, FAILED, "stderr", b"cannot open\n")
    async with shown(agent, start="jobs") as pilot:
        await open_job(pilot, agent, FAILED)
        await sees(pilot, "[stderr]", "cannot open", "✘ failed", "exit 137")
        await press(pilot, "right_square_bracket")
        await sees(pilot, "[details]")
        await press(pilot, "right_square_bracket")
        await sees(pilot, "[stdout]", "The job wrote nothing.")
        await press(pilot, "left_square_bracket", "left_square_bracket")
        await sees(pilot, "cannot open")


async def test_details_have_values_and_use(agent: Site) -> None:
    async with shown(agent, start="jobs", clock=lambda: NOON) as pilot:
        await open_job(pilot, agent, RUNS, "details")
        await sees(
            pilot, "attempt     2", 'reads  "r1\\u001b.fastq"', "ref    not here yet", "(1 min 40 s ago)"
        )
        await press(pilot, "ctrl+t")
        await sees(pilot, "details have no end")
        await press(pilot, "escape")
        await open_job(pilot, agent, FAILED, "details")
        await sees(pilot, "processor   1m30s", "memory      50.0 MiB", "info        it \\x1b[2Jbroke")
        await press(pilot, "G")
        await sees(pilot, "end of stderr", "  bad")
        await press(pilot, "escape")
        await open_job(pilot, agent, DONE, "details")
        await sees(pilot, "bam  [1, 2]")


async def test_pruned_files_leave_the_end_that_was_kept(agent: Site) -> None:
    async with shown(agent, start="jobs") as pilot:
        await open_job(pilot, agent, DONE)
        await sees(pilot, "kept end", "its files are gone")


async def test_a_link_is_told_and_not_followed(agent: Site) -> None:
    path = jobs.write(agent, RUNS, "stdout", b"text\n")
    async with shown(agent, start="jobs", size=(140, 30)) as pilot:
        await open_job(pilot, agent, RUNS)
        await sees(pilot, "text")
        path.unlink()
        path.symlink_to("/etc/passwd")
        await sees(pilot, "is not what the job wrote", "again in")
        assert "root:" not in text(pilot)


async def test_found_text_is_gone_through(agent: Site) -> None:
    jobs.write(agent, RUNS, "stdout", b"".join(b"line %d\n" % n for n in range(300)))
    async with shown(agent, start="jobs") as pilot:
        await open_job(pilot, agent, RUNS)
        await sees(pilot, "line 299")
        await press(pilot, "slash", *"line", "space", *"15", "enter")
        await sees(pilot, "not following")
        await press(pilot, "g", "n")
        await until(pilot, lambda: any(word in text(pilot) for word in ("line 150", "line 15\n")))
        await press(pilot, "slash", *"xyzzy", "enter")
        await sees(pilot, "no line has it")


async def test_a_job_that_starts_and_ends_under_the_eyes(agent: Site) -> None:
    async with shown(agent, start="jobs") as pilot:
        await open_job(pilot, agent, jobs.uuid(0x11))
        await sees(pilot, "◑ queued", "place 1", "The job has not started.")
        one = jobs.here(0x11, AgentJobState.RUNNING, started_at=jobs.NOW)
        await fill(agent, jobs.unit(one))
        await sees(pilot, "▶ running", "Nothing was written yet.")
        jobs.write(agent, one.job_uuid, "stdout", b"all of it\n")
        await fill(agent, jobs.unit(msgspec.structs.replace(
            one, state=AgentJobState.COMPLETED, ended_at=jobs.NOW, exit_code=0)))  # fmt: skip
        await sees(pilot, "✔ done", "exit 0", "all of it")
        await until(pilot, lambda: "following" not in text(pilot))
        await press(pilot, "K")
        await sees(pilot, "kill: it is completed")


async def test_kill_and_pause_from_here(agent: Site) -> None:
    async with shown(agent, start="jobs") as pilot:
        await open_job(pilot, agent, RUNS)
        await press(pilot, "p")
        await sees(pilot, "Pause job 121212121212?")
        await press(pilot, "n", "K")
        await sees(pilot, "Kill job 121212121212?", "bwa-align: running", "Type 1212")
        await press(pilot, *"1212", "enter")
        await until(pilot, lambda: pilot.app.screen.NAME == "job")  # type: ignore[attr-defined]
        log = pilot.app.log_of_commands.entries  # type: ignore[attr-defined]
        await until(pilot, lambda: bool(log and log[0].outcome), 20)
        assert log[0].line.startswith("caroni kill 121212121212 --config")


async def test_a_job_that_was_pruned_says_so_and_keeps_what_was_seen(agent: Site) -> None:
    jobs.write(agent, RUNS, "stdout", b"text\n")
    async with shown(agent, start="jobs", size=(120, 30)) as pilot:
        await open_job(pilot, agent, RUNS)
        await sees(pilot, "text")
        async with writing(agent) as store:
            await store.database.run("DELETE FROM agent_job WHERE job_uuid = ?", RUNS.hex())
        await sees(pilot, "is not known any more", "text")


# --- a manager's -----------------------------------------------------------------------------------

ASKED = jobs.uuid(0x10)


def log_row(data: bytes, offset: int = 0, **more: object) -> Row:
    return JobLog(
        agent=jobs.AGENT, job_uuid=ASKED, stream="stdout", asked_at=jobs.NOW, answered_at=jobs.NOW,
        at=jobs.NOW - 7 * jobs.SECOND, offset=offset, total=offset + len(data), data=data.decode("latin-1"),
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


async def answer(site: Site, *rows: Row) -> RequestLog | None:
    """Do what the manager does: take the oldest command, and commit what came of it."""
    async with writing(site) as store:
        new = await store.new_commands()
        command = msgspec.json.decode(new[0].args, type=ManagerCommand) if new else None
        done = [CommandDone(id=row.id, state="done", result="{}", at=jobs.NOW) for row in new]
        by_type: dict[type[Row], list[Row]] = {}
        for row in rows:
            by_type.setdefault(type(row), []).append(row)
        await store.commit(Unit(now=jobs.NOW, commands=done, rows=by_type))
        assert command is None or isinstance(command, RequestLog)
        return command


async def test_the_agent_is_asked_and_its_answers_are_put_together(manager: Site) -> None:
    async with shown(manager, start="jobs", clock=lambda: NOON) as pilot:
        await open_job(pilot, manager, ASKED)
        await sees(pilot, "▶ running", "25%")
        command = None
        while command is None:
            await pilot.pause()
            command = await answer(manager, log_row("one\ntwø".encode()))
        assert (command.peer, command.job_uuid, command.stream) == (jobs.AGENT, ASKED, "stdout")
        await sees(pilot, "one", "twø", "as of 7 s ago")
        # the next one overlaps, the one after it leaves a gap
        await answer(manager, log_row("twø, three\n".encode(), offset=4))
        await sees(pilot, "twø, three")
        await answer(manager, log_row(b"last\n", offset=2000))
        await sees(pilot, "... 1.9 KiB are not shown ...", "last")
        assert lines(pilot) == ["one", "twø, three", "... 1.9 KiB are not shown ...", "last"]
        entries = pilot.app.log_of_commands.entries  # type: ignore[attr-defined]
        assert [one.line.partition(" --config")[0] for one in entries] == [
            "caroni logs 101010101010 --stream stdout --follow"
        ], "what is asked again and again is written down once"


async def test_a_refusal_is_quoted(manager: Site) -> None:
    await fill(manager, jobs.unit(log_row(b"", refusal="no logs\x1b[2J here")))
    async with shown(manager, start="jobs", readonly=True, size=(120, 24)) as pilot:
        manager.readonly = True
        await open_job(pilot, manager, ASKED)
        await sees(pilot, "Its agent gives no logs of jobs that run", "the agent is not asked (--readonly)")
        async with writing(manager) as store:
            assert await store.new_commands() == []
    manager.readonly = False
    async with shown(manager, start="jobs", size=(120, 24)) as pilot:
        await open_job(pilot, manager, ASKED)
        await sees(pilot, "its agent says: no logs\\x1b[2J here")


async def test_the_end_of_a_job_that_ended_while_nobody_was_asked(manager: Site) -> None:
    async with shown(manager, start="jobs") as pilot:
        await open_job(pilot, manager, jobs.uuid(0x12))
        await sees(pilot, "[stderr]", "oh no", "last words", "the end that came with the job's end")


async def test_the_kept_end_takes_the_place_of_what_was_followed(manager: Site) -> None:
    await fill(manager, jobs.unit(log_row(b"early\n" * 3)))
    async with shown(manager, start="jobs") as pilot:
        await open_job(pilot, manager, ASKED)
        await sees(pilot, "early")
        ended = jobs.attempt(0x10, JobState.FAILED, ended=True, ended_at=jobs.NOW, exit_code=1,
                             stdout_tail="".join(f"tail {n}\n" for n in range(9)))  # fmt: skip
        await fill(manager, jobs.unit(ended))
        await sees(pilot, "tail 8", "the end that came with the job's end")
        assert lines(pilot) == [f"tail {n}" for n in range(9)]
        # and the whole end of it, as soon as the agent has sent that
        await fill(manager, jobs.unit(log_row(b"early\nand\nlate\n", end=True)))
        await sees(pilot, "late")
        assert lines(pilot) == ["early", "and", "late"]


async def test_every_act_has_its_method_and_writes_are_refused(agent: Site) -> None:
    agent.readonly = True
    async with shown(agent, start="jobs", readonly=True) as pilot:
        await open_job(pilot, agent, RUNS)
        for act in JobScreen.ACTS:
            assert callable(getattr(JobScreen, f"do_{act.what}"))
            assert REGISTRY[act.id] is act
            if act.writes:
                await press(pilot, act.keys)
                await sees(pilot, f"{act.label}: this console only looks")


async def test_from_the_list_to_the_job_and_back(agent: Site) -> None:
    jobs.write(agent, RUNS, "stdout", b"text\n")
    async with shown(agent, start="jobs") as pilot:
        await sees(pilot, "running")
        await press(pilot, "l")
        await sees(pilot, "caroni › jobs › job 12121212", "text")
        await press(pilot, "escape", "enter")
        await sees(pilot, "caroni › jobs › job 12121212", "[details]")
        assert isinstance(pilot.app, ConsoleApp)
