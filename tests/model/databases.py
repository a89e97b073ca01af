"""The database under test. One dialect per process: ``CARONI_TEST_DB=sqlite`` (default) or ``postgresql``."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from caroni.model.schema import migrate
from caroni.model.store import Role, Store

DIALECT = os.environ.get("CARONI_TEST_DB", "sqlite")
sqlite_only = pytest.mark.skipif(DIALECT != "sqlite", reason="about SQLite")
postgresql_only = pytest.mark.skipif(DIALECT != "postgresql", reason="about PostgreSQL")


@pytest.fixture(scope="session")
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with the schema and nothing in it: a file to copy, or the name of a template."""
    if DIALECT == "sqlite":
        path = tmp_path_factory.mktemp("database") / "empty.db"
        asyncio.run(migrate(f"sqlite://{path}"))
        return str(path)
    cluster = request.getfixturevalue("postgres_cluster")
    name: str = cluster.create_database()
    asyncio.run(migrate(cluster.url(name)))
    return name


@pytest.fixture
def new_database(
    request: pytest.FixtureRequest, migrated: str, tmp_path: Path
) -> Iterator[Callable[[], str]]:
    """A function that gives the URL of one more database with the schema and nothing in it."""
    made: list[str] = []

    def make() -> str:
        if DIALECT == "sqlite":
            path = tmp_path / f"caroni{len(made)}.db"
            shutil.copy(migrated, path)
            made.append(str(path))
            return f"sqlite://{path}"
        cluster = request.getfixturevalue("postgres_cluster")
        made.append(cluster.create_database(template=migrated))
        url: str = cluster.url(made[-1])
        return url

    yield make
    if DIALECT == "postgresql":
        cluster = request.getfixturevalue("postgres_cluster")
        for name in made:
            cluster.drop_database(name)


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """The URL of a database with the schema and nothing in it."""
    return new_database()


@pytest.fixture
async def open_store(database_url: str) -> AsyncIterator[Callable[..., object]]:
    """A function that opens a store on ``database_url``; every store is closed at the end."""
    stores: list[Store] = []

    async def open_(role: Role = "manager", url: str = database_url, **options: object) -> Store:
        stores.append(await Store.open(url, role, **options))  # type: ignore[arg-type]
        return stores[-1]

    yield open_
    for store in stores:
        await store.close()
