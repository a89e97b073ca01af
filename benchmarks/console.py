"""The operator's console on a terminal, beside an empty Textual app in the same run.

First paint (start of the process to the first frame), idle processor time, and one workflow of 10,000 steps:
its first page, then 1,000 state changes a second that another process commits to the real database: how late
the event loop is, processor time, bytes to the terminal (also with ``--slow``), memory.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.console_data import make
from benchmarks.pty import OnTerminal, on_terminal

MIB = 1024 * 1024
#: seconds that a figure of use is taken over, and that it is left alone before
SPAN, SETTLE = 10.0, 3.0
RATE = 1000
#: an app that draws one word
EMPTY = (
    "from textual.app import App\nfrom textual.widgets import Static\n"
    "class Empty(App):\n    def compose(self):\n        yield Static('caroni')\nEmpty().run()\n"
)


async def measure(directory: Path, runs: int = 7) -> list[dict[str, Any]]:
    """All figures, as lines of ``make bench``."""
    place = directory / "m"
    await make(place)
    found = [*_first_paint(place, directory, runs), *_idle(place, directory)]
    pages, lines = [], []
    for slow in (False, True):
        page, line = _under_load(place, directory, slow)
        pages.append(page)
        lines.append(line)
    pages += [_page(place, directory) for _ in range(runs - len(pages))]
    page_ms = statistics.median(pages) * 1000
    return [*found, {"benchmark": "console_first_page_10000", "value": page_ms, "unit": "ms"}, *lines]


@contextmanager
def _console(place: Path, directory: Path, *arguments: str) -> Iterator[OnTerminal]:
    command = [sys.executable, "-m", "benchmarks.console_app", str(directory / "late.json")]
    state = {"XDG_STATE_HOME": str(directory / "state"), "XDG_CONFIG_HOME": str(directory / "config")}
    with on_terminal([*command, "--config", str(place), *arguments], state) as shown:
        yield shown


def _first_paint(place: Path, directory: Path, runs: int) -> list[dict[str, Any]]:
    console, empty, data = [], [], []
    for _ in range(runs):
        with on_terminal([sys.executable, "-c", EMPTY], {}) as shown:
            empty.append(shown.when("caroni") - shown.begun)
        plain = [sys.executable, "-m", "caroni", "tui", "--config", str(place)]
        with on_terminal(plain, {"XDG_STATE_HOME": str(directory / "state")}) as shown:
            console.append(shown.when("workflows") - shown.begun)
            data.append(shown.when("pipeline") - shown.begun)
    return [
        {
            "benchmark": "console_first_paint",
            "value": statistics.median(console) * 1000,
            "unit": "ms",
            "with_data_ms": statistics.median(data) * 1000,
            "reference": "Textual app with one word",
            "reference_value": statistics.median(empty) * 1000,
            "ratio": statistics.median(c / e for c, e in zip(console, empty, strict=True)),
        }
    ]


def _idle(place: Path, directory: Path) -> list[dict[str, Any]]:
    with on_terminal([sys.executable, "-c", EMPTY], {}) as shown:
        shown.when("caroni")
        time.sleep(SETTLE)
        empty, _ = shown.over(SPAN)
        memory = shown.memory()
    plain = [sys.executable, "-m", "caroni", "tui", "--config", str(place)]
    with on_terminal(plain, {"XDG_STATE_HOME": str(directory / "state")}) as shown:
        shown.when("pipeline")
        time.sleep(SETTLE)
        cpu, rate = shown.over(SPAN)
        return [
            {
                "benchmark": "console_idle_cpu",
                "value": cpu * 100,
                "unit": "% of a core",
                "bytes_per_s": rate,
                "memory_mib": shown.memory() / MIB,
                "reference": "Textual app with one word",
                "reference_value": empty * 100,
                "reference_memory_mib": memory / MIB,
            }
        ]


def _open(shown: OnTerminal) -> float:
    """Seconds from the key to the first page."""
    shown.when("pipeline")
    time.sleep(SETTLE)
    since = shown.mark()
    pressed = shown.press("\r")
    return shown.when("groups folded", "stage18", since=since) - pressed


def _page(place: Path, directory: Path) -> float:
    with _console(place, directory) as shown:
        return _open(shown)


def _under_load(place: Path, directory: Path, slow: bool) -> tuple[float, dict[str, Any]]:
    with _console(place, directory, *(["--slow"] if slow else [])) as shown:
        page = _open(shown)
        shown.press("\r")  # unfold the first group: rows that change fill the screen
        shown.when("fetch_010")
        with _writer(place) as written:
            time.sleep(SETTLE)
            shown.signal(signal.SIGUSR1)
            cpu, rate = shown.over(SPAN)
            late = _late(shown, directory / "late.json")
            memory = shown.memory()
    return page, {
        "benchmark": f"console_load_10000_steps_{RATE}_changes{'_slow' if slow else ''}",
        "value": _at(late, 0.99) * 1000,
        "unit": "ms loop lag p99",
        "lag_mean_ms": statistics.fmean(late) * 1000,
        "lag_max_ms": late[-1] * 1000,
        "cpu_percent": cpu * 100,
        "kilobytes_per_s": rate / 1000,
        "changes_per_s": written[0],
        "memory_mib": memory / MIB,
    }


def _late(shown: OnTerminal, file: Path) -> Sequence[float]:
    file.unlink(missing_ok=True)
    shown.signal(signal.SIGUSR2)
    end = time.monotonic() + 10
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return sorted(json.loads(file.read_text()))


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


@contextmanager
def _writer(place: Path) -> Iterator[list[float]]:
    """Another process commits; afterwards the list holds how many changes a second it has managed."""
    command = [sys.executable, "-m", "benchmarks.console_writer", str(place), str(RATE)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    written: list[float] = []
    try:
        writer.stdout.readline()
        yield written
        writer.terminate()
        written.append(float(writer.stdout.readline()))
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
