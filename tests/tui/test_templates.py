"""Templates: the list, the editor with its checks, drafts, differences and conflicts, and revisions."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import cast

import pytest
from textual.pilot import Pilot

from caroni.cwl import Bundle
from caroni.services import templates
from caroni.services.drafts import Drafts
from caroni.tui.app import ConsoleApp
from caroni.tui.handoff import editor_command
from caroni.tui.screens.template_editor import TemplateEditor
from caroni.tui.site import Site
from caroni.tui.widgets.editor import Editor
from tests.tui.harness import make_site, press, sees, shown, text, until, writing

SAMPLES = Path(__file__).parents[2] / "samples"
CHAIN = (SAMPLES / "text-chain" / "workflow.cwl").read_text("utf-8")


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)


async def manager(tmp_path: Path, *samples: str, readonly: bool = False) -> Site:
    site = await make_site(tmp_path, "manager", "m1", readonly=readonly)
    for sample in samples:
        await save(site, sample, Bundle.from_path(SAMPLES / sample / "workflow.cwl"))
    return site


async def save(site: Site, name: str, bundle: Bundle) -> None:
    async with writing(site) as store:
        saved = await templates.save_template(site.loaded, store, name, bundle, None)
        assert isinstance(saved, templates.Added)


async def newest(site: Site, name: str) -> tuple[int, dict[str, str]]:
    async with writing(site) as store:
        found = await templates.editable(store, name)
        return (found.revision, found.documents) if found else (0, {})


def editor(pilot: Pilot[None]) -> Editor:
    return pilot.app.screen.query_one("#text", Editor)


async def put(pilot: Pilot[None], before: str, after: str) -> None:
    """Change the text as typing does."""
    field = editor(pilot)
    assert before in field.text
    field.show_text(field.text.replace(before, after))
    await pilot.pause()


async def opened(pilot: Pilot[None], name: str = "text-chain") -> None:
    await sees(pilot, name)
    await press(pilot, "enter")
    await sees(pilot, "cwlVersion", "valid")


async def test_the_list_tells_what_templates_do(tmp_path: Path) -> None:
    site = await manager(tmp_path, "text-chain", "diamond")
    async with shown(site, start="templates", size=(120, 30)) as pilot:
        screen = await sees(pilot, "text-chain", "count-letters", "outputs", "join")
        assert "JOB TYPES" in screen
        await press(pilot, "slash", *"chain", "enter")
        await until(pilot, lambda: "diamond" not in text(pilot))
        await press(pilot, "escape")
        await sees(pilot, "diamond")


async def test_no_templates_yet(tmp_path: Path) -> None:
    async with shown(await manager(tmp_path), start="templates") as pilot:
        await sees(pilot, "No templates yet", "a writes one")
        await press(pilot, "e")
        await sees(pilot, "there is no template")


async def test_faults_are_told_while_one_types(tmp_path: Path) -> None:
    site = await manager(tmp_path, "text-chain")
    async with shown(site, start="templates", size=(140, 45)) as pilot:
        await opened(pilot)
        assert "upper" in text(pilot)
        await put(pilot, "text: prepend/prefixed", "text: prepend/prefix")
        await sees(pilot, "1 error", "did you mean prepend/prefixed?", "as far as it is right", "changed")
        await press(pilot, "f6", "enter")
        await until(pilot, lambda: editor(pilot).cursor_location[0] == CHAIN.split("\n").index(
            "      text: prepend/prefixed"))  # fmt: skip
        assert editor(pilot).has_focus
        await press(pilot, "ctrl+s")
        await sees(pilot, "not saved: line")
        await put(pilot, "text: prepend/prefix\n", "text: prepend/prefixed\n")
        await sees(pilot, "valid", "unchanged")


async def test_the_graph_follows_the_text_and_leads_to_it(tmp_path: Path) -> None:
    site = await manager(tmp_path, "text-chain")
    async with shown(site, start="templates") as pilot:
        await opened(pilot)
        await press(pilot, "f3")
        await sees(pilot, "graph; enter goes to the step", "prepend")
        await press(pilot, "G", "enter")
        await until(pilot, lambda: editor(pilot).has_focus)
        row = editor(pilot).cursor_location[0]
        assert CHAIN.split("\n")[row] == "  append:"
        await put(pilot, "  append:\n", "  attach:\n")
        await put(pilot, "append/suffixed", "attach/suffixed")
        await press(pilot, "f3")
        await sees(pilot, "attach")
        await press(pilot, "escape")
        await until(pilot, lambda: editor(pilot).has_focus)


async def test_a_save_shows_the_difference_first(tmp_path: Path) -> None:
    site = await manager(tmp_path, "text-chain")
    async with shown(site, start="templates") as pilot:
        await opened(pilot)
        await press(pilot, "ctrl+s")
        await sees(pilot, "nothing has changed")
        await put(pilot, '"prepend "', '"before "')
        await press(pilot, "ctrl+s")
        await sees(pilot, "becomes revision 2", '+    default: "before "', "No workflow of it is running")
        await press(pilot, "escape")
        assert await newest(site, "text-chain") == (1, {"workflow.cwl": CHAIN})
        await press(pilot, "ctrl+s")
        await sees(pilot, "becomes revision 2")
        await press(pilot, "y")
        await sees(pilot, "template text-chain, revision 2", "unchanged")
        assert (await newest(site, "text-chain"))[0] == 2
        assert Drafts().all() == []
        line = cast("ConsoleApp", pilot.app).log_of_commands.entries[-1].line
        assert "caroni template add - --name text-chain --config" in line
        await press(pilot, "escape")
        await sees(pilot, "JOB TYPES")


async def test_nobodys_revision_is_lost(tmp_path: Path) -> None:
    site = await manager(tmp_path, "text-chain")
    theirs = CHAIN.replace('" append"', '" theirs"')
    async with shown(site, start="templates", size=(100, 30)) as pilot:
        await opened(pilot)
        await put(pilot, '"prepend "', '"mine "')
        await save(site, "text-chain", Bundle.from_text(theirs))
        await sees(pilot, "revision 2 was saved meanwhile")
        await press(pilot, "ctrl+s")
        await sees(pilot, "becomes revision 2")
        await press(pilot, "y")
        await sees(pilot, "Not saved: revision 2", "what they changed", '+        default: " theirs"')
        await press(pilot, "tab")
        await sees(pilot, "from theirs to yours", '+    default: "mine "')
        await press(pilot, "m")
        await sees(pilot, "revision 2", "changed")
        await put(pilot, '" append"', '" theirs"')
        await press(pilot, "ctrl+s")
        await sees(pilot, "becomes revision 3", "+1 -1")
        await press(pilot, "y")
        await sees(pilot, "revision 3", "unchanged")
    assert (await newest(site, "text-chain"))[1] == {"workflow.cwl": theirs.replace('"prepend "', '"mine "')}


@pytest.mark.parametrize(("key", "left"), [("o", '"mine "'), ("t", '" theirs"')])
async def test_a_conflict_can_be_decided(tmp_path: Path, key: str, left: str) -> None:
    site = await manager(tmp_path, "text-chain")
    async with shown(site, start="templates") as pilot:
        await opened(pilot)
        await put(pilot, '"prepend "', '"mine "')
        await save(site, "text-chain", Bundle.from_text(CHAIN.replace('" append"', '" theirs"')))
        await press(pilot, "ctrl+s")
        await sees(pilot, "y save")
        await press(pilot, "y")
        await sees(pilot, "Not saved")
        await press(pilot, key)
        await sees(pilot, "unchanged")
        assert left in editor(pilot).text
    assert (await newest(site, "text-chain"))[0] == (3 if key == "o" else 2)


async def test_a_lost_terminal_loses_nothing(tmp_path: Path) -> None:
    site = await manager(tmp_path, "text-chain")
    async with shown(site, start="templates") as pilot:
        await opened(pilot)
        await put(pilot, '"prepend "', '"half done"')
        await sees(pilot, "draft ")
    (kept,) = Drafts().all()
    assert (kept.name, kept.base) == ("text-chain", 1)
    again = Site(site.loaded)
    async with shown(again, start="templates") as pilot:
        await sees(pilot, "text-chain")
        await press(pilot, "enter")
        await sees(pilot, "A draft is there", '+    default: "half done"')
        await press(pilot, "y")
        await sees(pilot, "changed", "draft ")
        assert '"half done"' in editor(pilot).text
        await press(pilot, "escape")
        await sees(pilot, "Leave without saving?", "has changes that are not saved")
        await press(pilot, "escape")
        await sees(pilot, "cwlVersion")
        await press(pilot, "ctrl+q")
        await sees(pilot, "Leave without saving?")
        await press(pilot, "n")
        await press(pilot, "escape")
        await sees(pilot, "d drop the changes")
        await press(pilot, "d")
        await sees(pilot, "JOB TYPES")
        assert Drafts().all() == []


async def test_what_was_typed_last_is_kept_too(tmp_path: Path) -> None:
    site = await manager(tmp_path, "text-chain")
    async with shown(site, start="templates") as pilot:
        await opened(pilot)
        await press(pilot, *"# late", "ctrl+q")
        await sees(pilot, "Leave without saving?", "A draft is kept")
        await press(pilot, "y")
    (kept,) = Drafts().all()
    assert kept.documents["workflow.cwl"].startswith("# late")


async def test_a_new_template_is_asked_for_its_name(tmp_path: Path) -> None:
    site = await manager(tmp_path)
    async with shown(site, start="templates") as pilot:
        await sees(pilot, "No templates yet")
        await press(pilot, "a")
        await sees(pilot, "CaroniJobName", "valid", "new")
        await press(pilot, "ctrl+s")
        await sees(pilot, "nothing has changed") if "unchanged" in text(pilot) else None
        await sees(pilot, "What is the template called?")
        await press(pilot, *"a", "slash", *"b", "enter")
        await sees(pilot, "cannot name a template")
        await press(pilot, "backspace", "backspace", *"bc", "enter")
        await sees(pilot, "Save template abc?", "becomes revision 1")
        await press(pilot, "y")
        await sees(pilot, "template abc, revision 1")
    assert (await newest(site, "abc"))[0] == 1


async def test_documents_of_a_template(tmp_path: Path) -> None:
    site = await manager(tmp_path, "genomics")
    async with shown(site, start="templates", size=(100, 30)) as pilot:
        await opened(pilot, "genomics")
        await sees(pilot, "genomics › workflow.cwl", "1 of 15")
        await press(pilot, "f7")
        await sees(pilot, "2 of 15", "Operation")
        await put(pilot, "class: Operation", "class: Operatin")
        await sees(pilot, "1 error")
        await press(pilot, "f7", "f6", "enter")
        await sees(pilot, "2 of 15")
        await put(pilot, "class: Operatin", "class: Operation")
        await press(pilot, "ctrl+n")
        await sees(pilot, "Add a document")
        await press(pilot, *"..", "slash", "x", "enter")
        await sees(pilot, "its name ends in .cwl")
        await press(pilot, "escape", "ctrl+n")
        await press(pilot, *"x.cwl", "enter")
        await sees(pilot, "x.cwl (16 of 16)")


async def test_revisions_and_what_they_changed(tmp_path: Path) -> None:
    site = await manager(tmp_path, "text-chain")
    await save(site, "text-chain", Bundle.from_text(CHAIN.replace('"prepend "', '"two "')))
    await save(site, "text-chain", Bundle.from_text(CHAIN.replace('"prepend "', '"three "')))
    async with shown(site, start="templates", size=(100, 30)) as pilot:
        await sees(pilot, "text-chain")
        await press(pilot, "v")
        await sees(pilot, "from revision 2 to 3", '+    default: "three "')
        await press(pilot, "G", "b", "g")
        await sees(pilot, "from revision 1 to 3", '-    default: "prepend "')
        await press(pilot, "down", "e")
        await sees(pilot, "cwlVersion", "changed", "revision 3")
        assert '"two "' in editor(pilot).text


async def test_what_one_may_only_look_at(tmp_path: Path) -> None:
    site = await manager(tmp_path, "text-chain", readonly=True)
    async with shown(site, start="templates", readonly=True) as pilot:
        await sees(pilot, "text-chain")
        for key in ("r", "E", "a"):
            await press(pilot, key)
            await sees(pilot, "only looks")
        await press(pilot, "e")
        await sees(pilot, "cwlVersion", "read-only")
        await press(pilot, "x", "ctrl+s")
        await sees(pilot, "only looks")
        assert editor(pilot).text == CHAIN
        await press(pilot, "escape")
        await sees(pilot, "JOB TYPES")


async def test_the_database_goes_and_editing_goes_on(tmp_path: Path) -> None:
    site = await manager(tmp_path, "text-chain")
    database = site.loaded.directory / "caroni.db"
    async with shown(site, start="templates", size=(100, 30)) as pilot:
        await opened(pilot)
        os.rename(database, database.with_suffix(".away"))
        await sees(pilot, "again in")
        await put(pilot, '"prepend "', '"later "')
        await sees(pilot, "valid", "draft ")
        await press(pilot, "ctrl+s")
        await sees(pilot, "y save")
        await press(pilot, "y")
        await until(pilot, lambda: "caroni.db" in text(pilot) or "database" in text(pilot))
        os.rename(database.with_suffix(".away"), database)
        await press(pilot, "ctrl+s")
        await sees(pilot, "y save")
        await press(pilot, "y")
        await sees(pilot, "text-chain, revision 2")


async def test_hostile_text_is_drawn_harmlessly(tmp_path: Path) -> None:
    site = await manager(tmp_path, "text-chain")
    async with shown(site, start="templates") as pilot:
        await opened(pilot)
        await put(pilot, "doc: Three", "doc: \x1b[31m\u202e\u200b[bold]Three")
        screen = await sees(pilot, "·[31m··[bold]Three")
        assert "\x1b" not in screen
        assert "\u202e" not in screen


@pytest.mark.parametrize("theme", ["ansi-dark", "ansi-light", "textual-light", "nord"])
async def test_every_kind_of_theme(tmp_path: Path, theme: str) -> None:
    site = await manager(tmp_path, "text-chain")
    async with shown(site, start="templates", size=(120, 30), theme=theme) as pilot:
        await opened(pilot)
        await press(pilot, "x", "ctrl+f", *"doc", "enter")
        await sees(pilot, "1 error")
        for line in pilot.app.screen._compositor.render_strips():
            for piece in line:
                style = piece.style
                told = style is not None and style.color is not None and style.color.name != "default"
                if piece.text.strip(" ▁▂▃▄▅▆▇█▏▎▍▌▋▊▉│") and told and style is not None:
                    assert style.color != style.bgcolor, (theme, piece)
        cast("ConsoleApp", pilot.app).theme = "ansi-dark"
        await sees(pilot, "cwlVersion")


async def test_without_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    site = await manager(tmp_path, "text-chain")
    async with shown(site, start="templates", size=(120, 30)) as pilot:
        await opened(pilot)
        await press(pilot, "x")
        await sees(pilot, "1 error")
        await press(pilot, "f10")
        await sees(pilot, "+xcwlVersion")


async def test_finding_in_the_text(tmp_path: Path) -> None:
    site = await manager(tmp_path, "text-chain")
    async with shown(site, start="templates") as pilot:
        await opened(pilot)
        await press(pilot, "ctrl+f", *"suffix", "enter")
        first = editor(pilot).selection
        assert editor(pilot).selected_text == "suffix"
        await press(pilot, "f9")
        assert editor(pilot).selected_text == "suffix"
        assert editor(pilot).selection != first


async def test_typing_keeps_the_indentation(tmp_path: Path) -> None:
    site = await manager(tmp_path)
    async with shown(site, start="templates") as pilot:
        await press(pilot, "a")
        await sees(pilot, "CaroniJobName")
        field = editor(pilot)
        field.load_text("")
        await press(pilot, *"inputs", "colon", "enter", *"n", "colon", "enter", "tab", *"q1w", "slash")
        assert field.text == "inputs:\n  n:\n      q1w/"


def test_the_operators_own_editor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "/nowhere/ed -x")
    with pytest.raises(Exception, match="there is no program /nowhere/ed"):
        editor_command()
    monkeypatch.setenv("EDITOR", "'")
    with pytest.raises(Exception, match="cannot be read"):
        editor_command()
    monkeypatch.setenv("EDITOR", "sh -c 'true'")
    assert editor_command() == ["sh", "-c", "true"]


async def test_where_no_terminal_can_be_lent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "true")
    site = await manager(tmp_path, "text-chain")
    async with shown(site, start="templates") as pilot:
        await sees(pilot, "text-chain")
        await press(pilot, "E")
        await sees(pilot, "this terminal cannot be lent")
        assert isinstance(pilot.app.screen, TemplateEditor)


def test_nothing_heavy_is_imported_before_an_editor_opens() -> None:
    import subprocess
    import sys

    code = (
        "import sys, caroni.tui.screens.templates, caroni.tui.screens.jobdefs;"
        "print([m for m in ('tree_sitter', 'cwl_utils', 'networkx', 'textual.widgets._text_area')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


async def test_drafts_are_private(tmp_path: Path) -> None:
    site = await manager(tmp_path, "text-chain")
    async with shown(site, start="templates") as pilot:
        await opened(pilot)
        await put(pilot, '"prepend "', '"secret"')
        await sees(pilot, "draft ")
    directory = tmp_path / "state" / "caroni" / "drafts"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert [stat.S_IMODE(p.stat().st_mode) for p in directory.iterdir()] == [0o600]
