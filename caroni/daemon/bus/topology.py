"""Names of queues, topics and bindings per role (``docs/protocol.md`` section 3).

Everything is built from plain strings: ``topic_id`` is the identity's 22 characters, a job-type key is
the job type's name already escaped to one topic word.
"""

from __future__ import annotations

from collections.abc import Sequence

from caroni.daemon.ports import QueueSpec

#: default name of the one topic exchange
EXCHANGE = "caroni"
#: broadcast key without a job type; every agent of the base protocol binds it, on an exchange of its own
FULFILLMENT = "wf.agent.fulfillment"
#: where agents say that they come, go and drain
PRESENCE = "wf.manager.presence"
#: milliseconds a broadcast stays in a queue: older ones are repeated by their sender anyway
BROADCAST_TTL = 15 * 60 * 1000
#: messages a broadcast queue holds before the oldest are dropped
BROADCAST_LENGTH = 10_000


def topic(role: str, topic_id: str) -> str:
    """Routing key of one identity's own messages."""
    return f"wf.{role}.{topic_id}"


def broadcast_keys(job_type_keys: Sequence[str], *, plain: bool = False) -> tuple[str, ...]:
    """Routing keys of the calls for proposals for these job types.

    ``plain`` adds the key without job type, for an agent whose broker permissions do not let it bind the
    longer keys.
    """
    keys = [f"{FULFILLMENT}.{key}" for key in sorted(set(job_type_keys))]
    if plain:
        keys.insert(0, FULFILLMENT)
    return tuple(keys)


def control_queue(role: str, topic_id: str) -> QueueSpec:
    """The durable queue of an identity's own messages: no ttl, no limit, nothing is ever dropped."""
    return QueueSpec(name=f"caroni.{role}.{topic_id}.ctl", bindings=(topic(role, topic_id),))


def _broadcast_queue(role: str, topic_id: str, suffix: str, bindings: tuple[str, ...]) -> QueueSpec:
    return QueueSpec(
        name=f"caroni.{role}.{topic_id}.{suffix}",
        bindings=bindings,
        ttl=BROADCAST_TTL,
        max_length=BROADCAST_LENGTH,
    )


def agent_queues(
    topic_id: str, job_type_keys: Sequence[str], *, plain: bool = False
) -> tuple[QueueSpec, ...]:
    """An agent's control queue and its queue of calls for proposals (``.cfp``)."""
    return (
        control_queue("agent", topic_id),
        _broadcast_queue("agent", topic_id, "cfp", broadcast_keys(job_type_keys, plain=plain)),
    )


def manager_queues(topic_id: str) -> tuple[QueueSpec, ...]:
    """A manager's control queue and its queue of presence notices (``.presence``)."""
    return (
        control_queue("manager", topic_id),
        _broadcast_queue("manager", topic_id, "presence", (PRESENCE,)),
    )


def base_queues(role: str, topic_id: str) -> tuple[QueueSpec, ...]:
    """What a manager or an agent reads from the exchange of the base protocol's peers (lab mode).

    The queues are durable, the exchange is not: what has been delivered to us is not lost with it.
    """
    own = QueueSpec(name=f"caroni.{role}.{topic_id}.base", bindings=(topic(role, topic_id),), base=True)
    if role != "agent":
        return (own,)
    calls = QueueSpec(
        name=f"caroni.{role}.{topic_id}.base-cfp",
        bindings=(FULFILLMENT,),
        ttl=BROADCAST_TTL,
        max_length=BROADCAST_LENGTH,
        base=True,
    )
    return (own, calls)


def submitter_queues(topic_id: str, nonce: str, *, role: str = "submitter") -> tuple[QueueSpec, ...]:
    """The one queue of a submitter or (``role="operator"``) a console: exclusive, gone with its connection.

    ``nonce`` tells several consoles of one identity apart; each sees all answers to that identity.
    """
    return (
        QueueSpec(
            name=f"caroni.{role}.{topic_id}.{nonce}", bindings=(topic(role, topic_id),), exclusive=True
        ),
    )
