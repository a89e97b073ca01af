"""``caroni doctor``: whether this daemon or submitter is well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from caroni.cli import output
from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example

if TYPE_CHECKING:
    from caroni.config import Loaded
    from caroni.services.checks import Check

app = group()

#: seconds that the broker has for each answer
PATIENCE = 8.0


@app.command(epilog=example("caroni doctor --config m1", "caroni doctor --json --config g1 | jq '.[].state'"))
def doctor(
    no_broker: Annotated[bool, typer.Option("--no-broker", help="Do not connect to the broker.")] = False,
    config: Configuration = None,
    json: Json = False,
) -> None:
    """Look at broker, database, disk, clock, certificates, peers and what waits; change nothing.

    Works whether the daemon runs or not. Ends with 1 if there is a problem; warnings do not count.
    """
    from caroni import logs
    from caroni.config import load_config

    loaded = load_config(config)
    logs.configure("error", "human")
    found = asyncio.run(_examined(loaded, no_broker, (lambda check: None) if json else _show))
    if json:
        output.as_json(found)
    if any(check.state == "problem" for check in found):
        raise typer.Exit(1)


async def _examined(loaded: Loaded, no_broker: bool, show: Callable[[Check], None]) -> list[Check]:
    from caroni.services.doctor import examine

    found: list[Check] = []
    async for check in examine(loaded):
        show(check)
        found.append(check)
    for check in [] if no_broker else await broker(loaded):
        show(check)
        found.append(check)
    return found


async def broker(loaded: Loaded) -> list[Check]:
    """The checks of the broker, as this daemon's user sees it; declares and leaves nothing there."""
    from caroni.daemon.bus.probe import probe
    from caroni.daemon.bus.topology import agent_queues, manager_queues
    from caroni.daemon.service import broker_options
    from caroni.errors import ConfigError
    from caroni.services.broker import broker_checks
    from caroni.services.checks import problem
    from caroni.services.control import daemon_runs
    from caroni.wire.topics import short_id

    config = loaded.config
    topic = short_id(config.uri)
    queues = {"manager": manager_queues(topic), "agent": agent_queues(topic, [])}.get(config.role, ())
    try:
        options = broker_options(loaded)
    except ConfigError as error:
        return [problem("broker", str(error))]
    seen = await probe(
        options, f"caroni.{config.role}.{topic}", tuple(queue.name for queue in queues), PATIENCE
    )
    return broker_checks(seen, config.amqp.queue_type, daemon_runs(loaded.lock_file))


def _show(check: Check) -> None:
    output.line(f"{check.state:<8} {check.name}: {check.text}")
    if check.remedy and check.state != "ok":
        output.line(f"         -> {check.remedy}")
    output.flush()
