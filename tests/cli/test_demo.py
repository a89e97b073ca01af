"""``caroni demo``, also on a real terminal (tmux)."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator

import pytest

from caroni.services import samples
from tests.cli.conftest import ROOT, SAMPLES, environment, process
from tests.services import eventually


def test_the_handshake_the_steps_the_outputs_and_what_next():
    result = process("demo", cwd=ROOT)
    assert result.code == 0, result.err
    assert result.err == ""
    lines = result.out.splitlines()
    messages = [line for line in lines if line.endswith("signature ok")]
    assert len(messages) >= 20
    for kind in ("Request", "Offer", "OfferAccept"):
        for step in ("upper", "prepend", "append"):
            assert any(re.search(rf"JobFulfillment{kind} +{step} ", line) for line in messages)
    assert any(
        re.match(r"\d\d:\d\d:\d\d\.\d{3} +main -> south +JobDataAvailable +prepend ", m) for m in messages
    )
    assert any(re.match(r"prepend +prepend +south +1 +\d", line) for line in lines)
    assert '  "final_text": "prepend CARONI ROCKS append"' in lines
    following = lines[lines.index("Next:") + 1 :]
    assert len(following) == 3


def test_what_it_suggests_works():
    lines = process("demo", cwd=ROOT).out.splitlines()
    first = lines[lines.index("Next:") + 1]
    done = in_the_checkout(first)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def in_the_checkout(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        shlex.split(command), cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )


def test_json():
    found = process("demo", "--sample", "second-chance", "--json").json
    assert found["state"] == "completed"
    assert {m["signature"] for m in found["messages"]} == {"ok"}
    assert [s["name"] for s in found["steps"]] == ["forecast", "announce"]
    assert "announcement" in found["outputs"]


def test_samples_are_found_installed_and_in_a_checkout(tmp_path, monkeypatch):
    assert samples.samples_directory() == SAMPLES
    assert "text-chain" in process("demo", "--sample", "nothing").refused()
    installed = tmp_path / "site-packages" / "caroni"
    shutil.copytree(SAMPLES, installed / "samples")
    monkeypatch.setattr(samples.caroni, "__file__", str(installed / "__init__.py"))
    assert samples.sample("genomics") == installed / "samples" / "genomics"


@pytest.fixture
def terminal() -> Iterator[Callable[..., Callable[[], str]]]:
    """Run a command on a terminal of 80x24; gives what shows its screen, scrolled lines included."""
    if shutil.which("tmux") is None:
        if os.environ.get("CARONI_REQUIRE_SERVICES") == "1":
            pytest.fail("tmux is not installed")
        pytest.skip("tmux is not installed")
    socket = f"caroni-test-{uuid.uuid4().hex[:8]}"
    tmux = ("tmux", "-L", socket, "-f", "/dev/null")

    def start(*arguments: object) -> Callable[[], str]:
        words = " ".join(map(str, (sys.executable, "-m", "caroni", *arguments)))
        subprocess.run(
            [*tmux, "new-session", "-d", "-s", "t", "-x", "80", "-y", "24", f"{words}; echo rc=$?; exec cat"],
            env=environment(TERM="xterm-256color", PYTHONWARNINGS=""),
            cwd=ROOT,
            check=True,
        )

        def screen(*keys: str) -> str:
            if keys:
                subprocess.run([*tmux, "send-keys", "-t", "t", *keys], check=True)
            shown = subprocess.run(
                [*tmux, "capture-pane", "-p", "-t", "t", "-S", "-200"],
                capture_output=True,
                text=True,
                check=True,
            )
            return shown.stdout

        return screen

    yield start
    subprocess.run([*tmux, "kill-server"], check=False, capture_output=True)


async def test_demo_on_a_terminal_and_left_running(terminal):
    screen = terminal("demo", "--keep")
    shown = await eventually(lambda: "Ctrl-C ends it." in screen() and screen(), 30, screen)
    assert re.search(r"main -> north +Request +upper +round 1 +signature ok", shown)
    assert not any(line.endswith(("signatur", "signature")) for line in shown.splitlines())
    place = re.search(r"Running on in (\S+)", shown)[1]
    try:
        commands = [line.strip() for line in shown.splitlines() if "--config" in line]
        assert len(commands) == 4
        for command in commands:
            done = await asyncio.to_thread(in_the_checkout, command)
            assert done.returncode == 0, (command, done.stderr)
    finally:
        screen("C-c")
    await eventually(lambda: "rc=130" in screen(), 30, screen)
    await eventually(lambda: not os.path.exists(place))


async def test_run_on_a_terminal(terminal, tmp_path):
    (tmp_path / "jobs").mkdir()
    go = tmp_path / "go"
    (tmp_path / "jobs" / "slow.yml").write_text(
        f"name: slow\nscript: |\n  until [ -e {go} ]; do sleep 0.05; done\n"
    )
    step = "{run: {class: Operation, inputs: [], outputs: []}, in: [], out: []}"
    (tmp_path / "flow.cwl").write_text(
        'cwlVersion: v1.2\nclass: Workflow\n$namespaces: {caroni: "urn:caroni:cwl:"}\n'
        "inputs: []\noutputs: []\n"
        "hints: {caroni:CaroniRequirement: {CaroniJobName: slow}}\nsteps:\n"
        + "".join(f"  step-{n}: {step}\n" for n in range(40))
    )
    screen = terminal("run", tmp_path / "flow.cwl", "--slots", "3")
    shown = await eventually(lambda: "running 3" in screen() and screen(), 30, screen)
    assert re.search(r"flow  running  0/40", shown)
    assert re.search(r"step-\d+ +running +here +\d", shown)
    assert re.search(r"and \d+ more", shown)
    assert max(map(len, shown.splitlines())) <= 80
    go.touch()
    shown = await eventually(lambda: "rc=0" in screen() and screen(), 60, screen)
    assert re.search(r"flow  completed  40/40", shown)
    # drawn in place: one head line is left
    assert len(re.findall(r"^flow  ", shown, re.MULTILINE)) == 1


def test_an_interrupt_before_the_end_is_quiet():
    running = subprocess.Popen(
        [sys.executable, "-m", "caroni", "demo", "--keep"],
        env=environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for line in running.stdout:
            if line == "Ctrl-C ends it.\n":
                break
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
    finally:
        running.kill()
        running.wait()
    assert (running.returncode, err) == (130, "")
