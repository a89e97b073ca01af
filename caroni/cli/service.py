"""``caroni service``: the systemd unit of a manager or an agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example
from caroni.errors import UsageError

if TYPE_CHECKING:
    from caroni.services.units import Installed, Scope

app = group()

User = Annotated[bool, typer.Option("--user", help="A unit of your own (the default, except for root).")]
System = Annotated[bool, typer.Option("--system", help="A unit of the host (the default for root).")]


@app.callback()
def _service() -> None:
    """Have systemd run a manager or an agent; its jobs outlive stop and restart."""


@app.command(epilog=example("caroni service install --config g1", "caroni service install --dry-run"))
def install(
    config: Configuration = None,
    user: User = False,
    system: System = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the unit, write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that differs.")] = False,
    json: Json = False,
) -> None:
    """Write the unit's file and say how to start it."""
    from caroni.config import load_config
    from caroni.services import units

    loaded, scope = load_config(config), _scope(user, system)
    if dry_run:
        unit = units.unit_of(loaded, scope)
        if json:
            output.as_json(unit)
        else:
            output.line(unit.text.rstrip("\n"))
        return
    done = units.install(loaded, scope, force=force)
    if json:
        output.as_json(done)
        return
    output.line(f"{'wrote' if done.changed else 'unchanged:'} {done.path}")
    _say_rest(done)


@app.command(epilog=example("caroni service uninstall --config g1"))
def uninstall(
    config: Configuration = None,
    user: User = False,
    system: System = False,
    force: Annotated[bool, typer.Option("--force", help="Remove a file that others wrote.")] = False,
    json: Json = False,
) -> None:
    """Remove the unit's file; stop the daemon first."""
    from caroni.config import load_config
    from caroni.services import units

    done = units.uninstall(load_config(config), _scope(user, system), force=force)
    if json:
        output.as_json(done)
        return
    output.line(f"removed {done.path}")
    _say_rest(done)


@app.command(epilog=example("caroni service show --config g1"))
def show(
    config: Configuration = None, user: User = False, system: System = False, json: Json = False
) -> None:
    """Show the installed unit, and what systemd says of it."""
    from caroni.config import load_config
    from caroni.services import units

    found = units.show(load_config(config), _scope(user, system))
    if json:
        output.as_json(found)
        return
    output.line(f"{found.unit} ({found.scope}): {found.active}, {found.enabled}")
    if not found.current:
        output.note("not what this version would write: caroni service install --force replaces it")
    output.line(f"{found.path}:")
    output.line(found.text.rstrip("\n"))


def _scope(user: bool, system: bool) -> Scope | None:
    if user and system:
        raise UsageError("--user or --system, not both")
    return "user" if user else "system" if system else None


def _say_rest(done: Installed) -> None:
    for text in done.notes:
        output.note(text)
    if done.next:
        output.line("next:")
    for command in done.next:
        output.line(f"  {command}")
