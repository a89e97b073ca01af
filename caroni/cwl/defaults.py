"""Defaults of a document as plain values; Files in them get absolute locations."""

from __future__ import annotations

import posixpath
from typing import Any

from caroni.core.locations import resolve_location
from caroni.cwl.bundle import Bundle
from caroni.cwl.fetcher import BASE, member_name
from caroni.cwl.places import Spot

_FILES = ("File", "Directory")


def default_value(raw: Any, bundle: Bundle, spot: Spot) -> Any:
    """Turn a parsed default into plain data.

    Relative locations are meant from the document in which they stand (CWL v1.2, File).

    Raises:
        UnsupportedFeature: a relative location, and the bundle does not know where its files are.
    """
    save = getattr(raw, "save", None)
    if save is not None:
        raw = save(top=False, base_url="", relative_uris=False)
    return _plain(raw, bundle, spot)


def _plain(value: Any, bundle: Bundle, spot: Spot) -> Any:
    if hasattr(value, "save"):
        value = value.save(top=False, base_url="", relative_uris=False)
    if isinstance(value, list):
        return [_plain(item, bundle, spot) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {str(key): _plain(item, bundle, spot) for key, item in value.items()}
    if plain.get("class") in _FILES:
        place = plain.get("location") or plain.pop("path", None)
        if isinstance(place, str):
            plain["location"] = _location(place, bundle, spot)
            plain.pop("path", None)
            plain.setdefault("basename", posixpath.basename(place.rstrip("/")) or "/")
    return plain


def _location(place: str, bundle: Bundle, spot: Spot) -> str:
    if place.startswith(BASE):
        place = member_name(place) or ""
    else:
        resolved = resolve_location(place, "/")
        if resolved == place or place.startswith("/"):
            return resolved
        place = posixpath.join(posixpath.dirname(spot.document), place)
    if not bundle.origin:
        raise spot.unsupported("a default File with a relative location needs a workflow read from a folder")
    return bundle.origin.rstrip("/") + resolve_location("/" + place).removeprefix("file://")
