"""``caroni run``: workflows on the embedded system."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import SAMPLES, environment, process
from tests.cli.test_frame import runs, wait_for

WORKFLOW = """\
cwlVersion: v1.2
class: Workflow
$namespaces: {caroni: "urn:caroni:cwl:"}
inputs: {what: {type: string, default: nothing}}
outputs: {said: {type: string, outputSource: only/said}}
steps:
  only:
    hints: {caroni:CaroniRequirement: {CaroniJobName: say, maxAttempts: 2}}
    run: {class: Operation, inputs: {what: string}, outputs: {said: string}}
    in: {what: what}
    out: [said]
"""
JOB = "name: say\ninputs: {what: string}\noutputs: {said: string}\nscript: |\n"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "flow.cwl").write_text(WORKFLOW)
    return tmp_path


def job(own: Path, script: str, head: str = JOB) -> None:
    (own / "jobs" / "say.yml").write_text(head + "".join(f"  {line}\n" for line in script.splitlines()))


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("text-chain", "final_text"),
        ("diamond", None),
        ("second-chance", "announcement"),
        ("genomics", "report"),
        ("night-run", "receipt"),
    ],
)
def test_samples(name, output):
    folder = SAMPLES / name
    result = process("run", folder / "workflow.cwl", folder / "inputs.yml")
    outputs = result.json
    assert output is None or outputs[output]
    assert "completed" in result.err
    assert f"workflow {name}  completed" in result.err.splitlines()


def test_a_line_for_each_change(own):
    job(own, 'echo "{\\"said\\": \\"$CARONI_INPUT_what\\"}" > outputs.json')
    result = process("run", own / "flow.cwl", "--input", "what=hello", cwd=own)
    assert result.json == {"said": "hello"}
    lines = result.err.splitlines()
    assert any(line.startswith("step only  completed   agent here  attempt 1  0.") for line in lines), lines
    assert process("run", own / "flow.cwl", "-i", "what=x", "--quiet").err == ""


def test_files_and_what_is_kept(own):
    (own / "flow.cwl").write_text(
        WORKFLOW.replace("string, default: nothing", "File")
        .replace("what: string}", "what: File}")
        .replace("said: {type: string", "said: {type: File")
        .replace("said: string}", "said: File}")
    )
    head = "name: say\ninputs: {what: File}\noutputs: {said: File}\nscript: |\n"
    job(
        own,
        'place=$(sed -n \'s/.*"location" *: *"file:\\/\\/\\([^"]*\\)".*/\\1/p\' inputs.json)\n'
        'tr a-z A-Z < "$place" > said.txt\n'
        'echo "{\\"said\\": {\\"class\\": \\"File\\", \\"path\\": \\"said.txt\\"}}" > outputs.json',
        head,
    )
    (own / "hello.txt").write_text("hello\n")
    (own / "inputs.yml").write_text("what: {class: File, path: hello.txt}\n")
    result = process("run", "flow.cwl", "inputs.yml", "--keep-files", "kept", cwd=own)
    location = result.json["said"]["location"]
    assert Path(location.removeprefix("file://")).read_text() == "HELLO\n"
    # the databases can be looked at afterwards
    assert process("list", "--config", own / "kept" / "main", "--json").json[0]["state"] == "completed"
    assert process("job", "list", "--config", own / "kept" / "here").code == 0
    assert (
        "is not empty" in process("run", "flow.cwl", "inputs.yml", "--keep-files", "kept", cwd=own).refused()
    )
    lost = process("run", "flow.cwl", "--input", "what=hello.txt", cwd=own)
    assert "give --keep-files DIR" in lost.err


def test_a_failed_workflow_says_where_and_why(own):
    job(own, "printf 'first\\033[2J\\nno licence\\n' >&2\nexit 3")
    result = process("run", own / "flow.cwl")
    assert result.code == 1
    assert result.out == ""
    assert "\x1b" not in result.err
    assert "  first\\x1b[2J" in result.err
    last = result.err.splitlines()[-1]
    assert last.startswith(
        "caroni: workflow flow failed: step only (job say on agent here, attempt 2, exit code 3)"
    )
    found = process("run", own / "flow.cwl", "--json", "--quiet")
    assert found.code == 1
    assert json.loads(found.out)["steps"][0]["exit_code"] == 3


def test_mistakes_are_found_before_anything_starts(own, caroni):
    job(own, "exit 0")
    flow = own / "flow.cwl"
    assert "no such file" in caroni("run", own / "none.cwl").refused().lower()
    assert "what" in caroni("run", flow, "--input", "wat=1").refused()
    assert "write name=value" in caroni("run", flow, "--input", "what").refused()
    (own / "bad.yml").write_text("what: 3\n")
    assert "bad.yml:1" in caroni("run", flow, own / "bad.yml").refused()
    assert "no such file" in caroni("run", flow, own / "none.yml").refused()
    (own / "broken.cwl").write_text("cwlVersion: v1.2\nclass: Workflow\nsteps: [\n")
    assert "broken.cwl:" in caroni("run", own / "broken.cwl").refused()
    line = caroni("run", flow, "--jobs", own / "nowhere").refused()
    assert "nowhere" in line
    (own / "jobs" / "say.yml").rename(own / "say.yml")
    line = caroni("run", flow).refused()
    assert "'say'" in line
    assert "'only'" in line
    assert str(own / "jobs") in line


def test_unsupported_cwl_is_33(own, caroni):
    job(own, "exit 0")
    text = WORKFLOW.replace("    out: [said]", "    out: [said]\n    scatter: what")
    (own / "flow.cwl").write_text(text)
    line = caroni("run", own / "flow.cwl").refused(33)
    assert f"flow.cwl:{text.splitlines().index('    scatter: what') + 1}:" in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_kills_jobs_and_leaves_nothing(own, number):
    pid = own / "pid"
    job(own, f"trap '' TERM\nsleep 300 & echo $$ $! > {pid}.new; mv {pid}.new {pid}; wait; sleep 300")
    temporary = own / "tmp"
    temporary.mkdir()
    running = subprocess.Popen(
        [sys.executable, "-m", "caroni", "run", str(own / "flow.cwl")],
        env=environment(TMPDIR=str(temporary)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(pid.exists)
        began = time.monotonic()
        os.kill(running.pid, number)
        out, err = running.communicate(timeout=30)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert time.monotonic() - began < 15
    assert not any(runs(int(p)) for p in pid.read_text().split())
    assert list(temporary.iterdir()) == []
