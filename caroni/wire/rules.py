"""The rule of each message: who may send it, to how many, how long it counts, what repeats it.

The rules stand in ``proto/caroni.proto`` as options; this reads them once.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from caroni.core import messages
from caroni.core.messages import Message
from caroni.core.plan import DAY
from caroni.errors import MessageRejected
from caroni.wire import caroni_pb2 as pb

#: Role of a base-protocol peer, who signs nothing (lab mode only).
UNSIGNED: Final = "unsigned"

MAX_ENVELOPE: Final = 4 * 1024 * 1024
MAX_BUNDLE_ITEMS: Final = 500
MAX_BUNDLE_BYTES: Final = 256 * 1024

#: How long an id is remembered whose message has no end of its own, and that of unknown types.
DEFAULT_LIFETIME: Final = 30 * DAY

AGENTS: Final = "caroni://*/agent/*"
MANAGERS: Final = "caroni://*/manager/*"


class MessageRule(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for every message of one type. ``lifetime`` is microseconds; None: it has no end."""

    name: str
    roles: frozenset[str]
    broadcast: bool
    lifetime: int | None
    #: the timer that sends the content again, as named in the proto file (``REQUEST_OPEN``, ...)
    repeated_by: str
    #: spoken by base-protocol peers
    base: bool
    #: the wildcard audience of a broadcast, else empty
    audience: str
    #: new work: what a stale revocation list stops under ``deny-new-work``
    new_work: bool


_NEW_WORK = frozenset({"JobFulfillmentRequest", "JobFulfillmentOfferAccept", "WorkFlowCreate"})


def _read(name: str) -> MessageRule:
    rule = pb.DESCRIPTOR.message_types_by_name[name].GetOptions().Extensions[cast("Any", pb.rule)]
    roles = frozenset(pb.Role.Name(role).lower() for role in rule.senders)
    broadcast = rule.recipient == pb.BROADCAST
    return MessageRule(
        name=name,
        roles=roles,
        broadcast=broadcast,
        lifetime=rule.lifetime_seconds * 1_000_000 or None,
        repeated_by=pb.RepeatedBy.Name(rule.repeated_by),
        base=rule.base,
        audience=(AGENTS if "manager" in roles else MANAGERS) if broadcast else "",
        new_work=name in _NEW_WORK,
    )


#: Rule by message class.
RULES: Final[dict[type[Message], MessageRule]] = {
    kind: _read(kind.__name__)
    for kind in vars(messages).values()
    if isinstance(kind, type) and issubclass(kind, Message) and kind is not Message
}
#: Rule by message name (``JobKill``).
RULES_BY_NAME: Final[dict[str, MessageRule]] = {rule.name: rule for rule in RULES.values()}
#: The longest lifetime of any message, and so a bundle's; its messages then have each their own.
MAX_LIFETIME: Final = max(rule.lifetime or DEFAULT_LIFETIME for rule in RULES.values())

_PERMITTED: Final = frozenset(
    {(role, kind) for kind, rule in RULES.items() for role in rule.roles}
    | {(UNSIGNED, kind) for kind, rule in RULES.items() if rule.base}
)


def permit(role: str, message: Message) -> None:
    """Whether this role may say this at all (``docs/security.md`` 2.5, step 15).

    Raises:
        MessageRejected: ``E_ROLE``.
    """
    if (role, type(message)) not in _PERMITTED:
        raise MessageRejected("E_ROLE", f"{role} may not send {type(message).__name__}")


def lifetime(name: str) -> int:
    """Microseconds for which a message of this name counts, and so for which its id is remembered."""
    rule = RULES_BY_NAME.get(name)
    return DEFAULT_LIFETIME if rule is None or rule.lifetime is None else rule.lifetime
