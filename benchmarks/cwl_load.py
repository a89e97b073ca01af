"""Seconds to load, store and restore plans of 1,000 and 10,000 steps: ``python -m benchmarks.cwl_load``."""

from __future__ import annotations

import time

from caroni.cwl import Bundle, load, plan_from_json, plan_to_json
from tests.cwl.generate import chain_bundle, embedded_text


def main() -> None:
    """Print one line per size and form."""
    load(chain_bundle(1))
    for steps in (1_000, 10_000):
        for form in ("run: file.cwl", "embedded"):
            bundle = chain_bundle(steps) if form != "embedded" else Bundle.from_text(embedded_text(steps))
            start = time.perf_counter()
            plan = load(bundle)
            loaded = time.perf_counter()
            text = plan_to_json(plan)
            stored = time.perf_counter()
            assert plan_from_json(text) == plan
            restored = time.perf_counter()
            print(
                f"{steps:6} steps, {form:13}: load {loaded - start:6.3f} s, store {stored - loaded:6.3f} s, "
                f"restore {restored - stored:6.3f} s, {len(text) / 1e6:.1f} MB"
            )


if __name__ == "__main__":
    main()
