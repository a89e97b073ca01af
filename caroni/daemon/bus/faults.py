"""What the in-process bus does wrong on request: everything a real network and broker do wrong.

All choices come from one seeded generator, so a failing run can be repeated.
"""

from __future__ import annotations

from random import Random


class Faults:
    """Probabilities (0..1, each per message) of misbehaviour; ``active = False`` ends all of it.

    ``reorder``: overtakes waiting messages. ``duplicate``: is delivered twice. ``delay``: arrives up to
    ``max_delay`` seconds later. ``lose_confirm``: is delivered, but the sender gets a ``TransientError``.
    ``lose_publish``: is not delivered, and the sender gets a ``TransientError``. ``drop_connection``: the
    sender's or the receiver's connection is lost after it.
    """

    def __init__(
        self,
        seed: int,
        *,
        reorder: float = 0.0,
        duplicate: float = 0.0,
        delay: float = 0.0,
        max_delay: float = 0.02,
        lose_confirm: float = 0.0,
        lose_publish: float = 0.0,
        drop_connection: float = 0.0,
    ) -> None:
        # A simulation's dice, not a secret.
        self._random = Random(seed)  # noqa: S311
        self.reorder = reorder
        self.duplicate = duplicate
        self.delay = delay
        self.max_delay = max_delay
        self.lose_confirm = lose_confirm
        self.lose_publish = lose_publish
        self.drop_connection = drop_connection
        self.active = True

    def hits(self, probability: float) -> bool:
        """Throw the dice once."""
        return self.active and probability > 0.0 and self._random.random() < probability

    def position(self, length: int) -> int:
        """Where among ``length`` waiting messages a reordered one goes in."""
        return self._random.randint(0, length)

    def lateness(self) -> float:
        """How many seconds a delayed message is late."""
        return self._random.uniform(0.0, self.max_delay)
