"""``caroni manager`` and ``caroni agent``: the headless daemons, until a signal ends them."""

from __future__ import annotations

import asyncio

from caroni.cli.frame import group
from caroni.cli.options import Configuration, Json, example
from caroni.errors import UsageError

manager_app = group()
agent_app = group()


@manager_app.command(epilog=example("caroni manager --config m1", "CARONI_CONFIG=m1 caroni manager"))
def manager(config: Configuration = None, json: Json = False) -> None:
    """Run a manager until SIGTERM or SIGINT; --json writes its log as JSON lines."""
    _run("manager", config, json)


@agent_app.command(epilog=example("caroni agent --config a1", "CARONI_CONFIG=a1 caroni agent"))
def agent(config: Configuration = None, json: Json = False) -> None:
    """Run an agent until SIGTERM or SIGINT; its jobs run on. --json writes its log as JSON lines."""
    _run("agent", config, json)


def _run(role: str, config: Configuration, json: bool) -> None:
    from caroni import logs
    from caroni.config import load_config
    from caroni.daemon.service import serve

    loaded = load_config(config)
    if loaded.config.role != role:
        raise UsageError(
            f"{loaded.path} is the configuration of a {loaded.config.role}: run caroni {loaded.config.role}"
        )
    logs.configure(loaded.config.log.level, "json" if json else loaded.config.log.format)
    asyncio.run(serve(loaded))
