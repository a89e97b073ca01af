"""What all commands have in common, and how they end."""

from __future__ import annotations

import os
import pty
import re
import resource
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
from typer.main import get_command

from caroni.cli.frame import COMMANDS
from caroni.config.load import FILE_NAME
from tests.cli.conftest import environment, process


def commands():
    """Every command as (words, command)."""
    for name, (module, attribute, _) in COMMANDS.items():
        found = get_command(getattr(import_module(f"caroni.cli.{module}"), attribute))
        if hasattr(found, "commands"):
            yield from (((name, sub), command) for sub, command in found.commands.items())
        else:
            yield (name,), found


ALL = list(commands())


def test_help_names_every_command(caroni):
    for arguments in ((), ("--help",), ("-h",)):
        result = caroni(*arguments)
        assert result.code == (0 if arguments else 2)
        for name in COMMANDS:
            assert f"  {name} " in result.out + result.err


@pytest.mark.parametrize(("words", "command"), ALL, ids=[" ".join(w) for w, _ in ALL])
def test_every_command_explains_itself(caroni, words, command):
    result = caroni(*words, "--help")
    assert result.code == 0
    assert "Example:" in result.out
    assert f"caroni {' '.join(words)}" in result.out
    assert "--json" in result.out
    assert command.help
    options = {o for p in command.params for o in p.opts}
    assert "--json" in options


def test_help_imports_nothing_but_the_parser():
    code = (
        "import sys; from caroni.cli import main; main(['--help']);"
        "print(*(m for m in sys.modules if m.split('.')[0] in"
        " ('tortoise','cryptography','msgspec','structlog','yaml','aio_pika','cwl_utils','google','pydantic')"
        " or m.startswith(('caroni.config', 'caroni.services', 'caroni.core'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout.splitlines()[-1].strip() == ""


def test_help_is_quick():
    def cpu() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process("--help", PYTHONWARNINGS="")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    cpu()  # compiled files exist from here on
    # the quickest of several: what else the machine does is not our cost
    assert min(cpu() for _ in range(5)) < 0.15


def test_version(caroni):
    assert re.fullmatch(r"caroni \d+\.\d+\.\d+\n", caroni("--version").out)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("confg",), "Did you mean 'config'"),
        (("config", "shwo"), "Did you mean 'show'"),
        (("config", "show", "--jsn"), "--json"),
        (("template", "show"), "Missing argument"),
        (("list", "--limit", "x"), "--limit"),
        (("list", "--limit", "0"), "--limit"),
    ],
)
def test_wrong_usage_is_one_line(caroni, arguments, expected):
    line = caroni(*arguments).refused()
    assert expected in line
    assert "--help)" in line


def test_a_bug_is_one_line_unless_debugging(sites):
    # a database that is no database is looked at by code that expects one
    code = (
        "import sys, caroni.config as c; from caroni.cli import main\n"
        "def broken(*a): raise RuntimeError('what\\x1b a\\nmess')\n"
        "c.load_config = broken\n"
        "sys.exit(main(['config', 'show']))"
    )
    for debug in ("", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment(CARONI_DEBUG=debug),
            check=False,
        )
        assert done.returncode == 1
        assert ("Traceback" in done.stderr) is bool(debug)
        if not debug:
            assert done.stderr.startswith("caroni: internal error: RuntimeError: what\\x1b a")
            assert done.stderr.count("\n") == 1


def test_a_closed_pipe_is_no_error(sites):
    for command in ("config reference", "config reference --json", f"trust list --config {sites}/m1"):
        done = subprocess.run(
            ["bash", "-c", f"{sys.executable} -m caroni {command} | true; echo ${{PIPESTATUS[0]}}"],
            capture_output=True,
            text=True,
            env=environment(),
            check=True,
        )
        assert done.stderr == ""
        # a short answer may be gone before the reader is
        assert done.stdout.strip() in ("0", "141")


def test_control_c_ends_with_130_and_kills_the_job(tmp_path):
    started = tmp_path / "started"
    job = tmp_path / "slow.yaml"
    job.write_text(
        f"name: slow\nscript: |\n  echo $$ > {started}.new; mv {started}.new {started}\n  sleep 300\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "caroni", "job", "test", str(job)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(started.exists)
        os.kill(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=30)
    finally:
        running.kill()
        running.wait()
    assert (running.returncode, out, err) == (130, "", "")
    # the command does not return before the job is gone
    assert not runs(int(started.read_text()))


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def on_a_terminal(*arguments: object, **env: str) -> str:
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "caroni", *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="xterm-256color", COLUMNS="200", **env),
    )
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 65536):
            parts.append(part)
    except OSError:  # how a terminal says that nobody is left
        pass
    os.close(ours)
    assert running.wait(timeout=30) == 0
    return b"".join(parts).decode()


def test_tables_are_drawn_on_a_terminal_and_plain_elsewhere(sites):
    shown = on_a_terminal("config", "show", "--config", sites / "m1")
    assert "─" in shown
    assert "\x1b[" in shown
    assert "\x1b[3" not in on_a_terminal("config", "show", "--config", sites / "m1", NO_COLOR="1")
    plain = process("config", "show", "--config", sites / "m1").out
    assert plain.startswith("KEY ")
    assert "─" not in plain
    assert "\x1b" not in plain


def test_completion():
    def complete(words: str, number: int) -> list[str]:
        result = process(_CARONI_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(number))
        assert result.code == 0
        return result.out.split()

    assert complete("caroni te", 1) == ["template"]
    assert "validate" in complete("caroni template ", 2)
    # Else the shell is taken from the parent processes, which is `sh` under make.
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    assert process("--show-completion", "bash", **named).code == 0


def test_the_configuration_comes_from_the_option_or_the_environment(sites, caroni, monkeypatch):
    monkeypatch.chdir(sites)
    assert "caroni init" in caroni("config", "show").refused()
    monkeypatch.setenv("CARONI_CONFIG", str(sites / "m1"))
    assert caroni("config", "show", "--json").json["path"] == str(sites / "m1" / FILE_NAME)
    assert caroni("config", "show", "--config", "g1", "--json").json["path"] == str(sites / "g1" / FILE_NAME)
    monkeypatch.delenv("CARONI_CONFIG")
    monkeypatch.chdir(sites / "m1")
    assert caroni("config", "show", "--json").code == 0


def test_config_show_says_where_each_value_came_from(sites, caroni, monkeypatch):
    monkeypatch.setenv("CARONI_AMQP__PREFETCH", "50")
    settings = {
        s["key"]: s for s in caroni("config", "show", "--config", sites / "g1", "--json").json["settings"]
    }
    assert settings["amqp.prefetch"] == {
        "key": "amqp.prefetch", "value": 50, "text": "50", "origin": "CARONI_AMQP__PREFETCH",
    }  # fmt: skip
    assert settings["site"]["origin"] == "file"
    assert settings["agent.offer_ttl"]["text"] == '"1h"'
    assert settings["agent.allow[0].manager"]["value"] == "caroni://a.example/manager/*"
    assert not any(key.startswith("manager.") for key in settings)
    shown = caroni("config", "show", "--config", sites / "g1")
    assert "CARONI_AMQP__PREFETCH" in shown.out
    assert "manager.lost_after" in caroni("config", "reference", "--json").out
