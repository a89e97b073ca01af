"""A stream of bytes as lines that grow at their end; whatever a job writes costs no more than it may."""

from __future__ import annotations

import codecs

from caroni.tui.paint import DIM
from caroni.tui.widgets.lines import MAX_LINE, MAX_LINES, Styled


class StreamText:
    """The last lines of a stream.

    A line ends with a newline or a carriage return: what a job draws over and over is one line each time.
    Of a long line only the beginning is kept.
    """

    def __init__(self) -> None:
        self.lines: list[Styled] = []
        #: lines that there ever were, the last one included that has not ended
        self.count = 0
        #: whether the last line has not ended
        self.open = False
        #: bytes that were taken
        self.taken = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._after_return = False

    def feed(self, data: bytes) -> None:
        """Take what was written next."""
        self.taken += len(data)
        text = self._decoder.decode(data)
        if not text:
            return
        if self._after_return and text[0] == "\n":
            text = text[1:]
        self._after_return = text.endswith("\r")
        parts = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if self.open:
            self._extend(parts[0])
        elif parts[0] or len(parts) > 1:
            self._add(parts[0])
        for part in parts[1:-1]:
            self._add(part)
        if len(parts) > 1 and parts[-1]:
            self._add(parts[-1])
        self.open = bool(parts[-1]) or (len(parts) == 1 and self.open)

    def note(self, text: str) -> None:
        """A line of our own in between."""
        self._decoder.reset()
        self.open = self._after_return = False
        self.lines.append((text, DIM))
        self.count += 1

    def _add(self, text: str) -> None:
        self.lines.append(text[: MAX_LINE + 1])
        self.count += 1
        if len(self.lines) > 2 * MAX_LINES:
            del self.lines[:-MAX_LINES]

    def _extend(self, text: str) -> None:
        last = self.lines[-1]
        assert isinstance(last, str), "a line of our own has ended"
        if len(last) <= MAX_LINE:
            self.lines[-1] = last + text[: MAX_LINE + 1 - len(last)]


class Painted:
    """How much of a stream's text stands on the screen."""

    def __init__(self) -> None:
        self._count = -1
        self._open = False

    def next(self, text: StreamText) -> tuple[list[Styled], int] | None:
        """The lines to append, and how many of the last ones they replace; None: show all anew."""
        over = 1 if self._open else 0
        first, fresh = self._count < 0, text.count - self._count + over
        self._count, self._open = text.count, text.open
        if first or fresh > len(text.lines) or fresh > MAX_LINES:
            return None
        return text.lines[len(text.lines) - fresh :], over
