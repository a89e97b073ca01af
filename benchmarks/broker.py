"""A broker for benchmarks: the private node of the tests, or the one that ``CARONI_BENCH_AMQP`` names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.services.rabbitmq import RabbitNode


@contextmanager
def broker(url: str = "") -> Iterator[str]:
    """Yield the URL of a broker; a private node is started if none is given, and ended afterwards."""
    given = url or os.environ.get("CARONI_BENCH_AMQP", "")
    if given:
        yield given
        return
    node = RabbitNode()
    try:
        node.start()
        yield node.url()
    finally:
        node.close()
