"""The random source of a running daemon."""

from __future__ import annotations

import os

#: bytes read from the kernel at once: an id costs a slice instead of a system call
_POOL = 8192


class SystemDice:
    """Cryptographic randomness of the kernel, see :class:`caroni.core.draft.Dice`.

    A daemon does not fork after it has started, so no two processes share a pool.
    """

    def __init__(self) -> None:
        self._pool = b""
        self._used = 0

    def _take(self, count: int) -> bytes:
        end = self._used + count
        if end > len(self._pool):
            self._pool = os.urandom(max(_POOL, count))
            self._used, end = 0, count
        taken = self._pool[self._used : end]
        self._used = end
        return taken

    def getrandbits(self, k: int, /) -> int:
        return int.from_bytes(self._take((k + 7) // 8), "big") >> (-k % 8)

    def random(self) -> float:
        return self.getrandbits(53) / (1 << 53)

    def id(self) -> bytes:
        """A fresh id of 16 bytes."""
        return self._take(16)
