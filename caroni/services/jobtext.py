"""A job in words: what is known of it, as label and text. Words of others are as they came."""

from __future__ import annotations

import time

from caroni.services.jobdetail import JobShown


def facts(job: JobShown) -> list[tuple[str, str]]:
    """What is known of a job; what is empty is left out."""
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
        ("created", instant(job.created_at or job.accepted_at)),
        ("queued", instant(job.queued_at)),
        ("started", instant(job.started_at)),
        ("ended", instant(job.ended_at)),
        ("took", duration(took(job)) if took(job) else ""),
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
    since = f" at {instant(job.kill_asked_at)}" if job.kill_asked_at else ""
    return f"{job.kill}{since}" + (f": {job.kill_info}" if job.kill_info else "")


def took(job: JobShown) -> int:
    """Microseconds that a job took, as its agent measured them or from its start to its end; 0: not known."""
    if job.wall:
        return job.wall
    return max(job.ended_at - job.started_at, 0) if job.started_at and job.ended_at else 0


def instant(microseconds: int) -> str:
    """A wall instant for people, in UTC; empty for 0."""
    if not microseconds:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(microseconds / 1_000_000))


def duration(microseconds: int) -> str:
    """A length of time, such as ``0.4s``, ``2m05s`` or ``3h20m``."""
    seconds = max(microseconds, 0) / 1_000_000
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
