"""Checking, comparing, keeping and saving what is being written: no console, real databases."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caroni.config import Loaded, load_config
from caroni.cwl import Bundle
from caroni.errors import ConfigError, DocumentError, UsageError
from caroni.model.store import Store
from caroni.services import definitions, templates
from caroni.services.checking import check_definition, check_documents, check_template
from caroni.services.drafts import MAX_DRAFTS, Draft, Drafts, draft_of, state_directory
from caroni.services.editing import diff, diff_documents
from caroni.services.stores import opened
from caroni.services.tryout import Progress, try_text
from tests.cli.conftest import CHAIN, SAMPLES, UPPER, _made, sites  # noqa: F401

TRAP = """\
name: trap
inputs:
  n: string

script: |
  set -e

  echo $(( CARONI_INPUT_n + 1 ))
"""


# --- checking ------------------------------------------------------------------------------------


def test_findings_of_a_template_have_their_places() -> None:
    assert check_template(CHAIN.read_text()) == []
    found = check_template(
        CHAIN.read_text().replace("type: string\n    doc", "type: strng\n    doc"), "w.cwl"
    )
    assert [(f.file, f.line, f.column, f.severity) for f in found] == [("w.cwl", 10, 5, "error")]
    (unsupported,) = check_template(
        CHAIN.read_text().replace("    out: [shouted]", "    scatter: message\n    out: [shouted]")
    )
    assert (unsupported.rule, unsupported.severity) == ("unsupported", "error")
    (idle,) = check_template(CHAIN.read_text().replace("inputs:\n", "inputs:\n  spare: int\n", 1))
    assert (idle.line, idle.severity) == (9, "warning")
    assert check_template("\0")[0].severity == "error"


def test_nothing_outside_of_the_documents_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLES / "genomics")
    bundle = Bundle.from_text(Path("workflow.cwl").read_text())
    found = check_documents(bundle)
    assert found.errors
    assert "not among the workflow's files" in found.findings[0].message


@given(st.text(max_size=80))
def test_any_text_can_be_checked(text: str) -> None:
    assert all(f.message for f in check_template(text))
    assert all(f.message for f in check_definition(text).findings)


def test_findings_in_a_script_have_lines_of_the_document() -> None:
    found = check_definition(TRAP)
    assert found.definition is not None
    assert [(f.line, f.column, f.script_line, f.rule, f.severity) for f in found.findings] == [
        (8, 3, 3, "arithmetic", "warning")
    ]
    broken = check_definition(TRAP.replace("echo", "if echo"))
    assert broken.definition is None
    assert [(f.line, f.rule) for f in broken.findings if f.severity == "error"] == [(9, "syntax")]
    flowed = check_definition('name: a\nscript: "echo \'"\n')
    assert [(f.line, f.script_line) for f in flowed.findings] == [(2, 1)]
    assert check_definition(UPPER.read_text()).findings == []
    assert [f.line for f in check_definition("name: a b\nscript: [x]\n").findings] == [1, 2]


# --- comparing -----------------------------------------------------------------------------------


def test_a_difference_is_shown_with_its_lines() -> None:
    before = "\n".join(str(n) for n in range(100))
    found = diff(before, before.replace("\n50\n", "\nfifty\n"), "a", "b")
    assert found.lines == [
        "--- a", "+++ b", "@@ -48,7 +48,7 @@", " 47", " 48", " 49", "-50", "+fifty", " 51", " 52", " 53",
    ]  # fmt: skip
    assert (found.added, found.removed) == (1, 1)
    assert diff(before, before, "a", "b").lines == []
    large = "\n".join(str(n) for n in range(30_000))
    block = diff(large, large.replace("1", "x"), "a", "b")
    assert block.added == block.removed
    assert block.added > 20_000
    both = diff_documents({"a": "x", "b": "1"}, {"a": "x", "b": "2", "c": "3"}, "old", "new")
    assert [line for line in both.lines if line.startswith("+++")] == ["+++ new/b", "+++ new/c"]


@given(st.text("ab\n", max_size=60), st.text("ab\n", max_size=60))
def test_a_difference_leads_from_one_text_to_the_other(before: str, after: str) -> None:
    found = diff(before, after, "x", "y")
    old, new = before.splitlines(), after.splitlines()
    at = 0
    result: list[str] = []
    for line in found.lines[2:]:
        if line.startswith("@@"):
            first, _, count = line.split()[1][1:].partition(",")
            start = int(first) - (1 if count != "0" else 0)
            result += old[at:start]
            at = start
        elif line[0] == "+":
            result.append(line[1:])
        else:
            assert old[at] == line[1:]
            at += 1
            if line[0] == " ":
                result.append(line[1:])
    assert result + old[at:] == new


# --- drafts --------------------------------------------------------------------------------------


def draft(name: str, text: str = "x", at: int = 1) -> Draft:
    return Draft(
        site="caroni://a.example/manager/m1",
        kind="template",
        name=name,
        base=3,
        at=at,
        documents={"w.cwl": text},
    )


@pytest.mark.parametrize(
    "name", ["chain", "../../etc/passwd", "a/b", "\0", ".", "", "x" * 5000, "\x1b[31m", "ünï", "\ud800"]
)
def test_drafts_of_any_name(tmp_path: Path, name: str) -> None:
    drafts = Drafts(tmp_path / "state" / "drafts")
    one = draft(name.encode("utf-8", "replace").decode())
    path = drafts.save(one)
    assert path.parent == drafts.directory
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(drafts.directory.stat().st_mode) == 0o700
    assert drafts.load(one.site, one.kind, one.name) == one
    drafts.save(msgspec.structs.replace(one, documents={"w.cwl": "y"}))
    assert [d.documents["w.cwl"] for d in drafts.all()] == ["y"]
    assert drafts.load(one.site, "job", one.name) is None
    drafts.discard(one.site, one.kind, one.name)
    drafts.discard(one.site, one.kind, one.name)
    assert drafts.all() == []
    assert os.listdir(drafts.directory) == []


def test_drafts_are_few_small_and_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_directory() == tmp_path / "caroni"
    drafts = Drafts()
    for n in range(MAX_DRAFTS + 3):
        path = drafts.save(draft(f"t{n}", at=n))
        os.utime(path, ns=(n, n))
    left = drafts.all()
    assert len(left) == MAX_DRAFTS
    assert (left[0].name, left[-1].name) == (f"t{MAX_DRAFTS + 2}", "t3")
    with pytest.raises(UsageError, match="not kept as a draft"):
        drafts.save(draft("large", "x" * (9 << 20)))
    (drafts.directory / "foreign.json").write_text("{")
    (drafts.directory / "link.json").symlink_to(path)
    os.mkfifo(drafts.directory / "pipe.json")
    assert len(drafts.all()) == MAX_DRAFTS
    drafts.directory.chmod(0o755)
    drafts.save(draft("again"))
    assert stat.S_IMODE(drafts.directory.stat().st_mode) == 0o700
    elsewhere = Drafts(tmp_path / "linked")
    elsewhere.directory.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="no directory of this user"):
        elsewhere.save(draft("x"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError):
        Drafts(tmp_path / "file").save(draft("x"))
    assert draft_of("s", "job", "n", base=0, documents={}, before={}).at > 1_000_000


# --- saving --------------------------------------------------------------------------------------


@pytest.fixture
def manager(sites: Path) -> Loaded:  # noqa: F811
    return load_config(sites / "m1")


@pytest.fixture
def agent(sites: Path) -> Loaded:  # noqa: F811
    return load_config(sites / "g1")


def changed(to: str) -> Bundle:
    return Bundle.from_text(CHAIN.read_text().replace('"prepend "', f'"{to} "'))


async def test_nobody_overwrites_anothers_revision_of_a_template(manager: Loaded) -> None:
    async with opened(manager, "manager", "x", read_only=False) as store:
        first = await templates.save_template(manager, store, "chain", changed("a"), 0)
        assert isinstance(first, templates.Added)
        mine = await templates.editable(store, "chain")
        assert mine is not None
        assert mine.documents == changed("a").documents
        theirs = await templates.save_template(manager, store, "chain", changed("b"), mine.revision)
        assert isinstance(theirs, templates.Added)
        refused = await templates.save_template(manager, store, "chain", changed("c"), mine.revision)
        assert isinstance(refused, templates.Conflict)
        assert (refused.expected, refused.newest.revision) == (1, 2)
        assert refused.newest.documents == changed("b").documents
        assert "somebody has saved chain revision 2" in refused.text
        saved = await templates.save_template(manager, store, "chain", changed("c"), refused.newest.revision)
        assert isinstance(saved, templates.Added)
        assert saved.revision == 3
        again = await templates.save_template(manager, store, "chain", changed("c"), 3)
        assert isinstance(again, templates.Added)
        assert not again.changed
        fresh = await templates.save_template(manager, store, "chain", changed("d"), 0)
        assert isinstance(fresh, templates.Conflict)
        with pytest.raises(DocumentError):
            await templates.save_template(manager, store, "chain", Bundle.from_text("class: x"), 3)
        with pytest.raises(UsageError, match="cannot name a template"):
            await templates.save_template(manager, store, "../x", changed("d"), 0)
        (listed,) = await templates.overview(store)
        assert (listed.revision, listed.steps, listed.running) == (3, 3, 0)
        assert await templates.overview(store, {("chain", 3): listed}) == [listed]
        assert await templates.running_by_revision(store, "chain") == {}


async def test_nobody_overwrites_anothers_revision_of_a_definition(agent: Loaded) -> None:
    text = UPPER.read_text()
    async with opened(agent, "agent", "x", read_only=False) as store:
        first = await definitions.save_definition(agent, store, text, 0)
        assert isinstance(first, definitions.DefinitionAdded)
        assert first.active
        commented = text + "# for tests\n"
        second = await definitions.save_definition(agent, store, commented, 1, active=False)
        assert isinstance(second, definitions.DefinitionAdded)
        assert (second.revision, second.changed, second.digest == first.digest) == (2, True, True)
        refused = await definitions.save_definition(agent, store, text + "# mine\n", 1)
        assert isinstance(refused, definitions.DefinitionConflict)
        assert refused.newest.source == commented
        assert [r.active for r in await definitions.revisions_of(store, "upper-case")] == [False, True]
        with pytest.raises(DocumentError, match=r"bash: unexpected EOF"):
            await definitions.save_definition(agent, store, text.replace("set -euo", "if ((; set"), 2)
        kinds = [c.kind for c in await store.new_commands()]
        assert kinds == ["reload-definitions"] * 2


async def test_files_are_not_changed_through_the_database(
    agent: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARONI_AGENT__DEFINITIONS", "files")
    loaded = load_config(agent.path)
    assert "from files only" in definitions.refusal(loaded)
    assert definitions.refusal(agent) == ""
    async with opened(loaded, "agent", "x", read_only=False) as store:
        await _refused(loaded, store)
        assert await store.job_definitions() == []


async def _refused(loaded: Loaded, store: Store) -> None:
    with pytest.raises(UsageError, match="from files only"):
        await definitions.save_definition(loaded, store, UPPER.read_text(), 0)
    with pytest.raises(UsageError, match="from files only"):
        await definitions.set_active(loaded, store, "upper-case", True)


# --- trying out ----------------------------------------------------------------------------------


async def test_a_try_out_is_watched() -> None:
    seen: list[Progress] = []
    script = "  echo begun\n  sleep 1\n  echo '{\"n\": 1}' > outputs.json\n"
    text = f"name: slow\noutputs: {{n: int}}\nscript: |\n{script}"
    ran = await try_text(text, {}, progress=seen.append)
    assert ran.outcome.outputs == {"n": "1"}
    assert seen[-1].stdout == "begun\n"
    assert seen[-1].elapsed > 0
    with pytest.raises(UsageError, match=r"^input n: expected int"):
        await try_text("name: a\ninputs: {n: int}\nscript: 'true'\n", {"n": "x"})
    with pytest.raises(UsageError, match=r"^input 'n' is missing \(int\)$"):
        await try_text("name: a\ninputs: {n: int}\nscript: 'true'\n", {})
