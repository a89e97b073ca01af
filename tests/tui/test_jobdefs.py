"""Job definitions: the list, the form and its text, saving, and test runs of real jobs."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from caroni.config import load_config
from caroni.services import definitions
from caroni.services.drafts import Drafts
from caroni.tui.app import ConsoleApp
from caroni.tui.screens.testrun import TestRunScreen
from caroni.tui.site import Site
from caroni.tui.widgets.editor import Editor
from tests.tui.harness import make_site, press, sees, shown, text, until, writing

JOBS = Path(__file__).parents[2] / "samples" / "text-chain" / "jobs" / "north"
DOUBLE = """\
name: double
version: "1"
# who cares for it: the lab
inputs:
  n: int
outputs:
  n: int
script: |
  echo begun
  echo oh >&2
  printf '{"n": %s}' "$((CARONI_INPUT_n * 2))" > outputs.json
"""


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


async def agent(tmp_path: Path, *sources: str, readonly: bool = False) -> Site:
    site = await make_site(tmp_path, "agent", "g1", readonly=readonly)
    for source in sources:
        await save(site, source)
    return site


async def save(site: Site, source: str, *, active: bool = True) -> None:
    async with writing(site) as store:
        saved = await definitions.save_definition(site.loaded, store, source, None, active=active)
        assert isinstance(saved, definitions.DefinitionAdded)


async def newest(site: Site, name: str) -> definitions.EditableDefinition:
    async with writing(site) as store:
        found = await definitions.editable(store, name)
        assert found is not None
        return found


def field(pilot: Pilot[None], name: str) -> Input:
    return pilot.app.screen.query_one(f"#field-{name}", Input)


def block(pilot: Pilot[None], name: str) -> Editor:
    return pilot.app.screen.query_one(f"#{name}", Editor)


async def opened(pilot: Pilot[None], name: str = "double") -> None:
    await sees(pilot, name)
    await press(pilot, "enter")
    await sees(pilot, "script (bash)", "valid")


async def retype(pilot: Pilot[None], name: str, value: str) -> None:
    line = field(pilot, name)
    line.focus()
    line.value = ""
    await press(pilot, *value)


async def test_the_list_and_what_is_offered(tmp_path: Path) -> None:
    site = await agent(tmp_path, DOUBLE, (JOBS / "append.yml").read_text())
    await save(site, DOUBLE.replace('"1"', '"2"'), active=False)
    async with shown(site, start="jobdefs", size=(120, 30)) as pilot:
        await sees(pilot, "append", "rev 1", "n: int", "suffixed: string")
        await press(pilot, "down")
        await sees(pilot, "offered is revision 1")
        await press(pilot, "x")
        await sees(pilot, "double is offered no more", "not offered: x offers it")
        await press(pilot, "x")
        await sees(pilot, "double revision 2 is offered")
        await until(pilot, lambda: "rev 1" not in text(pilot))
        lines = [done.line for done in cast("ConsoleApp", pilot.app).log_of_commands.entries]
        assert "job deactivate double --config" in lines[0]
        assert "job activate double --revision 2 --config" in lines[1]
        await press(pilot, "slash", *"append", "enter")
        await until(pilot, lambda: "double" not in "".join(text(pilot).splitlines()[1:9]))
    assert (await newest(site, "double")).active


async def test_the_form_changes_only_its_parts_of_the_text(tmp_path: Path) -> None:
    site = await agent(tmp_path, DOUBLE)
    async with shown(site, start="jobdefs") as pilot:
        await opened(pilot)
        await retype(pilot, "version", "1.1")
        await retype(pilot, "timeout", "5m")
        inputs = block(pilot, "field-inputs")
        inputs.focus()
        await press(pilot, "ctrl+end", "enter", *"tag", "colon", "space", *"string?")
        await press(pilot, "ctrl+s")
        await sees(pilot, "becomes revision 2", "+  tag: string?", "Revision 1 is offered now")
        await press(pilot, "y")
        await sees(pilot, "job double 1.1, revision 2", "unchanged")
    found = await newest(site, "double")
    assert found.active
    assert (
        found.source
        == DOUBLE.replace('"1"', "'1.1'").replace("  n: int\noutputs", "  n: int\n  tag: string?\noutputs")
        + "timeout: 5m\n"
    )


async def test_text_and_form_are_the_same(tmp_path: Path) -> None:
    site = await agent(tmp_path, DOUBLE)
    async with shown(site, start="jobdefs") as pilot:
        await opened(pilot)
        await retype(pilot, "version", "2")
        await press(pilot, "f3")
        whole = block(pilot, "whole")
        await until(pilot, lambda: whole.has_focus)
        assert whole.text == DOUBLE.replace('"1"', "'2'")
        whole.show_text(whole.text.replace("name: double", "name: [double"))
        await sees(pilot, "1 error", "not YAML")
        await press(pilot, "f3")
        await sees(pilot, "no form can show")
        assert whole.has_focus
        whole.show_text(DOUBLE.replace("echo begun", "echo started"))
        await press(pilot, "f3")
        await sees(pilot, "script (bash)", "echo started")
        assert field(pilot, "version").value == "1"


async def test_traps_are_found_while_one_types(tmp_path: Path) -> None:
    site = await agent(tmp_path, DOUBLE)
    async with shown(site, start="jobdefs", size=(100, 30)) as pilot:
        await opened(pilot)
        inputs = block(pilot, "field-inputs")
        inputs.show_text("n: string")
        await sees(pilot, "1 warning", "declare the input as int", "[arithmetic]", "11:3")
        await press(pilot, "f6", "enter")
        body = block(pilot, "text")
        await until(pilot, lambda: body.has_focus)
        assert body.cursor_location[0] == 2
        inputs.show_text("n: itn")
        await sees(pilot, "1 error", 'unknown type "itn"')
        await press(pilot, "f6", "enter")
        await until(pilot, lambda: inputs.has_focus)
        inputs.show_text("n: int")
        body.show_text("if true; then")
        await sees(pilot, "bash: syntax error")
        await press(pilot, "ctrl+s")
        await sees(pilot, "not saved")
        await press(pilot, "f5")
        await sees(pilot, "it cannot run yet")


async def test_a_test_run_shows_all_that_came_of_it(tmp_path: Path) -> None:
    site = await agent(tmp_path, DOUBLE)
    async with shown(site, start="jobdefs") as pilot:
        await opened(pilot)
        block(pilot, "text").show_text(block(pilot, "text").text.replace("* 2", "* 3"))
        await press(pilot, "f5")
        await sees(pilot, "test run", "n: int", "not run yet")
        await press(pilot, "x", "enter")
        await sees(pilot, 'input n: expected int, got "x"')
        await press(pilot, "backspace", "7", "enter")
        await sees(pilot, "done · exit 0", "memory", '"n": 21', "begun", "oh", seconds=30)
        line = cast("ConsoleApp", pilot.app).log_of_commands.entries[-1].line
        assert "caroni job test double --input n=7" in line
        await press(pilot, "escape")
        await sees(pilot, "script (bash)", "changed")
        await press(pilot, "f5", "f5")
        await sees(pilot, "done · exit 0", seconds=30)
    assert (await newest(site, "double")).revision == 1


async def test_inputs_are_remembered_and_a_run_can_be_killed(tmp_path: Path) -> None:
    slow = DOUBLE.replace("echo oh >&2", "echo oh >&2; sleep 600")
    site = await agent(tmp_path, slow)
    async with shown(site, start="jobdefs") as pilot:
        await sees(pilot, "double")
        await press(pilot, "t")
        await sees(pilot, "n: int")
        await press(pilot, "4", "enter")
        await sees(pilot, "running for", "begun", seconds=30)
        await press(pilot, "f5")
        await sees(pilot, "run: it runs")
        await press(pilot, "f7")
        await sees(pilot, "⊘ killed", seconds=30)
        screen = cast("TestRunScreen", pilot.app.screen)
        assert not screen.running
        await press(pilot, "escape")
        await sees(pilot, "OFFERED")
        await press(pilot, "t")
        await sees(pilot, "not run yet")
        assert cast("TestRunScreen", pilot.app.screen).values == {"n": "4"}
        await press(pilot, "f5")
        await sees(pilot, "running for", seconds=30)
        await press(pilot, "escape")
        await sees(pilot, "⊘ killed", seconds=30)


async def test_a_job_that_fails_says_why(tmp_path: Path) -> None:
    failing = "name: fails\nscript: |\n  printf 'a\\033[31mred' >&2\n  exit 3\n"
    site = await agent(tmp_path, failing)
    async with shown(site, start="jobdefs") as pilot:
        await sees(pilot, "fails")
        await press(pilot, "t")
        screen = await sees(pilot, "failed · exit 3", "a\\x1b[31mred", seconds=30)
        assert "\x1b" not in screen


async def test_a_new_definition_runs_at_once_and_is_saved(tmp_path: Path) -> None:
    site = await agent(tmp_path)
    async with shown(site, start="jobdefs", size=(100, 30)) as pilot:
        await sees(pilot, "No job definitions yet", "a writes one")
        await press(pilot, "a")
        await sees(pilot, "script (bash)", "valid", "new")
        await retype(pilot, "name", "shout")
        await press(pilot, "f5", *"hello", "enter")
        await sees(pilot, "done · exit 0", '"result": "HELLO"', seconds=30)
        await press(pilot, "escape", "ctrl+s")
        await sees(pilot, "becomes revision 1", "+name: shout")
        await press(pilot, "y")
        await sees(pilot, "job shout 1, revision 1, is offered", "jobdefs › shout")
        assert Drafts().all() == []
        await retype(pilot, "name", "whisper")
        await press(pilot, "ctrl+s")
        await sees(pilot, "whisper is a new definition, shout stays")
        await press(pilot, "y")
        await sees(pilot, "job whisper 1, revision 1")
    assert (await newest(site, "shout")).revision == (await newest(site, "whisper")).revision == 1


async def test_nobodys_revision_is_lost(tmp_path: Path) -> None:
    site = await agent(tmp_path, DOUBLE)
    async with shown(site, start="jobdefs", size=(100, 30)) as pilot:
        await opened(pilot)
        await retype(pilot, "version", "9")
        await save(site, DOUBLE.replace("echo begun", "echo theirs"))
        await press(pilot, "ctrl+s")
        await sees(pilot, "y save")
        await press(pilot, "y")
        await sees(pilot, "Not saved: revision 2 was saved meanwhile", "+  echo theirs")
        await press(pilot, "t")
        await sees(pilot, "echo theirs", "unchanged")
    assert (await newest(site, "double")).revision == 2


async def test_a_draft_is_offered_on_the_next_start(tmp_path: Path) -> None:
    site = await agent(tmp_path, DOUBLE)
    async with shown(site, start="jobdefs") as pilot:
        await opened(pilot)
        await retype(pilot, "description", "half")
        await sees(pilot, "draft ")
    async with shown(Site(site.loaded), start="jobdefs") as pilot:
        await sees(pilot, "double")
        await press(pilot, "enter")
        await sees(pilot, "A draft is there", "+description: half")
        await press(pilot, "d")
        await sees(pilot, "unchanged")
        assert Drafts().all() == []
        await press(pilot, "escape")
        await sees(pilot, "OFFERED")


async def test_files_are_looked_at_and_edited_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await agent(tmp_path)
    monkeypatch.setenv("CARONI_AGENT__DEFINITIONS", "files")
    monkeypatch.setenv("EDITOR", "true")
    directory = site.loaded.config.agent.definitions_dir
    directory.mkdir(exist_ok=True)
    (directory / "double.yaml").write_text(DOUBLE)
    async with shown(Site(load_config(site.loaded.path)), start="jobdefs", size=(120, 30)) as pilot:
        await sees(pilot, "double", "from files only", "file")
        for key in ("a", "x", "v"):
            await press(pilot, key)
            await sees(pilot, "from files only")
        await press(pilot, "E")
        await sees(pilot, "cannot be lent")
        await press(pilot, "enter")
        await sees(pilot, "script (bash)", "from files only")
        assert field(pilot, "name").disabled
        assert block(pilot, "text").read_only
        await press(pilot, "ctrl+s")
        await sees(pilot, "save: this agent takes")
        await press(pilot, "f5", "5", "enter")
        await sees(pilot, '"n": 10', seconds=30)


async def test_what_one_may_only_look_at(tmp_path: Path) -> None:
    site = await agent(tmp_path, DOUBLE, readonly=True)
    async with shown(site, start="jobdefs", readonly=True) as pilot:
        await sees(pilot, "double")
        for key in ("t", "x", "a", "E"):
            await press(pilot, key)
            await sees(pilot, "only looks")
        await press(pilot, "enter")
        await sees(pilot, "script (bash)", "read-only")
        await press(pilot, "f5")
        await sees(pilot, "test run: this console")


async def test_a_definition_with_a_command_is_edited_as_text(tmp_path: Path) -> None:
    site = await agent(tmp_path, "name: plain\ncommand: ['true']\n")
    async with shown(site, start="jobdefs") as pilot:
        await sees(pilot, "plain")
        await press(pilot, "enter")
        await sees(pilot, "starts a program without a shell", "valid")
        assert block(pilot, "text").read_only
        await press(pilot, "f3")
        await sees(pilot, "command: ['true']")


async def test_revisions_of_a_definition(tmp_path: Path) -> None:
    site = await agent(tmp_path, DOUBLE, DOUBLE.replace("* 2", "* 4"))
    async with shown(site, start="jobdefs", size=(100, 30)) as pilot:
        await sees(pilot, "double")
        await press(pilot, "v")
        await sees(pilot, "from revision 1 to 2", "* 4", "active")
        await press(pilot, "down", "x")
        await sees(pilot, "double revision 1 is offered")
        await press(pilot, "e")
        await sees(pilot, "script (bash)", "changed", "revision 2")
        assert "* 2" in block(pilot, "text").text
