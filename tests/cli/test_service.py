"""systemd units: what they say, where they go, and what systemd thinks of them."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from caroni.config import load_config
from caroni.services import units

ANALYZE = shutil.which("systemd-analyze")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user's units go; systemctl is out of reach."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    return tmp_path / "config" / "systemd" / "user"


@pytest.fixture
def made(tmp_path: Path, caroni: Any) -> Any:
    """A function that makes a directory for a role."""

    def make(role: str, name: str = "one", directory: str = "") -> Path:
        path = tmp_path / (directory or f"{role}-{name}")
        assert caroni("init", role, path, "--site", "a.example", "--name", name).code == 0
        return path

    return make


def settings(text: str) -> dict[str, str]:
    """The settings of a unit, by name."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] != "#")


@pytest.mark.parametrize("role", ["manager", "agent"])
def test_what_both_units_say(role: str, made: Any, caroni: Any, home: Path) -> None:
    path = made(role)
    unit = caroni("service", "install", "--config", path, "--user", "--dry-run", "--json").json
    assert unit["name"] == f"caroni-{role}-one.service"
    assert unit["path"] == str(home / unit["name"])
    assert not home.exists()
    said = settings(unit["text"])
    assert (said["Type"], said["KillMode"], said["Restart"]) == ("notify", "process", "on-failure")
    assert (said["UMask"], said["RestartPreventExitStatus"]) == ("0077", "2")
    assert said["WorkingDirectory"] == str(path)
    program, *rest = shlex.split(said["ExecStart"])
    assert os.access(program, os.X_OK)
    assert Path(program).is_absolute()
    assert rest[-3:] == [role, "--config", str(path / "caroni.toml")]
    assert caroni("service", "install", "--config", path, "--user", "--dry-run").out == unit["text"]


def test_jobs_are_not_shut_in_and_a_manager_is(made: Any) -> None:
    agent, manager = load_config(made("agent")), load_config(made("manager"))
    shut = ("NoNewPrivileges", "ProtectSystem", "PrivateTmp", "RestrictNamespaces", "CapabilityBoundingSet")
    for scope in ("user", "system"):
        said = settings(units.unit_of(agent, scope).text)
        assert not said.keys() & set(shut)
        assert (said["OOMPolicy"], said["TasksMax"]) == ("continue", "infinity")
    said = settings(units.unit_of(manager, "system").text)
    assert said["ProtectSystem"] == "full"
    assert said["ReadWritePaths"] == str(manager.directory)
    assert "ProtectSystem" not in settings(units.unit_of(manager, "user").text)


def test_a_system_unit_runs_as_the_owner_of_the_directory(made: Any) -> None:
    loaded = load_config(made("agent"))
    said = settings(units.unit_of(loaded, "system").text)
    assert said["WantedBy"] == "multi-user.target"
    owner = os.geteuid()
    assert said.get("User") == (None if owner == 0 else pwd.getpwuid(owner).pw_name)
    if owner == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(loaded.directory, nobody.pw_uid, nobody.pw_gid)
        assert settings(units.unit_of(loaded, "system").text)["User"] == "nobody"


def test_the_scope_is_that_of_who_asks(made: Any, caroni: Any) -> None:
    path = made("agent")
    unit = caroni("service", "install", "--config", path, "--dry-run", "--json").json
    assert unit["scope"] == ("system" if os.geteuid() == 0 else "user")
    both = caroni("service", "install", "--config", path, "--user", "--system")
    assert "not both" in both.refused()


def test_install_show_and_uninstall(made: Any, caroni: Any, home: Path) -> None:
    path = made("agent", "g1")
    asked = ("--config", path, "--user")
    assert "not installed: caroni service install --user" in caroni("service", "show", *asked).refused()
    done = caroni("service", "install", *asked, "--json").json
    file = home / "caroni-agent-g1.service"
    assert file.read_text() == units.unit_of(load_config(path), "user").text
    assert (done["path"], done["changed"], done["reloaded"]) == (str(file), True, False)
    assert done["next"][:2] == [
        "systemctl --user daemon-reload",
        "systemctl --user enable --now caroni-agent-g1.service",
    ]
    assert done["next"][2].startswith("loginctl enable-linger ")
    assert "there is no systemctl on this host" in done["notes"][0]
    assert caroni("service", "install", *asked, "--json").json["changed"] is False
    shown = caroni("service", "show", *asked, "--json").json
    assert (shown["current"], shown["active"], shown["enabled"]) == (True, "unknown", "unknown")
    assert "KillMode=process" in caroni("service", "show", *asked).out
    assert caroni("service", "uninstall", *asked).out.startswith(f"removed {file}\n")
    assert not file.exists()
    assert "not installed" in caroni("service", "uninstall", *asked).refused()


def test_a_file_of_others_is_left_alone(made: Any, caroni: Any, home: Path) -> None:
    asked = ("--config", made("manager"), "--user")
    home.mkdir(parents=True)
    file = home / "caroni-manager-one.service"
    file.write_text("[Service]\nExecStart=/bin/true\n")
    assert "differs" in caroni("service", "install", *asked).refused()
    assert "not written by caroni" in caroni("service", "uninstall", *asked).refused()
    assert file.read_text() == "[Service]\nExecStart=/bin/true\n"
    assert caroni("service", "show", *asked, "--json").json["current"] is False
    assert "wrote" in caroni("service", "install", *asked, "--force").out
    assert caroni("service", "show", *asked, "--json").json["current"] is True


def test_what_the_unit_will_not_know_is_said(
    made: Any, caroni: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made("agent")
    monkeypatch.setenv("CARONI_LOG__LEVEL", "debug")
    done = caroni("service", "install", "--config", path, "--user")
    assert "the unit does not have CARONI_LOG__LEVEL" in done.err


def test_a_submitter_has_no_daemon(made: Any, caroni: Any) -> None:
    assert "is no daemon" in caroni("service", "install", "--config", made("submitter")).refused()


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("scope", ["user", "system"])
@pytest.mark.parametrize(("role", "directory"), [("manager", ""), ("agent", 'an odd 50% $HOME "place')])
def test_systemd_finds_nothing_wrong(
    role: str, directory: str, scope: units.Scope, made: Any, tmp_path: Path
) -> None:
    assert ANALYZE is not None
    unit = units.unit_of(load_config(made(role, "one", directory)), scope)
    file = tmp_path / unit.name
    file.write_text(unit.text)
    done = subprocess.run(
        [ANALYZE, f"--{scope}", "verify", str(file)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
