"""The closed fetcher: documents come from the bundle, and nothing else is ever asked."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from urllib.parse import urldefrag, urlsplit

from schema_salad.exceptions import ValidationException
from schema_salad.fetcher import Fetcher

from caroni.core.valuewords import quoted
from caroni.cwl.yamldoc import read

#: Base of all bundle members; a made-up scheme that no library opens.
BASE = "mem://bundle/"


def member_uri(name: str) -> str:
    """The URI under which a bundle member is parsed."""
    return BASE + name


def member_name(uri: str) -> str | None:
    """The bundle member a URI means (its fragment aside), or None for anything outside."""
    return urldefrag(uri).url[len(BASE) :] if uri.startswith(BASE) else None


class ClosedFetcher(Fetcher):
    """Serves bundle members, checked by :func:`~caroni.cwl.yamldoc.read`; refuses every other address."""

    def __init__(self, documents: Mapping[str, str]) -> None:
        self._documents = documents

    def fetch_text(self, url: str, content_types: list[str] | None = None) -> str:
        name = member_name(url)
        text = None if name is None else self._documents.get(name)
        if text is None or name is None:
            raise ValidationException(
                f"{quoted(url)} is not a part of this workflow's files; nothing is fetched from elsewhere"
            )
        # asked for $import: the parser reads the text with its own YAML library, so hold it to our limits
        read(text, name)
        return text

    def check_exists(self, url: str) -> bool:
        # identifiers inside of the bundle are checked by the builder, which says more than "undefined"
        if url.startswith(BASE):
            return True
        raise ValidationException(f"{quoted(url)} is not looked up")

    def urljoin(self, base_url: str, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme or parts.netloc or url.startswith("//"):
            return url
        base = urldefrag(base_url).url
        if not parts.path:
            return f"{base}#{parts.fragment}" if "#" in url else base
        name = member_name(base) or ""
        path = posixpath.normpath(posixpath.join("/", posixpath.dirname(name), parts.path)).lstrip("/")
        return BASE + path + (f"#{parts.fragment}" if parts.fragment else "")

    # absolute addresses of these schemes are left as they are; none of them is opened
    schemes = ["mem", "file", "http", "https", "mailto", "urn"]
