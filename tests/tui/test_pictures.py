"""Each screen at two sizes, dark and NO_COLOR, empty, normal, stale and in error; see ``tests.tui.picture``.

One console is one state at one size: it goes through all its screens. The text is the same with colours and
without them: no state is told by a colour alone.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from caroni.config import load_config
from caroni.tui.app import ConsoleApp
from caroni.tui.screens import find_place
from caroni.tui.screens.base import ConsoleScreen
from caroni.tui.screens.job import JobScreen
from caroni.tui.screens.jobdef_editor import DefinitionEditor
from caroni.tui.screens.submit import SubmitScreen
from caroni.tui.screens.template_editor import TemplateEditor
from caroni.tui.screens.workflow import WorkflowScreen
from caroni.tui.site import Site
from caroni.tui.widgets.rail import Rail
from tests.tui import jobs, pictured, workflows
from tests.tui.harness import NOON, press, sees, shown, until
from tests.tui.picture import WRITES, compare, hues, styles, words

SIZES = {"80x24": (80, 24), "120x40": (120, 40)}
COLOURS = ("dark", "NO_COLOR")
#: as long as what stands for it in pictures
_NAME = "caroni-00000000"

#: what has to be on the screens that are gone to by name, when there is something; health tells of the host
PLACES = {
    "m1": {
        "workflows": "genomics-2026",
        "jobs": "running",
        "trace": "Release step2",
        "peers": "mute",
        "certs": "own",
        "templates": "text-chain",
        "quarantine": "E_CRL_STALE",
    },
    "g1": {"jobs": "running", "jobdefs": "append"},
}
#: the screens whose data are not the database's alone: it can be away, and they know what they show
_UNCONCERNED = ("certs",)


@pytest.fixture(scope="module", autouse=True)
def _noon() -> Iterator[None]:
    with pictured.at_noon():
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The databases, made once."""
    directory = tmp_path_factory.mktemp("pictured")
    asyncio.run(pictured.make(directory))
    return directory


@pytest.fixture
def place(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the sites are: a path that is always as long, for some screens show it."""
    directory = Path(tempfile.mkdtemp(prefix="caroni-", dir="/tmp"))
    monkeypatch.setenv("XDG_STATE_HOME", str(directory / "state"))
    yield directory
    shutil.rmtree(directory)


def tidy(directory: Path, line: str) -> str:
    """Without what differs from host to host and from run to run."""
    name = directory.name
    for end in range(len(name), len("caroni-"), -1):
        line = line.replace(f"/tmp/{name[:end]}", f"/tmp/{_NAME[:end]}")
    # the banner gives its message what its numbers leave
    found = re.search(r"^( \S .{24}).* again in \d+ s( · what you see is \d+ s old)?", line)
    if found:
        return f"{found[1]}… again in N s{' · what you see is N s old' if found[2] else ''}"
    # a CA signs with a random number in it, so a certificate's fingerprint is another one each time
    line = re.sub(r"\b[0-9a-f]{4}( [0-9a-f]{4})+\b", lambda hit: re.sub(r"\w", "0", hit[0]), line)
    return re.sub(r"\d+(\.\d+)?( (ms late|\w+ of memory|\w+ free))", r"N\2", line)


async def take(pilot: Pilot[None], directory: Path, colours: str, name: str) -> None:
    """Compare the text, and see that there is no hue where none is wanted."""
    for field in (*pilot.app.screen.query(Input), *pilot.app.screen.query(TextArea)):
        field.cursor_blink = False
    # the console with colours comes first, and the other must have the same words
    writes = WRITES and colours == COLOURS[0]
    await compare(pilot, partial(words, tidy=partial(tidy, directory)), name, writes=writes)
    if name.endswith("80x24"):
        assert colours != "NO_COLOR" or hues(styles(pilot)) == []


def attached(made: Path, directory: Path, state: str, name: str) -> Site:
    """A copy of the site of this state."""
    shutil.copytree(made / state / name, directory / name)
    return Site(load_config(directory / name))


def go(pilot: Pilot[None], name: str) -> None:
    """To a screen that has a name."""
    found = find_place(name)
    assert found
    cast("ConsoleApp", pilot.app).go(found)


async def show(pilot: Pilot[None], screen: ConsoleScreen, *what: str) -> None:
    """Lay a screen on top."""
    cast("ConsoleApp", pilot.app).open(screen)
    await until(pilot, lambda: pilot.app.screen is screen)
    await sees(pilot, *what)


async def _workflow(pilot: Pilot[None], site: Site) -> None:
    await show(pilot, WorkflowScreen(site, workflows.RUNS.hex(), "genomics-2026"), "[Rail]", "6/30")
    await until(pilot, lambda: pilot.app.screen.query_one(Rail).steps.totals)
    drawn = pilot.app.screen.query_one(Rail)._shown
    assert drawn is not None
    names = drawn.view.graph.names
    pilot.app.screen.query_one(Rail).select(names.index("index_a"))
    await sees(
        pilot, "declined, nobody offers" if pilot.app.size.width < 100 else "not_now: the queue is full"
    )


async def _step(pilot: Pilot[None], site: Site) -> None:
    await _workflow(pilot, site)
    await press(pilot, "enter")
    await sees(pilot, "step index_a", "INPUTS")


async def _job(pilot: Pilot[None], site: Site) -> None:
    peer, job = (jobs.MANAGER, jobs.uuid(0x12)) if site.role == "agent" else (workflows.AGENT, workflows.JOB)
    await show(pilot, JobScreen(site, peer, job), "stdout")


async def _template(pilot: Pilot[None], site: Site) -> None:
    await show(pilot, TemplateEditor(site, "text-chain"), "cwlVersion", "valid")


async def _jobdef(pilot: Pilot[None], site: Site) -> None:
    await show(pilot, DefinitionEditor(site, "append"), "script (bash)", "valid")


async def _submit(pilot: Pilot[None], site: Site) -> None:
    await show(pilot, SubmitScreen(site, "text-chain"), "to be looked at")


#: screens that are opened from others
OPENED: dict[str, dict[str, Callable[[Pilot[None], Site], Awaitable[None]]]] = {
    "m1": {"workflow": _workflow, "step": _step, "job": _job, "template": _template, "submit": _submit},
    "g1": {"job": _job, "jobdef": _jobdef},
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize("state", ["empty", "error"])
@pytest.mark.parametrize("name", PLACES)
async def test_nothing_there(
    name: str, state: str, colours: str, size: str, made: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if colours == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")  # an app looks at it when it is made
    site = attached(made, place, "empty" if state == "empty" else "full", name)
    database = site.loaded.directory / "caroni.db"
    if state == "error":
        database.rename(database.with_suffix(".away"))
    async with shown(site, size=SIZES[size], clock=lambda: NOON) as pilot:
        for screen in PLACES[name]:
            if state == "error" and screen in _UNCONCERNED:
                continue
            go(pilot, screen)
            await sees(pilot, f"› {screen}", *(["again in"] if state == "error" else []))
            await take(pilot, place, colours, f"{screen}-{name}-{state}-{size}")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize("name", PLACES)
async def test_normal_and_stale(
    name: str, colours: str, size: str, made: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if colours == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    site = attached(made, place, "full", name)
    database = site.loaded.directory / "caroni.db"

    async def take_both(screen: str, *, stale: bool) -> None:
        await take(pilot, place, colours, f"{screen}-{name}-normal-{size}")
        if not stale:
            return
        database.rename(database.with_suffix(".away"))
        await press(pilot, "ctrl+r")
        await sees(pilot, "again in")
        await take(pilot, place, colours, f"{screen}-{name}-stale-{size}")
        database.with_suffix(".away").rename(database)
        await press(pilot, "ctrl+r")
        await until(pilot, lambda: not cast("ConsoleScreen", pilot.app.screen).trouble)

    async with shown(site, size=SIZES[size], clock=lambda: NOON) as pilot:
        for screen, word in PLACES[name].items():
            go(pilot, screen)
            await sees(pilot, f"› {screen}", word)
            await take_both(screen, stale=screen not in _UNCONCERNED)
        for screen, opening in OPENED[name].items():
            await opening(pilot, site)
            await take_both(screen, stale=screen in ("workflow", "job"))
            await press(pilot, "escape")
