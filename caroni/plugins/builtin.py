"""What Caroni brings itself, registered as any plugin is."""

from __future__ import annotations

from collections.abc import Mapping

from caroni.execution.executor import ExecutorFactory
from caroni.execution.local import local_executor
from caroni.execution.noop import noop_executor
from caroni.plugins.hookspecs import hookimpl


@hookimpl
def caroni_executors() -> Mapping[str, ExecutorFactory]:
    """The executors ``local`` and ``noop``."""
    return {"local": local_executor, "noop": noop_executor}
