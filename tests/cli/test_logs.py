"""``caroni logs`` and ``caroni jobs JOB`` on rows and files that daemons would have written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from caroni.core.messages import FailureClass
from caroni.core.rows import AgentInput, AgentOutput, Flow, JobLog, JobOutput, Step, Workflow
from caroni.core.states import AgentJobState, JobState, StepState, WorkflowState
from tests.cli.conftest import CHAIN, process
from tests.cli.test_jobs import FLOW, G1, M1, SECOND, START, attempt, commit, here

RUNS, DONE, GONE = bytes([0x10]) * 16, bytes([0x11]) * 16, bytes([0x12]) * 16
HOSTILE = "\x1b[2J\x1b]0;owned\x07 \u202ereversed\x9b31m\r\n"


def write(directory: Path, job: bytes, stream: str, data: bytes) -> Path:
    path = directory / "spool" / job.hex() / stream
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# --- on the agent ----------------------------------------------------------------------------------


@pytest.fixture
def g1(sites):
    commit(
        sites / "g1",
        "agent",
        here(0x10, AgentJobState.RUNNING, started_at=START, job_type_version="3", definition_revision=7,
             parameters=("reads", "ref"), attempt=2),
        here(0x11, AgentJobState.FAILED, started_at=START, ended_at=START + 90 * SECOND, exit_code=3,
             failure_class=FailureClass.JOB, info="it broke", stderr_tail="kept\n", wall=90 * SECOND,
             cpu=80 * SECOND, max_rss=5 << 20),
        here(0x12, AgentJobState.COMPLETED, ended_at=START, released=True, stdout_tail="the end\n"),
        here(0x13, AgentJobState.QUEUED, queued_at=START),
        here(0x14, AgentJobState.QUEUED, queued_at=START + SECOND),
        AgentInput(manager=M1, job_uuid=RUNS, name="reads", value='"\\u001b[2J' + "x" * 5000 + '"'),
        AgentOutput(manager=M1, job_uuid=DONE, name="bam", value="[1, 2]"),
    )  # fmt: skip
    return sites / "g1"


def test_each_stream_where_a_shell_expects_it(g1, caroni):
    write(g1, RUNS, "stdout", b"one\ntwo")
    write(g1, RUNS, "stderr", HOSTILE.encode() + b"caf\xc3\xa9 \xff\n")
    result = caroni("logs", "1010", "--config", g1)
    assert (result.code, result.out) == (0, "one\ntwo\n")
    assert "\\x1b[2J" in result.err
    assert "café \ufffd" in result.err
    assert not set(result.err) & set("\x1b\x07\x9b\u202e\r")
    only = caroni("logs", "1010", "--stream", "stderr", "--config", g1)
    assert "café" in only.out
    assert only.err == ""


def test_the_end_of_a_large_file(g1, caroni):
    write(g1, RUNS, "stdout", b"".join(b"%06d\n" % n for n in range(30_000)))
    result = caroni("logs", "1010", "--stream", "stdout", "--tail", "21", "--config", g1)
    assert result.out == "029997\n029998\n029999\n"
    assert result.err == "stdout: 209979 bytes before this are not shown\n"
    assert len(caroni("logs", "1010", "--stream", "stdout", "--config", g1).out) == 65536
    assert len(caroni("logs", "1010", "--stream", "stdout", "--tail", "0", "--config", g1).out) == 210_000


def test_a_line_of_a_megabyte(g1, caroni):
    write(g1, RUNS, "stdout", b"\x1b" * (1 << 20))
    result = caroni("logs", "1010", "--stream", "stdout", "--tail", "0", "--config", g1)
    assert result.out == "\\x1b" * (1 << 20) + "\n"


def test_characters_that_are_cut_by_a_chunk(g1, caroni):
    write(g1, RUNS, "stdout", b"x" + "é".encode() * 70_000)
    result = caroni("logs", "1010", "--stream", "stdout", "--tail", "0", "--config", g1)
    assert result.out == "x" + "é" * 70_000 + "\n"


def test_json_is_a_line_for_each_part(g1, caroni):
    write(g1, RUNS, "stdout", b"one\n\x1b")
    result = caroni("logs", "1010", "--json", "--config", g1)
    assert "\x1b" not in result.out
    first, second = map(json.loads, result.out.splitlines())
    assert (first["stream"], first["text"], first["total"]) == ("stdout", "one\n\x1b", 5)
    assert (second["stream"], second["text"], second["end"]) == ("stderr", "", False)


def test_a_job_that_has_ended_is_followed_to_its_end(g1, caroni):
    write(g1, DONE, "stderr", b"oops\n")
    result = caroni("logs", "1111", "--follow", "--config", g1)
    assert (result.code, result.out, result.err) == (0, "", "oops\n")


def test_pruned_files_leave_the_end_that_was_kept(g1, caroni):
    result = caroni("logs", "1212", "--stream", "stdout", "--config", g1)
    assert result.out == "the end\n"
    assert result.err == "stdout: the job's files are gone; this is the end that was kept\n"


def test_a_link_in_the_place_of_a_log_is_not_followed(g1, caroni):
    path = write(g1, RUNS, "stdout", b"")
    path.unlink()
    path.symlink_to("/etc/passwd")
    refused = caroni("logs", "1010", "--stream", "stdout", "--config", g1).refused(1)
    assert "is not what the job wrote" in refused
    path.unlink()
    os.mkfifo(path)
    assert "is not what" in caroni("logs", "1010", "--stream", "stdout", "--config", g1).refused(1)


def test_no_such_job(g1, sites, caroni):
    assert "there is no job" in caroni("logs", "dead", "--config", g1).refused()
    assert "of a submitter" in caroni("logs", "dead", "--config", sites / "s1").refused()


def test_everything_of_an_agents_job(g1, caroni):
    shown = caroni("jobs", "1010", "--config", g1).out
    assert "upper-case 3" in shown
    assert "revision 7" in shown
    assert "ref: not here yet" in shown
    assert "\x1b" not in shown
    found = caroni("jobs", "1010", "--config", g1, "--json").json
    reads = found["inputs"][0]
    assert (reads["size"], reads["cut"], len(reads["value"])) == (5011, True, 4096)
    assert (found["role"], found["peer"], found["attempt"]) == ("agent", M1, 2)
    done = caroni("jobs", "1111", "--config", g1)
    assert "exit code:    3" in done.out
    assert "memory:       5.0 MiB at most" in done.out
    assert "took:         1m30s" in done.out
    assert "bam: [1, 2]" in done.out
    assert "  kept" in done.out
    assert caroni("jobs", "1414", "--config", g1, "--json").json["position"] == 2


# --- on the manager --------------------------------------------------------------------------------


@pytest.fixture
def m1(sites, caroni):
    assert caroni("template", "add", CHAIN, "--name", "t", "--config", sites / "m1").code == 0
    commit(
        sites / "m1",
        "manager",
        Workflow(workflow_uuid=FLOW, state=WorkflowState.RUNNING, name="first", template="t", revision=1,
                 steps_total=3, steps_left=3, created_at=START),
        Step(workflow_uuid=FLOW, index=0, name="upper", job_type="upper-case", state=StepState.RUNNING),
        Flow(workflow_uuid=FLOW, name="message", value='"hello"'),
        attempt(0x10, JobState.RUNNING, started_at=START),
        attempt(0x11, JobState.FAILED, started_at=START, ended_at=START + SECOND, ended=True, exit_code=3,
                failure_class=FailureClass.JOB, stderr_tail="last words\n", wall=SECOND),
        JobOutput(agent=G1, job_uuid=DONE, name="out", value='"HELLO"'),
    )  # fmt: skip
    return sites / "m1"


def told(m1: Path, **more: object) -> None:
    commit(m1, "manager", JobLog(agent=G1, job_uuid=RUNS, stream="stdout", **more))  # type: ignore[arg-type]


def test_the_end_of_a_failed_job_is_known_whatever_its_agent_says(m1, caroni):
    result = caroni("logs", "1111", "--stream", "stderr", "--config", m1)
    assert result.out == "last words\n"
    assert "the manager does not run" in result.err


def test_a_question_that_waits_is_not_asked_twice(m1, caroni):
    assert (
        "nothing is known of the stdout" in caroni("logs", "1010", "--stream", "stdout", "--config", m1).err
    )
    again = caroni("logs", "1010", "--stream", "stdout", "--config", m1)
    assert again.code == 1
    assert "will when it can" in again.err
    assert process("jobs", "--config", m1, "--json").json


def test_what_was_known_is_shown_with_its_age(m1, caroni):
    told(m1, asked_at=START, answered_at=START, at=START, offset=10, total=17, data="\xc3\xa9ight\n")
    result = caroni("logs", "1010", "--stream", "stdout", "--config", m1)
    assert result.out == "éight\n"
    assert "10 bytes before this are not shown" in result.err


def test_an_agent_that_does_not_allow_it_is_quoted(m1, caroni):
    told(m1, asked_at=START, answered_at=START, refusal="no\x1b[2J")
    commit(m1, "manager")
    result = caroni("logs", "1010", "--stream", "stdout", "--config", m1)
    assert result.code == 1
    assert "\x1b" not in result.err


def test_everything_of_an_attempt(m1, caroni):
    shown = caroni("jobs", "1111", "--config", m1)
    assert "first (a1a1a1a1a1a1)" in shown.out
    assert "step:         upper" in shown.out
    assert 'out: "HELLO"' in shown.out
    assert "  last words" in shown.out
    found = caroni("jobs", "1111", "--config", m1, "--json").json
    assert found["inputs"][0]["value"] == '"hello"'
    assert found["inputs"][0]["source"] == "message"
    assert (found["failure"], found["exit_code"], found["wall"]) == ("job", 3, SECOND)


def test_a_job_or_a_workflow(m1, caroni):
    assert len(caroni("jobs", "first", "--config", m1, "--json").json) == 2
    commit(m1, "manager", attempt(0xA1, JobState.RUNNING))
    ambiguous = caroni("jobs", "a1a1", "--config", m1).refused()
    assert "could be job a1a1a1a1a1a1 or workflow a1a1a1a1a1a1" in ambiguous
    assert "there is no workflow" in caroni("jobs", "feed", "--config", m1).refused()
