"""The console under test: on real databases, driven by keys, read as the text on its screen."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from caroni.config import load_config
from caroni.model.store import Store
from caroni.model.unit import Unit
from caroni.services.setup import make_directory
from caroni.tui.app import ConsoleApp, Settings
from caroni.tui.site import Site

#: a fixed instant for pictures: 2026-03-01 12:00:00 UTC
NOON = 1_772_366_400.0

_made: dict[tuple[str, str], Path] = {}


async def make_site(directory: Path, role: str, name: str, *, readonly: bool = False) -> Site:
    """A daemon's directory as ``caroni init`` makes it, attached; made once, then copied."""
    key = (role, name)
    if key not in _made or not _made[key].exists():
        first = directory / f".first-{role}-{name}"
        await make_directory(role, first, site="a.example", name=name)
        _made[key] = first
    target = directory / name
    shutil.copytree(_made[key], target)
    return Site(load_config(target), readonly=readonly)


async def fill(site: Site, *units: Unit) -> None:
    """Commit units of work as the site's daemon would."""
    async with writing(site) as store:
        for unit in units:
            await store.commit(unit)


@asynccontextmanager
async def writing(site: Site) -> AsyncIterator[Store]:
    """The site's store, as its daemon has it."""
    store = await Store.open(
        f"sqlite://{site.loaded.directory / 'caroni.db'}", "manager" if site.role == "manager" else "agent"
    )
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def shown(
    *sites: Site,
    size: tuple[int, int] = (80, 24),
    start: str = "",
    readonly: bool = False,
    tap: Any = None,
    clock: Callable[[], float] = time.time,
    forgiving: bool = False,
    **settings: Any,
) -> AsyncIterator[Pilot[None]]:
    """A console on these sites, with its first screen painted.

    A fault of ours ends it, unless it is ``forgiving`` as it is for operators.
    """
    app = ConsoleApp(sites, Settings(readonly=readonly, start=start, **settings), tap=tap, clock=clock)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CARONI_DEBUG", "" if forgiving else "1")
        async with app.run_test(size=size, notifications=True) as pilot:
            await pilot.pause()
            yield pilot


def text(pilot: Pilot[None]) -> str:
    """What stands on the screen, line by line, without trailing blanks."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in line).rstrip() for line in strips)


async def until(pilot: Pilot[None], condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Let the console go on until a condition holds.

    Raises:
        AssertionError: it does not within ``seconds``; shows the screen.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s; the screen:\n{text(pilot)}"
        await pilot.pause()
        await asyncio.sleep(0.02)  # what is waited for is on a screen, which tells nobody
    await pilot.pause()


async def sees(pilot: Pilot[None], *words: str, seconds: float = 10.0) -> str:
    """Wait until all these words are on the screen; gives the screen."""
    await until(pilot, lambda: all(word in text(pilot) for word in words), seconds)
    return text(pilot)


async def press(pilot: Pilot[None], *keys: str) -> None:
    """Press keys, and let what they do begin."""
    await pilot.press(*keys)
    await pilot.pause()
