"""How a running workflow is shown: a live display on a terminal, a line a change elsewhere. All on stderr."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from caroni.cli import output
from caroni.text import safe_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from caroni.services.workflows import StepOfWorkflow

#: step state -> colour on a terminal, in the order in which states are counted out
COLOURS = {
    "completed": "green",
    "running": "cyan",
    "queued": "blue",
    "fulfilled": "blue",
    "fulfilling": "magenta",
    "held": "yellow",
    "waiting": "dim",
    "cancelled": "yellow",
    "failed": "red",
}
_BUSY = ("failed", "held", "running", "queued", "fulfilled", "fulfilling")


class Progress(Protocol):
    """Shows what becomes of one workflow; used as a context manager."""

    def __enter__(self) -> Progress: ...

    def __exit__(self, *exception: object) -> None: ...

    def show(self, state: str, steps: Sequence[StepOfWorkflow]) -> None:
        """The workflow as it is now."""
        ...


def progress(name: str, *, quiet: bool = False) -> Progress:
    """The display that suits where stderr goes."""
    if quiet:
        return _Silent()
    return _Live(name) if sys.stderr.isatty() else _Lines(name)


def agent_name(uri: str) -> str:
    """``caroni://site/agent/name`` as people say it: ``name`` of the embedded site, else ``site/name``."""
    head, _, name = uri.rpartition("/")
    site = head.removeprefix("caroni://").partition("/")[0]
    return name if site in ("", "local.example") else f"{site}/{name}"


def seconds(step: StepOfWorkflow, now: int) -> str:
    """How long a step has run, or ran."""
    if not step.started_at:
        return ""
    return took(step.started_at, step.ended_at or now)


def took(start: int, end: int) -> str:
    """A time between two instants, such as ``0.4 s`` or ``2m05s``."""
    if 0 < start <= end < start + 1_000_000:
        return f"{(end - start) / 1e6:.2f} s"
    text = output.took(start, end)
    return f"{text[:-1]} s" if "." in text else text


class _Silent:
    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def show(self, state: str, steps: Sequence[StepOfWorkflow]) -> None:
        pass


class _Lines(_Silent):
    """One line for each change of a step's state."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._before: dict[str, tuple[str, int]] = {}
        self._state = ""

    def show(self, state: str, steps: Sequence[StepOfWorkflow]) -> None:
        width = min(max((len(s.name) for s in steps), default=0), 30)
        for step in steps:
            now = (step.state, step.attempt)
            if self._before.get(step.name, ("waiting", 0)) != now:
                output.note(_line(step, width))
            self._before[step.name] = now
        if state != self._state:
            self._state = state
            output.note(f"workflow {safe_line(self._name, 80)}  {state}")


def _worth_saying(step: StepOfWorkflow) -> bool:
    return bool(step.info) and step.state != "completed" and step.info != "first attempt"


def _line(step: StepOfWorkflow, width: int) -> str:
    parts = [f"step {safe_line(step.name, 80).ljust(width)}", step.state.ljust(10)]
    if step.agent:
        parts.append(f"agent {safe_line(agent_name(step.agent), 80)}")
    if step.attempt:
        parts.append(f"attempt {step.attempt}")
    if step.ended_at and step.started_at:
        parts.append(took(step.started_at, step.ended_at))
    if _worth_saying(step):
        parts.append(safe_line(step.info, 200))
    return "  ".join(parts).rstrip()


class _Live:
    """A few lines that are drawn in place, never more than the terminal has."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._name = name
        self._state = "starting"
        self._steps: Sequence[StepOfWorkflow] = ()
        self._began = time.time_ns() // 1000
        self._console: Console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live = Live(
            get_renderable=self._draw, console=self._console, refresh_per_second=8, redirect_stdout=False
        )

    def __enter__(self) -> Progress:
        self._live.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._live.__exit__(*exception)

    def show(self, state: str, steps: Sequence[StepOfWorkflow]) -> None:
        self._state, self._steps = state, steps

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        now = time.time_ns() // 1000
        total = len(self._steps)
        counts = Counter(step.state for step in self._steps)
        colour = {"completed": "bold green", "failed": "bold red", "cancelled": "bold yellow"}
        head = Text.assemble(
            (safe_line(self._name, 40), "bold"),
            "  ",
            (self._state, colour.get(self._state, "bold cyan")),
            f"  {counts['completed']}/{total}" if total else "",
            f"  {took(self._began, now)}",
            no_wrap=True,
            overflow="ellipsis",
        )
        lines: list[Text] = [head]
        if total:
            lines.append(self._bar(counts, total))
            busy = sorted(
                (s for s in self._steps if s.state in _BUSY or (s.state == "waiting" and s.attempt)),
                key=lambda s: _BUSY.index(s.state) if s.state in _BUSY else len(_BUSY),
            )
            # a live region as high as the terminal would scroll it
            room = max(self._console.size.height - 5, 1)
            shown = busy if len(busy) <= room else busy[: room - 1]
            width = min(max((len(s.name) for s in shown), default=0), 28)
            lines += [_row(step, width, now) for step in shown]
            if len(shown) < len(busy):
                lines.append(Text(f"  and {len(busy) - len(shown)} more", style="dim"))
        return Group(*lines)

    def _bar(self, counts: Counter[str], total: int) -> Any:
        from rich.text import Text

        width = max(min(self._console.size.width - 4, 40), 10)
        bar = Text("  ", no_wrap=True, overflow="ellipsis")
        done = 0
        for state in ("completed", "failed", "running", "queued", "fulfilled", "fulfilling"):
            before, done = done, done + counts[state]
            cells = done * width // total - before * width // total
            bar.append("━" * cells, style=COLOURS[state])
        bar.append("━" * (width - done * width // total), style="dim")
        for state, colour in COLOURS.items():
            if counts[state] and state != "completed":
                bar.append(f"  {state} {counts[state]}", style=colour)
        return bar


def _row(step: StepOfWorkflow, width: int, now: int) -> Any:
    from rich.text import Text

    row = Text("  ", no_wrap=True, overflow="ellipsis")
    row.append(safe_line(step.name, 28).ljust(width))
    row.append(f"  {step.state:<10}", style=COLOURS.get(step.state, ""))
    row.append(f"  {safe_line(agent_name(step.agent), 30):<10}")
    row.append(f" {seconds(step, now):>8}")
    if step.attempt > 1:
        row.append(f"  attempt {step.attempt}", style="yellow")
    if _worth_saying(step):
        row.append(f"  {safe_line(step.info, 120)}", style="dim")
    return row
