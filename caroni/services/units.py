"""systemd units: one file for one daemon, which leaves the daemon's jobs alone.

A unit of an agent is the sandbox of its jobs, too: what systemd forbids the agent, no job may do. So an
agent's unit restricts nothing; a manager's, which runs no jobs, is closed as far as it goes
(systemd.exec(5), systemd.service(5)).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import msgspec

from caroni.config import Loaded
from caroni.errors import CaroniError, ConfigError, UsageError
from caroni.text import safe_line
from caroni.trust.identity import Identity
from caroni.trust.keys import write_atomically

Scope = Literal["user", "system"]

SYSTEM_UNITS = Path("/etc/systemd/system")
#: the first line of every file that is written here
MARK = "# Written by caroni service install; put your own settings into a drop-in (systemctl edit)."
#: seconds that systemctl may take
PATIENCE = 30

_OPEN = """\
# Jobs live in this unit and inherit what is forbidden here, so nothing is: ProtectSystem, PrivateTmp or
# NoNewPrivileges would break jobs that write data, share /tmp with the next agent, or need sudo.
# A job that the kernel ends for its memory must not end the agent, and many jobs are many tasks.
OOMPolicy=continue
TasksMax=infinity
"""
#: works with and without privileges, and takes nothing that a manager needs
_CLOSED = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
"""
#: these need the privileges of the system's own manager
_CLOSED_SYSTEM = """\
CapabilityBoundingSet=
ProtectSystem=full
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
PrivateDevices=yes
ReadWritePaths={directory}
"""


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """The unit of one daemon: its name, where its file belongs, and the file's text."""

    name: str
    scope: Scope
    path: str
    text: str


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """What has been done. ``next`` are commands for the user, ``notes`` what to know before."""

    unit: str
    scope: Scope
    path: str
    changed: bool
    #: systemd has read its units again
    reloaded: bool
    next: list[str]
    notes: list[str]


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """An installed unit. ``active`` and ``enabled`` are systemd's words, ``unknown`` where it says none."""

    unit: str
    scope: Scope
    path: str
    text: str
    #: the file is what ``install`` would write now
    current: bool
    active: str
    enabled: str


def unit_of(loaded: Loaded, scope: Scope | None = None) -> Unit:
    """The unit for a configuration.

    Args:
        loaded: of a manager or an agent.
        scope: ``system`` or ``user``; None: the system's for root, else the user's own.

    Raises:
        UsageError: the configuration is of a role without a daemon.
        ConfigError: its directory is missing or has a name that no unit can hold.
    """
    identity = Identity.parse(loaded.config.uri)
    if identity.role not in ("manager", "agent"):
        raise UsageError(f"{loaded.path} is the configuration of a {identity.role}, which is no daemon")
    if re.search(r"[\x00-\x1f\x7f]", str(loaded.path)):
        raise ConfigError(f"{safe_line(str(loaded.path))}: a unit cannot hold a path with control characters")
    chosen: Scope = scope or ("system" if os.geteuid() == 0 else "user")
    name = f"caroni-{identity.role}-{identity.name}.service"
    return Unit(
        name=name, scope=chosen, path=str(_directory(chosen) / name), text=_text(loaded, identity, chosen)
    )


def _directory(scope: Scope) -> Path:
    if scope == "system":
        return SYSTEM_UNITS
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "systemd" / "user"


def _text(loaded: Loaded, identity: Identity, scope: Scope) -> str:
    system = scope == "system"
    directory = str(loaded.directory)
    lines = [
        MARK,
        "[Unit]",
        f"Description=Caroni {identity.role} {identity.uri}",
        "Documentation=man:systemd.service(5)",
        *(["After=network-online.target", "Wants=network-online.target"] if system else []),
        # without an end: a host that comes back after a bad night is still served
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        *(_account(loaded.directory) if system else []),
        f"ExecStart={' '.join(map(_argument, [*_program(), identity.role, '--config', str(loaded.path)]))}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        f"WorkingDirectory={_plain(directory)}",
        "UMask=0077",
        "# stop and restart end the daemon alone: jobs run on, and the next start takes them up again",
        "KillMode=process",
        "TimeoutStopSec=60",
        "Restart=on-failure",
        "RestartSec=10",
        "# a mistake in the configuration does not go away by itself",
        "RestartPreventExitStatus=2",
        *(_OPEN if identity.role == "agent" else _CLOSED).splitlines(),
    ]
    if system and identity.role == "manager":
        lines += _CLOSED_SYSTEM.format(directory=_quoted(directory)).splitlines()
    lines += ["", "[Install]", f"WantedBy={'multi-user' if system else 'default'}.target", ""]
    return "\n".join(lines)


def _account(directory: Path) -> list[str]:
    """Who the daemon runs as: the owner of its directory, whose keys nobody else may read."""
    try:
        owner = directory.stat().st_uid
        if owner == 0:
            return []
        return [f"User={pwd.getpwuid(owner).pw_name}"]
    except OSError as error:
        raise ConfigError(f"{safe_line(str(directory))}: {error.strerror}") from None
    except KeyError:
        raise ConfigError(f"{safe_line(str(directory))} belongs to user {owner}, who has no name") from None


def _program() -> list[str]:
    """The console script of this installation, or its interpreter where there is none."""
    script = Path(sys.executable).with_name("caroni")
    if os.access(script, os.X_OK):
        return [str(script)]
    return [sys.executable, "-P", "-m", "caroni"]


def _argument(text: str) -> str:
    """One word of a command line (systemd.service(5), "Command lines")."""
    return _quoted(text.replace("$", "$$"))


def _quoted(text: str) -> str:
    """One word of a list (systemd.syntax(7), "Quoting"; systemd.unit(5), "Specifiers")."""
    text = text.replace("%", "%%")
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./$-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(text: str) -> str:
    """A path that is a whole value: only specifiers are special there."""
    return text.replace("%", "%%")


def install(loaded: Loaded, scope: Scope | None = None, *, force: bool = False) -> Installed:
    """Write the unit's file and have systemd read it.

    Raises:
        UsageError: another file of that name is there, and not ``force``.
        ConfigError: the file cannot be written.
    """
    unit = unit_of(loaded, scope)
    path = Path(unit.path)
    there = _read(path)
    changed = there != unit.text
    if changed:
        if there is not None and not force:
            raise UsageError(
                f"{safe_line(unit.path)} is there and differs: look with caroni service install --dry-run,"
                " replace it with --force"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{safe_line(str(path.parent))} cannot be made: {error.strerror}") from None
        write_atomically(path, unit.text.encode())
    reloaded, trouble = _reload(unit.scope)
    call = _systemctl_words(unit.scope)
    steps = [] if reloaded else [f"{call} daemon-reload"]
    steps.append(f"{call} enable --now {unit.name}")
    if unit.scope == "user":
        steps.append(f"loginctl enable-linger {pwd.getpwuid(os.getuid()).pw_name}")
    return Installed(
        unit=unit.name,
        scope=unit.scope,
        path=unit.path,
        changed=changed,
        reloaded=reloaded,
        next=steps,
        notes=_notes(loaded, unit, trouble),
    )


def _notes(loaded: Loaded, unit: Unit, trouble: str) -> list[str]:
    notes = [trouble] if trouble else []
    if variables := sorted({o for o in loaded.origins.values() if o.startswith("CARONI_")}):
        notes.append(f"the unit does not have {', '.join(variables)}: write the values into {loaded.path}")
    if unit.scope == "user":
        notes.append("without linger everything of yours, jobs as well, ends when you log out")
    return notes


def uninstall(loaded: Loaded, scope: Scope | None = None, *, force: bool = False) -> Installed:
    """Remove the unit's file; the daemon must be stopped.

    Raises:
        UsageError: it is not installed, it runs, or (without ``force``) somebody else wrote the file.
        ConfigError: the file cannot be removed.
    """
    unit = unit_of(loaded, scope)
    path = Path(unit.path)
    there = _read(path)
    if there is None:
        raise UsageError(f"{safe_line(unit.path)}: not installed")
    if not there.startswith(MARK) and not force:
        raise UsageError(f"{safe_line(unit.path)} was not written by caroni: remove it with --force")
    call = _systemctl_words(unit.scope)
    if _ask(unit, "is-active") in ("active", "activating", "reloading"):
        raise UsageError(f"{unit.name} is running: {call} disable --now {unit.name}")
    with contextlib.suppress(CaroniError):  # the links of an enabled unit must not dangle
        _systemctl(unit.scope, "disable", unit.name)
    try:
        path.unlink()
    except OSError as error:
        raise ConfigError(f"{safe_line(unit.path)} cannot be removed: {error.strerror}") from None
    reloaded, trouble = _reload(unit.scope)
    return Installed(
        unit=unit.name,
        scope=unit.scope,
        path=unit.path,
        changed=True,
        reloaded=reloaded,
        next=[] if reloaded else [f"{call} daemon-reload"],
        notes=[trouble] if trouble else [],
    )


def show(loaded: Loaded, scope: Scope | None = None) -> Shown:
    """The unit as it is installed.

    Raises:
        UsageError: it is not installed.
        ConfigError: the file cannot be read.
    """
    unit = unit_of(loaded, scope)
    there = _read(Path(unit.path))
    if there is None:
        option = " --system" if unit.scope == "system" else " --user"
        raise UsageError(f"{safe_line(unit.path)}: not installed: caroni service install{option}")
    return Shown(
        unit=unit.name,
        scope=unit.scope,
        path=unit.path,
        text=there,
        current=there == unit.text,
        active=_ask(unit, "is-active") or "unknown",
        enabled=_ask(unit, "is-enabled") or "unknown",
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{safe_line(str(path))} cannot be read: {error.strerror}") from None


# --- systemctl ------------------------------------------------------------------------------------


def _systemctl_words(scope: Scope) -> str:
    return "systemctl --user" if scope == "user" else "systemctl"


def _systemctl(scope: Scope, *arguments: str) -> str:
    """Run systemctl; gives its output.

    Raises:
        CaroniError: it is not there, does not answer, or says no; one line.
    """
    program = shutil.which("systemctl")
    if program is None:
        raise CaroniError("there is no systemctl on this host")
    try:
        done = subprocess.run(  # noqa: S603 - its own words and a unit's name only
            [program, f"--{scope}", "--no-ask-password", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CaroniError(f"systemctl does not work: {type(error).__name__}") from None
    if done.returncode and not done.stdout.strip():
        raise CaroniError(safe_line((done.stderr.strip().splitlines() or ["it gives no reason"])[0], 200))
    return done.stdout.strip()


def _reload(scope: Scope) -> tuple[bool, str]:
    """Whether systemd has read its units again, and if not, why and what to do."""
    try:
        _systemctl(scope, "daemon-reload")
    except CaroniError as error:
        return False, f"systemd was not told ({error}): do what follows where it runs"
    return True, ""


def _ask(unit: Unit, question: str) -> str:
    """The one word that systemd answers, empty where it gives none."""
    try:
        return safe_line(_systemctl(unit.scope, question, unit.name).splitlines()[0], 40)
    except (CaroniError, IndexError):
        return ""
