"""``caroni tui``: the operator's console, on the same databases and broker as the daemons."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caroni.cli.frame import group
from caroni.cli.options import example

if TYPE_CHECKING:
    from caroni.config import Loaded
    from caroni.services.checks import Check
    from caroni.tui.tap import Tap

app = group()


@app.command(
    epilog=example(
        "caroni tui --demo",
        "caroni tui --config m1",
        "caroni tui --config m1 --config g1 --readonly",
        "caroni tui --config g1 --screen jobs --slow",
        "caroni tui --config m1 --web",
    )
)
def tui(
    config: Annotated[
        list[Path] | None,
        typer.Option(
            "--config",
            help="The caroni.toml of a manager or an agent, or its directory; repeatable.",
            envvar="CARONI_CONFIG",
            show_default=False,
        ),
    ] = None,
    screen: Annotated[
        str, typer.Option(help="Start on this screen, e.g. jobs.", show_default=False, metavar="NAME")
    ] = "",
    readonly: Annotated[bool, typer.Option("--readonly", help="Only look; nothing can be changed.")] = False,
    slow: Annotated[
        bool | None,
        typer.Option(
            "--slow/--fast",
            help="For a slow line: paint less often, no movement, no mouse. [default: slow over SSH]",
            show_default=False,
        ),
    ] = None,
    ascii_: Annotated[
        bool, typer.Option("--ascii", help="Draw with ASCII only. [default: if the locale has no UTF-8]")
    ] = False,
    theme: Annotated[
        str, typer.Option(help="Colours, e.g. textual-light, ansi-dark, nord.", metavar="NAME")
    ] = "textual-dark",
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            help="Your own keys. [default: ~/.config/caroni/keys.toml if it is there]",
            show_default=False,
        ),
    ] = None,
    demo: Annotated[
        bool,
        typer.Option("--demo", help="On a manager and agents that are started for it; nothing is needed."),
    ] = False,
    web: Annotated[
        bool, typer.Option("--web", help="Serve it to a browser on this host (extra: caroni[web]).")
    ] = False,
    port: Annotated[int, typer.Option(help="Of 127.0.0.1, for --web.", min=0, max=65535)] = 8765,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print all keys by the names that a keymap file uses, for programs."),
    ] = False,
) -> None:
    """Watch and steer managers and agents from a terminal.

    Attaches to the databases of the configurations given (their daemons need not run), and listens to the
    broker where its user may. Keys are at the bottom of each screen; ? lists them all.
    """
    if json:
        from caroni.cli import output
        from caroni.tui.acts import every

        return output.as_json(
            {act.id: {"keys": act.keys.split(","), "does": act.sentence} for act in every()}
        )
    slow_line = slow if slow is not None else bool(os.environ.get("SSH_CONNECTION"))
    if slow_line:
        quieten()
    _known(screen, theme)
    if web:
        from caroni.cli.webconsole import serve

        given = [*_chosen(screen, readonly, slow, ascii_, theme, keys), *(["--demo"] if demo else [])]
        return serve(given, [] if demo else attached(config), port)
    with ExitStack() as stack:
        system = None
        if demo:
            from caroni.cli.demoattach import demo_system

            system = stack.enter_context(demo_system())  # it starts while we go on
        from caroni.cli.consoletap import ConsoleTap
        from caroni.tui.app import ConsoleApp, Settings
        from caroni.tui.run import require_terminal, run, wants_ascii
        from caroni.tui.site import Site

        require_terminal()
        loaded = attached(system.configurations() if system is not None else config)
        tap: Tap = system.tap if system is not None else ConsoleTap(loaded[0])
        settings = Settings(
            readonly=readonly, slow=slow_line, theme=theme, start=screen, keymap=_keymap(keys)
        )
        sites = [Site(one, readonly=readonly) for one in loaded]
        # a demonstration has no broker but its own
        console = ConsoleApp(sites, settings, tap=tap, probe=None if demo else _probe)
        code = run(console, ascii=ascii_ or wants_ascii(), mouse=not slow_line)
    if code:
        raise typer.Exit(code)


def _known(screen: str, theme: str) -> None:
    """Refuse names that nobody has, before a terminal is drawn on.

    Raises:
        UsageError: names those that are there.
    """
    from caroni.errors import UsageError
    from caroni.text import safe_line
    from caroni.tui.screens import PLACES, find_place
    from caroni.tui.themes import THEMES

    if screen and find_place(screen) is None:
        names = ", ".join(place.name for place in PLACES)
        raise UsageError(f"--screen {safe_line(screen, 40)!r} is none of: {names}")
    if theme not in THEMES:
        names = ", ".join(THEMES)
        raise UsageError(f"--theme {safe_line(theme, 40)!r} is none of: {names}")


async def _probe(loaded: Loaded) -> list[Check]:
    """Look at the broker, as ``caroni doctor`` does."""
    # a third of a second to import, which the console's loop has better use for
    doctor = await asyncio.to_thread(import_module, "caroni.cli.doctor")
    await asyncio.to_thread(import_module, "caroni.daemon.bus.probe")
    found: list[Check] = await doctor.broker(loaded)
    return found


def _chosen(
    screen: str, readonly: bool, slow: bool | None, ascii: bool, theme: str, keys: Path | None
) -> list[str]:
    """The options that are not as they are by themselves, for the console of a visitor."""
    words = [f"--theme={theme}"]
    if screen:
        words.append(f"--screen={screen}")
    if keys is not None:
        words.append(f"--keys={keys.absolute()}")
    if slow is not None:
        words.append("--slow" if slow else "--fast")
    words += ["--readonly"] * readonly + ["--ascii"] * ascii
    return words


def attached(config: list[Path] | None) -> list[Loaded]:
    """The configurations that the console attaches to, each once.

    Raises:
        ConfigError: one is missing or wrong.
    """
    from caroni.config import load_config

    found: dict[Path, Loaded] = {}
    for given in config if config else (None,):
        loaded = load_config(given)
        found.setdefault(loaded.path, loaded)
    return list(found.values())


def quieten() -> None:
    """What Textual reads from the environment when it is imported: fewer frames, no movement."""
    for name, value in (
        ("TEXTUAL_FPS", "15"),
        ("TEXTUAL_ANIMATIONS", "none"),
        ("TEXTUAL_SMOOTH_SCROLL", "0"),
    ):
        os.environ.setdefault(name, value)


def _keymap(given: Path | None) -> Path | None:
    from caroni.tui.keymap import default_path

    path = given if given is not None else default_path()
    return path if given is not None or path.exists() else None
