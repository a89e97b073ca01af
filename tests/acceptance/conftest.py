from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.site import Site
from tests.model.databases import DIALECT
from tests.services.rabbitmq import RabbitNode

SAMPLE_NAMES = ("text-chain", "diamond", "second-chance", "genomics")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site")
    path.chmod(0o700)
    return path


@pytest.fixture(scope="module")
def new_database(request: pytest.FixtureRequest) -> Iterator[Callable[[], dict[str, Any]]]:
    """A function that gives the options of ``caroni init`` for one more database."""
    made: list[str] = []

    def make() -> dict[str, Any]:
        if DIALECT == "sqlite":
            return {}
        cluster = request.getfixturevalue("postgres_cluster")
        made.append(cluster.create_database())
        return {"database": cluster.url(made[-1], scheme="postgres")}

    yield make
    for name in made:
        request.getfixturevalue("postgres_cluster").drop_database(name)


@pytest.fixture(scope="module")
def lab(base: Path, rabbit_node: RabbitNode, new_database: Callable[[], dict[str, Any]]) -> Iterator[Site]:
    """A manager ``m`` and agents ``a1`` and ``a2`` that run, with all samples."""
    site = Site(base, rabbit_node.url(rabbit_node.vhost()))
    try:
        site.make_usual("a1", "a2", **{name: new_database() for name in ("m", "a1", "a2")})
        for name in SAMPLE_NAMES:
            site.sample(name, ("a1", "a2"))
        site.spawn("m", "a1", "a2")
        yield site
        assert site.bugs() == []
    finally:
        site.close()
