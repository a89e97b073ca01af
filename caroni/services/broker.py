"""What a look at the broker means for this identity."""

from __future__ import annotations

import msgspec

from caroni.services.checks import Check, ok, problem, warning
from caroni.services.words import plural


class BrokerSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One look. Empty texts are good; ``queues`` counts what waits in each, -1 = not there."""

    place: str
    error: str = ""
    version: str = ""
    exchange: str = ""
    way: str = ""
    queues: dict[str, int] = {}


def broker_checks(seen: BrokerSeen, queue_type: str, runs: bool) -> list[Check]:
    """The checks that one look answers.

    Args:
        seen: the look.
        queue_type: ``classic`` or ``quorum``, as configured.
        runs: whether the daemon runs, and so should have its queues.
    """
    if seen.error:
        return [problem("broker", seen.error, "until it is in reach messages wait in the database")]
    found = [ok("broker", f"{seen.place}, RabbitMQ {seen.version or 'of unknown version'}")]
    found.append(_version(seen.version, queue_type))
    if seen.exchange:
        found.append(problem("exchange", seen.exchange, "start a manager that may configure it first"))
    elif seen.way:
        text = f"a message of our own does not come back: {seen.way}"
        remedy = "the daemon works, but notices a frozen broker later; permissions: docs/operations.md 3"
        found.append(warning("permissions", text, remedy))
    else:
        found.append(ok("permissions", "declared a queue of our own, bound it, and a message came through"))
    for name, count in seen.queues.items():
        if count < 0:
            text = f"queue {name} is not there, or may not be looked at"
            found.append(problem("queue", text, "start the daemon, or see docs/operations.md 3") if runs
                         else warning("queue", text, "the daemon makes it when it starts"))  # fmt: skip
        else:
            waits = f"{plural(count, 'message')} waiting in {name}"
            found.append(warning("queue", waits, "the daemon does not keep up, or cannot commit")
                         if runs and count > 10_000 else ok("queue", waits))  # fmt: skip
    return found


def _version(version: str, queue_type: str) -> Check:
    head = version.partition(".")[0]
    if not head.isdigit():
        return warning("broker version", f"{version!r} is not known", "use RabbitMQ 3.10 to 4.x")
    major = int(head)
    if major < 3 or (major == 3 and _minor(version) < 10):
        return warning("broker version", f"{version} is older than 3.10, which is tested", "upgrade RabbitMQ")
    if queue_type == "quorum":
        text = (
            "quorum queues are declared without a delivery limit"
            if major >= 4
            else "quorum queues are declared without x-delivery-limit: before 4.0 a limit loses messages"
        )
        return ok("broker version", f"{version}: {text}")
    return ok("broker version", f"{version}: classic queues, no delivery limit")


def _minor(version: str) -> int:
    part = version.split(".")[1:2]
    return int(part[0]) if part and part[0].isdigit() else 0
