"""Fixtures shared by all tests: real services, started once per session and only when a test asks.

A service that is not installed skips its tests, unless ``CARONI_REQUIRE_SERVICES=1``: then they fail.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.services import ServiceMissing
from tests.services.postgres import PostgresCluster
from tests.services.proxy import Proxy
from tests.services.rabbitmq import RabbitNode


def _missing(error: ServiceMissing) -> None:
    if os.environ.get("CARONI_REQUIRE_SERVICES") == "1":
        pytest.fail(f"CARONI_REQUIRE_SERVICES=1, but {error}")
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def rabbit_node() -> Iterator[RabbitNode]:
    """The session's private RabbitMQ node, running."""
    try:
        node = RabbitNode()
    except ServiceMissing as error:
        _missing(error)
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
        _missing(error)
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
