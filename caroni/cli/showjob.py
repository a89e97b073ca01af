"""One job on paper: what is known of it in lines, its values, and the end of what it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caroni.cli import output
from caroni.text import safe_line, safe_text

if TYPE_CHECKING:
    from caroni.services.jobdetail import JobShown, ShownValue

#: characters of a value, and lines of a tail, on paper; --json has more
_VALUE, _LINES = 200, 20


def show_job(job: JobShown) -> None:
    """Print everything of a job but what is empty."""
    for label, text in facts(job):
        output.line(f"{label + ':':<14}{safe_line(text, 600)}")
    _values("inputs", job.inputs)
    _values("outputs", job.outputs)
    for stream, tail in (("stdout", job.stdout_tail), ("stderr", job.stderr_tail)):
        lines = safe_text(tail, 20_000).rstrip().splitlines()[-_LINES:]
        if lines:
            output.line(f"end of {stream}:")
            for line in lines:
                output.line(f"  {line}")


def facts(job: JobShown) -> list[tuple[str, str]]:
    """What is known of a job, as label and text; what is empty is left out."""
    found = [
        ("job", job.job),
        ("agent" if job.role == "manager" else "manager", job.peer),
        ("state", state_words(job)),
        ("workflow", f"{job.workflow_name} ({job.workflow[:12]})" if job.workflow else ""),
        ("step", job.step),
        ("job type", " ".join(word for word in (job.job_type, job.version) if word)),
        ("definition", f"revision {job.definition_revision}" if job.definition_revision else ""),
        ("attempt", str(job.attempt) if job.attempt else ""),
        ("progress", f"{job.progress:.0%}" if job.progress else ""),
        ("exit code", "" if job.exit_code is None else str(job.exit_code)),
        ("failure", job.failure),
        ("info", job.info),
        ("kill", kill_words(job)),
        ("created", output.instant(job.created_at or job.accepted_at)),
        ("queued", output.instant(job.queued_at)),
        ("started", output.instant(job.started_at)),
        ("ended", output.instant(job.ended_at)),
        ("took", duration(job.wall) if job.wall else output.took(job.started_at, job.ended_at)),
        ("processor", duration(job.cpu) if job.cpu else ""),
        ("memory", f"{job.max_rss / 2**20:.1f} MiB at most" if job.max_rss else ""),
    ]
    return [(label, text) for label, text in found if text]


def state_words(job: JobShown) -> str:
    """The state, and what of it is pending."""
    words = [job.state]
    if job.position:
        words.append(f"place {job.position}")
    if job.missing and not job.ended:
        words.append(f"{job.missing} inputs missing")
    if job.pause == "wanted":
        words.append("pause wanted")
    if job.suspect:
        words.append("agent silent")
    if job.role == "agent" and job.ended and not job.released:
        words.append("waits for release")
    return ", ".join(words)


def kill_words(job: JobShown) -> str:
    """How the wish to end it stands, since when and why; empty where nobody has it."""
    if not job.kill:
        return ""
    since = f" at {output.instant(job.kill_asked_at)}" if job.kill_asked_at else ""
    return f"{job.kill}{since}" + (f": {job.kill_info}" if job.kill_info else "")


def duration(microseconds: int) -> str:
    """A length of time for people."""
    return output.took(1, 1 + microseconds)


def _values(heading: str, values: list[ShownValue]) -> None:
    if not values:
        return
    output.line(f"{heading}:")
    for one in values:
        text = "not here yet" if one.value is None else safe_line(one.value, _VALUE)
        source = f"  (from {one.source})" if one.source else ""
        size = f"  ({one.size} characters)" if one.size > _VALUE else ""
        output.line(f"  {safe_line(one.name, 80)}: {text}{size}{safe_line(source, 120)}")
