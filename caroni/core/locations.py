"""Where Files are: paths and URIs as absolute URIs. Nothing is looked up or opened here."""

from __future__ import annotations


def file_value(place: str, kind: str = "File", base: str = "") -> dict[str, object]:
    """A File or Directory object for a path or a URI.

    Args:
        place: a path (relative to ``base``) or something with a scheme (``https://...``).
        kind: ``File`` or ``Directory``.
        base: absolute directory for relative paths; a ``file://`` URI is meant too.
    """
    location = resolve_location(place, base)
    name = place.rstrip("/").rsplit("/", 1)[-1]
    return {"class": kind, "location": location, "basename": name or "/"}


def resolve_location(place: str, base: str = "") -> str:
    """An absolute URI for a path or URI; what already has a scheme is left alone (RFC 3986 3.1)."""
    scheme, colon, _ = place.partition(":")
    if colon and len(scheme) > 1 and scheme.isascii() and scheme.replace("+", "").isalnum():
        return place
    path = place if place.startswith("/") else f"{base.rstrip('/')}/{place}"
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "file:///" + _percent("/".join(parts))


_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/!$&'()*+,;=:@")


def _percent(path: str) -> str:
    data = path.encode("utf-8", "surrogateescape")
    return "".join(chr(b) if b in _SAFE else f"%{b:02X}" for b in data)
