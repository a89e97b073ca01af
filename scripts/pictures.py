"""Pictures of the console for the documents: `python -m scripts.pictures` writes docs/img/console-*.svg.

The real app on real databases with a fixed data set and a clock that stands still: the same every time.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from caroni.services.locks import locked
from caroni.tui.site import Site
from tests.tui import dataset
from tests.tui.conversations import traced_site
from tests.tui.harness import NOON, press, sees, shown, text, until

IMAGES = Path(__file__).parents[1] / "docs" / "img"
SIZE = (110, 30)


async def take(
    name: str,
    site: Site,
    start: str,
    seen: Sequence[str],
    *ways: tuple[Sequence[str], Sequence[str]],
    rows: int = SIZE[1],
) -> None:
    """One picture.

    Args:
        name: of the file, after ``console-``.
        site: whose data it shows.
        start: the first screen.
        seen: words that are there when it is complete.
        ways: keys, and what is seen after them.
        rows: of the terminal.
    """
    # its lock is held, as a daemon that runs holds it
    with locked(site.loaded):
        await _take(name, site, start, seen, ways, rows)


async def _take(
    name: str,
    site: Site,
    start: str,
    seen: Sequence[str],
    ways: Sequence[tuple[Sequence[str], Sequence[str]]],
    rows: int,
) -> None:
    async with shown(site, start=start, size=(SIZE[0], rows), clock=lambda: NOON) as pilot:
        await sees(pilot, *seen, seconds=30)
        for keys, words in ways:
            await press(pilot, *keys)
            await sees(pilot, *words, seconds=30)
        looks: list[str] = []
        # what was fetched beside it is there too when nothing changes any more
        await until(pilot, lambda: looks.append(text(pilot)) or len(set(looks[-40:])) == 1 < len(looks) - 38)
        svg = pilot.app.export_screenshot(title="caroni tui")
    # the reader's own monospaced font: a picture in a repository fetches nothing
    svg = re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)
    svg = re.sub(r"terminal-\d+-", f"{name}-", svg)
    path = IMAGES / f"console-{name}.svg"
    path.write_text(svg, "utf-8")
    print(path.relative_to(IMAGES.parents[1]))


async def main() -> None:
    """All of them."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        manager, agent = await dataset.manager(place), await dataset.agent(place)
        await take("workflows", manager, "workflows", ["genomics-2026-03", "greeting"], rows=15)
        to_step = (["k"] * 5, ["step call_a", "no job definition"])
        await take(
            "workflow", manager, "workflows", ["genomics-2026-03"], (["enter"], ["align_c", "step"]), to_step
        )
        await take("jobdef", agent, "jobdefs", ["call-relay"], (["j", "e"], ["script (bash)", "valid"]))
        (place / "trace").mkdir()
        traced, _ = await traced_site(place / "trace")
        await take("trace", traced, "trace", ["Request step2", "signature good"])


if __name__ == "__main__":
    with dataset.fixed_time():
        asyncio.run(main())
