"""Pictures of screens as text: what stands there, and which style each cell has.

``NAME.txt`` holds the screen's text, which is compared exactly; ``make snapshots`` writes it anew.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from rich.segment import Segment
from rich.style import Style
from textual.pilot import Pilot

HERE = Path(__file__).parent / "pictures"
#: whether what is found is kept, not compared
WRITES = os.environ.get("CARONI_SNAPSHOTS") == "write"
#: seconds for which a screen must stay the same before it is kept, and to become the one that was kept
_STILL, _PATIENCE = 0.8, 15.0
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_ATTRIBUTES = ("bold", "dim", "italic", "underline", "reverse", "strike")
Take = Callable[[Pilot[None]], str]


def words(pilot: Pilot[None], tidy: Callable[[str], str]) -> str:
    """The screen's text; ``tidy`` takes out what no clock and no seed fixes, line by line."""
    lines = ("".join(segment.text for segment in strip) for strip in _strips(pilot))
    return "\n".join(tidy(line).rstrip() for line in lines) + "\n"


def styles(pilot: Pilot[None]) -> str:
    """The map of its styles and their legend; not the foot, dimmed when it is next drawn."""
    letters: dict[str, str] = {}
    maps = []
    for strip in _strips(pilot)[:-1]:
        signs = ""
        for segment in strip:
            name = _named(segment.style)
            letter = letters.setdefault(name, _LETTERS[len(letters) % len(_LETTERS)]) if name else " "
            signs += letter * segment.cell_length
        maps.append(signs.rstrip())
    return "\n".join([*maps, "-----", *(f"{letter} {name}" for name, letter in letters.items())]) + "\n"


def _strips(pilot: Pilot[None]) -> list[list[Segment]]:
    return [list(strip) for strip in pilot.app.screen._compositor.render_strips()]


def _named(style: Style | None) -> str:
    """What can be seen of a style."""
    if style is None:
        return ""
    names = [name for name in _ATTRIBUTES if getattr(style, name)]
    if style.color is not None and not style.color.is_default:
        names.append(style.color.name)
    if style.bgcolor is not None and not style.bgcolor.is_default:
        names.append(f"on {style.bgcolor.name}")
    return " ".join(names)


def hues(styles: str) -> list[str]:
    """The colours of a map that are more than a grey."""
    found = re.findall(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", styles.partition("-----\n")[2])
    return ["#" + "".join(parts) for parts in found if len(set(parts)) > 1]


async def compare(pilot: Pilot[None], take: Take, name: str, *, writes: bool = WRITES) -> None:
    """Wait until the screen is as the file of this name says, or keep what it has come to where ``writes``.

    Raises:
        AssertionError: it does not become so; shows what is there, and the lines that differ.
    """
    path = HERE / f"{name}.txt"
    if writes:
        HERE.mkdir(exist_ok=True)
        path.write_text(await _settled(pilot, take), "utf-8")
        return
    assert path.exists(), f"there is no {path.name}; make snapshots writes it:\n{take(pilot)}"
    kept, end = path.read_text("utf-8"), time.monotonic() + _PATIENCE
    while (found := take(pilot)) != kept:
        if time.monotonic() > end:
            pairs = zip(kept.splitlines(), found.splitlines(), strict=False)
            differ = "\n".join(f"-{was}\n+{now}" for was, now in pairs if was != now)
            raise AssertionError(
                f"{path.name} is another one (if that is meant: make snapshots):\n{found}\n{differ}"
            )
        await pilot.pause()
        await asyncio.sleep(0.02)  # what is waited for is on a screen, which tells nobody


async def _settled(pilot: Pilot[None], take: Take) -> str:
    """What it is when it has not changed for a while."""
    found, since, end = take(pilot), time.monotonic(), time.monotonic() + _PATIENCE
    while time.monotonic() < since + _STILL:
        await pilot.pause()
        await asyncio.sleep(0.02)
        now = take(pilot)
        if now != found:
            found, since = now, time.monotonic()
        assert time.monotonic() < end, f"it goes on to change:\n{found}"
    return found
