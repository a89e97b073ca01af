"""Values in an error's words: bounded and on one line, whatever a peer or a document put into them."""

from __future__ import annotations

import json

#: Longest value or type that an error text shows, in characters.
SHOWN = 80


def plain(value: object) -> str:
    """A value in plain words for an error, bounded: ``the string "abc"``, ``3.5 (a float)``, ``null``."""
    match value:
        case None:
            return "null"
        case bool():
            return f"{str(value).lower()} (a boolean)"
        case int():
            return f"{show(value)} (an int)" if -(2**31) <= value < 2**31 else f"{show(value)} (a long)"
        case float():
            return f"{value!r} (a float)"
        case str():
            return f"the string {quoted(value)}"
        case list():
            return f"an array of {len(value)}: {show(value)}" if value else "an empty array"
        case dict():
            kind = value.get("class")
            if kind in ("File", "Directory"):
                return f"a {kind}: {show(value)}"
            return f"a record: {show(value)}" if value else "an empty record"
    return f"a {type(value).__name__}"


def quoted(text: str) -> str:
    """The text in double quotes, escaped as JSON does, bounded."""
    return bounded(json.dumps(text[: SHOWN + 1], ensure_ascii=True))


def show(value: object) -> str:
    """A bounded one-line JSON-like picture of a value."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int) and value.bit_length() > 4 * SHOWN:
        return "an integer of many digits"
    room = [SHOWN]
    return bounded(_picture(value, room, 0))


def _picture(value: object, room: list[int], depth: int) -> str:
    """JSON-like text that stops growing once ``room`` (characters) is used up."""
    if isinstance(value, list | dict) and depth < 6:
        parts: list[str] = []
        pairs = value.items() if isinstance(value, dict) else ((None, v) for v in value)
        for key, item in pairs:
            if room[0] <= 0:
                parts.append("...")
                break
            head = "" if key is None else f"{quoted(str(key))}: "
            room[0] -= len(head)
            parts.append(head + _picture(item, room, depth + 1))
        inner = ", ".join(parts)
        return f"{{{inner}}}" if isinstance(value, dict) else f"[{inner}]"
    if isinstance(value, str):
        text = quoted(value)
    elif isinstance(value, list | dict):
        text = "..."
    elif value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, int) and value.bit_length() > 4 * SHOWN:
        text = "(an integer of many digits)"
    else:
        text = bounded(repr(value))
    room[0] -= len(text)
    return text


def bounded(text: str) -> str:
    """The text on one line, cut with an ellipsis where it is longer than :data:`SHOWN`."""
    if not text.isprintable():
        # names and symbols come from documents and peers: no line ends, no control characters
        text = json.dumps(text[: SHOWN + 3])[1:-1]
    return text if len(text) <= SHOWN + 2 else text[: SHOWN - 3] + "..."
