"""The form of a template's inputs: what is said while it is typed, and what is sent."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from textual.widgets import Input

from caroni.core.rows import Flow, Workflow
from caroni.core.states import WorkflowState
from caroni.model.unit import Unit
from caroni.services import templates
from caroni.tui.screens.submit import Entry, SubmitScreen
from caroni.tui.screens.workflow import WorkflowScreen
from caroni.tui.screens.workflows import WorkflowsScreen
from caroni.tui.site import Site
from tests.tui import workflows
from tests.tui.harness import fill, press, sees, shown, text, until

DOCUMENT = """\
cwlVersion: v1.2
class: Workflow
inputs:
  message: {type: string, doc: "What to say."}
  reads: File
  count: {type: int, default: 3}
  genes: {type: "string[]?"}
  kind: {type: {type: enum, symbols: [fast, slow]}, default: fast}
outputs: {}
steps:
  say:
    run:
      class: Operation
      hints:
        - {class: "urn:caroni:cwl:CaroniRequirement", CaroniJobName: say}
      inputs: {text: string}
      outputs: {said: string}
    in: {text: message}
    out: [said]
"""


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    (tmp_path / "saying.cwl").write_text(DOCUMENT)

    async def make(directory: Path) -> Site:
        site = await workflows.fill_anew(directory)
        await templates.add(site.loaded, tmp_path / "saying.cwl", "saying")
        return site

    return await workflows.copied("saying", tmp_path, make)


def entry(pilot, name: str) -> Entry:
    return next(one for one in pilot.app.screen.query(Entry) if one.wanted.name == name)


async def form(pilot, site: Site) -> SubmitScreen:
    await sees(pilot, "genomics-2026")
    screen = SubmitScreen(site, "saying")
    pilot.app.open(screen)
    await sees(pilot, "saying, revision 1: 1 step", "message (string)")
    await until(pilot, lambda: pilot.app.focused in entry(pilot, "message").query("Input"))
    return screen


async def test_a_template_is_chosen_and_its_inputs_are_shown(site: Site) -> None:
    async with shown(site, size=(100, 30)) as pilot:
        await sees(pilot, "genomics-2026")
        await press(pilot, "a")
        await sees(pilot, "TEMPLATE", "saying", "genomics")
        table = pilot.app.screen.query_one("LineTable")
        table.move_to("saying")
        await press(pilot, "enter")
        await sees(
            pilot,
            "○ is needed: string - What to say.",
            "is needed: the path of a file on this host, or a URI",
            "default: 3",
            "may stay empty, or",
            "as JSON",
            "2 inputs to be looked at: message, reads",
        )
        await press(pilot, "escape")
        await sees(pilot, "TEMPLATE")
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, WorkflowsScreen))


async def test_faults_are_said_while_it_is_typed(site: Site, tmp_path: Path) -> None:
    async with shown(site, size=(100, 30)) as pilot:
        await form(pilot, site)
        reads = entry(pilot, "reads").query_one(Input)
        reads.value = str(tmp_path / "no")
        await press(pilot, "down", "end", "p", "e")
        await sees(pilot, "✘ there is no file")
        reads.value = str(tmp_path / "saying.cwl")
        await until(pilot, lambda: not entry(pilot, "reads").fault)
        await press(pilot, "down", *"3.5")
        await sees(pilot, "✘ expected int, got")
        await press(pilot, "ctrl+s")
        await sees(pilot, "submit: message: is needed")
        await press(pilot, "down", *"[1]")
        await sees(pilot, "expected string")
        await press(pilot, "down", *"medium")
        assert entry(pilot, "kind").fault
        assert await workflows.commands(site) == []


async def test_what_is_typed_is_submitted_once_and_opened(site: Site, tmp_path: Path) -> None:
    async with shown(site, size=(100, 30)) as pilot:
        await form(pilot, site)
        entry(pilot, "reads").query_one(Input).value = str(tmp_path / "saying.cwl")
        await press(pilot, *"it's 5?", "enter", "enter", "enter", *'["a"]')
        await press(pilot, "up", "up", "up", "up", *"my run", "ctrl+s", "ctrl+s")
        for _ in range(100):
            if found := await workflows.commands(site):
                break
            await pilot.pause(0.02)
        assert len(found) == 1
        kind, arguments = found[0]
        given = json.loads(arguments)
        assert kind == "submit"
        assert (given["template"], given["revision"], given["name"]) == ("saying", 1, "my run")
        assert sorted(given["inputs"]) == ["genes", "message", "reads"]
        assert given["inputs"]["message"] == '"it\'s 5?"'
        assert json.loads(given["inputs"]["reads"])["size"] == len(DOCUMENT)
        await workflows.answer(site, {"workflow": workflows.RUNS.hex(), "name": "my run", "revision": 1})
        await until(pilot, lambda: isinstance(pilot.app.screen, WorkflowScreen))
        await sees(pilot, "workflow a1a1a1a1a1a1 has begun")
        line = pilot.app.log_of_commands.entries[-1].line
        assert line.startswith("caroni submit saying --input 'message=")
        assert "--name 'my run' --config " in line
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, WorkflowsScreen))


async def test_a_command_that_stays_is_not_given_again(site: Site) -> None:
    async with shown(site, size=(100, 30)) as pilot:
        await sees(pilot, "genomics-2026")
        values = {"message": '"hi"', "reads": '{"class":"File","location":"http://x.example/r1.fastq"}'}
        pilot.app.open(SubmitScreen(site, "saying", values=values))  # type: ignore[attr-defined]
        await sees(pilot, "ready: ctrl+s")
        await press(pilot, "ctrl+s")
        await until(pilot, lambda: isinstance(pilot.app.screen, WorkflowsScreen))
        outcome = pilot.app.log_of_commands.entries[-1]  # type: ignore[attr-defined]
        await until(pilot, lambda: "does not run: the command stays" in outcome.outcome)
        assert len(await workflows.commands(site)) == 1


async def test_a_template_that_is_gone_is_told(site: Site) -> None:
    async with shown(site) as pilot:
        await sees(pilot, "genomics-2026")
        pilot.app.open(SubmitScreen(site, "nothing"))  # type: ignore[attr-defined]
        await sees(pilot, "there is no template")
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, WorkflowsScreen))
        assert "genomics-2026" in text(pilot)


async def test_once_more_with_the_same_inputs(site: Site) -> None:
    flows = {
        "message": '"it\\n\'s"',
        "reads": '{"class":"File","location":"http://x.example/r"}',
        "count": "3",
        "genes": '["a"]',
        "kind": '"slow"',
    }
    again = bytes([0xEE]) * 16
    row = msgspec.structs.replace(
        workflows.workflow(again, WorkflowState.FAILED, "one more", 1), template="saying", steps_total=1
    )
    rows = [Flow(workflow_uuid=again, name=name, value=value) for name, value in flows.items()]
    await fill(site, Unit(rows={Workflow: [row], Flow: rows}, now=workflows.NOW))
    async with shown(site, size=(100, 30)) as pilot:
        await sees(pilot, "one more")
        pilot.app.screen.query_one("LineTable").move_to(again.hex())  # type: ignore[attr-defined]
        await press(pilot, "A")
        await sees(pilot, "saying, revision 1: 1 step", "ready: ctrl+s")
        values = {one.wanted.name: one.value for one in pilot.app.screen.query(Entry)}
        assert values == {"its name": '"one more"', **flows}
