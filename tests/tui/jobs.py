"""Jobs as a manager's and an agent's database would have them, and files as their jobs would write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from caroni.core.messages import FailureClass, JobStatus
from caroni.core.rows import (
    AgentInput,
    AgentJob,
    AgentOutput,
    Job,
    Orphan,
    Row,
    Step,
    Workflow,
)
from caroni.core.states import AgentJobState, JobState, StepState, WorkflowState
from caroni.model.unit import Unit
from caroni.tui.site import Site
from tests.tui.harness import NOON

SECOND = 1_000_000
NOW = int(NOON) * SECOND
AGENT, MANAGER = "caroni://b.example/agent/g1", "caroni://a.example/manager/m1"
FLOW = bytes([0xA1]) * 16


def uuid(number: int) -> bytes:
    return bytes([number]) * 16


def unit(*rows: Row) -> Unit:
    by_type: dict[type[Row], list[Row]] = {}
    for row in rows:
        by_type.setdefault(type(row), []).append(row)
    return Unit(rows=by_type, now=NOW)


def attempt(number: int, state: JobState, **more: Any) -> Job:
    return Job(
        agent=AGENT, job_uuid=uuid(number), workflow_uuid=FLOW, step_index=0, attempt=1,
        request_uuid=bytes(16), offer_uuid=bytes([number, 1]) * 8, state=state,
        accepted_at=NOW - 400 * SECOND, **more,
    )  # fmt: skip


def here(number: int, state: AgentJobState, **more: Any) -> AgentJob:
    return AgentJob(
        manager=MANAGER, job_uuid=uuid(number), offer_uuid=bytes([number, 1]) * 8, request_uuid=bytes(16),
        state=state, job_type="bwa-align", created_at=NOW - 300 * SECOND, **more,
    )  # fmt: skip


def of_agent() -> Unit:
    """A job of every kind, with 0x12 running."""
    return unit(
        here(0x10, AgentJobState.QUEUED, queued_at=NOW - 20 * SECOND),
        here(0x11, AgentJobState.QUEUED, queued_at=NOW - 30 * SECOND),
        here(0x12, AgentJobState.RUNNING, started_at=NOW - 100 * SECOND, attempt=2,
             parameters=("reads", "ref")),
        here(0x13, AgentJobState.PENDING, missing=2),
        here(0x16, AgentJobState.PAUSED, started_at=NOW - 10 * SECOND),
        here(0x17, AgentJobState.KILLING, started_at=NOW - 10 * SECOND),
        here(0x14, AgentJobState.FAILED, started_at=NOW - 200 * SECOND, ended_at=NOW - 100 * SECOND,
             exit_code=137, failure_class=FailureClass.JOB, info="it \x1b[2Jbroke", stderr_tail="bad\n",
             wall=100 * SECOND, cpu=90 * SECOND, max_rss=50 << 20),
        here(0x15, AgentJobState.COMPLETED, ended_at=NOW, released=True, stdout_tail="kept end\n"),
        AgentInput(manager=MANAGER, job_uuid=uuid(0x12), name="reads", value='"r1\\u001b.fastq"'),
        AgentOutput(manager=MANAGER, job_uuid=uuid(0x15), name="bam", value="[1, 2]"),
    )  # fmt: skip


def of_manager() -> Unit:
    """An attempt of every kind, with 0x10 running."""
    return unit(
        Workflow(workflow_uuid=FLOW, state=WorkflowState.RUNNING, name="geno\x1b[2Jmics", template="t",
                 revision=1, steps_total=1, steps_left=1, created_at=NOW),
        Step(workflow_uuid=FLOW, index=0, name="bwa_s1", job_type="bwa", state=StepState.RUNNING),
        attempt(0x10, JobState.RUNNING, started_at=NOW - 50 * SECOND, progress=0.25),
        attempt(0x11, JobState.LOST, kill_wanted=True, kill_asked_at=NOW, suspect=True, due=NOW,
                started_at=NOW - 600 * SECOND),
        attempt(0x12, JobState.FAILED, started_at=NOW - 90 * SECOND, ended_at=NOW, ended=True, exit_code=3,
                failure_class=FailureClass.JOB, info="it broke", stderr_tail="oh no\nlast words\n"),
        attempt(0x13, JobState.QUEUED),
        attempt(0x14, JobState.RUNNING, started_at=NOW - 40 * SECOND, pause_wanted=True),
        Orphan(agent=AGENT, job_uuid=uuid(0x20), status=JobStatus.RUNNING, due=NOW, first_at=NOW),
    )  # fmt: skip


def write(site: Site, job: bytes, stream: str, data: bytes) -> Path:
    """Add to what a job has written."""
    path = site.loaded.config.agent.spool_dir / job.hex() / stream
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(data)
    return path
