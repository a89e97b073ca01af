"""One line of JSON for each run, appended: figures are collected over several sittings."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any


def commit() -> str:
    """The commit that was tested, with a ``+`` when the tree had changes."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    changed = "+" if git("status", "--porcelain") else ""
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + changed


def write(path: Path, *, began: float, **figures: Any) -> None:
    """Append a run. ``began`` is its wall time in seconds."""
    line = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "commit": commit(),
        "seconds": round(time.time() - began),
        **figures,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
