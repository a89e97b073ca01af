"""The private services behave as the tests that use them assume."""

from __future__ import annotations

import asyncio

import pytest

from tests.services import eventually
from tests.services.postgres import PostgresCluster
from tests.services.proxy import Proxy


def test_a_killed_postgres_keeps_what_was_committed(
    postgres_cluster: PostgresCluster, postgres_database: str
) -> None:
    sql = postgres_cluster.sql
    assert sql("SHOW fsync", postgres_database) == "on\n"
    sql("CREATE TABLE t (v int)", postgres_database)
    sql("INSERT INTO t VALUES (42)", postgres_database)
    postgres_cluster.kill9()
    postgres_cluster.start()
    assert sql("SELECT v FROM t", postgres_database) == "42\n"
    copy = postgres_cluster.create_database(postgres_database)
    assert sql("SELECT v FROM t", copy) == "42\n"
    postgres_cluster.drop_database(copy)


def test_a_stopped_postgres_starts_again(postgres_cluster: PostgresCluster, postgres_database: str) -> None:
    postgres_cluster.stop()
    postgres_cluster.start()
    assert postgres_cluster.sql("SELECT 1", postgres_database) == "1\n"


async def test_the_proxy_forwards_holds_slows_and_cuts() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(100):
            writer.write(piece)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname()[1])
    await proxy.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(b"a")
        assert await reader.read(1) == b"a"
        proxy.blackhole()
        writer.write(b"b")
        held = asyncio.create_task(reader.read(1))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(held), 0.1)
        proxy.through()
        assert await held == b"b"
        loop = asyncio.get_running_loop()
        proxy.slow(0.05)
        before = loop.time()
        writer.write(b"c")
        assert await reader.read(1) == b"c"
        assert loop.time() - before >= 0.09  # both ways
        proxy.cut(refuse=True)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            assert await reader.readexactly(1)
        again, other = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await again.readexactly(1)
        other.transport.abort()
    finally:
        writer.transport.abort()
        await proxy.close()
        server.close()
        await server.wait_closed()


async def test_eventually_names_what_did_not_happen() -> None:
    assert await eventually(lambda: 7) == 7
    with pytest.raises(AssertionError, match="no luck"):
        await eventually(lambda: False, 0.02, "no luck")
