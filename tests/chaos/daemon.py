"""The ordinary command line with a trap in it: the process kills itself at the n-th pass of one point.

``CARONI_FAULT=after_commit_before_ack:3 python daemon.py agent --config DIRECTORY``. The traps are wrapped
around the product's methods here, from outside: the product itself has nothing that only tests can reach.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from caroni.daemon.agent import AgentRole
from caroni.daemon.bus.amqp import AmqpBus
from caroni.daemon.outbox import Outbox
from caroni.execution.local import LocalExecutor
from caroni.execution.spool import Spool
from caroni.model.database import Database
from caroni.model.store import Store

#: point -> most passes before it strikes; those of ``AGENT_ONLY`` are in the life of a job
POINTS = {
    "before_commit": 30,
    "inside_commit": 120,
    "after_commit_before_publish": 15,
    "after_commit_before_ack": 30,
    "after_publish_before_mark": 30,
    "while_recovering": 1,
    "after_starting_before_launch": 4,
    "after_spool_before_launch": 4,
    "after_launch": 4,
    "after_exit_before_commit": 4,
}
AGENT_ONLY = frozenset(
    {
        "after_starting_before_launch",
        "after_spool_before_launch",
        "after_launch",
        "after_exit_before_commit",
    }
)

Trap = Callable[[], None]


def end() -> None:
    """``kill -9`` of this very process."""
    os.kill(os.getpid(), signal.SIGKILL)


def trap(passes: int, strike: Trap = end) -> Trap:
    """A function that ends this process when it is called for the ``passes``-th time."""
    left = passes

    def spring() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            strike()

    return spring


def before(owner: type, name: str, spring: Trap, when: Callable[..., bool] = lambda *_: True) -> None:
    """Have a method, awaitable or not, begin with the trap."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def trapped(*args: Any, **options: Any) -> Any:
        if when(*args):
            spring()
        return method(*args, **options)

    setattr(owner, name, trapped)


def after(owner: type, name: str, spring: Trap) -> None:
    """Have a coroutine method end with the trap when it has been successful."""
    method = getattr(owner, name)

    @functools.wraps(method)
    async def trapped(*args: Any, **options: Any) -> Any:
        result = await method(*args, **options)
        spring()
        return result

    setattr(owner, name, trapped)


def after_plain(owner: type, name: str, spring: Trap) -> None:
    """The same for a method that is none of a coroutine."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def trapped(*args: Any, **options: Any) -> Any:
        result = method(*args, **options)
        spring()
        return result

    setattr(owner, name, trapped)


def inside_writes(spring: Trap) -> None:
    """Between two statements of a transaction, or between the last one and its COMMIT."""
    make = Database.__init__

    @functools.wraps(make)
    def made(self: Database, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        self._before = lambda statement: spring()

    Database.__init__ = made  # type: ignore[method-assign]


def arm(point: str, passes: int) -> None:
    """Set the trap."""
    spring = trap(passes)
    match point:
        case "before_commit":
            before(Store, "commit", spring)
        case "inside_commit":
            inside_writes(spring)
        case "after_commit_before_publish":
            before(Outbox, "publish", spring, lambda outbox, rows: bool(rows))
        case "after_commit_before_ack":
            before(AmqpBus, "ack", spring)
        case "after_publish_before_mark":
            after(AmqpBus, "publish", spring)
        case "while_recovering":
            before(AmqpBus, "start", spring)
        case "after_starting_before_launch":
            before(LocalExecutor, "launch", spring)
        case "after_spool_before_launch":
            after_plain(Spool, "flush", spring)
        case "after_launch":
            after(LocalExecutor, "launch", spring)
        case "after_exit_before_commit":
            before(AgentRole, "on_exit", spring)
        case _:
            raise SystemExit(f"CARONI_FAULT names no point: {point!r}; there are {', '.join(POINTS)}")


def main() -> int:
    """Arm what ``CARONI_FAULT`` names and run the command line."""
    # not for the jobs' environment
    point, _, passes = os.environ.pop("CARONI_FAULT", "").partition(":")
    if point:
        arm(point, int(passes or 1))
    from caroni.cli import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
