"""``python -m benchmarks [noop] [bash] [latency] [growth]``: what ``make bench`` runs."""

from __future__ import annotations

from benchmarks.throughput import main

main()
