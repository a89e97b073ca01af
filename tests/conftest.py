"""Fixtures shared by all tests: real services, started once per session and only when a test asks.

A service that is not installed skips its tests, unless ``CARONI_REQUIRE_SERVICES=1``: then they fail.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.services import ServiceMissing
from tests.services.postgres import PostgresCluster
from tests.services.proxy import Proxy
from tests.services.rabbitmq import RabbitNode

#: Folders whose tests cost milliseconds, most basic first; what is not named here comes after them.
FAST = ("core", "config", "wire", "trust", "cwl", "plugins", "model", "simulator")
#: Folders whose tests start services and processes; the longest first, so that two processes end together.
SLOW = ("chaos", "execution", "contract", "cli", "acceptance")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first; and mark what depends on the database, for the process that has another one."""
    order = {name: place for place, name in enumerate((*FAST, "", *SLOW))}
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        return order.get(folder, order[""])

    items.sort(key=place)
    for item in items:
        if "migrated" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.database)


_status = 0


def pytest_sessionfinish(exitstatus: int) -> None:
    """Remember how it went."""
    global _status
    _status = int(exitstatus)


def pytest_unconfigure() -> None:
    """A test that fails may leave a database open, whose thread would keep this process for ever."""
    left = [t.name for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    if _status and left:
        sys.stderr.write(f"threads are left behind: {', '.join(left)}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_status)


def missing(error: ServiceMissing) -> None:
    if os.environ.get("CARONI_REQUIRE_SERVICES") == "1":
        pytest.fail(f"CARONI_REQUIRE_SERVICES=1, but {error}")
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def rabbit_node() -> Iterator[RabbitNode]:
    """The session's private RabbitMQ node, running."""
    try:
        node = RabbitNode()
    except ServiceMissing as error:
        missing(error)
        return
    try:
        node.start()
        yield node
    finally:
        node.close()


@pytest.fixture
def rabbit_url(rabbit_node: RabbitNode) -> str:
    """URL of an empty vhost of the session's node."""
    return rabbit_node.url(rabbit_node.vhost())


@pytest.fixture
async def rabbit_proxy(rabbit_node: RabbitNode) -> AsyncIterator[Proxy]:
    """A proxy in front of the session's node."""
    proxy = Proxy(rabbit_node.port)
    await proxy.start()
    yield proxy
    await proxy.close()


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[PostgresCluster]:
    """The session's private PostgreSQL cluster, running."""
    try:
        cluster = PostgresCluster()
    except ServiceMissing as error:
        missing(error)
        return
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def postgres_database(postgres_cluster: PostgresCluster) -> Iterator[str]:
    """Name of an empty database of the session's cluster; ``postgres_cluster.url(name)`` is its URL."""
    name = postgres_cluster.create_database()
    yield name
    postgres_cluster.drop_database(name)
