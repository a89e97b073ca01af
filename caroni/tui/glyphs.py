"""States as people see them: a glyph, a word and a style, so that none of them is needed to read another."""

from __future__ import annotations

import msgspec
from rich.style import Style


class Mark(msgspec.Struct, frozen=True):
    """How a state is shown."""

    glyph: str
    word: str
    style: Style

    @property
    def text(self) -> str:
        """Glyph and word."""
        return f"{self.glyph} {self.word}"


# Kind of look -> glyph, its ASCII twin, colour. Named colours only: the terminal's own palette decides.
_LOOKS: dict[str, tuple[str, str, Style]] = {
    "waiting": ("○", ".", Style(dim=True)),
    "asked": ("◔", "o", Style(color="cyan")),
    "taken": ("◑", "o", Style(color="cyan")),
    "running": ("▶", ">", Style(color="blue", bold=True)),
    "done": ("✔", "v", Style(color="green")),
    "failed": ("✘", "x", Style(color="red", bold=True)),
    "paused": ("‖", "=", Style(color="yellow")),
    "held": ("◆", "!", Style(color="yellow", bold=True)),
    "ended": ("⊘", "/", Style(color="magenta")),
    "warning": ("▲", "!", Style(color="yellow")),
    "unknown": ("?", "?", Style(dim=True)),
}

_STATES: dict[str, dict[str, str]] = {
    "workflow": {
        "running": "running",
        "held": "held",
        "failing": "failed",
        "cancelling": "ended",
        "completed": "done",
        "failed": "failed",
        "cancelled": "ended",
        "paused": "paused",
    },
    "step": {
        "waiting": "waiting",
        "fulfilling": "asked",
        "fulfilled": "taken",
        "running": "running",
        "held": "held",
        "completed": "done",
        "failed": "failed",
        "cancelled": "ended",
    },
    # both sides' words for a job
    "job": {
        "pending": "waiting",
        "queued": "taken",
        "starting": "running",
        "running": "running",
        "paused": "paused",
        "lost": "unknown",
        "superseded": "ended",
        "killing": "ended",
        "completed": "done",
        "failed": "failed",
        "killed": "ended",
        "orphan": "unknown",
    },
    "presence": {
        "online": "done",
        "here": "done",
        "offline": "ended",
        "away": "ended",
        "draining": "paused",
        "silent": "warning",
    },
    "check": {"ok": "done", "warning": "warning", "problem": "failed"},
    "verdict": {"ok": "done", "good": "done", "unsigned": "warning", "warning": "warning"},
}

#: Words that are shorter on the screen than in the protocol.
_WORDS = {"fulfilling": "asking", "fulfilled": "accepted", "completed": "done"}

_ascii = False


def use_ascii(wanted: bool) -> None:
    """Draw with ASCII only, everywhere in this process."""
    global _ascii
    _ascii = wanted


def ascii_only() -> bool:
    """Whether only ASCII is drawn."""
    return _ascii


def mark(kind: str, state: str) -> Mark:
    """How a state is shown.

    Args:
        kind: ``workflow``, ``step``, ``job``, ``presence``, ``check`` or ``verdict``.
        state: the protocol's word. One that is not known gets ``?``; a verdict that is not good is a failure.
    """
    look = _STATES[kind].get(state, "failed" if kind == "verdict" else "unknown")
    glyph, plain, style = _LOOKS[look]
    return Mark(plain if _ascii else glyph, _WORDS.get(state, state), style)


def look(name: str) -> Mark:
    """A mark by its look alone (``done``, ``failed``, ``warning`` ...)."""
    glyph, plain, style = _LOOKS[name]
    return Mark(plain if _ascii else glyph, name, style)


def bar(done: float, width: int) -> str:
    """A bar of ``width`` cells for a share between 0 and 1; full only when everything is done."""
    share = min(max(done, 0.0), 1.0)
    full = width if share >= 1.0 else min(int(share * width), width - 1)
    return ("#" if _ascii else "█") * full + ("." if _ascii else "░") * (width - full)


#: What is drawn with other signs where only ASCII is wanted.
_TWINS = str.maketrans(
    "›‹●…│─↵▌·—✔✘▶◀○▲▼‖◆⊘◔◑█░▓↑↓←→├┤",
    "><*~|-<|--vx><.!v=!/oo#.#^v<>||",
)


def drawn(text: str) -> str:
    """Our own text as it can be drawn here: with ASCII signs where only those are wanted."""
    return text.translate(_TWINS) if _ascii else text
