"""Text from elsewhere made safe to show: on a terminal, in a log, in the console.

Peers, jobs and templates write names and messages that end on an operator's screen. What could move
the cursor, recolour, hide or reorder text there is shown as what it is instead (security chapter, B5).
"""

from __future__ import annotations

import re

#: Longest text that one log field or table cell takes, in characters.
LIMIT = 4096

_ELLIPSIS = "…"

# C0 (without tab and newline), DEL, C1; soft hyphen; bidi marks, embeddings, overrides and isolates;
# zero-width characters and invisible operators; line and paragraph separators; the byte order mark;
# interlinear annotation; surrogates that stand alone; tag characters.
_UNSAFE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad"
    "\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
_UNSAFE_TEXT = re.compile(f"[{_UNSAFE}]")
_UNSAFE_LINE = re.compile(f"[\t\n{_UNSAFE}]")


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def safe_text(text: str, limit: int = LIMIT) -> str:
    r"""Give ``text`` with every character that acts on a terminal replaced by a visible ``\xNN``.

    Tab and newline stay. The result has at most ``limit`` characters (an ellipsis ends what was cut)
    and is a fixed point: making it safe again changes nothing.
    """
    return _safe(text, limit, _UNSAFE_TEXT)


def safe_line(text: str, limit: int = LIMIT) -> str:
    r"""Like :func:`safe_text` for one line: tab and newline too become visible."""
    return _safe(text, limit, _UNSAFE_LINE)


def _safe(text: str, limit: int, unsafe: re.Pattern[str]) -> str:
    if len(text) > limit:
        # a replacement never shortens, so nothing beyond this point can be in the result
        text = text[: limit + 1]
    text = unsafe.sub(_visible, text)
    if len(text) > limit:
        text = text[: max(limit - 1, 0)] + _ELLIPSIS[: max(limit, 0)]
    return text


def safe_json(text: str) -> str:
    r"""JSON text with the same characters written as JSON escapes: equal for programs, safe on a terminal."""
    return _UNSAFE_TEXT.sub(_json_escape, text)


def _json_escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
