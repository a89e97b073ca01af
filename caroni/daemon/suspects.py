"""Messages that kill the daemon: what was being worked on when it died is counted, and in the end set aside.

Only deliveries that the broker gives again can be such. A count is durable before the work begins and goes
with the unit of work that ends well, so a daemon that is killed for other reasons costs nobody anything
unless it happens three times during the same delivery.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from caroni.daemon.ports import Delivery
from caroni.model.store import Store
from caroni.model.unit import Unit

#: a delivery that was begun so often without an end is not begun again
MAX_TRIES = 3


def digest_of(delivery: Delivery) -> bytes:
    """What a delivery is known by before it is opened."""
    return hashlib.sha256(delivery.body).digest()[:16]


class Suspects:
    """Counts for one daemon. The engine is its only user."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: counted by this process already: what fails and is tried again here has not killed anybody
        self._counted: dict[bytes, int] = {}

    async def tries(self, deliveries: Sequence[Delivery]) -> list[int]:
        """How often each was begun before this process and not ended; counts the attempt that begins now."""
        digests = [digest_of(one) if one.redelivered else b"" for one in deliveries]
        new = {digest for digest in digests if digest and digest not in self._counted}
        if new:
            known = await self._store.suspects(list(new))
            await self._store.commit(Unit(suspects={digest: known.get(digest, 0) + 1 for digest in new}))
            self._counted.update({digest: known.get(digest, 0) for digest in new})
        return [self._counted.get(digest, 0) for digest in digests]

    def clear(self, deliveries: Sequence[Delivery], unit: Unit) -> None:
        """These end with this unit of work."""
        if self._counted:
            unit.cleared.extend(d for one in deliveries if (d := digest_of(one)) in self._counted)

    def cleared(self, unit: Unit) -> None:
        """The unit is durable."""
        for digest in unit.cleared:
            self._counted.pop(digest, None)
