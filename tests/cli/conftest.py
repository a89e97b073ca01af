"""Running commands: in this process where it is about what they do, as processes where it is about ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from caroni.cli import main

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
CHAIN = SAMPLES / "text-chain" / "workflow.cwl"
UPPER = SAMPLES / "text-chain" / "jobs" / "north" / "upper-case.yml"


class Result(msgspec.Struct, frozen=True):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)

    def refused(self, code: int = 2) -> str:
        """The one line on stderr of a command that was refused."""
        assert self.code == code, (self.code, self.out, self.err)
        assert self.err.startswith("caroni: "), self.err
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err


Caroni = Callable[..., Result]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in os.environ:
        if name.startswith("CARONI_"):
            monkeypatch.delenv(name)


@pytest.fixture
def caroni(capfd) -> Caroni:
    """Run a command in this process."""

    def run(*arguments: object) -> Result:
        capfd.readouterr()
        code = main([str(a) for a in arguments])
        captured = capfd.readouterr()
        return Result(code, captured.out, captured.err)

    return run


def environment(**extra: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CARONI_")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **extra}


def process(*arguments: object, cwd: Path | None = None, **env: str) -> Result:
    """Run a command as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "caroni", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment(**env),
        cwd=cwd,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def _made(tmp_path_factory) -> Path:
    """Two sites, made once: ``ca-a``, ``ca-b``, manager ``m1`` of a.example, agent ``g1`` of b.example."""
    root = tmp_path_factory.mktemp("sites")
    for arguments in (
        ("pki", "init-ca", root / "ca-a", "--site", "a.example", "--no-passphrase"),
        ("pki", "init-ca", root / "ca-b", "--site", "b.example", "--no-passphrase"),
        ("init", "manager", root / "m1", "--site", "a.example", "--name", "m1", "--ca", root / "ca-a"),
        ("init", "agent", root / "g1", "--site", "b.example", "--name", "g1", "--ca", root / "ca-b",
         "--allow-manager", "caroni://a.example/manager/*"),
        ("init", "submitter", root / "s1", "--site", "a.example", "--name", "s1", "--ca", root / "ca-a"),
    ):  # fmt: skip
        assert main([str(a) for a in arguments]) == 0
    return root


@pytest.fixture
def sites(_made, tmp_path) -> Path:
    """A copy of the two sites that a test may change."""
    shutil.copytree(_made, tmp_path / "sites", symlinks=True)
    return tmp_path / "sites"
