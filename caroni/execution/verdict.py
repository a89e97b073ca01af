"""From what a supervisor left behind to how the job ended, in words."""

from __future__ import annotations

import errno
import os
import signal

from caroni.core.messages import FailureClass
from caroni.core.plan import HOUR, MINUTE, SECOND
from caroni.execution import outputs
from caroni.execution.claims import ExitRecord
from caroni.execution.executor import JobOutcome, JobSpec
from caroni.execution.launcher import BROKEN
from caroni.execution.spool import Spool

TAIL = 4096


def duration(microseconds: int) -> str:
    """A duration for people: ``1h30m``, ``90s``, ``0.5s``."""
    if microseconds < MINUTE or microseconds % SECOND:
        return f"{microseconds / SECOND:g}s"
    hours, rest = divmod(microseconds, HOUR)
    minutes, seconds = divmod(rest // SECOND, 60)
    return "".join(f"{n}{u}" for n, u in ((hours, "h"), (minutes, "m"), (seconds, "s")) if n)


def size(count: int) -> str:
    """A number of bytes for people: ``16 MiB``."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << shift and not count % (1 << shift):
            return f"{count >> shift} {unit}"
    return f"{count} bytes"


def signal_name(number: int) -> str:
    """``signal 9 (SIGKILL)``."""
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def outcome_of(spool: Spool, job: JobSpec, record: ExitRecord) -> JobOutcome:
    """The outcome of a job that has an ``exit.json``; reads (and bounds) what the job wrote."""
    outcome = _judge(spool, job, record)
    changes: dict[str, object] = {
        "exit_code": record.exit_code,
        "wall": record.wall,
        "cpu": record.cpu,
        "max_rss": record.max_rss,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "stdout_tail": spool.tail(job.job_uuid, "stdout", TAIL) if record.stdout else "",
        "stderr_tail": spool.tail(job.job_uuid, "stderr", TAIL) if record.stderr else "",
    }
    return JobOutcome(
        state=outcome.state,
        failure_class=outcome.failure_class,
        info=outcome.info,
        outputs=outcome.outputs,
        **changes,  # type: ignore[arg-type]
    )


def failed(failure_class: FailureClass, info: str) -> JobOutcome:
    """An outcome without anything the job did."""
    return JobOutcome(state="failed", failure_class=failure_class, info=info[:1000])


def _judge(spool: Spool, job: JobSpec, record: ExitRecord) -> JobOutcome:
    definition = job.definition
    match record.reason:
        case "kill":
            how = f" ({signal_name(record.signal)})" if record.signal else ""
            return JobOutcome(state="killed", info=f"killed{how}")
        case "timeout":
            limit = min(n for n in (definition.timeout, job.max_runtime) if n > 0)
            return failed(FailureClass.TIMEOUT, f"stopped after {duration(limit)}, the job's time limit")
        case "overflow":
            cap = definition.limits.stdout if record.detail == "stdout" else definition.limits.stderr
            text = f"stopped: it wrote more than {size(cap)} to {record.detail} (its limit)"
            return failed(FailureClass.JOB, text)
        case "disk":
            return failed(FailureClass.AGENT, f"the job's output could not be stored: {record.detail}")
        case "spawn":
            return failed(_spawn_class(record.errno), f"could not be started: {record.detail}")
    if record.signal is not None:
        return failed(FailureClass.JOB, f"ended by {signal_name(record.signal)}")
    if record.exit_code not in definition.success_codes:
        return failed(FailureClass.JOB, f"exit code {record.exit_code}")
    try:
        found = outputs.collect(definition, spool.directory(job.job_uuid))
    except outputs.BadOutput as error:
        if record.boot != spool.boot:
            # exit.json is durable; what the job wrote may have been lost with the power
            return failed(FailureClass.AGENT, f"the host was rebooted and outputs were lost: {error}")
        return failed(FailureClass.JOB, str(error))
    except OSError as error:
        return failed(FailureClass.AGENT, f"the job's outputs could not be read: {error.strerror}")
    return JobOutcome(state="completed", outputs=found)


def _spawn_class(number: int | None) -> FailureClass:
    return FailureClass.INPUT if number == errno.E2BIG else FailureClass.AGENT


def supervisor_died(code: int | None) -> JobOutcome:
    """The outcome of a job whose supervisor ended without ``exit.json``; ``code`` is how, if known."""
    if code is None:
        return failed(FailureClass.AGENT, "the job's supervisor died")
    if code < 0:
        return failed(FailureClass.AGENT, f"the job's supervisor died: {signal_name(-code)}")
    if 0 < code < BROKEN:
        return failed(FailureClass.AGENT, f"the job's supervisor failed: {os.strerror(code)}")
    return failed(FailureClass.AGENT, "the job's supervisor failed; the spool's launcher.log has the cause")
