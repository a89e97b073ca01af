"""A process that writes as the CLI does: ``python -m tests.contract.foreign_writer URL NAME COUNT``."""

from __future__ import annotations

import asyncio
import sys

from caroni.model.store import Store


async def main(url: str, name: str, count: int) -> None:
    """Add ``count`` commands and template revisions."""
    store = await Store.open(url, "manager")
    for n in range(count):
        await store.add_command(name, f"[{n}]", n)
        await store.add_template("shared", f"{name}-{n}", "[]", "{}", n)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
