"""What a large run must have met: a path that no history takes is not tested by it (sometimes-assertions)."""

from __future__ import annotations

from collections.abc import Mapping

#: a run of so many histories must have seen everything
ENOUGH = 1000

BOUNDARIES = (
    "crash before commit",
    "crash after commit, before ack",
    "crash after publish, before mark",
    "crash between starting and spawn",
    "crash after spawn",
)

REQUIRED = (
    *BOUNDARIES,
    "accept of an expired offer",
    "accept repeated",
    "agent gone for good",
    "agent put back, not told",
    "agent put back, told",
    "agent wiped",
    "announced absence",
    "broker wiped",
    "bundle",
    "clock set back",
    "clock set forward",
    "command cancel",
    "command kill-job",
    "command pause",
    "command pause-job",
    "command resume",
    "command resume-job",
    "command retry",
    "commit refused",
    "completed while being killed",
    "cut off",
    "cut off one way",
    "daily schedule",
    "disk full",
    "dropped",
    "duplicated",
    "event clock_jumped",
    "event database_was_put_back",
    "event job_adopted",
    "event operator_drain",
    "event orphan_job",
    "event peer_was_put_back",
    "excluded agent allowed again",
    "held step goes on",
    "held step tried again",
    "job killed",
    "job paused",
    "kill of an unknown job",
    "killed at the drain's deadline",
    "late adopt",
    "link cut",
    "link cut one way",
    "lost verdict",
    "manager put back, not told",
    "manager put back, told",
    "nobody listened",
    "offer withdrawn after accept",
    "outputs not written",
    "paused job goes on",
    "reboot with a running job",
    "revoke after accept",
    "slow handler",
    "standby accepted at once",
    "step held",
    "stopped for want of its manager",
    "stream renewed",
    "unknown to the agent",
    "unroutable, then routed",
    "workflow cancelled",
    "workflow failed",
)


def missing(seen: Mapping[str, int]) -> list[str]:
    """What was never met."""
    return [what for what in REQUIRED if not seen.get(what)]
