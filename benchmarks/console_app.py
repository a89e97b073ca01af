"""``caroni tui`` with a meter of its event loop: ``python -m benchmarks.console_app FILE ARGUMENTS``.

Every 5 ms a task looks how late it is; SIGUSR1 begins anew, SIGUSR2 writes the delays (seconds) to FILE.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

EVERY = 0.005


def main() -> None:
    """Run the console."""
    file, arguments = Path(sys.argv[1]), sys.argv[2:]
    from caroni.cli import main as caroni
    from caroni.tui import app

    class Measured(app.ConsoleApp):
        def on_load(self) -> None:
            self._late: list[float] = []
            self._meter = asyncio.create_task(self._measure())
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGUSR1, self._late.clear)
            loop.add_signal_handler(signal.SIGUSR2, self._write)

        async def _measure(self) -> None:
            loop = asyncio.get_running_loop()
            while True:
                due = loop.time() + EVERY
                await asyncio.sleep(EVERY)
                self._late.append(max(loop.time() - due, 0.0))

        def _write(self) -> None:
            half = file.with_suffix(".half")
            half.write_text(json.dumps(self._late))
            os.replace(half, file)

    app.ConsoleApp = Measured  # type: ignore[misc]
    sys.exit(caroni(["tui", *arguments]))


if __name__ == "__main__":
    main()
