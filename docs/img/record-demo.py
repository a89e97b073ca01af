"""Record `caroni demo` as it looks on a terminal: `python docs/img/record-demo.py` writes docs/img/demo.svg.

The command runs under tmux, so that it sees a real terminal; its screen is captured with its colours.
"""

from __future__ import annotations

import io
import re
import subprocess
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 124, 62
COMMAND = "caroni demo"
SECONDS = 60.0  # then the command hangs


def tmux(*arguments: str) -> str:
    """Run tmux on a server of our own and give what it prints."""
    command = ["tmux", "-L", "caroni-record", "-f", "/dev/null", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS).stdout  # noqa: S603


def record() -> str:
    """The screen at the end of the command, with its colours."""
    program = HERE.parents[1] / ".venv/bin/caroni"
    line = f"{program} {COMMAND.removeprefix('caroni ')}; tmux -L caroni-record wait-for -S done; cat"
    tmux("new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), line)
    try:
        tmux("wait-for", "done")
        time.sleep(0.2)  # tmux reads the last of the program's output after the signal
        return tmux("capture-pane", "-e", "-p", "-S", "-")
    finally:
        tmux("kill-server")


def main() -> None:
    """Write the picture."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bold"), COMMAND))
    console.print(Text.from_ansi(record().rstrip() + "\n"))
    svg = console.export_svg(title=COMMAND, font_aspect_ratio=0.61, unique_id="demo")
    # the reader's own monospaced font: a picture in a repository fetches nothing
    (HERE / "demo.svg").write_text(re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL))


if __name__ == "__main__":
    main()
