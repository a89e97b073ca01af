"""``python -m benchmarks [noop] [bash] [latency] [growth] [restart] [console]``: what ``make bench`` runs."""

from __future__ import annotations

from benchmarks.throughput import main

main()
