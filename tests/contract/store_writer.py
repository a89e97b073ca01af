"""A process that commits units until it is killed.

``python -m tests.contract.store_writer URL SEED STATEMENT``: with STATEMENT >= 0 it kills itself before
that statement of its third unit. It prints ``committed N`` after each commit.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from caroni.model.store import Store
from tests.model.samples import Ids, full_unit

UNIT_ROWS = 2


async def main(url: str, seed: int, fatal: int) -> None:
    """Commit until killed."""
    unit = 0
    seen = 0

    def before(sql: str) -> None:
        nonlocal seen
        if unit == 3 and fatal >= 0:
            if seen == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    store = await Store.open(url, "manager", before_statement=before)
    ids = Ids(seed)
    while True:
        unit += 1
        await store.commit(full_unit(ids, steps=UNIT_ROWS))
        print(f"committed {unit}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
