"""Steps a second through manager, RabbitMQ and agent: no-op jobs, bash jobs, latency, growth, restart.

``python -m benchmarks.throughput [noop] [bash] [latency] [growth] [restart] [console]`` prints one JSON
object a line. The reference of ``throughput_noop`` is the bare exchange of nine messages a job on the same
broker, in turn with it in the same run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from benchmarks.bare_exchange import bare_exchange
from benchmarks.broker import broker
from benchmarks.console import measure as measure_console
from benchmarks.federation import Federation, federation
from benchmarks.restart import measure as measure_restart
from benchmarks.workflows import BASH, NOOP, TEXT, chain3, independent
from caroni import logs

MIB = 1024 * 1024


def show(**line: Any) -> None:
    """One result."""
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in line.items()}), flush=True)


async def timed(made: Federation, template: str, inputs: dict[str, str]) -> float:
    """Seconds from submit to the outputs."""
    begin = time.perf_counter()
    await made.run(template, inputs)
    return time.perf_counter() - begin


async def noop(url: str, directory: Path, runs: int = 3, steps: int = 1000) -> None:
    """(a) 1,000 independent no-op steps, beside the bare exchange."""
    async with federation(directory, url, [NOOP], CARONI_AGENT__SLOTS="500") as made:
        await made.template("warm", independent("noop", 100))
        await made.template("noop", independent("noop", steps))
        await timed(made, "warm", {"n": "1"})
        rates, references = [], []
        for _ in range(runs):
            references.append(await asyncio.to_thread(bare_exchange, url, jobs=1000))
            before = made.cpu("m"), made.cpu("a")
            rates.append(steps / await timed(made, "noop", {"n": "1"}))
            used = made.cpu("m") - before[0], made.cpu("a") - before[1]
        show(
            benchmark="throughput_noop",
            value=statistics.median(rates),
            unit="steps/s",
            reference="bare nine-message exchange, 50 jobs in flight",
            reference_value=statistics.median(references),
            ratio=statistics.median(r / b for r, b in zip(rates, references, strict=True)),
            manager_cpu_ms_per_step=used[0] * 1000 / steps,
            agent_cpu_ms_per_step=used[1] * 1000 / steps,
        )


async def bash(url: str, directory: Path, steps: int = 1000) -> None:
    """(b) the same with real bash jobs."""
    async with federation(directory, url, [BASH], CARONI_AGENT__SLOTS="16") as made:
        await made.template("warm", independent("bash", 50))
        await made.template("bash", independent("bash", steps))
        await timed(made, "warm", {"n": "1"})
        rates = [steps / await timed(made, "bash", {"n": "1"}) for _ in range(3)]
        show(benchmark="throughput_bash", value=statistics.median(rates), unit="steps/s")


async def latency(url: str, directory: Path, runs: int = 30) -> None:
    """(c) submit to outputs of a chain of three bash jobs, everything warm."""
    async with federation(directory, url, TEXT) as made:
        await made.template("chain3", chain3())
        for _ in range(5):
            await timed(made, "chain3", {"text": '"caroni"'})
        seconds = sorted([await timed(made, "chain3", {"text": '"caroni"'}) for _ in range(runs)])
        show(
            benchmark="latency_chain3",
            value=statistics.median(seconds) * 1000,
            unit="ms",
            p90=seconds[int(runs * 0.9)] * 1000,
        )


async def growth(url: str, directory: Path) -> None:
    """(d) cost of a step in workflows of 100, 1,000 and 10,000 steps, and the manager's memory."""
    async with federation(directory, url, [NOOP], CARONI_AGENT__SLOTS="500") as made:
        for steps in (100, 1000, 10_000):
            await made.template(f"n{steps}", independent("noop", steps))
        await timed(made, "n1000", {"n": "1"})
        first = 0.0
        for steps, runs in ((100, 15), (1000, 5), (10_000, 2)):
            costs, processor = [], []
            for _ in range(runs):
                before = made.cpu("m") + made.cpu("a")
                costs.append(await timed(made, f"n{steps}", {"n": "1"}) * 1000 / steps)
                processor.append((made.cpu("m") + made.cpu("a") - before) * 1000 / steps)
            value = statistics.median(costs)
            first = first or value
            show(
                benchmark=f"growth_{steps}",
                value=value,
                unit="ms/step",
                reference="100 steps",
                reference_value=first,
                ratio=value / first,
                cpu_ms_per_step=statistics.median(processor),
                manager_memory_mib=made.memory("m") / MIB,
                agent_memory_mib=made.memory("a") / MIB,
            )


async def restart(url: str, directory: Path) -> None:
    """(e) a manager with 10,000 open steps: seconds from the start of its process to its first answer."""
    for line in await measure_restart(url, directory):
        show(**line)


async def console(url: str, directory: Path) -> None:
    """(f) the operator's console on a terminal, with a workflow of 10,000 steps."""
    for line in await measure_console(directory):
        show(**line)


#: what needs no broker
ALONE = frozenset({"console"})


def main() -> None:
    """Run what is named, or everything."""
    known: dict[str, Callable[[str, Path], Coroutine[Any, Any, None]]] = {
        "noop": noop,
        "bash": bash,
        "latency": latency,
        "growth": growth,
        "restart": restart,
        "console": console,
    }
    wanted = sys.argv[1:] or list(known)
    if unknown := [name for name in wanted if name not in known]:
        sys.exit(f"benchmarks: no {', '.join(unknown)}; there are {', '.join(known)}")
    logs.configure("warning", "human", sys.stderr)  # stdout is for the figures
    with contextlib.nullcontext("") if ALONE.issuperset(wanted) else broker() as url:
        for name in wanted:
            with tempfile.TemporaryDirectory(prefix="caroni-bench-") as directory:
                asyncio.run(known[name](url, Path(directory)))


if __name__ == "__main__":
    main()
