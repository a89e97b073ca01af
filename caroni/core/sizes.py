"""Sizes as people write them: ``512KiB``, ``64MiB``, ``2GB``."""

from __future__ import annotations

import re

SIZE_UNITS = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
_SIZE = re.compile(r"([0-9]{1,18}) ?([KMGT]iB|[kMGT]?B)")


def parse_size(text: str) -> int:
    """Bytes of ``text``: a whole number with ``B``, ``kB``, ``KiB``, ``MB``, ``MiB``, ..., or a plain 0.

    Raises:
        ValueError: anything else.
    """
    text = text.strip()
    if text == "0":
        return 0
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write for example 512KiB, 64MiB or 2GiB")
    return int(match[1]) * SIZE_UNITS[match[2]]
