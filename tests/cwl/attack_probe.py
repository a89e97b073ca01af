"""Run by test_attacks in a process of its own: load each document of stdin's JSON with an audit hook.

The hook cannot be removed again, so it must not live in the test process. Prints, per document, the error,
the milliseconds and every file, socket or process that was opened meanwhile.
"""

from __future__ import annotations

import json
import sys
import time

import ruamel.yaml.mergevalue  # noqa: F401 - loaded late by its package, which would count as a file

from caroni.cwl import Bundle, load
from caroni.errors import CaroniError

WATCHED = (
    "open",
    "socket.",
    "urllib.",
    "http.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "ftplib.",
)

WARM = """
cwlVersion: v1.2
class: Workflow
inputs: {a: int}
outputs: {b: {type: string, outputSource: a}}
steps: []
"""

seen: list[str] = []
watching = False


def hook(event: str, args: tuple[object, ...]) -> None:
    if watching and event.startswith(WATCHED):
        seen.append(f"{event} {args[:1]!r}")


def attempt(documents: dict[str, str]) -> tuple[str, str]:
    try:
        load(Bundle(main="workflow.cwl", documents=documents))
    except CaroniError as error:
        return type(error).__name__, str(error)
    return "", "loaded"


def main() -> None:
    global watching
    attacks: dict[str, dict[str, str]] = json.load(sys.stdin)
    for warm in (WARM, WARM + "nonsense: 1\n", "cwlVersion: v1.2\nclass: Workflow\ninputs: 3\n"):
        attempt({"workflow.cwl": warm})
    sys.addaudithook(hook)
    results = {}
    for name, documents in attacks.items():
        seen.clear()
        watching = True
        start = time.perf_counter()
        kind, text = attempt(documents)
        elapsed = time.perf_counter() - start
        watching = False
        results[name] = {"kind": kind, "text": text, "ms": elapsed * 1000, "seen": list(seen)}
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
