"""Hostile documents are refused fast, and without a file or a socket being opened."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

HEAD = "cwlVersion: v1.2\nclass: Workflow\n"
BODY = "inputs: {a: string}\noutputs: []\nsteps: []\n"
STEP = "inputs: {a: string}\noutputs: []\nsteps:\n  s:\n    in: {}\n    out: []\n    run: %s\n"


def bomb() -> str:
    lines = ["x0: &x0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join(lines) + "\n"


def merge_bomb() -> str:
    lines = ["x0: &x0 {a: 1}"]
    lines += [f"x{i}: &x{i} {{<<: [*x{i - 1}, *x{i - 1}], k{i}: *x{i - 1}}}" for i in range(1, 40)]
    return "\n".join(lines) + "\n"


ATTACKS: dict[str, dict[str, str]] = {
    name: {"workflow.cwl": text}
    for name, text in {
        "import file": HEAD + "inputs: {a: {$import: 'file:///etc/passwd'}}\noutputs: []\nsteps: []\n",
        "import path": HEAD + "inputs: {a: {$import: /etc/passwd}}\noutputs: []\nsteps: []\n",
        "import climbing": HEAD + "inputs: {a: {$import: ../../../../etc/passwd}}\noutputs: []\nsteps: []\n",
        "import http": HEAD + "inputs: {a: {$import: 'http://169.254.169.254/x'}}\noutputs: []\nsteps: []\n",
        "import at root": "$import: file:///etc/passwd\n",
        "import itself": HEAD + "inputs: {a: {$import: workflow.cwl}}\noutputs: []\nsteps: []\n",
        "include": HEAD + "doc: {$include: /etc/passwd}\n" + BODY,
        "include file": HEAD + "doc: {$include: 'file:///etc/hostname'}\n" + BODY,
        "include http": HEAD + "doc: {$include: 'https://example.org/x'}\n" + BODY,
        "include in a library": HEAD
        + "requirements: {InlineJavascriptRequirement: {expressionLib: [{$include: /etc/passwd}]}}\n"
        + BODY,
        "run http": HEAD + STEP % "http://example.org/tool.cwl",
        "run metadata address": HEAD + STEP % "http://169.254.169.254/latest/meta-data",
        "run file": HEAD + STEP % "file:///etc/passwd",
        "run path": HEAD + STEP % "/etc/passwd",
        "run climbing": HEAD + STEP % "../../../etc/passwd",
        "run network path": HEAD + STEP % "//example.org/tool.cwl",
        "run without scheme": HEAD + STEP % "tool.cwl",
        "run itself": HEAD + STEP % "workflow.cwl",
        "run prefixed": "$namespaces: {e: 'http://example.org/'}\n" + HEAD + STEP % "e:tool.cwl",
        "schemas": "$schemas: ['http://169.254.169.254/x.owl']\n" + HEAD + BODY,
        "schemas file": "$schemas: [file:///etc/passwd]\n" + HEAD + BODY,
        "base": "$base: 'file:///etc/'\n" + HEAD + BODY,
        "graph base": "cwlVersion: v1.2\n$graph:\n- {id: main, class: Workflow, $import: 'file:///etc/passwd'}\n",
        "alias bomb": bomb() + HEAD + BODY,
        "merge bomb": merge_bomb() + HEAD + BODY,
        "python object": HEAD + "doc: !!python/object/apply:os.system ['touch /tmp/x']\n" + BODY,
        "python name": HEAD + "doc: !!python/name:os.system\n" + BODY,
        "tag": HEAD + "doc: !include /etc/passwd\n" + BODY,
        "deep": "[" * 5000,
        "deep with ends": "[" * 5000 + "]" * 5000,
        "deep maps": "{a: " * 5000,
        "deep blocks": "- " * 5000 + "x",
        "many megabytes deep": "[" * 8_000_000,
        "huge": "a: " + "x" * (17 << 20),
        "self alias": "a: &a [*a]\n",
        "control characters": HEAD + "doc: \x1b]52;c;aGk=\x07\n" + BODY,
        "surrogate": HEAD + "doc: \ud800\n" + BODY,
        "nul": "\0" * 1000,
        "infinity": HEAD + "inputs: {a: {type: float, default: .inf}}\noutputs: []\nsteps: []\n",
        "type contains itself": HEAD
        + "requirements: {SchemaDefRequirement: {types: [{name: t, type: array, items: '#t'}]}}\n"
        + "inputs: {a: '#t'}\noutputs: []\nsteps: []\n",
    }.items()
} | {
    "import with a tag": {
        "workflow.cwl": HEAD + "inputs: {a: {$import: t.yml}}\noutputs: []\nsteps: []\n",
        "t.yml": "type: !!python/object/apply:os.system ['id']\n",
    },
    "import with a bomb": {
        "workflow.cwl": HEAD + "inputs: {a: {$import: t.yml}}\noutputs: []\nsteps: []\n",
        "t.yml": bomb(),
    },
    "import in a circle": {
        "workflow.cwl": HEAD + "inputs: {a: {$import: t.yml}}\noutputs: []\nsteps: []\n",
        "t.yml": "{$import: t.yml}\n",
    },
}


@cache
def results() -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("attack_probe.py"))],
        input=json.dumps(ATTACKS),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("name", ATTACKS)
def test_refused_fast_and_without_opening_anything(name: str) -> None:
    result = results()[name]
    assert result["kind"] in ("DocumentError", "UnsupportedFeature"), result
    assert result["seen"] == []
    # a refusal takes a few milliseconds; the bound leaves room for a busy machine
    assert result["ms"] < 200, result
    assert len(result["text"]) < 600
    assert "\n" not in result["text"]
    assert "root:" not in result["text"]


def test_the_probe_sees_what_it_watches_for() -> None:
    """The hook is real: a document that does open a file is noticed."""
    code = (
        "import sys, tests.cwl.attack_probe as probe\n"
        "sys.addaudithook(probe.hook)\n"
        "probe.watching = True; open('/etc/hostname').close(); probe.watching = False\n"
        "print(len(probe.seen))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        timeout=60,
        check=True,
    )
    assert int(run.stdout) == 1
