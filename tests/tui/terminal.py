"""The console on a real terminal: a pane of a private tmux, keys sent to it, its screen read from it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.services import ServiceMissing

ROOT = Path(__file__).parents[2]
#: seconds for a change on the screen, on a machine that does other things too
PATIENCE = 20.0

#: what a shell does around the command: it tells the terminal's modes before and after, and stays
_SHELL = """
stty -g > "$1/before"
shift
"$@"
code=$?
stty -g > "$0/after"
printf 'left with %s\\n' "$code"
cat > /dev/null
"""


class Terminal:
    """One pane."""

    def __init__(self, name: str, directory: Path) -> None:
        self._name = name
        self._directory = directory

    def tmux(self, *arguments: str) -> str:
        """Run tmux on our own server; gives what it prints."""
        command = ["tmux", "-u", "-L", self._name, "-f", "/dev/null", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout

    def start(self, command: list[str], size: tuple[int, int], environment: Mapping[str, str]) -> None:
        """Open the pane with a command in it; an empty value takes a variable away."""
        unset = [word for name, value in environment.items() if not value for word in ("-u", name)]
        given = [f"{name}={value}" for name, value in environment.items() if value]
        place = str(self._directory)
        line = shlex.join(["env", *unset, *given, "sh", "-c", _SHELL, place, place, *command])
        self.tmux("new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), "-c", str(ROOT), line)

    # --- the screen ----------------------------------------------------------------------------

    def screen(self) -> str:
        """What stands on it, without trailing blanks."""
        return "\n".join(line.rstrip() for line in self.tmux("capture-pane", "-p").splitlines())

    def styled(self) -> str:
        """The same with its colours and attributes, as escape sequences."""
        return self.tmux("capture-pane", "-p", "-e")

    def sees(self, *words: str, not_: tuple[str, ...] = (), seconds: float = PATIENCE) -> str:
        """Wait until all of these stand on the screen (and none of those); gives the screen.

        Raises:
            AssertionError: they do not within ``seconds``; shows the screen.
        """
        end = time.monotonic() + seconds
        while True:
            screen = self.screen()
            if all(word in screen for word in words) and not any(word in screen for word in not_):
                return screen
            assert time.monotonic() < end, (
                f"not within {seconds:.0f} s: {[w for w in words if w not in screen]}; the screen:\n{screen}"
            )
            time.sleep(0.05)

    def caret_on(self, label: str, seconds: float = PATIENCE) -> None:
        """Wait until the line that the caret is on begins with a label: what is typed now goes there.

        Raises:
            AssertionError: it is not within ``seconds``; shows the screen.
        """
        end = time.monotonic() + seconds
        while True:
            lines, row = self.screen().splitlines(), int(self.shows("cursor_y"))
            if row < len(lines) and lines[row].strip().startswith(label):
                return
            assert time.monotonic() < end, f"the caret is on line {row}, not on {label}:\n" + "\n".join(lines)
            time.sleep(0.05)

    # --- what a person does --------------------------------------------------------------------

    def press(self, *keys: str) -> None:
        """Press keys, by tmux's names (``Enter``, ``Escape``, ``C-q``, ``F2``)."""
        self.tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type a text as it is."""
        self.tmux("send-keys", "-l", text)

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size."""
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def hang_up(self) -> None:
        """Close the terminal, as a lost connection does."""
        self.tmux("kill-pane")

    def shows(self, what: str) -> str:
        """One of tmux's variables of the pane, e.g. ``alternate_on``."""
        return self.tmux("display-message", "-p", f"#{{{what}}}").strip()

    # --- processes -----------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """What runs in the pane: the console and what it has started."""
        shell = psutil.Process(int(self.shows("pane_pid")))
        return shell.children(recursive=True)

    def left(self, code: int) -> str:
        """Wait until the command has ended with this exit code and the terminal is as it was."""
        screen = self.sees(f"left with {code}")
        assert (self._directory / "before").read_text() == (self._directory / "after").read_text()
        flags = {name: self.shows(name) for name in ("alternate_on", "cursor_flag", "mouse_any_flag")}
        assert flags == {"alternate_on": "0", "cursor_flag": "1", "mouse_any_flag": "0"}
        return screen

    def close(self) -> None:
        """End everything."""
        subprocess.run(["tmux", "-L", self._name, "kill-server"], check=False, capture_output=True)


def caroni(*arguments: str | Path) -> list[str]:
    """Our command line."""
    return [sys.executable, "-m", "caroni", *map(str, arguments)]


@contextmanager
def terminal(
    directory: Path,
    *command: str,
    size: tuple[int, int] = (80, 24),
    **environment: str,
) -> Iterator[Terminal]:
    """A terminal with a command in it; an empty value takes a variable away.

    Raises:
        ServiceMissing: tmux is not on this machine.
    """
    if shutil.which("tmux") is None:
        raise ServiceMissing("tmux is not installed: apt-get install tmux")
    made = Terminal(f"caroni-{uuid.uuid4().hex[:12]}", directory)
    own = {
        "XDG_STATE_HOME": str(directory / "state"),
        "XDG_CONFIG_HOME": str(directory / "config"),
        "SSH_CONNECTION": "",
        "CARONI_CONFIG": "",
        "NO_COLOR": "",
        "TMUX": "",
        "LC_ALL": "C.UTF-8",
    }
    try:
        made.start(list(command), size, {**own, **environment})
        yield made
    finally:
        made.close()


def end(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal to a process that a test has started."""
    os.kill(process.pid, number)
