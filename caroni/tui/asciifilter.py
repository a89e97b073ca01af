"""The last resort of an ASCII terminal: Textual's own borders, bars and boxes in other signs."""

from __future__ import annotations

from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from caroni.tui.glyphs import drawn

_TWINS = str.maketrans(
    "─━┄┅┈┉╌═▁▂▃▄▅▆▇▔▀│┃┆┇┊┋╎║▏▎▍▌▋▊▉▕▐┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝╠╣╦╩╬┏┓┗┛┣┫┳┻╋╸╺╹╻▒∙•…–×",
    "-" * 17 + "|" * 17 + "+" * 31 + "--||#..~-x",
)


class AsciiOnly(LineFilter):
    """Leaves nothing but ASCII, in the same number of cells."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """See :class:`textual.filter.LineFilter`."""
        return [
            segment
            if segment.control or segment.text.isascii()
            else Segment(_plain(segment.text), segment.style)
            for segment in segments
        ]


@lru_cache(4096)
def _plain(text: str) -> str:
    text = drawn(text).translate(_TWINS)
    if text.isascii():
        return text
    return "".join(sign if sign.isascii() else "?" * cell_len(sign) for sign in text)
