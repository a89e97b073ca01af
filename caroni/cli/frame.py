"""What all commands share: finding them, and how they end.

Exit codes: 0 done; 1 failed; 2 wrong usage or configuration; 33 a CWL feature that is not supported;
75 a command is left for a daemon that has not answered; 130 interrupted; 141 the reader of our
output has gone. ``CARONI_DEBUG=1`` shows tracebacks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

from caroni.cli.output import OutputClosed
from caroni.errors import CaroniError, UsageError
from caroni.text import safe_line

#: Command -> (module, attribute that is a Typer application, what ``caroni --help`` says of it).
COMMANDS: dict[str, tuple[str, str, str]] = {
    "run": ("run", "app", "Run a workflow on this host, nothing else needed."),
    "demo": ("demo", "app", "Watch a manager and two agents run a sample."),
    "init": ("init", "app", "Make the directory of a manager, an agent or a submitter."),
    "pki": ("pki", "app", "Certificates: a site's authority, issuing, revoking."),
    "trust": ("trust", "app", "Which sites are believed, and who is banned."),
    "config": ("config", "app", "Show the configuration that is in effect."),
    "db": ("db", "app", "Create, update, check, copy and restore the database."),
    "template": ("template", "app", "A manager's workflow templates."),
    "job": ("job", "app", "An agent's job definitions."),
    "manager": ("daemons", "manager_app", "Run a manager."),
    "agent": ("daemons", "agent_app", "Run an agent."),
    "tui": ("tui", "app", "The operator's console, on a terminal."),
    "service": ("service", "app", "Have systemd run a manager or an agent."),
    "submit": ("submit", "app", "Send a workflow to a manager, over the broker."),
    "watch": ("watch", "app", "Follow a workflow to its end."),
    "list": ("workflows", "list_app", "List a manager's workflows."),
    "show": ("workflows", "show_app", "Show a workflow and its steps."),
    "outputs": ("workflows", "outputs_app", "Print a workflow's outputs."),
    "trace": ("trace", "app", "Read the messages of manager and agents."),
    "explain": ("explain", "app", "Say why a workflow is not running."),
    "jobs": ("jobs", "app", "List a manager's attempts or an agent's queue; show one job."),
    "logs": ("logs", "app", "Show what a job writes to stdout and stderr."),
    "cancel": ("control", "cancel_app", "Stop a workflow, or some of its steps."),
    "pause": ("control", "pause_app", "Suspend a workflow, the jobs of steps, or one job."),
    "resume": ("control", "resume_app", "Let what was paused go on."),
    "retry": ("control", "retry_app", "Try held and waiting steps again, now."),
    "kill": ("control", "kill_app", "Stop one job, from either side."),
    "drain": ("control", "drain_app", "Have an agent take nothing new."),
    "undrain": ("control", "undrain_app", "Have an agent take work again."),
    "presence": ("control", "presence_app", "Whether agents are here; announce an absence."),
    "peers": ("peers", "app", "What is known of each peer."),
    "doctor": ("doctor", "app", "Whether a daemon is well, and what to do if not."),
    "quarantine": ("quarantine", "app", "What was set aside: look, try again, drop."),
    "prune": ("prune", "app", "Remove now what has had its time."),
}

_SIGPIPE, _SIGINT = 141, 130


class _Commands(TyperGroup):
    """Imports a command's module only when that command is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = get_command(getattr(import_module(f"caroni.cli.{module}"), attribute))
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        self.commands = cast("Any", dict.fromkeys(COMMANDS))  # the names to suggest from
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in COMMANDS.items()])


def _version(wanted: bool) -> None:
    if wanted:
        from caroni import __version__

        typer.echo(f"caroni {__version__}")
        raise typer.Exit


application = typer.Typer(
    cls=_Commands,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each command explains itself: caroni COMMAND --help",
)


@application.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Run workflows across sites: managers ask, agents offer, every message is signed."""


def group() -> typer.Typer:
    """An empty command group, or the carrier of a single command."""
    return typer.Typer(
        rich_markup_mode=None,
        no_args_is_help=True,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run(arguments: Sequence[str] | None) -> int:
    """Run one command; see :func:`caroni.cli.main`."""
    debug = os.environ.get("CARONI_DEBUG", "") not in ("", "0")
    try:
        result = get_command(application).main(
            args=list(arguments) if arguments is not None else None, prog_name="caroni", standalone_mode=False
        )
        sys.stdout.flush()
        return result if type(result) is int else 0
    except CaroniError as error:
        if debug:
            raise
        return _say(str(error), error.exit_code)
    except typer.TyperException as error:
        return _misused(error)
    except OutputClosed:
        return _closed()
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted", _SIGINT)
    except BrokenPipeError:
        return _closed()
    except SystemExit as error:  # shell completion, and a pipe that the parser found closed
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        if debug:
            raise
        name = type(error).__name__
        return _say(f"internal error: {name}: {error} (CARONI_DEBUG=1 shows where; please report it)", 1)


def _misused(error: Any) -> int:
    """One line for what the parser refuses; a command without arguments shows its help."""
    context = getattr(error, "ctx", None)
    message = " ".join(error.format_message().split())
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(error.format_message() + "\n")
        return UsageError.exit_code
    path = context.command_path if context is not None else "caroni"
    return _say(f"{message.rstrip('.')} (see: {path} --help)", error.exit_code)


def _say(message: str, code: int) -> int:
    try:
        sys.stdout.flush()
        sys.stderr.write(f"caroni: {safe_line(message)}\n")
        sys.stderr.flush()
    except BrokenPipeError:
        return _closed()
    return code


def _closed() -> int:
    """Leave quietly; what is still buffered has no reader."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError):
        pass  # stdout is not a file here
    finally:
        os.close(nowhere)
    return _SIGPIPE
