"""A manager's daemon as the console sees it: ``python -m benchmarks.console_writer DIRECTORY RATE``.

Commits ``RATE`` step changes a second to the database of DIRECTORY, a tenth of them at a time, until SIGTERM:
steps begin to run, and run again. Ends by saying how many a second it has really been.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

import msgspec

from benchmarks.console_data import WORKFLOW
from caroni.core.rows import Step, Workflow
from caroni.core.states import StepState
from caroni.model.store import Store
from caroni.model.unit import Unit

#: units of work a second
UNITS = 10


async def write(directory: Path, rate: int) -> None:
    """Until SIGTERM."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    store = await Store.open(f"sqlite://{directory / 'caroni.db'}", "manager")
    steps: list[Step] = []
    while page := await store.steps(WORKFLOW, limit=1000, after=steps[-1].index if steps else -1):
        steps += page
    found = await store.workflow(WORKFLOW)
    assert found is not None
    workflow: Workflow = found.workflow
    order = (StepState.FULFILLING, StepState.RUNNING)
    place = 0
    begun = time.monotonic()
    units = 0
    while not over.is_set():
        now = time.time_ns() // 1000
        changed = []
        for _ in range(rate // UNITS):
            # the first page is on the screen; the others are everywhere
            index = (place * 7) % len(steps)
            step = steps[index]
            state = order[(order.index(step.state) + 1) % 2] if step.state in order else order[0]
            steps[index] = step = msgspec.structs.replace(step, state=state, started_at=now, attempt=1)
            changed.append(step)
            place += 1
        await store.commit(Unit(rows={Workflow: [workflow], Step: changed}, now=now))
        units += 1
        if units == 1:
            print("writing", flush=True)
        await asyncio.sleep(max(begun + units / UNITS - time.monotonic(), 0))
    print(place / (time.monotonic() - begun), flush=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
