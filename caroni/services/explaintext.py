"""An explanation as short lines for people. Every word of others is made safe here."""

from __future__ import annotations

from collections.abc import Iterator

from caroni.services.explained import Asked, Attempt, Explained, Offered, StepExplained, Works
from caroni.services.words import ago, ahead, plural, said, span, until

#: an explanation travels in a message: the wire's bound, in bytes of UTF-8
MAX_BYTES = 128 * 1024

_PROMISES = {
    "lost_after": "so long the step waits for a silent agent",
    "max_offline": "so long its offer asked to be waited for",
    "announced": "it announced its absence",
    "started": "counted from the manager's start",
}


def lines(found: Explained) -> Iterator[str]:
    """The explanation, line by line; an indented line belongs to the one above."""
    name = f" {said(found.name, 100)}" if found.name else ""
    yield f"workflow {found.workflow[:12]}{name}: {found.why}"
    if found.remedy:
        yield f"  to change that: {found.remedy}"
    for note in found.notes:
        yield f"  note: {note}"
    for step in found.steps:
        yield from _step(step, found.at)
    if found.left_out:
        yield f"and {plural(found.left_out, 'more step')} not done (caroni explain WORKFLOW STEP)"


def text(found: Explained, limit: int = MAX_BYTES) -> str:
    """The explanation as one text of at most ``limit`` bytes of UTF-8."""
    kept: list[str] = []
    left = limit - 64
    for line in lines(found):
        left -= len(line.encode()) + 1
        if left < 0:
            kept.append("... (too long for a message: ask for one step)")
            break
        kept.append(line)
    return "\n".join(kept)


def _step(step: StepExplained, now: int) -> Iterator[str]:
    count = f", attempt {step.attempt}" if step.attempt else ""
    yield f"step {said(step.step, 100)} ({said(step.job_type, 100)}{count}): {step.why}"
    if step.next_at:
        yield f"  next: {step.next} {ahead(step.next_at, now)}"
    if step.remedy:
        yield f"  to change that: {step.remedy}"
    if step.attempt > 1 and step.cause and step.state in ("fulfilling", "fulfilled", "running"):
        yield f"  tried again, because: {said(step.cause)}"
    for waits in step.waits_for:
        whose = (
            f"step {said(waits.step, 100)}, which is {waits.state}"
            if waits.state
            else "the workflow's inputs"
        )
        yield f"  input {said(waits.input, 100)}: from {whose}"
    if step.asked is not None:
        yield from _asked(step.asked, now)
    if step.works is not None:
        yield from _works(step.works, now)
    for agent, first in sorted(step.excluded.items()):
        yield f"  set aside until attempt {first}, unless nobody else offers: {said(agent)}"
    for attempt in step.attempts:
        yield from _attempt(attempt, now)


def _asked(asked: Asked, now: int) -> Iterator[str]:
    rounds = plural(asked.round, "time")
    yield f"  asked {rounds}, first {ago(asked.opened_at, now)}, last {ago(asked.asked_at, now)}"
    if asked.unheard:
        yield "  nobody was bound to this job type when it was asked last"
    for offer in asked.offers:
        yield f"  offered: {said(offer.agent)} {ago(offer.received_at, now)}; {_became(offer, now)}"
    for decline in asked.declines:
        when = f" {ago(decline.at, now)}" if decline.at else ""
        why = f": {said(decline.message)}" if decline.message else ""
        yield f"  declined: {said(decline.agent)}{when}, {said(decline.reason)}{why}"
    for agent in asked.silent:
        yield f"  silent: {said(agent.agent)}, {agent.presence}, last heard {ago(agent.last_contact, now)}"
    if asked.silent_more:
        yield f"  silent: {plural(asked.silent_more, 'other agent')}"


def _became(offer: Offered, now: int) -> str:
    if offer.state == "received":
        lapsed = offer.expires_at and offer.expires_at <= now
        became = "has expired" if lapsed else "stands by"
        if offer.excluded and not lapsed:
            became += ", but this agent has failed the step"
    else:
        became = {"accepted": "is taken", "gone": "was withdrawn", "expired": "has expired"}.get(
            offer.state, f"was {offer.state}"
        )
    return f"{became} ({plural(offer.queue_depth, 'job')} waited there)" if offer.queue_depth else became


def _works(works: Works, now: int) -> Iterator[str]:
    reported = f", said {ago(works.reported_at, now)}" if works.reported_at else ""
    progress = f", {works.progress:.0%} done" if 0 < works.progress <= 1 else ""
    yield f"  job {works.job[:12]} on {said(works.agent)}: {works.state}{reported}{progress}"
    if works.info:
        yield f"  it says: {said(works.info)}"
    yield f"  agent: {works.presence or 'unknown'}, last heard {ago(works.last_contact, now)}"
    if works.lost_at:
        why = _PROMISES[works.promise]
        yield f"  if it stays silent it is given up {ahead(works.lost_at, now)} ({why})"
    if works.away_until > now:
        yield f"  announced: away {until(works.away_until, now)}"
    if works.kill in ("asked", "unreachable", "gave up"):
        how = {"asked": "not confirmed", "unreachable": "agent unreachable", "gave up": "agent never reached"}
        yield f"  kill: asked {ago(works.kill_asked_at, now)}, {how[works.kill]}: {said(works.kill_info)}"
    if works.pause_wanted:
        yield f"  pause: {'confirmed' if works.state == 'paused' else 'wanted, not confirmed'}"
    if works.unsent_since:
        yield f"  messages to it wait for the broker since {span(now - works.unsent_since)}"


def _attempt(attempt: Attempt, now: int) -> Iterator[str]:
    failure = [attempt.failure] if attempt.failure else []
    if attempt.exit_code is not None:
        failure.append(f"exit code {attempt.exit_code}")
    why = f" ({', '.join(failure)})" if failure else ""
    when = f" {ago(attempt.ended_at, now)}" if attempt.ended_at else ""
    info = f": {said(attempt.info)}" if attempt.info else ""
    yield f"  attempt {attempt.attempt}: {said(attempt.agent)} {attempt.state}{why}{when}{info}"
    if attempt.kill:
        yield f"    its kill: {attempt.kill}"
    if attempt.stderr:
        yield f"    stderr: {attempt.stderr}"
