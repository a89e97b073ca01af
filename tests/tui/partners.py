"""A manager and an agent with real certificates, a CA of their own and those of two partner sites."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from caroni.config import load_config
from caroni.core.rows import Row
from caroni.model.unit import Unit
from caroni.services import authority, trusting
from caroni.services.setup import make_directory
from caroni.tui.site import Site

#: what somebody hostile writes: escape sequences, a link of the toolkit's markup, a reversal of the text
EVIL = "\x1b[2J\x1b[31mowned [@click=app.quit]quit[/] \u202egnp.exe\x07\r"
#: and more of it than fits anywhere
LONG = "A" * 1_000_000


class Partners(msgspec.Struct):
    """``bundles`` and ``fingerprints`` by site; only a.example and b.example are believed."""

    manager: Site
    agent: Site
    directory: Path
    bundles: dict[str, Path]
    fingerprints: dict[str, str]


async def make_partners(directory: Path, *, days: int = 365, readonly: bool = False) -> Partners:
    """Everything new, in ``directory``; ``days`` is the lifetime of the manager's certificate."""
    bundles: dict[str, Path] = {}
    fingerprints: dict[str, str] = {}
    for site in ("a.example", "b.example", "c.example"):
        authority.init_ca(directory / f"ca-{site}", site, None, years=1)
        text, fingerprints[site] = authority.export(directory / f"ca-{site}", None)
        bundles[site] = directory / f"{site}.bundle"
        bundles[site].write_text(text)
    ca = directory / "ca-a.example"
    trusted = ("caroni://a.example/agent/*", "caroni://b.example/agent/*")
    await make_directory(
        "manager", directory / "m1", site="a.example", name="m1", ca=ca, days=days, trust_agents=trusted
    )
    await make_directory("agent", directory / "g1", site="a.example", name="g1", ca=ca)
    manager = Site(load_config(directory / "m1"), readonly=readonly)
    trusting.import_site(manager.loaded, bundles["b.example"], fingerprints["b.example"], ("agent",))
    agent = Site(load_config(directory / "g1"), readonly=readonly)
    return Partners(
        manager=manager, agent=agent, directory=directory, bundles=bundles, fingerprints=fingerprints
    )


def now() -> int:
    """Wall microseconds."""
    return time.time_ns() // 1000


def unit(*rows: Row) -> Unit:
    """Rows in one unit of work."""
    made = Unit(now=now())
    for row in rows:
        made.rows.setdefault(type(row), []).append(row)
    return made


def harmless(screen: str) -> bool:
    """Whether nothing on a screen could act on a terminal."""
    return not any(c < " " or c in "\x7f\x9b\u202e\u2066\u2028" for c in screen.replace("\n", ""))
